"""A reader in C, written from shm_layout.md alone, beside the writers of this program.

What it refuses, reads and concludes must be what the page says, and what the writers meant.
"""

from __future__ import annotations

import contextlib
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache.layout import (
    BBO,
    HEADER_AT,
    LAYOUT_HASH,
    RECORDS,
    BoardSpec,
    State,
    tag_of,
)
from cache.segment import WriterSegment

ROOT = Path(__file__).resolve().parents[2]
ROLE = "feed.c"
TAG = tag_of("binance", "BTCUSDT")
MARKET = tag_of("polymarket", "0x" + 32 * "ab")
BOARDS = (
    BoardSpec("bbo", BBO, 3, 8),
    BoardSpec("narrow", BBO, 1, 4),
    BoardSpec("stream", BBO, 1, 4096),
    *(BoardSpec(f"a_{record.name}", record, 2, 16) for record in RECORDS),
)
ORDER_ID = bytes((0, *range(255, 225, -1), 0))
STAMPS = ("batch", "venue_seq", "recv_ns", "publish_ns", "venue_ts_ns", "flags", "proof")
HUNT_S = 2.0
PATIENCE_S = 60.0

STORM = """
import sys, time
from cache.layout import BoardSpec
from cache.segment import WriterSegment
from tests.system.test_c_reader import BOARDS, ROLE, TAG

segment = WriterSegment.create(ROLE, BOARDS, namespace=sys.argv[1])
board = segment.board(sys.argv[2])
board.assign(0, TAG, 0)
batch = 0
while batch < 1 << 62:
    for _ in range(256):
        batch += 1
        board.publish(0, (batch, 0, 0, 0, 0, 0, 0, *(batch,) * 8))
    segment.heartbeat(time.monotonic_ns())
    if batch == 256:
        print("ready", flush=True)
"""


@pytest.fixture
def path(namespace):
    return Path(f"/dev/shm/{namespace}.{ROLE}")


@pytest.fixture
def writer(namespace):
    made = WriterSegment.create(ROLE, BOARDS, namespace=namespace)
    yield made
    made.close()


@contextlib.contextmanager
def storm(namespace, board):
    """A process that publishes on slot 0 of `board` without rest; each word is its number."""
    command = [sys.executable, "-c", STORM, namespace, board]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        process.stdout.close()


def pairs(lines):
    return dict(line.split("=", 1) for line in lines)


def counts(line):
    return {name: int(count) for name, count in pairs(line.split()).items()}


# --- attach -----------------------------------------------------------------------------------


def test_a_segment_is_attached_and_named_with_all_its_boards(reader, writer, path):
    writer.set_state(State.RUN)
    assert reader("attach", path) == (
        0,
        [
            "ok",
            f"role={ROLE}",
            "incarnation=1",
            "state=RUN",
            "board=bbo record=1 N=3 K=8",
            "board=narrow record=1 N=1 K=4",
            "board=stream record=1 N=1 K=4096",
            *(f"board=a_{record.name} record={record.id} N=2 K=16" for record in RECORDS),
        ],
    )


def test_a_segment_that_is_not_there_is_not_yet(reader, path):
    assert reader("attach", path) == (1, ["refused: not yet: No such file or directory"])


def put(name, code, value):
    """A change of one header word."""

    def change(raw):
        struct.pack_into(code, raw, HEADER_AT[name], value)

    return change


def cut(length):
    def change(raw):
        del raw[length:]

    return change


def zero(raw):
    raw[:] = bytes(len(raw))


