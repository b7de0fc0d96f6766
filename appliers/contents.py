"""The items that a fold holds, by partition and table, and where those began that were there before.

Two ways of having been there: *read* from a store (`Contents.preload`), where a write's condition
is what was read; and as the *base* of a rebuild (`Contents.take_base`), which replaces nothing.
An item of either is kept as bytes and is decoded only when an event changes a part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from appliers.entries import ABSENT, Items, content_of
from appliers.item import Row
from appliers.parking import Parking


class Contents:
    """Of one fold. ``parking`` is told of items that are parked already."""

    def __init__(self, parking: Parking) -> None:
        self._parking = parking
        self._items: dict[int, dict[str, Items]] = {}
        self._bases: dict[int, dict[str, dict[bytes, int]]] = {}
        self._newest: dict[int, int] = {}

    def of(self, partition: int, table: str) -> Items:
        """The items of a partition in a table; may be added to."""
        try:
            return self._items[partition][table]
        except KeyError:
            return self._items.setdefault(partition, {}).setdefault(table, {})

    def newest(self, partition: int) -> int:
        """The highest version that one of its items began at."""
        return self._newest.get(partition, 0)

    def preload(self, partition: int, table: str, rows: Mapping[bytes, Row | None]) -> None:
        """Begin these items at what a store holds, ``None``: nothing."""
        items = self.of(partition, table)
        bases = self._bases.setdefault(partition, {}).setdefault(table, {})
        for key, row in rows.items():
            if row is None:
                items[key] = ABSENT
                bases[key] = 0
                continue
            if row.parked:
                self._parking.note(partition, table, key, row.tail)
            items[key] = (row.version, row.data)
            bases[key] = row.version
            if row.version > self._newest.get(partition, 0):
                self._newest[partition] = row.version

    def take_base(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> int:
        """Begin a table at ``rows``, each of its own partition; how many there were.

        Raises:
            ValueError: a key that is there already: two bases, or a part of one twice.
        """
        of_partition: dict[int, Items] = {}
        newest: dict[int, int] = {}
        before = count = 0
        # One turn for each item of the base, touched by the tail or not: nothing is decoded here.
        for key, row in rows:
            partition, version = row.partition, row.version
            items = of_partition.get(partition)
            if items is None:
                items = of_partition[partition] = self.of(partition, table)
                newest[partition] = self._newest.get(partition, 0)
                before += len(items)
            items[key] = (version, row.data)
            if version > newest[partition]:  # noqa: PLR1730 - no call an item
                newest[partition] = version
            if row.parked:
                self._parking.note(partition, table, key, row.tail)
            count += 1
        if sum(map(len, of_partition.values())) != before + count:
            raise ValueError(f"a key of table {table} was in the base twice")
        self._newest.update(newest)
        return count

    def rows(self, table: str) -> Iterator[tuple[bytes, Row]]:
        """Every item of ``table``, tombstones too, in no order."""
        for partition, tables in self._items.items():
            tails = self._parking.tails(partition)
            for key, entry in tables.get(table, {}).items():
                content = content_of(table, key, entry)
                if tails and (tail := tails.get((table, key))) is not None:
                    yield key, Row(entry[0], partition, content, parked=True, tail=tail)
                else:
                    yield key, Row(entry[0], partition, content)

    def entries(self) -> Iterator[tuple[int, str, Items, Mapping[bytes, int]]]:
        """Partition, table, its items, and the versions at which preloaded ones began."""
        for partition, tables in self._items.items():
            bases = self._bases.get(partition, {})
            for table, items in tables.items():
                yield partition, table, items, bases.get(table, {})
