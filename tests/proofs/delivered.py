"""The whole, delivered: a service hands the log's shards over in lanes, to workers that share a store.

The service is as the real ones are and no better. It hands a lane's records over in order, as many at
a time as it likes, to any worker; again whatever was not reported as done, whatever was cut off by a
time-out while the worker goes on; old batches at any time; the children of a shard when it believes
their parents done. It believes what a worker says, and never hands that over again by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import msgspec

from appliers.store import Checkpoint, vector_of
from appliers.stores.memory import MemoryStore
from appliers.summary import summarize
from binlog.errors import HaltedError
from binlog.foreign import Place
from binlog.halt import Halt
from binlog.log import Position, Record
from binlog.testing.world.store import Crashed, WorldStore
from consumers.budget import Budget
from consumers.delivery import Outcome, Worker, Working
from consumers.local import Following, replicate
from snapshots.rebuild import Wanted, rebuild
from tests.proofs.whole import Whole

WORKERS = 3
WITHOUT_END = 1 << 60
PAGES = (100, 400, WITHOUT_END)  # bytes


@dataclass(frozen=True)
class Lane:
    """What is handed over by itself: the partition keys of a shard that hash alike."""

    shard: str
    number: int
    count: int

    def takes(self, record: Record) -> bool:
        key = record.partition_key or f"p{record.partition:04d}"
        return crc32(key.encode()) % self.count == self.number


@dataclass(frozen=True)
class Batch:
    lane: Lane
    records: tuple[Record, ...]


class Short(Budget):
    """A time that is up after some pages, of a length that somebody chose."""

    def __init__(self, size: int, pages: int) -> None:
        self.size, self.pages = size, pages

    def begin(self, deadline: float | None) -> None:
        pass

    def page_bytes(self) -> int | None:
        self.pages -= 1
        return self.size if self.pages >= 0 else None

    def note(self, size: int) -> None:
        pass


class Service:
    """What was handed over of a log, and what of it is done as far as anybody was told."""

    def __init__(self, whole: Delivered, lanes: int) -> None:
        self._log = whole.log
        self._lanes = lanes
        self.done: dict[Lane, int] = {}  # sequence number
        self.sent: list[Batch] = []

    def lanes(self) -> list[Lane]:
        """Those that have something to hand over, parents' alone where they have."""
        shards = self._log.shards()
        busy: set[str] = set()
        found: list[Lane] = []
        for shard in shards:
            if any(parent in busy for parent in shard.parents):
                busy.add(shard.id)
                continue
            with_records = [lane for lane in self._lanes_of(shard.id) if self.left(lane)]
            found += with_records
            if with_records or not self._is_over(shard.id):
                busy.add(shard.id)
        return found

    def left(self, lane: Lane) -> list[Record]:
        """What is not done of a lane, as far as it is visible."""
        done = self.done.get(lane, -1)
        page = self._log.read(Position(lane.shard, done), bytes_max=WITHOUT_END)
        return [record for record in page.records if lane.takes(record)]

    def take(self, lane: Lane, count: int) -> Batch:
        batch = Batch(lane, tuple(self.left(lane)[:count]))
        self.sent.append(batch)
        return batch

    def told(self, batch: Batch, outcome: Outcome) -> None:
        """What was not reported is done, and never handed over again."""
        through = batch.records[-1].sequence
        if outcome.first_failed is not None:
            assert outcome.error is not None
            before = [r.sequence for r in batch.records if r.sequence < outcome.first_failed]
            through = before[-1] if before else -1
        self.done[batch.lane] = max(self.done.get(batch.lane, -1), through)

    def _lanes_of(self, shard: str) -> list[Lane]:
        return [Lane(shard, number, self._lanes) for number in range(self._lanes)]

    def _is_over(self, shard: str) -> bool:
        done = max(self.done.get(lane, -1) for lane in self._lanes_of(shard))
        page = self._log.read(Position(shard, done), bytes_max=WITHOUT_END)
        return page.closed and page.caught_up


