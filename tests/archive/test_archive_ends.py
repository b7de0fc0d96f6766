"""What tells that a chain's last segment is gone: notes, which every archiver leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archiver import Archiver, Archiving, archive
from binlog.archive.chain_view import missing_behind
from binlog.archive.ends import End, EndNotes, encode_ends, ends_key, read_ends
from binlog.archive.keys import Place
from binlog.archive.seen import Seen, write_seen
from binlog.archive.through import Through, through_key, write_through
from binlog.clock import ManualClock
from binlog.errors import BinlogError, DamageError, RefusedError, StorageError
from binlog.log import Position
from binlog.logs.directory_check import Finding
from binlog.logs.memory import MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.reader import Reader
from consumers.archive_worker import ArchiveWorker
from snapshots.check_archive import check_archive
from tests.archive.archive_world import UnhurriedLog, archive_by_hand, assert_whole
from tests.log.log_frames import PARAMS, put
from tests.objects.hostile_objects import flip_at_rest

BORN = 1_700_000_000_000
KEY = ends_key(0)
EVERY = range(PARAMS.partitions)


class Counted(MemoryObjects):
    """Knows what was put, and can refuse it, or let another one come just behind it."""

    def __init__(self) -> None:
        super().__init__("memory:kept")
        self.notes = 0
        self.error: Exception | None = None
        self.behind: list[bytes] = []

    def put(self, key: str, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.notes += key == KEY
        super().put(key, data)
        if key == KEY and self.behind:
            super().put(key, self.behind.pop(0))


def more(log: MemoryLog, number: int, partitions: Any = EVERY) -> None:
    for partition in partitions:
        log.append([put(number, partition=partition, session=partition + 1, born_ms=BORN)])


def pulled(log: MemoryLog, objects: MemoryObjects, *, clock: ManualClock | None = None) -> None:
    kept = Archive.create(objects, log.params, log.genesis)
    archive(log, kept, Archiving(once=True), clock=clock)


def delivered(log: MemoryLog, objects: MemoryObjects) -> None:
    worker = ArchiveWorker(log, Archive.create(objects, log.params, log.genesis))
    for shard in log.shards():
        records = log.read(Position(shard.id, -1)).records
        assert worker.apply(shard.id, records).error is None


def a_log(shards: int = 1) -> MemoryLog:
    return MemoryLog(PARAMS, clock=ManualClock(BORN), shards=shards, enforce_age=False)


def chain_keys(objects: MemoryObjects, partition: int) -> list[str]:
    return [entry.key for entry in objects.list(f"chain/p{partition:04d}/")]


def found(objects: MemoryObjects) -> list[Finding]:
    return [each for each in check_archive(objects) if each.rule != "event"]


def drain(objects: MemoryObjects) -> None:
    reader = Reader(ArchiveLog(Archive.open(objects), fetches=0))
    while reader.read() is not None:
        pass


def assert_told(objects: MemoryObjects, key: str) -> None:
    """`check` names the segment, and a reader is refused with its name and a remedy."""
    [finding] = found(objects)
    assert (finding.rule, finding.where) == ("archive-hole", f"{objects.name} {key}")
    with pytest.raises(DamageError, match="missing") as caught:
        drain(objects)
    assert caught.value.details["key"] == key
    assert key in caught.value.where
    assert "restore" in caught.value.do


@pytest.mark.parametrize("archiver", [pulled, delivered])
@pytest.mark.parametrize("rounds", [1, 2])
def test_every_archiver_leaves_what_tells_that_a_last_segment_is_gone(
    archiver: Any, rounds: int
) -> None:
    """Or a partition's only one. What lies before it is no end of the archive."""
    log, objects = a_log(), MemoryObjects("memory:kept")
    for number in range(1, rounds + 1):
        more(log, number)
        archiver(log, objects)
    assert found(objects) == []
    drain(objects)
    for note in [entry.key for entry in objects.list("through/")]:
        objects.delete([note])  # that one object is enough
    for partition in EVERY:
        key = chain_keys(objects, partition)[-1]
        data = objects.get(key)
        assert data is not None
        objects.delete([key])
        assert_told(objects, key)
        objects.put(key, data)
    assert found(objects) == []


