"""The `penstock` command: `penstock COMMAND --help` says what each does, with an example.

Tools read memory and never ask a process; `up`, `sim` and `bench` only start command lines.
Exit codes: 0 ok, 1 fault, 2 usage or configuration, 3 already running, 4 layout mismatch, 5 no
room in shared memory. With `--json` an error is JSON too, on stdout, always of the same shape:
`{"error": {"code", "name", "message", "faults"}}`.
Nothing ever prompts, and a reader of stdout that has gone (`| head`) changes no exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live

from cache import segment as segments
from cache.errors import PenstockError
from cache.layout import HEADER
from cache.segment import ReaderSegment
from host import supervisor
from host.arguments import DAY_S, Parser, UsageError, real, whole
from host.clock import monotonic_ns, wall_ns
from host.config import load
from host.down import down
from host.dump import board_rows, render, segment_rows
from host.page import WindowPage
from host.process import ExitCode, guarded
from host.roles import SUPERVISOR_ROLE, plan
from host.say import hush, say, say_json, teller
from host.settings import Config
from host.show import screen
from host.survey import Survey, check
from host.trust import Judge

STATUS_COLUMNS = 200
"""Width of the tables where the output is not a terminal: nothing is cut off in a log."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and carry out one command; give its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return guarded(lambda: _carry_out(words), teller(words))


def _carry_out(words: Sequence[str]) -> int:
    if words[:1] in (["sim"], ["bench"]):
        return hand_over(words[0], words[1:])
    options = make_parser().parse_args(words)
    try:
        return int(options.run(options))
    except OSError as fault:  # The system's refusal says what was refused: a full disk, a limit.
        raise PenstockError(str(fault)) from fault


def make_parser() -> Parser:
    """Build the parser of all commands."""
    parser = Parser(
        prog="penstock",
        description="Market data in shared memory and crash-safe quoting on one host.",
        epilog="example: penstock up --duration 60; "
        "exit codes: 0 ok, 1 fault, 2 usage or configuration, 3 already running, "
        "4 layout mismatch, 5 no room in shared memory",
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
    commands: argparse._SubParsersAction[Parser],
    name: str,
    text: str,
    example: str,
) -> Parser:
    return commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"example: penstock {example}",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration over penstock.toml")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def _add_down(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = _add(commands, "down", "stop a running supervisor, remove the segments", "down")
    _add_common(parser)
    wait = real(0, DAY_S)
    parser.add_argument(
        "--timeout", type=wait, default=30.0, metavar="SECONDS", help="how long to wait"
    )
    parser.set_defaults(run=run_down)


