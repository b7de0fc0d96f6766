"""What applications see of a live table: no tombstones, no `_binlog`, and all the rest."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from boto3.dynamodb.conditions import Attr

from appliers.stores.dynamodb_reading import (
    FILTER,
    NAMES,
    LiveTable,
    LiveTables,
    Marks,
    hide,
    marks,
    shown,
)
from binlog.errors import RefusedError
from tests.stores.dynamodb_tables_double import ServiceError

LIVE = {"id": {"S": "a"}, "_binlog": {"M": {"v": {"N": "7"}, "p": {"N": "3"}}}}
DEAD = {
    "id": {"S": "b"},
    "_binlog": {"M": {"v": {"N": "8"}, "p": {"N": "3"}, "d": {"BOOL": True}}},
}
PARKED = {
    "id": "c",
    "_binlog": {"v": Decimal(9), "p": Decimal(3), "k": True, "t": Decimal(12)},
}


def test_reads_marks_in_either_form_of_values() -> None:
    assert marks(LIVE) == Marks(7, 3, tombstone=False, parked=False)
    assert marks(DEAD) == Marks(8, 3, tombstone=True, parked=False)
    assert marks(PARKED) == Marks(9, 3, tombstone=False, parked=True)
    assert marks({"id": "d", "_binlog": {"v": 1, "p": 0, "d": True}}) == Marks(
        1, 0, tombstone=True, parked=False
    )
    assert marks({"id": {"S": "a"}}) is None


def test_shows_what_is_live_without_the_marks() -> None:
    """A parked item is live: as it was before the event that could not be applied."""
    assert shown(LIVE) == {"id": {"S": "a"}}
    assert shown(DEAD) is None
    assert shown({"id": "d", "_binlog": {"v": 1, "p": 0, "d": True}}) is None
    assert shown(PARKED) == {"id": "c"}
    assert shown({"id": "by hand"}) == {"id": "by hand"}
    assert shown(None) is None


def test_joins_the_filter_with_the_callers_own() -> None:
    """Its filter in parentheses: an OR in it must not let tombstones through."""
    assert hide({}) == {"FilterExpression": FILTER, "ExpressionAttributeNames": dict(NAMES)}
    joined = hide(
        {
            "FilterExpression": "#a = :a OR b = :b",
            "ExpressionAttributeNames": {"#a": "a"},
            "Limit": 3,
        }
    )
    assert joined == {
        "FilterExpression": f"(#a = :a OR b = :b) AND {FILTER}",
        "ExpressionAttributeNames": {"#a": "a", **NAMES},
        "Limit": 3,
    }
    assert hide({"FilterExpression": Attr("a").eq(1)}) == {
        "FilterExpression": Attr("a").eq(1) & Attr("_binlog.d").not_exists()
    }


@pytest.mark.parametrize(
    "request_",
    [
        {"ScanFilter": {}},
        {"FilterExpression": Attr("a").eq(1), "QueryFilter": {}},
        {"ExpressionAttributeNames": {"#binlog": "other"}},
    ],
)
def test_refuses_what_cannot_be_joined(request_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"legacy|stands for 'other'"):
        hide(request_)


class Client:
    """Answers with the given replies, in order, and keeps what it was asked."""

    def __init__(self, *replies: dict[str, Any]) -> None:
        self._replies = iter(replies)
        self.asked: list[dict[str, Any]] = []

    def call(self, **request: Any) -> Any:
        self.asked.append(request)
        return next(self._replies)

    get_item = batch_get_item = query = scan = call


def numbered(numbers: Iterator[int] | range, *, dead: bool = False) -> list[dict[str, Any]]:
    mark = {"v": 1, "p": 0} | ({"d": True} if dead else {})
    return [{"id": number, "_binlog": mark} for number in numbers]


def test_get_sees_the_mark_whatever_is_projected() -> None:
    """Otherwise a tombstone would look like an item with nothing but its key."""
    client = Client({"Item": DEAD}, {"Item": LIVE}, {})
    table = LiveTable(client, "t")
    projection = {"ProjectionExpression": "id, #n", "ExpressionAttributeNames": {"#n": "name"}}
    assert table.get({"id": {"S": "b"}}, **projection) is None
    assert table.get({"id": {"S": "a"}}, ConsistentRead=True) == {"id": {"S": "a"}}
    assert table.get({"id": {"S": "z"}}) is None
    assert client.asked[0]["ProjectionExpression"] == "id, #n, #binlog"
    assert client.asked[0]["ExpressionAttributeNames"] == {"#n": "name", "#binlog": "_binlog"}
    assert client.asked[1] == {"TableName": "t", "Key": {"id": {"S": "a"}}, "ConsistentRead": True}


@pytest.mark.parametrize("operation", ["query", "scan"])
def test_reads_every_page_empty_ones_too(operation: str) -> None:
    """A page of tombstones is empty and not the last one."""
    client = Client(
        {"Items": numbered(range(2)), "LastEvaluatedKey": {"id": 1}},
        {"Items": [], "LastEvaluatedKey": {"id": 5}},
        {"Items": numbered(range(6, 8))},
    )
    items = getattr(LiveTable(client, "t"), operation)(Limit=2)
    assert [item["id"] for item in items] == [0, 1, 6, 7]
    assert [request.get("ExclusiveStartKey") for request in client.asked] == [
        None,
        {"id": 1},
        {"id": 5},
    ]
    assert all(request["FilterExpression"] == FILTER for request in client.asked)


def test_a_page_has_as_many_items_as_there_are() -> None:
    """And goes on exactly behind the last one: none is shown twice, none left out."""
    client = Client(
        {"Items": numbered(range(1)), "LastEvaluatedKey": {"id": 2}},
        {"Items": [], "LastEvaluatedKey": {"id": 4}},
        {"Items": numbered(range(5, 7)), "LastEvaluatedKey": {"id": 6}},
        {"Items": numbered(range(7, 8))},
    )
    table = LiveTable(client, "t")
    items, after = table.page("query", 3)
    assert [item["id"] for item in items] == [0, 5, 6]
    assert after == {"id": 6}
    assert [request["Limit"] for request in client.asked] == [3, 2, 2]
    items, after = table.page("query", 3, after=after)
    assert ([item["id"] for item in items], after) == ([7], None)
    assert client.asked[-1]["ExclusiveStartKey"] == {"id": 6}
    with pytest.raises(ValueError, match="of size 0"):
        table.page("scan", 0)


def test_get_many_asks_again_for_what_was_left_out() -> None:
    """A hundred at a time, after a pause; tombstones are not among them."""
    pauses: list[float] = []
    left = {"t": {"Keys": [{"id": 1}]}}
    client = Client(
        {"Responses": {"t": numbered(range(1))}, "UnprocessedKeys": left},
        {"Responses": {"t": numbered(range(1, 100))}, "UnprocessedKeys": {}},
        {"Responses": {"t": numbered(range(100, 149), dead=True)}},
    )
    table = LiveTable(client, "t", pause=pauses.append)
    found = [item["id"] for item in table.get_many({"id": n} for n in range(249))]
    assert found == [*range(100)]
    sizes = [len(request["RequestItems"]["t"]["Keys"]) for request in client.asked]
    assert sizes == [100, 100, 50]
    assert client.asked[1]["RequestItems"]["t"]["Keys"][0] == {"id": 1}
    assert len(pauses) == 1


def test_refuses_to_count_items_it_does_not_get() -> None:
    with pytest.raises(ValueError, match="COUNT"):
        LiveTable(Client(), "t").scan(Select="COUNT")
    with pytest.raises(ValueError, match="'get_item'"):
        LiveTable(Client(), "t").page("get_item", 1)


# -- which table is live -------------------------------------------------------------------------


class Service:
    """A catalog, and the tables that are there."""

    def __init__(self) -> None:
        self.live = {"orders": "shop.orders"}
        self.there = {"shop.orders": 1}
        self.looked = 0
        self.now_s = 0.0

    def get_item(self, **request: Any) -> Any:
        if request["TableName"] == "shop.binlog":
            assert request["Key"] == {"pk": {"S": "store"}, "sk": {"S": "catalog"}}
            assert request["ConsistentRead"]
            self.looked += 1
            places = {table: {"physical": name, "keys": {}} for table, name in self.live.items()}
            return {"Item": {"catalog": {"S": msgspec.json.encode({"places": places}).decode()}}}
        if request["TableName"] not in self.there:
            raise ServiceError("ResourceNotFoundException")
        return {"Item": {"n": {"N": str(self.there[request["TableName"]])}}}

    def rebuild(self) -> None:
        self.live = {"orders": "shop.orders.1a2b3c4d"}
        self.there["shop.orders.1a2b3c4d"] = 2


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def tables(service: Service) -> LiveTables:
    return LiveTables(service, "shop", refresh_s=30, monotonic=lambda: service.now_s)


def read(tables: LiveTables) -> int:
    item = tables.table("orders").get({"id": {"S": "a"}})
    assert item is not None
    return int(item["n"]["N"])


def test_looks_up_the_live_table_now_and_then(service: Service, tables: LiveTables) -> None:
    """A table that was replaced is read until the next look, and no longer."""
    assert [read(tables), read(tables), service.looked] == [1, 1, 1]
    service.rebuild()
    service.now_s = 29.9
    assert read(tables) == 1
    service.now_s = 30
    assert [read(tables), service.looked] == [2, 2]


def test_a_table_that_is_gone_is_looked_up_at_once(service: Service, tables: LiveTables) -> None:
    """Also by a reader that was made before."""
    reader = tables.table("orders")
    service.rebuild()
    del service.there["shop.orders"]
    assert reader.get({"id": {"S": "a"}}) == {"n": {"N": "2"}}
    assert [read(tables), service.looked] == [2, 2]


def test_a_table_that_is_nowhere_is_the_services_error(
    service: Service, tables: LiveTables
) -> None:
    """Not asked for for ever."""
    service.there.clear()
    with pytest.raises(ServiceError, match="ResourceNotFound"):
        read(tables)
    assert service.looked == 2


def test_a_table_that_the_store_has_not_is_named(tables: LiveTables) -> None:
    with pytest.raises(RefusedError, match=r"no table 'users'.*shop\.binlog.*it has: orders"):
        tables.table("users")
