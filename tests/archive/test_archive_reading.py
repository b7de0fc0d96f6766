"""A reader of an archive, or of a log and its archive, gets what a reader of the log gets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.clock import ManualClock
from binlog.log import Log
from binlog.logs import MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.reader import Reader, Start
from snapshots.grouping import groups_of
from tests.archive.archive_world import archive_by_hand
from tests.log.log_frames import PARAMS, put

EVERY = range(PARAMS.partitions)


class Story:
    """A log in memory that is written to, split, merged and archived, a piece at a time."""

    def __init__(self, shards: int) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(PARAMS, clock=self.clock, shards=shards, enforce_age=False)
        self.objects = MemoryObjects()
        self.archive = Archive.create(self.objects, PARAMS, self.log.genesis)
        self._numbers = dict.fromkeys(EVERY, 0)

    def do(self, step: tuple[str, Any]) -> None:
        kind, value = step
        getattr(self, kind)(value)

    def append(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._numbers[partition] += 1
            number = self._numbers[partition]
            self.log.append([put(number, partition=partition, session=partition + 1)])
            self.clock.advance(1)

    def keep(self, value: tuple[Collection[int], int]) -> None:
        partitions, records_each = value
        archive_by_hand(
            self.log, self.objects, partitions=sorted(partitions), records_each=records_each
        )

    def split(self, index: int) -> None:
        able = [s for s in self.log.shards() if not s.closed and len(s.partitions) > 1]
        if able:
            self.log.split(able[index % len(able)].id)

    def merge(self, index: int) -> None:
        able = [s for s in self.log.shards() if not s.closed]
        if len(able) > 1:
            self.log.merge(able[index % len(able)].id, able[(index + 1) % len(able)].id)

    def alone(self) -> ArchiveLog:
        return ArchiveLog(Archive.open(self.objects), clock=self.clock, fetches=0)

    def beside(self) -> Log:
        return ArchivedLog(self.log, self.alone())

    def ends(self) -> dict[int, Any]:
        """What the last segment of each chain says of it."""
        return {p: self.archive.chain(p).end() for p in EVERY}


def drain(reader: Reader, *, pages: int | None = None) -> None:
    while (pages is None or pages > 0) and reader.read() is not None:
        pages = None if pages is None else pages - 1


def standing(reader: Reader) -> dict[int, tuple[int, bytes]]:
    return {p: (reader.sequencers[p].offset, reader.sequencers[p].digest) for p in EVERY}


def starts(reader: Reader) -> dict[int, Start]:
    found = {p: reader.checkpoint(p) for p in EVERY}
    return {p: Start(c.position, c.state, c.applied) for p, c in found.items()}


_some = st.frozensets(st.sampled_from(EVERY), min_size=1)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.sampled_from(EVERY), min_size=1, max_size=8)),
        st.tuples(st.just("keep"), st.tuples(_some, st.integers(1, 4))),
        st.tuples(st.just("split"), st.integers(0, 3)),
        st.tuples(st.just("merge"), st.integers(0, 3)),
    ),
    max_size=14,
)
_pages = st.sampled_from([1, 400, 2_000, 1 << 20])
_few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_few
@given(st.integers(1, 3), _steps, _steps, _pages)
def test_an_archive_alone_gives_each_partition_to_the_end_of_its_chain(
    shards: int, steps: list[tuple[str, Any]], more: list[tuple[str, Any]], page_bytes: int
) -> None:
    """Where chains end apart, none is cut short, and no place lies beyond what is known: what is
    archived later is read on by the same reader, and from its checkpoints."""
    story = Story(shards)
    story.keep((EVERY, 1))
    for step in steps:
        story.do(step)
    log = story.alone()
    reader = Reader(log, page_bytes=page_bytes)
    drain(reader)
    ends = story.ends()
    assert standing(reader) == {p: (e.last, e.end.digest) for p, e in ends.items()}
    kept = starts(reader)
    for step in more:
        story.do(step)
    drain(reader)
    ends = story.ends()
    assert standing(reader) == {p: (e.last, e.end.digest) for p, e in ends.items()}
    again = Reader(story.alone(), starts=kept, page_bytes=page_bytes)
    drain(again)
    assert standing(again) == standing(reader)
    on_the_log = Reader(story.log, starts=kept)
    drain(on_the_log)
    whole = Reader(story.log)
    drain(whole)
    assert standing(on_the_log) == standing(whole)


@_few
@given(st.integers(1, 3), _steps, st.integers(0, 6), _pages, st.booleans())
def test_a_log_and_its_archive_are_one_log(
    shards: int, steps: list[tuple[str, Any]], pages: int, page_bytes: int, is_first: bool
) -> None:
    """From any place of the one the other goes on, and both give what the log gives."""
    story = Story(shards)
    story.keep((EVERY, 1))
    for step in steps:
        story.do(step)
    whole = Reader(story.log)
    drain(whole)
    one, two = (story.beside(), story.log) if is_first else (story.log, story.beside())
    reader = Reader(one, page_bytes=page_bytes)
    drain(reader, pages=pages)
    after = Reader(two, starts=starts(reader), page_bytes=page_bytes)
    drain(after)
    assert standing(after) == standing(whole)
    assert {p: after.place(p)[:2] for p in EVERY} == {p: whole.place(p)[:2] for p in EVERY}


def test_a_rebuild_reads_no_more_partitions_at_once_than_memory_is_for() -> None:
    """Of a small log one worker would take all of them, a block of each."""
    story = Story(1)
    log = story.alone()
    log.partitions_at_once = 1
    story.keep((EVERY, 1))
    assert groups_of(log, 1) == [[p] for p in EVERY]
    log.partitions_at_once = 3
    assert groups_of(log, 1) == [[0, 2], [1, 3]]
    assert groups_of(story.beside(), 1) == [list(EVERY)]
