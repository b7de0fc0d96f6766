"""A table that a DynamoDB store has taken over as it was: items without marks, until they are touched.

An item without ``_binlog`` in such a table stands at the version of the ADOPT record of its partition
(`binlog.adoption`), once that record is applied; before that it is not there. So nothing is written
to the table by the adoption itself.

It has to be what the base says. Whoever would fold an event onto it looks that up first, and writes on
the condition that it has no marks yet and that every attribute still is what was compared. What is
otherwise was written in between, by somebody who did not write to the log: `strayed` names it, and
nothing is written over it.

What a base says of an item is known by two hashes, kept in rows of the control table by chunks, so
that no consumer needs the base itself, and that what is in memory has a bound::

    pk  adopted#BASE     sk  00017#000003     data B    (16 bytes of SHA-256 of the key,
                                                         16 bytes of SHA-256 of the item), sorted

A key is in the chunk ``hash of the key * chunks >> 128`` of its partition; every chunk is there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from appliers.item import Row
from appliers.poison import readable_key
from appliers.stores.dynamodb_tables_spec import KeySchema
from binlog.adoption import AdoptedAt, Adoption
from binlog.errors import DamageError, PoisonError
from binlog.partition import hash_to_partition, ordering_key
from binlog.vector import offset_of, version_of

Stray: TypeAlias = Literal["changed", "gone", "new"]

CHUNK_ITEMS = 1_500
"""In a chunk, on average: some 50 KB, 12 read units."""
CHUNKS_KEPT = 256
HASH_BYTES = 16
_ENTRY_BYTES = 2 * HASH_BYTES


class Adopted(msgspec.Struct, frozen=True):
    """What the catalog holds of one."""

    table: str
    physical: str
    keys: KeySchema
    base: str
    digest: str
    address: str
    versions: tuple[int, ...]  # of the ADOPT records, by partition
    chunks: int  # a partition

    @property
    def adoption(self) -> Adoption:
        """What its records say."""
        return Adoption(self.table, self.base, self.digest, self.address)

    def partition_of(self, key: bytes) -> int:
        """Whose events touch the item."""
        return hash_to_partition(ordering_key(self.table, key), len(self.versions))

    def row(self, key: bytes, data: bytes) -> Row:
        """The row that an item without marks stands for."""
        partition = self.partition_of(key)
        return Row(self.versions[partition], partition, data)

    def is_untouched(self, row: Row) -> bool:
        """Whether no event has been folded into it. Of a parked one there are marks."""
        return row.version == self.versions[row.partition] and not row.parked

    def is_there(self, row: Row, applied: Mapping[int, int]) -> bool:
        """Whether the row is in a store that is applied so far."""
        return not self.is_untouched(row) or offset_of(row.version) <= applied.get(row.partition, 0)


def adopted_of(
    at: AdoptedAt, physical: str, keys: KeySchema, items_max: int, *, timeline: int
) -> Adopted:
    """``items_max``: the base's items in the partition that has most."""
    return Adopted(
        at.adoption.table,
        physical,
        keys,
        at.adoption.base,
        at.adoption.digest,
        at.adoption.address,
        tuple(version_of(timeline, offset) for offset in at.offsets),
        max(1, -(-items_max // CHUNK_ITEMS)),
    )


# -- what a base says, in short ------------------------------------------------------------------


def hash_of(data: bytes) -> bytes:
    """Of a key, or of an item."""
    return sha256(data).digest()[:HASH_BYTES]


def chunk_of(key_hash: bytes, chunks: int) -> int:
    """Where in its partition a key is."""
    return int.from_bytes(key_hash, "big") * chunks >> 8 * HASH_BYTES


def chunk_row(adopted: Adopted, partition: int, chunk: int) -> dict[str, Any]:
    """The key of a chunk."""
    return {
        "pk": {"S": f"adopted#{adopted.base}"},
        "sk": {"S": f"{partition:05d}#{chunk:06d}"},
    }


def chunk_rows(
    adopted: Adopted, partition: int, rows: Iterable[tuple[bytes, bytes]]
) -> Iterator[dict[str, Any]]:
    """The rows of the control table for one partition's key and item."""
    chunks: list[list[bytes]] = [[] for _ in range(adopted.chunks)]
    for key, data in rows:
        key_hash = hash_of(key)
        chunks[chunk_of(key_hash, adopted.chunks)].append(key_hash + hash_of(data))
    for number, entries in enumerate(chunks):
        packed = b"".join(sorted(entries))
        yield {**chunk_row(adopted, partition, number), "data": {"B": packed}}


class _Get(Protocol):
    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None: ...


class BaseHashes:
    """What bases say of items, as it is looked up; `CHUNKS_KEPT` chunks are remembered."""

    def __init__(self, rows: _Get, name: str) -> None:
        self._rows = rows
        self._name = name
        self._kept: OrderedDict[tuple[str, int, int], dict[bytes, bytes]] = OrderedDict()

    def of(self, adopted: Adopted, key: bytes) -> bytes | None:
        """The hash of the item that the base has under ``key``; ``None``: none.

        Raises:
            DamageError: the chunk is gone, or is none.
        """
        key_hash = hash_of(key)
        partition, chunk = adopted.partition_of(key), chunk_of(key_hash, adopted.chunks)
        place = adopted.base, partition, chunk
        found = self._kept.get(place)
        if found is None:
            found = self._kept[place] = self._read(adopted, partition, chunk)
            if len(self._kept) > CHUNKS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(place)
        return found.get(key_hash)

    def _read(self, adopted: Adopted, partition: int, chunk: int) -> dict[bytes, bytes]:
        item = self._rows.get(chunk_row(adopted, partition, chunk))
        data = None if item is None else bytes(item.get("data", {}).get("B", b"?"))
        if data is None or len(data) % _ENTRY_BYTES:
            raise DamageError(
                f"what base {adopted.base} of table {adopted.table} says of partition {partition},"
                f" chunk {chunk}, is {'gone' if data is None else 'damaged'}",
                self._name,
                "binlog adopt writes it again, from the base",
                partition=partition,
                table=adopted.table,
            )
        entries = (data[at : at + _ENTRY_BYTES] for at in range(0, len(data), _ENTRY_BYTES))
        return {entry[:HASH_BYTES]: entry[HASH_BYTES:] for entry in entries}


def stray_of(hashes: BaseHashes, adopted: Adopted, key: bytes, row: Row | None) -> Stray | None:
    """In what way an item that nobody has touched is not the base's; ``None``: it is, or touched."""
    if row is not None and not adopted.is_untouched(row):
        return None
    wanted = hashes.of(adopted, key)
    if row is None or row.data is None:
        return None if wanted is None else "gone"
    if wanted is None:
        return "new"
    return None if wanted == hash_of(row.data) else "changed"


def check_untouched(
    hashes: BaseHashes,
    adopted: Adopted,
    keys: Sequence[bytes],
    found: Mapping[bytes, Row],
    where: str,
) -> None:
    """That every one of ``keys`` that nobody has touched is as it was adopted.

    Raises:
        PoisonError: one is not.
    """
    for key in keys:
        if stray := stray_of(hashes, adopted, key, found.get(key)):
            raise strayed(adopted, key, stray, where)


STRAYS: Mapping[Stray, str] = {
    "changed": "was changed",
    "gone": "was deleted",
    "new": "was put",
}


def strayed(adopted: Adopted, key: bytes, stray: Stray, where: str) -> PoisonError:
    """The refusal to fold onto an item that was written in between."""
    named, shown = readable_key(key)
    partition = adopted.partition_of(key)
    reason = f"it {STRAYS[stray]} in the table since that was adopted, without the log"
    return PoisonError(
        f"the item {shown} of {adopted.table} is not the base's: {reason}",
        f"{where}: {adopted.physical}, partition {partition}",
        "binlog adopt TABLE LOG STORE --check lists all such items; with --restore FILE it puts the"
        " base back, and FILE is for binlog append",
        partition=partition,
        table=adopted.table,
        key=named,
        reason=reason,
        stray=stray,
        parks=False,
        alone=False,
    )
