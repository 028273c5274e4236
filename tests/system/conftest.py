"""What the tests of whole processes share."""

import shutil
import subprocess
from pathlib import Path

import pytest

PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def reader(tmp_path_factory):
    """Run the reader in C; gives (exit status, lines it printed)."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the reader cannot be built")
    program = tmp_path_factory.mktemp("reader") / "reader"
    source = Path(__file__).with_name("reader.c")
    flags = ("-O2", "-std=c11", "-Wall", "-Wextra", "-Werror")
    subprocess.run([compiler, *flags, "-o", program, source], check=True)

    def run(*words):
        done = subprocess.run(
            [program, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    run.program = program
    return run
