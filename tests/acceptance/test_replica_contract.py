"""`rebuild`, `replicate` and `digest`: the same replica, however it came about."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.acceptance_support import (
    World,
    binlog,
    by_key,
    digest,
    dump,
    inside,
    inside_refused,
    many,
    refused,
    vector_of,
)

REPORT = [
    "events",
    "items",
    "vector",
    "tables",
    "seconds",
    "rejected",
    "parked",
    "excluded",
    "duplicates",
]
TABLE = ["items", "tombstones", "parked", "digest", "vector", "excluded"]
Event = dict[str, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Some 120 changes of two tables by four runs of `append`; all keys change several times."""
    world = World(tmp_path_factory.mktemp("replica"))
    for run in range(4):
        time.sleep(0.005)
        users: list[dict[str, Any]] = [{"id": f"u{n}", "run": run, "n": n} for n in range(15)]
        users += [{"Action": "DeleteItem", "Key": {"id": f"u{n}"}} for n in range(run, 15, 5)]
        world.put(*users)
        world.put(*({"id": f"o{n}", "run": run} for n in range(10)), table="orders")
        world.put(*(update(f"u{n}", run) for n in range(0, 15, 4)))
    return world


def update(id_: str, run: int) -> dict[str, Any]:
    return {
        "Action": "UpdateItem",
        "Key": {"id": id_},
        "Data": {"Add": {"updates": 1}, "Set": {"seen": run}},
    }


@pytest.fixture(scope="module")
def events(world: World) -> list[Event]:
    return world.events()


def fold(events: Iterable[Event]) -> dict[str, dict[str, Any]]:
    """The tables after these events, by the simplest program that can tell: table, id, item."""
    tables: dict[str, dict[str, Any]] = {}
    for event in events:
        table = tables.setdefault(event["table"], {})
        id_, data = event["key"]["id"], event["data"]
        if event["type"] == "PutItem":
            table[id_] = data
        elif event["type"] == "DeleteItem":
            table[id_] = None
        else:
            item = dict(table.get(id_) or event["key"])
            item |= data["Set"]
            item["updates"] = item.get("updates", 0) + data["Add"]["updates"]
            table[id_] = item
    return tables


def assert_holds(store: str, report: dict[str, Any], events: list[Event]) -> None:
    """That a store, its digest and the report are what the events make."""
    expected = fold(events)
    assert report["vector"] == vector_of(events)
    assert set(report["tables"]) == set(expected)
    for name, table in expected.items():
        live = {id_: item for id_, item in table.items() if item is not None}
        told = report["tables"][name]
        assert list(told) == TABLE
        assert told["items"] == len(live)
        assert told["tombstones"] == len(table) - len(live)
        assert told["vector"] == report["vector"]
        if store != "memory:":
            assert by_key(dump(store, name)) == live
    assert report["items"] == sum(table["items"] for table in report["tables"].values())
    if store != "memory:":
        assert digest(store) == {"vector": report["vector"], "tables": report["tables"]}


# -- the same replica ----------------------------------------------------------------------------