def test_a_note_that_is_lost_is_written_by_who_finds_that_it_lacks() -> None:
    """As whoever was killed between a segment and its note left it."""
    log, objects = a_log(), Counted()
    more(log, 1)
    pulled(log, objects)
    whole = objects.get(KEY)
    objects.delete([KEY])
    assert found(objects) == []
    drain(objects)
    pulled(log, objects)
    assert objects.get(KEY) == whole
    notes = objects.notes
    pulled(log, objects)
    assert objects.notes == notes  # nothing new is nothing to write


def test_an_older_note_is_harmless_and_a_later_writer_mends_it() -> None:
    log, objects = a_log(), Counted()
    more(log, 1)
    pulled(log, objects)
    older = objects.get(KEY)
    assert older is not None
    more(log, 2)
    objects.behind = [older]  # somebody else's, whose put came just after ours
    pulled(log, objects)
    assert objects.get(KEY) != older, "looked at again"
    objects.put(KEY, older)
    assert found(objects) == []
    drain(objects)
    pulled(log, objects)
    assert objects.get(KEY) != older


def test_who_knows_less_takes_nothing_away() -> None:
    """Of others' partitions, and of those that have gone on: a loss is not forgotten so."""
    log, objects = a_log(), MemoryObjects("memory:kept")
    more(log, 1)
    pulled(log, objects)
    late = EndNotes(objects)
    ends = [Archive.open(objects).chain(p).end() for p in EVERY]
    more(log, 2)
    pulled(log, objects)
    newest = objects.get(KEY)
    key = chain_keys(objects, 1)[-1]
    objects.delete([key])
    for end in ends[:2]:
        assert end is not None
        late.note(end)
    late.write()
    assert objects.get(KEY) == newest
    assert_told(objects, key)


def test_what_was_lost_and_archived_again_is_no_loss() -> None:
    """In other segments, if need be: while the log has it still."""
    log, objects = a_log(), MemoryObjects("memory:kept")
    for number in (1, 2, 3):
        more(log, number)
        pulled(log, objects)
    objects.delete(chain_keys(objects, 1)[-2:])
    assert found(objects)
    pulled(log, objects)
    assert found(objects) == []
    drain(objects)
    assert_whole(log, Archive.open(objects))


def test_an_end_is_reached_by_a_chain_in_other_segments() -> None:
    end = End(Place(7, 2), 6, Position("b", 40), b"d")
    assert End(Place(1, 0), 7, Position("a", 1), b"e").reaches(end)
    assert not End(Place(1, 0), 5, Position("b", 99), b"e").reaches(end)
    assert End(Place(1, 0), 6, Position("b", 40), b"d").reaches(end)
    assert not End(Place(1, 0), 6, Position("b", 39), b"d").reaches(end)
    assert not End(Place(7, 1), 6, Position("c", 1), b"d").reaches(end)
    assert End(Place(7, 1), 6, Position("c", 1), b"d").reaches(end, ["b"])
    assert End(Place(7, 3), 6, Position("c", 1), b"d").reaches(end)


@pytest.mark.parametrize("error", [StorageError("no reply"), RefusedError("not permitted")])
def test_nobody_is_kept_from_archiving_by_a_note(error: Exception) -> None:
    log, objects = a_log(), Counted()
    more(log, 1)
    objects.error = error
    pulled(log, objects)
    assert_whole(log, Archive.open(objects))


def test_notes_are_fewer_than_segments() -> None:
    """At most one each T, however many partitions of it there are and however they are cut."""
    clock = ManualClock(BORN)
    log, objects = UnhurriedLog(PARAMS, clock, enforce_age=False), Counted()
    kept = Archive.create(objects, log.params, log.genesis)
    rounds = 0

    def stop() -> bool:
        nonlocal rounds
        rounds += 1
        clock.advance(5_000)
        more(log, rounds, [rounds % PARAMS.partitions])
        return clock.monotonic() - begun > 600

    begun = clock.monotonic()
    report = Archiver(log, kept, Archiving(segment_every_s=60), clock=clock).run(stop=stop)
    assert report.total("segments") > 30
    assert 8 <= objects.notes <= 12
    assert found(objects) == []


