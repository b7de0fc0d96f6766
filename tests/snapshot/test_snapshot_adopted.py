"""Snapshots of a store that took a full table over: items without a mark stand at the ADOPT record."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliers.stores import MemoryStore
from binlog.target import Target
from consumers.local import Following, replicate
from snapshots.rebuild import Wanted, rebuild
from snapshots.restore import restore
from snapshots.snapshot import Snapshot, open_snapshot
from snapshots.snapshot_take import take_snapshot
from snapshots.verify import verify
from tests.adoption.adoption_world import add, append, delete, items, put
from tests.adoption.in_place import Place


def differing(left: Any, right: Any) -> list[Any]:
    with verify(left, right) as found:
        return [d for table in found.tables for d in found.differences(table)]


@pytest.mark.parametrize("when", ["before it is read", "halfway", "at the end"])
def test_a_table_taken_over_in_place_comes_back_as_a_replica(tmp_path: Path, when: str) -> None:
    """Also where the checkpoints stand before the record: the rows are then ahead of them."""
    place = Place(tmp_path, items(20))
    once = Following(once=True, bases=place.bases)
    append(place.log, put("other", 1, table="carts"))
    with closing(place.store()) as store:
        replicate(place.log, store, once)
    adopted = place.adopt()
    with closing(place.take_over(adopted)) as store:
        if when != "before it is read":
            replicate(place.log, store, once)
        append(place.log, add("k001", 5), put("k002", 70), delete("k003"), put("new", 1))
        if when == "at the end":
            replicate(place.log, store, once)
        manifest = take_snapshot(store, place.objects)
        assert manifest.adopted is None
        assert ("users" in manifest.tables) is (when != "before it is read")
        back = MemoryStore()
        restore(Snapshot(place.objects, manifest), back, log=place.log)
        replicate(place.log, back, once)
        reference = MemoryStore()
        rebuild(place.log, reference, Wanted(bases=place.bases))
        assert differing(reference, back) == []
        replicate(place.log, store, once)
        assert differing(store, back) == []
    assert open_snapshot(place.objects).manifest == manifest, "the base is no replica"


@pytest.mark.parametrize("steps", range(1, 7))
def test_the_record_is_read_in_some_partitions_only(tmp_path: Path, steps: int) -> None:
    """Rows without a mark are then ahead of the checkpoints of the others, and the replay meets it."""
    place = Place(tmp_path, items(20))
    once = Following(once=True, bases=place.bases)
    append(place.log, put("other", 1, table="carts"))
    with closing(place.store()) as store:
        replicate(place.log, store, once)
    adopted = place.adopt()
    append(place.log, add("k001", 5), put("k002", 70), delete("k003"), put("new", 1))
    left = steps

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with closing(place.take_over(adopted)) as store:
        slowly = Following(once=True, bases=place.bases, page_bytes=1)
        replicate(place.log, store, slowly, stop=stop)
        manifest = take_snapshot(store, place.objects)
        assert manifest.is_exact is ("users" not in manifest.tables) is (steps == 1)
        back = MemoryStore()
        report = restore(Snapshot(place.objects, manifest), back, log=place.log)
        assert report.vector == {p: o for p, o in manifest.exact.items() if o}
        reference = MemoryStore()
        target = Target(vector=manifest.exact)
        rebuild(place.log, reference, Wanted(bases=place.bases, target=target))
        assert differing(reference, back) == []
        for each in (store, back):
            replicate(place.log, each, once)
        assert differing(store, back) == []
