"""Damage: records that were published whole and hold what cannot be.

What a stray write, a foreign program or a writer gone mad leaves behind a version that validates.
"""

from hypothesis import strategies as st

from cache.layout import BOARD_RECORDS, HEADER_AT

EXTREMES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01")
WORDS = (
    "incarnation", "state", "heartbeat_ns", "pid", "started_ns", "loop_count", "link_ns", "epoch"
)  # fmt: skip
"""Words of a header that change while its writer lives."""


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
    versions[at] = (version + 1) % 2**64


def _ends(field):
    """The least and the greatest number that a field can hold, and their neighbours."""
    bits = 8 * field.width
    if not field.is_number or field.count > 1:
        return [bytes(field.size)]
    least = -(1 << bits - 1) if field.kind[0] == "i" else 0
    numbers = (least, least + 1, least + (1 << bits) - 2, least + (1 << bits) - 1)
    return [(number % (1 << bits)).to_bytes(field.width, "little") for number in numbers]


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
                st.sampled_from(_ends(field)),
                st.binary(min_size=field.size, max_size=field.size),
                st.integers(0, 255).map(lambda n, size=field.size: n.to_bytes(size, "little")),
            )
        )
        for field in chosen
    }


def spoil_word(segment, name, number):
    """Write a number over a header's word, or (`board.slot`) a version; give what was there."""
    words = segment._view.cast("Q")
    if name in HEADER_AT:
        at = HEADER_AT[name] >> 3
    else:
        board, _, slot = name.partition(".")
        at = (segment.places()[board].versions_offset >> 3) + int(slot)
    before, words[at] = words[at], number
    return before


def stray_words(boards):
    """A word and a number to write over it; `boards` are names with the slots of each."""
    versions = [f"{board}.{slot}" for board, slots in boards.items() for slot in slots]
    ends = [0, 1, 2**63 - 1, 2**63, 2**64 - 1]
    numbers = st.one_of(st.sampled_from(ends), st.integers(9, 2**64 - 1))  # No word for a state.
    return st.tuples(st.sampled_from([*WORDS, *versions]), numbers)
