"""The archiver: follows a log, alone or beside others, and stops at what would make a hole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from binlog.archive import Archive
from binlog.archive.archiver import Archiver, Archiving, archive
from binlog.archive.index import SEGMENTS_PER_PAGE
from binlog.archive.indexer import Indexer
from binlog.archive.seen import read_seen
from binlog.clock import ManualClock
from binlog.errors import DamageError, HaltedError, MismatchError, TrimmedError
from binlog.log import Position, Put
from binlog.logs.memory import MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.params import Params
from binlog.partition import partition_key
from tests.archive.archive_world import (
    UnhurriedLog,
    archive_by_hand,
    archived,
    assert_whole,
    cutter_of,
    places,
    write,
)
from tests.log.kinesis_world import HOUR_MS, KinesisWorld
from tests.log.log_frames import PARAMS, frame, put

ONCE = Archiving(once=True)
BORN = 1_700_000_000_000


def new_archive(log: Any, objects: Any = None) -> Archive:
    return Archive.create(objects or MemoryObjects(), log.params, log.genesis)


def stop_after(calls: int) -> Callable[[], bool]:
    left = iter([False] * calls)
    return lambda: next(left, True)


class Rushed(MemoryObjects):
    """Somebody else archives just before each of our writes."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], object] = lambda: None
        self._writing = threading.RLock()

    def put_new(self, key: str, data: bytes) -> bool:
        with self._writing:
            if key.startswith("chain/"):
                before, self.before = self.before, lambda: None
                before()
                self.before = before
            return super().put_new(key, data)


def test_archives_every_record_and_then_has_nothing_to_do() -> None:
    """Duplicates, held frames and all: what readers were given."""
    log = MemoryLog(PARAMS, clock=ManualClock(), shards=2)
    into = new_archive(log)
    for number in (1, 3, 2, 2, 4):
        for partition in range(4):
            log.append([put(number, partition=partition)])
    report = archive(log, into, ONCE)
    assert_whole(log, into)
    assert report.vector == {0: 4, 1: 4, 2: 4, 3: 4}
    assert (report.total("segments"), report.total("records")) == (4, 24)
    again = archive(log, into, ONCE)
    assert (again.total("segments"), again.vector) == (0, report.vector)
    log.append([put(5, partition=1)])
    assert archive(log, into, ONCE).total("segments") == 1
    assert_whole(log, into)


def test_goes_on_through_splits_and_merges() -> None:
    """A segment may hold records of several shards, and says how they are related."""
    log = MemoryLog(PARAMS, clock=ManualClock(), shards=1, first_sequence=10**55)
    into = new_archive(log)
    log.append([put(1, partition=3)])
    low, high = log.split("shard-0000")
    log.append([put(2, partition=3)])
    archive(log, into, ONCE)
    log.append([put(3, partition=3)])
    log.merge(low, high)
    log.append([put(4, partition=3)])
    archive(log, into, ONCE)
    assert_whole(log, into)
    first, second = into.chain(3).segments()
    assert [shard.id for shard in first.shards] == ["shard-0000", high]
    assert second.shards[-1].parents == (low, high)
    assert 3 in second.shards[-1].partitions


def test_a_segment_is_cut_when_its_oldest_record_has_waited_long_enough() -> None:
    """And not before: each one costs a write."""
    clock = ManualClock()
    log = UnhurriedLog(PARAMS, clock)
    into = new_archive(log)
    how = Archiving(segment_every_s=60)
    archiver = Archiver(log, into, how, clock=clock)
    log.append([put(1)])
    archiver.run(stop=stop_after(1))  # what is read is written at the end of a run
    log.append([put(2)])
    seen: list[int] = []

    def stop() -> bool:
        end = into.chain(0).end()
        seen.append(0 if end is None else end.last)
        return len(seen) > 200 or seen[-1] == 2

    began = clock.monotonic()
    archiver.run(stop=stop)
    assert seen[-1] == 2
    assert 60 <= clock.monotonic() - began < 62


def test_quiet_partitions_make_no_segments() -> None:
    """However long they are quiet."""
    clock = ManualClock()
    log = UnhurriedLog(PARAMS, clock)
    objects = MemoryObjects()
    into = new_archive(log, objects)
    archive(log, into, ONCE)
    before = [entry.key for entry in objects.list()]
    archive(log, into, Archiving(segment_every_s=1), clock=clock, stop=stop_after(500))
    assert [entry.key for entry in objects.list()] == before


