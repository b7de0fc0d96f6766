"""What a store holds, in short: the vector, and of each table counts and digest.

This is what ``binlog digest`` prints, and ``rebuild`` and ``replicate`` at their end. Everything is
recomputed from the rows.
"""

from __future__ import annotations

import msgspec

from appliers.digest import TableDigest
from appliers.store import Reader, Store, vector_of
from binlog.vector import Vector, minimum


class TableSummary(msgspec.Struct, frozen=True):
    """One table. ``items`` are the live ones; ``parked`` counts among items and tombstones."""

    items: int
    tombstones: int
    parked: int
    digest: str  # 64 hex digits, see `appliers.digest`
    vector: Vector
    excluded: tuple[str, ...]


class Summary(msgspec.Struct, frozen=True):
    """A store; encoded as JSON it is the document of the verb ``digest``."""

    vector: Vector  # the minimum over its generations (C0)
    tables: dict[str, TableSummary]  # by name, sorted


def summarize(store: Store) -> Summary:
    """Counts and digests of all tables, at one moment."""
    with store.view() as view:
        return summarize_view(view)


def summarize_view(view: Reader) -> Summary:
    """The same of a view that is open already."""
    vectors: list[Vector] = []
    tables: dict[str, TableSummary] = {}
    for generation in view.generations():
        vector = vector_of(view.checkpoints(generation.id))
        vectors.append(vector)
        for table in generation.tables:
            digest = TableDigest(table).add(view.scan(table))
            tables[table] = TableSummary(
                items=digest.items,
                tombstones=digest.tombstones,
                parked=digest.parked,
                digest=digest.hexdigest(),
                vector=vector,
                excluded=generation.excluded,
            )
    return Summary(vector=minimum(vectors), tables=dict(sorted(tables.items())))
