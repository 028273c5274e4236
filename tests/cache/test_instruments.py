import pytest
from hypothesis import HealthCheck, given, settings

from cache.board import Miss
from cache.instruments import Directory, generation_for, listing
from cache.layout import INSTRUMENT, PAIR_BBO, SETTLEMENT, BoardSpec, tag_of
from cache.segment import ReaderSegment, WriterSegment
from tests.system.damage import damages, spoil

BOARDS = (BoardSpec("instruments", INSTRUMENT, 8, 4),)


def values(**known):
    texts = {field.name for field in INSTRUMENT.fields if field.is_text}
    return [known.get(name, b"" if name in texts else 0) for name in INSTRUMENT.value_names]


def list_pair(writer, slot, token, *, generation=0):
    board = writer.board("instruments")
    yes, no = tag_of("polymarket", token), tag_of("polymarket", token + "-no")
    pair = tag_of("polymarket", token + "-market")
    for index, (tag, other) in enumerate(((yes, no), (no, yes))):
        board.assign(slot + index, tag, generation)
        name = token if index == 0 else token + "-no"
        board.publish(
            slot + index,
            values(
                id=name.encode(),
                complement_tag=other,
                pair_tag=pair,
                outcome_index=index,
                pair_slot=slot // 2,
                window_end_ns=slot + 100,
            ),
        )
    return pair


def test_a_listed_market_is_found_by_its_tags_with_both_tokens(namespace):
    writer = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    directory = Directory(ReaderSegment.attach("feed.x", namespace=namespace))
    assert not directory.refresh()
    pair = list_pair(writer, 2, "11")
    assert directory.refresh()
    assert not directory.refresh()
    found = directory.pairs[pair]
    assert (found.yes.id, found.no.id, found.pair_slot, found.window_end_ns) == (
        "11",
        "11-no",
        1,
        102,
    )
    assert directory.slot_of[found.no.tag] == 3
    writer.close()


def test_a_slot_given_to_another_market_forgets_the_first(namespace):
    writer = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    directory = Directory(ReaderSegment.attach("feed.x", namespace=namespace))
    old = list_pair(writer, 2, "11")
    directory.refresh()
    new = list_pair(writer, 2, "22", generation=1)
    directory.refresh()
    assert set(directory.pairs) == {new} != {old}
    writer.close()


def test_a_listing_that_could_not_be_read_is_read_the_next_time(namespace):
    writer = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    directory = Directory(ReaderSegment.attach("feed.x", namespace=namespace))
    pair = list_pair(writer, 2, "11")
    board = directory._board

    class Outrun:
        def read(self, slot, tag):
            return Miss.BUSY if slot == 2 else board.read(slot, tag)

    directory._board = Outrun()
    directory.refresh()
    assert pair not in directory.pairs
    directory._board = board
    assert directory.refresh()
    assert pair in directory.pairs
    assert not directory.refresh()
    writer.close()


def test_listings_of_a_dead_writer_count_only_when_its_successor_repeats_them(namespace):
    writer = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    directory = Directory(ReaderSegment.attach("feed.x", namespace=namespace))
    pair = list_pair(writer, 0, "11")
    directory.refresh()
    writer.close()
    again = WriterSegment.create("feed.x", BOARDS, namespace=namespace)
    assert directory.refresh()
    assert directory.pairs == {}
    list_pair(again, 0, "11")
    directory.refresh()
    assert set(directory.pairs) == {pair}
    again.close()


WITH_BOOKS = (
    *BOARDS,
    BoardSpec("pair_bbo", PAIR_BBO, 4, 4),
    BoardSpec("settlement", SETTLEMENT, 3, 4),
)


@pytest.fixture
def listed(namespace):
    """A feed with one market, and its directory."""
    writer = WriterSegment.create("feed.x", WITH_BOOKS, namespace=namespace)
    list_pair(writer, 2, "11")
    directory = Directory(ReaderSegment.attach("feed.x", namespace=namespace))
    directory.refresh()
    assert directory.pairs
    yield writer, directory
    writer.close()


@pytest.mark.parametrize(
    "damage",
    [
        {"pair_slot": b"\x03"},  # The fourth settlement is not there.
        {"pair_slot": b"\xff" * 4},
        {"outcome_index": b"\x02"},
        {"tag": bytes(8)},
        {"id": b"\x1b"},
        {"outcome": b"\n"},
    ],
)
def test_a_listing_that_cannot_be_is_left_out_and_named_until_it_is_replaced(listed, damage):
    writer, directory = listed
    spoil(writer, "instruments", 2, damage)
    assert directory.refresh()
    assert not directory.pairs
    assert 2 not in directory.slot_of.values()
    assert directory.unreadable == {2: 2}
    list_pair(writer, 2, "11")
    assert directory.refresh()
    assert len(directory.pairs) == 1
    assert not directory.unreadable


@pytest.mark.parametrize(
    "damage", [{"pair_tag": b"\x07"}, {"pair_slot": b"\x02"}, {"outcome_index": bytes(4)}]
)
def test_two_tokens_that_do_not_name_each_other_are_no_market(listed, damage):
    writer, directory = listed
    spoil(writer, "instruments", 3, damage)
    directory.refresh()
    assert not directory.pairs


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damages("instruments"), damages("instruments"))
def test_every_slot_that_a_directory_names_is_one_the_boards_have(listed, first, second):
    writer, directory = listed
    list_pair(writer, 2, "11")
    spoil(writer, "instruments", 2, first)
    spoil(writer, "instruments", 3, second)
    directory.refresh()
    for pair in directory.pairs.values():
        assert pair.pair_slot < 3
        assert pair.yes.outcome.isprintable()


def test_a_listing_names_its_fields_and_leaves_the_rest_empty():
    values = dict(zip(INSTRUMENT.value_names, listing(id=b"7", tick_e9=5), strict=True))
    assert (values.pop("id"), values.pop("tick_e9")) == (b"7", 5)
    assert set(values.values()) == {0, b""}
    with pytest.raises(TypeError, match="no nonsense"):
        listing(nonsense=1)


def test_a_slot_is_of_the_next_generation_only_when_it_is_given_to_another(namespace):
    segment = WriterSegment.create(
        "feed.x", (BoardSpec("instruments", INSTRUMENT, 1, 4),), namespace=namespace
    )
    board = segment.board("instruments")
    assert generation_for(board, 0, 7) == 0
    board.publish_tagged(0, 7, 4, listing(id=b"7"))
    assert (generation_for(board, 0, 7), generation_for(board, 0, 8)) == (4, 5)
    segment.close()
