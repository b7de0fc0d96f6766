"""A stream that forgets, producers that are mostly silent, and a consumer that looks in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.store import Checkpoint
from appliers.stores import MemoryStore
from binlog.changes import put_item
from binlog.envelope import Envelope
from binlog.log import Log
from binlog.logs.kinesis import KinesisLog
from binlog.partition import ordering_key, partition_of
from binlog.producer import Producer
from consumers.engine import Engine
from consumers.local import Following, replicate
from consumers.thrift import Thrift
from tests.log.kinesis_world import HOUR_MS, KinesisWorld
from tests.log.log_frames import PARAMS


class Counting(MemoryStore):
    """Keeps all rows that it was given. ``paid`` is what `consumers.thrift` asks."""

    def __init__(self, *, paid: bool = True) -> None:
        super().__init__()
        self.paid_by_the_write = paid
        self.rows: list[Checkpoint] = []

    def commit(self, generation: str, writes: Any, checkpoints: Sequence[Any], **more: Any) -> Any:
        failed = super().commit(generation, writes, checkpoints, **more)
        self.rows += [] if failed else checkpoints
        return failed


class QuietWorld(KinesisWorld):
    """What is published, and how much of it a store has."""

    def __init__(self, shards: int = 1) -> None:
        super().__init__(shards)
        self.published = 0
        self._of: dict[int, list[Envelope]] = {p: [] for p in range(PARAMS.partitions)}

    def publish(self, partition: int = 0, count: int = 1) -> None:
        """Events of one partition, each of an item of its own."""
        with Producer(self.open()) as producer:
            producer.append_many([self._event(partition) for _ in range(count)])

    def _event(self, partition: int) -> Envelope:
        while True:
            self.published += 1
            made = put_item("orders", {"id": self.published}, key="id")
            if partition_of(ordering_key("orders", made.key), PARAMS.partitions) == partition:
                self._of[partition].append(made)
                return made

    @property
    def vector(self) -> dict[int, int]:
        return {p: len(events) for p, events in self._of.items() if events}

    def hours(self, hours: float) -> None:
        self.clock.advance(round(hours * HOUR_MS))

    def look(self, store: MemoryStore) -> None:
        """What a daily job does: carry the store to the end, and go."""
        replicate(self.open(), store, Following(once=True), clock=self.clock)
        store.close()

    def follower(self, store: MemoryStore, log: Log | None = None) -> Engine:
        """A consumer that stays; whoever lets it go kills it."""
        log = log or self.open()
        if not store.generations():
            store.bind(log.genesis)
            store.create(tables=None, fingerprint=fingerprint(NO_RULES), excluded=())
        (generation,) = store.generations()
        thrift = Thrift(self.clock.monotonic) if getattr(store, "paid_by_the_write", 0) else None
        return Engine(log, store, generation, NO_RULES, thrift=thrift)

    def rows(self, store: MemoryStore) -> dict[int, Checkpoint]:
        (generation,) = store.generations()
        return store.checkpoints(generation.id)

    def applied(self, store: MemoryStore) -> dict[int, int]:
        return {p: row.applied for p, row in self.rows(store).items() if row.applied}


def settle(engine: Engine) -> None:
    while engine.step() is not None:
        pass


def log_of(engine: Engine) -> KinesisLog:
    found = engine.reader._log
    assert isinstance(found, KinesisLog)
    return found
