"""Snapshots of a store at work: taken at any moment of a consumer, torn, gone on with, and restored.

The store is one that keeps moments (in memory, SQLite) or one that keeps none (DynamoDB, on the double
that answers in short pages); while it is read for a snapshot a consumer goes on in it, items are
parked, somebody redrives, and the objects lose replies or the one who takes it dies.

What a snapshot is held against: the tables of the specification, at the version of each of its rows and
at the vector that it is replayed to; and the store that it was taken of, once both are at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Literal

from appliers.fingerprint import fingerprint
from appliers.item import Row
from appliers.store import Generation, Store, vector_of
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_tables_spec import Declared, KeySchema, Specification
from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from appliers.summary import summarize
from binlog.errors import BusyError, LostError, StorageError
from binlog.objects import Entry, MemoryObjects, Objects
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.replicas import RECORDS, Replica
from binlog.testing.world.tables import Tables
from binlog.vector import Vector, offset_of, without_zeros
from consumers.redrive import Redrive
from snapshots.restore import restore
from snapshots.snapshot import Snapshot, open_snapshot
from snapshots.snapshot_manifest import Manifest
from snapshots.snapshot_take import take_snapshot
from tests.objects.hostile_objects import Crashed, Fates, HostileObjects
from tests.proofs.parked import Parked, Seed
from tests.stores.dynamodb_double import DynamoDBDouble

Kind = Literal["memory", "sqlite", "dynamodb"]
KINDS: tuple[Kind, ...] = ("memory", "sqlite", "dynamodb")
MOODS = (
    Fates(),
    Fates(),
    Fates(lost_before=0.1, lost_after=0.1, cut=0.05),
    Fates(crash_before=0.05, crash_after=0.1),
    Fates(late=0.2, crash_after=0.05),
)
_READS = ("scan", "query", "get_item", "batch_get_item")


class Interrupted:
    """Objects before each call of which something may happen elsewhere."""

    def __init__(self, inner: Objects, run: Callable[[], object]) -> None:
        self.name = inner.name
        self._inner = inner
        self._run = run

    def put_new(self, key: str, data: bytes) -> bool:
        self._run()
        return self._inner.put_new(key, data)

    def put(self, key: str, data: bytes) -> None:
        self._run()
        self._inner.put(key, data)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        return self._inner.get(key, start, length)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        return self._inner.list(prefix, after=after)

    def delete(self, keys: Any) -> None:
        self._inner.delete(keys)

    def close(self) -> None:
        """The one underneath is its owner's."""


