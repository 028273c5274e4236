import os
import re
import struct
import time

import pytest

from cache import layout, segment, segment_file
from cache.errors import (
    AlreadyRunning,
    LayoutMismatch,
    SegmentDamaged,
    SegmentError,
    SegmentForeign,
    SharedMemoryFull,
)
from cache.layout import BBO, TRADE, BoardSpec, State, tag_of
from cache.segment import ReaderSegment, WriterSegment, segment_path

BOARDS = (BoardSpec("bbo", BBO, 4, 8), BoardSpec("trades", TRADE, 1, 64))
TAG = tag_of("binance", "BTCUSDT")
VALUES = tuple(range(1, 1 + len(BBO.value_names)))


@pytest.fixture
def writer(namespace):
    made = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    yield made
    made.close()


def _leave(namespace, content):
    path = segment_path(namespace, "feed.x")
    with open(path, "wb") as file:
        file.write(content)
    return path


def _whole(namespace):
    made = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    made.close()
    with open(segment_path(namespace, "feed.x"), "rb") as file:
        return bytearray(file.read())


def _patched(whole, offset, code, value):
    struct.pack_into(code, whole, offset, value)
    return bytes(whole)


LEFTOVERS = {
    "empty": (lambda whole: b"", SegmentDamaged, "0 bytes long, a header is 320"),
    "zeros": (lambda whole: bytes(len(whole)), SegmentDamaged, f"0x0, wanted {layout.MAGIC:#x}"),
    "random": (lambda whole: os.urandom(len(whole)), SegmentDamaged, "has magic"),
    "truncated": (
        lambda whole: bytes(whole[:139_000]),
        SegmentDamaged,
        "139000 bytes long, its header says",
    ),
    "older layout": (
        lambda whole: _patched(whole, 8, "<I", 0),
        LayoutMismatch,
        f"layout 0 .*this program {layout.LAYOUT_VERSION}",
    ),
    "other hash": (
        lambda whole: _patched(whole, 16, "<Q", 77),
        LayoutMismatch,
        f"0x4d.*{layout.LAYOUT_HASH:#x}",
    ),
    "other boot": (
        lambda whole: _patched(whole, 32, "16s", bytes(16)),
        SegmentDamaged,
        f"boot {bytes(16).hex()}, this boot {segment_file.boot_id().hex()}|left over from boot",
    ),
}


@pytest.mark.parametrize("kind", LEFTOVERS)
def test_a_leftover_is_refused_by_readers_and_replaced_by_its_writer(kind, namespace):
    damage, error, message = LEFTOVERS[kind]
    path = _leave(namespace, damage(_whole(namespace)))
    inode = os.stat(path).st_ino
    with pytest.raises(error, match=message):
        ReaderSegment.attach("feed.x", namespace=namespace)
    made = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    assert re.search(message, made.replaced)
    assert os.stat(path).st_ino != inode
    assert ReaderSegment.attach("feed.x", namespace=namespace).incarnation == 1
    made.close()


def test_a_table_of_contents_that_does_not_add_up_is_refused(namespace):
    whole = _whole(namespace)
    _leave(namespace, _patched(whole, layout.TOC_OFFSET + 32, "<I", 99))
    with pytest.raises(SegmentDamaged, match="record type 99"):
        ReaderSegment.attach("feed.x", namespace=namespace).board("bbo")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_segment_of_another_user_is_refused_by_both_with_both_uids(namespace):
    path = _leave(namespace, bytes(_whole(namespace)))
    os.chown(path, 12345, 12345)
    for attempt in (
        lambda: ReaderSegment.attach("feed.x", namespace=namespace),
        lambda: WriterSegment.create("feed.x", BOARDS, namespace=namespace),
    ):
        with pytest.raises(SegmentForeign, match=rf"uid 12345.*uid {os.geteuid()}"):
            attempt()


