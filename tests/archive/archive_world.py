"""A log in memory and an archive of it, cut by hand: what tests of the archive begin with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from binlog.archive import Archive, Cutter
from binlog.archive.segment_info import SegmentInfo
from binlog.clock import ManualClock
from binlog.halt import Halted
from binlog.lineage import Lineage, records_after
from binlog.log import Log, Page, Position, Record
from binlog.logs.memory import MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.objects.objects import Objects
from binlog.params import Params
from binlog.sequencer import Sequencer


def cutter_of(log: Log, archive: Archive, partition: int) -> Cutter:
    """A cutter at the end of a partition's chain."""
    lineage = Lineage(log)
    return Cutter(
        log.params,
        log.genesis,
        partition,
        root=lineage.root(partition),
        shard_of=lineage.find,
        end=archive.chain(partition).end(),
    )


def write(archive: Archive, cutter: Cutter) -> SegmentInfo:
    """Cut, write and settle; nobody else is there."""
    cut = cutter.cut()
    assert archive.objects.put_new(cut.key, cut.data)
    cutter.settle(cut)
    return cut.info


def archive_by_hand(
    log: Log,
    objects: Objects | None = None,
    *,
    partitions: Iterable[int] | None = None,
    records_each: int = 3,
) -> Archive:
    """All of the log, in segments of so many records; a halted partition up to its halt."""
    archive = Archive.create(objects or MemoryObjects(), log.params, log.genesis)
    for partition in range(log.params.partitions) if partitions is None else partitions:
        cutter = cutter_of(log, archive, partition)
        for shard, record in records_after(log, cutter.position, partition):
            try:
                cutter.feed(shard, record)
            except Halted:
                break
            if cutter.records == records_each:
                write(archive, cutter)
        if cutter.records:
            write(archive, cutter)
    return archive


class UnhurriedLog(MemoryLog):
    """Waits by moving its clock on, so that a test of an hour takes none."""

    def __init__(self, params: Params, clock: ManualClock, **how: Any) -> None:
        super().__init__(params, clock=clock, **how)
        self._manual = clock

    def read(self, after: Position, *, wait_s: float = 0.0, **how: Any) -> Page:
        page = super().read(after, **how)
        if not page.records and wait_s:
            self._manual.advance(max(1, round(wait_s * 1000)))
        return page


def archived(archive: Archive, partition: int) -> list[tuple[str, Record]]:
    """All records of a partition's chain, as a reader gets them."""
    chain = archive.chain(partition)
    return [pair for info in chain.segments() for block in chain.open(info) for pair in block]


def places(records: Iterable[tuple[str, Record]]) -> list[tuple[str, int, int, int]]:
    """What tells records apart, their bytes left out, which an archive may keep in another form."""
    return [(shard, r.sequence, r.arrival_ms, r.partition) for shard, r in records]


def assert_whole(log: MemoryLog, archive: Archive) -> None:
    """Every partition's chain holds every record of it, once and in order, and ends where it would."""
    for partition in range(log.params.partitions):
        expected = log.records(partition)
        assert places(archived(archive, partition)) == places(expected), partition
        sequencer = Sequencer(log.params, log.genesis, partition)
        for shard, record in expected:
            sequencer.feed(shard, record)
        end = archive.chain(partition).end()
        assert (end.last, end.end.digest) == (sequencer.offset, sequencer.digest) if end else True
