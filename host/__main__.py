"""`python -m host`, which is the command `penstock`: loads `host/cli.py` and hands over to it.

Loading takes more than half a second, in which nothing has been begun: Ctrl-C then just ends the
process, without a word and with exit code 0, as asked.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Carry out the command line; give the exit code."""
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Else it is ignored.
    if default:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(0))
    if sys.stdout is None:  # Closed (`>&-`): whatever is said is said to nobody.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    from host.cli import main as carry_out

    try:
        if default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return carry_out()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
