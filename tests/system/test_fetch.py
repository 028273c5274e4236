"""Questions over real sockets, to servers that break off, drip and never end."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from feeds.fetch import FetchFailed, fetch

ROOT = Path(__file__).resolve().parents[2]
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that reads a question, answers it by `answer`, and hangs up; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                client.recv(65_536)
                answer(client)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve_one, args=(client,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"Content-Length: 100\r\n\r\n[]", "cut off: 98 bytes"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n", "IncompleteRead"),
        (b"Transfer-Encoding: chunked\r\n\r\n8\r\n[]", "IncompleteRead"),
    ],
)
def test_an_answer_that_breaks_off_is_no_answer(said: bytes, cause: str) -> None:
    with (
        serving(lambda client: client.sendall(HEAD + said)) as url,
        pytest.raises(FetchFailed, match=cause),
    ):
        fetch(url, 5.0)


@pytest.mark.parametrize(
    "said",
    [
        b"Content-Length: 2\r\n\r\n[]",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
        b"Connection: close\r\n\r\n[]",
    ],
)
def test_a_whole_answer_is_taken_however_its_length_is_said(said: bytes) -> None:
    with serving(lambda client: client.sendall(HEAD + said)) as url:
        assert fetch(url, 5.0) == b"[]"


ASKER = """
import asyncio, sys, threading
from feeds.fetch import LEFT_MAX, FetchFailed, fetch_aside

async def ask():
    causes = []
    for _ in range(LEFT_MAX + 12):
        try:
            await fetch_aside(sys.argv[1], -0.95 + 1e-3)
        except FetchFailed as failed:
            causes.append(str(failed))
    print(sum("took too long" in cause for cause in causes),
          sum("too many unanswered" in cause for cause in causes),
          threading.active_count() - 1 <= LEFT_MAX)

import feeds.fetch
held = feeds.fetch.fetch  # A socket takes no time-out below 0, and none is to end this thread.
feeds.fetch.fetch = lambda url, timeout_s, question: held(url, 30.0, question)
asyncio.run(ask())
"""


def drip(client: socket.socket) -> None:
    """Never get to the end of the headers."""
    client.sendall(HEAD + b"X: ")
    while True:
        client.sendall(b"x")
        time.sleep(0.05)


def test_headers_that_drip_pile_up_no_threads_and_hold_up_no_exit() -> None:
    with serving(drip) as url:
        done = subprocess.run(
            [sys.executable, "-c", ASKER, url],
            cwd=ROOT, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    assert done.stdout.split() == ["8", "12", "True"]
