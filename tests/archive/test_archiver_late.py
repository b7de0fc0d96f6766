"""An archiver that comes late: others were there meanwhile, or a chain has no more room for its kind."""

from __future__ import annotations

import pytest

from binlog.archive import Archive
from binlog.archive import cutter as cutting
from binlog.archive.archiver import Archiver, Archiving, archive
from binlog.archive.keys import FIRST
from binlog.archive.segment_info import SegmentInfo
from binlog.clock import ManualClock
from binlog.errors import DamageError, RefusedError, TrimmedError
from binlog.foreign import home_of
from binlog.log import Position, Record
from binlog.logs.memory import MemoryLog
from consumers.archive_worker import ArchiveWorker
from tests.archive.archive_world import (
    UnhurriedLog,
    archive_by_hand,
    archived,
    assert_whole,
    cutter_of,
)
from tests.archive.test_archiver import ONCE, append_to, new_archive, stop_after
from tests.log.kinesis_world import HOUR_MS, KinesisWorld, read_shard
from tests.log.log_frames import PARAMS, put


def later(world: KinesisWorld, into: Archive, days: int, *partitions: int) -> None:
    """Days in which something is written and another archiver archives it."""
    for day in range(days):
        world.clock.advance(20 * HOUR_MS)
        for partition in partitions:
            append_to(world, world.clock.now_ms() % 10**6 + day, partition)
        log = world.open()
        archive(log, Archive.open(into.objects), ONCE, clock=world.clock)
        log.close()


@pytest.mark.parametrize("how", [ONCE, Archiving(segment_every_s=0.0)], ids=["once", "following"])
@pytest.mark.parametrize("busy", [(0, 1, 2, 3), (2,), ()], ids=["all", "one", "none"])
def test_what_others_archived_meanwhile_is_no_hole(how: Archiving, busy: tuple[int, ...]) -> None:
    """Whoever was stopped for days is told nothing of a log that is to be given up."""
    world = KinesisWorld()
    log = world.open()
    into = new_archive(log)
    archive(log, into, ONCE, clock=world.clock)
    slow = Archiver(world.open(), Archive.open(into.objects), how, clock=world.clock)
    later(world, into, 4, *busy)
    for partition in range(4):
        append_to(world, 77, partition)
    report = slow.run(stop=stop_after(12))
    assert report.vector == {p: 5 if p in busy else 1 for p in range(4)}


def test_what_nobody_archived_is_a_hole_all_the_same() -> None:
    world = KinesisWorld()
    log = world.open()
    into = new_archive(log)
    archive(log, into, ONCE, clock=world.clock)
    slow = Archiver(world.open(), Archive.open(into.objects), ONCE, clock=world.clock)
    later(world, into, 2, 2)
    append_to(world, 78, 2)
    world.clock.advance(30 * HOUR_MS)
    with pytest.raises(TrimmedError, match="would have a hole"):
        slow.run()
    assert [end.last for p in range(4) if (end := into.chain(p).end())] == [0, 0, 2, 0]


def test_a_worker_that_remembers_what_is_forgotten_asks_anew() -> None:
    """An invocation that was frozen for days, while others were at work."""
    world = KinesisWorld()
    log = world.open()
    into = new_archive(log)
    shard = log.shards()[0].id
    worker = ArchiveWorker(log, Archive.open(into.objects), clock=world.clock)
    records = read_all(world, shard)
    assert worker.apply(shard, records).error is None
    later(world, into, 4, 0, 1, 2, 3)
    append_to(world, 77, 1)
    [last] = read_all(world, shard)[-1:]
    outcome = worker.apply(shard, [last])
    assert (outcome.first_failed, outcome.error) == (None, None)
    ends = [Archive.open(into.objects).chain(p).end() for p in range(4)]
    assert [end.last for end in ends if end] == [4, 5, 4, 4]


def read_all(world: KinesisWorld, shard: str) -> list[Record]:
    log = world.open()
    try:
        return read_shard(log, Position(shard, -1))
    finally:
        log.close()


# -- segments without events -------------------------------------------------------------------------


def foreign_to(log: MemoryLog, home: int) -> None:
    shard = log.shards()[0]
    key = next(k for k in map(str, range(100)) if home_of(shard, k, 4) == home)
    log.inject_foreign(key, b"hello", shard=shard.id)


def test_a_chain_without_room_keeps_no_other_partition_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is anything of its own lost: an event of it, and all goes on."""
    monkeypatch.setattr(cutting, "PART_MAX", 2)
    log = MemoryLog(PARAMS, clock=ManualClock(), enforce_age=False)
    into = archive_by_hand(log)
    ends: dict[int, SegmentInfo] = {}
    for session in range(1, 6):
        foreign_to(log, 2)
        log.append([put(1, partition=p, session=session) for p in (0, 1, 3)])
        try:
            archive(log, Archive.open(into.objects), ONCE)
        except RefusedError as error:
            assert session > 1
            assert "append an event to it" in str(error)  # noqa: PT017
        ends = {p: end for p in range(4) if (end := Archive.open(into.objects).chain(p).end())}
        assert [ends[p].last for p in (0, 1, 3)] == [session] * 3
    assert ends[2].part == 1
    log.append([put(1, partition=2)])
    archive(log, Archive.open(into.objects), ONCE)
    kept = archived(Archive.open(into.objects), 2)
    assert [record.partition for _, record in kept] == [2, *[-1] * 5, 2]


def test_segments_without_events_are_cut_ever_more_seldom() -> None:
    """A place for ten thousand in a row is for years, also where somebody else writes all the time."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    waits = cutter_of(log, new_archive(log), 0)
    waited_s = 0.0
    for part in range(10_000):
        waits._place = FIRST._replace(part=part)
        waited_s += waits.wait_s(10.0)
        assert part > 99 or waits.wait_s(10.0) == 10.0
        assert waits.wait_s(10.0) <= 3 * 3600
    assert waited_s > 2 * 365 * 86_400
    assert waits.wait_s(4 * 3600.0) == 4 * 3600


@pytest.mark.parametrize("how", [ONCE, Archiving(segment_every_s=0.0)], ids=["once", "following"])
def test_a_damaged_end_keeps_no_other_partition_back(how: Archiving) -> None:
    """It is named, nothing is written behind it, and what the others have is not forgotten meanwhile."""
    clock = ManualClock()
    log = UnhurriedLog(PARAMS, clock)
    into = archive_by_hand(log)
    [key] = [entry.key for entry in into.objects.list("chain/p0002/")]
    data = into.objects.get(key) or b""
    into.objects.put(key, data[:-9])
    log.append([put(1, partition=p) for p in range(4)])
    with pytest.raises(DamageError, match=key):
        archive(log, Archive.open(into.objects), how, clock=clock)
    counts = [len(list(into.objects.list(f"chain/p{p:04d}/"))) for p in range(4)]
    assert counts == [2, 2, 1, 2]
    into.objects.put(key, data)
    archive(log, Archive.open(into.objects), ONCE, clock=clock)
    assert_whole(log, Archive.open(into.objects))
