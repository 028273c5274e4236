"""What is to be simulated: the command line laid over the [sim] section, and the source made of it.

It reads no file but the recordings it is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host.arguments import Parser, whole
from host.config import ConfigError
from host.settings import Sim
from sim.model_source import ModelSource
from sim.recordings import RecordingError
from sim.replay import ReplaySource
from sim.source import Source


@dataclass(frozen=True, slots=True)
class Choice:
    """What is served, and on which port."""

    port: int
    seed: int
    recordings: tuple[Path, ...] = ()
    """Empty: the model."""
    speed_ratio: float = 1.0
    is_looped: bool = False
    is_mirrored: bool = True
    says_json: bool = False
    """Say on stdout, as JSON, what is served and where."""

    def as_words(self) -> dict[str, object]:
        """Say it in a log line."""
        if not self.recordings:
            return {"mode": "model", "seed": self.seed}
        names = " ".join(path.name for path in self.recordings)
        return {"mode": "replay", "recordings": names, "speed": self.speed_ratio or "max"}


def parser() -> Parser:
    """Make the parser of the command line."""
    made = Parser(
        prog="python -m sim",
        description="Serve the simulated venue: Polymarket and Binance on one local port.",
        epilog="example: python -m sim --replay books.jsonl.gz --speed max --port 8770",
    )
    made.add_argument("--config", help="a penstock.toml of your own")
    made.add_argument("--replay", nargs="+", metavar="FILE", help="recordings to play")
    made.add_argument("--speed", help='1 is the recording\'s pace, "max" as fast as clients read')
    made.add_argument("--loop", action="store_true", help="begin again at the end")
    made.add_argument("--port", type=whole(0, 65_535), help="0 lets the system choose")
    made.add_argument("--seed", type=whole(0, 2**63 - 1), help="seed of the model")
    made.add_argument("--json", action="store_true", help="say what is served as JSON, and errors")
    made.add_argument("--check", action="store_true", help="only see whether this can be served")
    return made


def choose(section: Sim, words: Sequence[str] | argparse.Namespace | None = None) -> Choice:
    """Lay the command line over the section. Raises ConfigError."""
    given = words if isinstance(words, argparse.Namespace) else parser().parse_args(words)
    shipped = section.recordings if section.mode == "replay" else ()
    speed_ratio = section.speed_ratio if given.speed is None else _speed(given.speed)
    return Choice(
        port=section.port if given.port is None else given.port,
        seed=section.seed if given.seed is None else given.seed,
        recordings=tuple(Path(name) for name in given.replay or shipped),
        speed_ratio=speed_ratio,
        is_looped=section.loop or given.loop,
        # To write mirrored frames costs more than to read a frame: not while speed is the point.
        is_mirrored=section.mirror and speed_ratio > 0,
        says_json=given.json,
    )


def _speed(text: str) -> float:
    if text == "max":
        return 0.0
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 < ratio <= 1000:
        raise ConfigError([f'--speed is {text}: write "max", or a number above 0 and up to 1000'])
    return ratio


def make_source(choice: Choice, wall_ns: int) -> Source:
    """Make the model as of now, or open the recordings. Raises ConfigError."""
    if not choice.recordings:
        return ModelSource(choice.seed, wall_ns)
    try:
        return ReplaySource(
            choice.recordings,
            speed_ratio=choice.speed_ratio,
            is_looped=choice.is_looped,
            is_mirrored=choice.is_mirrored,
        )
    except RecordingError as error:
        raise ConfigError([f"sim.recordings: {error}"]) from None
