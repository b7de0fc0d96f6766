"""Counts every call that boto3 makes in this process, and what is paid for it.

List prices of us-east-1 in US dollars, from secondary sources, 2026: see `kinesis_price`.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import botocore.handlers

from binlog.logs.kinesis_price import SHARD_HOUR_DOLLARS, UNIT_BYTES, UNIT_DOLLARS

WRITE_UNIT_DOLLARS = 0.625 / 1e6  # DynamoDB on demand, an item of up to 1 KB
READ_UNIT_DOLLARS = 0.125 / 1e6  # strongly consistent, up to 4 KB
# An enhanced fan-out consumer pays for a shard what the stream does.
_SHARDS_MADE = {"SplitShard": 2, "MergeShards": 1, "SubscribeToShard": 1}
_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
_READS = frozenset({"GetItem", "Query", "Scan", "BatchGetItem"})


class Part(NamedTuple):
    """A part of the price."""

    what: str
    amount: float
    dollars_each: float

    @property
    def dollars(self) -> float:
        return self.amount * self.dollars_each


def total(parts: list[Part]) -> float:
    return sum(part.dollars for part in parts)


class Calls:
    """What was called, of all clients that are made from now on; by any thread."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.put_units = 0
        self.shard_hours = 0
        self.statements = 0  # of items, several a call
        self._lock = threading.Lock()
        botocore.handlers.BUILTIN_HANDLERS.append(("before-parameter-build", self._count))

    def stop(self) -> None:
        """Clients that are made from now on are not counted."""
        botocore.handlers.BUILTIN_HANDLERS.remove(("before-parameter-build", self._count))

    def _count(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        service, operation = model.service_model.service_name, model.name
        with self._lock:
            self.calls[f"{service}:{operation}"] += 1
            if operation == "PutRecords":
                self.put_units += sum(_units(record) for record in params["Records"])
            elif operation == "BatchExecuteStatement":
                self.statements += len(params["Statements"])
            elif operation == "CreateStream":  # an hour begun is an hour paid for
                self.shard_hours += params.get("ShardCount", 1)
            else:
                self.shard_hours += _SHARDS_MADE.get(operation, 0)

    def parts(self) -> list[Part]:
        """What it comes to. An item is taken to be of one unit."""
        writes = sum(self.calls[f"dynamodb:{operation}"] for operation in _WRITES)
        writes += self.statements
        reads = sum(self.calls[f"dynamodb:{operation}"] for operation in _READS)
        return [
            Part("Kinesis shard hours", self.shard_hours, SHARD_HOUR_DOLLARS),
            Part("Kinesis PUT payload units", self.put_units, UNIT_DOLLARS),
            Part("DynamoDB write units", writes, WRITE_UNIT_DOLLARS),
            Part("DynamoDB read units", reads, READ_UNIT_DOLLARS),
        ]


def _units(record: Mapping[str, Any]) -> int:
    return math.ceil((len(record["Data"]) + len(record["PartitionKey"])) / UNIT_BYTES)
