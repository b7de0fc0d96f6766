"""The log of the world: `MemoryLog`, whose pages are counted in records and not in bytes.

Bytes depend on how well a version of the compressor did, and a run has to be the same everywhere.
"""

from __future__ import annotations

from hashlib import sha256

from binlog.clock import Clock
from binlog.log import Page, Position, Record, Shard
from binlog.logs.memory import MemoryLog, _Shard
from binlog.params import Params

SEQUENCE_FIRST, SEQUENCE_STEP = 10**55, 10**20 + 1  # as long as those of Kinesis


class WorldLog(MemoryLog):
    """``bytes_max`` of `read` is a number of records."""

    def __init__(self, params: Params, *, clock: Clock, kinesis: bool) -> None:
        """``kinesis``: frames of any age, long sequence numbers, two shards to begin with."""
        self._by_partition: list[list[tuple[str, Record]]] = [[] for _ in range(params.partitions)]
        self._listed: tuple[int, list[Shard]] = (0, [])
        super().__init__(
            params,
            clock=clock,
            shards=2 if kinesis else 1,
            first_sequence=SEQUENCE_FIRST if kinesis else 0,
            sequence_step=SEQUENCE_STEP if kinesis else 1,
            enforce_age=not kinesis,
        )

    @property
    def holds_back(self) -> bool:
        """Whether readers do not see what lands."""
        return self._held_back

    def records(self, partition: int) -> list[tuple[str, Record]]:
        """As `MemoryLog.records`, without looking at the others'; it grows in place."""
        return self._by_partition[partition]

    def shards(self) -> list[Shard]:
        # A shard closes only where another one opens.
        count = len(self._shards)
        if self._listed[0] != count:
            self._listed = count, super().shards()
        return self._listed[1]

    def stamp(self, position: Position) -> bytes:
        index = self._index_after(self._shard(position.shard), position.sequence)
        if not index:
            return b""
        return sha256(self._shard(position.shard).records[index - 1].data).digest()[:12]

    def _read_now(self, after: Position, partitions: frozenset[int] | None, bytes_max: int) -> Page:
        shard = self._shard(after.shard)
        start = self._index_after(shard, after.sequence)
        end = len(shard.records) if shard.visible is None else max(shard.visible, start)
        taken = shard.records[start:end]
        if partitions is not None:
            taken = [r for r in taken if r.partition in partitions or r.partition < 0]
        closed = shard.closed and end == len(shard.records)
        if len(taken) > bytes_max:
            taken = taken[:bytes_max]
            return Page(taken, Position(shard.name, taken[-1].sequence), caught_up=False)
        sequence = shard.records[end - 1].sequence if end > start else after.sequence
        return Page(taken, Position(shard.name, sequence), caught_up=True, closed=closed)

    def _store(
        self, shard: _Shard, partition: int, data: bytes, arrival: int, key: str
    ) -> Position:
        position = super()._store(shard, partition, data, arrival, key)
        if partition >= 0:
            self._by_partition[partition].append((shard.name, shard.records[-1]))
        return position
