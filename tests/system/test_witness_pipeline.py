"""The whole pipeline beside a venue that falls silent, and who of it talks to the network."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from pathlib import Path

import pytest

from bench.stack import Stack
from cache.counters import Counter
from cache.gate import FAST15M
from cache.layout import OrderState

FREEZE_S = 12.0

# Put in front of every child's modules: writes down each use of a socket and each request.
WATCH = """
import os, sys
place = os.path.join(os.environ["AUDIT_DIRECTORY"], str(os.getpid()))
out = os.open(place, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
def hook(event, args):
    if event.startswith(("socket.", "urllib.", "http.", "ssl.")):
        os.write(out, f"{event} {args[1:]}\\n".encode())
sys.addaudithook(hook)
"""


class Pipeline(Stack):
    """`penstock up`, and the control of its venue."""

    def control(self, **words: object) -> None:
        url = f"http://127.0.0.1:{self._environ['PENSTOCK_SIM_PORT']}/control"
        request = urllib.request.Request(url, json.dumps(words).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            assert answer.status == 200

    def orders_since(self, at_ns):
        return [
            order for order in self.board("executor.paper", "orders") if order.created_ns > at_ns
        ]

    def is_resting(self) -> bool:
        orders = self.board("executor.paper", "orders")
        return any(order.state == OrderState.WORKING for order in orders)

    def counted(self, counter):
        segment = self.segment("feed.polymarket.0")
        return segment.counters[counter] if segment is not None else 0


def test_no_order_is_placed_on_a_venue_that_fell_silent_while_it_answers_pings() -> None:
    """An order of then rests on a book that changed, or that REST has shown, within the policy."""
    with Pipeline() as pipeline:
        pipeline.wait_quoting(room_s=40.0)
        pipeline.wait(pipeline.is_resting)
        proofs: dict[tuple[int, int], int] = {}
        placed = {}

        def look(seconds: float) -> None:
            end_ns = time.monotonic_ns() + seconds * 1e9
            while time.monotonic_ns() < end_ns:
                for top in pipeline.board("feed.polymarket.0", "pair_bbo"):
                    proofs[top.tag, top.version] = max(top.recv_ns, top.proven_ns)
                for order in pipeline.orders_since(frozen_ns):
                    placed[order.order_id] = order
                time.sleep(0.005)

        frozen_ns = time.monotonic_ns()
        look(1.0)
        pipeline.control(fault="freeze", channel="polymarket")
        frozen_ns = time.monotonic_ns()
        placed.clear()
        look(FREEZE_S)
        ages_ns = [
            order.created_ns - proofs[order.pair_tag, order.book_version]
            for order in placed.values()
            if order.created_ns > frozen_ns + FAST15M.evidence_ns_max
        ]
        oldest_s = max(ages_ns, default=0) / 1e9
        print(f"{len(placed)} orders after the freeze, on proofs of up to {oldest_s:.2f} s")
        assert oldest_s * 1e9 <= FAST15M.quiet_ns_max
        pipeline.wait(lambda: not pipeline.quotes() and not pipeline.is_resting())
        assert pipeline.counted(Counter.feeds_books_frozen) >= 1
        pipeline.control(fault="thaw", channel="polymarket")
        thawed_ns = time.monotonic_ns()
        pipeline.wait(lambda: pipeline.quotes() and pipeline.orders_since(thawed_ns))
        print(f"quoting again after {(time.monotonic_ns() - thawed_ns) / 1e9:.1f} s")


def test_only_feeds_and_venue_ever_touch_a_socket(tmp_path: Path) -> None:
    modules, heard = tmp_path / "modules", tmp_path / "heard"
    for folder in (modules, heard):
        folder.mkdir()
    (modules / "sitecustomize.py").write_text(WATCH)
    with Pipeline(PYTHONPATH=str(modules), AUDIT_DIRECTORY=str(heard)) as pipeline:
        pipeline.wait_quoting()
        pipeline.wait(pipeline.is_resting)
        pids = pipeline.pids()
        deciders = [pids[role] for role in ("strategy.maker", "executor.paper")]
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            for pid in deciders:
                assert sockets_of(pid) == []
            time.sleep(0.05)
        assert sockets_of(pids["feed.polymarket.0"]), "a feed without a socket was looked at wrong"
        used = {role: (heard / str(pid)).read_text() for role, pid in pids.items() if pid}
    assert used["strategy.maker"] == ""
    assert used["executor.paper"] == ""
    assert "urllib.Request" in used["feed.polymarket.0"]


def sockets_of(pid: int) -> list[str]:
    """The sockets that a process has open."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.append(target)
    return found


@pytest.fixture(autouse=True)
def _without_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
