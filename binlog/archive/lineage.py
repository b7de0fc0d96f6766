"""The shards that an archive knows of, parents first, with no step missing on any chain's way.

A segment tells of the shards in which its records stand. A partition may have gone through another
one without a record, of which nothing is known once the stream has forgotten it. So where a chain goes
from one shard to another that is no child of it, as far as is known, it is listed as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from msgspec.structs import replace

from binlog.archive.chain_view import ancestors
from binlog.log import Shard


def ordered(shards: Mapping[str, Shard], ways: Iterable[Sequence[str]] = ()) -> list[Shard]:
    """Parents before children; ``ways`` are the shards of each chain, in its order."""
    known = dict(shards)
    for way in ways:
        for before, after in pairwise(way):
            shard = known[after]
            if before not in ancestors(after, known):
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
