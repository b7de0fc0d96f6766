"""What each action means, from a line of input to the item in a replica."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.acceptance_support import (
    Line,
    World,
    by_key,
    dump,
    inside,
    jsonl,
    ok,
    refused,
)


def put(id_: str, /, **attributes: Any) -> dict[str, Any]:
    return {"Action": "PutItem", "Data": {"id": id_, **attributes}}


def update(id_: str, /, expect: int | None = None, **sections: Any) -> dict[str, Any]:
    line = {"Action": "UpdateItem", "Key": {"id": id_}, "Data": sections}
    return line if expect is None else line | {"Expect": expect}


def delete(id_: str) -> dict[str, Any]:
    return {"Action": "DeleteItem", "Key": {"id": id_}}


def replica(world: World, name: str = "one", *options: str) -> Mapping[Any, Mapping[str, Any]]:
    """The items of a fresh replica, made in both ways, which must agree."""
    rebuilt = world.rebuild(world.store(name), *options)
    replicated = world.replicate(world.store(f"{name}-too"), *options)
    assert rebuilt["tables"] == replicated["tables"]
    for field in ("events", "items", "vector", "rejected", "parked", "excluded", "duplicates"):
        assert rebuilt[field] == replicated[field], field
    return by_key(dump(world.store(name)))


# -- items ---------------------------------------------------------------------------------------


def test_each_action_leaves_the_item_that_dynamodb_would_leave(tmp_path: Path) -> None:
    world = World(tmp_path)
    stories: dict[str, list[dict[str, Any]]] = {
        "put twice": [put("put twice", a=1, b=2), put("put twice", c=3)],
        "deleted": [put("deleted", a=1), delete("deleted")],
        "never there": [delete("never there")],
        "deleted and back": [
            put("deleted and back", a=1),
            delete("deleted and back"),
            put("deleted and back", b=1),
        ],
        "set on absent": [update("set on absent", Set={"a": 1})],
        "set on deleted": [
            put("set on deleted", old=1),
            delete("set on deleted"),
            update("set on deleted", Set={"a": 1}),
        ],
        "set": [put("set", a=1, b=1), update("set", Set={"a": {"x": [1]}, "c": None})],
        "remove": [put("remove", a=1, b=1), update("remove", Remove=["a", "absent"])],
        "add": [put("add", n=Decimal(1)), update("add", Add={"n": 2, "new": -3})],
        "add a tenth": [put("add a tenth"), *[update("add a tenth", Add={"n": 0.1})] * 3],
        "all at once": [
            put("all at once", a=1, b=1, n=1),
            update("all at once", Set={"a": 2}, Remove=["b"], Add={"n": 1}),
        ],
        "nothing": [put("nothing", a=1), update("nothing")],
    }
    world.put(*[line for story in stories.values() for line in map(plain, story)])
    # The same session, in order; another process goes on.
    world.put(plain(update("set", Set={"d": 1})))
    items = replica(world)
    assert items == {
        "put twice": {"id": "put twice", "c": 3},
        "deleted and back": {"id": "deleted and back", "b": 1},
        "set on absent": {"id": "set on absent", "a": 1},
        "set on deleted": {"id": "set on deleted", "a": 1},
        "set": {"id": "set", "a": {"x": [1]}, "b": 1, "c": None, "d": 1},
        "remove": {"id": "remove", "b": 1},
        "add": {"id": "add", "n": 3, "new": -3},
        "add a tenth": {"id": "add a tenth", "n": Decimal("0.3")},
        "all at once": {"id": "all at once", "a": 2, "n": 2},
        "nothing": {"id": "nothing", "a": 1},
    }
    table = ok("digest", world.store("one"), "--json").document["tables"]["users"]
    assert (table["items"], table["tombstones"], table["parked"]) == (10, 2, 0)


def plain(value: Any) -> Any:
    """As `json` can write it."""
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, dict):
        return {name: plain(element) for name, element in value.items()}
    return value


def test_sets_are_added_to_and_deleted_from(tmp_path: Path) -> None:
    world = World(tmp_path)
    lines: list[Line] = [
        {"id": {"S": "a"}, "s": {"SS": ["x", "y"]}, "n": {"NS": ["1"]}, "b": {"BS": ["AQ=="]}},
        {
            "Action": "UpdateItem",
            "Key": {"id": {"S": "a"}},
            "Data": {
                "Add": {"s": {"SS": ["y", "z"]}, "n": {"NS": ["1.0", "2"]}, "new": {"SS": ["n"]}},
                "Delete": {"b": {"BS": ["AQ=="]}, "absent": {"SS": ["x"]}},
            },
        },
        {
            "Action": "UpdateItem",
            "Key": {"id": {"S": "a"}},
            "Data": {"Delete": {"s": {"SS": ["x", "never"]}}},
        },
    ]
    options = ["--format", "dynamodb", "--table", "users", "--key", "id"]
    ok("append", world.log, *options, given=jsonl(*lines))
    world.rebuild(world.store("one"))
    assert dump(world.store("one"), "users", "--format", "dynamodb") == [
        {
            "id": {"S": "a"},
            "s": {"SS": ["y", "z"]},
            "n": {"NS": ["1", "2"]},
            "new": {"SS": ["n"]},
        }
    ]


POISON = {
    "Add to text": (put("a", n="text"), update("a", Add={"n": 1})),
    "Add to a list": (put("a", n=[1]), update("a", Add={"n": 1})),
    "more than 38 digits": (put("a", n=int("9" * 38)), update("a", Add={"n": 0.1})),
    "an item too large": (put("a", x="x" * 300_000), update("a", Set={"y": "y" * 200_000})),
}


def test_an_event_that_cannot_be_applied_stops_and_what_stood_stays(tmp_path: Path) -> None:
    """Exit 3 with partition, offset, id, key and the --exclude that passes it."""
    world = World(tmp_path)
    world.put({"id": "before"})
    world.rebuild(world.store("one"))
    first, second = POISON["Add to text"]
    world.put(first, second | {"Id": "poison"}, {"id": "after"})
    before = ok("digest", world.store("one"), "--json").document
    [event] = [e for e in world.events() if e["id"] == "poison"]
    error = refused(3, "rebuild", world.log, world.store("one"), "--json")
    for part in (
        f"partition {event['partition']}",
        f"offset {event['offset']}",
        "poison",
        '{"id":"a"}',
        "--exclude",
    ):
        assert part in error, error
    assert ok("digest", world.store("one"), "--json").document == before
    assert "--exclude" in refused(3, "replicate", world.log, world.store("new"), "--once")
    # The exclusion that it names, typed as it stands there, passes it.
    rule = error.split("--exclude ")[1].split()[0].strip("'\"")
    report = world.rebuild(world.store("one"), "--exclude", rule)
    assert (report["excluded"], report["parked"]) == (1, 0)
    assert set(by_key(dump(world.store("one")))) == {"before", "a", "after"}
    assert report["tables"]["users"]["excluded"] == [rule]
    assert ok("digest", world.store("one"), "--json").document["tables"] == report["tables"]


@pytest.mark.parametrize("kind", [kind for kind in POISON if kind != "Add to text"])
def test_whatever_cannot_be_folded_is_such_an_event(tmp_path: Path, kind: str) -> None:
    world = World(tmp_path, partitions=1)
    first, second = POISON[kind]
    world.put(first, second)
    error = refused(3, "rebuild", world.log, "memory:", "--workers", "1")
    assert "partition 0, offset 2" in error
    assert "--exclude" in error


# -- batches -------------------------------------------------------------------------------------


def test_a_batch_becomes_an_event_an_element(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put({"id": "b", "old": True})
    batch = [{"id": "a", "n": 1}, {"Delete": {"id": "b"}}, {"id": "c"}]
    acks = world.put(
        {"Action": "BatchWrite", "Id": "B-1", "Data": batch, "Meta": {"by": "me"}},
        {"Action": "BatchWrite", "Data": [{"id": "d"}]},
    )
    assert sorted(a["id"] for a in acks if a["line"] == 1) == ["B-1/0", "B-1/1", "B-1/2"]
    [generated] = [a["id"] for a in acks if a["line"] == 2]
    assert generated.endswith("/0")
    events = {e["id"]: e for e in world.events()}
    assert [events[f"B-1/{n}"]["type"] for n in range(3)] == ["PutItem", "DeleteItem", "PutItem"]
    assert all(events[f"B-1/{n}"]["meta"] == {"by": "me", "batch": "B-1"} for n in range(3))
    assert events[generated]["meta"] == {"batch": generated.removesuffix("/0")}
    assert events["B-1/1"]["data"] is None
    assert events["B-1/1"]["key"] == {"id": "b"}
    assert set(replica(world)) == {"a", "c", "d"}


def test_a_batch_is_validated_before_any_of_it_is_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    ran = world.append(
        {"Action": "BatchWrite", "Data": [*({"id": f"k{n}"} for n in range(99)), {}]}
    )
    assert (ran.status, ran.out) == (2, "")
    assert "line 1" in ran.err
    assert world.events() == []


# -- the seed document's lines -------------------------------------------------------------------


def test_the_two_lines_of_the_seed_document_work_with_a_table(tmp_path: Path) -> None:
    """Names and values quoted; the key is the event's id where none is given."""
    world = World(tmp_path)
    first = '{ "Action": "PutItem", "Data": "This is my test data" }'
    second = '{ "Action": "BatchWrite", "Data": [{ "item1": "value" }, { "item2": "value2" }] }'
    acks = world.put(first, second, key=None)
    assert sorted(ack["line"] for ack in acks) == [1, 2, 2]
    ids = {ack["line"]: ack["id"] for ack in acks}
    batch = {ack["id"].rpartition("/")[2]: ack["id"] for ack in acks if ack["line"] == 2}
    items = replica(world)
    assert items == {
        ids[1]: {"id": ids[1], "Data": "This is my test data"},
        batch["0"]: {"id": batch["0"], "item1": "value"},
        batch["1"]: {"id": batch["1"], "item2": "value2"},
    }
    for event in world.events():
        assert event["key"] == {"id": event["id"]}
        assert event["table"] == "users"
    for line in (first, second):
        ran = world.append(line, table=None, key=None)
        assert (ran.status, ran.out) == (2, "")