def test_what_waits_is_bounded_whatever_the_number_of_partitions() -> None:
    """The largest is cut first, when all together take too much."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    into = new_archive(log)
    for number in range(1, 41):
        log.append([put(number, partition=p, data=bytes(1) * 1) for p in (0, 1)])
    how = Archiving(once=True, memory_bytes_max=6_000, page_bytes=2_000)
    archiver = Archiver(log, into, how)
    most = 0
    written = archiver._writer.write

    def watch(*given: Any) -> None:
        nonlocal most
        most = max(most, sum(c.memory_bytes for c in archiver._cutters.values()))
        written(*given)

    archiver._writer.write = watch  # type: ignore[method-assign,assignment]
    report = archiver.run()
    assert report.total("segments") > 4
    assert most < 6_000 + 2 * 2_000
    assert_whole(log, into)


def test_a_segment_is_cut_when_it_is_large_enough() -> None:
    """A crash repeats at most so much."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    into = new_archive(log)
    noise = Random(1).randbytes(200_000)
    from binlog.values import encode_value

    for number in range(1, 31):
        log.append([put(number, data=encode_value({"b": noise[number:] + noise[:number]}))])
    archive(log, into, Archiving(once=True, segment_bytes_max=300_000, page_bytes=200_000))
    infos = list(into.chain(0).segments())
    assert len(infos) > 2
    assert all(len(info.blocks) <= 2 for info in infos)
    assert_whole(log, into)


# -- several at once -------------------------------------------------------------------------------


def test_who_loses_a_race_goes_on_at_the_winners_end() -> None:
    """The winner may have cut earlier or later; nothing is lost, nothing comes twice."""
    log = MemoryLog(PARAMS, clock=ManualClock(), first_sequence=10**55, sequence_step=7)
    objects = Rushed()
    into = new_archive(log, objects)
    for number in range(1, 9):
        log.append([put(number, partition=p) for p in range(4)])

    def another() -> None:
        for partition in range(4):
            cutter = cutter_of(log, Archive.open(objects), partition)
            left = [pair for pair in log.records(partition) if pair not in done(partition)]
            for shard, record in left[:2]:
                cutter.feed(shard, record)
            if cutter.records:
                write(Archive.open(objects), cutter)

    def done(partition: int) -> list[Any]:
        return log.records(partition)[: len(archived(Archive.open(objects), partition))]

    objects.before = another
    report = archive(log, into, ONCE)
    assert report.total("lost") > 3
    assert report.vector == dict.fromkeys(range(4), 8)
    assert_whole(log, Archive.open(objects))


@pytest.mark.parametrize("seed", range(12))
def test_any_number_of_archivers_make_one_chain(seed: int) -> None:
    """They run in any order, stop anywhere, split hairs, and are killed between two writes."""
    random = Random(seed)
    clock = ManualClock()
    log = UnhurriedLog(PARAMS, clock, shards=2)
    objects = MemoryObjects()
    new_archive(log, objects)
    numbers = dict.fromkeys(range(4), 1)
    archivers: list[Archiver] = []
    for _ in range(60):
        if random.random() < 0.5:
            partition = random.randrange(4)
            number = numbers[partition]
            copies = random.choice((1, 1, 2))
            for _ in range(copies):
                log.append([put(number, partition=partition, born_ms=BORN)])
            numbers[partition] += 1
        if random.random() < 0.1 and len(log.shards()) < 6:
            open_shards = [s for s in log.shards() if not s.closed and len(s.partitions) > 1]
            if open_shards:
                log.split(random.choice(open_shards).id)
        if len(archivers) < 3 or random.random() < 0.2:
            how = Archiving(
                segment_every_s=random.choice((0.4, 5.0)), page_bytes=random.choice((1, 300, 10**6))
            )
            archivers.append(Archiver(log, Archive.open(objects), how, clock=clock))
        if len(archivers) > 3:
            archivers.pop(random.randrange(len(archivers)))  # killed, with what it had in memory
        one = random.choice(archivers)
        steps = random.randrange(1, 6)
        if random.random() < 0.5:
            one.run(stop=stop_after(steps))
        else:  # it stands in the middle of its work, with something that waits
            written = one._write_all
            one._write_all = lambda: True  # type: ignore[method-assign]
            one.run(stop=stop_after(steps))
            one._write_all = written  # type: ignore[method-assign]
    archive(log, Archive.open(objects), ONCE)
    assert_whole(log, Archive.open(objects))
    keys = [entry.key for entry in objects.list("chain/")]
    assert len(keys) == len(set(keys))