def _add_status(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "show processes, books, quotes, positions and fills; exit 1 unless all processes live"
    parser = _add(commands, "status", text, "status --json")
    _add_common(parser)
    parser.add_argument("--counters", action="store_true", help="show counters and latencies too")
    parser.set_defaults(run=run_status)
    parser = _add(commands, "top", "show the same again and again until Ctrl-C", "top --interval 2")
    _add_common(parser)
    parser.add_argument("--counters", action="store_true", help="show counters and latencies too")
    parser.add_argument("--interval", type=real(0, DAY_S), default=1.0, metavar="SECONDS")
    looks = whole(1, 10**9)
    parser.add_argument("--count", type=looks, default=0, metavar="N", help="end after N looks")
    parser.set_defaults(run=run_top)


def _add_shm(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = _add(commands, "shm", "look at shared memory itself", "shm dump feed.binance.0")
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    dump = _add(verbs, "dump", "print a segment", "shm dump feed.binance.0 --board bbo")
    dump.add_argument("role", nargs="?", help="feed.binance.0, ...; without it, name them all")
    dump.add_argument("--board", help="print this board's records, not only the header")
    dump.add_argument("--slot", type=whole(0, 2**31), help="of this slot alone")
    count = whole(1, 2**31)
    dump.add_argument("--history", type=count, default=1, metavar="N", help="the last N records")
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


class Page(Console):
    """Tables for a terminal, or wide enough for a log."""

    def __init__(self) -> None:
        super().__init__(width=None if sys.stdout.isatty() else STATUS_COLUMNS)

    def on_broken_pipe(self) -> None:
        """Go on, to the exit code that is true."""
        self.quiet = True
        hush()


def run_down(options: argparse.Namespace) -> int:
    """`penstock down`."""
    removed, troubles = down(load(options.config).host.namespace, options.timeout)
    if options.json:
        say_json({"removed": removed, "troubles": troubles})
    else:
        say(f"removed: {', '.join(removed) or 'nothing was there'}")
        for trouble in troubles:
            print(trouble, file=sys.stderr)
    return ExitCode.FAULT if troubles else ExitCode.OK


def run_status(options: argparse.Namespace) -> int:
    """`penstock status`."""
    config = load(options.config)
    picture = Survey(config.host.namespace, Judge.of(config)).take(monotonic_ns(), wall_ns())
    if options.json:
        say_json(picture)
    else:
        Page().print(screen(picture, counters=options.counters))
    all_live = all(row.liveness == "LIVE" for row in picture.processes)
    return ExitCode.OK if picture.processes and all_live else ExitCode.FAULT


def run_top(options: argparse.Namespace) -> int:
    """`penstock top`."""
    config = load(options.config)
    survey = Survey(config.host.namespace, Judge.of(config))
    page = Page()
    looks = 0
    live = None
    if page.is_terminal and not options.json:
        live = Live(console=page, auto_refresh=False)
        live.start()
    try:
        while not options.count or looks < options.count:
            if looks:
                time.sleep(options.interval)
            looks += 1
            picture = survey.take(monotonic_ns(), wall_ns())
            if options.json:
                say_json(picture)
            elif live is None:  # Into a pipe or a file: one after the other.
                page.print(screen(picture, counters=options.counters))
            else:
                text = "Ctrl-C ends this view, and nothing else"
                live.update(WindowPage(picture, text, counters=options.counters), refresh=True)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        if live is not None:
            live.stop()
    return ExitCode.OK


def run_dump(options: argparse.Namespace) -> int:
    """`penstock shm dump`."""
    config = load(options.config)
    if options.board is None and (options.slot is not None or options.history > 1):
        raise UsageError("--slot and --history choose records of a board: name it with --board")
    if options.role is None:
        names = segments.roles(config.host.namespace)
        say_json(names) if options.json else say("\n".join(names))
        return ExitCode.OK if names else ExitCode.FAULT
    segment = find_segment(options.role, config)
    if options.board is not None:
        return dump_board(segment, options)
    with open(segment.path, "rb") as file:
        shown = segment_rows(segment, file.read(HEADER.size))
    if options.json:
        say_json(shown)
        return ExitCode.OK
    lines = [str(shown.pop("path"))]
    for title, part in shown.items():
        lines.append(f"{title}:")
        assert isinstance(part, dict)
        for name, value in part.items():
            if isinstance(value, dict):
                value = " ".join(f"{key}={one}" for key, one in value.items())
            lines.append(f"  {name:<18} {value}")
    lines.append("counters:")
    lines += [f"  {name:<32} {count:,}" for name, count in segment.counters.all().items()]
    say("\n".join(lines))
    return ExitCode.OK


def find_segment(role: str, config: Config) -> ReaderSegment:
    """Attach the role's segment. Raises UsageError for a role that nobody has or could have."""
    there = segments.roles(config.host.namespace)
    known = {*there, *(part.role for part in plan(config)), SUPERVISOR_ROLE}
    if role not in known:
        raise UsageError(f"there is no role {role!r}: write one of {', '.join(sorted(known))}")
    return ReaderSegment.attach(role, namespace=config.host.namespace)


def dump_board(segment: ReaderSegment, options: argparse.Namespace) -> int:
    """Print the records of one board."""
    places = segment.places()
    if options.board not in places:
        names = ", ".join(places) or "none"
        raise UsageError(f"{options.role} has no board {options.board!r}, only {names}")
    board = segment.board(options.board)
    if options.slot is not None and options.slot >= board.slot_count:
        raise UsageError(f"--slot {options.slot}: {options.board} has {board.slot_count} slots")
    rows = board_rows(board, slot=options.slot, history=options.history)
    say_json(list(rows)) if options.json else say("\n".join(render(rows)))
    return ExitCode.OK


def run_check(options: argparse.Namespace) -> int:
    """`penstock shm check`."""
    namespace = load(options.config).host.namespace
    names = [options.role] if options.role else segments.roles(namespace)
    faults = {name: fault for name in names if (fault := check(name, namespace, monotonic_ns()))}
    if not names:
        faults = {"": f"there is no segment in the namespace {namespace}"}
    if options.json:
        say_json({"ok": not faults, "faults": faults})
    else:
        for fault in faults.values():
            print(fault, file=sys.stderr)
    return ExitCode.FAULT if faults else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