def test_every_way_to_the_end_makes_the_same_tables(world: World, events: list[Event]) -> None:
    """Workers, stores, one step or several: equal tables, and what the events say."""
    one = world.store("ways-one")
    report = world.rebuild(one)
    assert list(report) == REPORT
    assert report["events"] == len(events)
    zeros = ("rejected", "parked", "excluded", "duplicates")
    assert [report[name] for name in zeros] == [0, 0, 0, 0]
    assert_holds(one, report, events)
    half = {p: o // 2 for p, o in vector_of(events).items()}
    middle = world.store("ways-middle")
    world.rebuild(middle, "--until", json.dumps(half))
    ways: list[Callable[[], dict[str, Any]]] = [
        lambda: world.rebuild(world.store("ways-1"), "--workers", "1"),
        lambda: world.rebuild(world.store("ways-3"), "--workers", "3"),
        lambda: world.rebuild(one),  # over itself
        lambda: world.rebuild("memory:"),
        lambda: world.replicate(world.store("ways-replicated")),
        lambda: world.replicate("memory:"),
        lambda: world.replicate(middle),  # the rest of it
    ]
    for other in many(lambda way: way(), ways):
        assert other["tables"] == report["tables"]
        assert other["vector"] == report["vector"]
    assert world.replicate(one)["events"] == 0  # nothing is left
    assert digest(one) == digest(middle)


def test_until_a_vector_is_inclusive_and_is_what_digest_then_prints(
    world: World, events: list[Event]
) -> None:
    end = vector_of(events)
    vectors = [
        {p: o // 3 + 1 for p, o in end.items()},
        {next(iter(end)): 1},
        {},
        end,
    ]
    for number, vector in enumerate(vectors):
        store = world.store(f"until-{number}")
        report = world.rebuild(store, "--until", json.dumps(vector))
        seen = [e for e in events if e["offset"] <= vector.get(str(e["partition"]), 0)]
        assert_holds(store, report, seen)
        again = inside("rebuild", world.log, "memory:", "--json", "--until", json.dumps(vector))
        assert again.document["tables"] == report["tables"]


def test_until_a_moment_takes_what_had_arrived(world: World, events: list[Event]) -> None:
    moments = sorted({e["arrival"] for e in events})
    moment = moments[len(moments) // 2]
    report = world.rebuild(world.store("moment"), "--until", moment)
    assert_holds(world.store("moment"), report, [e for e in events if e["arrival"] <= moment])
    assert world.rebuild("memory:", "--until", "2001-01-01T00:00:00Z")["vector"] == {}


def test_a_target_that_the_log_does_not_have_changes_nothing(
    world: World, events: list[Event]
) -> None:
    store = world.store("target")
    world.rebuild(store)
    before = digest(store)
    [first, *_] = vector_of(events).items()
    for until in (
        json.dumps({first[0]: first[1] + 1}),
        '{"4": 1}',
        '{"0": -1}',
        "[]",
        "soon",
        f"@{world.directory}/absent",
    ):
        inside_refused(2, "rebuild", world.log, store, "--until", until)
    assert digest(store) == before


# -- named tables --------------------------------------------------------------------------------


def test_only_the_named_tables_are_replaced(world: World, events: list[Event]) -> None:
    """Each table then has its own vector; the store's is the least of them."""
    store = world.store("named")
    half = {p: o // 2 for p, o in vector_of(events).items()}
    seen = [e for e in events if e["offset"] <= half.get(str(e["partition"]), 0)]
    world.rebuild(store, "--until", json.dumps(half))
    old = digest(store)
    report = world.rebuild(store, "--table", "orders")
    assert set(report["tables"]) == {"orders"}
    new = digest(store)
    assert new["tables"]["users"] == old["tables"]["users"]
    assert new["tables"]["orders"] == report["tables"]["orders"]
    assert new["tables"]["orders"]["vector"] == vector_of(events)
    assert new["vector"] == old["vector"]
    assert by_key(dump(store, "orders")) == fold(events)["orders"]
    live = {id_: item for id_, item in fold(seen)["users"].items() if item is not None}
    assert by_key(dump(store, "users")) == live
    # A replication takes each on from where it is.
    world.replicate(store)
    whole = world.rebuild(world.store("named-whole"))
    assert digest(store)["tables"] == whole["tables"]


def test_a_table_nobody_wrote_to_is_built_empty_only_if_that_is_asked_for(world: World) -> None:
    store = world.store("ghost")
    error = refused(2, "rebuild", world.log, store, "--table", "order", "--table", "orders")
    assert "was orders meant?" in error
    report = world.rebuild(store, "--table", "ghost", "--until", "{}")
    assert set(report["tables"]) == {"ghost"}
    assert report["tables"]["ghost"]["items"] == 0
    assert dump(store, "ghost") == []
    refused(2, "rebuild", world.log, store, "--table", "a b")


# -- exclusions ----------------------------------------------------------------------------------


def test_each_kind_of_rule_leaves_its_events_out(world: World, events: list[Event]) -> None:
    first = events[0]
    session = next(e["session"] for e in events if e["table"] == "orders")
    middle = next(e for e in events if e["partition"] == 1 and e["offset"] == 3)
    rules: dict[str, Callable[[Event], bool]] = {
        f"id={first['id']}": lambda e: e["id"] == first["id"],
        "type=DeleteItem": lambda e: e["type"] == "DeleteItem",
        'key=users:{"id": "u3"}': lambda e: (e["table"], e["key"]) == ("users", {"id": "u3"}),
        f"session={session}": lambda e: e["session"] == session,
        "offsets=1:3-5": lambda e: e["partition"] == 1 and 3 <= e["offset"] <= 5,
    }
    assert middle

    def build(entry: tuple[int, str]) -> None:
        number, rule = entry
        store = world.store(f"rule-{number}")
        report = world.rebuild(store, "--exclude", rule)
        left_out = [e for e in events if rules[rule](e)]
        assert left_out, rule
        assert report["excluded"] == len(left_out), rule
        assert report["events"] + report["excluded"] in (len(events), len(events) + len(left_out))
        kept = fold(e for e in events if not rules[rule](e))
        assert report["vector"] == vector_of(events)
        for table, items in kept.items():
            live = {id_: item for id_, item in items.items() if item is not None}
            assert by_key(dump(store, table)) == live, (rule, table)
            [recorded] = report["tables"][table]["excluded"]
            assert recorded.replace(" ", "") == rule.replace(" ", "")

    many(build, enumerate(rules))
    both = world.rebuild("memory:", *[x for rule in rules for x in ("--exclude", rule)])
    assert both["excluded"] == sum(any(rule(e) for rule in rules.values()) for e in events)
    # A replication goes on with the exclusions that it finds.
    store = world.store("rule-1")
    assert world.replicate(store)["tables"] == digest(store)["tables"]


def test_rules_that_are_none_are_bad_input(world: World) -> None:
    for rule in (
        "",
        "id",
        "id=",
        "name=x",
        "key=users",
        "key=users:",
        "key=users:u3",
        "key=a b:{}",
        "session=1",
        "offsets=1",
        "offsets=1:5-3",
        "offsets=1:0-3",
        "offsets=x:1-3",
        "offsets=99:1-3",
    ):
        inside_refused(2, "rebuild", world.log, "memory:", "--exclude", rule)


# -- whose store ---------------------------------------------------------------------------------


def test_a_store_of_another_log_is_refused(world: World, tmp_path: Path) -> None:
    other = World(tmp_path)
    other.put({"id": "a"})
    store = other.store("one")
    other.rebuild(store)
    before = digest(store)
    for verb in (
        ["rebuild", world.log, store],
        ["rebuild", world.log, store, "--table", "users"],
        ["replicate", world.log, store, "--once"],
        ["status", world.log, store],
        ["verify", store, world.log],
    ):
        refused((2, 3), *verb)
    assert binlog("check", world.log, store).status in (1, 2, 3)
    assert digest(store) == before


def test_a_store_ahead_of_its_log_is_refused(tmp_path: Path) -> None:
    """As after the restore of an old copy: nothing would ever tell the difference later."""
    world = World(tmp_path)
    world.put(*({"id": f"k{n}"} for n in range(20)))
    shutil.copytree(world.path, tmp_path / "old")
    world.put(*({"id": f"k{n}"} for n in range(20)))
    store = world.store("one")
    world.rebuild(store)
    before = digest(store)
    old = f"file:{tmp_path}/old"
    refused((2, 3), "replicate", old, store, "--once")
    refused((2, 3), "verify", store, old)
    assert binlog("status", old, store).status in (1, 2, 3)
    assert binlog("check", old, store).status in (1, 2, 3)
    assert digest(store) == before
