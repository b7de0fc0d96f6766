"""Whether what is delivered goes on where the rows stand, after a pause as long as a stream remembers.

Who is delivered to does not choose where reading goes on. A mapping, or a KCL application, that stood for
a day, or failed for a day, or is a day behind, goes on with the oldest record that is left: what the
stream forgot in between is in no batch, and nothing in the batches says so.

A service delivers in order: where one partition was carried up to a record, every record before it was
delivered, too. So if the batch begins with, and the newest row is of, what is younger than the shortest
retention that there is, nothing can be missing. (What fails is delivered again, and only in its place in
the order: a row that is ahead of a batch of old records says nothing of what was before that batch.)
Whose row that may be: any partition's of the shard; where it is delivered in ``lanes`` (a parallelization
factor above 1), which fail apart, any that is in the batch.

Otherwise the log is asked: what comes after that place, if the log still knows, has to be done or
delivered; if it does not know, nobody can tell, and the consumer stops, as one that reads the log itself
does (C1).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from binlog.clock import Clock
from binlog.errors import TrimmedError
from binlog.log import Forgets, Log, Position, Record, Shard

KEPT_MS = 23 * 3_600_000  # an hour below the shortest retention: clocks, and what is under way
_PAGE_BYTES = 1024 * 1024
_DO = "rebuild from a snapshot or an archive; to a quiet log append now and then"


class Carried(NamedTuple):
    """A row, as far as it matters here."""

    shard: str
    sequence: int
    through_ms: int  # up to when at least everything was carried


ReadRows = Callable[[Collection[int]], Mapping[int, Carried]]


class Continuity:
    """Of one log, in one process."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._forgets = isinstance(log, Forgets)
        self._passed: dict[str, int] = {}  # shards, and when they were heard of last
        self.lanes = False
        """Partitions of a shard are delivered apart from one another."""
        self.unbroken = False
        """Who delivers a shard to this process goes on from where it was, until the process ends.

        As long as it reads: who could not for a day goes on where the stream begins by then (`heard`).
        """

    def heard(self, shard: str) -> None:
        """Who delivers that shard has read on, and there was nothing."""
        now_ms = self._clock.now_ms()
        if shard in self._passed and _is_young(self._passed[shard], now_ms):
            self._passed[shard] = now_ms

    def check(
        self,
        shard: Shard,
        records: Sequence[Record],
        rows: Mapping[int, Carried],
        read_rows: ReadRows,
        *,
        closed: bool,
    ) -> None:
        """Before records, or the end of a shard, are applied to partitions that stand at ``rows``.

        ``records`` are all that was delivered, ``read_rows`` reads the rows of further partitions.

        Raises:
            TrimmedError: there may be, or are, records between the rows and these.
        """
        if not self._forgets or not (records or closed):
            return
        now_ms = max(self._clock.now_ms(), self._log.now_ms())
        if not rows:
            self._passed[shard.id] = (
                now_ms  # all of them begin here, with their genesis, or are through
            )
            return
        known = dict(rows)
        if not records or _is_young(records[0].arrival_ms, now_ms):
            is_unbroken = self.unbroken and _is_young(self._passed.get(shard.id, 0), now_ms)
            if is_unbroken or any(_is_young(row.through_ms, now_ms) for row in known.values()):
                self._passed[shard.id] = now_ms
                return
        if not self.lanes:
            known |= read_rows(shard.partitions.difference(rows))
        is_young = not records or _is_young(records[0].arrival_ms, now_ms)
        if not is_young or not any(_is_young(row.through_ms, now_ms) for row in known.values()):
            self._look(shard.id, records, known)
        self._passed[shard.id] = now_ms

    def _look(self, shard: str, records: Sequence[Record], rows: Mapping[int, Carried]) -> None:
        """That the log has nothing between the newest row before these and the first of them."""
        first = records[0].sequence if records else None
        before = [
            row.sequence if row.shard == shard else -1
            for row in rows.values()
            if row.shard != shard or first is None or row.sequence < first
        ]
        if not before:
            return  # all of them are in, or behind, what is delivered without a gap
        after = Position(shard, max(before))
        partitions = frozenset(rows)
        while True:
            try:
                page = self._log.read(after, partitions=partitions, bytes_max=_PAGE_BYTES)
            except TrimmedError as error:
                raise _missing("records may be missing", error.where or str(after), _DO) from error
            for record in page.records:
                if first is not None and record.sequence >= first:
                    return
                row = rows.get(record.partition)
                if row is None or (row.shard == shard and record.sequence <= row.sequence):
                    continue
                where = self._log.locate(Position(shard, record.sequence))
                do = "binlog rebuild LOG STORE, and it goes on from there"
                raise _missing("records were passed over", where, do)
            if page.caught_up:
                return
            after = page.next


def _is_young(arrival_ms: int, now_ms: int) -> bool:
    return now_ms - arrival_ms < KEPT_MS


def _missing(what: str, where: str, do: str) -> TrimmedError:
    what += " between the store's place and what is delivered: nothing was, for a day or more"
    return TrimmedError(what, where, do)
