"""`check` of an archive: whatever is changed in it is found, named, and never served."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.indexer import Indexer
from binlog.archive.seen import Seen, write_seen
from binlog.archive.segment import encode_segment
from binlog.archive.through import Through, write_through
from binlog.clock import ManualClock
from binlog.errors import BinlogError, NoLogError, TrimmedError
from binlog.log import Position, Record
from binlog.logs import MemoryLog
from binlog.logs.directory_check import Finding
from binlog.objects.memory import MemoryObjects
from binlog.params import Params
from binlog.reader import Reader
from binlog.sequencer_state import SequencerState
from snapshots.check_archive import check_archive
from snapshots.check_chain import check_beside
from tests.archive.archive_world import archive_by_hand
from tests.log.kinesis_world import HOUR_MS, KinesisWorld
from tests.log.log_frames import PARAMS, put

OTHER = Params(log_id="77" * 16, partitions=PARAMS.partitions)
SEGMENTS = 5  # of each partition's chain; three of them stand in an index page


def a_log(params: Params = PARAMS, *, events: int = 4, text: bytes = b"") -> MemoryLog:
    log = MemoryLog(params, clock=ManualClock(), shards=2, enforce_age=False)
    for number in range(1, events + 1):
        data: dict[str, Any] = (
            {"data": b"\x81\xa1d\xc4" + bytes([len(text)]) + text} if text else {}
        )
        for partition in range(params.partitions):
            sent = put(number, partition=partition, session=partition + 1, params=params, **data)
            log.append([sent])
    return log


def archived(log: MemoryLog, *, records_each: int = 1) -> MemoryObjects:
    objects = MemoryObjects("memory:kept")
    archive = archive_by_hand(log, objects, records_each=records_each)
    for partition in range(log.params.partitions):
        end = archive.chain(partition).end()
        assert end is not None
        Indexer(archive, segments_per_page=3).note(end)
        place = Position(end.end.position.shard, end.end.position.sequence)
        write_seen(objects, partition, Seen(place, 1, end.end.position))
    write_through(objects, Through("shard-0000", 3, 1, {0: Position("shard-0000", 1)}))
    return objects


def keys(objects: MemoryObjects) -> list[str]:
    return [entry.key for entry in objects.list()]


def replaced(objects: MemoryObjects, key: str, data: bytes | None) -> MemoryObjects:
    """A copy in which an object is another one, or missing."""
    copy = MemoryObjects(objects.name)
    for each in keys(objects):
        held = objects.get(each)
        assert held is not None
        if each != key:
            copy.put(each, held)
    if data is not None:
        copy.put(key, data)
    return copy


def found(objects: MemoryObjects) -> list[Finding]:
    """What `check` has to say; the events of these frames are none that could be published."""
    return [finding for finding in check_archive(objects) if finding.rule != "event"]


def named(objects: MemoryObjects, key: str) -> set[str]:
    """The rules of the findings that name a key; there are no others about sound objects' bytes."""
    return {finding.rule for finding in found(objects) if finding.where.endswith(key)}


def served(objects: MemoryObjects, partition: int) -> list[Record]:
    """What a reader of the archive is given of one partition before it is told of trouble."""
    records: list[Record] = []
    try:
        log = ArchiveLog(Archive.open(objects), fetches=0)
        after: Position | None = log.view(partition).outlines[0].start
        while after is not None:
            page = log.read(after, partitions=frozenset({partition}))
            records += page.records
            after = None if page.caught_up else page.next
    except (BinlogError, IndexError):
        pass
    return records


@pytest.fixture(scope="module")
def sound() -> MemoryObjects:
    return archived(a_log())


def test_nothing_is_found_in_a_sound_archive(sound: MemoryObjects) -> None:
    assert found(sound) == []
    assert sum(key.startswith("chain/") for key in keys(sound)) == SEGMENTS * PARAMS.partitions
    assert sum(key.startswith("index/") for key in keys(sound)) == PARAMS.partitions


