"""A store that others write to while a snapshot is taken of it, all by one seed.

What happens meanwhile, between any two reads: events are appended and carried into the store, by a
consumer that checkpoints now or later; what waits is put back; the store is rebuilt; whoever takes the
snapshot is killed, or somebody else takes it too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from appliers.applier import ApplierError, Appliers
from appliers.fingerprint import fingerprint
from appliers.item import Rejection
from appliers.letters import DeadLetter
from appliers.store import Generation, Store
from appliers.survey import Page, Survey
from binlog.changes import delete_item, event, put_item
from binlog.clock import ManualClock
from binlog.log import Position
from binlog.logs import DirectoryLog, create_directory_log
from binlog.objects import MemoryObjects
from binlog.params import Params
from binlog.producer import Producer
from consumers.delivery import Worker
from consumers.engine import Engine
from consumers.local import Following, replicate
from consumers.redrive import Redrive
from consumers.thrift import Thrift
from consumers.working import Working
from snapshots.rebuild import Wanted, rebuild
from snapshots.snapshot import Snapshot
from snapshots.snapshot_manifest import Manifest
from snapshots.snapshot_take import take_snapshot
from tests.contracts.dynamodb_places import store_on
from tests.stores.dynamodb_double import DynamoDBDouble

BROKEN: set[int] = set()
APPLIERS = Appliers()
KEYS = 9


@APPLIERS.on("Paid", table="orders")
def pay(item: Any, paid: Any) -> Any:
    if paid.data in BROKEN:
        raise ApplierError("not this one")
    return {**(item or paid.key), "paid": [*(item or {}).get("paid", ()), paid.data]}


RULES = APPLIERS.build()
PARK = Following(once=True, rules=RULES, poison="park")


class KilledError(Exception):
    """Whoever took the snapshot is gone."""


class LiveWorld:
    """A log, a DynamoDB store of it, and what happens to both."""

    def __init__(self, path: Path, seed: int) -> None:
        self.random = Random(seed)
        self.seen: Counter[str] = Counter()
        BROKEN.clear()
        BROKEN.add(2)
        create_directory_log(path, Params(log_id="ab" * 16, partitions=3))
        self.clock = ManualClock()
        self.log = DirectoryLog(path, clock=self.clock)
        self.double = DynamoDBDouble(page_items=2)
        self.is_team = self.random.random() < 0.3
        self.consumer = store_on(self.double, width=1)
        self.consumer.bind(self.log.genesis)
        self._engine()
        self.objects = MemoryObjects()
        self.calm = False  # nothing happens any more
        self.number = 0
        self.delivered = 0  # records handed to a team, from the first one on

    def _engine(self) -> None:
        if self.is_team:
            working = Working(rules=RULES, poison="park")
            self.team = [
                Worker(self.log, store_on(self.double, width=1), working) for _ in range(2)
            ]
            return
        live = self.consumer.generations() or [
            self.consumer.create(tables=None, fingerprint=fingerprint(RULES), excluded=())
        ]
        thrift = Thrift(self.clock.monotonic) if self.random.random() < 0.5 else None
        self.engine = Engine(
            self.log,
            self.consumer,
            live[0],
            RULES,
            poison="park",
            tell_halts=False,
            thrift=thrift,
            page_bytes=300,
        )

    # -- what happens --------------------------------------------------------------------------

    def append(self, count: int) -> None:
        with Producer(self.log) as producer:
            for _ in range(count):
                self.number += 1
                key = {"id": self.random.randrange(KEYS)}
                kind = self.random.random()
                if kind < 0.4:
                    producer.append(event("Paid", key, self.random.randrange(5), table="orders"))
                elif kind < 0.6:
                    producer.append(put_item("orders", {**key, "total": self.number}, key="id"))
                elif kind < 0.75:
                    expected = self.random.choice([0, 1, self.number])
                    item: dict[str, Any] = {**key, "total": self.number, "paid": []}
                    producer.append(put_item("orders", item, key="id", expect=expected))
                elif kind < 0.9:
                    producer.append(delete_item("orders", key))
                else:
                    table = self.random.choice(["users", "carts"])
                    producer.append(put_item(table, {**key, "n": self.number}, key="id"))

    def deliver(self, records: int) -> None:
        """Hand so many records to one of a team, some of them not for the first time."""
        [shard] = self.log.shards()
        worker = self.random.choice(self.team)
        every = self.log.read(Position(shard.id, -1), bytes_max=1 << 30).records
        begin = max(0, self.delivered - self.random.choice([0, 0, 3]))
        batch = every[begin : self.delivered + records]
        outcome = worker.apply(shard.id, batch)
        if outcome.first_failed is None:
            self.delivered = max(self.delivered, begin + len(batch))

    def carry(self, steps: int) -> None:
        if self.is_team:
            self.seen["team"] += 1
            self.deliver(steps)
            return
        for _ in range(steps):
            if self.engine.step() is None:
                break

    def put_back(self) -> None:
        BROKEN.clear()
        done = list(Redrive(self.consumer, RULES, dry_run=False).run())
        self.seen["put back"] += any(each.applied for each in done)
        BROKEN.add(2)
        self._engine()

    def rebuild(self) -> None:
        self.seen["rebuilt"] += 1
        if not self.is_team:
            self.engine.rest()
        rebuild(self.log, self.consumer, Wanted(rules=RULES, poison="park"))
        self._engine()

    def something(self) -> None:
        """What happens between two reads of a snapshot."""
        if self.calm:
            return
        chance = self.random.random()
        if chance < 0.25:
            self.append(self.random.randrange(1, 4))
            self.carry(self.random.randrange(1, 9))
        elif chance < 0.35:
            self.carry(9)
        elif chance < 0.45:
            self.put_back()
        elif chance < 0.46:
            self.rebuild()
        elif chance < 0.49:
            self.seen["killed"] += 1
            raise KilledError
        elif chance < 0.51 and self.seen["beside"] < 2:
            self.seen["beside"] += 1
            beside, self.calm = self.calm, True
            self.take(happens=lambda: None)
            self.calm = beside
        self.clock.advance(self.random.choice([0, 1, 700, 2500]))

    # -- the snapshot --------------------------------------------------------------------------

    def take(self, happens: Callable[[], None] | None = None) -> Manifest:
        store = store_on(self.double, width=1)
        return take_snapshot(
            Interrupted(store, happens or self.something),  # type: ignore[arg-type]
            self.objects,
            workers=1,
            clock=self.clock,
            part_bytes=self.random.choice([1, 60, 10_000]),
        )

    def finished(self) -> Manifest:
        """Taken, however often whoever takes it is killed."""
        for _ in range(50):
            try:
                return self.take()
            except KilledError:
                continue
        self.calm = True
        return self.take()

    def at_the_end(self) -> Any:
        """What a store must hold of the whole log once nothing is broken any more."""
        BROKEN.clear()
        store = store_on(DynamoDBDouble(), width=1)
        rebuild(self.log, store, Wanted(rules=RULES, poison="stop"))
        return content(store)


def settled(world: LiveWorld, store: Store) -> Any:
    """``store`` carried to the log's end, and all that waits put back."""
    replicate(world.log, store, PARK)
    BROKEN.clear()
    list(Redrive(store, RULES, dry_run=False).run())
    return content(store)


