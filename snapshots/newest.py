"""Which snapshots bring a store back whole: the newest of it, and those of the tables beside it."""

from __future__ import annotations

from binlog.objects.objects import Objects
from snapshots.snapshot import Snapshot, age, open_snapshot, snapshots_in
from snapshots.snapshot_manifest import Manifest


def newest_whole(objects: Objects) -> list[Snapshot]:
    """The newest snapshots of the store that the newest snapshot is of, the open generation's first.

    A store that takes all tables of its log but some is whole with the newest of those; one without
    such a generation with the newest of each of its sets of tables.

    Raises:
        As `open_snapshot`.
    """
    newest = open_snapshot(objects).manifest
    mine = [
        each
        for each in snapshots_in(objects)
        if (each.store, each.genesis, each.adopted) == (newest.store, newest.genesis, None)
    ]
    opens = [each for each in mine if each.generation.open]
    if opens:
        chosen = {opens[-1].id: opens[-1]}
        for table in opens[-1].without:
            beside = [m for m in mine if table in m.generation.tables and not m.generation.open]
            chosen |= {each.id: each for each in beside[-1:]}
    else:
        chosen = {}
        taken: set[str] = set()
        for each in reversed(mine):
            if taken.isdisjoint(each.generation.tables):
                chosen[each.id] = each
                taken.update(each.generation.tables)
    return [Snapshot(objects, each) for each in sorted(chosen.values(), key=_order)]


def _order(manifest: Manifest) -> tuple[bool, int, str]:
    return not manifest.generation.open, *age(manifest)