def test_shared_memory_without_room_is_refused_with_the_needed_size(namespace):
    huge = BoardSpec("bbo", BBO, 2**34, 8)
    with pytest.raises(SharedMemoryFull, match=r"needs 17\d+ bytes, /dev/shm has \d+ free"):
        WriterSegment.create("feed.x", (huge,), namespace=namespace)
    assert segment.roles(namespace) == [], "its lock file goes too"
    assert not os.path.exists(segment_path(namespace, "feed.x"))


def test_what_a_creation_that_died_left_is_cleaned_at_the_next_start(namespace):
    path = segment_path(namespace, "feed.x") + ".tmp.999999"
    with open(path, "wb") as file:
        file.write(b"half made")
    WriterSegment.create("feed.x", BOARDS, namespace=namespace).close()
    assert not os.path.exists(path)


def test_remove_waits_for_no_one_and_refuses_while_the_writer_lives(writer, namespace):
    with pytest.raises(AlreadyRunning):
        segment.remove("feed.x", namespace=namespace)
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    writer.close()
    assert segment.remove("feed.x", namespace=namespace)
    assert segment.roles(namespace) == []
    assert reader.state == State.RETIRED
    assert not segment.remove("feed.x", namespace=namespace)


@pytest.fixture
def removed(namespace, monkeypatch):
    """Have the lock file removed between open and lock, so many times, and made again."""
    name, left = segment_path(namespace, "feed.x") + ".lock", []
    lock_whole = segment_file.lock_whole

    def after_removal(lock):
        if left:
            left.pop()
            os.unlink(name)
            os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        return lock_whole(lock)

    monkeypatch.setattr(segment_file, "lock_whole", after_removal)
    return left


def test_a_lock_on_a_file_that_lost_its_name_meanwhile_is_no_claim(namespace, removed):
    path = segment_path(namespace, "feed.x")
    removed += [True, True]
    lock = segment_file.claim(path)
    assert os.fstat(lock).st_ino == os.stat(f"{path}.lock").st_ino
    with pytest.raises(AlreadyRunning):
        segment_file.claim(path)
    os.close(lock)


def test_a_lock_that_is_removed_again_and_again_is_said_to_be(namespace, removed):
    removed += [True] * 100
    with pytest.raises(SegmentError, match="removed again and again"):
        segment_file.claim(segment_path(namespace, "feed.x"))


def test_a_new_file_says_boot_from_the_moment_it_has_its_name(namespace):
    path = segment_path(namespace, "feed.x")
    segment_file.make(path, "feed.x", BOARDS, 0o600)
    reader = ReaderSegment.attach("feed.x", namespace=namespace)
    assert (reader.state, reader.pid, reader.incarnation) == (State.BOOT, os.getpid(), 0)
    assert 0 <= time.monotonic_ns() - reader.heartbeat_ns < 60 * 10**9


def test_a_damaged_table_of_contents_is_replaced_by_its_writer(namespace):
    _leave(namespace, _patched(_whole(namespace), layout.TOC_OFFSET + 32, "<I", 99))
    made = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    assert ReaderSegment.attach("feed.x", namespace=namespace).board("bbo").slot_count == 4
    made.close()


@pytest.mark.parametrize("what", ["link", "directory"])
def test_what_is_no_file_is_refused_by_both_and_says_what_to_do(namespace, what):
    path = segment_path(namespace, "feed.x")
    if what == "link":
        os.symlink("/etc/hostname", path)
    else:
        os.mkdir(path)
    try:
        for attempt in (
            lambda: ReaderSegment.attach("feed.x", namespace=namespace),
            lambda: WriterSegment.create("feed.x", BOARDS, namespace=namespace),
        ):
            with pytest.raises(SegmentDamaged, match=r"is not a segment .*: remove it"):
                attempt()
    finally:
        os.unlink(path) if what == "link" else os.rmdir(path)


def test_a_writer_says_whether_it_replaced_what_lay_there_and_why(namespace):
    first = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    assert first.replaced == ""
    first.close()
    same = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    assert same.replaced == ""
    same.close()
    other = WriterSegment.create("feed.x", BOARDS[:1], namespace=namespace)
    assert "has bbo 4x8, trades 1x64, wanted bbo 4x8" in other.replaced
    other.close()
