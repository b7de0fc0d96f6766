"""Domain events and the user's own appliers, by the command."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.acceptance_support import (
    World,
    digests,
    dump,
    ok,
    refused,
    vector_of,
)

# -- domain events -------------------------------------------------------------------------------

SHOP = '''
"""A shop's rules."""
from appliers.applier import ApplierError, Appliers

shop = Appliers()


@shop.on("OrderPlaced", table="orders", version=1)
def placed(item, event):
    return {**event.key, "total": event.data["total"], "state": "placed"}


@shop.on("OrderPaid", table="orders", version=1)
def paid(item, event):
    if item is None:
        raise ApplierError("paid before it was placed")
    return {**item, "state": "paid"}


@shop.on("OrderForgotten", table="orders", version=1)
def forgotten(item, event):
    return None
'''


def event(type_: str, id_: str, data: Any = None, /, **fields: Any) -> dict[str, Any]:
    return {"Action": "Event", "Type": type_, "Key": {"id": id_}, "Data": data, **fields}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A log with domain events, and a module with their appliers beside it."""
    world = World(tmp_path_factory.mktemp("shop"))
    (world.directory / "rules.py").write_text(SHOP)
    world.put(
        event("OrderPlaced", "o1", {"total": 10}),
        event("OrderPaid", "o1"),
        event("OrderPlaced", "o2", {"total": 20}),
        event("OrderForgotten", "o2"),
        event("Heartbeat", "o1", [1, 2.50]),
        table="orders",
        key=None,
    )
    world.put({"Action": "Event", "Type": "Free", "Key": {"x": 1}}, table=None, key=None)
    return world


def test_a_domain_event_is_shown_as_it_was_given(shop: World) -> None:
    found = {e["type"]: e for e in shop.events()}
    assert found["Heartbeat"]["data"] == [1, Decimal("2.5")]
    assert found["OrderPaid"]["data"] is None
    assert (
        found["Free"] | {"table": None, "key": {"x": 1}, "data": None, "schema": 1} == found["Free"]
    )


def test_appliers_fold_domain_events_into_items(shop: World) -> None:
    store = shop.store("shop")
    options = ["--appliers", "rules:shop", "--json"]
    rebuilt = ok("rebuild", shop.log, store, *options, cwd=shop.directory).document
    other = shop.store("too")
    replicated = ok("replicate", shop.log, other, "--once", *options, cwd=shop.directory).document
    assert rebuilt["tables"] == replicated["tables"]
    assert dump(store, "orders") == [{"id": "o1", "total": 10, "state": "paid"}]
    assert rebuilt["tables"]["orders"]["tombstones"] == 1
    for right in (other, shop.log):
        args = [
            "verify",
            store,
            right,
            *(["--appliers", "rules:shop"] if right == shop.log else []),
        ]
        assert ok(*args, "--json", cwd=shop.directory).document["equal"] is True
    # Made by other rules: not comparable, and not to be gone on with.
    bare = shop.store("bare")
    shop.rebuild(bare)
    assert "orders" not in digests(ok("digest", bare, "--json").document["tables"])
    refused(2, "verify", store, shop.log, cwd=shop.directory)


def test_an_event_that_an_applier_refuses_stops_with_its_exclusion(shop: World) -> None:
    """Poison of the user's own making: partition, offset, id, key and the rule that passes it."""
    world = World(shop.directory / "poison")
    world.put(
        event("OrderPlaced", "o1", {"total": 10}),
        event("OrderPaid", "nobody", Id="early"),
        table="orders",
        key=None,
    )
    (world.directory / "rules.py").write_text(SHOP)
    args = [world.log, world.store("one"), "--appliers", "rules:shop"]
    [early] = [e for e in world.events() if e["id"] == "early"]
    error = refused(3, "rebuild", *args, cwd=world.directory)
    for part in (
        f"partition {early['partition']}",
        f"offset {early['offset']}",
        "early",
        '{"id":"nobody"}',
        "paid before it was placed",
        "--exclude",
    ):
        assert part in error, error
    rule = error.split("--exclude ")[1].split()[0].strip("'\"")
    report = ok("rebuild", *args, "--exclude", rule, "--json", cwd=world.directory).document
    assert report["excluded"] == 1
    assert vector_of(world.events()) == report["vector"]


def test_appliers_that_cannot_be_loaded_are_bad_input(shop: World) -> None:
    (shop.directory / "broken.py").write_text("1 / 0\n")
    for appliers in ("absent:x", "rules:absent", "rules", "rules:__name__", "broken:x", ":", ""):
        error = refused(
            2, "rebuild", shop.log, "memory:", "--appliers", appliers, cwd=shop.directory
        )
        assert "\n" not in error[:-1]


def test_events_of_an_older_schema_are_upcast_wherever_they_are_read(tmp_path: Path) -> None:
    """`cat` and `rebuild` with the user's module; one that is newer than the code stops it."""
    world = World(tmp_path, partitions=1)
    (tmp_path / "money.py").write_text(
        "from appliers.applier import Appliers\n"
        "money = Appliers()\n"
        "@money.on('Paid', table='orders', version=1)\n"
        "def paid(item, event):\n"
        "    return {**event.key, 'cents': event.data['cents']}\n"
        "@money.upcaster('Paid', from_version=1)\n"
        "def to_cents(data):\n"
        "    return {'cents': data['euros'] * 100}\n"
    )
    old = event("Paid", "a", {"euros": 3}, Schema=1)
    new = event("Paid", "b", {"cents": 5}, Schema=2)
    world.put(old, new, table="orders", key=None)
    given = ["--appliers", "money:money", "--json"]
    assert [(e["schema"], e["data"]) for e in world.events()] == [
        (1, {"euros": 3}),
        (2, {"cents": 5}),
    ]
    upcast = ok("cat", world.log, *given, cwd=tmp_path).lines
    assert [(e["schema"], e["data"]) for e in upcast] == [(2, {"cents": 300}), (2, {"cents": 5})]
    ok("rebuild", world.log, world.store("one"), *given, cwd=tmp_path)
    assert dump(world.store("one"), "orders") == [
        {"id": "a", "cents": 300},
        {"id": "b", "cents": 5},
    ]
    world.put(event("Paid", "c", {"cents": 5}, Schema=3), table="orders", key=None)
    assert "schema version 3" in refused(3, "rebuild", world.log, "memory:", *given, cwd=tmp_path)
