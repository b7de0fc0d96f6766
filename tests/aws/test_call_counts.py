"""What a process writes down of its calls is what went over the wire, each try, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from binlog.aws.account import Account, connector
from binlog.spent import VARIABLE, Line, read_lines, written_to
from tests.aws.aws_double import Refusal, Wire

ITEM = {"TableName": "t", "Item": {"id": {"S": "a"}}}


def client(service: str, **how: Any) -> Any:
    return connector(Account(), service, service, **how)()


def lines(path: Path) -> list[Line]:
    return read_lines(path.read_bytes())


def test_every_call_is_written_down_and_what_it_consumed(wire: Wire, tmp_path: Path) -> None:
    """Units as the service says them; the service is asked to say them."""
    wire.answers["dynamodb.PutItem"] = {"ConsumedCapacity": {"CapacityUnits": 3.0}}
    wire.answers["dynamodb.Scan"] = {"Items": [], "ConsumedCapacity": {"CapacityUnits": 0.5}}
    wire.answers["dynamodb.BatchExecuteStatement"] = {
        "Responses": [{}, {}],
        "ConsumedCapacity": [{"CapacityUnits": 1.0}, {"CapacityUnits": 2.0}],
    }
    with written_to(tmp_path / "spent"):
        asked = client("dynamodb")
        asked.put_item(**ITEM)
        asked.scan(TableName="t")
        statement = {"Statement": "INSERT INTO \"t\" VALUE {'id': ?}"}
        asked.batch_execute_statement(Statements=[statement, statement])
    found = lines(tmp_path / "spent")
    assert Counter(line.call for line in found if line.sent) == {
        "dynamodb PutItem": 1,
        "dynamodb Scan": 1,
        "dynamodb BatchExecuteStatement": 1,
    }
    assert sum(line.write_units for line in found) == 6.0
    assert sum(line.read_units for line in found) == 0.5
    assert {params.get("ReturnConsumedCapacity") for _, params in wire.calls} == {"TOTAL"}
    assert all(line.bytes > 0 for line in found)
    assert {line.aws for line in found if line.sent} == {True}


def test_a_write_whose_condition_fails_is_paid_for(wire: Wire, tmp_path: Path) -> None:
    """DynamoDB takes at least a unit for it and does not say so in its reply."""
    wire.answers["dynamodb.PutItem"] = Refusal("ConditionalCheckFailedException")
    wire.answers["dynamodb.UpdateItem"] = Refusal("ValidationException")
    with written_to(tmp_path / "spent"):
        asked = client("dynamodb")
        with pytest.raises(ClientError):
            asked.put_item(**ITEM)
        with pytest.raises(ClientError):
            asked.update_item(TableName="t", Key={"id": {"S": "a"}})
    put, update = (line for line in lines(tmp_path / "spent") if line.got)
    assert (put.status, put.write_units) == (400, 1.0)
    assert (update.status, update.write_units) == (400, 0.0)


def test_records_are_units_of_25_kib_and_those_refused_are_none(wire: Wire, tmp_path: Path) -> None:
    """The entries of PutRecords have an outcome each; the partition key is of the record."""
    wire.answers["kinesis.PutRecords"] = {
        "FailedRecordCount": 1,
        "Records": [
            {"SequenceNumber": "1", "ShardId": "s"},
            {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "no"},
            {"SequenceNumber": "2", "ShardId": "s"},
            {"SequenceNumber": "3", "ShardId": "s"},
        ],
    }
    wire.answers["kinesis.CreateStream"] = {}
    sizes = (1, 90_000, 25 * 1024 - 1, 25 * 1024)
    with written_to(tmp_path / "spent"):
        asked = client("kinesis")
        asked.create_stream(StreamName="s", ShardCount=4)
        asked.put_records(
            StreamName="s", Records=[{"Data": b"x" * size, "PartitionKey": "k"} for size in sizes]
        )
    made, put = (line for line in lines(tmp_path / "spent") if line.got)
    assert put.put_units == 1 + 1 + 2
    assert (made.put_units, made.shard_hours) == (0, 4)


def test_each_try_is_a_request_and_one_without_an_answer_shows(wire: Wire, tmp_path: Path) -> None:
    """A service is paid by what reaches it, not by what the SDK makes of it."""
    tried = 0

    def answer(_: object) -> dict[str, Any]:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise Refusal("InternalServerError", status=500)
        if tried == 2:
            raise ConnectionClosedError(endpoint_url="https://x")
        return {"ConsumedCapacity": {"CapacityUnits": 1.0}}

    wire.answers["dynamodb.PutItem"] = answer
    with written_to(tmp_path / "spent"):
        client("dynamodb").put_item(**ITEM)
    found = lines(tmp_path / "spent")
    assert [line.sent for line in found if line.sent] == [1, 2, 3]
    assert [(line.got, line.status) for line in found if line.got] == [(1, 500), (3, 200)]
    assert sum(line.write_units for line in found) == 1.0


def test_without_the_variable_nothing_is_hooked_in(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And calls are made as they are: no figure is asked for. With it, they are counted."""
    wire.answers["dynamodb.Scan"] = {"Items": []}
    monkeypatch.delenv(VARIABLE, raising=False)
    client("dynamodb").scan(TableName="t")
    assert "ReturnConsumedCapacity" not in wire.calls[-1][1]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "spent"))
    client("dynamodb").scan(TableName="t")
    assert [line.call for line in lines(tmp_path / "spent") if line.sent] == ["dynamodb Scan"]


def test_a_client_that_outlives_the_counting_still_works(wire: Wire, tmp_path: Path) -> None:
    """It writes down no more."""
    wire.answers["dynamodb.Scan"] = {"Items": []}
    with written_to(tmp_path / "spent"):
        asked = client("dynamodb")
    asked.scan(TableName="t")
    assert lines(tmp_path / "spent") == []


KILLED = """
import os, signal
from binlog.spent import book
written = book()
assert written is not None
written.write(sent=written.next(), call="dynamodb PutItem", bytes=7)
written.write(got=1, status=200, write_units=2.0)
written.write(sent=written.next(), call="dynamodb PutItem", bytes=9)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_has_asked_for_is_not_lost(tmp_path: Path) -> None:
    """Written down before the answer comes: only the answer is missing, and it shows that it is."""
    environment = {**os.environ, VARIABLE: str(tmp_path / "spent")}
    ran = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False)
    assert ran.returncode == -9
    found = lines(tmp_path / "spent")
    assert [(line.sent, line.got, line.write_units) for line in found] == [
        (1, None, 0.0),
        (None, 1, 2.0),
        (2, None, 0.0),
    ]
