"""Which partitions are rebuilt together: so many groups as memory asks for, at least one a worker.

A worker holds the items of one group at a time, so how many groups there are follows from the log's
size. Where a log gives partitions apart, as a directory skips others' frames, a group takes every
n-th of them: those of Zipf keys are not alike. An archive even knows how much it has of each, and
its groups are of one size: the last worker to be done is the one that is waited for. But neighbours
where there is a base, whose sections hold neighbours.

Where a log gives a whole shard to who wants a part of it, the partitions of the shard stay together,
and of those before and after it where shards were split or merged: no two workers fetch the same
record, and none waits for what another one used of the shard's budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from binlog.log import GivesWholeShards, KeepsPartitionsApart, Log, Shard
from snapshots.base import Base

# A group's items are at most the log's bytes of its partitions, decompressed: what one worker may
# hold at a time, in bytes of log as stored (about an eighth of its items; see scripts/bench).
GROUP_BYTES = 128 * 1024 * 1024
# Where they are kept as they come: what a run that is killed loses at most, of each worker.
KEPT_BYTES = 32 * 1024 * 1024
PARTITION_BYTES = 64 * 1024  # what reading a partition costs beside what it has
_COMPRESSED = 8  # times: by so much what a base says of itself is more than the log has of it


def groups_of(
    log: Log,
    workers: int,
    *,
    base: Base | None = None,
    more_bytes: int = 0,
    group_bytes: int = GROUP_BYTES,
) -> list[list[int]]:
    """All partitions, each in one group, ascending.

    ``more_bytes`` of items, decompressed, come in on the way: bases of adopted tables.
    """
    partitions = log.params.partitions
    size = log.size_bytes()  # of which a base may be most: then it is an upper bound
    if base is not None:
        more_bytes += base.size_bytes()
    size += more_bytes // _COMPRESSED
    passes = -(-size // (group_bytes * workers)) or 1
    count = min(partitions, workers * passes)
    if isinstance(log, KeepsPartitionsApart):
        count = max(count, -(-partitions // log.partitions_at_once))
    if not isinstance(log, GivesWholeShards):
        if base is None:
            known: Mapping[int, int] = {}
            most = partitions
            if isinstance(log, KeepsPartitionsApart):
                known, most = log.bytes_by_partition(), log.partitions_at_once
            return balanced({p: known.get(p, 0) for p in range(partitions)}, count, most=most)
        bounds = [i * partitions // count for i in range(count + 1)]
        return [list(range(a, b)) for a, b in pairwise(bounds)]
    together = sorted(joined(log.shards()), key=lambda each: (-len(each), min(each)))
    groups: list[list[int]] = [[] for _ in range(min(count, len(together)))]
    for each in together:
        min(groups, key=len).extend(each)  # the largest first, each to whom has least
    return [sorted(group) for group in groups]


def balanced(sizes: Mapping[int, int], count: int, *, most: int) -> list[list[int]]:
    """Partitions in so many groups of about the same size, none of more than ``most``.

    The largest first, each to who has least; so of those that are alike each group has every n-th.
    """
    groups: list[list[int]] = [[] for _ in range(count)]
    totals = [0] * count
    for partition in sorted(sizes, key=lambda p: (-sizes[p], p)):
        room = [index for index in range(count) if len(groups[index]) < most]
        index = min(room, key=totals.__getitem__)
        groups[index].append(partition)
        totals[index] += sizes[partition] + PARTITION_BYTES
    return [sorted(group) for group in groups]


def joined(shards: Iterable[Shard]) -> list[set[int]]:
    """The partitions of shards that have one in common, directly or by way of others."""
    found: list[set[int]] = []
    for shard in shards:
        if not shard.partitions:
            continue
        union, apart = set(shard.partitions), []
        for each in found:
            if each.isdisjoint(union):
                apart.append(each)
            else:
                union |= each
        found = [*apart, union]
    return found
