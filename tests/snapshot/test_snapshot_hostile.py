"""Snapshots on a storage that loses replies, is late, and whose callers die and race each other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from appliers import survey
from appliers.stores import MemoryStore
from binlog.clock import ManualClock
from binlog.errors import BinlogError, StorageError
from binlog.objects import MemoryObjects
from snapshots.check_snapshots import check_snapshots
from snapshots.restore import restore
from snapshots.snapshot import Snapshot, open_snapshot, snapshots_in
from snapshots.snapshot_take import take_snapshot
from tests.objects.hostile_objects import Crashed, Fates, HostileObjects
from tests.snapshot.snapshot_support import rows
from tests.snapshot.test_snapshot_waiting import parked_store

SEEDS = 80
FATES = Fates(
    lost_before=0.02,
    lost_after=0.02,
    late=0.02,
    crash_before=0.01,
    crash_after=0.01,
    raced=0.04,
    cut=0.01,
)
"""Of some forty calls that one snapshot makes; a part is gone on behind after each."""


class Takers:
    """Who takes a snapshot of one store on one storage, and a rival that comes in between."""

    def __init__(self, store: MemoryStore, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self._store = store
        self._random = Random(seed)
        self._clock = ManualClock()
        self._inner = MemoryObjects(clock=self._clock)
        self._nested = False
        self.objects = HostileObjects(self._inner, self._random, FATES, rival=self._rival)

    def attempt(self, objects: HostileObjects) -> bool:
        part_bytes = self._random.choice([1, 400])
        try:
            take_snapshot(self._store, objects, clock=self._clock, part_bytes=part_bytes)
        except (StorageError, Crashed) as error:
            self.seen[type(error).__name__] += 1
            return False
        return True

    def _rival(self) -> None:
        if not self._nested:
            self._nested = True
            theirs = HostileObjects(self._inner, self._random, FATES)
            self.seen["taken beside"] += self.attempt(theirs)
            self._nested = False


def test_what_is_finished_is_whole_however_it_came_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every id that has a manifest, after any number of deaths, races and late writes."""
    monkeypatch.setattr(survey, "PAGE_ROWS", 9)
    _, store = parked_store(tmp_path, count=40)
    wanted = rows(store)
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        takers = Takers(store, seed)
        assert any(takers.attempt(takers.objects) for _ in range(200)), seed
        takers.objects.calm()
        seen += takers.seen + takers.objects.seen
        found = snapshots_in(takers.objects)
        assert found, seed
        assert [f for f in check_snapshots(takers.objects) if f.broken] == [], seed
        for manifest in found:
            back = MemoryStore()
            restore(Snapshot(takers.objects, manifest), back)
            assert rows(back) == wanted, seed
            assert list(back.letters()) == list(store.letters()), seed
    for what in ("Crashed", "StorageError", "taken beside", "late", "lost after", "raced"):
        assert seen[what] > 5, seen


def test_bits_that_turn_on_their_way_are_never_served(tmp_path: Path) -> None:
    """What a store then holds is what was written, or nothing came into it."""
    _, store = parked_store(tmp_path, count=60)
    inner = MemoryObjects()
    take_snapshot(store, inner)
    refused = 0
    for seed in range(150):
        objects = HostileObjects(inner, Random(seed), Fates(flip=0.2))
        back = MemoryStore()
        try:
            restore(open_snapshot(objects), back)
        except BinlogError:
            refused += 1
            assert back.generations() == []
            continue
        assert rows(back) == rows(store)
    assert 30 < refused < 150
