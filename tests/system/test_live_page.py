"""`penstock up` on a real terminal: quotes, fills and the hint stand on every page."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import uuid
from pathlib import Path

from bench.stack import WIDE, free_port
from cache.segment import roles
from tests.system.host_world import ROOT

PATIENCE_S = 240.0
REDRAWN = "\r\x1b[2K"
"""How a page begins that takes the place of the one before."""
STEERING = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
QUOTE = re.compile(r"0\.\d+/0\.\d+ +.*0\.\d+x\d.* QUOTING ")
FILL = re.compile(r"(BUY|SELL) +0\.\d+ x \d.*(maker|taker)")


def resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Screen:
    """What comes out of a terminal, page by page."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._said = ""

    def look(self) -> None:
        if select.select([self._terminal], [], [], 0.1)[0]:
            self._said += os.read(self._terminal, 1 << 16).decode(errors="replace")

    def pages(self) -> list[list[str]]:
        """Every whole page so far; the one that is being drawn may be half there."""
        drawn = self._said.split(REDRAWN)[:-1]
        return [STEERING.sub("", page).strip("\r\n").splitlines() for page in drawn]

    def wait_for_trading(self) -> list[str]:
        """Wait for a page drawn from now on that has the hint, a quote and a fill."""
        seen, limit = len(self.pages()) + 2, time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            self.look()
            for page in self.pages()[seen:]:
                text = "\n".join(page)
                if "Ctrl-C stops" in text and QUOTE.search(text) and FILL.search(text):
                    return page
        raise AssertionError(f"no such page; the last was {self.pages()[-1:]}")


def test_a_quote_a_fill_and_the_hint_are_on_one_page_of_a_small_and_a_large_window(
    tmp_path: Path,
) -> None:
    namespace = f"page-{uuid.uuid4().hex[:8]}"
    own = {
        "PENSTOCK_HOST_NAMESPACE": namespace,
        "PENSTOCK_SIM_PORT": str(free_port()),
        "PENSTOCK_SUPERVISOR_LOG_DIR": str(tmp_path),
        "TERM": "xterm-256color",
    }
    environ = {
        name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")
    }
    terminal, inner = pty.openpty()
    resize(inner, 24, 80)
    process = subprocess.Popen(
        [sys.executable, "-m", "host", "up"],
        cwd=ROOT,
        env=environ | WIDE | own,
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
    )
    screen = Screen(terminal)
    try:
        for rows, columns in ((24, 80), (50, 160)):
            resize(inner, rows, columns)
            page = screen.wait_for_trading()
            assert len(page) <= rows
            assert max(map(len, page)) <= columns
        assert any("incarnation" in line for line in page), "a large window has the tables too"
    finally:
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            screen.look()
        os.close(inner)
        os.close(terminal)
    assert process.returncode == 0
    assert roles(namespace) == []