class Delivered(Whole):
    """``lanes`` of a shard are delivered apart."""

    def __init__(self, *, lanes: int, kinesis: bool, folder: Path) -> None:
        super().__init__(kind="loose", kinesis=kinesis, folder=folder)
        self.service = Service(self, lanes)
        self.handles: list[WorldStore] = []
        self.workers: list[Worker] = []
        self.halts: dict[int, Halt] = {}
        for index in range(WORKERS):
            self.restart(index)

    @property
    def loose(self) -> WorldStore:
        assert isinstance(self.store, WorldStore)
        return self.store

    def rows(self) -> dict[int, Checkpoint]:
        [generation] = self.store.generations()
        return self.store.checkpoints(generation.id)

    def halted(self) -> list[Halt]:
        return list(self.halts.values())

    # -- workers ---------------------------------------------------------------------------------

    def restart(self, index: int) -> None:
        """A cold start: nothing is left of what it knew."""
        handle = self.loose.open()
        worker = Worker(self.log, handle, Working())
        self.handles[index:] = [handle, *self.handles[index + 1 :]]
        self.workers[index:] = [worker, *self.workers[index + 1 :]]

    def apply(self, index: int, batch: Batch, *, size: int, pages: int) -> Outcome | None:
        """Hand a batch to a worker; ``None`` if it dies over it."""
        worker, limited = self.workers[index], Short(size, pages)
        worker._tools = msgspec.structs.replace(worker._tools, budget=limited)
        try:
            outcome = worker.apply(batch.lane.shard, batch.records)
        except Crashed:
            self.met["worker crashed"] += 1
            self.restart(index)
            return None
        self.met["out of time"] += limited.pages < 0
        self.met["applied"] += outcome.events
        self.met["nothing new"] += outcome.first_failed is None and not outcome.events
        self.halts.update((halt.partition, halt) for halt in outcome.halted)
        return outcome

    def invoke(
        self, which: int, index: int, count: int, *, size: int = PAGES[-1], pages: int = 1 << 30
    ) -> bool:
        """The service hands something over; whether it had something."""
        lanes = self.service.lanes()
        if not lanes:
            return False
        batch = self.service.take(lanes[which % len(lanes)], count)
        outcome = self.apply(index, batch, size=size, pages=pages)
        if outcome is not None:
            self.service.told(batch, outcome)
        return True

    def invoke_again(self, which: int, index: int) -> None:
        """A batch of any time comes again, and what is said of it nobody hears."""
        sent = self.service.sent
        if sent:
            self.met["delivered again"] += 1
            self.apply(index, sent[which % len(sent)], size=PAGES[-1], pages=1 << 30)

    def overlap(
        self, index: int, inner: Callable[[], object], outer: Callable[[], object], *, at_read: bool
    ) -> None:
        """Something happens in the middle of what a worker does."""
        handle = self.handles[index]
        before = len(handle.journal)

        def run() -> None:
            inner()
            self.met["overtaken"] += len(handle.journal) > before

        if at_read:
            handle.on_read = run
        else:
            handle.between = run
        outer()
        handle.on_read = handle.between = None

    def rebuild(self) -> None:
        """A new generation, beneath the workers."""
        try:
            rebuild(self.log, self.loose.open(), Wanted())
        except HaltedError:
            return
        self.met["rebuilt beneath"] += 1

    # -- others ----------------------------------------------------------------------------------

    def foreign_places(self) -> set[Place]:
        return {
            (shard.id, record.sequence)
            for shard in self.log.shards()
            for record in self.log.read(Position(shard.id, -1), bytes_max=WITHOUT_END).records
            if record.partition < 0
        }

    # -- checks ----------------------------------------------------------------------------------

    def deliver_all(self) -> None:
        """The service goes on until all is done, or nothing goes on any more."""
        idle, turn = 0, 0
        while lanes := self.service.lanes():
            if idle > 2 * len(lanes):
                return
            before = dict(self.service.done)
            self.invoke(turn, turn % WORKERS, 1 + turn % 7)
            idle = 0 if self.service.done != before else idle + 1
            turn += 1

    def replicate(self, steps: int, page_bytes: int) -> None:
        """What brings the store to the log's end when all comes to rest: the service alone."""
        del steps, page_bytes
        self.replica.engine = self.replica.engine or self.replica.new_engine(1)
        self.halts.clear()
        self.deliver_all()

    def settle(self) -> None:
        for handle in self.handles:
            handle.crash_after = handle.between = handle.on_read = None
        [self.replica.generation] = self.store.generations()
        super().settle()
        assert {record.place for record in self.store.foreign()} == self.foreign_places()
        pulled = MemoryStore()
        replicate(self.log, pulled, Following(once=True))
        assert summarize(pulled) == summarize(self.store)
        assert vector_of(self.rows()) == self.end()


def lane_places(batches: Sequence[Batch]) -> set[Lane]:
    """The lanes that were delivered."""
    return {batch.lane for batch in batches}
