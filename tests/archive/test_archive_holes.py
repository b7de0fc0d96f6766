"""What lies behind a hole is never served, also by a reader that was there before it; and the index
that lacks, or lies, makes no hole."""

from __future__ import annotations

import google_crc32c
import pytest
from msgspec.structs import replace

from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archiver import Archiver, Archiving, archive
from binlog.archive.block import BlockBuilder, decode_block
from binlog.archive.index import encode_page
from binlog.archive.indexer import Indexer
from binlog.archive.keys import FIRST, index_key
from binlog.archive.segment import HEADER_BYTES
from binlog.clock import ManualClock
from binlog.compression import compress
from binlog.errors import DamageError, MismatchError
from binlog.log import Position, Record
from binlog.logs.memory import MemoryLog
from binlog.reader import Reader
from snapshots.check_archive import check_archive
from tests.archive.archive_world import archive_by_hand
from tests.log.log_frames import PARAMS, put


def log_of(events: int) -> MemoryLog:
    """Each in a session of its own: by their numbers alone nobody sees that one lacks."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    more(log, 1, events)
    return log


def more(log: MemoryLog, first: int, last: int) -> None:
    for session in range(first, last + 1):
        log.append([put(1, session=session)])


def drain(reader: Reader) -> None:
    while reader.read() is not None:
        pass


def reading_up_to_a_hole() -> tuple[Archive, Reader]:
    """A reader that has read all, of a chain that went on, and whose next segment was deleted then."""
    log = log_of(3)
    kept = archive_by_hand(log, records_each=1)
    reader = Reader(ArchiveLog(Archive.open(kept.objects), fetches=0))
    drain(reader)
    more(log, 4, 7)
    archive_by_hand(log, kept.objects, records_each=1)
    kept.objects.delete(["chain/p0000/00000000000000000004-0000.seg"])
    return kept, reader


def test_what_came_behind_a_hole_since_is_not_served() -> None:
    """That the first new segment follows on what is known is to be seen, too."""
    _, reader = reading_up_to_a_hole()
    for _ in range(3):  # nor when it is asked again
        with pytest.raises(
            DamageError, match="has a hole: no segment at 4-0, the next one is at 5-0"
        ):
            drain(reader)
    assert reader.vector() == {0: 3}


def test_a_hole_that_was_filled_is_read_on() -> None:
    kept, reader = reading_up_to_a_hole()
    with pytest.raises(DamageError, match="hole"):
        drain(reader)
    whole = archive_by_hand(log_of(7), records_each=1)
    key = "chain/p0000/00000000000000000004-0000.seg"
    assert kept.objects.put_new(key, whole.objects.get(key) or b"")
    view = ArchiveLog(Archive.open(kept.objects), fetches=0)
    drain(again := Reader(view))
    assert again.vector() == {0: 7}


def test_an_index_page_that_lacks_is_no_hole() -> None:
    """It is a shortcut only: the segments that it listed are there."""
    kept = archive_by_hand(log_of(15), records_each=1, partitions=[0])
    end = kept.chain(0).end()
    assert end is not None
    assert Indexer(kept, segments_per_page=4).note(end) == 4
    expected = list(Archive.open(kept.objects).chain(0).outlines())
    assert len(expected) == 16
    for entry in list(kept.objects.list("index/")):
        data = kept.objects.get(entry.key) or b""
        for damaged in (None, data[:-1]):  # and one that is damaged spares no use of the next ones
            kept.objects.delete([entry.key])
            if damaged is not None:
                kept.objects.put(entry.key, damaged)
            chain = Archive.open(kept.objects).chain(0)
            assert list(chain.outlines()) == expected
            for known in (0, 3, 4, 9):
                assert list(chain.outlines(after=expected[known])) == expected[known + 1 :]
        kept.objects.put(entry.key, data)


@pytest.mark.parametrize("end", [Position("elsewhere", 7), Position("shard-0000", -1)])
def test_an_index_page_that_lies_is_damage_by_name(end: Position) -> None:
    """Of a shard that no segment tells of, or one that would be passed over."""
    kept = archive_by_hand(log_of(7), records_each=1)
    outlines = list(kept.chain(0).outlines())
    outlines[0] = replace(outlines[0], end=end)
    outlines[1] = replace(outlines[1], start=end)
    kept.objects.put(index_key(0, FIRST), encode_page(outlines[:4], kept.log))
    with pytest.raises(DamageError, match=r"delete the page|ends before it begins"):
        drain(Reader(ArchiveLog(Archive.open(kept.objects), fetches=0)))


@pytest.mark.parametrize("at", [4, 20])
def test_an_index_page_of_a_newer_version_or_another_log_is_not_needed(at: int) -> None:
    """The segments are readable, and are read; nor is an archiver kept from going on."""
    log = log_of(7)
    kept = archive_by_hand(log, records_each=1, partitions=[0])
    end = kept.chain(0).end()
    assert end is not None
    assert Indexer(kept, segments_per_page=4).note(end) == 2
    key = next(iter(kept.objects.list("index/"))).key
    data = bytearray(kept.objects.get(key) or b"")
    data[at] += 1
    data[8:12] = google_crc32c.value(bytes(data[12:])).to_bytes(4, "big")
    kept.objects.put(key, bytes(data))
    drain(reader := Reader(ArchiveLog(Archive.open(kept.objects), fetches=0), partitions=[0]))
    assert reader.vector() == {0: 7}
    more(log, 8, 9)
    assert archive(log, Archive.open(kept.objects), Archiving(once=True)).vector == {0: 9}


def test_what_was_damaged_long_ago_keeps_nobody_from_archiving() -> None:
    """A page that would list it is not made; everything new is archived, of every partition."""
    log = log_of(5)
    kept = archive_by_hand(log, records_each=1)
    key = "chain/p0000/00000000000000000003-0000.seg"
    kept.objects.put(key, b"rotten")
    for session in range(6, 12):
        log.append([put(1, partition=p, session=session) for p in range(4)])
        archiver = Archiver(log, Archive.open(kept.objects), Archiving(once=True))
        archiver._writer._indexer._size = 3
        archiver.run()
    assert [end.last for p in range(4) if (end := kept.chain(p).end())] == [11, 6, 6, 6]
    pages = [entry.key for entry in kept.objects.list("index/p0000/")]
    assert pages == [index_key(0, FIRST)]  # of the three before it
    assert len(list(kept.objects.list("index/p0001/"))) == 2


@pytest.mark.parametrize("change", ["first", "last", "records"])
def test_a_block_of_other_records_than_the_table_tells_is_damage(change: str) -> None:
    """Whole by its checksum: who wrote it was wrong, and what it lacks would be passed over."""
    kept = archive_by_hand(log_of(5), partitions=[0], records_each=9)
    info = kept.chain(0).end()
    assert info is not None
    block = info.blocks[0]
    value = block.records + 1 if change == "records" else Position("shard-0000", 10**6)
    lying = replace(info, blocks=(replace(block, **{change: value}),))
    assert len(kept.chain(0).read_block(info, 0)) == 6
    with pytest.raises(DamageError, match="has other records than it tells"):
        kept.chain(0).read_block(lying, 0)


def test_a_block_whose_records_are_not_in_order_is_none() -> None:
    builder = BlockBuilder()
    for sequence in (3, 7, 5):
        builder.add(0, Record(sequence, 1, 0, b"x"), accepted=False)
    raw = builder.encode()
    with pytest.raises(ValueError, match="not in order"):
        decode_block(compress(raw), raw_bytes=len(raw), partition=0, shards=["a"])


@pytest.mark.parametrize("what", ["header", "block", "trailer", "gone", "foreign"])
def test_whoever_meets_a_bad_segment_is_told_of_which_archive(what: str) -> None:
    """An archive may have been found by what was announced, so its key alone says too little."""
    kept = archive_by_hand(log_of(3), records_each=1)
    key = "chain/p0000/00000000000000000002-0000.seg"
    data = bytearray(kept.objects.get(key) or b"")
    if what == "foreign":
        params = replace(PARAMS, log_id="ef" * 16)
        log = MemoryLog(params, clock=ManualClock())
        for session in range(1, 4):
            log.append([put(1, session=session, params=params)])
        data = bytearray(archive_by_hand(log, records_each=1).objects.get(key) or b"")
    elif what != "gone":
        data[{"header": 20, "block": HEADER_BYTES + 5, "trailer": -1}[what]] ^= 1
    kept.objects.delete([key])
    if what != "gone":
        kept.objects.put(key, bytes(data))
    kind = MismatchError if what == "foreign" else DamageError
    with pytest.raises(kind) as raised:
        drain(Reader(ArchiveLog(Archive.open(kept.objects), fetches=0)))
    assert raised.value.where == f"{key} of {kept.name}"
    assert raised.value.do.startswith("restore the object from a copy")
    [finding] = [each for each in check_archive(kept.objects) if each.rule.startswith("archive-")]
    assert finding.where == f"{kept.name} {key}", "in check's own words, and once"
