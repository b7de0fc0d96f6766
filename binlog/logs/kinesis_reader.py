"""Reading the shards of a stream: iterators, pages, pace, and what the stream has forgotten.

Invariants, of every shard:

* records are given in the order of the stream, none left out: an iterator is only opened *at* a
  record that is known, and it has to give that record first, or else at the shard's beginning;
* what has left the stream's retention is noticed (`TrimmedError`), never passed over. An iterator
  that lags behind the retention goes on in silence, so what comes next is believed only if it
  cannot be that old (`Chunk.unread_ms`), or stands in one page with the record before it, or if
  that record is there still *after* the page was read. "That old" is by the shortest retention
  there is, since a stream's own may be lowered while we read;
* one poller for all its readers: what one call gave is kept for a while, and serves whoever reads
  the same stretch. Calls are spaced by the budget, since all consumers of the shard share what it
  gives, 5 calls and 2 MB a second: by their number, and by the bytes that the last one took. They
  ask for about `CALL_BYTES_GOAL`, as large a page as is read at once.

A position before the first record of a child cannot be proved so: the child may have had records
that are forgotten. The service tells it only roughly, by which shards were open at the edge of its
retention. A child that is older than that edge is refused; so is one that never had a record.

A reader that goes on reading is not stopped by a quiet stream: it saw the end of the shard, and what
came later is not forgotten yet. Nor is one that goes on from a checkpoint, which says when the end
was seen there (`ShardReader.seen_ms`, `binlog.logs.kinesis_seen`), if that is less than the shortest
retention ago. Beyond it, whoever begins at a forgotten place is refused also where nothing was
written since, because nobody can tell.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from binlog.aws.errors import THROTTLES, error_code
from binlog.errors import BinlogError, MismatchError, TrimmedError
from binlog.log import Page, Position, Record, Shard
from binlog.logs.kinesis_chunk import Chunk
from binlog.logs.kinesis_client import DATE_MS
from binlog.logs.kinesis_horizon import StreamHorizon
from binlog.logs.kinesis_stream import CALL_BYTES_MAX, Stream, trimmed
from binlog.partition import partition_from_key

CALL_RECORDS_MAX = 10_000  # that a GetRecords gives at most (service limit)
CALL_BYTES_GOAL = 4 * 1024 * 1024
CHUNKS_KEPT = 3  # of a shard: one being read out, the next, and one for those who are behind
_RECORD_BYTES_FIRST = 24 * 1024  # a full frame: what is expected until a page has shown it
ITERATOR_LIFE_S = 240.0  # the service gives five minutes
THROTTLE_FIRST_S, THROTTLE_MOST_S, THROTTLE_TRIES = 0.25, 5.0, 12
_LOST_ITERATOR = frozenset({"ExpiredIteratorException"})
_NOT_THERE = frozenset(
    {"InvalidArgumentException", "ResourceNotFoundException", "ValidationException"}
)


class ShardReader:
    """One shard. Any thread may read; one at a time does."""

    def __init__(self, stream: Stream, shard: Shard) -> None:
        self._stream = stream
        self._shard = shard
        self._lock = threading.Lock()
        self._chunks: list[Chunk] = []  # the last ones; the list is replaced, never changed
        self._next_call_at = 0.0
        self._asked_ms = 0  # service's time when the last call was made, or before that
        self._begun: list[StreamHorizon] = []  # when it was made
        self._record_bytes = _RECORD_BYTES_FIRST  # of the last page's

    def read(self, after: int, partitions: frozenset[int] | None, bytes_max: int) -> Page:
        """At least one call, unless what is kept has something to give."""
        chunk, is_fresh = self._kept(after), False
        if chunk is None:
            with self._lock:  # which may be waited for: it is perhaps being fetched ahead
                chunk = self._kept(after)
                if chunk is None:
                    chunk, is_fresh = self._fetch(after)
        return self._page(chunk, after, partitions, bytes_max, is_fresh=is_fresh)

    def _kept(self, after: int) -> Chunk | None:
        return next((c for c in reversed(self._chunks) if c.covers(after)), None)

    def seen_ms(self, after: int) -> int | None:
        """When the shard, which is open as far as is known, was last seen to end there.

        Of a closed one its lineage says what comes next. Before the first record of all there is
        a genesis, or there was one.
        """
        if after < 0 and not self._shard.parents:
            return None
        ends = [chunk for chunk in self._chunks if chunk.end == after and not chunk.more]
        if any(chunk.closed for chunk in ends):
            return None
        told_ms = self._stream.seen.of(self._shard.id, after) or 0
        return max([told_ms, *[chunk.unread_ms for chunk in ends]]) or None

    def _told_ms(self, after: int) -> int:
        """The same as readers before this one told, if it can decide anything; or -1.

        In a young stream nothing is forgotten, and the place has to be there. A time to come is no
        time at which anybody can have seen anything; ours may be a second behind.
        """
        told_ms = self._stream.seen.of(self._shard.id, after)
        if told_ms is None or not self._stream.may_have_forgotten():
            return -1
        now_ms = self._stream.service.time.now_ms()
        return min(told_ms, now_ms) if told_ms <= now_ms + DATE_MS else -1

    def unread_after(self, after: int) -> int | None:
        """The place whose next page has to be fetched for one who stands ``after`` to go on.

        ``None`` if it is there, or if the shard ended there when it was last looked at: only who
        waits for more should ask for it.
        """
        chunks = self._chunks
        at = next((c for c in reversed(chunks) if c.covers(after) or c.end == after), None)
        if at is None:
            return after
        if not at.more or any(c.after == at.end and c is not at for c in chunks):
            return None
        return at.end

    def fetch_ahead(self, after: int) -> None:
        """Fetch what comes after a place, if nobody else has meanwhile."""
        with self._lock:
            if self.unread_after(after) == after:
                self._fetch(after)

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
        # -1: nothing is known.
        unread_ms = max(self._told_ms(after), known.unread_ms if known is not None else -1)

        def is_kept() -> bool:  # by the time that the last reply told
            return unread_ms >= 0 and stream.is_kept(unread_ms)

        iterator = None
        if known is not None and self._is_usable(known) and is_kept():
            iterator = known.iterator
        found = iterator is not None  # the place: what comes next is what comes after it
        # A service may count what it has forgotten into a page, and not give it (kinesalite, whose
        # MillisBehindLatest is 0 as well). That lies before the place, or at it: so the end is told
        # only by a page that holds the place, or began after it, or after what an empty one passed.
        is_past_forgotten = found or after < 0
        while True:
            if iterator is None:
                iterator, found = self._open_after(after, is_kept)
                is_past_forgotten = after < 0
            limit = max(1, min(CALL_RECORDS_MAX, CALL_BYTES_GOAL // self._record_bytes))
            reply = self._get(iterator, records_max=limit)
            if reply is None:
                iterator = None
                continue
            asked_ms, begun = self._asked_ms, self._begun
            records = [self._record(each) for each in reply["Records"]]
            is_whole = self._is_whole(records, limit)
            in_one_page = False
            if not found and records:
                if records[0].sequence == after:
                    is_past_forgotten = True
                    unread_ms = max(unread_ms, records[0].arrival_ms)
                    in_one_page = len(records) > 1
                elif not is_kept():
                    raise self._no_record(after)
                found = True
            records = records[bisect_right([each.sequence for each in records], after) :]
            fetched = Chunk(after, reply.get("NextShardIterator"), stream.clock.monotonic())
            behind = reply.get("MillisBehindLatest") or 0
            at_end = fetched.closed or (not behind and is_whole and is_past_forgotten)
            if not records and not at_end:
                iterator = fetched.iterator  # an empty page in the middle: go on
                is_past_forgotten = True
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
            # What lies between the arrival of a record and its being read is within `EDGE_MS`; for how
            # long this process is stopped between a reply and here nobody knows.
            fetched.unread_ms = asked_ms if at_end else fetched.records[-1].arrival_ms
            fetched.more = not at_end
            self._keep(fetched)
            stream.horizons.hear(self._shard.id, fetched, begun, at_end=at_end)
            return fetched, at_end

    def release(self) -> bool:
        """Keep only where to go on; ``False`` if it is being read just now."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._chunks:
                last = self._chunks[-1]
                tail = Chunk(last.end, last.iterator, last.opened_at)
                tail.unread_ms, tail.more = last.unread_ms, last.more
                self._chunks = [tail]
        finally:
            self._lock.release()
        return True

    def _is_usable(self, chunk: Chunk) -> bool:
        age_s = self._stream.clock.monotonic() - chunk.opened_at
        return chunk.closed or age_s < ITERATOR_LIFE_S

    def _is_whole(self, records: Sequence[Record], limit: int) -> bool:
        """Whether a page was not cut off, by us or by the service's bounds; its size is noted."""
        if not records:
            return True
        size = sum([len(record.data) for record in records])
        self._record_bytes = max(1, size // len(records))
        paid_until = self._stream.clock.monotonic() + size / self._stream.bytes_per_s
        self._next_call_at = max(self._next_call_at, paid_until)
        return len(records) < limit and size < CALL_BYTES_MAX * 0.9

    def _keep(self, chunk: Chunk) -> None:
        before = next((c for c in self._chunks if c.end == chunk.after), None)
        if before is not None and not chunk.records:
            before.iterator, before.opened_at = chunk.iterator, chunk.opened_at
            before.unread_ms, before.more = chunk.unread_ms, chunk.more
            return
        # Of empty ones nothing is left to give, once it is known what comes after them.
        kept = [c for c in self._chunks if c.records or c is not before]
        self._chunks = [*kept, chunk][-CHUNKS_KEPT:]
        self._stream.keep(self, sum([each.size for each in self._chunks]))

    def _record(self, each: Any) -> Record:
        partition = partition_from_key(each["PartitionKey"])
        ours = partition is not None and partition in self._shard.partitions
        arrival = each["ApproximateArrivalTimestamp"]
        seconds = arrival if isinstance(arrival, float) else arrival.timestamp()
        return Record(
            int(each["SequenceNumber"]),
            round(seconds * 1000),
            partition if partition is not None and ours else -1,
            bytes(each["Data"]),
            "" if ours else each["PartitionKey"],
        )

    def _get(self, iterator: str, *, records_max: int) -> Any:
        """GetRecords in its turn; ``None`` if the iterator has expired."""
        stream, pause_s = self._stream, THROTTLE_FIRST_S
        for left in range(THROTTLE_TRIES, -1, -1):
            self._take_turn()
            stream.check_open()
            self._asked_ms = stream.service.time.agreed_ms()
            self._begun = stream.horizons.begun()
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
                for horizon in self._begun:
                    horizon.hear_date(reply)
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
