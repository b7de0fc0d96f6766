"""A DynamoDB table by its own name: what may be adopted, and all of it read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from appliers.stores import MemoryStore
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_items import attributes_of
from appliers.stores.dynamodb_physical import PhysicalTable, item_of
from appliers.stores.dynamodb_tables_spec import Declared, KeySchema, Specification
from appliers.summary import summarize
from binlog.actions import build_many
from binlog.errors import ConflictError, RefusedError, StorageError
from binlog.objects.memory import MemoryObjects
from binlog.producer import Producer
from binlog.values import encode_item, encode_value
from consumers.local import Following, replicate
from snapshots.adopt_base import KeptBases, most_of
from snapshots.adopt_sources import TableSource
from snapshots.rebuild import Wanted, rebuild
from tests.adoption.adoption_world import adopting_by, item, items, new_log
from tests.adoption.in_place import PHYSICAL, Place
from tests.stores.dynamodb_double import DynamoDBDouble


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, items(40))


def read(table: PhysicalTable, **options: Any) -> dict[str, Any]:
    return {each["id"]["S"]: item_of(each) for each in table.scan(**options)}


def test_all_of_it_comes_once_by_pages_of_segments(place: Place) -> None:
    """Strongly consistent, each page; and its key schema is the service's."""
    table = place.physical()
    assert table.describe().keys == KeySchema(("id", "S"))
    assert read(table) == place.content
    scans = [request for operation, request in place.double.calls if operation == "scan"]
    assert len(scans) > 4
    assert all(request["ConsistentRead"] for request in scans)
    assert {request["Segment"] for request in scans} == {0, 1, 2, 3}


def test_a_rate_is_kept(place: Place) -> None:
    """Read units a second, by the clock of who reads: production shares the table."""
    table = place.physical()
    begun = place.double.clock.monotonic()
    assert read(table, rate=0.5) == place.content
    passed = place.double.clock.monotonic() - begun
    assert passed >= (table.units.read - 4) / 0.5 > 0


@pytest.mark.parametrize("fault", ["throttle", "lose reply", "failure"])
def test_a_scan_survives_the_weather(place: Place, fault: Any) -> None:
    place.double.faults["scan"] = deque([fault, None, fault, fault])
    assert read(place.physical()) == place.content


def test_a_scan_that_does_not_come_through_is_no_end(place: Place) -> None:
    """Half a table would be a base without the other half."""
    place.double.faults["scan"] = deque([None, None, None, None, "refuse"])
    with pytest.raises(RefusedError, match="not permitted"):
        read(place.physical())


def test_what_may_not_be_adopted_is_refused(place: Place) -> None:
    """A TTL deletes without an event; a table that is not there is a slip."""
    other = PhysicalTable("None", place.double.connect, where="dynamodb://None")
    with pytest.raises(RefusedError, match=r"there is no table None.*region"):
        other.describe()
    place.double.tables[PHYSICAL]["ttl"] = "ENABLED"
    with pytest.raises(RefusedError, match=r"has a TTL \('expires'\).*event"):
        place.physical().describe()


def test_marks_of_a_log_are_refused_with_the_key(place: Place) -> None:
    place.write(item("k001", 1) | {"_binlog": {"v": 1}})
    with pytest.raises(ConflictError, match=r'item \{"id":"k001"\} .*attribute _binlog already'):
        place.adopt()


@pytest.mark.parametrize(
    ("found", "wanted", "says"),
    [
        (item("k001", 1), item("k001", 5), True),
        (item("k001", 2), item("k001", 5), False),
        (None, item("k001", 5), False),
        (None, item("none", 5), True),
        (item("k001", 1), None, True),
        (item("k001", 2), None, False),
    ],
)
@pytest.mark.parametrize("fault", [None, "lose reply", "lose request"])
def test_an_item_is_replaced_if_it_is_what_was_found(
    place: Place, found: Any, wanted: Any, fault: Any, *, says: bool
) -> None:
    """Whatever becomes of the reply."""
    name = (wanted or found)["id"]
    if fault:
        place.double.faults["put_item"] = deque([fault])
        place.double.faults["delete_item"] = deque([fault])
    stored = None if found is None else attributes_of(found)
    data = None if wanted is None else encode_item(wanted)
    assert place.physical().replace(stored, data, encode_value({"id": name})) is says
    now = {key: item_of(each) for key, each in place.stored().items()}.get(name)
    assert now == (wanted if says else place.content.get(name))


