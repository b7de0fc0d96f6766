"""Shards as Kinesis lists them, turned into ours: lineage, and which partitions each one holds.

A partition lies at one fixed point of the 2^128 hash keys, the middle of its slice, so it is
wholly in one shard, whatever was split where (see `binlog.partition`). A shard may hold none.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from binlog.aws.errors import error_code
from binlog.errors import DamageError
from binlog.log import Shard
from binlog.partition import explicit_hash_key

PAGE_SHARDS = 1_000
LISTINGS_MAX = 3


def list_shards(client: Any, stream: str, **options: Any) -> list[Mapping[str, Any]]:
    """All shards of the stream, closed ones too while they last, page by page.

    A listing whose next page is asked for too late, after five minutes, begins again.

    Raises:
        What the SDK raises.
    """
    first = {"StreamName": stream, "MaxResults": PAGE_SHARDS, **options}
    found: list[Mapping[str, Any]] = []
    request: dict[str, Any] = first
    tries = LISTINGS_MAX
    while True:
        try:
            page = client.list_shards(**request)
        except Exception as error:
            tries -= 1
            if error_code(error) != "ExpiredNextTokenException" or not tries:
                raise
            found, request = [], first
            continue
        found += page["Shards"]
        token = page.get("NextToken")
        if not token:
            return found
        request = {"NextToken": token, "MaxResults": PAGE_SHARDS}


@lru_cache(maxsize=64)
def hash_keys(partitions: int) -> tuple[int, ...]:
    """The explicit hash key of every partition, ascending."""
    return tuple(explicit_hash_key(partition, partitions) for partition in range(partitions))


def shards_of(listed: Iterable[Mapping[str, Any]], partitions: int, where: str) -> list[Shard]:
    """The shards, parents before children; a parent that is no longer listed is still named.

    Raises:
        DamageError: they make no lineage, a shard being its own ancestor.
    """
    keys = hash_keys(partitions)
    waiting: dict[str, Shard] = {}
    for each in listed:
        low, high = (int(each["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey"))
        parents = (each.get("ParentShardId"), each.get("AdjacentParentShardId"))
        waiting[each["ShardId"]] = Shard(
            each["ShardId"],
            tuple(parent for parent in parents if parent),
            frozenset(range(bisect_left(keys, low), bisect_right(keys, high))),
            closed="EndingSequenceNumber" in each["SequenceNumberRange"],
        )
    ordered: list[Shard] = []
    while waiting:
        ready = [s for s in waiting.values() if not any(p in waiting for p in s.parents)]
        if not ready:
            raise DamageError(
                f"shards {', '.join(waiting)} are their own ancestors",
                where,
                "is that an endpoint of the service? if so, ask its support",
            )
        ordered += sorted(ready, key=lambda shard: shard.id)
        for shard in ready:
            del waiting[shard.id]
    return ordered
