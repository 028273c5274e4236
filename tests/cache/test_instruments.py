from cache.instruments import Directory
from cache.layout import INSTRUMENT, BoardSpec, tag_of
from cache.segment import ReaderSegment, WriterSegment

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