def test_a_flipped_bit_anywhere_is_found_and_never_served(sound: MemoryObjects) -> None:
    """Of every kind of object each few bytes, and all of the first and last ones."""
    for key in [k for k in keys(sound) if "p0001" in k or k.startswith(("archive", "through"))]:
        data = sound.get(key)
        assert data is not None
        good = served(sound, 1)
        ends = [*range(0, 24, 2), *range(len(data) - 24, len(data), 2)]
        for at in {*ends, *range(24, len(data) - 24, 1 + len(data) // 11)}:
            broken = bytearray(data)
            broken[at] ^= 1 << at % 8
            hurt = replaced(sound, key, bytes(broken))
            where = key if "/" in key else "memory:kept"
            rules = named(hurt, where)
            assert rules, (key, at)
            assert rules <= {"archive-damage", "archive-foreign", "archive-root", "upgrade"}, rules
            assert served(hurt, 1) == good[: len(served(hurt, 1))], (key, at)


def test_a_missing_object_is_found(sound: MemoryObjects) -> None:
    """All but what may be lost. The end of a chain is missed by a note."""
    good = served(sound, 1)
    for key in [k for k in keys(sound) if "p0001" in k and k.startswith("chain/")]:
        hurt = replaced(sound, key, None)
        assert named(hurt, key) == {"archive-hole"}, key
        less = served(hurt, 1)
        assert less == good[: len(less)]
        assert len(less) < len(good)
    rest = found(replaced(sound, "archive.json", None))
    assert [finding.rule for finding in rest] == ["archive-root"]
    with pytest.raises(NoLogError):
        found(MemoryObjects())


def test_a_missing_end_of_a_chain_is_found_where_the_index_lists_it() -> None:
    objects = archived(a_log(events=2))  # three segments each: a page of all of them
    last = [k for k in keys(objects) if k.startswith("chain/p0002/")][-1]
    assert named(replaced(objects, last, None), last) == {"archive-hole"}


def test_segments_under_each_others_names_are_found(sound: MemoryObjects) -> None:
    """Each of them is whole, and says itself where it belongs."""
    chain = [k for k in keys(sound) if k.startswith("chain/p0001/")]
    other = [k for k in keys(sound) if k.startswith("chain/p0002/")]
    for one, two in ((chain[1], chain[2]), (chain[1], other[1])):
        swapped = replaced(replaced(sound, one, sound.get(two)), two, sound.get(one))
        assert named(swapped, one) == named(swapped, two) == {"archive-damage"}


def test_a_segment_of_another_log_is_found(sound: MemoryObjects) -> None:
    foreign = archived(a_log(OTHER))
    for prefix in ("chain/p0001/", "index/p0001/"):
        key = next(k for k in keys(sound) if k.startswith(prefix))
        assert named(replaced(sound, key, foreign.get(key)), key) == {"archive-foreign"}


def test_a_segment_of_the_same_log_with_another_history_is_found(sound: MemoryObjects) -> None:
    """Whole, of this log, of that place: only the digests tell."""
    other = archived(a_log(text=b"other"))
    chain = [k for k in keys(sound) if k.startswith("chain/p0001/")]
    hurt = replaced(sound, chain[2], other.get(chain[2]))
    assert named(hurt, chain[2]) >= {"archive-order"}
    last = replaced(sound, chain[-1], other.get(chain[-1]))
    assert named(last, chain[-1]) >= {"archive-order"}


def test_what_belongs_to_no_archive_is_found(sound: MemoryObjects) -> None:
    segment = [k for k in keys(sound) if k.startswith("chain/p0001/")][2]
    for key in (
        "notes.txt",
        "chain/p0001/readme",
        "chain/p0099/00000000000000000001-0000.seg",
        "chain/p0001/00000000000000000001-0007.seg",
        "seen/p0077.json",
    ):
        hurt = replaced(sound, key, sound.get(segment))
        assert "archive-extra" in named(hurt, key), key


def test_an_index_that_lists_other_segments_is_found(sound: MemoryObjects) -> None:
    """Its own checksum is right; what it says is not what the segments say."""
    other = archived(a_log(text=b"other"))
    key = next(k for k in keys(sound) if k.startswith("index/p0001/"))
    assert named(replaced(sound, key, other.get(key)), key) == {"archive-index"}


def test_a_reader_is_not_given_what_an_index_made_up(sound: MemoryObjects) -> None:
    """The page is whole, and of this log; only the segment itself says that it is not of it."""
    key = next(k for k in keys(sound) if k.startswith("index/p0001/"))
    first = [k for k in keys(sound) if k.startswith("chain/p0001/")][:3]
    other = archived(a_log(text=b"other"))
    hurt = sound
    for segment in first[1:]:
        hurt = replaced(hurt, segment, other.get(segment))
    assert len(served(sound, 1)) == SEGMENTS
    assert len(served(hurt, 1)) == 1
    assert named(hurt, key) == {"archive-index"}


def test_a_segment_whose_state_is_another_is_found(sound: MemoryObjects) -> None:
    """Every checksum of it is right, as of one that a faulty archiver has written."""
    key = [k for k in keys(sound) if k.startswith("chain/p0001/")][-1]
    archive = Archive.open(sound)
    info = archive.chain(1).end()
    assert info is not None
    state = SequencerState.decode(info.end.state)
    state.mark += 1
    end = replace(info.end, state=state.encode())
    data = sound.get(key)
    assert data is not None
    blocks = [data[b.at : b.at + b.bytes] for b in info.blocks]
    changed = encode_segment(replace(info, end=end), blocks, archive.log)
    assert named(replaced(sound, key, changed), key) == {"archive-state"}


# -- beside its log --------------------------------------------------------------------------------


def beside(log: MemoryLog, objects: MemoryObjects) -> list[Finding]:
    return list(check_beside(log, ArchiveLog(Archive.open(objects), fetches=0)))


def test_an_archive_and_its_log_are_one_history() -> None:
    log = a_log()
    objects = archived(log, records_each=2)
    assert beside(log, objects) == []
    for partition in range(PARAMS.partitions):
        log.append([put(5, partition=partition, session=partition + 1)])
    assert beside(log, objects) == []


def test_a_log_with_another_history_is_found() -> None:
    """As one that was restored from a copy, and written to since."""
    log, other = a_log(), a_log(text=b"other")
    rules = {finding.rule for finding in beside(other, archived(log))}
    assert {"archive-log-digest", "archive-log-state"} <= rules


def test_an_archive_beyond_its_log_is_found() -> None:
    found = beside(a_log(events=2), archived(a_log(events=4)))
    assert {finding.rule for finding in found} == {"archive-log"}
    assert all("memory:" in finding.where for finding in found)


def drain(reader: Reader) -> None:
    while reader.read() is not None:
        pass


class Stream:
    """A stream in the double, whose first day is archived."""

    def __init__(self) -> None:
        self.world = KinesisWorld()
        self._number = 0
        self.append()
        log = self.world.open()
        self.objects = MemoryObjects("memory:kept")
        archive_by_hand(log, self.objects, records_each=1)
        log.close()

    def append(self) -> None:
        log = self.world.open()
        self._number += 1
        for partition in range(PARAMS.partitions):
            sent = put(
                self._number,
                partition=partition,
                session=100 * self._number + partition,
                born_ms=self.world.clock.now_ms(),
            )
            log.append([sent])
        log.close()

    def check(self) -> list[Finding]:
        log = self.world.open()
        archive = ArchiveLog(Archive.open(self.objects), fetches=0)
        return list(check_beside(log, archive))


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_a_stream_that_has_forgotten_what_the_archive_lacks_is_told(stream: Stream) -> None:
    assert stream.check() == []
    stream.world.clock.advance(2 * HOUR_MS)
    stream.append()
    stream.world.clock.advance(30 * HOUR_MS)  # all of it is forgotten, the second hour's as well
    stream.append()
    gaps = stream.check()
    assert {finding.rule for finding in gaps} == {"archive-gap"}
    assert len(gaps) == PARAMS.partitions
    assert "partition 0" in gaps[0].detail


def test_a_reader_of_both_is_refused_there(stream: Stream) -> None:
    """And is told the partition, the offset before the gap, and where one could begin."""
    stream.world.clock.advance(2 * HOUR_MS)
    stream.append()
    stream.world.clock.advance(30 * HOUR_MS)
    stream.append()
    both = ArchivedLog(stream.world.open(), Archive.open(stream.objects))
    with pytest.raises(TrimmedError) as caught:
        drain(Reader(both))
    assert caught.value.details["partition"] == 0
    assert caught.value.details["archived_through"] == 1
    assert "snapshot" in caught.value.do
