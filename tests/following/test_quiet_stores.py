"""Every store keeps what makes a quiet stream worth going on with, and pays for it once an hour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from appliers.store import Checkpoint, Store, moves_on
from appliers.stores import MemoryStore, SQLiteStore
from binlog.errors import TrimmedError
from consumers.local import Following, replicate
from tests.contracts.dynamodb_places import store_on
from tests.following.quiet_world import QuietWorld
from tests.stores.dynamodb_double import DynamoDBDouble

Open = Callable[[], Store]


def memory(directory: Path) -> Open:
    return MemoryStore().open


def sqlite(directory: Path) -> Open:
    return lambda: SQLiteStore(directory / "store.db")


def dynamodb(directory: Path) -> Open:
    double = DynamoDBDouble()
    return lambda: store_on(double)


def look(world: QuietWorld, open_: Open) -> dict[int, Checkpoint]:
    """A process of its own, with a handle of its own."""
    store = open_()
    try:
        replicate(world.open(), store, Following(once=True), clock=world.clock)
        (generation,) = store.generations()
        return store.checkpoints(generation.id)
    finally:
        store.close()


@pytest.mark.parametrize("kind", [memory, sqlite, dynamodb], ids=lambda kind: kind.__name__)
def test_any_store_goes_on_for_ten_retentions(kind: Callable[[Path], Open], tmp_path: Path) -> None:
    world, open_ = QuietWorld(shards=2), kind(tmp_path)
    world.publish(0, 2)
    world.publish(3)
    rows = look(world, open_)
    for _ in range(20):
        world.hours(12)
        later = look(world, open_)
        assert {p: (r.shard, r.sequence, r.applied, r.state) for p, r in later.items()} == {
            p: (r.shard, r.sequence, r.applied, r.state) for p, r in rows.items()
        }
        now_ms = world.clock.now_ms()  # the service's time is known to the second
        assert all(now_ms - 1000 < (r.seen_ms or 0) <= now_ms for r in later.values())
    world.publish(2)
    world.hours(23)
    assert {p: r.applied for p, r in look(world, open_).items() if r.applied} == world.vector
    world.hours(25)
    with pytest.raises(TrimmedError):
        look(world, open_)


def test_of_two_looks_at_one_place_the_later_stays() -> None:
    """Whoever comes first: a consumer that was paused knows less than the row, and writes nothing."""
    places = [Checkpoint(0, "s", 7, 3, 3, b"", b"", seen_ms) for seen_ms in (None, 5, 6)]
    for number, old in enumerate(places):
        for other, new in enumerate(places):
            assert moves_on(new, old) == (other > number)
    back = Checkpoint(0, "s", 6, 3, 3, b"", b"", 9)
    assert not moves_on(back, places[0])
    assert moves_on(Checkpoint(0, "s", 8, 3, 3, b"", b""), places[2])


def test_looks_within_the_hour_write_no_row(tmp_path: Path) -> None:
    """A job that runs every minute would pay for as many rows as there are partitions."""
    world, double = QuietWorld(), DynamoDBDouble()
    world.publish(0, 2)
    first = look(world, lambda: store_on(double))
    for _ in range(5):
        world.hours(0.19)
        assert look(world, lambda: store_on(double)) == first
    world.hours(0.19)
    assert look(world, lambda: store_on(double)) != first