LEFTOVERS = {
    "empty": (cut(0), 1, "the file has 0 bytes, a head needs 64"),
    "short head": (cut(63), 1, "the file has 63 bytes, a head needs 64"),
    "truncated": (cut(139264), 1, r"total_bytes is \d+, the file has 139264"),
    "head alone": (cut(64), 1, r"total_bytes is \d+, the file has 64"),
    "zeros": (zero, 1, "magic is 0x0000000000000000, not 0x314b54534e455001"),
    "version": (put("layout_version", "<I", 1), 4, r"layout version 1, .*; this reader's 2, .*"),
    "hash": (put("layout_hash", "<Q", 7), 4, r".*0x0000000000000007; .*" + f"{LAYOUT_HASH:#018x}"),
    "boot": (put("boot_id", "16s", b"\1" * 16), 1, r"boot id is 01010101-.*kernel's [0-9a-f-]+"),
    "boards": (put("board_count", "<I", 33), 1, r".* 33 boards of at most 32"),
}


@pytest.mark.parametrize("kind", LEFTOVERS)
def test_a_leftover_is_refused_with_both_values(reader, writer, path, tmp_path, kind):
    change, status, reason = LEFTOVERS[kind]
    raw = bytearray(path.read_bytes())
    change(raw)
    leftover = tmp_path / "leftover"
    leftover.write_bytes(raw)
    found, lines = reader("attach", leftover)
    assert found == status
    assert len(lines) == 1
    assert re.fullmatch(f"refused: {reason}", lines[0])


# --- read -------------------------------------------------------------------------------------


def filled(field, at):
    """What a field of a record may hold: each another, text and arrays as full as they can be."""
    if field.is_raw:
        return [ORDER_ID]
    if field.is_text:
        return [chr(97 + at).encode() * field.width]
    sign = -1 if field.kind[0] == "i" else 1
    least = 1000 * at + 10**15 * (field.width == 8)
    return [sign * (least + n) for n in range(field.count)]


def shown(value):
    if isinstance(value, bytes):
        return value.hex() if value == ORDER_ID else value.decode()
    return str(value)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_every_field_is_read_as_it_was_published(reader, writer, path, record):
    fields = [field for field in record.fields[3:] if field.name != "reserved"]
    values = {field.name: filled(field, at) for at, field in enumerate(fields)}
    made = writer.board(f"a_{record.name}")
    made.assign(1, TAG, 5)
    for _ in range(20):
        version = made.publish(1, [one for value in values.values() for one in value])
    status, lines = reader("read", path, f"a_{record.name}", 1, f"{TAG:x}")
    found = pairs(lines)
    assert status == 0
    assert found.pop("version") == str(version)
    raw = bytes.fromhex(found.pop("raw"))
    assert len(raw) == record.size
    assert raw[8:16] == struct.pack("<II", 1, 5)
    values.pop("reserved_word", None)
    stamps = {"tag": [TAG], "incarnation": [1], "generation": [5]}
    assert found == {name: " ".join(map(shown, of)) for name, of in (stamps | values).items()}


def test_the_worked_cell_of_the_page_is_what_a_writer_of_it_leaves(reader, namespace, path):
    page = (ROOT / "shm_layout.md").read_text().partition("<!-- example -->")[2]
    shown = "".join(re.findall(r"^00[0-9a-f]0  (.*)$", page.partition("<!-- end -->")[0], re.M))
    raw = bytes.fromhex(shown)
    for _ in range(3):  # Its incarnation.
        writer = WriterSegment.create(ROLE, BOARDS, namespace=namespace)
        board = writer.board("a_pair_bbo")
        board.assign(0, MARKET, 1)
        board.publish(0, struct.unpack_from("<QQqqqII11qII", raw, 16))
        writer.close()
    _, lines = reader("read", path, "a_pair_bbo", 0, f"{MARKET:x}")
    found = pairs(lines)
    assert found["version"] == "3"
    assert found["raw"] == raw.hex()
    assert (found["yes_bid_px_e9"], found["yes_ask_qty_e9"]) == ("500000000", "326430000000")
    assert (found["flags"], found["yes_flags"], found["no_flags"]) == ("2", "0", "2")


