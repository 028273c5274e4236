"""The frame every process runs in: BOOT -> RUN -> HALT, or FAIL, told in its segment's header.

    def main() -> int:
        config = begin("executor.paper", arguments.config)    configuration read, logs set up
        segment = claim(config, "executor.paper", BOARDS)     the role is ours, state BOOT
        return run_role(segment, Executor(...), config)       or run_async(segment, coroutine, ...)

    if __name__ == "__main__":
        sys.exit(guarded(main))                               exceptions become exit codes

`run_role` drives a polling process, `run_async` one that lives on an event loop (uvloop). Both
beat the heart at a jittered interval in [min, 2 * min] from their housekeeping, never per message;
stop on SIGTERM, SIGINT and SIGHUP; notice a removed segment, a host that slept and a supervisor
that died; and bound their own halt. SIGHUP is also what the kernel sends when the supervisor
dies: then the process halts as usual and removes what the whole family left in shared memory.

This is the only file that may catch every exception: it logs, says FAIL and exits. It does not
restart anything, and a crash runs no `on_halt`: start is recovery.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import random
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from enum import IntEnum
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import uvloop

from cache.counters import Counter, Histogram
from cache.errors import (
    AlreadyRunning,
    LayoutMismatch,
    PenstockError,
    SegmentDamaged,
    SegmentForeign,
    SegmentRemoved,
    SharedMemoryFull,
)
from cache.layout import BoardSpec, State
from cache.liveness import STALE_NS
from cache.segment import ReaderSegment, WriterSegment
from host import family, log, venue_clock
from host.arguments import UsageError
from host.clock import NS_PER_MS, SuspendWatch, monotonic_ns
from host.config import ConfigError, effective, load
from host.idle import IdleStrategy, make_idle
from host.settings import Config

LOG = log.get_log("host")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SETTLE_NS = 2_000 * NS_PER_MS
"""A process this old has made what it lives with; the collection before the freeze takes 10 ms."""


class ExitCode(IntEnum):
    """How a process or a command ended; stable."""

    OK = 0
    FAULT = 1
    USAGE = 2
    ALREADY_RUNNING = 3
    LAYOUT_MISMATCH = 4
    NO_ROOM = 5


class Role(Protocol):
    """What a polling process does; the frame does everything else."""

    name: str

    def on_start(self, now_ns: int) -> None:
        """Recover: read what the last incarnation left. The state is still BOOT."""

    def poll(self, now_ns: int) -> int:
        """Do what there is to do, without waiting, and give the amount of work done."""

    def on_halt(self, now_ns: int) -> None:
        """Leave nothing behind (orders!); bounded by [supervisor] stop_timeout_s."""


@runtime_checkable
class Timed(Protocol):
    """A role that wants to be polled at a certain time, bell or not."""

    def due_ns(self) -> int:
        """When the next poll must be, CLOCK_MONOTONIC; 0 when only a bell matters."""


@runtime_checkable
class Suspendable(Protocol):
    """A role that wants to know that the host slept."""

    def on_suspend(self, gap_ns: int) -> None:
        """Distrust everything read before: the host slept `gap_ns`."""


@runtime_checkable
class Remaking(Protocol):
    """A role that makes its removed segment anew instead of ending: nobody would start it again."""

    def remake(self) -> WriterSegment:
        """Claim the role again, in a new file."""


def begin(role: str | Callable[[Config], str], path: str | None = None) -> Config:
    """Read the configuration, which may name the role, and set the logs up. Raises ConfigError."""
    family.tie()
    config = load(path)
    log.set_up(role if isinstance(role, str) else role(config), config.host.log_level)
    faulthandler.enable()
    family.refuse_orphan(config)
    venue_clock.follow(config)
    say = LOG.debug if family.is_supervised() else LOG.info
    say("configured", **effective(config))
    return config


def claim(config: Config, role: str, boards: tuple[BoardSpec, ...]) -> WriterSegment:
    """Claim the role and make or adopt its segment. Raises AlreadyRunning and its kin.

    What stands under its name and is not ours to replace is a UsageError: a person removes it, or
    names another namespace. No restart can.
    """
    host = config.host
    try:
        made = WriterSegment.create(role, boards, namespace=host.namespace, mode=host.mode)
    except (SegmentForeign, SegmentDamaged) as fault:
        raise UsageError(str(fault)) from fault
    if made.replaced:
        LOG.warning("segment_replaced", why=made.replaced)
    return made


def guarded(
    main: Callable[[], int], tell: Callable[[IntEnum, Exception], None] | None = None
) -> int:
    """Run a process's main; turn what it raises into a message (`tell`) and an exit code."""
    try:
        return main()
    except KeyboardInterrupt:
        return ExitCode.OK
    except Exception as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAULT)
        (tell or _tell)(code, error)
        return code


