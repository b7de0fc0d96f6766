"""A log that grows by chance, and rebuilds of it from its beginning and from snapshots, compared."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from appliers.applier import Appliers
from appliers.letters import letter_order
from appliers.store import Store, vector_of
from appliers.stores.memory import MemoryStore
from binlog.actions import build_many
from binlog.clock import ManualClock
from binlog.envelope import ITEM_TYPES
from binlog.logs.memory import MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.params import Params
from binlog.producer import Producer, ProducerOptions
from binlog.vector import Vector
from snapshots.base import Base
from snapshots.kept import KeptWork
from snapshots.rebuild import Report, Wanted, rebuild
from snapshots.snapshot_manifest import Manifest
from snapshots.snapshot_take import take_snapshot

PARAMS = Params(log_id="7e" * 16, partitions=5)
TABLES = ("users", "orders")

appliers = Appliers()


@appliers.on("Renamed", table="users", version=1)
def rename(item: Mapping[str, Any] | None, event: Any) -> Mapping[str, Any]:
    return {**(item or event.key), "name": event.data["name"]}


@appliers.on("Greeted", table="users", version=1, key=lambda event: {"id": event.data["whom"]})
def greet(item: Mapping[str, Any] | None, event: Any) -> Mapping[str, Any]:
    return {**(item or event.key), "greeted": True}


RULES = appliers.build()


def action(random: Random, number: int) -> dict[str, Any]:
    """An action on one of few keys: puts, updates, deletes, expectations, poison, domain events."""
    table = random.choice(TABLES)
    key = {"id": f"k{random.randrange(9)}"}
    kind = random.randrange(20)
    line: dict[str, Any] = {"Table": table, "Key": key, "Id": f"e{number}"}
    if kind < 8:
        line |= {"Action": "PutItem", "Data": {"n": number, "text": "x" * random.randrange(9)}}
    elif kind < 12:
        line |= {"Action": "UpdateItem", "Data": {"Add": {"n": 1}, "Set": {"at": number}}}
    elif kind < 14:
        line |= {"Action": "DeleteItem"}
    elif kind < 16:
        line |= {"Action": "PutItem", "Data": {"n": number}, "Expect": random.randrange(4)}
    elif kind < 17:
        line |= {"Action": "PutItem", "Data": {"n": "text, to which nothing can be added"}}
    else:
        line |= {"Action": "Event", "Type": random.choice(("Renamed", "Unheard", "Greeted"))}
        line |= {"Table": "users", "Data": {"name": f"name {number}"}}  # greeted is nobody: alone
    return line


class World:
    """A log that `grow` makes longer; what is at an earlier vector stays there."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = ManualClock()
        self.log = MemoryLog(PARAMS, clock=self.clock)
        self.objects = MemoryObjects()
        self.written = 0
        # Rounds and frames of several events, so that vectors cut records.
        self._options = ProducerOptions(calls_max=1)

    def grow(self, events: int) -> None:
        """Append so many events, a second after the others, and a foreign record."""
        self.clock.advance(1_000)
        lines = [action(self.random, self.written + n) for n in range(events)]
        self.written += events
        with Producer(self.log, options=self._options, clock=self.clock) as producer:
            for start in range(0, events, 8):
                producer.append_many(build_many(lines[start : start + 8], now_ms=1))
                self.clock.advance(10)
        [shard] = self.log.shards()
        self.log.inject_foreign(f"key {self.written}", b"sample", shard=shard.id)

    def rebuilt(
        self,
        wanted: Wanted,
        *,
        base: Base | None = None,
        work: KeptWork | None = None,
        workers: int = 1,
        store: MemoryStore | None = None,
    ) -> tuple[MemoryStore, Report]:
        store = store or MemoryStore()
        report = rebuild(self.log, store, wanted, base=base, work=work, workers=workers)
        return store, report

    def end(self) -> Vector:
        """The log's end."""
        return self.rebuilt(Wanted(rules=RULES, poison="park"))[1].vector

    def cut(self, low: Vector, high: Vector) -> Vector:
        """A vector between two, drawn partition by partition."""
        return {p: self.random.randint(low.get(p, 0), high[p]) for p in sorted(high)}

    def snapshot(self, store: Store) -> Manifest:
        self.clock.advance(1_000)
        return take_snapshot(store, self.objects, clock=self.clock, random=self.random)


def contents(store: Store) -> dict[str, Any]:
    """All that two replicas have to have in common."""
    [generation] = store.generations()
    checkpoints = store.checkpoints(generation.id)
    return {
        "rows": {table: list(store.scan(table)) for table in generation.tables},
        "rejections": list(store.rejections()),
        "letters": sorted(store.letters(), key=letter_order),
        "foreign": sorted(store.foreign(), key=lambda each: each.place),
        "vector": vector_of(checkpoints),
        "places": {
            p: (c.shard, c.sequence, c.offset, c.applied, c.digest, c.state)
            for p, c in checkpoints.items()
        },
        # Actions on tables that are not wanted are noted, too, and say nothing.
        "types": set(generation.types) - ITEM_TYPES,
        "excluded": generation.excluded,
        "fingerprint": generation.fingerprint,
    }
