"""A table whose writers cannot stop: its base, then its own change records, through the relay's converter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from appliers.stores import MemoryStore
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.json_values import typed_item
from binlog.objects.memory import MemoryObjects
from binlog.producer import Producer
from binlog.relay import Inbound, make_convert
from snapshots.adopt_base import KeptBases
from snapshots.rebuild import Wanted, rebuild
from snapshots.snapshot_manifest import manifest_key
from tests.adoption.adoption_world import Held, Item, adopting_by, held, item, items, new_log


def change(name: str, now: Item | None, *, kind: str | None = None, **more: Any) -> bytes:
    """A record as the service writes it."""
    document: dict[str, Any] = {
        "awsRegion": "us-east-1",
        "eventID": "a1b2",
        "eventName": kind or ("REMOVE" if now is None else "MODIFY"),
        "userIdentity": None,
        "recordFormat": "application/json",
        "tableName": "Users-2023",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000_000_000,
            "ApproximateCreationDateTimePrecision": "MICROSECOND",
            "Keys": typed_item({"id": name}),
            "SizeBytes": 50,
        },
        "eventSource": "aws:dynamodb",
    }
    if now is not None:
        document["dynamodb"]["NewImage"] = typed_item(now)
    return json.dumps(document | more).encode()


def inbound(data: bytes, number: int = 1) -> Inbound:
    return Inbound("shard-0", number, "a", 5, data)


def converted(*records: bytes) -> Sequence[Envelope]:
    convert = make_convert(payload="changes", table="users")
    return [each for n, data in enumerate(records) for each in convert(inbound(data, n))]


def test_a_change_is_the_item_as_it_is_now() -> None:
    put, delete = converted(change("a", item("a", 7)), change("a", None))
    assert (put.type, put.table, put.time_ms) == ("PutItem", "users", 1_700_000_000_000)
    assert (delete.type, delete.key, delete.data) == ("DeleteItem", put.key, None)
    assert put.id != delete.id
    assert converted(change("a", item("a", 7)))[0].id == put.id  # by the record's place


@pytest.mark.parametrize("start", ["before", "at", "after"])
def test_a_table_that_moves_is_caught_up_with(tmp_path: Path, start: str) -> None:
    """Changes that the base has already say nothing new: only the last image of an item counts."""
    random, log = Random(7), new_log(tmp_path / "log")
    table, records = Held(items(20)), list[bytes]()

    def write(count: int) -> None:
        for _ in range(count):
            name = f"k{random.randrange(25):03d}"
            if random.random() < 0.2:
                table.content.pop(name, None)
                records.append(change(name, None))
            else:
                table.content[name] = item(name, random.randrange(1_000))
                records.append(change(name, table.content[name]))

    write(30)
    from_here = {"before": 0, "at": len(records), "after": 0}[start]
    objects = MemoryObjects()
    if start == "after":
        table.while_read = lambda _: write(20)  # while the base is read
    adopting_by(log, objects, table).run(table, moving=True)
    table.while_read = lambda _: None
    write(50)
    with Producer(log) as producer:
        for envelope in converted(*records[from_here:]):
            producer.append(envelope)
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
    assert held(store) == table.content


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[]", "no change record"),
        (b"{", "no JSON"),
        (change("a", None, kind="MODIFY"), "without the item as it is now"),
        (change("a", item("a"), kind="PURGE"), "of the kind 'PURGE'"),
        (change("a", item("a") | {"_binlog": {"v": 1}}), "a change that a log has made"),
    ],
)
def test_what_is_no_change_of_others_is_refused(data: bytes, says: str) -> None:
    """A table that a log is applied to would be relayed into the log for ever."""
    with pytest.raises(RefusedError, match=says):
        converted(data)


def test_a_stream_is_of_one_table() -> None:
    with pytest.raises(RefusedError, match=r"of the table 'Other'.*were of 'Users-2023'"):
        converted(change("a", item("a")), change("a", item("a"), tableName="Other"))


@pytest.mark.parametrize(
    "options", [{}, {"table": "users", "key_names": ("id",)}, {"table": "u", "event_type": "x"}]
)
def test_the_format_takes_a_table_and_nothing_else(options: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        make_convert(payload="changes", **options)


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_base_of_an_earlier_attempt_is_not_taken_for_now(
    tmp_path: Path, is_finished: bool
) -> None:
    """What changed since then may be in no change record: those begin when somebody turns them on."""
    log, objects, table = new_log(tmp_path / "log"), MemoryObjects(), Held(items(20))
    first = adopting_by(log, objects, table)
    first.standing()
    manifest = first._write(table).manifest  # stopped before its records
    if not is_finished:
        objects.delete([manifest_key(manifest.id)])
    table.content["k001"] = item("k001", 77)
    del table.content["k002"]
    done = adopting_by(log, objects, table).run(table, moving=True)
    assert not done.base_was_there
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
    assert held(store) == table.content
