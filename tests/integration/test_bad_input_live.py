"""Bad input of streams and tables: one line that names the thing and the remedy, and status 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from scripts.standins.server import Server
from tests.cli.running import Started, append, binlog
from tests.integration.waiting import PATIENCE_S


class Place(NamedTuple):
    """Two logs in streams, a stream that is none, and a store of the first log."""

    log: str
    other: str
    plain: str
    store: str
    folder: Path


@pytest.fixture
def place(
    kinesis_local: Server,
    ministack: Server,
    monkeypatch: pytest.MonkeyPatch,
    stream_name: Callable[[], str],
    tmp_path: Path,
) -> Place:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)
    log, other = (f"kinesis://{stream_name()}?reads=100" for _ in range(2))
    plain, store = stream_name(), f"dynamodb://{stream_name()}"
    for each in (log, other):
        assert binlog("init", each, "--partitions=1", "--shards=1").status == 0
        append(each, {"id": "a", "n": 1})
    boto3.client("kinesis").create_stream(StreamName=plain, ShardCount=1)
    boto3.client("kinesis").get_waiter("stream_exists").wait(
        StreamName=plain, WaiterConfig={"Delay": 1}
    )
    assert binlog("rebuild", log, store).status == 0
    return Place(log, other, f"kinesis://{plain}?reads=100", store, tmp_path)


def refused(*arguments: str, says: str, does: str) -> None:
    ran = binlog(*arguments)
    assert ran.status == 2, (arguments, ran)
    assert not ran.out, arguments
    assert says in ran.err, arguments
    assert does in ran.err.rpartition(says)[2], arguments


def every_verb(log: str, store: str, good: str) -> list[tuple[str, ...]]:
    """Whatever a log is given to."""
    return [
        *((verb, log) for verb in ("append", "cat", "status", "check", "halted")),
        *(("rebuild", log, "memory:"), ("replicate", log, store, "--once")),
        *(("verify", store, log), ("resolve", log, "0", "s:1", "skip")),
        ("relay", good, log),
    ]


def test_bad_input_is_one_line_and_status_2(place: Place) -> None:
    """No stream, another region, no log in it, another log's, other tables: for every verb alike."""
    elsewhere = f"{place.log}&region=eu-west-1"
    for log, says, does in (
        ("kinesis://nobody-has-this", "no such stream in us-east-1", "is the region right?"),
        (elsewhere, "no such stream in eu-west-1", "is the region right?"),
        (place.plain, "a stream, but no log", "binlog init kinesis://"),
    ):
        for arguments in every_verb(log, place.store, place.other):
            refused(*arguments, says=says, does=does)
    for verb, *options in (["rebuild"], ["replicate", "--once"], ["status"], ["check"]):
        refused(verb, place.other, place.store, *options, says="log", does="made from")
    refused("verify", place.store, place.other, says="another log", does="name the log")
    gone = "dynamodb://nobody-has-this"
    for arguments in (
        ("status", place.log, gone),
        ("check", place.log, gone),
        ("verify", gone, place.log),
        ("digest", gone),
        ("dump", gone, "--table=users"),
    ):
        refused(*arguments, says="there is no store", does="are region and prefix right?")


def tables(place: Place, text: str) -> str:
    file = place.folder / f"{abs(hash(text))}.toml"
    file.write_text(text)
    return f"{place.store}x?tables={file}"


def table_names() -> list[str]:
    found: list[str] = []
    for page in boto3.client("dynamodb").get_paginator("list_tables").paginate():
        found += page["TableNames"]
    return found


def test_tables_that_do_not_fit_are_refused(place: Place) -> None:
    """By what is declared, by what is there, and by what the events are."""
    client: Any = boto3.client("dynamodb")
    physical = place.store.removeprefix("dynamodb://") + "-theirs"
    client.create_table(
        TableName=physical,
        KeySchema=[{"AttributeName": "oid", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "oid", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    owned = f'[tables.users]\nowned = true\nphysical = "{physical}"\n'
    for declared, says in (
        ('[tables.users]\nhash = ["id", "N"]\n', "the key attribute 'id' is not a number (N)"),
        (owned, "the key has 'id', the table 'oid'"),
    ):
        ran = binlog("replicate", place.log, tables(place, declared), "--once")
        assert ran.status == 3, "an event that cannot be applied, like any other"
        assert says in ran.err
        assert "or declare the table's key as the log has it (?tables=FILE)" in ran.err
    twice = tables(place, owned + 'hash = ["id", "S"]\n')
    refused("replicate", place.log, twice, "--once", says="oid", does="")
    odd = tables(place, '[tables.users]\nkey = "id"\n')
    for verb, *options in (["replicate", "--once"], ["rebuild"]):
        refused(verb, place.log, odd, *options, says="no such key", does="known are")
    pair = {"Action": "PutItem", "Table": "stock", "Key": {"sku": "a", "place": "b"}, "Data": {}}
    assert binlog("append", place.other, given=json.dumps(pair)).status == 0
    for verb, *options in (["replicate", "--once"], ["rebuild"]):
        refused(
            verb,
            place.other,
            f"{place.store}-pair",
            *options,
            says="nothing says which is the hash key",
            does="-pair.binlog is made, and used when you go on",
        )


def test_an_item_that_is_not_the_logs_is_never_overwritten(place: Place) -> None:
    client: Any = boto3.client("dynamodb")
    table = f"{place.store.removeprefix('dynamodb://')}.users"
    [table] = [name for name in table_names() if name.startswith(table)]
    client.put_item(TableName=table, Item={"id": {"S": "theirs"}, "n": {"N": "7"}})
    append(place.log, {"id": "theirs", "n": 8})
    ran = binlog("replicate", place.log, place.store, "--once")
    assert ran.status == 2, ran
    assert "has an item that is not the log's (no _binlog)" in ran.err
    assert client.get_item(TableName=table, Key={"id": {"S": "theirs"}})["Item"]["n"] == {"N": "7"}


def test_what_a_record_can_hold_and_an_item_cannot_is_refused_at_publish(place: Place) -> None:
    """A stream's record takes a megabyte, an item 400 KB: what no table can hold is never sent."""
    ran = append(place.log, {"id": "large", "text": "x" * 409_600})
    assert ran.status == 2
    assert "bytes, the limit is" in ran.err
    assert "line 1" in ran.err


def test_a_relay_into_a_halted_log_ends_with_the_halt(place: Place) -> None:
    """It went on asking whether somebody had decided, for ever and as fast as it could."""
    boto3.client("kinesis").put_record(
        StreamName=place.log.removeprefix("kinesis://").partition("?")[0],
        PartitionKey="p0000",
        ExplicitHashKey=str(2**127),
        Data=b"rubbish",
    )
    with Started("relay", place.other, place.log, "--once", cwd=place.folder) as relay:
        try:
            assert relay.wait(PATIENCE_S) == 3
        finally:
            relay.kill()
        assert relay.stderr is not None
        assert b"partition 0 is halted" in relay.stderr.read()
