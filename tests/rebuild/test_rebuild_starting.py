"""What the log says of a snapshot, and that whatever start is chosen makes no difference."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest

from binlog.errors import DamageError, TrimmedError
from binlog.log import Page, Position
from binlog.target import Target
from snapshots.rebuild import Wanted, rebuild
from snapshots.snapshot_manifest import manifest_key, seal
from snapshots.starting import Starting, starting
from tests.proofs.budget import assert_met
from tests.rebuild.rebuild_world import RULES, World, contents


def wanted(**more: Any) -> Wanted:
    return Wanted(**{"rules": RULES, "poison": "park", "idle_exclusions": "allow", **more})


class Forgetful:
    """A log that has forgotten its first records, and says so."""

    def __init__(self, world: World, first: int) -> None:
        self._log = world.log
        self._first = first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, after: Position, **more: Any) -> Page:
        if after.sequence < self._first - 1:
            raise TrimmedError("forgotten", str(after))
        return self._log.read(after, **more)


def taken(begin: Starting) -> str | None:
    return None if begin.plan.start is None else begin.plan.start.id


def reasons(begin: Starting) -> list[str]:
    return [each.reason for each in begin.plan.not_taken]


def test_a_moment_is_before_or_after_all_that_is_in_a_snapshot() -> None:
    """By the arrival of what its sequencers have seen, not by the clock of who took it."""
    world = World(21)
    world.grow(40)
    before_ms = world.clock.now_ms()
    first = world.snapshot(world.rebuilt(wanted())[0])
    world.grow(40)
    after_ms = world.clock.now_ms()
    second = world.snapshot(world.rebuilt(wanted())[0])
    world.grow(40)
    for time_ms, expected in (
        (before_ms - 1_500, None),
        (before_ms, first.id),
        (after_ms - 200, first.id),
        (after_ms, second.id),
        (after_ms + 10_000, second.id),
    ):
        what = wanted(target=Target(time_ms=time_ms))
        begin = starting(world.log, world.objects, what)
        assert taken(begin) == expected, time_ms
        if expected is None:
            assert all("it holds what arrived at" in reason for reason in reasons(begin))
        found, whole = (world.rebuilt(what, base=base)[0] for base in (begin.base, None))
        # Where other partitions' records follow the last of one, a page more or less is no matter.
        assert {**contents(found), "places": 0} == {**contents(whole), "places": 0}


def test_rows_ahead_of_the_checkpoints_count_for_a_moment_too() -> None:
    """N2: the log is read from the checkpoints to the newest row, and tells when that arrived."""
    world = World(22)
    world.grow(40)
    before_ms = world.clock.now_ms()
    manifest = world.snapshot(world.rebuilt(wanted())[0])
    world.grow(20)
    end = world.end()
    torn = msgspec.structs.replace(manifest, exact={p: end[p] for p in end})
    world.objects.put(manifest_key(manifest.id), seal(torn))
    early, late = (wanted(target=Target(time_ms=ms)) for ms in (before_ms, before_ms + 10_000))
    assert taken(starting(world.log, world.objects, early)) is None
    assert taken(starting(world.log, world.objects, late)) == manifest.id


def test_what_follows_has_to_be_there() -> None:
    """A snapshot from which the log, its archive included, cannot be read on is of no use."""
    world = World(23)
    world.grow(40)
    store, _ = world.rebuilt(wanted())
    old = world.snapshot(store)
    [shard] = world.log.shards()
    place = world.log.read(Position(shard.id, -1), bytes_max=1 << 30).next.sequence
    world.grow(40)
    new = world.snapshot(world.rebuilt(wanted())[0])
    log: Any = Forgetful(world, place + 3)
    begin = starting(log, world.objects, wanted())
    assert taken(begin) == new.id
    early = wanted(target=Target(vector=old.exact))
    with pytest.raises(TrimmedError, match=f"the nearest possible is snapshot {new.id}"):
        starting(log, world.objects, early)
    world.objects.delete([manifest_key(new.id)])
    with pytest.raises(TrimmedError, match="has forgotten what follows it"):
        starting(log, world.objects, wanted())
    kept: Any = Forgetful(world, 0)
    assert taken(starting(kept, world.objects, wanted())) == old.id


class Counting(Forgetful):
    """A log that notes how many bytes it gives."""

    def __init__(self, world: World, read: list[int]) -> None:
        super().__init__(world, 0)
        self._read = read

    def read(self, after: Position, **more: Any) -> Page:
        page = super().read(after, **more)
        self._read.append(sum(len(record.data) for record in page.records))
        return page


def test_to_look_at_the_beginning_is_not_to_read_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no snapshot fits: a stream may be long, and some of its partitions empty for ever."""
    world = World(28)
    monkeypatch.setattr(world.random, "randrange", lambda *_: 0)  # one key, so one partition
    for _ in range(30):
        world.grow(400)
    read: list[int] = []
    log: Any = Counting(world, read)
    assert taken(starting(log, world.objects, wanted())) is None
    assert sum(read) < 128 * 1024 < world.log.size_bytes() // 4


