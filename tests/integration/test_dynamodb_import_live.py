"""A rebuild by ImportTable on the stand-in, which has one: the same table as by batched writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_import import Importer
from binlog.aws.account import Account, connector
from binlog.errors import RefusedError
from binlog.objects import open_objects
from binlog.objects.s3 import S3Objects
from scripts.standins.server import Server
from tests.contracts.dynamodb_places import on_service, remove_tables, shared_connect
from tests.contracts.store_contract import GENESIS, checkpoint, content, key, row

ROWS = {key(f"k{number}"): row(f"k{number}", number + 1) for number in range(200)}
ROWS[key("gone")] = row("gone", 300, gone=True)


@pytest.fixture
def store(ministack: Server, stream_name: Callable[[], str]) -> Iterator[DynamoDBStore]:
    prefix, connect = stream_name(), shared_connect(ministack.url)
    made = on_service(prefix, connect)()
    assert isinstance(made, DynamoDBStore)
    made.bind(GENESIS)
    yield made
    made.close()
    remove_tables(connect, prefix)


def importer(ministack: Server, bucket: str) -> Importer:
    objects = open_objects(f"s3://{bucket}/imports?endpoint={ministack.url}")
    assert isinstance(objects, S3Objects)
    return Importer(objects)


@pytest.fixture
def bucket(ministack: Server) -> str:
    name = f"imports-{os.getpid()}"
    client = connector(Account(endpoint=ministack.url), "s3", "s3://")()
    client.create_bucket(Bucket=name)
    client.close()
    return name


def table_names(client: Any) -> list[str]:
    """All of them: there are more than a page holds where many tests had the service before."""
    pages = client.get_paginator("list_tables").paginate()
    return [name for page in pages for name in page["TableNames"]]


def imports_of(client: Any, store: DynamoDBStore) -> list[Any]:
    """Those into tables of the store: other tests import into the same service."""
    prefix = f"{store.name.rpartition('/')[2]}."
    found: list[Any] = []
    more: dict[str, str] = {}
    while True:
        page = client.list_imports(**more)
        found += page["ImportSummaryList"]
        if not page.get("NextToken"):
            break
        more = {"NextToken": page["NextToken"]}
    return [each for each in found if each["TableArn"].rpartition("/")[2].startswith(prefix)]


def rebuilt(store: DynamoDBStore) -> None:
    build = store.build(tables=None, fingerprint="f", excluded=())
    try:
        build.load("orders", list(ROWS.items()))
        build.finish({0: checkpoint(0, 5)}, tables=["empty"])
    except BaseException:
        build.abandon()
        raise


def test_a_table_is_loaded_by_the_service_and_is_one_of_ours(
    ministack: Server, bucket: str, store: DynamoDBStore
) -> None:
    """Its tags say so, and so it is removed by the next rebuild, which writes it itself."""
    store.importer = importer(ministack, bucket)
    rebuilt(store)
    assert content(store) == ROWS
    client = connector(Account(endpoint=ministack.url), "dynamodb", "dynamodb://")()
    imports = imports_of(client, store)
    assert [each["ImportStatus"] for each in imports] == ["COMPLETED"]
    first = imports[0]["TableArn"].rpartition("/")[2]
    assert first in table_names(client)
    objects = open_objects(f"s3://{bucket}?endpoint={ministack.url}")
    assert list(objects.list()) == []
    objects.close()
    store.importer = None
    rebuilt(store)
    assert content(store) == ROWS
    assert first not in table_names(client)
    client.close()


def test_a_bucket_that_is_not_there_is_said_before_anything_is_made(
    ministack: Server, store: DynamoDBStore
) -> None:
    store.importer = importer(ministack, "no-such-bucket-at-all")
    with pytest.raises(RefusedError, match="no such bucket"):
        rebuilt(store)
    assert store.generations() == []