# -- the older notes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 2])
@pytest.mark.parametrize("note", ["seen", "through"])
def test_each_note_that_names_an_end_beyond_the_chain_tells_it(note: str, left: int) -> None:
    log = a_log()
    for number in (1, 2, 3):
        more(log, number)
    objects = MemoryObjects("memory:kept")
    kept = archive_by_hand(log, objects, records_each=1)
    end = kept.chain(1).end()
    assert end is not None
    place = end.end.position
    if note == "seen":
        write_seen(objects, 1, Seen(place, BORN, place))
    else:
        write_through(objects, Through(place.shard, place.sequence, BORN, {1: place}))
    assert found(objects) == []
    gone = chain_keys(objects, 1)[left:]
    objects.delete(gone)
    if note == "seen" or left:
        assert_told(objects, gone[0])
    else:  # a reader of nothing has no shard to ask of; `check` reads all notes
        [finding] = found(objects)
        assert (finding.rule, finding.where) == ("archive-hole", f"memory:kept {gone[0]}")


def test_a_shards_note_that_is_newer_than_what_was_listed_is_no_loss() -> None:
    """It is read after the chain: what it names may have come between."""
    log, objects = a_log(), MemoryObjects("memory:kept")
    more(log, 1)
    pulled(log, objects)
    shard = log.shards()[0].id

    class Late(MemoryObjects):
        def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
            if key == through_key(shard) and super().get(key) is None:
                more(log, 2)
                pulled(log, self)
                kept = Archive.open(self)
                ends = {p: e.end.position for p in EVERY if (e := kept.chain(p).end()) is not None}
                last = max(end.sequence for end in ends.values())
                write_through(self, Through(shard, last, BORN, ends))
            return super().get(key, start, length)

    late = Late("memory:kept")
    for entry in objects.list():
        late.put(entry.key, objects.get(entry.key) or b"")
    view = ArchiveLog(Archive.open(late), fetches=0).view(0)
    assert view.trouble is None
    assert len(view.outlines) == 2


def test_a_partition_without_a_segment_is_mentioned() -> None:
    """An archive begins so: nothing is broken."""
    log, objects = a_log(), MemoryObjects("memory:kept")
    more(log, 1)
    archive_by_hand(log, objects, partitions=[0, 2])
    assert [(each.rule, each.where, each.broken) for each in found(objects)] == [
        ("archive-empty", f"memory:kept chain/p{p:04d}/", False) for p in (1, 3)
    ]


def test_two_losses_of_one_partition_are_both_named() -> None:
    log, objects = a_log(), MemoryObjects("memory:kept")
    for number in range(1, 6):
        more(log, number)
        pulled(log, objects)
    keys = chain_keys(objects, 1)
    objects.delete([keys[1], keys[-1]])
    assert {each.where.split()[1] for each in found(objects)} >= {keys[1], keys[-1]}


# -- the bytes ---------------------------------------------------------------------------------------


def test_a_note_is_written_as_it_was() -> None:
    ends = {
        10: End(Place(1, 0), 0, Position("caf\u00e9", 49 * 10**54), bytes(32)),
        2: End(Place(7, 12), 6, Position("shard-0000", 3), bytes(range(32))),
    }
    data = encode_ends(0, ends)
    assert data.decode() == (
        '{"format":1,"first":0,"ends":{"10":[1,0,0,"caf\u00e9","49'
        + "0" * 54
        + '","'
        + "0" * 64
        + '"],'
        '"2":[7,12,6,"shard-0000","3",'
        '"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"]},"crc":CRC}\n'
    ).replace("CRC", str(json.loads(data)["crc"]))
    assert json.loads(data)["crc"] == 3601270291
    objects = MemoryObjects()
    objects.put(KEY, data)
    assert read_ends(objects, 0) == ends
    assert read_ends(objects, 16) is None


def test_a_note_that_was_changed_is_found_and_says_nothing() -> None:
    log, objects = a_log(), MemoryObjects("memory:kept")
    more(log, 1)
    pulled(log, objects)
    size = len(objects.get(KEY) or b"")
    for at in range(size):
        flip_at_rest(objects, KEY, 8 * at + at % 8)
        assert read_ends(objects, 0) is None, at
        if at % 97 == 0:
            assert [(f.rule, f.where) for f in found(objects)] == [
                ("archive-damage", f"memory:kept {KEY}")
            ]
            drain(objects)
        flip_at_rest(objects, KEY, 8 * at + at % 8)
    objects.put("seen/ends-0003.json", objects.get(KEY) or b"")
    assert [each.rule for each in found(objects)] == ["archive-extra"]


