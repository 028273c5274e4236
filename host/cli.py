"""The `penstock` command: `penstock COMMAND --help` says what each does, with an example.

Tools read memory and never ask a process; `up`, `sim` and `bench` only start command lines.
Exit codes: 0 ok, 1 fault, 2 usage or configuration, 3 already running, 4 layout mismatch.
Nothing ever prompts.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.live import Live

from cache import segment as segments
from cache.layout import HEADER
from cache.segment import ReaderSegment
from host import supervisor
from host.clock import monotonic_ns, wall_ns
from host.config import load
from host.down import down
from host.dump import board_rows, render, segment_rows
from host.process import ExitCode, guarded
from host.show import screen
from host.survey import Survey, check

STATUS_COLUMNS = 200
"""Width of the tables where the output is not a terminal: nothing is cut off in a log."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and carry out one command; give its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for command, module in (("sim", "sim"), ("bench", "bench")):
        if words[:1] == [command]:
            return guarded(lambda: hand_over(module, words[1:]))  # noqa: B023 - called at once
    options = make_parser().parse_args(words)
    return guarded(lambda: int(options.run(options)))


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="penstock",
        description="Market data in shared memory and crash-safe quoting on one host.",
        epilog="exit codes: 0 ok, 1 fault, 2 usage or configuration, 3 already running, "
        "4 layout mismatch",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    up = _add(commands, "up", "start everything; Ctrl-C stops it in order", "up --duration 60")
    supervisor.add_arguments(up)
    up.set_defaults(run=supervisor.run)
    _add_down(commands)
    _add_status(commands)
    _add(commands, "sim", "run the simulated venue alone", "sim --help")
    _add_shm(commands)
    _add(commands, "bench", "measure, and print the figures", "bench --json")
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    example: str,
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example: penstock {example}",
    )
    return added


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration over penstock.toml")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def _add_down(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "down", "stop a running supervisor, remove the segments", "down")
    _add_common(parser)
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="how long to wait"
    )
    parser.set_defaults(run=run_down)


def _add_status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "show processes, books, quotes, positions and fills; exit 1 unless all processes live"
    parser = _add(commands, "status", text, "status --json")
    _add_common(parser)
    parser.add_argument("--counters", action="store_true", help="show counters and latencies too")
    parser.set_defaults(run=run_status)
    parser = _add(commands, "top", "show the same again and again until Ctrl-C", "top --interval 2")
    _add_common(parser)
    parser.add_argument("--counters", action="store_true", help="show counters and latencies too")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after N looks")
    parser.set_defaults(run=run_top)


def _add_shm(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "shm", "look at shared memory itself", "shm dump feed.binance.0")
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    dump = _add(verbs, "dump", "print a segment", "shm dump feed.binance.0 --board bbo")
    dump.add_argument("role", nargs="?", help="feed.binance.0, ...; without it, name them all")
    dump.add_argument("--board", help="print this board's records, not only the header")
    dump.add_argument("--slot", type=int, help="of this slot alone")
    dump.add_argument("--history", type=int, default=1, metavar="N", help="the last N records")
    _add_common(dump)
    dump.set_defaults(run=run_dump)
    text = "exit 0 if the role's process lives, else 1 and say why on stderr"
    health = _add(verbs, "check", text, "shm check feed.binance.0")
    health.add_argument("role", nargs="?", help="without it, every role there is")
    _add_common(health)
    health.set_defaults(run=run_check)


def hand_over(module: str, words: Sequence[str]) -> int:
    """Become `python -m module`: the command line knows command lines, not modules."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *words])


def print_json(value: object) -> None:
    """Print one line of JSON."""
    print(msgspec.json.encode(value).decode(), flush=True)


def run_down(options: argparse.Namespace) -> int:
    """`penstock down`."""
    removed, troubles = down(load(options.config).host.namespace, options.timeout)
    if options.json:
        print_json({"removed": removed, "troubles": troubles})
    else:
        print(f"removed: {', '.join(removed) or 'nothing was there'}")
        for trouble in troubles:
            print(trouble, file=sys.stderr)
    return ExitCode.FAULT if troubles else ExitCode.OK


def run_status(options: argparse.Namespace) -> int:
    """`penstock status`."""
    picture = Survey(load(options.config).host.namespace).take(monotonic_ns(), wall_ns())
    if options.json:
        print_json(picture)
    else:
        console = Console(width=None if sys.stdout.isatty() else STATUS_COLUMNS)
        console.print(screen(picture, counters=options.counters))
    all_live = all(row.liveness == "LIVE" for row in picture.processes)
    return ExitCode.OK if picture.processes and all_live else ExitCode.FAULT


def run_top(options: argparse.Namespace) -> int:
    """`penstock top`."""
    survey = Survey(load(options.config).host.namespace)
    looks = 0
    live = None
    if not options.json:
        width = None if sys.stdout.isatty() else STATUS_COLUMNS
        live = Live(console=Console(width=width), auto_refresh=False)
        live.start()
    try:
        while not options.count or looks < options.count:
            if looks:
                time.sleep(options.interval)
            looks += 1
            picture = survey.take(monotonic_ns(), wall_ns())
            if live is None:
                print_json(picture)
            else:
                live.update(screen(picture, counters=options.counters), refresh=True)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        if live is not None:
            live.stop()
    return ExitCode.OK


def run_dump(options: argparse.Namespace) -> int:
    """`penstock shm dump`."""
    namespace = load(options.config).host.namespace
    if options.role is None:
        names = segments.roles(namespace)
        print_json(names) if options.json else print("\n".join(names))
        return ExitCode.OK if names else ExitCode.FAULT
    segment = ReaderSegment.attach(options.role, namespace=namespace)
    if options.board is not None:
        rows = board_rows(segment.board(options.board), slot=options.slot, history=options.history)
        print_json(list(rows)) if options.json else print("\n".join(render(rows)))
        return ExitCode.OK
    with open(segment.path, "rb") as file:
        shown = segment_rows(segment, file.read(HEADER.size))
    if options.json:
        print_json(shown)
        return ExitCode.OK
    print(shown.pop("path"))
    for title, part in shown.items():
        print(f"{title}:")
        assert isinstance(part, dict)
        for name, value in part.items():
            if isinstance(value, dict):
                value = " ".join(f"{key}={one}" for key, one in value.items())
            print(f"  {name:<18} {value}")
    print("counters:")
    for name, count in segment.counters.all().items():
        print(f"  {name:<32} {count:,}")
    return ExitCode.OK


def run_check(options: argparse.Namespace) -> int:
    """`penstock shm check`."""
    namespace = load(options.config).host.namespace
    names = [options.role] if options.role else segments.roles(namespace)
    faults = {name: fault for name in names if (fault := check(name, namespace, monotonic_ns()))}
    if not names:
        faults = {"": f"there is no segment in the namespace {namespace}"}
    if options.json:
        print_json({"ok": not faults, "faults": faults})
    else:
        for fault in faults.values():
            print(fault, file=sys.stderr)
    return ExitCode.FAULT if faults else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
