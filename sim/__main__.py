"""`python -m sim`: the simulated venue as a process of its own.

    python -m sim                                       what [sim] in penstock.toml says
    python -m sim --replay FILE [FILE ...] --speed 5    recordings, five times as fast

Arguments, configuration, role, then `sim/run.py` on an event loop until a signal.
"""

from __future__ import annotations

import sys

from host.clock import wall_ns
from host.process import begin, claim, guarded, run_async
from host.say import teller
from sim.choice import choose, make_source, parser
from sim.run import ROLE, serve


def main() -> int:
    """Run the process; give its exit code."""
    given = parser().parse_args()
    config = begin(ROLE, given.config)
    choice = choose(config.sim, given)
    if given.check:
        make_source(choice, wall_ns())
        return 0
    segment = claim(config, ROLE, ())
    return run_async(segment, serve(segment, choice, config), config, self_ready=True)


if __name__ == "__main__":
    sys.exit(guarded(main, teller(sys.argv)))
