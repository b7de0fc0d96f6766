"""Which partition an event belongs to, remembered: hot keys are common, and hashing is not free."""

from __future__ import annotations

from collections.abc import Sequence

from binlog.envelope import Envelope
from binlog.partition import hash_to_partition, ordering_key

_KEYS_MAX = 65_536  # remembered of one table
_TABLES_MAX = 64


class Router:
    """Groups events by partition."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._homes: dict[str, dict[bytes, int]] = {}  # table, key: partition

    def group(self, envelopes: Sequence[Envelope]) -> dict[int, list[int]]:
        """The places in ``envelopes`` of each partition's events, in order."""
        groups: dict[int, list[int]] = {}
        table: str | None = None
        homes: dict[bytes, int] = {}
        for index, envelope in enumerate(envelopes):
            if envelope.table != table:
                table = envelope.table
                homes = self._homes_of(table)
            partition = homes.get(envelope.key)
            if partition is None:
                partition = self._learn(homes, envelope)
            if partition in groups:
                groups[partition].append(index)
            else:
                groups[partition] = [index]
        return groups

    def _homes_of(self, table: str) -> dict[bytes, int]:
        homes = self._homes.get(table)
        if homes is None:
            if len(self._homes) >= _TABLES_MAX:
                self._homes.clear()
            homes = self._homes[table] = {}
        return homes

    def _learn(self, homes: dict[bytes, int], envelope: Envelope) -> int:
        if len(homes) >= _KEYS_MAX:
            homes.clear()
        key = ordering_key(envelope.table, envelope.key)
        partition = hash_to_partition(key, self._partitions)
        homes[envelope.key] = partition
        return partition
