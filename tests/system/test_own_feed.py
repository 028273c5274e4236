"""docs/own-feed.md: every program of the page does what the page says of it."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from cache.bn_poll import read_poll
from cache.layout import State
from cache.segment import ReaderSegment, segment_path
from tests.system.host_world import ROOT, wait_for

PAGE = (ROOT / "docs" / "own-feed.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
ROLE = re.compile(r'"feed\.(?:mine|market)\.0"(?:, \w+_boards\(\))?')


class Reader:
    """Whoever types the programs in and starts them, in a namespace of his own."""

    def __init__(self, folder, namespace):
        self.folder, self.namespace = folder, namespace
        self.running = []

    def type_in(self, name, port=0):
        """A program as it stands on the page, but for what it would share with other tests."""
        text = ROLE.sub(rf'\g<0>, namespace="{self.namespace}"', PROGRAMS[name])
        path = self.folder / name
        path.write_text(text.replace("8900", str(port)))
        return [sys.executable, str(path)]

    def start(self, name, port=0):
        self.running.append(subprocess.Popen(self.type_in(name, port), env=self.environ))

    def run(self, name):
        told = subprocess.run(
            self.type_in(name), env=self.environ, capture_output=True, text=True, timeout=30
        )
        assert not told.returncode, told.stderr
        return told.stdout

    @property
    def environ(self):
        return os.environ | {"PYTHONPATH": str(ROOT)}

    def has_books(self, role, board):
        if not Path(segment_path(self.namespace, role)).exists():
            return False
        segment = ReaderSegment.attach(role, namespace=self.namespace)
        return segment.state == State.RUN and segment.board(board).version(0) > 0


@pytest.fixture
def reader(tmp_path, namespace):
    made = Reader(tmp_path, namespace)
    yield made
    for process in made.running:
        process.kill()
        process.wait()


def test_all_programs_of_the_page_are_tried_and_none_is_long():
    assert list(PROGRAMS) == ["service.py", "reference.py", "reader.py", "market.py", "books.py"]
    assert all(len(text.splitlines()) <= 22 for text in PROGRAMS.values())


def test_a_reference_of_ones_own_is_published_and_read(reader):
    reader.start("reference.py")
    wait_for(lambda: reader.has_books("feed.mine.0", "bbo"))
    number, px, *age = reader.run("reader.py").split()
    assert int(number) >= 1
    assert 60_000 <= float(px) < 60_007
    assert 0 <= int(age[0]) < 60_000
    segment = ReaderSegment.attach("feed.mine.0", namespace=reader.namespace)
    assert segment.pid == reader.running[0].pid
    assert segment.link_ns > 0


def test_a_market_of_ones_own_is_published_and_read(reader):
    reader.start("market.py")
    wait_for(lambda: reader.has_books("feed.market.0", "pair_bbo"))
    told = reader.run("books.py")
    assert "bid_px_e9=490000000" in told
    assert told.split()[-1] == "500000000"


def test_the_service_of_the_page_is_understood(reader):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reader.start("service.py", port)

    def ask():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    wait_for(ask)
    found = read_poll(ask(), "BTCUSDT")
    assert found.ask_px_e9 - found.bid_px_e9 == 500_000_000
    assert found.wall_ts_ms
