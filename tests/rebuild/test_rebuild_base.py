"""A rebuild that begins at a snapshot ends where one ends that begins with the first event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from random import Random

import pytest

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter
from appliers.store import vector_of
from appliers.stores.memory import MemoryStore
from binlog.errors import ConflictError, DamageError
from binlog.target import Target
from binlog.vector import Vector, offset_of
from snapshots.base import SnapshotBase
from snapshots.rebuild import Wanted
from snapshots.snapshot import Snapshot
from snapshots.starting import starting
from tests.proofs.budget import assert_met
from tests.rebuild.rebuild_world import RULES, World, contents

SEEDS = range(12)


def wanted(**more: object) -> Wanted:
    return Wanted(rules=RULES, poison="park", **more)  # type: ignore[arg-type]


def test_from_a_snapshot_is_as_from_the_first_event() -> None:
    """Invariant 19: rows, tombstones, parked ones and their letters, rejections, foreign records,
    types, and the checkpoints to the last byte."""
    met: Counter[str] = Counter()
    for seed in SEEDS:
        compare_starts(World(seed), met)
    assert_met(met, ["letters", "letters alone", "rejections", "foreign", "tombstones"])


def compare_starts(world: World, met: Counter[str]) -> None:
    world.grow(120)
    cut = world.cut({}, world.end())
    world.snapshot(world.rebuilt(wanted(target=Target(vector=cut)))[0])
    world.grow(60)
    end = world.end()
    for target in (Target(), Target(vector=world.cut(cut, end)), Target(vector=cut)):
        for tables in (None, ("users",)):
            what = wanted(target=target, tables=tables)
            begin = starting(world.log, world.objects, what)
            assert begin.base is not None
            whole, _ = world.rebuilt(what)
            found, report = world.rebuilt(what, base=begin.base)
            assert contents(found) == contents(whole)
            assert report.start == begin.base.name
            assert report.counts.events <= 180 - sum(cut.values()), "the snapshot's are not read"
            of_base = contents(found)
            met["letters"] += len(of_base["letters"])
            met["letters alone"] += sum(letter.alone for letter in of_base["letters"])
            met["rejections"] += len(of_base["rejections"])
            met["foreign"] += len(of_base["foreign"])
            met["tombstones"] += sum(
                row.data is None for rows in of_base["rows"].values() for _, row in rows
            )


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_make_no_difference(workers: int) -> None:
    """Each takes the rows of its partitions, and one of them what belongs to none."""
    world = World(99)
    world.grow(120)
    world.snapshot(world.rebuilt(wanted())[0])
    world.grow(40)
    begin = starting(world.log, world.objects, wanted())
    found, _ = world.rebuilt(wanted(), base=begin.base, workers=workers)
    assert contents(found) == contents(world.rebuilt(wanted())[0])
    assert contents(found)["foreign"]


class Torn(SnapshotBase):
    """What a scan of a store gives that keeps no moments: each row as it was at some time since."""

    def __init__(self, early: Snapshot, late: MemoryStore, exact: Vector, random: Random) -> None:
        super().__init__(early)
        self._late, self._exact, self._random = late, exact, random
        self.rows = self.torn_rows
        [generation] = late.generations()
        self._types = generation.types

    def letters(self, partitions: Collection[int]) -> Iterable[DeadLetter]:
        return (each for each in self._late.letters() if each.partition in partitions)

    def rejections(self, partitions: Collection[int]) -> Iterable[Rejection]:
        return (each for each in self._late.rejections() if each.partition in partitions)

    @property
    def exact(self) -> Vector:
        return self._exact

    def torn_rows(
        self, table: str, partitions: Collection[int] | None = None
    ) -> Iterator[tuple[bytes, Row]]:
        early = dict(self.snapshot.rows(table, partitions))
        for key, late in self._late.scan(table):
            if partitions is not None and late.partition not in partitions:
                continue
            # Marks of poison beyond the checkpoints are not taken: they come again.
            if self._random.randrange(2) and not late.parked:
                yield key, late
            elif key in early:
                yield key, early[key]


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_ahead_of_their_checkpoints_become_exact_by_the_replay(seed: int) -> None:
    """N2: an event at or below an item's version is in it, and one that was rejected or waits is
    told once."""
    world = World(seed)
    world.grow(80)
    early, _ = world.rebuilt(wanted())
    manifest = world.snapshot(early)
    world.grow(40)
    late, report = world.rebuilt(wanted())
    world.grow(40)
    base = Torn(Snapshot(world.objects, manifest), late, report.vector, world.random)
    for target in (Target(), Target(vector=world.cut(report.vector, world.end()))):
        found, _ = world.rebuilt(wanted(target=target), base=base)
        assert contents(found) == contents(world.rebuilt(wanted(target=target))[0])


def test_a_target_before_the_newest_row_is_refused() -> None:
    """Its rows hold what comes after the target, whatever its checkpoints say."""
    world = World(3)
    world.grow(60)
    early, _ = world.rebuilt(wanted())
    manifest = world.snapshot(early)
    world.grow(40)
    late, report = world.rebuilt(wanted())
    base = Torn(Snapshot(world.objects, manifest), late, report.vector, world.random)
    store = MemoryStore()
    with pytest.raises(ConflictError, match="the target is"):
        world.rebuilt(wanted(target=Target(vector=manifest.vector)), base=base, store=store)
    time_ms = world.clock.now_ms() - 1_500
    with pytest.raises(DamageError, match="or the target is before it"):
        world.rebuilt(wanted(target=Target(time_ms=time_ms)), base=base, store=store)
    assert store.generations() == []


def test_a_log_that_ends_before_the_base_is_refused() -> None:
    """It lost what was applied; nothing is made of the rest."""
    world = World(4)
    world.grow(60)
    store, report = world.rebuilt(wanted())
    base = Torn(
        Snapshot(world.objects, world.snapshot(store)),
        store,
        {p: offset + 1 for p, offset in report.vector.items()},
        world.random,
    )
    with pytest.raises(DamageError, match="and reading the log ended at"):
        world.rebuilt(wanted(), base=base)


def test_a_parked_row_without_its_letters_is_no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits would be lost, and nobody would look for it."""
    world = World(1)
    world.grow(120)
    store, _ = world.rebuilt(wanted())
    assert list(store.letters())
    base = SnapshotBase(Snapshot(world.objects, world.snapshot(store)))
    monkeypatch.setattr(base, "letters", lambda _: iter(()))
    with pytest.raises(DamageError, match="an event is missing that waits behind"):
        world.rebuilt(wanted(), base=base)


def test_a_key_twice_in_a_base_is_damage() -> None:
    """Which of the two would be right nobody can say."""
    world = World(5)
    world.grow(40)
    base = SnapshotBase(Snapshot(world.objects, world.snapshot(world.rebuilt(wanted())[0])))
    rows = base.rows
    base.rows = lambda *given: iter([*rows(*given)] * 2)
    with pytest.raises(DamageError, match="in the base twice"):
        world.rebuilt(wanted(), base=base)


def test_versions_of_rows_are_within_what_the_snapshot_says() -> None:
    """`exact` is what the planner goes by."""
    world = World(6)
    world.grow(100)
    store, report = world.rebuilt(wanted())
    manifest = world.snapshot(store)
    assert manifest.exact == manifest.vector == report.vector
    assert all(
        offset_of(row.version) <= manifest.exact[row.partition]
        for table in manifest.tables
        for _, row in store.scan(table)
    )
    [generation] = store.generations()
    assert vector_of(store.checkpoints(generation.id)) == manifest.vector
