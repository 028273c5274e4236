"""The whole pipeline on the simulated venue: quoting, and quoting again after every kill."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cache.board import Miss
from cache.errors import SegmentError
from cache.layout import OrderState, Reason
from cache.segment import ReaderSegment, remove, roles

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
"""Long: a run may begin shortly before a window ends, and the machine may be busy."""

# Limits so wide that only the window's edges keep the strategy from quoting.
WIDE = {
    "PENSTOCK_PAPER_QUOTE_PX_MIN": "0.01",
    "PENSTOCK_PAPER_QUOTE_PX_MAX": "0.99",
    "PENSTOCK_PAPER_QUOTE_QTY": "5",
    "PENSTOCK_PAPER_QUOTE_POSITION_QTY_MAX": "100000",
    "PENSTOCK_PAPER_MARKET_QTY_MAX": "100000",
    "PENSTOCK_PAPER_MARKET_LOSS_MAX": "100000",
    "PENSTOCK_PAPER_TOTAL_LOSS_MAX": "100000",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Pipeline:
    """`penstock up` in a namespace and on a port of its own, watched through its memory alone."""

    def __init__(self, folder: Path) -> None:
        self.namespace = f"test-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.output = folder / "output"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str, **environ: str) -> None:
        own = {"PENSTOCK_HOST_NAMESPACE": self.namespace, "PENSTOCK_SIM_PORT": str(free_port())}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "host.cli", "up", *words],
                cwd=ROOT,
                env=os.environ | own | WIDE | environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def board(self, role: str, name: str) -> list[object]:
        """The newest records of a board; none where there is no such segment now."""
        try:
            board = ReaderSegment.attach(role, namespace=self.namespace).board(name)
        except SegmentError:
            return []
        found = (board.read(slot, 0) for slot in range(board.slot_count) if board.version(slot))
        return [record for record in found if not isinstance(record, Miss)]

    def processes(self) -> dict[str, int]:
        return {row.name: row.pid for row in self.board("supervisor", "processes")}

    def is_quoting(self, since_ns: int = 0) -> bool:
        """Whether a wish that was published after `since_ns` stands, and an order rests."""
        wishes = self.board("strategy.maker", "quotes")
        orders = self.board("executor.paper", "orders")
        return any(
            wish.reason == Reason.QUOTING
            and wish.publish_ns > since_ns
            and wish.valid_until_ns > time.monotonic_ns()
            for wish in wishes
        ) and any(order.state == OrderState.WORKING for order in orders)

    def shows(self, pattern: str) -> bool:
        """Whether a line of the output has the pattern."""
        return re.search(pattern, self.output.read_text()) is not None

    def fills(self) -> int:
        return sum(row.fill_count for row in self.board("executor.paper", "positions"))

    def wait(self, what: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
        limit = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < limit, f"in vain; {self.output.read_text()[-4000:]}"
            time.sleep(0.02)

    def is_gone(self) -> bool:
        command = f"{self.namespace}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if command in path.read_bytes() and int(path.parent.name) != os.getpid():
                    return False
            except (OSError, PermissionError):
                continue
        return roles(self.namespace) == []

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.wait(self.is_gone, 60)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    made = Pipeline(tmp_path)
    yield made
    made.close()
    for role in roles(made.namespace):
        remove(role, namespace=made.namespace)


def test_quoting_comes_back_after_every_kill_and_a_killed_supervisor_halts_all(
    pipeline: Pipeline,
) -> None:
    pipeline.start()
    pipeline.wait(pipeline.is_quoting)
    pipeline.wait(pipeline.fills)
    pipeline.wait(lambda: pipeline.shows(r"status  live 6/6 · BTCUSDT [\d,.]+/[\d,.]+ .* Up 0\."))
    for role in ("feed.binance.0", "feed.polymarket.0", "strategy.maker", "executor.paper", "sim"):
        pid = pipeline.processes()[role]
        fills = pipeline.fills()
        killed_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        pipeline.wait(lambda role=role, pid=pid: pipeline.processes().get(role, pid) != pid)
        born_ns = time.monotonic_ns()
        pipeline.wait(lambda born_ns=born_ns: pipeline.is_quoting(born_ns))
        print(f"{role}: quoting again after {(time.monotonic_ns() - killed_ns) / 1e6:.0f} ms")
        assert pipeline.fills() >= fills, f"fills were lost with {role}"
    assert pipeline.process is not None
    pipeline.process.kill()
    pipeline.process.wait()
    pipeline.wait(pipeline.is_gone, 60)


def test_a_run_ends_by_itself_and_leaves_nothing(pipeline: Pipeline) -> None:
    pipeline.start("--duration", "3")
    assert pipeline.process is not None
    assert pipeline.process.wait(120) == 0, pipeline.output.read_text()[-4000:]
    assert pipeline.is_gone()


def test_a_run_from_recordings_shows_books_and_says_that_there_is_no_strike(
    pipeline: Pipeline,
) -> None:
    folder = os.environ.get("PENSTOCK_RECORDINGS")
    if not folder:
        pytest.skip("PENSTOCK_RECORDINGS names no folder of recordings")
    market = Path(folder, "polymarket/derived/btc-updown-5m-1776326100.price_change.jsonl.gz")
    spot = Path(folder, "binance/spot_btcusdt_20240808.gz")
    assert market.exists()
    assert spot.exists()
    pipeline.start(
        PENSTOCK_SIM_MODE="replay",
        PENSTOCK_SIM_RECORDINGS=f'["{market}", "{spot}"]',
    )
    book = r"BTCUSDT 61,\d+.* btc-updown-5m-1776326100 Up 0\.\d+/0\.\d+ .* no quote: NO_STRIKE"
    pipeline.wait(lambda: pipeline.shows(book), 120)
