"""Where the shards of a stream were at some moment: found out by the calls that read it.

Nobody can ask a stream where a shard ends. But a call that *began* after the moment tells enough: what
was acknowledged before the moment was in the stream before the call. No clock of ours is asked, and
none is compared with another.

* A reply says that it holds the last record of its shard, or that there is none after a place (see
  `binlog.logs.kinesis_reader` for when it is believed): the shard's horizon is there, *if* the shard
  was open then. One that was closed has children, in which there may be more. So a list of the shards,
  asked for after the moment as well, has to show it open; a closed one is read until a reply says so,
  and then its children are.
* A shard that gets more than we read is never seen to end. There a record tells that arrived
  `MARGIN_MS` after the moment: whatever comes behind it came later. The moment, by the service's own
  time, is at the latest the Date of the first replies to calls that began after it. The margin is for
  Dates that are cut off to the second, and for arrivals, which Kinesis does not promise to grow along
  a shard: "no guarantees about the time stamp accuracy, or that it is always increasing"
  (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html).

What is relied on is that a record which was acknowledged is given by, or counts into
`MillisBehindLatest` of, every GetRecords that begins later. Every reader that ever comes to a stream's
end relies on that.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter
from typing import Any

from binlog.clock import Clock
from binlog.errors import StorageError
from binlog.horizon import cut_page
from binlog.log import Page, Position, Shard
from binlog.logs.kinesis_chunk import Chunk
from binlog.logs.kinesis_client import AGREED, DATE_MS, date_of

MARGIN_MS = 10_000  # by which arrivals in one shard may be out of order
WAIT_S = 0.5  # between two looks at a shard that is closed, and is not over yet
PATIENCE_S = 60.0  # for it


class StreamHorizon:
    """A `binlog.horizon.Horizon`. Any thread may tell it of a reply."""

    def __init__(
        self,
        name: str,
        list_shards: Callable[[], object],
        clock: Clock,
        pause: Callable[[float], None],
    ) -> None:
        """``list_shards`` lists them, and tells of it by `hear_shards`."""
        self._name = name
        self._list_shards = list_shards
        self._clock = clock
        self._pause = pause
        self._until_ms: int | None = None  # what arrived later was written since
        self._dates: list[int] = []
        self._is_open: dict[str, bool] = {}  # by shard, as listed since
        self._seen: dict[str, int] = {}  # where shards ended that may be closed
        self._ends: dict[str, int] = {}
        self._waits_until: float | None = None

    # -- what calls tell that began since -------------------------------------------------------------

    def hear_date(self, reply: Mapping[str, Any]) -> None:
        """Any reply. Of the first ones the latest Date is taken: one that lies ends nothing too soon."""
        if self._until_ms is None and (date_ms := date_of(reply)) is not None:
            self._dates.append(date_ms)
            if len(self._dates) >= AGREED:
                self._until_ms = max(self._dates) + DATE_MS + MARGIN_MS

    def hear_shards(self, shards: Iterable[Shard]) -> None:
        """A list of all of them. One that was closed once stays so."""
        for shard in shards:
            self._is_open[shard.id] = not shard.closed and self._is_open.get(shard.id, True)

    def hear_end(self, shard: str, sequence: int) -> None:
        """Nothing came after that record, or place, and the shard did not say that it is closed."""
        self._seen.setdefault(shard, sequence)

    # -- what any call tells -------------------------------------------------------------------------

    def hear_records(self, shard: str, chunk: Chunk) -> None:
        """Records, whenever they were read: late ones show where the horizon is."""
        until_ms = self._until_ms
        if until_ms is None or shard in self._ends:
            return
        for index, record in enumerate(chunk.records):
            if record.arrival_ms > until_ms:
                self._ends[shard] = chunk.sequences[index - 1] if index else chunk.after
                return

    # -- what readers ask ----------------------------------------------------------------------------

    def bound(self, after: Position, page: Page) -> tuple[Page, bool]:
        """See `binlog.horizon.Horizon`."""
        end = self._end(after.shard)
        is_over = end is not None and page.next.sequence >= end
        if is_over or page.records:
            self._waits_until = None
        if end is None or not is_over:
            return page, False
        count = bisect_right(page.records, end, key=attrgetter("sequence"))
        return cut_page(after, page, count), True

    def _end(self, shard: str) -> int | None:
        if shard in self._ends:
            return self._ends[shard]
        if shard in self._seen:
            if shard not in self._is_open:
                self._list_shards()
            if self._is_open.get(shard, False):
                self._ends[shard] = self._seen[shard]
        return self._ends.get(shard)

    def waits(self, shards: Collection[str]) -> bool:
        """See `binlog.horizon.Horizon`: for a shard's end, or its children, to be told."""
        now = self._clock.monotonic()
        if self._waits_until is None:
            self._waits_until = now + PATIENCE_S
        if now > self._waits_until:
            some = ", ".join(sorted(shards)[:3])
            raise StorageError(
                f"closed, and for {PATIENCE_S:g} s without an end or without children: {some}",
                self._name,
                "is the stream being resharded? run it again",
            )
        self._pause(WAIT_S)
        return True


class Horizons:
    """All of one stream that somebody still reads to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: tuple[weakref.ref[StreamHorizon], ...] = ()

    def begin(self, horizon: StreamHorizon) -> StreamHorizon:
        """From now on it is told of calls that begin."""
        with self._lock:
            alive = [each for each in self._found if each() is not None]
            self._found = (*alive, weakref.ref(horizon))
        return horizon

    def begun(self) -> list[StreamHorizon]:
        """Those that a call which begins now can tell something."""
        return [horizon for each in self._found if (horizon := each()) is not None]

    def hear(
        self, shard: str, chunk: Chunk, begun: Iterable[StreamHorizon], *, at_end: bool
    ) -> None:
        """A chunk; ``begun`` are those that were there before the call that gave its end."""
        if at_end and not chunk.closed:
            for horizon in begun:
                horizon.hear_end(shard, chunk.end)
        if chunk.records:
            for horizon in self.begun():
                horizon.hear_records(shard, chunk)

    def forget(self) -> None:
        """In a forked child: the lock may have been held."""
        self._lock = threading.Lock()
