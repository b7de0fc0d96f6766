"""`cat`: every event, by partition then offset, in the documented shape, chosen and bounded."""

from __future__ import annotations

import json
import re
import signal
import time
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.acceptance_support import (
    Line,
    Started,
    World,
    by_key,
    dump,
    inside_refused,
    jsonl,
    ok,
    vector_of,
)

FIELDS = [
    "partition",
    "offset",
    "version",
    "id",
    "type",
    "schema",
    "table",
    "key",
    "time",
    "arrival",
    "data",
    "meta",
    "session",
    "number",
]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three runs of `append`, a moment apart, in two tables."""
    world = World(tmp_path_factory.mktemp("cat"))
    world.put(*({"id": f"u{n}", "run": 1} for n in range(20)))
    time.sleep(0.01)  # the log counts milliseconds
    world.put(*({"id": f"o{n}", "run": 2} for n in range(20)), table="orders")
    time.sleep(0.01)
    world.put(
        *({"Action": "DeleteItem", "Key": {"id": f"u{n}"}} for n in range(5)),
        {"Action": "UpdateItem", "Key": {"id": "u9"}, "Data": {"Add": {"n": 1}, "Remove": ["r"]}},
        {"Action": "Event", "Type": "Seen", "Key": {"id": "u9"}, "Data": [1], "Meta": {"by": "x"}},
    )
    return world


@pytest.fixture(scope="module")
def events(world: World) -> list[dict[str, Any]]:
    return world.events()


def test_a_line_is_an_event_with_the_documented_fields(events: list[dict[str, Any]]) -> None:
    assert len(events) == 47
    for event in events:
        assert list(event) == FIELDS
        assert type(event["key"]) is dict
        assert event["version"] == event["offset"]  # the first timeline
        assert event["schema"] == 1
        assert re.fullmatch(r"[0-9a-f]{32}\.\d+", event["session"])
        for name in ("time", "arrival"):
            assert TIME.fullmatch(event[name])
            moment = datetime.fromisoformat(event[name])
            assert abs((datetime.now(UTC) - moment).total_seconds()) < 600
    kinds = {e["type"] for e in events}
    assert kinds == {"PutItem", "DeleteItem", "UpdateItem", "Event"} - {"Event"} | {"Seen"}
    deletes = [e for e in events if e["type"] == "DeleteItem"]
    assert [e["data"] for e in deletes] == [None] * 5
    [change] = [e for e in events if e["type"] == "UpdateItem"]
    assert change["data"] == {"Add": {"n": 1}, "Remove": ["r"]}
    assert len({e["id"] for e in events}) == 47


def test_events_come_by_partition_then_offset_and_offsets_are_dense(
    events: list[dict[str, Any]],
) -> None:
    places = [(e["partition"], e["offset"]) for e in events]
    assert places == sorted(places)
    for _, group in groupby(places, key=lambda place: place[0]):
        offsets = [offset for _, offset in group]
        assert offsets == list(range(1, len(offsets) + 1))
    for partition in range(4):  # arrival never goes back
        arrivals = [e["arrival"] for e in events if e["partition"] == partition]
        assert arrivals == sorted(arrivals)
    homes = {(e["table"], json.dumps(e["key"])): e["partition"] for e in events}
    assert all(homes[e["table"], json.dumps(e["key"])] == e["partition"] for e in events)


def test_events_are_chosen_by_table_key_partition_and_type(
    world: World, events: list[dict[str, Any]]
) -> None:
    for options, wanted in (
        (["--table", "orders"], lambda e: e["table"] == "orders"),
        (["--key", '{"id": "u9"}'], lambda e: e["key"] == {"id": "u9"}),
        (["--key", '{"id": {"S": "u9"}}'], lambda e: e["key"] == {"id": "u9"}),
        (["--partition", "2"], lambda e: e["partition"] == 2),
        (["--type", "DeleteItem"], lambda e: e["type"] == "DeleteItem"),
        (
            ["--table", "users", "--type", "PutItem", "--partition", "1"],
            lambda e: (e["table"], e["type"], e["partition"]) == ("users", "PutItem", 1),
        ),
        (["--table", "users", "--key", '{"id": "o1"}'], lambda _: False),
        (["--table", "nobody"], lambda _: False),
    ):
        found = world.events(*options)
        assert found == [e for e in events if wanted(e)], options
    assert len(ok("cat", world.log).out.splitlines()) == len(events)  # for people: a line an event


def test_after_is_exclusive_and_through_is_inclusive(
    world: World, events: list[dict[str, Any]], tmp_path: Path
) -> None:
    after, through = {"0": 2, "1": 1}, {"0": 4, "1": 5, "3": 2}
    found = world.events("--after", json.dumps(after), "--through", json.dumps(through))
    assert found == [
        e
        for e in events
        if after.get(str(e["partition"]), 0) < e["offset"] <= through.get(str(e["partition"]), 0)
    ]
    (tmp_path / "vector.json").write_text(json.dumps(through) + "\n")
    assert world.events("--through", f"@{tmp_path}/vector.json") == [
        e for e in events if e["offset"] <= through.get(str(e["partition"]), 0)
    ]
    assert world.events("--through", "end") == events
    assert world.events("--through", "{}") == []
    whole = json.dumps(vector_of(events))
    assert world.events("--through", whole) == events
    assert world.events("--after", whole) == []


def test_through_a_time_means_arrival_in_the_log(
    world: World, events: list[dict[str, Any]]
) -> None:
    """Per partition the longest prefix of records that had arrived by then, inclusive."""
    moments = sorted({e["arrival"] for e in events})
    assert len(moments) >= 3
    for moment in (moments[0], moments[len(moments) // 2], moments[-1]):
        assert world.events("--through", moment) == [e for e in events if e["arrival"] <= moment]
    shifted = moments[0].replace("Z", "+00:00")
    assert world.events("--through", shifted) == [e for e in events if e["arrival"] <= moments[0]]
    assert world.events("--through", "2001-01-01T00:00:00Z") == []
    assert world.events("--through", "2999-12-31T23:59:59Z") == events


def test_what_lies_beyond_the_log_is_bad_input(
    world: World, events: list[dict[str, Any]], tmp_path: Path
) -> None:
    end = vector_of(events)
    beyond = json.dumps({"0": end["0"] + 1})
    (tmp_path / "bad.json").write_text("{'0': 1}")
    for option, value in (
        ("--through", beyond),
        ("--after", beyond),
        ("--through", '{"4": 1}'),
        ("--after", '{"4": 0}'),
        ("--through", '{"0": -1}'),
        ("--through", '{"0": 1.5}'),
        ("--through", '{"0": "1"}'),
        ("--through", '{"x": 1}'),
        ("--through", '{"0": 1, "0": 2}'),
        ("--through", "[1]"),
        ("--through", "yesterday"),
        ("--through", "2026-01-31"),
        ("--through", "2026-01-31T12:00:00"),
        ("--through", "2026-13-01T12:00:00Z"),
        ("--through", f"@{tmp_path}/absent.json"),
        ("--through", f"@{tmp_path}/bad.json"),
        ("--partition", "4"),
        ("--partition", "-1"),
        ("--key", "u9"),
        ("--key", "[1]"),
    ):
        inside_refused(2, "cat", world.log, "--json", option, value)


def test_numbers_come_back_with_every_digit(tmp_path: Path) -> None:
    """As bytes in the output, so that no parser of ours hides it; typed and plain alike."""
    world = World(tmp_path, partitions=1)
    numbers = {
        "digits": "12345678901234567890123456789012345678",
        "fraction": "-1.2345678901234567890123456789012345678",
        "tenth": "0.1",
        "big": "1" + "0" * 37,
        "int64": "18446744073709551617",
    }
    item = '{"id": 0.1, ' + ", ".join(f'"{k}": {v}' for k, v in numbers.items()) + "}"
    world.put(item, '{"id": 1, "trailing": 5.00, "exponent": 12e2, "minus": -0.0}')
    world.rebuild(world.store("one"))
    for out in (
        ok("cat", world.log, "--json").out,
        ok("dump", world.store("one"), "--table", "users").out,
        ok("cat", world.log).out,
    ):
        for name, digits in numbers.items():
            assert re.search(rf'"{name}":{re.escape(digits)}[,}}]', out), (name, out)
        assert re.search('"id":0.1[,}]', out)
        for exact in ('"trailing":5', '"exponent":1200', '"minus":0'):
            assert re.search(exact + "[,}]", out), out
    typed = ok("dump", world.store("one"), "--table", "users", "--format", "dynamodb").out
    for digits in numbers.values():
        assert f'{{"N":"{digits}"}}' in typed
    # What is dumped typed can be appended again, and makes the same replica.
    again = World(tmp_path / "again", partitions=1)
    options = ["--format", "dynamodb", "--table", "users", "--key", "id"]
    ok("append", again.log, *options, given=typed)
    again.rebuild(again.store("two"))
    assert dump(again.store("two")) == dump(world.store("one"))


def test_follow_shows_events_as_they_arrive_until_interrupted(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put({"id": "a"})
    with Started("cat", world.log, "--json", "--follow") as run:
        assert run.receive()["key"] == {"id": "a"}
        for name in ("b", "c"):
            world.put({"id": name})
            assert run.receive()["key"] == {"id": name}
        run.send_signal(signal.SIGINT)
        ran = run.end()
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_follow_through_a_vector_ends_there(tmp_path: Path) -> None:
    world = World(tmp_path, partitions=1)
    world.put({"id": "a"})
    with Started("cat", world.log, "--json", "--follow", "--through", '{"0": 2}') as run:
        assert run.receive()["offset"] == 1
        world.put({"id": "b"}, {"id": "c"})
        assert run.receive()["offset"] == 2
        ran = run.end()
    assert (ran.status, ran.out, ran.err) == (0, "", "")


def test_text_that_could_steer_a_terminal_stays_text(tmp_path: Path) -> None:
    world = World(tmp_path, partitions=1)
    hostile = "\x1b[2J\r\n\x00\x9b31m\u202e \u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\\\u2028 end"
    line = {"Action": "PutItem", "Id": hostile, "Data": {"id": hostile, "v": hostile}}
    assert [ack["id"] for ack in world.put(line)] == [hostile]
    out = ok("cat", world.log).out
    assert out.count("\n") == 1
    assert out[:-1].isprintable()
    [event] = world.events()
    assert event["data"] == {"id": hostile, "v": hostile}
    world.rebuild(world.store("one"))
    assert by_key(dump(world.store("one"))) == {hostile: {"id": hostile, "v": hostile}}
    assert world.events("--key", json.dumps({"id": hostile})) == [event]


def test_typed_output_is_what_typed_input_reads(tmp_path: Path) -> None:
    """`cat --format dynamodb` of one log, given to `append` of another: the same items."""
    world = World(tmp_path)
    typed: list[Line] = [
        {"id": {"S": "a"}, "b": {"B": "AA=="}, "s": {"NS": ["1", "2"]}, "m": {"M": {}}},
        {"Action": "UpdateItem", "Key": {"id": {"S": "a"}}, "Data": {"Add": {"s": {"NS": ["3"]}}}},
        {"Action": "DeleteItem", "Key": {"id": {"S": "z"}}},
    ]
    options = ["--format", "dynamodb", "--table", "users", "--key", "id"]
    ok("append", world.log, *options, given=jsonl(*typed))
    copied = []
    for event in world.events("--format", "dynamodb"):
        line = {"Action": event["type"], "Table": event["table"], "Key": event["key"]}
        line |= {"Id": event["id"]} | ({"Data": event["data"]} if event["data"] else {})
        copied.append(line)
    other = World(tmp_path / "other")
    ok("append", other.log, "--format", "dynamodb", given=jsonl(*copied))
    ours, theirs = (w.rebuild(w.store("one"))["tables"] for w in (world, other))
    assert ours["users"]["digest"] == theirs["users"]["digest"]
    assert ours["users"]["tombstones"] == 1