class Kept(Parked):
    """A log, its store, and the snapshots that are taken of it."""

    def __init__(self, commits: Sequence[Sequence[Seed]], *, kind: Kind, folder: Path) -> None:
        super().__init__(commits, uniform=True)
        self.met: Counter[str] = Counter()
        self.kind = kind
        self.folder = folder
        self.double = DynamoDBDouble(page_items=3)
        self.objects = MemoryObjects("memory:snapshots")
        self.memory = MemoryStore()
        self.store = self.open_store()
        self.redriven = False  # since then it is no function of the log any more
        self.replica: Replica[Store] = self._replica(self.store)
        self._is_within = False

    def _replica(self, store: Store, generation: Generation | None = None) -> Replica[Store]:
        return Replica(
            0,
            self.log,
            store,
            self.mood.rules,
            fingerprint=fingerprint(self.mood.rules),
            remembers=True,
            met=self.met,
            poison="park",
            generation=generation,
        )

    def open_store(self) -> Store:
        """Another handle on the store."""
        if self.kind == "memory":
            return self.memory.open()
        if self.kind == "sqlite":
            return SQLiteStore(self.folder / "store.db")
        return self.dynamodb("shop")

    def dynamodb(self, prefix: str) -> DynamoDBStore:
        pair = {name: KeySchema(("id", "S"), (more, "N")) for name, more in _PAIRS.items()}
        return DynamoDBStore(
            Specification(prefix, declared={t: Declared(keys=keys) for t, keys in pair.items()}),
            connect=self.double.connect,
            clock=self.double.clock,
            pause=self.double.pause,
            width=1,
            landing_s=0.0,
            random=Random(1),
        )

    # -- the live store --------------------------------------------------------------------------

    def live(self, op: int) -> None:
        """One thing happens in the store at work."""
        before = summary_of(self.store) if self._is_within else None
        if op % 4 < 3:
            self.replica.consume(1, 1 + op)
        else:
            self.redrive(mended=op % 8 == 3)
        if before is not None and before != summary_of(self.store):
            self.met["written while a snapshot was taken"] += 1

    def redrive(self, *, mended: bool) -> None:
        self.mood.broken = not mended
        try:
            for done in Redrive(self.store, self.mood.rules, dry_run=False).run():
                self.redriven |= done.applied > 0
                self.met[f"redriven: {done.outcome}"] += 1
                self.met["redriven while a snapshot was taken"] += self._is_within and (
                    done.applied > 0
                )
        except LostError:
            self.met["redrive lost"] += 1
        finally:
            self.mood.broken = True

    def to_the_end(self, replica: Replica[Store]) -> None:
        for _ in range(200):
            if replica.consume(50, RECORDS) == "caught up":
                break
        else:
            raise AssertionError("the consumer never catches up")
        if replica.engine is not None:
            replica.engine.checkpoint()

    # -- snapshots -------------------------------------------------------------------------------

    def snapshot(self, ops: Sequence[int], mood: int, seed: int) -> Manifest | None:
        """Take one, or go on with one; in its midst, one after the other, ``ops`` happen."""
        left = list(ops)
        hostile = HostileObjects(self.objects, Random(seed), MOODS[mood % len(MOODS)])
        source = self.open_store()
        begun = {entry.key.split("/")[1] for entry in self.objects.list("parts/")}
        try:
            with self._within(left):
                manifest = take_snapshot(source, Interrupted(hostile, lambda: self._run(left)))
        except Crashed:
            self.met["died while it took a snapshot"] += 1
            return None
        except (StorageError, BusyError) as error:
            self.met[type(error).__name__] += 1
            return None
        finally:
            hostile.calm()
            source.close()
        self.met["snapshot"] += 1
        self.met["gone on with a snapshot"] += manifest.id in begun
        self.met["fuzzy snapshot"] += not manifest.is_exact
        self.met["parked row in a snapshot"] += any(t.parked for t in manifest.tables.values())
        self.met["tombstone in a snapshot"] += any(t.tombstones for t in manifest.tables.values())
        return manifest

    @contextmanager
    def _within(self, left: list[int]) -> Iterator[None]:
        if self.kind == "dynamodb":
            for operation in _READS:
                self.double.hooks[operation] = lambda _: self._run(left)
        try:
            yield
        finally:
            for operation in _READS:
                self.double.hooks.pop(operation, None)

    def _run(self, left: list[int]) -> None:
        if left and not self._is_within:
            self._is_within = True
            try:
                self.live(left.pop(0))
            finally:
                self._is_within = False

    # -- judges ----------------------------------------------------------------------------------

    def check_manifest(self, manifest: Manifest) -> Snapshot:
        """What the snapshot says of itself, and each row, against the specification."""
        snapshot = open_snapshot(self.objects, manifest.id)
        assert snapshot.manifest == manifest
        rows = {t: dict(snapshot.rows(t)) for t in manifest.generation.tables}
        reach: Vector = dict(manifest.vector)
        for table, found in rows.items():
            for row in found.values():
                offset = offset_of(max(row.version, row.tail))
                reach[row.partition] = max(reach.get(row.partition, 0), offset)
            live = sum(row.data is not None for row in found.values())
            count = manifest.tables[table]
            assert (count.items, count.tombstones) == (live, len(found) - live)
            assert count.parked == sum(row.parked for row in found.values())
        for partition, offset in reach.items():
            assert manifest.exact.get(partition, 0) >= offset, "a row beyond what it is exact at"
        assert manifest.is_exact or self.kind == "dynamodb"
        if not self.redriven:
            self._check_rows(manifest, rows)
        return snapshot

    def _check_rows(self, manifest: Manifest, rows: dict[str, dict[bytes, Row]]) -> None:
        """Each row is its fold at its version; nothing up to the vector is missing.

        What waits beyond the vector may be left out: it comes again.
        """
        behind = self.tables_at(manifest.vector)
        for table in behind.names():
            for key, wanted in behind.marked_rows(table).items():
                row = rows[table].get(key)
                assert row is not None, "a row of before the vector is missing"
                assert max(row.version, row.tail) >= max(wanted[0], wanted[4])
        for table, found in rows.items():
            for key, row in found.items():
                through = max(offset_of(row.version), manifest.vector.get(row.partition, 0))
                at = self.tables_at({row.partition: through}).marked_rows(table)
                marked = at.get(key, (0, row.partition, None, False, 0))
                assert (row.version, row.partition, row.data, row.parked, row.tail) == marked

    def check_rows_equal(self, store: Store, tables: Tables) -> None:
        """Exact (N2): what a replica at that vector holds, marks too."""
        for table in tables.names():
            found = {
                key: (row.version, row.partition, row.data, row.parked, row.tail)
                for key, row in store.scan(table)
            }
            assert found == tables.marked_rows(table), table

    def tables_at(self, vector: Vector) -> Tables:
        """What a store that parks has to hold at a vector, nobody having redriven anything."""
        tables = Tables(self.mood.rules, PARAMS.partitions, parks=True)
        for each in sorted(self.events(), key=lambda each: each[:2]):
            if each[1] <= vector.get(each[0], 0):
                tables.apply(*each)
        return tables

    def check_restored(self, snapshot: Snapshot, target: Store) -> None:
        """Invariant 17: restored, nothing is lost; with the tail, it is what the live store is."""
        manifest = snapshot.manifest
        restore(snapshot, target, log=self.log, rules=self.mood.rules)
        [generation] = target.generations()
        at = without_zeros(vector_of(target.checkpoints(generation.id)))
        assert at == without_zeros(manifest.exact)
        if not self.redriven:
            self.check_rows_equal(target, self.tables_at(at))
        self.check_nothing_is_lost(target)
        replica = self._replica(target, generation)
        self.to_the_end(replica)
        self.check_nothing_is_lost(target)
        if not self.redriven:
            self.check_equals(target, self.tables(broken=True))
        self.met["restored"] += 1
        for _ in range(2):
            self.mood.broken = False
            list(Redrive(target, self.mood.rules, dry_run=False).run())
            self.mood.broken = True
        self.check_equals(target, self.tables(broken=False))

    def settle(self) -> None:
        """The live store comes to its end, and is mended."""
        self.to_the_end(self.replica)
        self.check_nothing_is_lost(self.store)
        for _ in range(2):
            self.redrive(mended=True)
        self.check_equals(self.store, self.tables(broken=False))


_PAIRS = {"tally": "side", "stock.level": "at"}


def summary_of(store: Store) -> object:
    """What it holds, if it can be told now."""
    try:
        return summarize(store)
    except BusyError:
        return None
