"""Which partition's events may touch an item: one, decided from its key alone.

A table declares an owner, a pure function from an item key to the table and key that its events
are published with; by default the item's own table and key. An event may touch an item only if
the owner's partition is its own. Nothing is asked of any store, so every replay decides alike,
whoever was first; and an item whose events came from two partitions would depend on the order in
which these are read. Of a table that a transform makes of another one the owner follows from that
(`appliers.transform`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from binlog.errors import RefusedError
from binlog.fields import check_table, encode_key
from binlog.partition import md5, ordering_key, partition_of
from binlog.values import decode_value

if TYPE_CHECKING:
    from appliers.transform import Transforms

Owner: TypeAlias = Callable[[dict[str, Any]], tuple[str, Mapping[str, Any]]]


class OwnerRule(msgspec.Struct, frozen=True):
    """A table's declared owner. ``version`` is raised when it comes to compute something else."""

    owner: Owner
    version: int


def by_key(key: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The owner for tables whose events name no table: their key is the item's."""
    return "", key


class Ownership:
    """The owners of all tables, for a log of ``partitions`` partitions."""

    def __init__(
        self,
        partitions: int,
        owners: Mapping[str, OwnerRule],
        transforms: Transforms | None = None,
    ) -> None:
        """``transforms`` own the tables that they make, where no owner is declared."""
        self._partitions = partitions
        self._owners = dict(owners)
        self._computed_back: frozenset[str] = frozenset()
        if transforms is not None:
            back = {t: OwnerRule(e.owner, e.version) for t, e in transforms.owners.items()}
            self._computed_back = frozenset(back.keys() - owners.keys())
            self._owners = {**back, **owners}

    def is_computed_back(self, table: str) -> bool:
        """Whether the owner of its items follows from a transform, and is not declared."""
        return table in self._computed_back

    def owner_of(self, table: str, key: bytes) -> tuple[str, bytes]:
        """The table and the canonical key bytes that the events of this item are published with.

        Raises:
            RefusedError: the declared owner returns no table and key.
            Exception: whatever it raises.
        """
        rule = self._owners.get(table)
        if rule is None:
            return table, key
        owner: object = rule.owner(decode_value(key))
        if not isinstance(owner, tuple) or len(owner) != 2:
            raise RefusedError(
                f"the owner of table {table!r} returned {owner!r}",
                do="return the table ('' for none) and the key of the events",
            )
        owner_table, owner_key = owner
        return owner_table if owner_table == "" else check_table(owner_table), encode_key(
            owner_key, None
        )

    def partition_of(self, table: str, key: bytes) -> int:
        """The one partition whose events may touch the item.

        Raises:
            Exception: as `owner_of`.
        """
        if table in self._owners:
            table, key = self.owner_of(table, key)
        return partition_of(ordering_key(table, key), self._partitions)

    def owns(self, partition: int, table: str, key: bytes) -> bool:
        """Whether events of ``partition`` may touch the item; not if the declared owner fails."""
        return not self.foreign(partition, table, (key,))

    def foreign(self, partition: int, table: str, keys: Iterable[bytes]) -> list[bytes]:
        """Those of ``keys`` that events of ``partition`` may not touch, or whose owner fails."""
        if table in self._owners:
            return [key for key in keys if self._declared(table, key) != partition]
        # `binlog.partition.partition_of` spelt out: that one caches, and here each key of a whole
        # table is asked for once.
        prefix, partitions = ordering_key(table, b""), self._partitions
        return [
            key
            for key in keys
            if int.from_bytes(md5(prefix + key, usedforsecurity=False).digest(), "big") * partitions
            >> 128
            != partition
        ]

    def _declared(self, table: str, key: bytes) -> int | None:
        try:
            return self.partition_of(table, key)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 the user's; `user_rules.check_owner` tells what it raised
            return None
