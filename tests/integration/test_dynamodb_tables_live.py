"""Tables and readers on the running stand-in: what the double says, the service's protocol says."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from boto3.dynamodb.conditions import Attr, Key

from appliers.stores.dynamodb_reading import LiveTable, hide
from appliers.stores.dynamodb_tables import (
    KeySchema,
    Specification,
    TableSpec,
    Units,
    ensure,
    remove,
    resolve,
)
from appliers.stores.dynamodb_tables_spec import Declared
from binlog.errors import MismatchError, RefusedError
from scripts.standins.server import Server

KEYS = KeySchema(("customer", "S"), ("number", "N"))
KEY = {"customer": "c", "number": 1}
LOG = "ab" * 16


@pytest.fixture
def client(ministack: Server) -> Any:
    return boto3.client("dynamodb", endpoint_url=ministack.url)


@pytest.fixture
def prefix(stream_name: Callable[[], str]) -> str:
    return stream_name()


def spec(prefix: str, log: str = LOG, **fields: Any) -> TableSpec:
    declared = {"orders": Declared(keys=KEYS, **fields)}
    return Specification(prefix, declared=declared).bound(log).of("orders", KEY, generation=None)


def test_a_table_is_made_set_up_and_removed(client: Any, prefix: str) -> None:
    """With every option, by two at once; then it is as asked for, and nothing is left to do."""
    wanted = spec(prefix, pitr=True, deletion_protection=True, billing=Units(5, 5), tags={"a": "b"})
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: ensure(client, wanted, "dynamodb://x"), range(2)))
    assert sorted(made) == [False, True]
    table = client.describe_table(TableName=wanted.physical)["Table"]
    assert table["DeletionProtectionEnabled"]
    assert table["ProvisionedThroughput"]["WriteCapacityUnits"] == 5
    backups = client.describe_continuous_backups(TableName=wanted.physical)
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"
    ensure(client, spec(prefix, billing="on-demand", tags={"c": "d"}), "dynamodb://x")
    table = client.describe_table(TableName=wanted.physical)["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    tags = client.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
    assert {tag["Key"] for tag in tags} == {
        *("a", "c"),
        *("binlog/log-id", "binlog/store", "binlog/table"),
    }
    with pytest.raises(MismatchError, match="another log's"):
        ensure(client, spec(prefix, log="cd" * 16), "dynamodb://x")
    other = TableSpec("orders", wanted.physical, KeySchema(("customer", "S")), tags=wanted.tags)
    with pytest.raises(RefusedError, match="range key 'number' N instead of none"):
        ensure(client, other, "dynamodb://x")
    remove(client, wanted, wait=True)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_table(TableName=wanted.physical)


def test_a_table_with_a_ttl_is_refused_and_an_owned_one_taken(client: Any, prefix: str) -> None:
    name = f"{prefix}.orders"
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "customer", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "customer", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    declared = {"orders": Declared(owned=True), "copies": Declared(like=name)}
    made = resolve(client, Specification(prefix, declared=declared).bound(LOG), "dynamodb://x")
    owned = made.of("orders", {"customer": "c"}, generation=None)
    assert not ensure(client, owned, "dynamodb://x")
    remove(client, owned)
    copy = made.of("copies", {"customer": "c"}, generation=None)
    assert ensure(client, copy, "dynamodb://x")
    remove(client, copy)
    client.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    with pytest.raises(RefusedError, match=r"TTL \('expires'"):
        ensure(client, owned, "dynamodb://x")
    client.delete_table(TableName=name)


@pytest.fixture
def table(client: Any, prefix: str) -> str:
    """Of one customer: items 0 to 29, of which every third is live; with an index by `rank`."""
    name = f"{prefix}.orders"
    client.create_table(
        TableName=name,
        KeySchema=[
            {"AttributeName": "customer", "KeyType": "HASH"},
            {"AttributeName": "number", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "customer", "AttributeType": "S"},
            {"AttributeName": "number", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    for number in range(30):
        marks: dict[str, Any] = {"v": {"N": str(number + 1)}, "p": {"N": "0"}}
        item: dict[str, Any] = {"customer": {"S": "c"}, "number": {"N": str(number)}}
        if number % 3:
            marks["d"] = {"BOOL": True}
        else:
            item["state"] = {"S": "paid" if number % 2 else "new"}
        client.put_item(TableName=name, Item=item | {"_binlog": {"M": marks}})
    return name


def test_readers_see_live_items_only(client: Any, table: str) -> None:
    """By whatever operation, page size or projection, with either form of values."""
    live = LiveTable(client, table)
    query = {
        "KeyConditionExpression": "customer = :c",
        "ExpressionAttributeValues": {":c": {"S": "c"}},
    }
    numbers = [*range(0, 30, 3)]
    for options in ({}, {"Limit": 2}, {"Limit": 1, "ConsistentRead": True}):
        queried, scanned = list(live.query(**query, **options)), list(live.scan(**options))
        assert [int(item["number"]["N"]) for item in queried] == numbers
        assert sorted(int(item["number"]["N"]) for item in scanned) == numbers
        assert not any("_binlog" in item for item in queried + scanned)
    paid = list(
        live.scan(
            FilterExpression="#s = :p OR #s = :p",
            ExpressionAttributeNames={"#s": "state"},
            ExpressionAttributeValues={":p": {"S": "paid"}},
            ProjectionExpression="#s",
        )
    )
    assert paid == [{"state": {"S": "paid"}}] * 5
    keys = [{"customer": {"S": "c"}, "number": {"N": str(number)}} for number in range(31)]
    assert [n for n, key in enumerate(keys) if live.get(key)] == numbers
    assert live.get(keys[1], ProjectionExpression="customer") is None
    assert live.get(keys[3], ProjectionExpression="customer") == {"customer": {"S": "c"}}
    assert sorted(int(item["number"]["N"]) for item in live.get_many(keys)) == numbers
    alike = client.execute_statement(
        Statement=f'SELECT "number" FROM "{table}" WHERE "_binlog"."d" IS MISSING'
    )
    assert sorted(int(item["number"]["N"]) for item in alike["Items"]) == numbers
    pages: list[list[int]] = []
    after: dict[str, Any] | None = None
    while True:
        items_, after = live.page("query", 4, after=after, **query)
        pages.append([int(item["number"]["N"]) for item in items_])
        if after is None:
            break
    assert [number for page in pages for number in page] == numbers
    assert [len(page) for page in pages][:2] == [4, 4]


def test_readers_of_a_resource_see_the_same(ministack: Server, table: str) -> None:
    resource = boto3.resource("dynamodb", endpoint_url=ministack.url)
    live = LiveTable(resource.meta.client, table)
    of_c = Key("customer").eq("c")
    found = list(live.query(KeyConditionExpression=of_c, FilterExpression=Attr("state").eq("new")))
    assert [int(item["number"]) for item in found] == [0, 6, 12, 18, 24]
    reply = resource.Table(table).query(**hide({"KeyConditionExpression": of_c}))
    assert reply["Count"] == 10
    assert live.get({"customer": "c", "number": 1}) is None
    several = live.get_many({"customer": "c", "number": number} for number in range(7))
    assert sorted(int(item["number"]) for item in several) == [0, 3, 6]
    assert live.get({"customer": "c", "number": 3}) == {
        "customer": "c",
        "number": 3,
        "state": "paid",
    }
