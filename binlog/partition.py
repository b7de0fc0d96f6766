"""From an event's key to its partition, and from a partition to where Kinesis puts it.

``partition = md5(ordering key) * P >> 128``: the hash that Kinesis itself uses, so that partition
i of P is the i-th slice of the 2^128 hash keys. Each partition has one fixed explicit hash key,
the midpoint of its slice: it lies wholly in one shard and no split can cut it. It also has one
fixed partition key text, ``p0017``, because Lambda's parallelization factor splits a shard by it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import md5 as _md5_of_openssl

try:
    from _md5 import md5 as _md5  # type: ignore[import-not-found]
except ImportError:
    _md5 = _md5_of_openssl

PARTITIONS_MAX = 4096
_HASH_BITS = 128


def ordering_key(table: str, key: bytes) -> bytes:
    """The bytes that order an event: its table and the canonical bytes of its key.

    Injective, since a table name holds no NUL.
    """
    return table.encode() + b"\0" + key


md5 = _md5
"""CPython's own where it has one: a third of OpenSSL's time for something as short as a key."""


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition, 0 to ``partitions`` - 1, of an ordering key. Cached: hot keys are common."""
    return hash_to_partition(key, partitions)


def hash_to_partition(key: bytes, partitions: int) -> int:
    """The same for who remembers partitions in another way: half the time of a miss."""
    return (
        int.from_bytes(md5(key, usedforsecurity=False).digest(), "big") * partitions >> _HASH_BITS
    )


def explicit_hash_key(partition: int, partitions: int) -> int:
    """The midpoint of the partition's slice of 2^128: its ``ExplicitHashKey``."""
    return ((2 * partition + 1) << _HASH_BITS) // (2 * partitions)


def partition_key(partition: int) -> str:
    """The fixed Kinesis partition key of a partition, ``p0017``."""
    return f"p{partition:04d}"


def partition_from_key(text: str) -> int | None:
    """The partition whose fixed key ``text`` is; ``None`` for a foreign record's key."""
    if len(text) == 5 and text[0] == "p" and text[1:].isascii() and text[1:].isdigit():
        return int(text[1:])
    return None
