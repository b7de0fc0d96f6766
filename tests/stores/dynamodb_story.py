"""What the tests of the DynamoDB store share: a store on a double, begun, and looks at what it did."""

from __future__ import annotations

from typing import Any

from appliers.stores.dynamodb import DynamoDBStore
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS
from tests.stores.dynamodb_double import DynamoDBDouble

ORDERS, CONTROL = "shop.orders", "shop.binlog"


def begin(
    double: DynamoDBDouble, *, tables: list[str] | None = None, **options: object
) -> tuple[DynamoDBStore, str]:
    """A store with one live generation."""
    store = store_on(double, "shop", **options)
    store.bind(GENESIS)
    return store, store.create(tables=tables, fingerprint="f1", excluded=()).id


def written(double: DynamoDBDouble) -> list[str]:
    """What was put, in order: ``item``, or the first word of a control row's hash key and its sort key."""
    kinds = []
    for operation, request in double.calls:
        if operation == "put_item":
            if request["TableName"] == CONTROL:
                item = request["Item"]
                pk = item["pk"]["S"].partition("#")[0]
                kinds.append(item["sk"]["S"] if pk == "store" else pk)
            else:
                kinds.append("item")
        elif operation == "batch_execute_statement":
            kinds += ["item"] * len(request["Statements"])
    return kinds


def stored(double: DynamoDBDouble, table: str = ORDERS) -> dict[str, dict[str, Any]]:
    """The items of a table as they lie there, by `id`."""
    return {item["id"]["S"]: item for item in double.items(table)}