def test_two_archivers_that_disagree_are_found() -> None:
    """At one offset there is one digest, or one of them did not read what the log has."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    objects = Rushed()
    into = new_archive(log, objects)
    other = MemoryLog(PARAMS, clock=ManualClock())
    log.append([put(1, session=1)])
    other.append([put(1, session=2)])
    objects.before = lambda: archive_by_hand(other, objects, partitions=[0])
    with pytest.raises(DamageError, match="digest"):
        archive(log, into, ONCE)


# -- what stops it -----------------------------------------------------------------------------------


def test_a_halted_partition_is_archived_up_to_the_halt_and_the_others_whole() -> None:
    """And goes on once somebody has decided."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    into = new_archive(log)
    log.append([put(1, partition=p) for p in (1, 2)])
    log.inject(1, b"garbage")
    log.append([put(2, partition=p) for p in (1, 2)])
    with pytest.raises(HaltedError, match="partition 1 is halted"):
        archive(log, into, ONCE)
    assert places(archived(into, 1)) == places(log.records(1)[:2])
    assert_whole_but(log, into, 1)
    report = archive(log, into, Archiving(), stop=stop_after(3))
    assert [halt.partition for halt in report.halts] == [1]


def assert_whole_but(log: MemoryLog, into: Archive, left: int) -> None:
    for partition in range(4):
        if partition != left:
            assert places(archived(into, partition)) == places(log.records(partition))


def test_foreign_records_stand_in_the_chain_of_their_home() -> None:
    """A sample that was put with another tool must not vanish with the stream."""
    log = MemoryLog(PARAMS, clock=ManualClock(), shards=2)
    into = new_archive(log)
    log.append([put(1, partition=p) for p in range(4)])
    place = log.inject_foreign("somebody", b"hello", shard="shard-0001")
    log.append([put(2, partition=p) for p in range(4)])
    report = archive(log, into, ONCE)
    found = [
        (partition, shard, record)
        for partition in range(4)
        for shard, record in archived(into, partition)
        if record.partition < 0
    ]
    assert [(s, r.sequence, r.partition_key, r.data) for _, s, r in found] == [
        (place.shard, place.sequence, "somebody", b"hello")
    ]
    assert report.vector == dict.fromkeys(range(4), 2)
    [info] = into.chain(found[0][0]).segments()
    assert info.foreign == 1


def test_an_archive_of_another_log_is_refused() -> None:
    """Before anything is written."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    other = MemoryLog(Params(log_id="2e" * 16, partitions=4), clock=ManualClock())
    into = new_archive(other)
    with pytest.raises(MismatchError, match="an archive of its own"):
        archive(log, into, ONCE)
    assert [entry.key for entry in into.objects.list()] == ["archive.json"]


def append_to(world: KinesisWorld, number: int, partition: int) -> None:
    """The first event of a session of that number."""
    data = frame(1, partition=partition, born_ms=world.clock.now_ms(), session=number)
    log = world.open()
    assert log.append([Put(partition, data)])
    log.close()


def test_what_the_stream_forgot_unarchived_is_refused_by_name() -> None:
    """Nothing is archived behind a hole; what has none is archived all the same."""
    world = KinesisWorld()
    log = world.open()
    into = new_archive(log)
    archive(log, into, ONCE, clock=world.clock)
    append_to(world, 1, 2)
    world.clock.advance(20 * HOUR_MS)
    append_to(world, 1, 3)
    archiver = Archiver(world.open(), into, ONCE, clock=world.clock)
    cutter = archiver._cutters[3]
    archiver._reader.read()
    archiver._writer.write([cutter])  # of one partition, and then it was killed
    append_to(world, 2, 3)
    world.clock.advance(10 * HOUR_MS)
    late = world.open()
    with pytest.raises(TrimmedError, match="partition 0 would have a hole") as raised:
        archive(late, into, ONCE, clock=world.clock)
    assert "(3 partitions are like that)" in str(raised.value)
    assert "binlog snapshot" in str(raised.value)
    ends = [into.chain(p).end() for p in range(4)]
    assert [end.last for end in ends if end] == [0, 0, 0, 2]


def test_a_stream_that_was_archived_from_its_middle_is_refused() -> None:
    """A chain begins with the genesis record, or nobody can tell what was before it."""
    world = KinesisWorld()
    world.clock.advance(30 * HOUR_MS)
    append_to(world, 1, 2)
    log = world.open()
    into = new_archive(log)
    with pytest.raises(TrimmedError, match="would have a hole"):
        archive(log, into, ONCE, clock=world.clock)
    assert [entry.key for entry in into.objects.list("chain/")] == []


def test_a_partition_that_was_quiet_for_longer_than_the_stream_remembers_goes_on() -> None:
    """The archiver saw that there was nothing, and keeps a note of it."""
    world = KinesisWorld()
    log = world.open()
    into = new_archive(log)
    append_to(world, 1, 2)
    archive(log, into, ONCE, clock=world.clock)
    for _ in range(6):  # five days, a run a day, and nothing comes
        world.clock.advance(20 * HOUR_MS)
        later = world.open()
        archive(later, Archive.open(into.objects), ONCE, clock=world.clock)
        later.close()
    assert read_seen(into.objects, 2) is not None
    append_to(world, 2, 2)
    report = archive(world.open(), Archive.open(into.objects), ONCE, clock=world.clock)
    assert report.vector == {2: 2}
    assert report.total("segments") == 1


def test_nothing_is_noted_of_a_partition_whose_records_still_wait() -> None:
    """An archiver that is killed then would leave a note that passes over them."""
    world = KinesisWorld()
    log = world.open()
    into = new_archive(log)
    archive(log, into, ONCE, clock=world.clock)
    world.clock.advance(4 * HOUR_MS)
    append_to(world, 1, 2)
    archiver = Archiver(world.open(), into, Archiving(segment_every_s=1e9), clock=world.clock)
    archiver._write_all = lambda: True  # type: ignore[method-assign]  # killed before it writes
    archiver.run(stop=stop_after(4))
    assert archiver._cutters[2].records
    notes = {p: read_seen(into.objects, p) for p in range(4)}
    assert all(note is not None for note in notes.values())
    first_ms = min(note.seen_ms for note in notes.values() if note)
    assert [p for p, note in notes.items() if note and note.seen_ms < first_ms + HOUR_MS] == [2]
    report = archive(world.open(), Archive.open(into.objects), ONCE, clock=world.clock)
    assert report.vector == {2: 1}


def test_without_its_note_a_quiet_partition_is_refused_and_not_guessed_at() -> None:
    """The note may be lost: that is safe."""
    world = KinesisWorld()
    log = world.open()
    into = new_archive(log)
    archive(log, into, ONCE, clock=world.clock)
    world.clock.advance(20 * HOUR_MS)
    archive(world.open(), into, ONCE, clock=world.clock)
    into.objects.delete([entry.key for entry in into.objects.list("seen/")])
    world.clock.advance(20 * HOUR_MS)
    with pytest.raises(TrimmedError, match="would have a hole"):
        archive(world.open(), Archive.open(into.objects), ONCE, clock=world.clock)


# -- the index ---------------------------------------------------------------------------------------


def test_index_pages_list_full_stretches_and_spare_the_reading() -> None:
    """A page is a function of the chain; what comes behind the last one is read."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    for number in range(1, 24):
        log.append([put(number, born_ms=BORN)])
    into = archive_by_hand(log, records_each=2, partitions=[0])
    indexer = Indexer(into, segments_per_page=5)
    end = into.chain(0).end()
    assert end is not None
    assert indexer.note(end) == 2
    fresh = Archive.open(into.objects)
    outlines = list(fresh.chain(0).outlines())
    assert outlines == [info.outline() for info in Archive.open(into.objects).chain(0).segments()]
    assert len(fresh.chain(0).page_places()) == 2
    assert list(fresh.chain(0).outlines(after=outlines[6])) == outlines[7:]
    for offset in range(1, 24):
        found = fresh.chain(0).find(offset)
        assert found is not None
        assert found.first <= offset <= found.last
    assert Indexer(into, segments_per_page=5).note(end) == 0  # they are there already


