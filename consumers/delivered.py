"""The pages of a batch that a service handed over."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from binlog.lineage import Lineage
from binlog.log import Log, Page, Position, Record, Shard


class Delivery:
    """Pages of what was delivered of one shard, and the log's own of the shards before it."""

    def __init__(
        self, log: Log, lineage: Lineage, shard: Shard, records: Sequence[Record], *, closed: bool
    ) -> None:
        self._log = log
        self._lineage = lineage
        self._shard = shard.id
        self._records = records
        self._sequences = [record.sequence for record in records]
        self._closed = closed
        if any(one >= next_one for one, next_one in pairwise(self._sequences)):
            raise ValueError(f"records of shard {shard.id} out of order")

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,  # noqa: ARG002 - nothing more comes
    ) -> Page:
        """As `binlog.pages.Pages` says."""
        if after.shard != self._shard:
            if after.shard in self._lineage.ancestors(self._shard):
                return self._log.read(after, partitions=partitions, bytes_max=bytes_max)
            return Page([], after, caught_up=True)  # it stands beyond all that was delivered
        begin = bisect_right(self._sequences, after.sequence)
        end, size = begin, 0
        for record in self._records[begin:]:
            size += len(record.data)
            if size > bytes_max and end > begin:
                break
            end += 1
        found = list(self._records[begin:end])
        place = Position(self._shard, self._sequences[end - 1]) if found else after
        caught_up = end == len(self._records)
        return Page(found, place, caught_up=caught_up, closed=caught_up and self._closed)
