"""Reading the shards of a stream: iterators, pages, pace, and what the stream has forgotten.

Invariants, of every shard:

* records are given in the order of the stream, none left out: an iterator is only opened *at* a
  record that is known, and it has to give that record first, or else at the shard's beginning;
* what has left the stream's retention is noticed (`TrimmedError`), never passed over. An iterator
  that lags behind the retention goes on in silence, so what comes next is believed only if it
  cannot be that old (`Chunk.unread_ms`), or stands in one page with the record before it, or if
  that record is there still *after* the page was read. "That old" is by the shortest retention
  there is, since a stream's own may be lowered while we read;
* one poller for all its readers: what one call gave is kept until the next, and serves whoever
  reads the same stretch; calls are spaced by the budget, since production shares it.

A position before the first record of a child cannot be proved so: the child may have had records
that are forgotten. The service tells it only roughly, by which shards were open at the edge of its
retention. A child that is older than that edge is refused; so is one that never had a record.

The limit of this: whoever *begins* at a place older than the retention is refused also where nothing
was written since, because nobody can tell. A reader that goes on reading is not concerned, however
quiet the stream is: it saw the end of the shard, and what came later is not forgotten yet. A quiet
log needs a no-op now and then, or an archive, for those who begin.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from binlog.aws.errors import THROTTLES, error_code
from binlog.errors import BinlogError, MismatchError, RefusedError, TrimmedError
from binlog.log import Page, Position, Record, Shard
from binlog.logs.kinesis_stream import Stream, trimmed
from binlog.partition import partition_from_key

CALL_RECORDS_MAX = 10_000  # GetRecords: records, and bytes, a call gives at most
CALL_BYTES_MAX = 10 * 1024 * 1024
ITERATOR_LIFE_S = 240.0  # the service gives five minutes
THROTTLE_FIRST_S, THROTTLE_MOST_S, THROTTLE_TRIES = 0.25, 5.0, 12
_LOST_ITERATOR = frozenset({"ExpiredIteratorException"})
_NOT_THERE = frozenset(
    {"InvalidArgumentException", "ResourceNotFoundException", "ValidationException"}
)


class Chunk:
    """What one GetRecords gave, and where it goes on. ``after`` is exclusive, ``end`` inclusive.

    ``unread_ms``: whatever comes after ``end`` arrived then or later, by the service's time.
    """

    __slots__ = (
        "after",
        "end",
        "iterator",
        "opened_at",
        "records",
        "sequences",
        "size",
        "unread_ms",
    )

    def __init__(self, after: int, iterator: str | None, opened_at: float) -> None:
        self.after = self.end = after
        self.iterator = iterator  # `None`: the shard is closed, and this was its end
        self.opened_at = opened_at
        self.records: list[Record] = []
        self.sequences: list[int] = []
        self.size = 0
        self.unread_ms = 0

    @property
    def closed(self) -> bool:
        return self.iterator is None

    def covers(self, sequence: int) -> bool:
        """Whether the record of that number is known, and what comes after it is in here."""
        if not self.after <= sequence < self.end:
            return False
        at = bisect_left(self.sequences, sequence)
        return sequence == self.after or self.sequences[at] == sequence


class ShardReader:
    """One shard. Any thread may read; one at a time does."""

    def __init__(self, stream: Stream, shard: Shard) -> None:
        self._stream = stream
        self._shard = shard
        self._lock = threading.Lock()
        self._chunks: list[Chunk] = []  # the last two: one being read out, one to go on from
        self._next_call_at = 0.0

    def read(self, after: int, partitions: frozenset[int] | None, bytes_max: int) -> Page:
        """At least one call, unless what is kept has something to give."""
        with self._lock:
            chunk = next((c for c in reversed(self._chunks) if c.covers(after)), None)
            is_fresh = False
            if chunk is None:
                chunk, is_fresh = self._fetch(after)
            return self._page(chunk, after, partitions, bytes_max, is_fresh=is_fresh)

    def _page(
        self,
        chunk: Chunk,
        after: int,
        partitions: frozenset[int] | None,
        bytes_max: int,
        *,
        is_fresh: bool,
    ) -> Page:
        """``is_fresh``: the chunk was the end of the shard just now."""
        records: list[Record] = []
        taken, sequence = 0, after
        for record in chunk.records[bisect_right(chunk.sequences, after) :]:
            if partitions is None or record.partition in partitions or record.partition < 0:
                if records and taken + len(record.data) > bytes_max:
                    return Page(records, Position(self._shard.id, sequence), caught_up=False)
                records.append(record)
                taken += len(record.data)
            sequence = record.sequence
        place = Position(self._shard.id, sequence)
        return Page(records, place, caught_up=is_fresh or chunk.closed, closed=chunk.closed)

    # -- calls -----------------------------------------------------------------------------------

    def _fetch(self, after: int) -> tuple[Chunk, bool]:
        """What comes after a record: a chunk that may be empty, and whether it is the end now."""
        stream = self._stream
        known = next((c for c in self._chunks if c.end == after), None)
        if known is not None and known.closed:
            return known, True
        unread_ms = known.unread_ms if known is not None else -1  # -1: nothing is known

        def is_kept() -> bool:  # by the time that the last reply told
            return unread_ms >= 0 and stream.is_kept(unread_ms)

        iterator = None
        if known is not None and self._is_usable(known) and is_kept():
            iterator = known.iterator
        found = iterator is not None  # the place: what comes next is what comes after it
        while True:
            if iterator is None:
                iterator, found = self._open_after(after, is_kept)
            reply = self._get(iterator)
            if reply is None:
                iterator = None
                continue
            records = [self._record(each) for each in reply["Records"]]
            is_whole = self._is_whole(reply["Records"])
            in_one_page = False
            if not found and records:
                if records[0].sequence == after:
                    unread_ms = max(unread_ms, records[0].arrival_ms)
                    in_one_page = len(records) > 1
                elif not is_kept():
                    raise self._no_record(after)
                found = True
            records = records[bisect_right([each.sequence for each in records], after) :]
            fetched = Chunk(after, reply.get("NextShardIterator"), stream.clock.monotonic())
            behind = reply.get("MillisBehindLatest") or 0
            at_end = fetched.closed or (not behind and is_whole)
            if not records and not at_end:
                iterator = fetched.iterator  # an empty page in the middle: go on
                continue
            if not in_one_page and not is_kept():
                if after < 0:
                    self._check_beginning()
                elif not found:
                    raise self._no_record(after)
                else:
                    self._check_still_there(after)
            if records:
                fetched.records = records
                fetched.sequences = [record.sequence for record in records]
                fetched.end = records[-1].sequence
                fetched.size = sum([len(record.data) for record in records])
            # What lies between the arrival of a record and its being read is within `EDGE_MS`.
            fetched.unread_ms = (
                stream.service.time.now_ms() if at_end else fetched.records[-1].arrival_ms
            )
            self._keep(fetched)
            return fetched, at_end

    def release(self) -> bool:
        """Keep only where to go on; ``False`` if it is being read just now."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._chunks:
                last = self._chunks[-1]
                tail = Chunk(last.end, last.iterator, last.opened_at)
                tail.unread_ms = last.unread_ms
                self._chunks = [tail]
        finally:
            self._lock.release()
        return True

    def _is_usable(self, chunk: Chunk) -> bool:
        age_s = self._stream.clock.monotonic() - chunk.opened_at
        return chunk.closed or age_s < ITERATOR_LIFE_S

    @staticmethod
    def _is_whole(records: Sequence[Any]) -> bool:
        """Whether a page was not cut off by the service's bounds."""
        size = sum([len(each["Data"]) for each in records])
        return len(records) < CALL_RECORDS_MAX and size < CALL_BYTES_MAX * 0.9

    def _keep(self, chunk: Chunk) -> None:
        before = next((c for c in self._chunks if c.end == chunk.after), None)
        if before is not None and not chunk.records:
            before.iterator, before.opened_at = chunk.iterator, chunk.opened_at
            before.unread_ms = chunk.unread_ms
            return
        # Of empty ones nothing is left to give, once it is known what comes after them.
        kept = [c for c in self._chunks if c.records or c is not before]
        self._chunks = [*kept, chunk][-2:]
        self._stream.keep(self, sum([each.size for each in self._chunks]))

    def _record(self, each: Any) -> Record:
        partition = partition_from_key(each["PartitionKey"])
        ours = partition is not None and partition in self._shard.partitions
        arrival = each["ApproximateArrivalTimestamp"]
        return Record(
            int(each["SequenceNumber"]),
            round(arrival.timestamp() * 1000),
            partition if partition is not None and ours else -1,
            bytes(each["Data"]),
            "" if ours else each["PartitionKey"],
        )

    def _get(self, iterator: str, *, records_max: int = CALL_RECORDS_MAX) -> Any:
        """GetRecords in its turn; ``None`` if the iterator has expired."""
        stream, pause_s = self._stream, THROTTLE_FIRST_S
        for left in range(THROTTLE_TRIES, -1, -1):
            self._take_turn()
            stream.check_open()
            try:
                reply = stream.service.call(
                    "get_records", ShardIterator=iterator, Limit=records_max
                )
            except BinlogError as error:
                code = error_code(error.__cause__) if error.__cause__ is not None else ""
                if code in _LOST_ITERATOR:
                    return None
                if code not in THROTTLES or not left:
                    raise
                stream.throttled += 1
                stream.pause(pause_s)
                pause_s = min(pause_s * 2, THROTTLE_MOST_S)
            else:
                return reply
        raise AssertionError("unreachable")

    def _take_turn(self) -> None:
        now = self._stream.clock.monotonic()
        if self._next_call_at > now:
            self._stream.pause(self._next_call_at - now)
        self._next_call_at = max(now, self._next_call_at) + self._stream.spacing_s

    # -- places ----------------------------------------------------------------------------------

    def _open_after(self, after: int, is_kept: Callable[[], bool]) -> tuple[str, bool]:
        """An iterator, and whether what it gives first is what comes after the place.

        Where that is known to be there still, but the place itself is not, it begins with what is.
        """
        try:
            return self._open(after), after < 0
        except (MismatchError, TrimmedError):
            if not is_kept():
                raise
            return self._open(-1), True

    def _open(self, after: int) -> str:
        """An iterator at the record ``after``, which it gives first; or at the beginning."""
        place: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}
        if after >= 0:
            place = {
                "ShardIteratorType": "AT_SEQUENCE_NUMBER",
                "StartingSequenceNumber": str(after),
            }
        service = self._stream.service
        try:
            reply = service.call(
                "get_shard_iterator", StreamName=service.stream, ShardId=self._shard.id, **place
            )
        except BinlogError as error:
            if error.__cause__ is not None and error_code(error.__cause__) in _NOT_THERE:
                service.describe()  # raises where it is the stream that is gone
                raise self._no_record(after) from error
            raise
        return str(reply["ShardIterator"])

    def _no_record(self, after: int) -> MismatchError | TrimmedError:
        """Why there is no record of that number; forgotten, if that can be."""
        where = f"shard {self._shard.id} of {self._stream.name}"
        if self._stream.may_have_forgotten():
            return trimmed(f"the record {after} has left it", where)
        return MismatchError(
            f"no record {after}", where, "is it another stream's, or a new stream of that name?"
        )

    def _check_still_there(self, after: int) -> None:
        """That nothing was forgotten between ``after`` and a page that was read after it.

        Raises:
            TrimmedError: it may have been.
        """
        iterator = self._open(after)
        for _ in range(8):
            reply = self._get(iterator, records_max=1)
            if reply is None:
                iterator = self._open(after)
            elif reply["Records"]:
                if self._record(reply["Records"][0]).sequence != after:
                    break
                return
            else:
                iterator = reply.get("NextShardIterator") or self._open(after)
        raise self._no_record(after)

    def _check_beginning(self) -> None:
        """That the first records of this shard are there.

        Of a shard without parents the sequencer knows: its partitions begin with the genesis.

        Raises:
            TrimmedError: they may be forgotten.
        """
        if not self._shard.parents or not self._stream.may_have_forgotten():
            return
        at_edge = self._stream.shards(ShardFilter={"Type": "AT_TRIM_HORIZON"})
        if any(shard.id == self._shard.id for shard in at_edge):
            where = f"shard {self._shard.id} of {self._stream.name}"
            raise trimmed("its first records may have left it", where)


