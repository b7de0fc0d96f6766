"""The shards that an archive knows of, parents first, with no step missing on any chain's way.

A segment tells of the shards in which its records stand. A partition may have gone through another
one without a record, of which nothing is known once the stream has forgotten it. So where a chain goes
from one shard to another that is no child of it, as far as is known, it is listed as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from msgspec.structs import replace

from binlog.log import Shard

_NO_WAYS: Mapping[int, Sequence[str]] = {}


def ordered(
    shards: Mapping[str, Shard], ways: Mapping[int, Sequence[str]] = _NO_WAYS
) -> list[Shard]:
    """Parents before children; ``ways`` are the shards of each partition's chain, in its order.

    It is each partition's own way that must have no step missing: another one may have come from the
    same shard to the same one by way of a third, which never held this partition.
    """
    known = dict(shards)
    for partition, way in ways.items():
        for before, after in pairwise(way):
            shard = known[after]
            if before not in _came_from(after, partition, known):
                known[after] = replace(shard, parents=(*shard.parents, before))
    parents = {parent for shard in known.values() for parent in shard.parents}
    found: dict[str, Shard] = {}

    def add(shard: Shard) -> None:
        if shard.id in found:
            return
        for parent in shard.parents:
            if parent in known:
                add(known[parent])
        found[shard.id] = replace(shard, closed=True) if shard.id in parents else shard

    for shard in known.values():
        add(shard)
    return list(found.values())


def _came_from(shard: str, partition: int, known: Mapping[str, Shard]) -> list[str]:
    """The shards in which the partition was before, as far as its own way is known."""
    found = [shard]
    for each in found:
        found += [
            parent
            for parent in known[each].parents
            if parent in known and partition in known[parent].partitions and parent not in found
        ]
    return found[1:]
