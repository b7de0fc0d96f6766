"""`verify`: from the items, never from what a store says of itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.acceptance_support import (
    World,
    binlog,
    digest,
    inside,
    ok,
    refused,
    vector_of,
)

VERSIONS = ["left_version", "right_version"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("verify"))
    world.put(*({"id": f"u{n}", "n": n} for n in range(12)))
    world.put(*({"id": f"o{n}", "n": n} for n in range(6)), table="orders")
    world.put({"Action": "DeleteItem", "Key": {"id": "u3"}})
    world.put({"Action": "Event", "Type": "Paid", "Key": {"id": "o1"}}, table="orders")
    world.rebuild(world.store("good"))
    return world


def tampered(world: World, name: str, *statements: str) -> str:
    """A copy of the good store, changed by hand."""
    path = world.directory / f"{name}.db"
    shutil.copy(world.directory / "good.db", path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount == 1, statement
        connection.commit()
    return f"sqlite:{path}"


def differences(world: World, left: str, right: str) -> list[dict[str, Any]]:
    """What differs, by table and key, of a verification that must say no."""
    ran = binlog("verify", left, right, "--json")
    assert ran.status == 1, ran
    assert ran.document["equal"] is False
    found = []
    for table, told in ran.document["tables"].items():
        for entry in told["differing"]:
            assert list(entry)[:5] == ["key", "left", "right", *VERSIONS]
            found.append({"table": table, **entry})
    text = inside("verify", left, right)
    assert text.status == 1
    for entry in found:
        assert entry["key"]["id"] in text.out
    return found


def test_equal_replicas_are_equal(world: World) -> None:
    world.replicate(world.store("too"))
    document = ok("verify", world.store("good"), world.store("too"), "--json").document
    assert document == {
        "equal": True,
        "tables": {"orders": {"differing": []}, "users": {"differing": []}},
    }
    assert ok("verify", world.store("good"), world.log, "--json").document == document
    assert ok("verify", world.store("good"), world.store("good"), "--json").document == document


def test_one_changed_value_is_found_with_its_key(world: World) -> None:
    """In a store and against the log; what the store says of itself is not asked."""
    bad = tampered(
        world,
        "changed",
        "UPDATE users SET item = replace(item, '\"5\"', '\"6\"') WHERE key LIKE '%u5%'",
    )
    for left, right in ((world.store("good"), bad), (bad, world.store("good")), (bad, world.log)):
        [found] = differences(world, left, right)
        assert found["table"] == "users"
        assert found["key"] == {"id": "u5"}
        assert {found["left"]["n"], found["right"]["n"]} == {5, 6}
        assert found["left_version"] == found["right_version"] > 0
    [typed] = ok_no("verify", bad, world.log, "--json", "--format", "dynamodb")["users"][
        "differing"
    ]
    assert typed["key"] == {"id": {"S": "u5"}}
    assert typed["left"]["n"] == {"N": "6"}


def ok_no(*args: str) -> dict[str, Any]:
    ran = binlog(*args)
    assert ran.status == 1
    tables: dict[str, Any] = ran.document["tables"]
    return tables


def test_rows_that_are_missing_or_too_many_are_found(world: World) -> None:
    missing = tampered(world, "missing", "DELETE FROM users WHERE key LIKE '%u7%'")
    buried = tampered(world, "buried", "DELETE FROM users WHERE key LIKE '%u3%'")
    for store, key, item in ((missing, "u7", {"id": "u7", "n": 7}), (buried, "u3", None)):
        for other in (world.store("good"), world.log):
            [found] = differences(world, store, other)
            assert (found["key"], found["left"], found["right"]) == ({"id": key}, None, item)
            assert found["left_version"] == 0
            assert found["right_version"] > 0
        [found] = differences(world, world.store("good"), store)
        assert (found["left"], found["right"], found["right_version"]) == (item, None, 0)


def test_a_version_a_tombstone_and_several_differences_are_found(world: World) -> None:
    bad = tampered(
        world,
        "several",
        "UPDATE users SET version = version + 1 WHERE key LIKE '%u1\"%'",
        "UPDATE orders SET item = NULL, tombstone = 1 WHERE key LIKE '%o2%'",
        "DELETE FROM orders WHERE key LIKE '%o4%'",
    )
    found = differences(world, bad, world.store("good"))
    assert [(d["table"], d["key"]["id"]) for d in found] == [
        ("orders", "o2"),
        ("orders", "o4"),
        ("users", "u1"),
    ]
    assert found[2]["left_version"] == found[2]["right_version"] + 1
    assert (
        digest(bad)["tables"]["users"]["digest"]
        != digest(world.store("good"))["tables"]["users"]["digest"]
    )
    # `check` finds them as well.
    checked = binlog("check", world.log, bad, "--json")
    assert checked.status == 1
    details = json.dumps(checked.document["findings"])
    for key in ("o2", "o4", "u1"):
        assert key in details


def test_what_cannot_be_compared_is_named_and_not_called_different(world: World) -> None:
    """Other vectors, other exclusions, other rules: exit 2."""
    good = world.store("good")
    end = vector_of(world.events())
    half = {p: o // 2 for p, o in end.items()}
    world.rebuild(world.store("half"), "--until", json.dumps(half))
    error = refused(2, "verify", good, world.store("half"))
    assert "vector" in error
    world.rebuild(world.store("without"), "--exclude", "type=DeleteItem")
    error = refused(2, "verify", good, world.store("without"))
    assert "type=DeleteItem" in error
    (world.directory / "rules.py").write_text(
        "from appliers.applier import Appliers\n"
        "rules = Appliers()\n"
        "@rules.on('Paid', table='orders', version=1)\n"
        "def paid(item, event):\n"
        "    return {**event.key, 'paid': True}\n"
    )
    ok(
        "rebuild",
        world.log,
        world.store("rules"),
        "--appliers",
        "rules:rules",
        cwd=world.directory,
    )
    error = refused(2, "verify", good, world.store("rules"))
    assert "Paid" in error or "rules" in error
    # Against the log, each is compared at its own vector, with its own exclusions.
    for name in ("half", "without"):
        assert ok("verify", world.store(name), world.log, "--json").document["equal"] is True
    args = ["verify", world.store("rules"), world.log, "--appliers", "rules:rules", "--json"]
    assert ok(*args, cwd=world.directory).document["equal"] is True


def test_a_table_that_one_side_lacks_is_a_difference(world: World) -> None:
    world.rebuild(world.store("part"), "--table", "users")
    ran = binlog("verify", world.store("good"), world.store("part"), "--json")
    assert ran.status in (1, 2)
    assert "orders" in ran.out + ran.err


def test_stores_of_two_logs_are_not_compared(world: World, tmp_path: Path) -> None:
    other = World(tmp_path)
    other.put({"id": "u1", "n": 1})
    other.rebuild(other.store("one"))
    refused((2, 3), "verify", world.store("good"), other.store("one"))


def test_verify_leaves_no_file_behind(world: World, tmp_path: Path) -> None:
    ok("verify", world.store("good"), world.log, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
