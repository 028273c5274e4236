"""Damage: records that were published whole and hold what cannot be.

What a stray write, a foreign program or a writer gone mad leaves behind a version that validates.
"""

from hypothesis import strategies as st

from cache.layout import BOARD_RECORDS

EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01")


def spoil(segment, board, slot, damage):
    """Publish the newest record of a slot once more, with the bytes of some fields changed."""
    place = segment.places()[board]
    record, cells = place.spec.record, place.spec.cell_count
    versions = segment._view.cast("Q")
    at = place.versions_offset // 8 + slot
    version = versions[at]

    def cell(number):
        start = place.cells_offset + (slot * cells + number % cells) * record.size
        return slice(start, start + record.size)

    raw = bytearray(segment._view[cell(version)])
    for name, value in damage.items():
        raw[record.offsets[name] : record.offsets[name] + len(value)] = value
    segment._view[cell(version + 1)] = bytes(raw)
    versions[at] = version + 1


@st.composite
def damages(draw, board, keep=("tag", "incarnation")):
    """New bytes for some fields of a record, or for all; those of `keep` stay as they are."""
    fields = [field for field in BOARD_RECORDS[board].fields if field.name not in keep]
    if draw(st.booleans()):
        chosen = draw(st.lists(st.sampled_from(fields), min_size=1, max_size=4, unique=True))
    else:
        chosen = fields
    extreme = st.sampled_from(EXTREMES)
    return {
        field.name: draw(
            st.one_of(
                extreme.map(lambda byte, size=field.size: byte * size),
                st.binary(min_size=field.size, max_size=field.size),
                st.integers(0, 255).map(lambda n, size=field.size: n.to_bytes(size, "little")),
            )
        )
        for field in chosen
    }
