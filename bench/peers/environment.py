"""The peers' own virtual environment, and a worker in it that is told line by line what to run.

Nothing of a peer is imported by this project, and nothing is installed unless it is asked for:
`python -m bench peers --install`. Without it a peer's figure is "not measured".
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-peers"
PYTHON = FOLDER / "bin" / "python"
REQUIREMENTS = ("nautilus_trader[polymarket]==1.221.0", "pyzmq==27.3.0", "iceoryx2==0.10.0")
HINT = "not measured: run `python -m bench peers --install`"


def is_installed() -> bool:
    """Whether the environment was made and finished."""
    return (FOLDER / ".installed").exists()


def install() -> None:
    """Make the environment; CalledProcessError where that fails."""
    print(f"making {FOLDER.name}: {', '.join(REQUIREMENTS)}", file=sys.stderr)
    venv.create(FOLDER, with_pip=True, clear=True)
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *REQUIREMENTS], check=True)
    (FOLDER / ".gitignore").write_text("*\n")
    (FOLDER / ".installed").touch()


class Worker:
    """A script in the peers' environment that answers each line of JSON with one of its own."""

    def __init__(self, script: str) -> None:
        self._process = subprocess.Popen(
            [str(PYTHON), str(Path(__file__).with_name(script))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> Any:
        """Send a request and wait for its answer; RuntimeError where the worker ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peer's worker ended with {self._process.wait()}")
        return json.loads(answer)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
