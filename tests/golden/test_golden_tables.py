"""Items and control rows of DynamoDB stores: what was written is still read, and written as it was.

``tables-1.jsonl`` holds them as the service has them (DynamoDB JSON, binary as base64), beside what they
say; checkpoints have a file of their own. It is only ever added to; a new case is printed by::

    python -m tests.golden.test_golden_tables
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliers.item import Rejection, Row
from appliers.store import Generation
from appliers.stores.dynamodb_catalog import (
    Catalog,
    Gone,
    Place,
    catalog_item,
    catalog_of,
    foreign_items,
    foreign_of_rows,
    rejection_item,
    rejection_of,
    relayed_item,
)
from appliers.stores.dynamodb_items import Keys, row_of, stored_item
from appliers.stores.dynamodb_lease import Lock, ahead_of, lock_item, lock_of
from appliers.stores.dynamodb_pace import pace_item, pace_of
from appliers.stores.dynamodb_tables_spec import KeySchema
from binlog.foreign import Foreign
from binlog.params import Params, encode_genesis
from binlog.values import encode_item

GOLDEN = Path(__file__).with_name("tables-1.jsonl")
NAME = "dynamodb://shop"
ONE, TWO = "0" * 31 + "1", "0" * 31 + "2"
PAIR = Keys("orders", "shop.orders", KeySchema(("customer", "S"), ("number", "N")))
KEY = {"customer": "Zoë", "number": Decimal("7.5")}
GENESIS = encode_genesis(Params(log_id="ab" * 16, partitions=4))
VALUES = {
    "text": "é\U0001f600",
    "empty": "",
    "large": Decimal("1234567890123456789012345678901234567.8"),
    "small": Decimal("1E-130"),
    "whole": -5,
    "bytes": b"\x00\xff",
    "yes": True,
    "none": None,
    "list": [1, ["x", {"y": b""}]],
    "map": {"a": 0, "b": {}},
    "words": frozenset({"b", "a"}),
    "numbers": frozenset({10, Decimal("9.5")}),
    "blobs": frozenset({b"\x01", b"\x00"}),
}


def rows() -> Iterator[tuple[str, Row]]:
    yield "an item with every type", Row(17, 3, encode_item(KEY | VALUES))
    yield "an item of a later timeline", Row((1 << 48) + 2, 0, encode_item(KEY))
    yield "a tombstone", Row(18, 3, None)
    yield "a parked item", Row(19, 3, encode_item(KEY | {"n": 1}), parked=True, tail=23)
    yield "a parked tombstone", Row(20, 3, None, parked=True, tail=20)


def catalogs() -> Iterator[tuple[str, Catalog]]:
    yield "a new store", Catalog(1, GENESIS)
    places = {
        "orders": Place("shop.orders.00000000", PAIR.schema),
        "users": Place("shop.users", KeySchema(("id", "B"))),
        "empty": Place(),
    }
    generations = (
        Generation(ONE, ("empty", "users"), True, "f1", ("id=x",), types=("PutItem", "Seen")),
        Generation(TWO, ("orders",), False, "f2", ()),
    )
    gone = (Gone("orders", "shop.orders"),)
    yield "two generations", Catalog(9, GENESIS, generations, places, ("orders", "users"), gone)


def locks() -> Iterator[tuple[str, Lock]]:
    yield (
        "a lock that is held",
        Lock("ab" * 8, "process 7 on host", "boot ns 7 99", 1_700_000, 4, "", 6),
    )
    ahead = json.dumps({ONE: {"0": 12, "5": 7}}, separators=(",", ":"))
    yield "a free lock, two partitions ahead", Lock("", "process 7 on host", "", 5, 9, ahead, 12)


def others() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    rejection = Rejection(3, 12, "orders", encode_item(KEY), "event-1", 4, 0)
    yield "a rejection", [rejection_item(ONE, rejection)]
    record = Foreign(
        "shardId-000000000001", 10**55 + 3, "their key", 1_700_000_000_123, b"\x00ours?"
    )
    yield "a foreign record", foreign_items(record)
    yield "a foreign record without data", foreign_items(msgspec.structs.replace(record, data=b""))
    yield "a foreign record that is relayed", [relayed_item(record.place)]
    setting = b'{"rate":500.0,"unit":"events","max_behind_s":43200.0}'
    yield "a pace", [pace_item(setting, 3)]
    yield "a pace that was taken out", [pace_item(None, 4)]


def cases() -> Iterator[dict[str, Any]]:
    """As today's code writes them, and what it reads in them."""
    key = encode_item(KEY)
    for name, row in rows():
        yield _case(name, [stored_item(key, row)])
    for name, catalog in catalogs():
        yield _case(name, [catalog_item(catalog, NAME)])
    for name, lock in locks():
        yield _case(name, [lock_item(lock)])
    for name, items in others():
        yield _case(name, items)