# -- damage in the body of the last segment ----------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 700, 1 << 20])
def test_every_byte_of_the_last_segment_is_read(at_once: int, monkeypatch: Any) -> None:
    """Header, blocks, footer and trailer, however many blocks are read at a time."""
    monkeypatch.setattr("binlog.archive.chain._CHECK_BYTES", at_once)
    monkeypatch.setattr("binlog.archive.cutter.BLOCK_RAW_BYTES", 400)
    log, objects = a_log(), MemoryObjects("memory:kept")
    for number in range(1, 9):
        more(log, number, [1])
    archive_by_hand(log, objects, partitions=[1], records_each=100)
    [key] = chain_keys(objects, 1)
    info = Archive.open(objects).chain(1).checked_end()
    assert info is not None
    assert len(info.blocks) > 2
    for at in range(info.bytes):
        flip_at_rest(objects, key, 8 * at + at % 8)
        with pytest.raises(BinlogError, match=key):
            Archive.open(objects).chain(1).checked_end()
        flip_at_rest(objects, key, 8 * at + at % 8)


def damage_the_body(objects: MemoryObjects, partition: int) -> str:
    key = chain_keys(objects, partition)[-1]
    info = Archive.open(objects).chain(partition).end()
    assert info is not None
    flip_at_rest(objects, key, 8 * (info.blocks[0].at + info.blocks[0].bytes // 2))
    return key


def test_nothing_is_written_behind_a_segment_with_a_damaged_body() -> None:
    """Its footer is whole, and says where to go on; the others are archived."""
    log, objects = a_log(), MemoryObjects("memory:kept")
    more(log, 1)
    pulled(log, objects)
    key = damage_the_body(objects, 1)
    more(log, 2)
    with pytest.raises(DamageError, match="checksum") as caught:
        pulled(log, objects)
    assert key in str(caught.value)
    assert [len(chain_keys(objects, p)) for p in EVERY] == [2, 1, 2, 2]


def test_a_worker_writes_nothing_behind_it_either() -> None:
    log, objects = a_log(), MemoryObjects("memory:kept")
    more(log, 1)
    pulled(log, objects)
    key = damage_the_body(objects, 1)
    more(log, 2)
    [shard] = log.shards()
    worker = ArchiveWorker(log, Archive.open(objects))
    outcome = worker.apply(shard.id, log.read(Position(shard.id, -1)).records)
    assert isinstance(outcome.error, DamageError)
    assert key in str(outcome.error)
    assert len(chain_keys(objects, 1)) == 1


# -- nothing yet -------------------------------------------------------------------------------------


def test_of_a_partition_that_is_not_archived_yet_it_is_said_so() -> None:
    """Another shard's, of which nothing is known here."""
    log, objects = a_log(shards=2), MemoryObjects("memory:kept")
    more(log, 1)
    first, other = (min(shard.partitions) for shard in log.shards())
    archive_by_hand(log, objects, partitions=[first])
    with pytest.raises(RefusedError, match=f"nothing of partition {other} is archived"):
        drain(objects)
    EndNotes(objects).write()
    end = Archive.open(objects).chain(first).end()
    assert end is not None
    noted = {first: End.of(end), other: End.of(end)}
    objects.put(KEY, encode_ends(0, noted))
    with pytest.raises(DamageError, match=f"partition {other} is missing"):
        drain(objects)
    objects.delete(chain_keys(objects, first))
    with pytest.raises(DamageError, match="missing"):
        drain(objects)


def test_a_missing_end_of_nothing_is_named_by_the_first_key() -> None:
    chain = Archive.create(MemoryObjects("memory:kept"), PARAMS, a_log().genesis).chain(2)
    error = missing_behind(chain, None, Position("s", 4))
    assert error.details["key"] == "chain/p0002/00000000000000000001-0000.seg"
