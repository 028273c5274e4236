"""The simulated venue as a process: its server, its segment, and what is counted there.

The segment `sim` has no boards: state, heartbeat and counters, as of every process. It is RUN when
the port listens. The invariant: killed and started again it goes on with the same market. The
model's state follows from seed and clock alone; a replay's place from the clock and its shift,
which stands in the segment (`sim_clock_behind_ns`) for every process that wants the venue's time.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from cache.counters import Counter
from cache.errors import PenstockError
from cache.layout import State
from cache.segment import ReaderSegment, WriterSegment
from host.log import get_log
from host.say import say_json
from host.settings import Config
from host.venue_clock import from_word, to_word
from sim.choice import Choice, make_source
from sim.client import Tally
from sim.replay import ReplaySource
from sim.server import ServerOptions, SimServer

ROLE = "sim"
COUNT_S = 0.2
LOG = get_log(ROLE)


async def serve(segment: WriterSegment, choice: Choice, config: Config) -> None:
    """Serve until cancelled. Raises PenstockError where the venue cannot be made."""
    # The true wall clock throughout: it is the other processes that follow a replay's shift.
    left_behind = counts_of(segment)
    source = make_source(choice, time.time_ns())
    if isinstance(source, ReplaySource) and segment.incarnation > 1:
        source.resume(from_word(left_behind[Counter.sim_clock_behind_ns]), time.time_ns())
    options = ServerOptions(
        host=config.sim.host,
        port=choice.port,
        connection_age_s_max=config.sim.connection_age_s_max,
    )
    server = SimServer(source, options)
    try:
        await server.start()
    except OSError as error:
        raise PenstockError(
            f"port {choice.port} of {options.host} cannot be used ({error.strerror}): "
            "stop what has it, or set [sim] port to another"
        ) from None
    behind_ns = -source.shift_ns if isinstance(source, ReplaySource) else 0
    segment.counters.set(Counter.sim_clock_behind_ns, to_word(behind_ns))
    segment.set_state(State.RUN)
    served = {"url": f"http://{options.host}:{server.port}", **choice.as_words()}
    LOG.info("serving", **served)
    if choice.says_json:
        say_json(served)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.run())
            group.create_task(_count(segment, server.tally, left_behind))
    finally:
        await server.close()


async def _count(segment: WriterSegment, tally: Tally, base: dict[Counter, int]) -> None:
    """Copy what the server counted into the segment, where counters only grow."""
    while True:
        await asyncio.sleep(COUNT_S)
        for counter, count in counted(tally).items():
            segment.counters.set(counter, base[counter] + count)


def counted(tally: Tally) -> dict[Counter, int]:
    """Give what the server counted, by the segment's counters."""
    return {
        Counter.sim_frames_sent: tally.frames_sent,
        Counter.sim_clients_dropped: tally.clients_dropped,
        Counter.sim_clients_connected: tally.clients_connected,
        Counter.sim_clients_refused: tally.clients_refused,
        Counter.sim_frames_withheld: tally.frames_withheld,
        Counter.sim_stalls_seen: tally.stalls_seen,
    }


def counts_of(segment: WriterSegment) -> dict[Counter, int]:
    """Read every counter as the incarnation before left it."""
    namespace = Path(segment.path).name.removesuffix(f".{ROLE}")
    counters = ReaderSegment.attach(ROLE, namespace=namespace).counters
    return {counter: counters[counter] for counter in Counter}
