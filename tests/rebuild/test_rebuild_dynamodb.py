"""A rebuild of a DynamoDB store from a snapshot of another, while that one is written to."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.store import Store
from binlog.errors import StorageError
from binlog.objects.memory import MemoryObjects
from consumers.local import Following, replicate
from snapshots import rebuild as rebuilding
from snapshots.kept import KeptWork
from snapshots.rebuild import Wanted, plan_digest, rebuild
from snapshots.snapshot_take import take_snapshot
from snapshots.starting import starting
from tests.contracts.dynamodb_places import store_on
from tests.rebuild.rebuild_world import RULES, World, contents
from tests.stores.dynamodb_double import DynamoDBDouble

WANTED = Wanted(rules=RULES, poison="park")


def follow(world: World, store: Store) -> None:
    replicate(
        world.log,
        store,
        Following(rules=RULES, once=True, poison="park"),
        clock=world.clock,
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_snapshot_of_no_one_moment_is_a_start(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """N2, through the product alone: rows that a consumer moves on while they are scanned."""
    world = World(seed)
    world.grow(80)
    double = DynamoDBDouble()
    live = store_on(double)
    follow(world, live)
    objects = MemoryObjects()
    put_new = objects.put_new
    grown: list[str] = []

    def put_and_grow(key: str, data: bytes) -> bool:
        found = put_new(key, data)
        if "rows" in key and len(grown) < 2:  # between two tables
            grown.append(key)
            world.grow(30)
            follow(world, live)
        return found

    monkeypatch.setattr(objects, "put_new", put_and_grow)
    manifest = take_snapshot(live, objects, clock=world.clock, random=world.random)
    assert grown
    assert not manifest.is_exact
    world.grow(20)
    begin = starting(world.log, objects, WANTED)
    assert begin.base is not None, begin.plan
    whole = contents(world.rebuilt(WANTED)[0])
    found, _ = world.rebuilt(WANTED, base=begin.base)
    assert contents(found) == whole
    copy = store_on(DynamoDBDouble())
    rebuild(world.log, copy, WANTED, base=begin.base)
    assert contents(copy) == whole


def test_what_was_folded_is_kept_while_the_service_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loading begins anew, in a generation of its own; the log is not read again."""
    monkeypatch.setattr(rebuilding, "groups_of", lambda *_, **__: [[0, 1], [2, 3, 4]])
    world = World(7)
    world.grow(120)
    double = DynamoDBDouble()
    store = store_on(double)
    objects = MemoryObjects()
    work = KeptWork(objects, store=store.name, plan=plan_digest(world.log, WANTED))
    refused = double.batch_write_item

    def batch_write_item(**request: Any) -> Any:
        raise StorageError("out of reach", "dynamodb")

    monkeypatch.setattr(double, "batch_write_item", batch_write_item)
    with pytest.raises(StorageError, match="out of reach"):
        rebuild(world.log, store, WANTED, work=work)
    assert store.generations() == []
    monkeypatch.setattr(double, "batch_write_item", refused)
    report = rebuild(world.log, store, WANTED, work=work)
    assert report.resumed == 2
    assert contents(store) == contents(world.rebuilt(WANTED)[0])
    assert list(objects.list()) == []
