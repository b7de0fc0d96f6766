"""The digest of a table: equal for two replicas iff they hold the same rows.

An item's hash is SHA-256 over, in this order and big-endian::

    u16 length of the table's name, the name in UTF-8
    u64 version
    u8  bits: 1 tombstone, 2 parked
    u64 tail
    u32 length of the key, u32 length of the item (0 for a tombstone)
    the key's canonical bytes, the item's canonical bytes

so that no two different rows hash the same bytes. The row's partition is left out: it follows from
the key. A table's digest is the *sum* of these modulo 2^256, which does not depend on the order
of the rows and lets one row be replaced without the others (an exclusive or would too, but two
equal hashes cancel in it). The sum is kept in 256 buckets by CRC-32 of the key, so that replicas
far apart exchange 256 numbers and then look only into the buckets that differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from struct import Struct
from zlib import crc32

from appliers.item import Row

BUCKETS = 256
_MODULUS = 1 << 256
_pack = Struct(">QBQII").pack
_TOMBSTONE, _PARKED = 1, 2


def bucket_of(key: bytes) -> int:
    """The bucket, 0 to 255, of a key's canonical bytes."""
    return crc32(key) & 0xFF


def item_hash(table: str, key: bytes, row: Row) -> bytes:
    """The 32 bytes that stand for one row of ``table``."""
    return sha256(_table_prefix(table) + _item_bytes(key, row)).digest()


def _table_prefix(table: str) -> bytes:
    name = table.encode()
    return len(name).to_bytes(2, "big") + name


def _item_bytes(key: bytes, row: Row) -> bytes:
    data = row.data
    marks = _PARKED if row.parked else 0
    if data is None:
        data = b""
        marks |= _TOMBSTONE
    return _pack(row.version, marks, row.tail, len(key), len(data)) + key + data


class TableDigest:
    """The running digest of one table's rows, with their counts."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.items = 0  # live ones
        self.tombstones = 0
        self.parked = 0  # among both
        self._prefix = _table_prefix(table)
        self._sums = [0] * BUCKETS  # reduced when they are looked at

    def add(self, rows: Iterable[tuple[bytes, Row]]) -> TableDigest:
        """Take in rows, each once, in any order; gives itself."""
        prefix, sums, pack = self._prefix, self._sums, _pack
        rows_count = tombstones = parked = 0
        from_bytes = int.from_bytes
        # `_item_bytes` spelt out: this line runs for every item of every digest and verify.
        for rows_count, (key, row) in enumerate(rows, 1):  # noqa: B007
            data = row.data
            marks = 0
            if data is None:
                data = b""
                marks = _TOMBSTONE
                tombstones += 1
            if row.parked:
                marks |= _PARKED
                parked += 1
            head = pack(row.version, marks, row.tail, len(key), len(data))
            digest = sha256(prefix + head + key + data).digest()
            sums[crc32(key) & 0xFF] += from_bytes(digest, "big")
        self.items += rows_count - tombstones
        self.tombstones += tombstones
        self.parked += parked
        return self

    def merge(self, other: TableDigest) -> TableDigest:
        """Take in the rows that ``other``, of the same table, has seen; gives itself."""
        if other.table != self.table:
            raise ValueError(f"digests of {self.table!r} and {other.table!r} do not add up")
        self.items += other.items
        self.tombstones += other.tombstones
        self.parked += other.parked
        self._sums = [a + b for a, b in zip(self._sums, other._sums, strict=True)]
        return self

    def replace(self, key: bytes, old: Row | None, new: Row | None) -> None:
        """Take out the row that stood under ``key`` and take in the one that stands there now."""
        bucket = bucket_of(key)
        for row, sign in ((old, -1), (new, 1)):
            if row is not None:
                number = int.from_bytes(
                    sha256(self._prefix + _item_bytes(key, row)).digest(), "big"
                )
                self._sums[bucket] += sign * number
                self.items += sign * (row.data is not None)
                self.tombstones += sign * (row.data is None)
                self.parked += sign * row.parked

    def buckets(self) -> list[int]:
        """The sum of each bucket modulo 2^256."""
        return [total % _MODULUS for total in self._sums]

    def differing_buckets(self, other: TableDigest) -> list[int]:
        """The buckets in which the two tables do not hold the same rows."""
        pairs = zip(self.buckets(), other.buckets(), strict=True)
        return [bucket for bucket, (a, b) in enumerate(pairs) if a != b]

    def hexdigest(self) -> str:
        """64 hex digits: the sum over all buckets modulo 2^256."""
        return f"{sum(self._sums) % _MODULUS:064x}"