def test_a_set_in_another_order_is_what_was_put_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service keeps sets in its own order, and numbers in its own form; after a lost reply."""
    wanted = item("k001", 5) | {"tags": frozenset({"a", "b", "c"})}
    place.double.faults["put_item"] = deque(["lose reply"])
    table = place.physical()
    call = table._calls.call

    def turned(operation: str, *args: Any, **request: Any) -> Any:
        reply = call(operation, *args, **request)
        if operation == "get_item":
            stands = dict(reply["Item"])
            stands["tags"] = {"SS": stands["tags"]["SS"][::-1]}
            stands["n"] = {"N": "5.0"}
            reply = {**reply, "Item": stands}
        return reply

    monkeypatch.setattr(table._calls, "call", turned)
    before = attributes_of(item("k001", 1))
    assert table.replace(before, encode_item(wanted), encode_value({"id": "k001"}))


def test_an_item_with_marks_is_never_replaced(place: Place) -> None:
    """Events have touched it since: it is the log's."""
    whole = item("k001", 1)
    place.write(whole | {"_binlog": {"v": 9}})
    key = encode_value({"id": "k001"})
    assert not place.physical().replace(attributes_of(whole), encode_item(item("k001", 5)), key)


def test_a_key_of_two_attributes_and_all_types_is_adopted_and_gone_on_with(tmp_path: Path) -> None:
    """In place: a number as range key, and items with every type of value."""
    double, log, objects = DynamoDBDouble(), new_log(tmp_path / "log"), MemoryObjects()
    double.create_table(
        TableName="Orders",
        AttributeDefinitions=[
            {"AttributeName": "who", "AttributeType": "B"},
            {"AttributeName": "at", "AttributeType": "N"},
        ],
        KeySchema=[
            {"AttributeName": "at", "KeyType": "RANGE"},
            {"AttributeName": "who", "KeyType": "HASH"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    content = [
        {
            "who": bytes([n % 3]),
            "at": Decimal(n) + Decimal("0.5"),
            "m": {"l": [1, {"x": b""}], "z": None},
            "s": frozenset({"a", f"b{n}"}),
            "n": frozenset({n, Decimal("1.25")}),
            "t": n % 2 == 0,
        }
        for n in range(20)
    ]
    for each in content:
        double.put("Orders", attributes_of(each))

    def store() -> DynamoDBStore:
        declared = {"orders": Declared(physical="Orders", owned=True)}
        return DynamoDBStore(
            Specification("shop", declared=declared),
            connect=double.connect,
            clock=double.clock,
            pause=double.pause,
            width=1,
            landing_s=0.0,
        )

    table = PhysicalTable("Orders", double.connect, where="dynamodb://Orders", pause=double.pause)
    source = TableSource(table, table.describe(), rate=None)
    adopted = adopting_by(log, objects, source, name="orders").run(source)
    bases, adoption = KeptBases(log.genesis, objects), adopted.at.adoption
    into = store()
    into.bind(log.genesis)
    into.adopt(
        adopted.at,
        "Orders",
        most_of(bases.open(adoption), 4),
        lambda p: bases.rows(adoption, p),
        timeline=0,
    )
    into.close()
    actions: list[dict[str, Any]] = [
        {
            "Action": "UpdateItem",
            "Table": "orders",
            "Key": {"who": each["who"], "at": each["at"]},
            "Data": {"Add": {"count": 1}},
        }
        for each in content[::3]
    ]
    numbers: Callable[[], str] = iter(f"id-{n}" for n in range(100)).__next__
    with Producer(log) as producer:
        producer.append_many(build_many(actions, now_ms=1, new_id=numbers))
    replicate(log, store(), Following(once=True))
    rebuilt = MemoryStore()
    rebuild(log, rebuilt, Wanted(bases=bases))
    assert summarize(store()).tables == summarize(rebuilt).tables
    assert summarize(rebuilt).tables["orders"].items == 20


def test_a_lost_reply_of_a_scan_is_not_the_end_of_patience(place: Place) -> None:
    place.double.weather = lambda operation: "throttle" if operation == "scan" else None
    with pytest.raises(StorageError):
        read(place.physical())
