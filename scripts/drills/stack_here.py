"""The local stack, for drills of what consumers of it go through: resharding, and writes that are late.

A consumer whose DynamoDB is a `Gate` is the real one, and so is the service behind it: what the gate
does is what a network or a machine that stands still does to a request on its way.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))  # for the stand-ins' own parts

from binlog.drills import Drill
from binlog.drills.background import Background
from binlog.drills.targets.stack_aws import Stack
from scripts.standins.proxy import Proxy
from scripts.standins.proxy_faults import Forward, Reply, Request
from scripts.standins.proxy_intruder import Intruder
from tests.integration.kcl_leases import seed_leases

_WRITES = frozenset(
    {"BatchExecuteStatement", "DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"}
)
_REFUSED = frozenset({"ConditionalCheckFailed", "ConditionalCheckFailedException", "DuplicateItem"})
_HELD_S = 120.0  # a drill that ended without opening it is over by then


class Gate(Intruder):
    """Lets a consumer's writes through, until it is shut; then they are on their way until it opens.

    ``prefix`` is the store's: its items are in the tables ``PREFIX.NAME``, its checkpoints in
    ``PREFIX.binlog``. Other tables are nobody's concern, such as the KCL's own.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._ours, self._rows = f"{prefix}.", f"{prefix}.binlog"
        self._way = threading.Event()
        self._way.set()
        self._mutex = threading.Lock()
        self._is_shut = False
        self.held: Counter[str] = Counter()  # writes on their way, of items and of rows
        self.late: Counter[tuple[str, str]] = Counter()  # what came of those that were late

    def shut(self) -> None:
        """What is written from now on is on its way."""
        self._way.clear()
        self._is_shut = True

    def open(self) -> None:
        """They arrive."""
        self._way.set()

    def handle(self, operation: str, request: Request, forward: Forward) -> Reply:
        kind, count = self._what(operation, request) if self._is_shut else ("", 0)
        if not kind:
            return super().handle(operation, request, forward)
        if not self._way.is_set():
            with self._mutex:
                self.held[kind] += count
            self._way.wait(_HELD_S)
        reply = super().handle(operation, request, forward)
        with self._mutex:
            for outcome, times in self._outcomes(operation, reply, count).items():
                self.late[kind, outcome] += times
        return reply

    def _what(self, operation: str, request: Request) -> tuple[str, int]:
        """What a call writes and how many of it; nothing of anything else."""
        if operation not in _WRITES:
            return "", 0
        if operation == "BatchExecuteStatement":
            places = [each["Statement"] for each in request["Statements"]]
        elif operation == "TransactWriteItems":
            places = [next(iter(each.values()))["TableName"] for each in request["TransactItems"]]
        else:
            places = [request["TableName"]]
        if not any(self._ours in place for place in places):
            return "", 0
        return ("rows" if any(self._rows in place for place in places) else "items"), len(places)

    def _outcomes(self, operation: str, reply: Reply, count: int) -> Counter[str]:
        if operation == "BatchExecuteStatement" and reply.status == 200:
            codes = [each.get("Error", {}).get("Code", "") for each in reply.body["Responses"]]
            return Counter(map(_outcome, codes))
        code = "" if reply.status == 200 else _code(reply)
        return Counter({_outcome(code): count})


def _outcome(code: str) -> str:
    if not code:
        return "done"
    return "refused" if code in _REFUSED else code


def _code(reply: Reply) -> str:
    return str(reply.body.get("__type", reply.status)).rpartition("#")[2]


_RANGE = ("StartingHashKey", "EndingHashKey")


class StackHere(Stack):
    """`Stack`, whose stream is resharded by the service's own calls, with gates before DynamoDB."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._proxies: list[Proxy] = []
        self._has_leases = False

    def gate(self, name: str) -> tuple[Gate, dict[str, str]]:
        """One for a consumer of a store, and the variables by which it goes that way."""
        variable = "AWS_ENDPOINT_URL_DYNAMODB"
        gate = Gate(f"{self._name}-{name}")
        self._proxies.append(Proxy(self._endpoints[variable], gate))
        return gate, {variable: self._proxies[-1].url}

    def seed_leases(self) -> None:
        """What a consumer of the KCL makes at its very first start, which takes it half a minute."""
        if not self._has_leases:
            application = f"binlog.{self._name}.{self._name}-lazy"
            seed_leases(self._dynamodb, self._kinesis, application, self._name)
            self._has_leases = True

    def reshard(self) -> str:
        """Split each open shard, then merge the first two of what came of it; how many there were."""
        for shard in self._open_shards():
            low, high = (int(shard["HashKeyRange"][n]) for n in _RANGE)
            self._change(
                "split_shard",
                ShardToSplit=shard["ShardId"],
                NewStartingHashKey=str((low + high) // 2 + 1),
            )
        by_range = sorted(self._open_shards(), key=lambda s: int(s["HashKeyRange"][_RANGE[0]]))
        first, second, *_ = by_range
        self._change(
            "merge_shards", ShardToMerge=first["ShardId"], AdjacentShardToMerge=second["ShardId"]
        )
        there = self._kinesis.list_shards(StreamName=self._name)["Shards"]
        return f"{len(there)} shards have been, {len(self._open_shards())} are open"

    def _open_shards(self) -> list[Any]:
        found = self._kinesis.list_shards(StreamName=self._name)["Shards"]
        return [each for each in found if "EndingSequenceNumber" not in each["SequenceNumberRange"]]

    def _change(self, operation: str, **request: str) -> None:
        getattr(self._kinesis, operation)(StreamName=self._name, **request)
        until = time.monotonic() + self.wait_s
        while self._status() != "ACTIVE" and time.monotonic() < until:
            time.sleep(0.1)

    def _status(self) -> str:
        told = self._kinesis.describe_stream_summary(StreamName=self._name)
        return str(told["StreamDescriptionSummary"]["StreamStatus"])

    def close(self) -> list[str]:
        proxies, self._proxies = self._proxies, []
        mistakes: list[str] = []
        for proxy in proxies:
            if isinstance(proxy.intruder, Gate):
                proxy.intruder.open()
            try:
                proxy.close()
            except BaseExceptionGroup as group:  # all else has to go, too
                mistakes += [f"{proxy.url}: {error!r}" for error in group.exceptions]
        return [*super().close(), *mistakes]


def stores(d: Drill) -> tuple[str, ...]:
    """Those of which a consumer of its own kind is there: both on the stack, else one."""
    return ("live", "lazy") if isinstance(d.target, Stack) else ("live",)


def rate(d: Drill) -> float:
    """Events a second: less where two consumers, a JVM among them, share two CPUs with the services."""
    return 100.0 if isinstance(d.target, Stack) else d.target.rate


def keep(d: Drill, name: str, variables: Mapping[str, str] | None = None) -> Background:
    """Start what keeps a store; the KCL's first start is spared what it makes half a minute of."""
    if isinstance(d.target, StackHere) and name == "lazy":
        d.target.seed_leases()
    return d.replicate(name, variables=variables)


def settled(d: Drill) -> None:
    """What DynamoDB keeps is read while nobody writes to it: it cannot keep a moment for who reads."""
    if isinstance(d.target, Stack):
        for name in stores(d):
            d.settle(name)


def verified(d: Drill, load: float) -> None:
    """Compare each store with the log; on the stack between two loads."""
    settled(d)
    for name in stores(d):
        d.run(f"binlog verify {{{name}}} {{log}}")
    if isinstance(d.target, Stack):
        d.load(load)
