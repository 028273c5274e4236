"""The supervisor and real processes: kills, hangs, crash loops, order, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.board import Miss
from cache.errors import SegmentError
from cache.layout import ProcessPhase, State
from cache.segment import ReaderSegment, roles, segment_path
from tests.system.host_world import ROOT, is_alive, wait_for

SCRIPT = Path(__file__).with_name("run_supervisor.py")

# The names of the shipped configuration: an orphan sweeps the family that its configuration names.
SIM, FEED, OTHER = "sim", "feed.binance.0", "feed.polymarket.0"
STRATEGY, EXECUTOR = "strategy.maker", "executor.paper"


class House:
    """A supervisor over dummies, in a namespace of its own."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.namespace = namespace
        self.folder = folder
        self.journal = folder / "journal"
        self.process: subprocess.Popen[str] | None = None

    def start(self, *parts: tuple[str, int, int, list[str]], duration_s: float = 0.0,
              within: tuple[str, ...] = (), **environ: str) -> subprocess.Popen[str]:  # fmt: skip
        words = ["--journal", str(self.journal)]
        file = self.folder / f"{uuid.uuid4().hex}.json"
        file.write_text(json.dumps([[*part[:3], [*words, *part[3]]] for part in parts]))
        with (self.folder / "stdout").open("w") as output:
            self.process = subprocess.Popen(
                [*within, sys.executable, str(SCRIPT), str(file), str(duration_s)],
                env=os.environ
                | {"PYTHONPATH": str(ROOT), "PENSTOCK_HOST_NAMESPACE": self.namespace}
                | environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        return self.process

    @property
    def output(self) -> str:
        return (self.folder / "stdout").read_text()

    def table(self) -> dict[str, tuple[int, int, int, ProcessPhase]]:
        """pid, restarts, exit code and phase of each child, from the supervisor's memory."""
        try:
            board = ReaderSegment.attach("supervisor", namespace=self.namespace).board("processes")
        except SegmentError:
            return {}
        rows = (board.read(slot, 0) for slot in range(board.slot_count))
        return {
            row.name: (row.pid, row.restart_count, row.exit_code, ProcessPhase(row.phase))
            for row in rows
            if not isinstance(row, Miss)
        }

    def phase(self, role: str) -> ProcessPhase | None:
        row = self.table().get(role)
        return row[3] if row else None

    def wait_running(self, *names: str) -> dict[str, int]:
        wait_for(lambda: all(self.phase(name) == ProcessPhase.RUNNING for name in names))
        return {name: row[0] for name, row in self.table().items()}

    def stop(self, timeout_s: float = 20.0) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout_s)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Carry a `penstock` command out in this namespace."""
        return subprocess.run(
            [sys.executable, "-m", "host", *words],
            env=os.environ | {"PYTHONPATH": str(ROOT), "PENSTOCK_HOST_NAMESPACE": self.namespace},
            capture_output=True,
            text=True,
            timeout=30,
        )

    def story(self) -> list[tuple[str, str]]:
        if not self.journal.exists():
            return []
        return [
            (line.split()[0], line.split()[1]) for line in self.journal.read_text().splitlines()
        ]

    def close(self) -> None:
        pids = [row[0] for row in self.table().values() if row[0]]
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in filter(self.is_ours, pids):  # Where a test failed: they end by themselves else.
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(is_alive(pid) for pid in pids))

    def is_ours(self, pid: int) -> bool:
        """Whether a process that lives was started in this namespace."""
        with contextlib.suppress(OSError):
            return self.namespace.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return False


@pytest.fixture
def house(tmp_path: Path, namespace: str) -> Iterator[House]:
    made = House(tmp_path, namespace)
    yield made
    made.close()


FAMILY = (
    (SIM, 0, 3, ["--asyncio", "--start-s", "0.2"]),
    (FEED, 1, 2, ["--asyncio"]),
    (OTHER, 1, 2, ["--asyncio"]),
    (STRATEGY, 2, 0, []),
    (EXECUTOR, 3, 1, []),
)


def test_processes_start_when_those_before_are_ready_and_stop_in_the_safe_order(
    house: House,
) -> None:
    house.start(*FAMILY)
    house.wait_running(*(part[0] for part in FAMILY))
    assert house.stop() == 0, house.output
    starts = [role for what, role in house.story() if what == "start"]
    halts = [role for what, role in house.story() if what == "halt"]
    assert starts[0] == SIM
    assert {*starts[1:3]} == {FEED, OTHER}
    assert starts[3:] == [STRATEGY, EXECUTOR]
    assert halts[:2] == [STRATEGY, EXECUTOR]
    assert {*halts[2:4]} == {FEED, OTHER}
    assert halts[4:] == [SIM]
    assert roles(house.namespace) == []


def test_it_stops_by_itself_after_its_duration_and_leaves_nothing(house: House) -> None:
    process = house.start((FEED, 1, 2, []), duration_s=2.0)
    pids = house.wait_running(FEED)
    assert process.wait(20) == 0, house.output
    assert roles(house.namespace) == []
    assert not is_alive(pids[FEED])


def test_a_killed_child_is_back_at_once(house: House) -> None:
    house.start(*FAMILY)
    pids = house.wait_running(*(part[0] for part in FAMILY))
    for role in (FEED, STRATEGY, EXECUTOR, SIM):
        before = time.monotonic()
        os.kill(pids[role], signal.SIGKILL)
        wait_for(lambda role=role: house.table()[role][0] not in (0, pids[role]))  # type: ignore[misc]
        wait_for(lambda role=role: house.phase(role) == ProcessPhase.RUNNING)  # type: ignore[misc]
        print(f"{role} was back after {time.monotonic() - before:.3f} s")
        _, restarts, code, _ = house.table()[role]
        assert (restarts, code) == (1, -signal.SIGKILL)
    segment = ReaderSegment.attach(FEED, namespace=house.namespace)
    assert (segment.incarnation, segment.state) == (2, State.RUN)
    others = house.table()
    assert others[OTHER][0] == pids[OTHER], "the others are left alone"


def test_a_hung_child_is_killed_and_started_again(house: House) -> None:
    once = str(house.folder / "once")
    house.start((FEED, 1, 2, ["--do", "hang", "--once", once]), PENSTOCK_SUPERVISOR_HANG_KILL_S="1")
    wait_for(lambda: house.table().get(FEED, (0, 0, 0, 0))[1] == 1)
    house.wait_running(FEED)
    assert house.table()[FEED][2] == -signal.SIGKILL
    assert f"hung_{FEED}" in house.output
    segment = ReaderSegment.attach("supervisor", namespace=house.namespace)
    assert segment.counters.all()["supervisor_processes_hung"] == 1


def test_a_stopped_child_counts_as_hung(house: House) -> None:
    house.start((FEED, 1, 2, []), PENSTOCK_SUPERVISOR_HANG_KILL_S="1")
    pid = house.wait_running(FEED)[FEED]
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: not is_alive(pid))
    wait_for(lambda: house.table()[FEED][1] == 1)


def test_a_child_that_never_gets_ready_is_killed(house: House) -> None:
    once = str(house.folder / "once")
    house.start(
        (FEED, 1, 2, ["--start-s", "30"]),
        (STRATEGY, 2, 0, ["--once", once]),
        PENSTOCK_SUPERVISOR_START_TIMEOUT_S="0.8",
    )
    wait_for(lambda: f"start_timeout_{FEED}" in house.output)
    assert not Path(once).exists(), "the next stage waits"


def test_a_crash_loop_is_left_failed_and_said_and_the_others_go_on(house: House) -> None:
    process = house.start(
        (FEED, 1, 2, ["--do", "die"]),
        (STRATEGY, 2, 0, []),
        PENSTOCK_SUPERVISOR_RESTART_DELAY_MS="10",
        PENSTOCK_SUPERVISOR_RESTART_COUNT_MAX="3",
    )
    wait_for(lambda: house.phase(FEED) == ProcessPhase.FAILED)
    pid, restarts, code, _ = house.table()[FEED]
    assert (pid, restarts, code) == (0, 3, 7)
    assert "why=crash_loop" in house.output
    house.wait_running(STRATEGY)
    process.terminate()
    assert process.wait(20) == 1, "a run with a failed process is no success"
    assert f"failed: {FEED}" in house.output
    assert roles(house.namespace) == []


def test_a_child_that_refuses_its_configuration_is_not_started_again(house: House) -> None:
    house.start((FEED, 1, 2, ["--do", "refuse"]))
    wait_for(lambda: house.phase(FEED) == ProcessPhase.FAILED)
    assert house.table()[FEED][1:3] == (0, 2)


def test_too_small_a_shm_ends_the_run_at_once_and_in_order_with_the_needed_size(
    house: House,
) -> None:
    shell = 'mount -t tmpfs -o size=448k tmpfs /dev/shm || exit 77; "$@"; code=$?; ls /dev/shm'
    within = ("unshare", "-m", "sh", "-c", f"{shell}; exit $code", "sh")
    parts = [part for part in FAMILY if part[0] in (SIM, FEED, STRATEGY)]
    process = house.start(*parts, within=within)
    process.wait(20)
    if os.geteuid() != 0 or process.returncode == 77 or "unshare" in house.output:
        pytest.skip(f"cannot mount a small /dev/shm here: {house.output.strip()[-200:]}")
    assert process.returncode == 5, house.output
    assert house.output.count(f"{house.namespace}.{FEED} needs ") == 1, "no restart can heal that"
    assert "free of 458752" in house.output
    assert f"no room in shared memory: {FEED}" in house.output
    told = house.story()
    assert ("halt", SIM) in told
    assert ("start", STRATEGY) not in told, "nothing is gained by going on"
    assert house.output.endswith(f"{FEED}\n"), "nothing is left in it"


@pytest.mark.parametrize("place", ["{}", "{}.lock"])
@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_stands_under_a_name_is_told_and_left_and_the_other_processes_go_on(
    house: House, place: str, kind: str
) -> None:
    path = Path(place.format(segment_path(house.namespace, FEED)))
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/nowhere")
    else:
        os.mkfifo(path)
    process = house.start((FEED, 1, 2, []), (STRATEGY, 2, 0, []))
    wait_for(lambda: house.phase(STRATEGY) == ProcessPhase.RUNNING)
    assert house.table()[FEED][:3] == (0, 0, 2)
    assert f"{path} is not a segment" in house.output
    status = house.command("status")
    assert status.returncode == 1
    down = house.command("down")
    assert f"{path} is not a segment" in down.stderr
    assert down.returncode == 1
    assert process.wait(20) == 1, house.output
    assert f"failed: {FEED}" in house.output
    assert os.path.lexists(path), "it is not ours to remove"
    assert roles(house.namespace) == [FEED]


def test_a_child_that_will_not_halt_is_killed_and_the_stop_goes_on(house: House) -> None:
    house.start(
        (FEED, 1, 2, []),
        (STRATEGY, 2, 0, ["--do", "hang"]),
        PENSTOCK_SUPERVISOR_STOP_TIMEOUT_S="0.7",
    )
    pids = house.wait_running(FEED, STRATEGY)
    os.kill(pids[STRATEGY], signal.SIGSTOP)
    assert house.stop() == 0, house.output
    assert ("halt", FEED) in house.story()
    assert roles(house.namespace) == []


def test_a_second_supervisor_is_refused(house: House) -> None:
    house.start((FEED, 1, 2, []))
    house.wait_running(FEED)
    second = subprocess.run(
        [sys.executable, str(SCRIPT), str(next(house.folder.glob("*.json")))],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PENSTOCK_HOST_NAMESPACE": house.namespace},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert second.returncode == 3
    assert "has a living writer" in second.stderr
    assert house.phase(FEED) == ProcessPhase.RUNNING


def test_ctrl_c_in_a_terminal_stops_in_order_too(house: House) -> None:
    process = house.start(*FAMILY)
    house.wait_running(*(part[0] for part in FAMILY))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 0, house.output
    halts = [role for what, role in house.story() if what == "halt"]
    assert halts[:2] == [STRATEGY, EXECUTOR], "the children did not get the signal themselves"
    assert roles(house.namespace) == []


def test_down_stops_a_running_supervisor_and_removes_everything(house: House) -> None:
    process = house.start(*FAMILY)
    house.wait_running(*(part[0] for part in FAMILY))
    down = house.command("down", "--json")
    assert down.returncode == 0, down.stderr
    assert {*json.loads(down.stdout)["removed"]} == {part[0] for part in FAMILY} | {"supervisor"}
    assert process.wait(5) == 0
    assert roles(house.namespace) == []


def test_a_killed_supervisor_takes_everything_with_it_and_nothing_is_left(house: House) -> None:
    process = house.start(*FAMILY)
    pids = house.wait_running(*(part[0] for part in FAMILY))
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in pids.values()), 5.0)
    halted = {role for what, role in house.story() if what == "halt"}
    assert halted == {part[0] for part in FAMILY}, "each halts in order: orders are cancelled"
    wait_for(lambda: roles(house.namespace) == [], 5.0)


@pytest.mark.parametrize(
    "place",
    [
        "cache.segment_file:adopt",  # Its lock is there, no segment.
        "cache.segment_file:_write_head",  # A segment that is half made, under a temporary name.
        "host.supervisor:stop_orphans",  # The whole segment, in BOOT.
        "host.child:Child.start",  # In RUN, before the first process.
    ],
)
@pytest.mark.parametrize("cure", ["up", "down"])
def test_what_a_supervisor_killed_before_its_first_process_leaves_is_removed_by_the_next_command(
    house: House, place: str, cure: str
) -> None:
    assert house.start(*FAMILY, DIE_AT=place).wait(20) == -signal.SIGKILL
    assert list(Path("/dev/shm").glob(f"{house.namespace}.*")), "nothing was left: no test"
    if cure == "up":
        assert house.start((SIM, 0, 3, []), duration_s=0.5).wait(20) == 0, house.output
    else:
        told = house.command("down")
        assert (told.returncode, told.stdout) == (0, "removed: supervisor\n")
    assert list(Path("/dev/shm").glob(f"{house.namespace}.*")) == []


def test_a_supervisor_killed_while_a_child_is_down_leaves_nothing_either(house: House) -> None:
    process = house.start(
        (FEED, 1, 2, []),
        (STRATEGY, 2, 0, []),
        PENSTOCK_SUPERVISOR_RESTART_DELAY_MS="60000",
        PENSTOCK_SUPERVISOR_RESTART_DELAY_MS_MAX="60000",
    )
    pids = house.wait_running(FEED, STRATEGY)
    os.kill(pids[FEED], signal.SIGKILL)
    wait_for(lambda: house.table()[FEED][1] == 1)
    os.kill(house.wait_running(FEED, STRATEGY)[FEED], signal.SIGKILL)
    wait_for(lambda: house.phase(FEED) == ProcessPhase.BACKOFF)
    process.kill()
    process.wait()
    wait_for(lambda: not is_alive(pids[STRATEGY]), 5.0)
    wait_for(lambda: roles(house.namespace) == [], 5.0)


@pytest.mark.parametrize("late_s", [0.0, 0.1, 0.2, 0.3, 0.4])
def test_a_supervisor_killed_while_the_first_process_starts_leaves_nothing(
    house: House, late_s: float
) -> None:
    """Whether that has not asked for the death signal yet, or has, and no handlers yet."""
    process = house.start((FEED, 1, 2, ["--start-s", "0.3"]))
    wait_for(lambda: f"started role={FEED}" in house.output)
    time.sleep(late_s)
    process.kill()
    process.wait()
    wait_for(lambda: roles(house.namespace) == [])
    pid = int(house.output.partition(f"started role={FEED} pid=")[2].split()[0])
    wait_for(lambda: not is_alive(pid))


def test_a_supervisor_killed_while_all_restart_leaves_nothing(house: House) -> None:
    process = house.start(*FAMILY)
    pids = house.wait_running(*(part[0] for part in FAMILY))
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: house.output.count("supervisor.started") > len(FAMILY))
    process.kill()
    process.wait()
    wait_for(lambda: roles(house.namespace) == [])


@pytest.mark.parametrize("names", [(FEED,), (FEED, OTHER, STRATEGY)], ids=["alone", "with others"])
def test_a_stopped_child_halts_when_the_supervisor_is_killed(
    house: House, names: tuple[str, ...]
) -> None:
    parts = [part for part in FAMILY if part[0] in names]
    process = house.start(*parts)
    pids = house.wait_running(*names)
    for name in (FEED, STRATEGY):
        if name in names:
            os.kill(pids[name], signal.SIGSTOP)
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in pids.values()))
    halted = {role for what, role in house.story() if what == "halt"}
    assert halted == {*names}, "a stopped one too: its orders are cancelled"
    wait_for(lambda: roles(house.namespace) == [], 5.0)


def test_a_hung_child_is_killed_by_the_others_when_the_supervisor_is_killed(house: House) -> None:
    process = house.start(
        (FEED, 1, 2, ["--do", "deaf"]),
        (STRATEGY, 2, 0, []),
        PENSTOCK_SUPERVISOR_STOP_TIMEOUT_S="0.5",
        PENSTOCK_SUPERVISOR_HANG_KILL_S="600",
    )
    pids = house.wait_running(FEED, STRATEGY)
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in pids.values()))
    assert [role for what, role in house.story() if what == "halt"] == [STRATEGY]
    wait_for(lambda: roles(house.namespace) == [], 5.0)


def test_down_ends_what_outlived_its_supervisor(house: House) -> None:
    process = house.start((FEED, 1, 2, ["--do", "deaf"]), PENSTOCK_SUPERVISOR_HANG_KILL_S="600")
    pid = house.wait_running(FEED)[FEED]
    process.kill()
    process.wait()
    down = house.command("down", "--json", "--timeout", "0.5")
    assert json.loads(down.stdout)["troubles"] == []
    assert not is_alive(pid)
    assert roles(house.namespace) == []


def test_the_next_supervisor_ends_what_outlived_the_last_one(house: House) -> None:
    quick = {"PENSTOCK_SUPERVISOR_STOP_TIMEOUT_S": "0.5"}
    process = house.start((FEED, 1, 2, ["--do", "deaf"]), PENSTOCK_SUPERVISOR_HANG_KILL_S="600")
    old = house.wait_running(FEED)[FEED]
    process.kill()
    process.wait()
    house.start((FEED, 1, 2, []), **quick)
    wait_for(lambda: house.phase(FEED) == ProcessPhase.RUNNING and house.table()[FEED][0] != old)
    assert not is_alive(old)
    assert house.table()[FEED][1] == 0, "it found its role free"
    assert house.stop() == 0, house.output


def test_a_run_in_which_a_process_never_got_ready_is_no_success(house: House) -> None:
    process = house.start((FEED, 1, 2, ["--start-s", "30"]), duration_s=1.0)
    assert process.wait(20) == 1
    assert f"never ready: {FEED}" in house.output
    assert roles(house.namespace) == []


def test_who_stops_it_before_it_is_ready_gets_what_was_asked_for(house: House) -> None:
    house.start((FEED, 1, 2, ["--start-s", "30"]))
    wait_for(lambda: house.phase(FEED) == ProcessPhase.STARTING)
    assert house.stop() == 0, house.output
    assert roles(house.namespace) == []


def test_everything_removed_from_shared_memory_is_made_again_without_stopping_anything_for_good(
    house: House,
) -> None:
    supervisor = house.start(*FAMILY)
    before = house.wait_running(*(part[0] for part in FAMILY))
    for path in Path("/dev/shm").glob(f"{house.namespace}.*"):
        path.unlink()
    wait_for(lambda: len(house.table()) == len(FAMILY), 60)
    wait_for(
        lambda: all(
            row[0] != before[name] and row[3] == ProcessPhase.RUNNING
            for name, row in house.table().items()
        ),
        60,
    )
    assert supervisor.poll() is None
    assert all(row[2] != -9 for row in house.table().values()), house.output
    assert house.stop() == 0, house.output
    assert roles(house.namespace) == []