def test_a_snapshot_that_cannot_be_read_is_named() -> None:
    """Passed over like any other that does not fit; asked for, it is what is wrong."""
    world = World(29)
    world.grow(40)
    store, _ = world.rebuilt(wanted())
    old = world.snapshot(store)
    world.grow(10)
    new = world.snapshot(world.rebuilt(wanted())[0])
    key = manifest_key(new.id)
    data = world.objects.get(key) or b""
    world.objects.put(key, data.replace(b'"id"', b'"iD"', 1))
    begin = starting(world.log, world.objects, wanted())
    assert taken(begin) == old.id
    assert [(each.id, each.taken_ms) for each in begin.plan.not_taken] == [(new.id, None)]
    assert "its checksum is another" in reasons(begin)[0]
    with pytest.raises(DamageError, match="its checksum is another"):
        starting(world.log, world.objects, wanted(), start=new.id)
    newer = msgspec.structs.replace(new, format=99)
    world.objects.put(key, seal(newer))
    assert "snapshot format 99" in reasons(starting(world.log, world.objects, wanted()))[0]


def test_a_log_restored_from_an_older_copy_is_not_read_on_in() -> None:
    """It has other records, or none, where the snapshot stopped: from the beginning, then."""
    world, other = World(24), World(24)
    for each in (world, other):
        each.grow(40)
    world.grow(40)
    other.objects = world.objects
    world.snapshot(world.rebuilt(wanted())[0])
    begin = starting(other.log, other.objects, wanted())
    assert taken(begin) is None
    assert "is ahead of the log" in reasons(begin)[0]


def rule(random: Random, world: World) -> str:
    number = random.randrange(world.written)
    low = random.randint(1, 30)
    return random.choice(
        [
            f"id=e{number}",
            f"type={random.choice(('Renamed', 'Unheard', 'Greeted', 'Never', 'PutItem'))}",
            f'key=users:{{"id":"k{random.randrange(9)}"}}',
            f"offsets={random.randrange(5)}:{low}-{low + random.randrange(9)}",
        ]
    )


def test_whatever_start_is_chosen_makes_no_difference() -> None:
    """Exclusions that reach into a snapshot or not, tables, targets, parking: as from the beginning."""
    met: Counter[str] = Counter()
    for seed in range(40):
        world = World(seed)
        random = Random(seed)
        world.grow(60)
        common = tuple(rule(random, world) for _ in range(random.randrange(2)))
        for _ in range(3):
            more = tuple(rule(random, world) for _ in range(random.randrange(2)))
            tables = random.choice((None, None, ("users",)))
            cut = world.cut({}, world.end())
            what = wanted(target=Target(vector=cut), excluded=common + more, tables=tables)
            world.snapshot(world.rebuilt(what)[0])
            world.grow(30)
        target = random.choice((Target(), Target(vector=world.cut({}, world.end()))))
        asked = wanted(
            target=target,
            tables=random.choice((None, ("users",), ("orders",))),
            excluded=random.choice((common, (*common, rule(random, world)), ())),
        )
        begin = starting(world.log, world.objects, asked)
        met["begun" if begin.base else "from the first event"] += 1
        if begin.base and asked.excluded != begin.base.excluded:
            met["other exclusions, later"] += 1
        for reason in reasons(begin):
            met[reason.split(" ")[0]] += 1
        found, _ = world.rebuilt(asked, base=begin.base)
        assert contents(found) == contents(world.rebuilt(asked)[0]), (seed, reasons(begin))
    assert_met(met, ["begun", "from the first event", "it", "made", "what", "only", "without"])


def test_a_snapshot_may_be_of_more_tables_than_are_wanted() -> None:
    """Of those that are wanted all is taken, of the others nothing, their letters neither."""
    met: set[str] = set()
    for seed in range(26, 32):
        world = World(seed)
        world.grow(120)
        world.snapshot(world.rebuilt(wanted())[0])
        world.grow(20)
        what = wanted(tables=("orders",))
        begin = starting(world.log, world.objects, what)
        assert begin.base is not None
        found, _ = world.rebuilt(what, base=begin.base)
        assert contents(found) == contents(world.rebuilt(what)[0])
        met |= {letter.table for letter in found.letters()}
    assert met == {"orders"}


def test_a_store_that_has_the_tables_is_replaced_in_one_step() -> None:
    """B1: the generation is private until it is finished, whatever it was begun at."""
    world = World(27)
    world.grow(60)
    store, _ = world.rebuilt(wanted())
    world.snapshot(store)
    [before] = store.generations()
    world.grow(30)
    begin = starting(world.log, world.objects, wanted())
    store.close()
    rebuild(world.log, store, wanted(), base=begin.base)
    [after] = store.generations()
    assert after.id != before.id
    assert contents(store) == contents(world.rebuilt(wanted())[0])
