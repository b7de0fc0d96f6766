"""An archive as a log: the records that readers of the stream got, at the stream's own places.

It is read-only, and ends for each partition where its chain ends. So a page of several partitions
may end in one of them before it ends in another (`binlog.log.Page.ends`): a place of a partition
never lies beyond what is known of it, or what is archived there later would be passed over.

A page merges the chains of the partitions asked for, by sequence number. In memory are a block for
each of these chains and what is fetched ahead (`binlog.archive.cursors`), whatever their length; who
reads many partitions at once and wants less reads some of them at a time.

Of stamps (`Log.stamp`) it knows those of its segments' last records, which their states hold.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Sequence

from binlog.archive.archive import Archive
from binlog.archive.chain_view import WHOLE, ChainView
from binlog.archive.cursors import AHEAD_AT_ONCE, Ahead, Cursor
from binlog.archive.ends import End, first_of, read_ends
from binlog.archive.lineage import ordered
from binlog.archive.merge import Merge
from binlog.archive.seen import read_seen
from binlog.archive.through import Through, read_through
from binlog.clock import Clock, SystemClock
from binlog.cpus import has_spare
from binlog.errors import BinlogError, MismatchError, RefusedError
from binlog.log import Page, Position, Put, Reply, Shard
from binlog.sequencer_state import SequencerState

PARTITIONS_AT_ONCE = 128  # a block of 1 MiB each, and what its records take
POLL_S = 1.0  # between two looks whether something was archived, for who waits


class ArchiveLog:
    """A `binlog.log.Log` over an archive alone; the archive is closed with it.

    ``fetches`` are made ahead at once, at most. ``is_local``: what is fetched is not waited for, only
    worked on; so it is fetched ahead where a CPU has nothing else to do, and not by one of as many
    workers as there are CPUs.
    """

    partitions_at_once: int = PARTITIONS_AT_ONCE

    def __init__(
        self,
        archive: Archive,
        *,
        fetches: int = AHEAD_AT_ONCE,
        is_local: bool = False,
        clock: Clock | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.params = archive.params
        self.genesis = archive.genesis
        self.name = archive.name
        self.archive = archive
        self._clock: Clock = clock or SystemClock()
        self._pause = pause
        self._fetches = fetches
        self._is_local = is_local
        self._lock = threading.RLock()
        self._ahead = self._none_ahead()
        self._shards: dict[str, Shard] = {}
        self._views: dict[int, ChainView] = {}
        self._cursors: dict[int, Cursor] = {}
        self._throughs: dict[str, Through | None] = {}
        self._ends: dict[int, dict[int, End]] = {}  # the notes, by their first partition
        self.last_arrival_ms = 0
        self._closed = False
        self._pid = os.getpid()

    # -- the protocol ----------------------------------------------------------------------------

    def append(self, frames: Sequence[Put]) -> list[Reply]:  # noqa: ARG002
        self._check_open()
        raise RefusedError(
            "an archive takes no events", self.name, "append to the log that it is an archive of"
        )

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page:
        until = self._clock.monotonic() + wait_s
        while True:
            with self._lock:
                page = self._read_now(after, partitions, bytes_max)
            left_s = until - self._clock.monotonic()
            if page.records or page.closed or not page.caught_up or left_s <= 0:
                return page
            self._pause(min(POLL_S, left_s))

    def shards(self) -> list[Shard]:
        """Those in which a record stands that was archived, or a chain begins."""
        found = self.known_shards()
        if not found:
            with self._lock:
                for view in self._views.values():
                    if view.trouble is not None:
                        raise view.trouble
            raise _nothing_yet("nothing", self.name)
        return found

    def nothing_of(self, partition: int) -> BinlogError:
        """Why no shard that is known here holds a partition (`binlog.lineage.TellsWhy`)."""
        trouble = self.view(partition).trouble
        return trouble or _nothing_yet(f"nothing of partition {partition}", self.name)

    def locate(self, position: Position) -> str:
        with self._lock:
            for view in self._views.values():
                rank = view.rank(position)
                if rank is not None and view.outlines:
                    index = min(view.segment_after((rank[0], rank[1] - 1)), len(view.outlines) - 1)
                    key = view.outlines[index].key
                    return f"{self.name} {key}, record {position.sequence} of {position.shard}"
        return f"{self.name}, record {position.sequence} of {position.shard}"

    def stamp(self, position: Position) -> bytes:
        with self._lock:
            self._check_open()
            for view in self._views.values():
                rank = view.rank(position)
                if rank is None:
                    continue
                index = view.segment_after((rank[0], rank[1] - 1))
                if index < len(view.outlines) and view.outlines[index].end == position:
                    info = view.chain.info(view.outlines[index].place)
                    return SequencerState.decode(info.end.state).place
        return b""

    def size_bytes(self) -> int:
        """Decompressed, as it is read."""
        return sum(self.bytes_by_partition().values())

    def bytes_by_partition(self) -> dict[int, int]:
        """Likewise, of each."""
        with self._lock:
            self._check_open()
            return {
                p: sum(outline.raw_bytes for outline in self._view(p).outlines)
                for p in range(self.params.partitions)
            }

    def now_ms(self) -> int:
        return max(self._clock.now_ms(), self.last_arrival_ms)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for cursor in self._cursors.values():
                cursor.leave()
            self.archive.close()

    # -- beside a stream (`binlog.archive.archived_log`) ----------------------------------------------

    def learn(self, shards: Collection[Shard]) -> None:
        """Shards that the log lists, so that a place in any of them has its place on a chain's way."""
        with self._lock:
            for shard in shards:
                self._shards.setdefault(shard.id, shard)

    def known_shards(self) -> list[Shard]:
        """As `shards`; none, if nothing is archived yet."""
        with self._lock:
            self._check_open()
            ways = self.ways()
            return ordered(self._shards, ways)

    def ways(self) -> dict[int, Sequence[str]]:
        """By partition, the shards in which records of it stand that were archived."""
        with self._lock:
            return {p: self._view(p).way for p in range(self.params.partitions)}

    def view(self, partition: int) -> ChainView:
        """One partition's chain as it was last looked at."""
        with self._lock:
            self._check_open()
            return self._view(partition)

    def refresh(self, partitions: Collection[int]) -> bool:
        """Look what was archived since; whether there is anything new."""
        with self._lock:
            self._throughs.clear()
            self._ends.clear()
            news = [self._view(p).refresh() for p in sorted(partitions)]
        return any(news)

    def through(self, shard: str) -> Through | None:
        """The note of a shard, as it was last looked at."""
        with self._lock:
            if shard not in self._throughs:
                self._throughs[shard] = read_through(self.archive.objects, shard)
            return self._throughs[shard]

    def is_at(self, after: Position, partitions: Collection[int]) -> bool:
        """Whether what comes next of all of them is in memory."""
        with self._lock:
            for partition in partitions:
                cursor, rank = self._cursors.get(partition), self._view(partition).rank(after)
                if cursor is None or rank is None or not cursor.covers(rank):
                    return False
        return True

    def read_whole(
        self, after: Position, partitions: Collection[int], bytes_max: int
    ) -> Page | None:
        """A page of what is here of *all* of them; ``None``: of one nothing is known beyond there."""
        with self._lock:
            self._check_open()
            merge = self._merge(after, partitions)
            page = merge.page(bytes_max, is_whole=True)
        return page if page.next != after or page.records or page.closed else None

    # -- inside ----------------------------------------------------------------------------------

    def _read_now(self, after: Position, partitions: frozenset[int] | None, bytes_max: int) -> Page:
        self._check_open()
        held = self._held(after.shard)
        wanted = held if partitions is None else partitions
        if not wanted:
            return self._passed(after, held)
        page = self._merge(after, wanted).page(bytes_max)
        if page.caught_up and not page.records and not page.closed and self.refresh(wanted):
            page = self._merge(after, wanted).page(bytes_max)
        if page.caught_up and not page.records and not page.closed:
            self._check_place(after, held)
        for record in page.records[-1:]:
            self.last_arrival_ms = max(self.last_arrival_ms, record.arrival_ms)
        return page

    def _merge(self, after: Position, partitions: Collection[int]) -> Merge:
        cursors = {}
        for partition in sorted(partitions):
            if partition not in self._cursors:
                self._cursors[partition] = Cursor(self._view(partition), self._ahead)
            cursors[partition] = self._cursors[partition]
        return Merge(after, cursors)

    def _passed(self, after: Position, held: Collection[int]) -> Page:
        """A page of no partition: the place at the end, if there is one."""
        reached = [self._view(p).reaches(after.shard) for p in held]
        numbers = [int(r) for r in reached if r is not None and r != WHOLE]
        closed = bool(reached) and all(r == WHOLE for r in reached)
        place = Position(after.shard, max([after.sequence, *numbers]))
        return Page([], place, caught_up=True, closed=closed)

    def _check_place(self, after: Position, partitions: Collection[int]) -> None:
        """That the end of what is known is not before the place.

        Raises:
            RefusedError: it is, or there is no such shard.
        """
        reached = [self._view(p).reaches(after.shard) for p in partitions]
        known = [r for r in reached if r is not None]
        if after.sequence >= 0 and after.sequence > max(known, default=-1):
            raise RefusedError(f"no record {after.sequence}", f"{after.shard} of {self.name}")
        if after.shard not in self._shards:
            raise RefusedError(f"no shard {after.shard!r}", self.name)

    def _held(self, shard: str) -> frozenset[int]:
        """The partitions of a shard; all of them where it is not known."""
        if shard not in self._shards:
            for partition in range(self.params.partitions):
                self._view(partition)
        known = self._shards.get(shard)
        return frozenset(range(self.params.partitions)) if known is None else known.partitions

    def _view(self, partition: int) -> ChainView:
        view = self._views.get(partition)
        if view is None:
            if not 0 <= partition < self.params.partitions:
                raise MismatchError(f"no partition {partition}", self.name)
            view = self._views[partition] = ChainView(
                self.archive.chain(partition),
                self._shards,
                lambda: read_seen(self.archive.objects, partition),
                self.through,
                lambda: self._noted_end(partition),
            )
        return view

    def _noted_end(self, partition: int) -> End | None:
        first = first_of(partition)
        if first not in self._ends:
            self._ends[first] = read_ends(self.archive.objects, first) or {}
        return self._ends[first].get(partition)

    def _check_open(self) -> None:
        if self._closed:
            raise RefusedError("the log is closed", self.name, "open it again")
        if self._pid != os.getpid():  # what was on its way is in the parent
            self._pid = os.getpid()
            self._lock = threading.RLock()
            self._ahead = self._none_ahead()
            self._cursors = {}

    def _none_ahead(self) -> Ahead:
        return Ahead(0 if self._is_local and not has_spare() else self._fetches)


def _nothing_yet(what: str, name: str) -> RefusedError:
    return RefusedError(
        f"{what} is archived there yet", name, "wait, or run: binlog archive LOG ARCHIVE"
    )
