"""What is paid for, counted: our own producers and consumer, on the doubles of both services.

One simulated clock moves everything, so a run is the same everywhere and takes no longer for a
linger of five seconds. What runs is the real thing: the producer's state machine with the options
it takes for this log, the appender that makes `PutRecords`, the sequencer, the engine, the fold,
the DynamoDB store with its lock and checkpoint rows. Only the services are doubles, and they keep
the books: payload units as Kinesis bills them, read and write units as DynamoDB does, by item size,
a delete and a failed condition too.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_tables import Specification
from binlog.actions import ActionBuilder
from binlog.clock import ManualClock
from binlog.envelope import Envelope
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import begin_kinesis_log
from binlog.logs.kinesis_price import UNIT_BYTES
from binlog.params import Params, encode_genesis
from binlog.partition import ordering_key, partition_of
from binlog.producer.core import ProducerCore
from binlog.producer.options import ProducerOptions
from binlog.producer.session import Lineage
from binlog.reader import PAGE_BYTES
from consumers.engine import Engine
from consumers.thrift import Thrift
from scripts.benchmarks.workload import SEED, Action, History
from tests.log.kinesis_double import KinesisDouble
from tests.stores.dynamodb_double import DynamoDBDouble, refusal
from tests.stores.dynamodb_items_double import identity_of, size_of
from tests.stores.dynamodb_statements_double import inserted

PUT_MS = 20  # from a PutRecords to its reply
READ_UNIT, WRITE_UNIT = 4096, 1024
_POURED = 5_000
_FOREVER = 1 << 40  # events: a history that does not end while one looks


class Scene(msgspec.Struct, frozen=True):
    """Who sends how much, through how many partitions, and how often the table follows."""

    producers: int = 10
    rate: float = 100.0  # events a second and producer
    partitions: int = 4
    shards: int = 1
    linger_s: float = 1.0
    poll_s: float = 1.0
    keys: int = 100_000
    seed: int = SEED


class Kinesis(KinesisDouble):
    """Keeps the books of what is put: records, and units of 25 KiB of one."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.puts: Counter[str] = Counter()

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.puts["calls"] += 1
        for record in Records:
            # A key that is given as explicit hash counts like any other: by the key's own bytes.
            size = len(record["Data"]) + len(record["PartitionKey"].encode())
            self.puts["records"] += 1
            self.puts["bytes"] += size
            self.puts["units"] += -(-size // UNIT_BYTES)
        reply = super().put_records(StreamName=StreamName, Records=Records)
        self.sent.clear()
        return reply


class Dynamo(DynamoDBDouble):
    """Keeps the books of units, as read or written, by what an item is: see `_kind`."""

    def __init__(self) -> None:
        super().__init__(page_items=1_000)
        self.writes: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self._counting = threading.get_ident()

    def _called(self, operation: str, request: dict[str, Any]) -> Any:
        # Without the model's own check of each request, which the store's tests make.
        with self._mutex:
            # A thread of the store renews its lock by the clock on the wall: no part of the run.
            if threading.get_ident() == self._counting:
                self._count(operation, request)
            return self._do(operation, request, partly=False)

    def _count(self, operation: str, request: dict[str, Any]) -> None:
        if operation == "put_item":
            self._count_write(request["TableName"], request["Item"])
        elif operation == "batch_execute_statement":
            for statement in request["Statements"]:
                self._count_write(*inserted(statement))
        elif operation == "batch_write_item":
            ((table, requests),) = request["RequestItems"].items()
            for each in requests:
                item = each.get("PutRequest", {}).get("Item") or each["DeleteRequest"]["Key"]
                self._count_write(table, item)
        elif operation == "batch_get_item":
            ((table, wanted),) = request["RequestItems"].items()
            self._count_reads(table, wanted["Keys"])
        elif operation == "get_item":
            self._count_reads(request["TableName"], [request["Key"]])
        elif operation in ("update_item", "transact_write_items", "delete_item"):
            raise refusal("ValidationException", f"{operation} is not in the books")

    def _count_write(self, table: str, item: dict[str, Any]) -> None:
        old = self._items.get(table, {}).get(identity_of(item, self._schema(table)))
        size = max(size_of(item), size_of(old))
        self.writes[self._kind(table, item)] += -(-size // WRITE_UNIT)

    def _count_reads(self, table: str, keys: list[dict[str, Any]]) -> None:
        if table not in self.tables:
            return
        for key in keys:
            item = self._items.get(table, {}).get(identity_of(key, self._schema(table)))
            self.reads[self._kind(table, key)] += max(1, -(-size_of(item) // READ_UNIT))

    @staticmethod
    def _kind(table: str, item: dict[str, Any]) -> str:
        """``table``, or of the store's own rows: ``checkpoint``, ``base``, ``lock``, ``other``."""
        if not table.endswith(".binlog"):
            return "table"
        kind = item["pk"]["S"].partition("#")[0]
        if kind == "store" and item["sk"]["S"] == "lock":
            return "lock"
        return {"at": "checkpoint", "base": "base"}.get(kind, "other")


class Bill(msgspec.Struct):
    """The books over some time."""

    seconds: float = 0.0
    events: int = 0  # acknowledged
    puts: Counter[str] = Counter()
    writes: Counter[str] = Counter()
    reads: Counter[str] = Counter()
    read_records: int = 0

    @property
    def checkpoints(self) -> int:
        """Write units of following: rows, bases and their removal, the lock."""
        return sum(self.writes[kind] for kind in ("checkpoint", "base", "lock", "other"))


class World:
    """One log in Kinesis, its producers, and one table in DynamoDB that follows it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.random = Random(scene.seed)
        self.dynamo = Dynamo()
        self.clock = self.dynamo.clock
        self.kinesis = Kinesis(self.clock)
        self.acknowledged = 0
        self._ids = Random(scene.seed + 1)
        self._builder = ActionBuilder(new_id=self._new_id)
        self._history: Iterator[Action] = iter(History(_FOREVER, scene.keys, scene.seed))
        self._begun_ms = self.clock.now_ms()
        self._engine: Engine | None = None
        self._page_bytes = PAGE_BYTES
        self._agenda: list[tuple[int, int, int, Any]] = []
        self._order = itertools.count()
        self._wakes: dict[int, int] = {}
        self.log = self._make_log()
        # Some time has passed since the genesis, and the sender's clock is known.
        options = ProducerOptions(linger_s=scene.linger_s, queue_wait_s=3_600.0)
        self.cores = [
            ProducerCore(
                self.log.params,
                self.log.genesis,
                options=options.settled(self.log),
                lineage=Lineage(entropy=self._ids.randbytes),
                random=Random(scene.seed + 2 + index),
                birth_ms=self.log.birth_ms,
            )
            for index in range(scene.producers)
        ]

    def _make_log(self) -> KinesisLog:
        service = kinesis_service(
            "s", connect=self.kinesis.connect, clock=self.clock, pause=self.dynamo.pause
        )
        service.call("create_stream", StreamName="s", ShardCount=self.scene.shards)
        service.wait(lambda _: True)
        log_id = Random(self.scene.seed).randbytes(16).hex()
        params = Params(log_id=log_id, partitions=self.scene.partitions)
        begin_kinesis_log(service, encode_genesis(params), params)
        self.kinesis.puts.clear()
        return KinesisLog(
            "s",
            connect=self.kinesis.connect,
            clock=self.clock,
            pause=self.dynamo.pause,
            reads_per_s=1_000.0,
            pages_ahead=0,
        )

    def _new_id(self) -> str:
        """A UUID of version 7, as programs draw them."""
        bits = self._ids.getrandbits(74)
        text = f"{self.clock.now_ms() & 0xFFFFFFFFFFFF:012x}7{bits >> 62:03x}"
        text += f"{8 | (bits >> 60) & 3:x}{bits & ((1 << 60) - 1):015x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    # -- producing -------------------------------------------------------------------------------

    def _next_event(self) -> Envelope:
        return self._builder.build_many([next(self._history)], self.clock.now_ms())[0]

    def _offer(self, index: int, envelope: Envelope) -> None:
        if not self.cores[index].offer(None, [envelope], self.clock.monotonic()):
            raise RuntimeError("a producer is full: the scene is more than its log takes")
        self._pump(index)

    def introduce(self) -> None:
        """Every producer sends one event to every partition, over a minute: all are known there."""
        waiting: dict[int, list[Envelope]] = {p: [] for p in range(self.scene.partitions)}
        for number, index in enumerate(range(self.scene.producers)):
            self._run(self.clock.now_ms() + (60_000 // self.scene.producers or number % 2))
            for queue in waiting.values():
                while not queue:
                    envelope = self._next_event()
                    at = partition_of(
                        ordering_key(envelope.table, envelope.key), self.scene.partitions
                    )
                    waiting[at].append(envelope)
                self._offer(index, queue.pop())
        self._run(self.clock.now_ms() + round(self.scene.linger_s * 1000) + 1000)

    def produce(self, seconds: float) -> None:
        """All producers send at their rate, each by chance, until so much time has passed."""
        until_ms = self.clock.now_ms() + round(seconds * 1000)
        for index in range(len(self.cores)):
            self._at_next(index, self.clock.now_ms(), until_ms)
        self._run(until_ms)

    def pour(self, events: int) -> None:
        """The first producer gets all that it takes, and always has more to send."""
        for done in range(0, events, _POURED):
            chunk = [self._next_event() for _ in range(min(_POURED, events - done))]
            while not self.cores[0].offer(None, chunk, self.clock.monotonic()):
                self._run(self.clock.now_ms() + 1)
            self._pump(0)

    def settle(self) -> None:
        """Until all that was sent is acknowledged."""
        while any(core.pending_events for core in self.cores):
            self._run(self.clock.now_ms() + 100)

    def _at_next(self, index: int, time_ms: int, until_ms: int) -> None:
        """A Poisson process: it does not matter where one begins to look at it."""
        next_ms = time_ms + self.random.expovariate(self.scene.rate) * 1000
        if next_ms <= until_ms:
            self._at(next_ms, index, ("event", until_ms))

    def _at(self, time_ms: float, index: int, what: Any) -> None:
        heapq.heappush(self._agenda, (int(time_ms), next(self._order), index, what))

    def _run(self, until_ms: int) -> None:
        while self._agenda and self._agenda[0][0] <= until_ms:
            time_ms, _, index, (kind, *rest) = heapq.heappop(self._agenda)
            self.clock.advance(max(0, time_ms - self.clock.now_ms()))
            if kind == "event":
                self._offer(index, self._next_event())
                self._at_next(index, time_ms, rest[0])
            elif kind == "reply":
                call, replies = rest
                self.cores[index].reply(call, replies, self.clock.monotonic())
                self._pump(index)
            else:
                self._wakes.pop(index, None)
                self._pump(index)
        self.clock.advance(max(0, until_ms - self.clock.now_ms()))

    def _pump(self, index: int) -> None:
        core = self.cores[index]
        while (send := core.poll(self.clock.monotonic())) is not None:
            replies = self.log.append(send.puts)
            self._at(self.clock.now_ms() + PUT_MS, index, ("reply", send.call, replies))
        for _, delivery in core.outcomes():
            if delivery.outcome.value != "acknowledged":
                raise RuntimeError(f"an event was not acknowledged: {delivery.error}")
            self.acknowledged += len(delivery.indexes)
        wake = core.wakeup()
        if wake is not None:
            wake_ms = max(self.clock.now_ms() + 1, -int(-wake * 1000 // 1))
            if wake_ms < self._wakes.get(index, 1 << 62):
                self._wakes[index] = wake_ms
                self._at(wake_ms, index, ("wake",))

    # -- following -------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The consumer, begun when first asked for."""
        if self._engine is None:
            store = DynamoDBStore(
                Specification.load(None, "cost"),
                connect=self.dynamo.connect,
                clock=self.clock,
                pause=self.dynamo.pause,
                random=Random(self.scene.seed),
                width=1,
            )
            store.lock()
            store.bind(self.log.genesis)
            rules = fingerprint(NO_RULES)
            generation = store.create(tables=None, fingerprint=rules, excluded=())
            thrift = Thrift(self.clock.monotonic)
            self._engine = Engine(
                self.log, store, generation, NO_RULES, page_bytes=self._page_bytes, thrift=thrift
            )
            self.store = store
        return self._engine

    def follow_by(self, page_bytes: int) -> Engine:
        """The consumer, by pages of another size."""
        self._page_bytes = page_bytes
        return self.engine

    def follow(self) -> int:
        """One poll: all that the log has; how many events."""
        events = 0
        while (step := self.engine.step()) is not None:
            events += step.counts.events
        return events

    def live(self, seconds: float) -> int:
        """Produce, and follow at every poll; the events that were followed."""
        events = 0
        for _ in range(round(seconds / self.scene.poll_s)):
            self.produce(self.scene.poll_s)
            events += self.follow()
        return events

    def books(self) -> Bill:
        """All so far."""
        return Bill(
            seconds=(self.clock.now_ms() - self._begun_ms) / 1000,
            events=self.acknowledged,
            puts=Counter(self.kinesis.puts),
            writes=Counter(self.dynamo.writes),
            reads=Counter(self.dynamo.reads),
        )

    def close(self) -> None:
        """End what was begun."""
        if self._engine is not None:
            self.store.close()
        self.log.close()


def between(before: Bill, after: Bill) -> Bill:
    """What was added."""
    return Bill(
        seconds=after.seconds - before.seconds,
        events=after.events - before.events,
        puts=after.puts - before.puts,
        writes=after.writes - before.writes,
        reads=after.reads - before.reads,
    )
