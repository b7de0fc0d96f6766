"""Our log as the events that a mapping would invoke a function with, and the two who take them.

The bare loop is what everybody's handler begins with: base64, decompression, and every event of every
record as Python values. It has no order, no duplicates, no checksum, no fold and no store.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from appliers.stores.memory import MemoryStore
from binlog.address import open_log
from binlog.log import Position
from binlog.partition import partition_key
from consumers.aws_lambda_function import Function
from consumers.aws_lambda_settings import Settings
from scripts.benchmarks.straight import columns, is_genesis

BATCH = 100  # records an event: the service's default
_ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/bench"
_decode = msgspec.msgpack.Decoder().decode

Event = dict[str, Any]


class Context:
    """A quarter of an hour, as long as Lambda has."""

    aws_request_id = "bench"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def events_of(path: Path) -> list[Event]:
    """A log in a directory as events, each decoded from its JSON as the runtime does."""
    with contextlib.closing(open_log(f"file:{path}")) as log:
        found = []
        for shard in log.shards():
            records = []
            place = Position(shard.id, -1)
            while True:
                page = log.read(place)
                records += [
                    _record(shard.id, r.sequence, r.partition, r.arrival_ms, r.data)
                    for r in page.records
                ]
                place = page.next
                if page.caught_up:
                    break
            found += [{"Records": records[at : at + BATCH]} for at in range(0, len(records), BATCH)]
    return [msgspec.json.decode(msgspec.json.encode(event)) for event in found]


def _record(shard: str, sequence: int, partition: int, arrival_ms: int, data: bytes) -> Event:
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": partition_key(partition),
            "sequenceNumber": str(sequence),
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": arrival_ms / 1000,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard}:{sequence}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/bench",
        "awsRegion": "us-east-1",
        "eventSourceARN": _ARN,
    }


def function_of(path: Path, store: MemoryStore) -> Function:
    """The handler on a log in a directory and a store in memory; metrics are made, and dropped."""
    settings = Settings(log="kinesis://bench", store="dynamodb://bench", mapping="trust")
    return Function(
        settings,
        open_log=lambda _: open_log(f"file:{path}"),
        open_store=lambda _: store,
        write=lambda _: None,
    )


def handle_all(function: Function, events: Iterable[Event]) -> None:
    """All of it applied.

    Raises:
        RuntimeError: something was not.
    """
    context = Context()
    for event in events:
        response = function.handle(event, context)
        if response["batchItemFailures"]:
            raise RuntimeError(f"the handler reported {response}")


def decode_all(events: Iterable[Event]) -> int:
    """The bare loop; how many events it met."""
    return sum(1 for event in events for _ in _decoded(event))


def _decoded(event: Event) -> Iterator[tuple[str, Any, Any]]:
    for record in event["Records"]:
        yield from decoded(base64.b64decode(record["kinesis"]["data"]))


def decoded(frame: bytes) -> Iterator[tuple[str, Any, Any]]:
    """The events of a frame as Python values."""
    if is_genesis(frame):
        return
    kinds, index, keys, datas = columns(frame)
    for kind, key, data in zip(index, keys, datas, strict=True):
        yield kinds[kind], _decode(key), _decode(data) if data else None
