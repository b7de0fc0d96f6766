"""A log in memory and an archive of it, cut by hand: what tests of the archive begin with."""

from __future__ import annotations

from collections.abc import Iterable

from binlog.archive import Archive, Cutter
from binlog.archive.segment_info import SegmentInfo
from binlog.halt import Halted
from binlog.lineage import Lineage, records_after
from binlog.log import Log
from binlog.objects.memory import MemoryObjects
from binlog.objects.objects import Objects


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
