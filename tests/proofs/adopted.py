"""Adoptions under writes: ADOPT records at different times in different partitions, and what every
reader has to make of them, whichever way it reads.

The specification adds one sentence to that of tables: an ADOPT is the first event of its table in its
partition, and makes all items that the base has there, at its own version; where something of the
table was applied, or waits, before it, nobody goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.store import Store
from appliers.stores.memory import MemoryStore
from binlog.adoption import ADOPT_TYPE, Adoption, decode_adoption
from binlog.clock import ManualClock
from binlog.control import adopt_frame
from binlog.envelope import Envelope
from binlog.errors import PoisonError
from binlog.log import Put
from binlog.objects import MemoryObjects
from binlog.partition import ordering_key, partition_of
from binlog.reader import Reader
from binlog.testing.world.cell import Cell, Poison
from binlog.testing.world.item_events import IDS, item_event, poison_event
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.replicas import RECORDS, Replica
from binlog.testing.world.store import WorldStore
from binlog.testing.world.tables import Place, Tables
from binlog.values import encode_value
from snapshots.base import SnapshotBase
from snapshots.rebuild import Wanted, rebuild
from snapshots.restore import restore
from snapshots.snapshot import Snapshot
from snapshots.snapshot_take import take_snapshot
from tests.proofs.hostile import HostileProducers
from tests.proofs.rebuilt import check_contents

TABLE = "orders"
ADOPTION = Adoption(TABLE, "ab" * 16, "cd" * 32, "memory:bases")


class Held:
    """The base: `appliers.adoption.Bases`."""

    def __init__(self, items: Mapping[bytes, bytes]) -> None:
        self.items = items

    def rows(self, adoption: Adoption, partition: int) -> Iterable[tuple[bytes, bytes]]:
        assert adoption == ADOPTION
        return [(k, d) for k, d in self.items.items() if home_of(k) == partition]

    def size_bytes(self) -> int:
        return sum(map(len, self.items.values()))


def home_of(key: bytes) -> int:
    return partition_of(ordering_key(TABLE, key), PARAMS.partitions)


class AdoptedTables(Tables):
    """See the module."""

    def __init__(self, base: Mapping[bytes, bytes], *, parks: bool) -> None:
        super().__init__(NO_RULES, PARAMS.partitions, parks=parks)
        self.base = base

    def apply(
        self,
        partition: int,
        offset: int,
        event: Envelope,
        arrival_ms: int = 0,
        session: object = "",
        number: int = 0,
    ) -> tuple[Place, ...]:
        if event.type != ADOPT_TYPE or decode_adoption(event.table, event.data) is None:
            return super().apply(partition, offset, event, arrival_ms, session, number)
        cells = self.cells.setdefault(TABLE, {})
        if (
            any(cell.partition == partition for cell in cells.values())
            or any(
                place[0] == TABLE and waiting[0][0] == partition
                for place, waiting in self.waiting.items()
            )
            or any((r.partition, r.table) == (partition, TABLE) for r in self.refused)
        ):
            raise Poison("an event of the table stands before its adoption")
        mine = {key: data for key, data in self.base.items() if home_of(key) == partition}
        cells |= {k: Cell(offset, partition, source=d, weight=len(d)) for k, d in mine.items()}
        self.vector[partition] = offset
        return tuple((TABLE, key) for key in mine)


class Adopted:
    """A log, whose table ``orders`` is adopted somewhere in it; ``late``: something may be before."""

    def __init__(self, random: Random, *, late: bool) -> None:
        self.random = random
        self.met: Counter[str] = Counter()
        self.producers = HostileProducers(kinesis=True, make_event=item_event)
        self.log = self.producers.log
        self.base = self._base()
        self.bases = Held(self.base)
        left = list(range(PARAMS.partitions))
        adopted: set[int] = set()
        random.shuffle(left)
        for _ in range(random.randrange(6, 14)):
            if left and random.random() < 0.4:
                partition = left.pop()
                self.adopt(partition)
                adopted.add(partition)
            self.write(adopted, late=late)
            if random.random() < 0.15:
                self.producers.reshard(random.randrange(4))
            if adopted and random.random() < 0.1:
                self.adopt(random.choice(sorted(adopted)))  # who resumes it writes it again
                self.met["adopted again"] += 1
        self.producers.settle()

    def _base(self) -> dict[bytes, bytes]:
        names = [name for name in (*IDS, *"bcdfg") if self.random.random() < 0.7]
        items: list[dict[str, Any]] = [
            {"id": name, "n": n, "s": frozenset({"x", "old"})} for n, name in enumerate(names)
        ]
        return {encode_value({"id": item["id"]}): encode_value(item) for item in items}

    def adopt(self, partition: int) -> None:
        frame = adopt_frame(PARAMS, self.log.genesis, ADOPTION, partition, now_ms=self.log.now_ms())
        self.log.append([Put(partition, frame)])

    def write(self, adopted: set[int], *, late: bool) -> None:
        """A commit; of the table only where it is adopted, or anywhere if that may be too late."""
        events = []
        for _ in range(self.random.randrange(1, 7)):
            a, b, c = (self.random.randrange(256) for _ in range(3))
            event = poison_event(a, c) if self.random.random() < 0.1 else item_event(a, b, c)
            is_of_it = event.table == TABLE
            if (
                not is_of_it
                or home_of(event.key) in adopted
                or (late and self.random.random() < 0.3)
            ):
                events.append(event)
        self.producers.publish(0, events)
        for _ in range(3):
            self.producers.tick(5)
            self.producers.work(0, (self.random.randrange(14), 0), reply_at_once=True)

    # -- judged ----------------------------------------------------------------------------------

    def reference(self) -> tuple[AdoptedTables, Poison | None]:
        tables = AdoptedTables(self.base, parks=True)
        reader = Reader(self.log)
        found = []
        while (runs := reader.read()) is not None:
            for run in runs:
                for i, event in enumerate(run.columns.envelopes()):
                    found.append((run.partition, run.first_offset + i, event))
        try:
            for each in sorted(found, key=lambda each: each[:2]):
                tables.apply(*each)
        except Poison as error:
            return tables, error
        return tables, None

    def check(self) -> None:
        """All readers, whichever way they read: the same, or all of them stop."""
        tables, poison = self.reference()
        if poison is not None:
            self.met["too late"] += 1
            for read in (self._rebuilt, *[self._replicated] * 4):
                try:
                    read()
                except PoisonError:
                    continue
                raise AssertionError(f"{read.__name__} passed over what is too late: {poison}")
            return
        self.met["base row never touched"] += self._count(tables, lambda cell, v: cell.version == v)
        self.met["base row deleted"] += self._count(tables, lambda cell, _: cell.deleted)
        self.met["base row updated"] += self._count(
            tables, lambda cell, v: cell.version > v and not cell.deleted
        )
        for store in (self._rebuilt(), *[self._replicated() for _ in range(3)], self._begun()):
            check_contents(store, tables, set(tables.names()))

    def _count(self, tables: AdoptedTables, is_so: Any) -> int:
        cells = tables.cells.get(TABLE, {})
        adopted = {
            key: min((v for k, v in self._versions() if k == home_of(key)), default=0)
            for key in self.base
        }
        return sum(key in cells and is_so(cells[key], adopted[key]) for key in self.base)

    def _versions(self) -> list[tuple[int, int]]:
        reader, found = Reader(self.log), []
        while (runs := reader.read()) is not None:
            found += [
                (run.partition, run.first_offset + i)
                for run in runs
                for i, event in enumerate(run.columns.envelopes())
                if event.type == ADOPT_TYPE
            ]
        return found

    def _rebuilt(self) -> MemoryStore:
        store = MemoryStore()
        rebuild(self.log, store, Wanted(poison="park", bases=self.bases))
        self.met["rebuilt"] += 1
        return store

    def _replica(self, store: WorldStore) -> Replica[WorldStore]:
        return Replica(
            0,
            self.log,
            store,
            NO_RULES,
            fingerprint=fingerprint(NO_RULES),
            remembers=True,
            met=self.met,
            poison="park",
            bases=self.bases,
        )

    def _replicated(self) -> Store:
        """A consumer that dies over it, and goes on; at some moment a snapshot is taken."""
        store = WorldStore(met=self.met)
        replica = self._replica(store)
        self._snapshot: Snapshot | None = None
        for _ in range(self.random.randrange(8)):
            replica.crash(self.random.randrange(9), 1 + self.random.randrange(5), heard=False)
            if self._snapshot is None or self.random.random() < 0.3:
                objects = MemoryObjects()
                clock = ManualClock()
                self._snapshot = Snapshot(objects, take_snapshot(store, objects, clock=clock))
                self.met["fuzzy snapshot"] += not self._snapshot.manifest.is_exact
        for _ in range(100):
            if replica.consume(9, self.random.choice([1, 2, 5, RECORDS])) == "caught up":
                break
        if replica.engine is not None:
            replica.engine.checkpoint()
        return store

    def _begun(self) -> Store:
        """From a snapshot of some moment: by a rebuild, or restored."""
        self._replicated()
        snapshot = self._snapshot
        store = MemoryStore()
        wanted = Wanted(poison="park", bases=self.bases)
        if snapshot is None:
            return self._rebuilt()
        self.met["begun at a snapshot"] += 1
        if snapshot.manifest.is_exact and self.random.random() < 0.5:
            restore(snapshot, store, log=self.log)
        rebuild(self.log, store, wanted, base=SnapshotBase(snapshot))
        return store


def tell(random: Random) -> Counter[str]:
    """A whole story; what was met."""
    story = Adopted(random, late=random.random() < 0.3)
    story.check()
    return story.met
