"""Readers of a book beside its writer, real processes all: resets, kills, stops; no half book."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cache.bells import make_waiter
from cache.book_store import BookStore
from tests.shm import own_namespace
from tests.system.memory_books import ROLE, TOKEN

ROOT = Path(__file__).resolve().parents[2]
READERS = 2
WAIT_NS = 20_000_000_000


class Stage:
    """The processes of one test."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.processes: list[subprocess.Popen[str]] = []

    def play(self, part: str) -> subprocess.Popen[str]:
        """Start a part; when this returns, it is ready."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.memory_books", part, self.namespace],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        assert "ready" in self.hear(process)
        return process

    def hear(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        found: dict[str, Any] = json.loads(process.stdout.readline())
        return found

    def end(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        process.terminate()
        said = self.hear(process)
        assert process.wait(30) == 0
        return said

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with own_namespace() as namespace:
        made = Stage(namespace)
        try:
            yield made
        finally:
            made.close()


def test_beside_resets_of_every_kind_a_reader_gets_whole_books_or_none(stage: Stage) -> None:
    writer = stage.play("write")
    readers = [stage.play("read") for _ in range(READERS)]
    time.sleep(1.0)
    found = [stage.end(reader) for reader in readers]
    counts = stage.end(writer)["counts"]
    for said in found:
        assert said["faults"] == []
        assert said["served"] == said["hits"] > 0
        assert said["not_ready"] > 0, "no reset was ever seen"
    for name in ("gaps_seen", "resets_crossed", "snapshots_rejected", "deltas_applied"):
        assert counts[f"cache_book_{name}"] > 0, name
    print(found[0]["trusts"])


def test_a_writer_killed_again_and_again_in_the_middle_leaves_no_half_book(stage: Stage) -> None:
    writer = stage.play("write")
    reader = stage.play("read")
    for _ in range(6):
        time.sleep(0.15)
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
        writer = stage.play("write")
    time.sleep(0.15)
    said = stage.end(reader)
    assert said["faults"] == []
    assert said["incarnations"] == list(range(1, 8))
    assert said["trusts"].get("WARMUP", 0) + said["trusts"].get("NEVER_SEEN", 0) > 0


def test_a_writer_that_is_stopped_serves_nobody_and_then_goes_on(stage: Stage) -> None:
    writer = stage.play("write")
    reader = stage.play("read")
    for _ in range(3):
        time.sleep(0.2)
        writer.send_signal(signal.SIGSTOP)
        time.sleep(0.8)
        writer.send_signal(signal.SIGCONT)
    time.sleep(0.2)
    said = stage.end(reader)
    assert said["faults"] == []
    assert said["trusts"]["STALLED"] > 0
    assert said["hits"] + said["misses"] == sum(said["trusts"].values())


def test_who_waits_is_told_of_every_change_by_its_token_and_of_nothing_else(stage: Stage) -> None:
    writer = stage.play("tell")
    store = BookStore.attach(ROLE, namespace=stage.namespace)
    waiter = make_waiter([store.segment])
    assert store.changed() == [TOKEN]
    for number in range(2, 202):
        waiter.load()
        assert store.changed() == []
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
        asked_ns = time.monotonic_ns()
        waiter.wait(WAIT_NS)
        assert time.monotonic_ns() - asked_ns < WAIT_NS, "it was the timeout that woke it"
        assert store.changed() == [TOKEN]
        assert store.sequence(TOKEN) == number