_CODES = (
    (ConfigError, ExitCode.USAGE),
    (UsageError, ExitCode.USAGE),
    (AlreadyRunning, ExitCode.ALREADY_RUNNING),
    (LayoutMismatch, ExitCode.LAYOUT_MISMATCH),
    (SharedMemoryFull, ExitCode.NO_ROOM),
)


def _tell(_code: ExitCode, error: Exception) -> None:
    """Say an error of ours in a sentence, any other with its traceback."""
    ours = isinstance(error, PenstockError)
    text = str(error) if ours else "".join(traceback.format_exception(error))
    print(text, file=sys.stderr, flush=True)


class Frame:
    """Housekeeping and the way out, the same for polling and asyncio processes."""

    def __init__(self, segment: WriterSegment, config: Config) -> None:
        family.tie()
        self.segment = segment
        self.halt_timeout_s = config.supervisor.stop_timeout_s
        self.stopping = False
        self._hung_up = False
        self.due_ns = 0
        self.on_suspend: Callable[[int], None] | None = None
        self.remake: Callable[[], WriterSegment] | None = None
        self._config = config
        self._interval_ns = config.host.heartbeat_ms * NS_PER_MS
        self._hang_exit_s = 0.0 if family.is_supervised() else config.host.hang_exit_s
        self._suspends = SuspendWatch()
        self._jitter = random.Random()
        self._beat_ns = monotonic_ns()
        self._born_ns = monotonic_ns()
        self._frozen = False

    def request_stop(self, number: int = 0, _frame: FrameType | None = None) -> None:
        """Ask the loop to end, and bound what comes after: a halt that hangs ends with a trace."""
        self._hung_up = self._hung_up or number == family.DEATH_SIGNAL
        if not self.stopping:
            self.stopping = True
            faulthandler.dump_traceback_later(self.halt_timeout_s, exit=True)
            LOG.info("stopping", signal=signal.Signals(number).name if number else "none")

    def housekeep(self, now_ns: int) -> None:
        """Beat, and look at what is not the role's business. Raises SegmentRemoved."""
        if now_ns - self._beat_ns > STALE_NS:
            self.segment.counters.add(Counter.host_heartbeats_late)
        self._beat_ns = now_ns
        self.due_ns = now_ns + int(self._interval_ns * self._jitter.uniform(1, 2))
        try:
            self.segment.heartbeat(now_ns)
        except SegmentRemoved as error:
            if self.remake is None or self.stopping:
                raise
            LOG.error("segment_removed", error=error)
            self.segment = self.remake()
        if family.is_orphan():
            self.request_stop(family.DEATH_SIGNAL)
        if gap_ns := self._suspends.poll():
            self.segment.counters.add(Counter.host_suspends_seen)
            LOG.warning("host_slept", s=gap_ns / 1e9)
            if self.on_suspend is not None:
                self.on_suspend(gap_ns)
        if self._hang_exit_s and not self.stopping:
            faulthandler.dump_traceback_later(self._hang_exit_s, exit=True)
        if not self._frozen and now_ns - self._born_ns > SETTLE_NS:
            self._frozen = True
            gc.collect()
            gc.freeze()
        log.SINK.flush()

    def say_running(self) -> None:
        """BOOT -> RUN: from now on this process counts as ready."""
        self.segment.set_state(State.RUN)
        LOG.info("running", incarnation=self.segment.incarnation)

    def fail(self) -> int:
        """Log the exception that is being handled, and say FAIL."""
        error = sys.exc_info()[1]
        LOG.error("failed", error=f"{type(error).__name__}: {error}")
        if not isinstance(error, PenstockError):
            traceback.print_exc()
        self.segment.set_state(State.FAIL)
        return ExitCode.FAULT

    def leave(self, code: int, *, remove: bool = False) -> int:
        """Release the role; without a supervisor left, remove what the family leaves behind."""
        log.SINK.flush(everything=True)
        faulthandler.cancel_dump_traceback_later()
        orphaned = family.wait_orphaned() if self._hung_up else family.is_orphan()
        self.segment.close(remove=remove or orphaned)
        if orphaned:
            family.sweep(self._config)
        LOG.info("stopped", code=int(code))
        return int(code)


