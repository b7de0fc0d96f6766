"""DynamoDB stores for the contracts: over a client, in tables of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from appliers.stores.dynamodb import Connect, DynamoDBStore
from appliers.stores.dynamodb_calls import WIDTH
from appliers.stores.dynamodb_tables_spec import Declared, KeySchema, Specification
from binlog.aws.account import ATTEMPTS, Account, connector
from tests.contracts.store_contract import Handles
from tests.stores.dynamodb_double import DynamoDBDouble

# No log has a table of such a name, and no DynamoDB table can; here the others have to be told from.
TILDE = "~Orders"
PATIENCE_S = 60.0


def specification(prefix: str) -> Specification:
    return Specification(
        prefix,
        declared={
            "pairs": Declared(keys=KeySchema(("b", "B"), ("r", "N"))),
            TILDE: Declared(physical=f"{prefix}.Tilde-Orders"),
        },
    )


def store_on(double: DynamoDBDouble, prefix: str = "shop", **more: object) -> DynamoDBStore:
    options: dict[str, object] = {"width": 4, "landing_s": 0.0, "random": Random(1)} | more
    return DynamoDBStore(
        specification(prefix),
        connect=double.connect,
        clock=double.clock,
        pause=double.pause,
        **options,  # type: ignore[arg-type]
    )


def on_double(double: DynamoDBDouble | None = None) -> Handles:
    service = double or DynamoDBDouble()
    return lambda: store_on(service)


def one_by_one() -> Handles:
    """Without threads, which take longer than calls do here."""
    service = DynamoDBDouble()
    return lambda: store_on(service, width=1)


def on_service(prefix: str, connect: Connect) -> Callable[[], DynamoDBStore]:
    return lambda: DynamoDBStore(specification(prefix), connect=connect)


@cache
def shared_connect(url: str) -> Connect:
    """Clients of a server for all tests of a run: making one takes a quarter of a second.

    The product's, with more patience: what a call comes to is the claim, and not how soon.
    """
    made: dict[bool, Any] = {}

    def connect(once: bool) -> Any:
        if once not in made:
            make = connector(
                Account(endpoint=url),
                "dynamodb",
                url,
                total_max_attempts=1 if once else ATTEMPTS,
                read_timeout_s=PATIENCE_S,
                connections=WIDTH + 2,
            )
            made[once] = _Kept(make())
        return made[once]

    return connect


class _Kept:
    """A client that outlives whoever closes it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def close(self) -> None:
        pass


def remove_tables(connect: Connect, prefix: str) -> None:
    """Every table of a store, in one page of names."""
    client = connect(False)
    for page in client.get_paginator("list_tables").paginate():
        for name in page["TableNames"]:
            if name.startswith(f"{prefix}."):
                client.delete_table(TableName=name)