class StreamReader:
    """All shards: `Log.read` and what it needs."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._lock = threading.Lock()
        self._readers: dict[str, ShardReader] = {}

    def forget(self) -> None:
        """Give up what is kept: in a forked child, where a lock may never be released."""
        self._lock = threading.Lock()
        self._readers = {}
        self.stream.forget()

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None,
        bytes_max: int,
        until: float,
    ) -> Page:
        """A page; ``until`` is a monotonic time up to which it waits for a first record."""
        reader = self._reader(after.shard)
        place = after
        while True:
            page = reader.read(place.sequence, partitions, bytes_max)
            place = page.next
            if page.records or page.closed:
                return page
            if page.caught_up and self.stream.clock.monotonic() >= until:
                return page
            self.stream.check_open()

    def _reader(self, shard_id: str) -> ShardReader:
        with self._lock:
            reader = self._readers.get(shard_id)
            if reader is None:
                for shard in self.stream.shards():
                    self._readers.setdefault(shard.id, ShardReader(self.stream, shard))
                reader = self._readers.get(shard_id)
        if reader is not None:
            return reader
        where = f"shard {shard_id} of {self.stream.name}"
        if shard_id.startswith("shardId-") and self.stream.may_have_forgotten():
            raise trimmed("the whole shard has left it", where)
        raise RefusedError("no such shard", where, "is it another log's checkpoint?")
