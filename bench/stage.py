"""What the benches of size and of readers share: a segment of their own, and values to publish."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from cache.layout import BoardSpec, Record
from cache.segment import WriterSegment

ROLE = "feed.bench"


@contextmanager
def segment_of(*specs: BoardSpec) -> Iterator[WriterSegment]:
    """A segment in a namespace of its own, gone afterwards."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    made = WriterSegment.create(ROLE, specs, namespace=namespace)
    try:
        yield made
    finally:
        made.close(remove=True)


def values_of(record: Record) -> tuple[int, ...]:
    """Values for a publish, arrays flat."""
    fields = [field for field in record.fields[3:] if field.name != "reserved"]
    return tuple(510_000_000 for field in fields for _ in range(field.count))