def test_data_that_is_no_object_is_kept_under_data(tmp_path: Path) -> None:
    world = World(tmp_path, partitions=1)
    kinds: list[Any] = ["text", 5, 0.1, True, [1, {"a": 2}], [], ""]
    lines: list[dict[str, Any]] = []
    for n, data in enumerate(kinds):
        lines.append({"Action": "PutItem", "Id": f"e-{n}", "Data": data})
        lines.append(
            {"Action": "PutItem", "Id": f"k-{n}", "Data": data, "Key": {"id": f"mine-{n}"}}
        )
    world.put(*lines, key=None)
    world.rebuild(world.store("one"))
    items = by_key(dump(world.store("one")))
    assert len(items) == 2 * len(kinds)
    for n, data in enumerate(kinds):
        expected = Decimal(str(data)) if isinstance(data, float) else data
        for id_ in (f"e-{n}", f"mine-{n}"):
            assert items[id_] == {"id": id_, "Data": expected}
            assert type(items[id_]["Data"]) is type(expected)


def test_key_and_data_together_are_the_item(tmp_path: Path) -> None:
    """A Key beside Data is joined to it; equal is no disagreement, in whatever spelling."""
    world = World(tmp_path, partitions=1)
    world.put(
        {"Action": "PutItem", "Table": "pairs", "Key": {"pk": 1, "sk": "s"}, "Data": {"n": 1}},
        '{"Action": "PutItem", "Table": "pairs", "Key": {"pk": 2}, "Data": {"pk": 2.0, "n": 2}}',
        table=None,
        key=None,
    )
    assert [e["key"] for e in world.events()] == [{"pk": 1, "sk": "s"}, {"pk": 2}]
    world.rebuild(world.store("one"))
    assert dump(world.store("one"), "pairs") == [
        {"pk": 2, "n": 2},
        {"pk": 1, "sk": "s", "n": 1},
    ]


