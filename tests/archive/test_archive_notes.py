"""Who answers where a stream forgets: its archive, as far as it is known to go, and nobody else."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.archiver import Archiving, archive
from binlog.archive.seen import Seen, write_seen
from binlog.archive.through import Through, write_through
from binlog.errors import MismatchError, RefusedError, TrimmedError
from binlog.log import (
    AsksTime,
    Forgets,
    GivesWholeShards,
    Log,
    Position,
    ReadsAhead,
    Remote,
)
from binlog.logs import DirectoryLog, MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.params import Params
from binlog.reader import Reader
from tests.archive.archive_world import archive_by_hand
from tests.check.replicas import append, make_log
from tests.check.replicas import put as put_item
from tests.log.kinesis_world import HOUR_MS, KinesisWorld
from tests.log.log_frames import PARAMS, put

EVERY = range(PARAMS.partitions)


def a_log(events: int = 3) -> MemoryLog:
    log = MemoryLog(PARAMS, enforce_age=False)
    for number in range(1, events + 1):
        for partition in EVERY:
            log.append([put(number, partition=partition, session=partition + 1)])
    return log


def drained(log: Log, *, page_bytes: int = 1 << 20) -> Reader:
    reader = Reader(log, page_bytes=page_bytes)
    while reader.read() is not None:
        pass
    return reader


# -- notes -------------------------------------------------------------------------------------------


def test_a_note_of_an_earlier_end_says_nothing() -> None:
    """What is behind the end that it names is archived; how far that goes it cannot know."""
    kept = archive_by_hand(a_log(), records_each=1)
    outlines = list(kept.chain(1).outlines())
    shard, far = outlines[-1].end.shard, outlines[-1].end.sequence + 50
    write_seen(kept.objects, 1, Seen(Position(shard, far), 1, outlines[-2].end))
    assert ArchiveLog(kept).view(1).reaches(shard) == outlines[-1].end.sequence
    write_seen(kept.objects, 1, Seen(Position(shard, far), 1, outlines[-1].end))
    assert ArchiveLog(kept).view(1).reaches(shard) == far


def test_a_shards_note_says_nothing_of_a_chain_that_was_cut() -> None:
    kept = archive_by_hand(a_log(), records_each=1)
    ends = {p: list(kept.chain(p).outlines())[-1].end for p in EVERY}
    shard, far = ends[0].shard, max(end.sequence for end in ends.values()) + 50
    write_through(kept.objects, Through(shard, far, 1, ends))
    assert {ArchiveLog(kept).view(p).reaches(shard) for p in EVERY} == {far}
    last = [entry.key for entry in kept.objects.list("chain/p0001/")][-1]
    kept.objects.delete([last])
    cut = ArchiveLog(Archive.open(kept.objects)).view(1)
    assert cut.reaches(shard) == cut.outlines[-1].end.sequence < ends[1].sequence


# -- a stream that forgets ---------------------------------------------------------------------------


class Days:
    """A stream in the double, written to and archived day by day."""

    def __init__(self) -> None:
        self.world = KinesisWorld()
        self.objects = MemoryObjects("memory:kept")
        self.written = dict.fromkeys(EVERY, 0)
        with closing(self.world.open()) as log:
            Archive.create(self.objects, log.params, log.genesis)

    def day(self, *partitions: int, hours: int = 20, keep: bool = True) -> None:
        with closing(self.world.open()) as log:
            for partition in partitions:
                self.written[partition] += 1
                log.append(
                    [
                        put(
                            1,
                            partition=partition,
                            session=100 * self.written[partition] + partition,
                            born_ms=self.world.clock.now_ms(),
                        )
                    ]
                )
            if keep:
                archive(
                    log, Archive.open(self.objects), Archiving(once=True), clock=self.world.clock
                )
        self.world.clock.advance(hours * HOUR_MS)

    def both(self, *, archive_first: bool = True) -> Log:
        kept = ArchiveLog(Archive.open(self.objects), fetches=0)
        return ArchivedLog(self.world.open(), kept, archive_first=archive_first)


@pytest.mark.parametrize("archive_first", [True, False])
def test_a_stream_that_has_forgotten_goes_on_in_the_archive(archive_first: bool) -> None:
    """From its first record on, through what both have, to what only the stream has."""
    days = Days()
    for _ in range(4):
        days.day(*EVERY)
    days.day(*EVERY, hours=0, keep=False)
    with pytest.raises(TrimmedError):
        drained(days.world.open())
    reader = drained(days.both(archive_first=archive_first), page_bytes=1)
    assert reader.vector() == dict.fromkeys(EVERY, 5)


def test_a_partition_that_is_quiet_for_longer_than_the_stream_remembers_goes_on() -> None:
    """Its last record has left the stream; that nothing came after it the archiver has seen."""
    days = Days()
    days.day(*EVERY)
    for _ in range(4):
        days.day(0, 2)
    days.day(1, hours=0, keep=False)
    reader = drained(days.both())
    assert reader.vector() == {0: 5, 1: 2, 2: 5, 3: 1}


def test_what_a_log_can_do_it_can_do_beside_an_archive() -> None:
    """Of the class: Python asks that, not the object. But whole shards are given by none."""
    days = Days()
    both = days.both()
    for protocol in (Remote, AsksTime, ReadsAhead, Forgets):
        assert isinstance(both, protocol)
    assert not isinstance(both, GivesWholeShards)
    plain = ArchivedLog(log := a_log(), archive_by_hand(log))
    for each in (Remote, AsksTime, ReadsAhead, Forgets, GivesWholeShards):
        assert not isinstance(plain, each)


# -- one history -------------------------------------------------------------------------------------


def test_an_archive_of_another_log_is_refused() -> None:
    other = MemoryLog(Params(log_id="44" * 16, partitions=PARAMS.partitions))
    with pytest.raises(MismatchError, match="an archive of the log 4444"):
        ArchivedLog(a_log(), archive_by_hand(other))
    with pytest.raises(RefusedError, match="takes no events"):
        ArchiveLog(archive_by_hand(other)).append([])


def test_a_log_restored_from_a_copy_is_refused_at_the_seam(tmp_path: Path) -> None:
    """Written to since, it has another history than the archive; nothing else would tell."""
    make_log(tmp_path / "log")
    shutil.copytree(tmp_path / "log", tmp_path / "copy")
    objects = MemoryObjects()
    with closing(DirectoryLog(tmp_path / "log")) as log:
        append(log, [put_item("a", n) for n in range(6)], at_once=1)
        archive(log, Archive.create(objects, log.params, log.genesis), Archiving(once=True))
        drained(ArchivedLog(log, Archive.open(objects)))
    with closing(DirectoryLog(tmp_path / "copy")) as log:
        with pytest.raises(MismatchError, match="beyond the log"):
            drained(ArchivedLog(log, Archive.open(objects)))
        append(log, [put_item("b", n) for n in range(6)], at_once=1)
        with pytest.raises(MismatchError, match="another record than the archive"):
            drained(ArchivedLog(log, Archive.open(objects)))
