from executor.gateway import Report
from executor.orders import OrderEvent


def test_a_report_that_is_no_fill_says_nothing_of_sizes_or_money():
    report = Report(OrderEvent.ACCEPT, b"1", 5)
    assert (report.qty_e9, report.px_e9, report.fee_e9, report.rebate_e9) == (0, 0, 0, 0)
    assert (report.book_version, report.reason) == (0, "")