def test_what_there_is_not_to_be_read_is_said(reader, writer, path):
    board = writer.board("bbo")
    assert reader("read", path, "bbo", 1) == (0, ["NEVER"])
    board.assign(1, TAG, 0)
    board.publish(1, range(15))
    other = tag_of("binance", "ETHUSDT")
    assert reader("read", path, "bbo", 1, f"{other:x}") == (
        0,
        [f"OTHER_TAG 0x{TAG:016x}, not 0x{other:016x}"],
    )
    assert reader("read", path, "bbo", 3)[0] == 1
    assert reader("read", path, "nothing", 0) == (1, ["refused: no board nothing"])


def test_the_slots_ever_published_are_the_changed_ones(reader, writer, path):
    board = writer.board("bbo")
    assert reader("changed", path, "bbo") == (0, [])
    for slot in (0, 2):
        board.assign(slot, TAG, 0)
        board.publish(slot, range(15))
    assert reader("changed", path, "bbo") == (0, ["0", "2"])


# --- liveness ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "fresh", "free"),
    [
        (State.BOOT, "BOOT", "WRITER_DEAD"),
        (State.RUN, "LIVE", "WRITER_DEAD"),
        (State.HALT, "HALTED", "HALTED"),
        (State.FAIL, "FAILED", "FAILED"),
    ],
)
def test_a_writer_is_judged_by_state_heartbeat_and_lock(reader, writer, path, state, fresh, free):
    writer.set_state(state)
    writer.heartbeat(time.monotonic_ns() - 1_000_000_000)
    assert reader("live", path) == (0, ["STALLED"])
    writer.heartbeat(time.monotonic_ns() + 3_600_000_000_000)
    assert reader("live", path) == (0, ["STALLED"])
    found = []
    for _ in range(50):  # However slowly the reader is started: once it comes in time.
        writer.heartbeat(time.monotonic_ns())
        found = reader("live", path)[1]
        if found == [fresh]:
            break
    assert found == [fresh]
    writer.heartbeat(time.monotonic_ns() - 1_000_000_000)
    writer.close()
    assert reader("live", path) == (0, [free])
    Path(f"{path}.lock").unlink()
    assert reader("live", path) == (0, [free])


def test_a_retired_segment_is_retired_whoever_lives(reader, writer, path):
    writer.set_state(State.RETIRED)
    assert reader("live", path) == (0, ["RETIRED"])


# --- beside a writer that never rests ---------------------------------------------------------


@pytest.mark.parametrize("board", ["bbo", "narrow"])
def test_no_read_beside_a_restless_writer_is_torn(reader, namespace, path, board):
    with storm(namespace, board):
        status, lines = reader("hunt", path, board, 0, HUNT_S)
    found = counts(lines[0])
    assert status == 0
    assert found["reads"] > 0
    assert (found["torn"], found["backward"]) == (0, 0)


def test_a_stream_beside_a_restless_writer_is_consecutive(reader, namespace, path):
    with storm(namespace, "stream"):
        status, lines = reader("stream", path, "stream", 0, HUNT_S)
    found = counts(lines[1])
    assert status == 0
    assert found["taken"] > 0
    assert found["torn"] == 0


def test_a_stream_reader_that_was_lapped_knows_and_goes_on(reader, namespace, path):
    command = [reader.program, "stream", path, "narrow", "0", str(HUNT_S)]
    with storm(namespace, "narrow"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline().startswith("cursor=")
            process.send_signal(signal.SIGSTOP)
            time.sleep(HUNT_S / 4)
            process.send_signal(signal.SIGCONT)
            found = counts(process.communicate(timeout=PATIENCE_S)[0])
        finally:
            process.kill()
            process.wait(PATIENCE_S)
    assert process.returncode == 0
    assert found["overruns"] > 0
    assert found["lost"] > 0
    assert found["torn"] == 0


def test_a_hunt_finds_what_it_hunts(reader, writer, path):
    board = writer.board("bbo")
    board.assign(0, TAG, 0)
    board.publish(0, (7, 0, 0, 0, 0, 0, 0, *(7,) * 7, 8))
    status, lines = reader("hunt", path, "bbo", 0, 0.05)
    found = counts(lines[0])
    assert status == 1
    assert found["torn"] == found["reads"] > 0
