"""`python -m feeds polymarket | binance`: one venue's feed as a process of its own.

Arguments, configuration, role, then the feed on an event loop until a signal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from msgspec.structs import replace

from cache.layout import place_boards
from host.log import get_log
from host.process import begin, claim, guarded, run_async
from host.venue_clock import is_replayed

VENUES = ("polymarket", "binance")

log = get_log("feeds")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; its example is of the venue that is asked for."""
    venue = next((name for name in VENUES if name in words), VENUES[0])
    parser = argparse.ArgumentParser(
        prog="python -m feeds",
        description="Publish one venue's market data into shared memory.",
        epilog=f"example: python -m feeds {venue} --config my.toml",
    )
    parser.add_argument("venue", choices=VENUES)
    parser.add_argument("--config", help="a file laid over the shipped penstock.toml")
    return parser


def _run_polymarket(config_path: str | None) -> int:
    from feeds import polymarket  # here: a feed loads no module of the other to restart

    config = begin(polymarket.ROLE, config_path)
    settings = config.feeds.polymarket
    specs = polymarket.boards(settings)
    segment = claim(config, polymarket.ROLE, specs)
    bytes_reserved = place_boards(specs)[1]
    log.info("memory_reserved", bytes=bytes_reserved, market_slots=settings.market_slots)
    return run_async(segment, polymarket.serve(segment, config), config)


def _run_binance(config_path: str | None) -> int:
    from feeds import binance, poller

    config = begin(binance.ROLE, config_path)
    settings = config.feeds.binance
    segment = claim(config, binance.ROLE, binance.boards(settings))
    venue, namespace = config.venues.binance, config.host.namespace
    if settings.source == "poll":
        polling = poller.Poller(segment, settings, namespace=namespace)
        return run_async(segment, polling.run(), config)
    if is_replayed(config):
        log.info("replay", left_out="depth, backfill", why="a recording has no whole books or past")
        settings = replace(settings, depth=False, backfill_s=0)
    feed = binance.BinanceFeed(
        segment,
        venue.ws_url,
        settings,
        rest_url=venue.rest_url,
        namespace=namespace,
        book_store=config.book_store,
    )
    return run_async(segment, feed.run(), config)


def main() -> int:
    """Run the process; give its exit code."""
    given = _parser(sys.argv[1:]).parse_args()
    run = _run_polymarket if given.venue == "polymarket" else _run_binance
    return run(given.config)


if __name__ == "__main__":
    sys.exit(guarded(main))
