from cache.layout import FILL, TARGET_QUOTES, WORKING_ORDER
from cache.records import PREFIX, RECORD_BY_ID, RECORD_BY_NAME, RECORDS


def test_every_record_begins_with_the_prefix_and_is_found_by_id_and_name():
    for record in RECORDS:
        assert record.fields[: len(PREFIX)] == PREFIX
        assert RECORD_BY_ID[record.id] is RECORD_BY_NAME[record.name] is record


def test_an_order_and_its_fills_name_it_alike_and_the_token_by_its_number():
    for name, kind in (("order_id", "b32"), ("outcome_index", "u32")):
        kinds = [f.kind for r in (WORKING_ORDER, FILL) for f in r.fields if f.name == name]
        assert kinds == [kind, kind]


def test_an_order_carries_all_that_its_quotes_say_of_their_decision():
    told = {"book_version", "reference_version", "book_age_ns", "reference_age_ns", "cause_ns"}
    for record in (TARGET_QUOTES, WORKING_ORDER):
        assert told <= {field.name for field in record.fields}