def _case(name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    made = {"case": name, "items": [shown(item) for item in items]}
    return made | {"says": says(name, items)}


def says(name: str, items: list[dict[str, Any]]) -> str:
    """What is read in them, by everything that reads them."""
    (item, *_) = items
    pk = item.get("pk", {}).get("S", "")
    if "_binlog" in item:
        return repr((PAIR.key_of(item).hex(), told(row_of(item, PAIR, NAME))))
    if pk == "store" and item["sk"]["S"] == "pace":
        return repr(pace_of(item, NAME))
    if pk == "store":
        is_lock = item["sk"]["S"] == "lock"
        if not is_lock:
            return repr(told(catalog_of(item, NAME)))
        lock = lock_of(item)
        return repr((told(lock), ahead_of(lock, lambda _: {0: 11}), ahead_of(lock, lambda _: None)))
    if pk.startswith("rejected#"):
        return repr(told(rejection_of(item, NAME)))
    if pk == "foreign":
        return repr([told(each) for each in foreign_of_rows(items, NAME)])
    assert pk == "relayed", name
    return str(item["sk"]["S"])


def told(value: Any) -> Any:
    """A struct without what says nothing, so that a field may be added."""
    if isinstance(value, msgspec.Struct):
        fields = {f.name: (f, getattr(value, f.name)) for f in msgspec.structs.fields(value)}
        return {name: told(each) for name, (f, each) in fields.items() if each != f.default}
    if isinstance(value, Mapping):
        return {name: told(each) for name, each in value.items()}
    return [told(each) for each in value] if isinstance(value, list | tuple) else value


def shown(value: Any) -> Any:
    """DynamoDB JSON as text: binary as base64, sets in order."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {
            name: sorted(map(shown, each)) if name in ("SS", "NS", "BS") else shown(each)
            for name, each in value.items()
        }
    return [shown(each) for each in value] if isinstance(value, list) else value


def stored(item: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of an item as boto3 gives them."""
    return {name: _stored(each) for name, each in item.items()}


def _stored(attribute: Mapping[str, Any]) -> dict[str, Any]:
    ((kind, value),) = attribute.items()
    if kind == "B":
        value = base64.b64decode(value)
    elif kind == "BS":
        value = [base64.b64decode(each) for each in value]
    elif kind == "M":
        value = stored(value)
    elif kind == "L":
        value = [_stored(each) for each in value]
    return {kind: value}


def golden() -> list[dict[str, Any]]:
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


def by_case(case: dict[str, Any]) -> str:
    return str(case["case"])


@pytest.mark.parametrize("case", golden() if GOLDEN.exists() else [], ids=by_case)
def test_what_was_stored_says_what_it_always_said(case: dict[str, Any]) -> None:
    assert says(case["case"], [stored(item) for item in case["items"]]) == case["says"]


@pytest.mark.parametrize("case", golden() if GOLDEN.exists() else [], ids=by_case)
def test_the_layout_is_the_documented_one(case: dict[str, Any]) -> None:
    """By the tables at the top of the two modules, with nothing of theirs."""
    for item in case["items"]:
        if "_binlog" in item:
            marks = item["_binlog"]["M"]
            assert set(marks) <= {"v", "p", "d", "k", "t"}
            assert set(marks) >= {"v", "p"}
            assert {name: list(mark) for name, mark in marks.items()} == {
                name: ["BOOL"] if name in "dk" else ["N"] for name in marks
            }
            if "d" in marks:
                assert set(item) == {"customer", "number", "_binlog"}
        else:
            assert item["pk"].keys() == item["sk"].keys() == {"S"}
            kind = item["pk"]["S"].partition("#")[0]
            assert kind in {"store", "rejected", "foreign", "relayed"}


def test_every_case_of_today_has_its_golden_bytes() -> None:
    kept = {by_case(case): case for case in golden()}
    for case in cases():
        assert json.loads(json.dumps(case)) == kept[by_case(case)]


if __name__ == "__main__":
    there = {by_case(case) for case in golden()} if GOLDEN.exists() else set()
    for made in cases():
        if by_case(made) not in there:
            print(json.dumps(made, sort_keys=True))
