"""One real process in the frame: states, signals, exit codes, hangs, a removed segment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.errors import SegmentError
from cache.layout import State
from cache.segment import ReaderSegment, segment_path
from tests.system.host_world import ROOT, wait_for

DUMMY = Path(__file__).with_name("dummy_role.py")
ROLE = "feed.dummy.0"


class Runner:
    """Starts dummies in a namespace of their own and leaves nothing behind."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.namespace = namespace
        self.journal = folder / "journal"
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(DUMMY), ROLE, "--journal", str(self.journal), *words],
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "PENSTOCK_HOST_NAMESPACE": self.namespace}
            | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def state(self) -> State | None:
        try:
            return ReaderSegment.attach(ROLE, namespace=self.namespace).state
        except (SegmentError, ValueError):  # Not made yet, or being made.
            return None

    def start_running(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        process = self.start(*words, **environ)
        wait_for(lambda: self.state() == State.RUN or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        return process

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def runner(tmp_path: Path, namespace: str) -> Iterator[Runner]:
    made = Runner(tmp_path, namespace)
    yield made
    made.close()


@pytest.mark.parametrize("kind", [(), ("--asyncio",)], ids=["polling", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_halts_a_process_in_order(
    runner: Runner, kind: tuple[str, ...], number: signal.Signals
) -> None:
    process = runner.start_running(*kind)
    segment = ReaderSegment.attach(ROLE, namespace=runner.namespace)
    first = segment.heartbeat_ns
    wait_for(lambda: segment.heartbeat_ns > first)
    process.send_signal(number)
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 0, output
    assert segment.state == State.HALT
    assert [line.split()[0] for line in runner.journal.read_text().splitlines()] == [
        "start",
        "halt",
    ]
    assert f"signal={number.name}" in output


@pytest.mark.parametrize("kind", [(), ("--asyncio",)], ids=["polling", "asyncio"])
def test_a_fault_is_told_and_runs_no_halt(runner: Runner, kind: tuple[str, ...]) -> None:
    process = runner.start("--do", "crash", *kind)
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 1
    assert "told to crash" in output
    assert "Traceback" in output
    assert runner.state() == State.FAIL
    if not kind:  # A coroutine's `finally` is its own business.
        assert "halt" not in runner.journal.read_text()


def test_a_restarted_process_adopts_the_segment_with_a_higher_incarnation(runner: Runner) -> None:
    first = runner.start_running()
    before = ReaderSegment.attach(ROLE, namespace=runner.namespace)
    first.kill()
    first.wait()
    runner.start_running()
    wait_for(lambda: before.incarnation == 2)
    assert before.is_current()


def test_a_second_writer_exits_with_3_and_says_so(runner: Runner) -> None:
    runner.start_running()
    second = runner.start()
    output = second.communicate(timeout=10)[0]
    assert second.returncode == 3
    assert "has a living writer" in output


def test_bad_configuration_exits_with_2_and_names_every_fault(runner: Runner) -> None:
    process = runner.start(PENSTOCK_HOST_IDLE="sleep", PENSTOCK_SIM_PORT="0")
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 2
    assert "host.idle" in output
    assert "sim.port" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("kind", [(), ("--asyncio",)], ids=["polling", "asyncio"])
def test_a_process_whose_segment_was_removed_halts_in_order_and_exits_with_1(
    runner: Runner, kind: tuple[str, ...]
) -> None:
    process = runner.start_running(*kind)
    os.unlink(segment_path(runner.namespace, ROLE))
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 1
    assert "segment_removed" in output
    assert "halt" in runner.journal.read_text()


def test_a_hang_becomes_an_exit_with_a_traceback_where_that_is_configured(runner: Runner) -> None:
    process = runner.start("--do", "hang", PENSTOCK_HOST_HANG_EXIT_S="0.5")
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 1
    assert "most recent call first" in output


def test_a_halt_that_hangs_is_bounded(runner: Runner) -> None:
    process = runner.start_running("--do", "never_halt", PENSTOCK_SUPERVISOR_STOP_TIMEOUT_S="0.5")
    process.terminate()
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 1
    assert "on_halt" in output


def test_an_orphan_does_not_start(runner: Runner) -> None:
    process = runner.start(PENSTOCK_SUPERVISOR="1")
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 1
    assert "has gone" in output
    assert runner.state() is None
