"""Relay on a stand-in: samples that another tool has put, and a stream of somebody else's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from scripts.standins.server import Server
from tests.cli.running import Started, append, binlog
from tests.integration.waiting import until


@pytest.fixture
def client(kinesis_local: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    return boto3.client("kinesis")


def answer(*args: str) -> dict[str, Any]:
    ran = binlog(*args, "--json")
    assert ran.status == 0, ran.err
    document: dict[str, Any] = json.loads(ran.out)
    return document


def test_a_sample_of_another_tool_is_kept_shown_and_relayed(
    client: Any, stream_name: Callable[[], str], tmp_path: Path
) -> None:
    """From `aws kinesis put-record` to an item, and healthy again."""
    name = stream_name()
    log, store = f"kinesis://{name}?reads=100", f"sqlite:{tmp_path}/s.db"
    answer("init", log, "--partitions=4", "--shards=2")
    assert append(log, {"id": "own"}).status == 0
    for number in range(3):
        data = json.dumps({"id": f"sample-{number}"}).encode()
        client.put_record(StreamName=name, PartitionKey=f"k{number}", Data=data)
    client.put_record(StreamName=name, PartitionKey="k", Data=b"\0no event")
    answer("replicate", log, store, "--once")
    ran = binlog("status", log, store, "--json")
    assert (ran.status, ran.lines[0]["foreign"]["records"]) == (1, 4)
    kept = {base64.b64decode(line["data"]) for line in binlog("dump", store, "--foreign").lines}
    assert b"\0no event" in kept
    relay = ("relay", log, log, "--table=users", "--key=id", "--on-error=keep", "--json")
    ran = binlog(*relay)
    assert ran.status == 1, ran.err
    [report] = ran.lines
    assert (report["records"], report["unreadable"]) == (4, 1)
    [again] = binlog(*relay).lines
    assert again["records"] == 0
    answer("replicate", log, store, "--once")
    items = [line["id"] for line in binlog("dump", store, "--table", "users").lines]
    assert sorted(items) == ["own", "sample-0", "sample-1", "sample-2"]
    [left] = binlog("dump", store, "--foreign").lines
    assert base64.b64decode(left["data"]) == b"\0no event"
    assert answer("rebuild", log, "memory:")["tables"]["users"]["items"] == 4


def test_a_relay_that_is_killed_while_it_follows_loses_and_repeats_nothing(
    client: Any, stream_name: Callable[[], str], tmp_path: Path
) -> None:
    """SIGKILL in the middle, a successor, and a log in a directory as the judge."""
    name = stream_name()
    client.create_stream(StreamName=name, ShardCount=2)
    client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    log, inbox = f"file:{tmp_path}/log", f"kinesis://{name}?reads=100"
    answer("init", log, "--partitions=4")
    arguments = ("relay", inbox, log, "--format=json", "--type=Click")

    def put(numbers: range) -> None:
        records = [
            {"PartitionKey": f"k{n % 7}", "Data": json.dumps({"n": n}).encode()} for n in numbers
        ]
        assert not client.put_records(StreamName=name, Records=records)["FailedRecordCount"]

    def relayed() -> list[int]:
        return [line["data"]["n"] for line in binlog("cat", log, "--json").lines]

    put(range(100))
    with Started(*arguments, "--follow", cwd=tmp_path) as relay:
        until(relayed, "the first of them in the log")
        put(range(100, 200))
        relay.kill()
    put(range(200, 300))
    answer(*arguments)
    assert sorted(relayed()) == list(range(300))
    assert answer(*arguments)["records"] == 0