def run_role(
    segment: WriterSegment,
    role: Role,
    config: Config,
    *,
    bells: list[ReaderSegment] | None = None,
    idle: IdleStrategy | None = None,
    until_ns: int = 0,
    halt_timeout_s: float = 0.0,
    remove: bool = False,
) -> int:
    """Drive a polling process until a signal, a fault or `until_ns`; give its exit code.

    `bells` are the segments whose bells wake it up; the role may change the list as it attaches.
    `remove` unlinks the segment at the end; else the next start adopts it.
    """
    frame = Frame(segment, config)
    frame.halt_timeout_s = halt_timeout_s or frame.halt_timeout_s
    idle = idle or make_idle(config.host.idle, bells if bells is not None else [])
    if isinstance(role, Suspendable):
        frame.on_suspend = role.on_suspend
    if isinstance(role, Remaking):
        frame.remake = role.remake
    previous = {number: signal.signal(number, frame.request_stop) for number in STOP_SIGNALS}
    try:
        try:
            frame.housekeep(monotonic_ns())
            role.on_start(monotonic_ns())
            frame.say_running()
            _turn_until_stopped(frame, role, idle, until_ns)
            code = ExitCode.OK
        except SegmentRemoved as error:
            LOG.error("segment_removed", error=error)
            frame.request_stop()
            code = ExitCode.FAULT
        role.on_halt(monotonic_ns())
        frame.segment.set_state(State.HALT)
    except Exception:
        code = ExitCode(frame.fail())
    try:
        return frame.leave(code, remove=remove)
    finally:  # Not before: the kernel may send the death signal twice.
        for number, handler in previous.items():
            signal.signal(number, handler)


def _turn_until_stopped(frame: Frame, role: Role, idle: IdleStrategy, until_ns: int) -> None:
    due = role.due_ns if isinstance(role, Timed) else None
    while not frame.stopping:
        idle.arm()
        now_ns = monotonic_ns()
        work_count = role.poll(now_ns)
        counters = frame.segment.counters
        frame.segment.turn()
        if work_count:
            counters.record(Histogram.loop_turn_ns, monotonic_ns() - now_ns)
        else:
            counters.add(Counter.host_polls_idle)
        if now_ns >= frame.due_ns:
            frame.housekeep(now_ns)
        if until_ns and now_ns >= until_ns:
            frame.request_stop()
        wanted_ns = due() if due is not None else 0
        idle.idle(work_count, min(wanted_ns or frame.due_ns, frame.due_ns))


def run_async(
    segment: WriterSegment,
    main: Coroutine[Any, Any, None],
    config: Config,
    *,
    self_ready: bool = False,
    on_suspend: Callable[[int], None] | None = None,
) -> int:
    """Drive a coroutine on uvloop until it ends, a signal or a fault; give the exit code.

    A stop cancels `main`: what it must clean up stands in its `finally`. The state becomes RUN at
    once, or, with `self_ready`, when `main` calls `segment.set_state(State.RUN)` itself.
    """
    frame = Frame(segment, config)
    frame.on_suspend = on_suspend
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            code = runner.run(_drive(frame, main, self_ready=self_ready))
            segment.set_state(State.HALT)
        except Exception:
            code = frame.fail()
        return frame.leave(code)  # The loop still has the signals: death may be told twice.


async def _drive(frame: Frame, main: Coroutine[Any, Any, None], *, self_ready: bool) -> int:
    loop = asyncio.get_running_loop()
    work = loop.create_task(main, name="main")
    house = loop.create_task(_keep_house(frame), name="housekeeping")

    def on_signal(number: int) -> None:
        frame.request_stop(number)
        house.cancel()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    frame.housekeep(monotonic_ns())
    if not self_ready:
        frame.say_running()
    try:
        await asyncio.wait({work, house}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        frame.request_stop()
        for task in (work, house):
            task.cancel()
        results = await asyncio.gather(work, house, return_exceptions=True)
    for result in results:
        if isinstance(result, SegmentRemoved):
            LOG.error("segment_removed", error=result)
            return ExitCode.FAULT
        if isinstance(result, Exception):
            raise result
    return ExitCode.OK


async def _keep_house(frame: Frame) -> None:
    """Beat until cancelled, or told to stop; ends by what the housekeeping raises, too."""
    while not frame.stopping:
        now_ns = monotonic_ns()
        frame.segment.turn()
        frame.housekeep(now_ns)
        await asyncio.sleep(max(0.0, (frame.due_ns - monotonic_ns()) / 1e9))
