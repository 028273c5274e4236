"""The command `penstock` as a process: its streams, its exit codes, its first moments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cache.layout import State
from cache.segment import WriterSegment, roles
from tests.system.host_world import ROOT, wait_for

LOADING_S = 0.6
"""About as long as the command loads."""


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(namespace: str) -> Iterator[Start]:
    """Start the command in the test's namespace; whatever happens it has ended afterwards."""
    made = []

    def begin(*words: str, module: str = "host", **environ: str) -> subprocess.Popen[str]:
        named = {"PYTHONPATH": str(ROOT), "PENSTOCK_HOST_NAMESPACE": namespace}
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            env=os.environ | named | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        made.append(process)
        return process

    yield begin
    for process in made:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def test_ctrl_c_while_it_loads_ends_it_without_a_word(start: Start, namespace: str) -> None:
    """At many moments: from its first extension module on, and a little beyond the last."""
    for step in range(6):
        process = start("up", PENSTOCK_HOST_LOG_LEVEL="error")
        wait_for(lambda: "site-packages" in Path(f"/proc/{process.pid}/maps").read_text())  # noqa: B023
        time.sleep(LOADING_S * step / 6)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (0, "", ""), f"step {step}"
    assert roles(namespace) == []


@pytest.mark.parametrize("words", [["status"], ["shm", "dump"], ["shm", "dump", "feed.x"]])
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_reader_that_has_gone_changes_neither_peace_nor_exit_code(
    start: Start, namespace: str, words: list[str], form: list[str]
) -> None:
    writer = WriterSegment.create("feed.x", (), namespace=namespace)
    writer.set_state(State.RUN)
    process = start(*words, *form)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    while process.poll() is None:
        writer.heartbeat(time.monotonic_ns())
        time.sleep(0.01)
    assert process.stderr.read() == ""
    assert process.returncode == 0
    writer.close()


@pytest.mark.parametrize(("form", "code"), [(">/dev/full", 1), (">&-", 0)])
@pytest.mark.parametrize("command", ["status", "shm dump", "shm dump feed.x --json"])
def test_a_stdout_that_takes_nothing_is_no_traceback(
    namespace: str, command: str, form: str, code: int
) -> None:
    writer = WriterSegment.create("feed.x", (), namespace=namespace)
    named = {"PYTHONPATH": str(ROOT), "PENSTOCK_HOST_NAMESPACE": namespace}
    line = f"{sys.executable} -m host {command} {form}"
    done = subprocess.run(
        ["sh", "-c", line], env=os.environ | named, stderr=subprocess.PIPE, text=True, timeout=30
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if command == "status" else code)
    writer.close()


def test_a_second_supervisor_is_refused_in_json(start: Start, namespace: str) -> None:
    living = WriterSegment.create("supervisor", (), namespace=namespace)
    out, err = start("up", "--json", PENSTOCK_HOST_LOG_LEVEL="error").communicate()
    assert err == ""
    assert json.loads(out)["error"]["name"] == "ALREADY_RUNNING"
    living.close()


@pytest.mark.parametrize("kind", ["absent", "folder", "junk", "broken"])
def test_a_recording_that_cannot_be_replayed_is_refused_before_anything_starts(
    start: Start, namespace: str, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind != "absent":
        path.write_bytes(b"\x1f\x8b\x08nonsense" if kind == "broken" else b"junk")
    recordings = f'["{path}"]'
    process = start("up", PENSTOCK_SIM_MODE="replay", PENSTOCK_SIM_RECORDINGS=recordings)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert out == ""
    assert str(path) in err
    assert "Traceback" not in err
    assert roles(namespace) == []


def test_the_simulated_venue_says_in_json_what_it_serves(start: Start) -> None:
    process = start("sim", "--json", "--port", "0", PENSTOCK_HOST_LOG_LEVEL="error")
    assert process.stdout is not None
    served = json.loads(process.stdout.readline())
    assert served["url"].startswith("http://127.0.0.1:")
    assert served["mode"] == "model"
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    "words",
    [["sim", "--port", "99999"], ["sim", "--nonsense"], ["bench", "nonsense"],
     ["bench", "--minutes", "nan"], ["sim", "--replay", "/nonexistent", "--check"]],
    ids=" ".join,
)  # fmt: skip
def test_what_is_handed_over_tells_wrong_usage_the_same_way(start: Start, words: list[str]) -> None:
    process = start(*words, PENSTOCK_HOST_LOG_LEVEL="error")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, "Traceback" in err) == (2, "", False)
    assert err.strip()
    process = start(*words, "--json", PENSTOCK_HOST_LOG_LEVEL="error")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (2, "")
    assert json.loads(out)["error"]["name"] == "USAGE"


@pytest.mark.parametrize(
    ("module", "role"), [("strategy", "strategy.maker"), ("executor", "executor.paper")]
)
def test_a_process_logs_under_one_name_from_its_first_line_on(
    start: Start, module: str, role: str
) -> None:
    process = start(module=module)
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(2)]
    process.terminate()
    lines += process.communicate(timeout=30)[1].splitlines()
    assert " host.configured " in lines[0]
    assert {line.split()[2] for line in lines} == {role}


@pytest.mark.parametrize("venue", ["polymarket", "binance"])
def test_the_help_of_a_feed_has_an_example_of_its_own(start: Start, venue: str) -> None:
    out, _ = start(venue, "--help", module="feeds").communicate(timeout=30)
    assert f"example: python -m feeds {venue} " in out
