import io

import pytest

from host.clock import NS_PER_S
from host.log import COLLAPSE_NS, DEBUG, ERROR, REPEATS_MAX, Log, Sink, get_log, show, stamp


class Written:
    """A sink into memory with a clock of its own."""

    def __init__(self):
        self.sink = Sink()
        self.sink.stream = io.StringIO()
        self.sink.role = "feed.x"
        self.now_ns = 1_700_000_000 * NS_PER_S
        self.sink.clock = lambda: self.now_ns
        self.log = Log("feeds", self.sink)

    @property
    def lines(self):
        return self.sink.stream.getvalue().splitlines()


@pytest.fixture
def written():
    return Written()


def test_the_event_comes_first_then_its_values(written):
    written.log.info("connected", url="ws://host/x", ms=12, ratio=0.25)
    assert written.lines == [
        "2023-11-14T22:13:20.000Z INFO    feed.x feeds.connected url=ws://host/x ms=12 ratio=0.25"
    ]


def test_debug_is_off_until_asked_for(written):
    written.log.debug("frame", n=1)
    assert written.lines == []
    written.sink.level = DEBUG
    written.log.debug("frame", n=1)
    assert len(written.lines) == 1


def test_the_level_silences_what_is_below(written):
    written.sink.level = ERROR
    written.log.info("a")
    written.log.warning("b")
    written.log.error("c")
    assert len(written.lines) == 1


def test_a_repeated_fault_collapses_to_count_first_and_last(written):
    for n in range(5):
        written.log.warning("lookup_failed", n=n)
        written.now_ns += NS_PER_S
    assert len(written.lines) == 1
    written.now_ns += COLLAPSE_NS
    written.sink.flush()
    assert written.lines[1].endswith(
        "feeds.lookup_failed n=4 repeated=4 first=2023-11-14T22:13:21.000Z "
        "last=2023-11-14T22:13:24.000Z"
    )
    written.sink.flush()
    assert len(written.lines) == 2


def test_a_fault_that_goes_on_is_told_once_in_a_while_without_a_flush(written):
    for _ in range(25):
        written.log.error("refused")
        written.now_ns += NS_PER_S
    assert len(written.lines) == 3


def test_a_fault_that_comes_back_later_is_told_at_once(written):
    written.log.warning("a")
    written.now_ns += COLLAPSE_NS
    written.log.warning("a")
    assert len(written.lines) == 2
    assert "repeated" not in written.lines[1]


def test_different_faults_do_not_hide_each_other(written):
    written.log.warning("a")
    written.log.warning("b")
    Log("host", written.sink).warning("a")
    assert len(written.lines) == 3


def test_the_memory_of_faults_is_bounded_and_nothing_counted_is_lost(written):
    written.log.warning("first")
    written.log.warning("first")
    for n in range(REPEATS_MAX):
        written.log.warning(f"event_{n}")
    assert any("feeds.first repeated=1" in line for line in written.lines)


def test_everything_held_back_is_written_at_the_end(written):
    written.log.warning("a")
    written.log.warning("a")
    written.sink.flush(everything=True)
    assert "repeated=1" in written.lines[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"), ("two words", '"two words"'), ("", '""'), ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'), ("line\nend", '"line\\nend"'), (1.5, "1.5"), (None, "None"),
        ("\x1b[31m", '"\\x1b[31m"'),
    ],
)  # fmt: skip
def test_a_value_is_one_word_whatever_it_holds(value, text):
    assert show(value) == text


def test_a_stream_that_cannot_be_written_stops_nobody(written):
    written.sink.stream.close()
    written.log.info("a")
    written.log.error("b")


def test_loggers_share_the_sink_of_the_process():
    assert get_log("a")._sink is get_log("b")._sink
    assert stamp(0) == "1970-01-01T00:00:00.000Z"