def test_a_damaged_index_page_is_not_believed() -> None:
    """It is a shortcut: the chain itself says the same, and `check` names the page."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    for number in range(1, 12):
        log.append([put(number, born_ms=BORN)])
    into = archive_by_hand(log, records_each=1, partitions=[0])
    end = into.chain(0).end()
    assert end is not None
    assert Indexer(into, segments_per_page=4).note(end) == 3
    expected = list(Archive.open(into.objects).chain(0).outlines())
    key = next(iter(into.objects.list("index/"))).key
    data = into.objects.get(key) or b""
    for at in range(0, len(data), 3):
        into.objects.put(key, data[:at] + bytes((data[at] ^ 4,)) + data[at + 1 :])
        chain = Archive.open(into.objects).chain(0)
        assert chain.page(chain.page_places()[0]) is None
        assert list(chain.outlines()) == expected
        found = chain.find(11)
        assert found is not None
        assert found.last == 11


def test_the_archiver_makes_index_pages_by_itself() -> None:
    """Nobody has to remember it."""
    assert SEGMENTS_PER_PAGE == 256
    log = MemoryLog(PARAMS, clock=ManualClock())
    into = new_archive(log)
    archiver = Archiver(log, into, ONCE)
    archiver._writer._indexer._size = 3
    for number in range(1, 8):
        log.append([put(number, born_ms=BORN)])
        archiver.run()
    assert len(into.chain(0).page_places()) == 2
    assert_whole(log, into)


def test_sees_a_position_only_where_it_has_read_to() -> None:
    """The position of a reader may lie behind its last record; a segment ends at its own."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    into = new_archive(log)
    log.append([put(1, partition=0)])
    log.append([put(1, partition=1)])
    archive(log, into, ONCE)
    ends = [into.chain(p).end() for p in range(4)]
    assert [end.end.position for end in ends if end] == [
        Position("shard-0000", log.records(p)[-1][1].sequence) for p in range(4)
    ]
    assert partition_key(0)
