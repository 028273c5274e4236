"""`python -m bench [module ...] [--json]`: measure, and print a table or JSON rows.

Without modules everything is measured that this checkout can measure, in about twelve minutes;
`--minutes 10 --repeat 10` is the long form. `python -m bench peers --install` makes the peers' own
environment, which nothing else does.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence

from bench.peers import environment
from bench.row import Row, as_json, as_table
from host.arguments import Parser, real, whole
from host.process import guarded
from host.say import teller

MODULES = ("cache", "scale", "md_cache", "feeds", "sockets", "pipeline")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m bench",
        description="Measure the figures of bench/README.md.",
        epilog="example: python -m bench feeds --json",
    )
    names = ", ".join(MODULES)
    parser.add_argument("module", nargs="*", help=f"{names}, or peers; none: all that measure")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    parser.add_argument("--install", action="store_true", help="peers: make their environment")
    parser.add_argument(
        "--minutes", type=real(0.01, 10_000), help="pipeline (3), md_cache (0.8): how long it runs"
    )
    parser.add_argument(
        "--repeat", type=whole(1, 10_000), default=5, help="pipeline: kills of each process"
    )
    parser.add_argument(
        "--part", action="append", default=[], help="pipeline: kill, wire, parked, footprint; rate"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was named; give the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    names = list(given.module)
    if "peers" in names:
        names.remove("peers")
        if given.install:
            environment.install()
        else:
            state = "installed" if environment.is_installed() else environment.HINT
            print(f"{environment.FOLDER.name}: {state}")
        if not names:
            return 0
    if unknown := set(names) - set(MODULES):
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose of {', '.join(MODULES)}")
    rows: list[Row] = []
    for name in names or MODULES:
        if importlib.util.find_spec(f"bench.{name}") is None:
            continue
        module = importlib.import_module(f"bench.{name}")
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        words: dict[str, object] = {}
        if name in ("pipeline", "md_cache") and given.minutes is not None:
            words["minutes"] = given.minutes
        if name == "pipeline":
            words |= {"repeat": given.repeat, "only": given.part}
        rows += module.rows(**words)
    print(as_json(rows) if given.json else as_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, teller(sys.argv)))