def content(store: Store) -> Any:
    """All of it: rows, letters, rejections, vector."""
    with store.view() as view:
        [generation] = view.generations()
        rows = {
            table: {key: row for key, row in view.scan(table)}  # noqa: C416 - ordered
            for table in generation.tables
        }
        vector = {p: c.applied for p, c in view.checkpoints(generation.id).items() if c.applied}
        letters = [msgspec.structs.replace(x, event=b"") for x in view.letters()]
        return vector, rows, letters, list(view.rejections())


class Interrupted:
    """A store whose surveys let something happen before each read."""

    keeps_moments = False

    def __init__(self, store: Any, happens: Callable[[], None]) -> None:
        self.name = store.name
        self._store = store
        self._happens = happens

    @contextmanager
    def survey(self, generation: str | None = None, *, rate: float | None = None) -> Iterator[Any]:
        with self._store.survey(generation, rate=rate) as found:
            self._happens()
            yield _InterruptedSurvey(found, self._happens)


class _InterruptedSurvey:
    def __init__(self, survey: Survey, happens: Callable[[], None]) -> None:
        self._survey = survey
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._survey, name)

    def _each(self, items: Iterator[Any]) -> Iterator[Any]:
        self._happens()
        for item in items:
            yield item
            self._happens()

    def letters(self) -> Iterator[DeadLetter]:
        return self._each(self._survey.letters())

    def rejections(self) -> Iterator[Rejection]:
        return self._each(self._survey.rejections())

    def pages(
        self, table: str, segment: int, segments: int, *, after: bytes | None = None
    ) -> Iterator[Page]:
        return self._each(self._survey.pages(table, segment, segments, after=after))

    def check(self) -> Generation:
        self._happens()
        return self._survey.check()


def opened(world: LiveWorld, manifest: Manifest) -> Snapshot:
    """The snapshot of a manifest."""
    return Snapshot(world.objects, manifest)
