"""Stories on the double: no threads, no waiting, the same at every run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from appliers.store import Store
from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from binlog.errors import BinlogError
from binlog.logs.kinesis import KinesisLog
from binlog.partition import explicit_hash_key
from scripts.standins.proxy_intruder import Intruder
from tests.faults.fault_senders import SteppedProducer
from tests.faults.fault_story import Replica, Story, play
from tests.faults.kinesis_faulty import FaultyKinesis
from tests.log.kinesis_double import KinesisDouble
from tests.log.kinesis_ledger import Publishes
from tests.log.kinesis_world import KinesisWorld
from tests.log.log_frames import PARAMS


class MemoryReplica:
    """The store's content outlives its handles, as a file does."""

    name = "memory"

    def __init__(self) -> None:
        self._store = MemoryStore()

    def open(self) -> Store:
        return self._store.open()


class SQLiteReplica:
    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> Store:
        return SQLiteStore(self._path)


class DoublePlace:
    """A `Place` on `KinesisWorld`."""

    hours_pass = True

    def __init__(self, story: Story, replicas: Sequence[Replica]) -> None:
        self.world = KinesisWorld(shards=story.shards)
        self.clock = self.world.clock
        self.double = self.world.double
        self.client: KinesisDouble = self.double
        self.stream = "s"
        self.replicas = replicas
        self.intruder = Intruder(
            story.faults,
            actions={"split": self._split, "merge": self._merge, "expire": self._expire},
            skew_ms=story.skew_ms,
            now=lambda: datetime.fromtimestamp(self.clock.now_ms() // 1_000, UTC),
        )

    def open(self, *, faults: bool) -> KinesisLog:
        intruder = self.intruder if faults else Intruder(skew_ms=self.intruder.skew_ms)
        return KinesisLog(
            "s",
            connect=lambda puts: FaultyKinesis(self.double, intruder, self.clock, puts=puts),
            clock=self.clock,
            pause=self.world.pause,
            reads_per_s=1_000.0,
        )

    def producer(self, log: KinesisLog, life: int) -> SteppedProducer:
        return SteppedProducer(log, self.clock, Random(life))

    def let_send(self, producer: Publishes, calls: int | None) -> None:
        assert isinstance(producer, SteppedProducer)
        producer.call(1_000_000 if calls is None else calls)

    def end(self, producer: Publishes) -> None:
        pass

    def go_by(self, ms: int) -> None:
        self.clock.advance(ms)

    def wait_until_back(self) -> None:
        pass

    def is_expected(self, error: BinlogError) -> bool:
        return error.retriable or "RequestTimeTooSkewed" in str(error)

    # -- what "act" does -------------------------------------------------------------------------

    def _split(self, of: tuple[int, ...]) -> None:
        """The shard of a partition, before it, or before the next one."""
        for partition in of or (1,):
            at = explicit_hash_key(partition % PARAMS.partitions, PARAMS.partitions) + 1
            for shard in list(self.world.stream.shards.values()):
                if shard.closed_ms is None and shard.low < at <= shard.high:
                    self.world.stream.split(shard.id, at, self.clock.now_ms())

    def _merge(self, of: tuple[int, ...]) -> None:
        stream = self.world.stream
        for index in of or (0,):
            open_ = [s for s in stream.shards.values() if s.closed_ms is None]
            open_.sort(key=lambda shard: shard.low)
            if len(open_) > 1:
                index %= len(open_) - 1  # noqa: PLW2901
                stream.merge(open_[index].id, open_[index + 1].id, self.clock.now_ms())

    def _expire(self, _: tuple[int, ...]) -> None:
        self.double.expire_iterators()


def play_on_the_double(story: Story) -> Counter[str]:
    """A story with a replica in memory and one in a file; hours later all is certain."""
    # The kernel's memory, where there is such a folder: what a disk does is not asked here.
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        replicas: list[Replica] = [MemoryReplica(), SQLiteReplica(Path(folder) / "replica.db")]
        place = DoublePlace(story, replicas)
        return play(place, story, test="play_on_the_double(STORY)")