# -- expected versions ---------------------------------------------------------------------------


def test_expect_is_compared_with_the_items_version(tmp_path: Path) -> None:
    """0 is absent or deleted, n a live item at n; a mismatch moves nothing and is counted."""
    world = World(tmp_path, partitions=1)
    steps: list[tuple[dict[str, Any], bool]] = [
        (put("a", step=1) | {"Expect": 0}, True),
        (put("a", step=2) | {"Expect": 0}, False),  # it is there
        (update("a", 1, Set={"step": 3}), True),  # at offset 1
        (update("a", 1, Set={"step": 4}), False),  # it is at 3 by now
        (put("a", step=5) | {"Expect": 3}, True),
        (delete("a") | {"Expect": 3}, False),
        (delete("a") | {"Expect": 5}, True),
        (update("a", 7, Set={"step": 8}), False),  # deleted: no live item at 7
        (update("a", 0, Set={"step": 9}), True),
        (update("b", 1, Set={"step": 10}), False),  # absent
        (delete("c") | {"Expect": 0}, True),
    ]
    world.put(*[line for line, _ in steps])
    events = world.events()
    assert [e["offset"] for e in events] == list(range(1, len(steps) + 1))
    for number in range(1, len(steps) + 1):
        if number not in (2, 4, 8, 11):
            continue
        until = f'{{"0": {number}}}'
        report = inside("rebuild", world.log, "memory:", "--json", "--until", until).document
        assert report["rejected"] == sum(not taken for _, taken in steps[:number])
    items = replica(world)
    assert items == {"a": {"id": "a", "step": 9}}
    report = world.rebuild(world.store("one"))
    assert report["rejected"] == 5
    assert report["events"] == len(steps)
    assert report["tables"]["users"]["tombstones"] == 1  # c, from the delete of what was not there
