"""The whole: producers, a hostile log, consumers that crash and overtake each other, operators.

What the stores hold is compared with the reference: its sequencer over the records of the log as
they are, then its tables over the events, up to the store's own vector. The ledger of what
producers were told is compared with the same.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from appliers.applier import NO_RULES
from appliers.digest import TableDigest
from appliers.fingerprint import fingerprint
from appliers.item import Row
from appliers.store import Generation, Reader, Store, vector_of
from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from binlog.halt import Halt
from binlog.target import Target
from binlog.testing.world.item_events import item_event
from binlog.testing.world.ledger import check_ledger, check_order
from binlog.testing.world.operators import Operators
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.records import Resolve
from binlog.testing.world.replicas import Replica
from binlog.testing.world.specification import COPY, Limits, Reference, Verdict
from binlog.testing.world.store import WorldStore
from binlog.testing.world.tables import Tables
from binlog.vector import Vector, without_zeros
from snapshots.rebuild import Wanted, rebuild
from tests.proofs.hostile import HostileProducers

LIMITS = Limits(
    PARAMS.session_life_ms, PARAMS.id_window, PARAMS.hold_frames_max, PARAMS.hold_bytes_max
)
PAGE_BYTES = (1, 2, 5, 20, 1 << 20)  # which the world's log counts in records


class Whole:
    """``kind`` of the store that is replicated into: loose, memory or sqlite."""

    def __init__(self, *, kind: str, kinesis: bool, folder: Path) -> None:
        self.producers = HostileProducers(kinesis=kinesis, make_event=item_event)
        self.log = self.producers.log
        self.kind = kind
        self.folder = folder
        self.met: Counter[str] = Counter()
        self.operators = Operators(self.log)
        self._judged: dict[int, tuple[int, Verdict]] = {}
        self.replica = Replica(
            0,
            self.log,
            self.new_store("replica"),
            NO_RULES,
            fingerprint=fingerprint(NO_RULES),
            remembers=True,
            met=self.met,
        )

    @property
    def store(self) -> Store:
        return self.replica.store

    @property
    def generation(self) -> Generation:
        return self.replica.generation

    def new_store(self, name: str) -> Store:
        if self.kind == "sqlite":
            return SQLiteStore(self.folder / f"{name}.db")
        return WorldStore(met=self.met) if self.kind == "loose" else MemoryStore()

    def close(self) -> None:
        self.store.close()

    # -- consumers -------------------------------------------------------------------------------

    def replicate(self, steps: int, page_bytes: int) -> None:
        """Some pages; what breaks a consumer, breaks it here, and the next one starts over."""
        self.replica.consume(steps, page_bytes)

    def start_zombie(self, page_bytes: int) -> None:
        self.replica.start_zombie(page_bytes)

    def zombie_step(self, steps: int) -> None:
        """The other consumer goes on from where it stood, however long ago."""
        self.replica.wake(steps)

    def halted(self) -> list[Halt]:
        engine = self.replica.engine
        return [] if engine is None else list(engine.reader.halts.values())

    # -- operators -------------------------------------------------------------------------------

    def damage(self, partition: int, which: int) -> None:
        """A record that is no frame lands in a partition."""
        self.operators.damage(partition, which)
        self.met["damaged"] += 1

    def resolve(self, which: int) -> None:
        """Somebody lifts what the consumer reports as halted."""
        for halt in self.halted():
            self.operators.resolve(halt, which)
            self.met["resolved"] += 1

    def noop(self, partition: int) -> None:
        self.operators.noop(partition)

    def put_foreign(self, which: int) -> None:
        open_shards = [shard.id for shard in self.log.shards() if not shard.closed]
        self.log.inject_foreign(
            f"customer-{which}", b"sample %d" % which, shard=open_shards[which % len(open_shards)]
        )
        self.met["foreign"] += 1

    # -- the reference ---------------------------------------------------------------------------

    def verdict(self, partition: int) -> Verdict:
        records = [record for _, record in self.log.records(partition)][1:]
        count, verdict = self._judged.get(partition, (-1, None))
        if verdict is None or count != len(records):
            history = [self.operators.meaning(record) for record in records]
            resolvable = {
                rec.session: self.operators.resolvable(record)
                for rec, record in zip(history, records, strict=True)
                if isinstance(rec, Resolve)
            }
            verdict = Reference(LIMITS, history, resolvable).judge()
            self._judged[partition] = len(records), verdict
        return verdict

    def troubled(self) -> bool:
        """Whether the log halts its readers somewhere."""
        return any(self.verdict(partition).trouble for partition in range(PARAMS.partitions))

    def tables(self, vector: Vector) -> Tables:
        """What tables have to hold at a vector."""
        tables = Tables(partitions=PARAMS.partitions)
        for partition in range(PARAMS.partitions):
            sequenced = self.verdict(partition).sequenced
            through = vector.get(partition, 0)
            assert through <= len(sequenced), "more was applied than the log has"
            for offset, taken in enumerate(sequenced[:through], 1):
                assert taken.event is not None
                tables.apply(partition, offset, taken.event)
        return tables

    def end(self) -> Vector:
        return without_zeros({p: len(self.verdict(p).sequenced) for p in range(PARAMS.partitions)})

    # -- checks ----------------------------------------------------------------------------------

    def check_store(self) -> None:
        """Rows between commits of a loose store may be ahead of its checkpoints; never behind."""
        vector = vector_of(self.store.checkpoints(self.generation.id))
        if self.kind != "loose":
            assert_replica(self.store, self.tables(vector))
            return
        ahead = self.tables(self.end())
        behind = self.tables(vector)
        for table in ahead.names():
            rows = dict(self.store.scan(table))
            for key, (version, _, _) in behind.rows(table).items():
                assert rows[key].version >= version, "a checkpoint is ahead of the items"
            for key, row in rows.items():
                at = self.tables({row.partition: row.version})
                assert at.rows(table)[key] == (row.version, row.partition, row.data)

    def check_rebuild(self, vector: Vector | None) -> None:
        """A rebuild to a vector (None: the end) is what the reference says, too."""
        wanted = self.end() if vector is None else vector
        self._check_rebuild(Target() if vector is None else Target(vector=vector), wanted)

    def check_rebuild_until(self, time_ms: int) -> None:
        """A moment is, by partition, the records before the first that arrived later."""
        vector = {}
        for partition in range(PARAMS.partitions):
            records = [record for _, record in self.log.records(partition)][1:]
            later = [i for i, record in enumerate(records) if record.arrival_ms > time_ms]
            before = later[0] if later else len(records)
            vector[partition] = sum(t.at < before for t in self.verdict(partition).sequenced)
        self._check_rebuild(Target(time_ms=time_ms), vector)

    def _check_rebuild(self, target: Target, wanted: Vector) -> None:
        store = self.new_store(f"rebuilt{self.met['rebuilt']}")
        report = rebuild(self.log, store, Wanted(target=target))
        assert report.vector == without_zeros(wanted)
        assert_replica(store, self.tables(wanted))
        self.met["rebuilt"] += 1
        store.close()

    def settle(self) -> None:
        """All comes to rest: events are sent, halts lifted, the consumer catches up."""
        self.log.release()
        self.producers.settle()
        if isinstance(self.store, WorldStore):
            self.store.crash_after = None
        for which in range(100):
            self.replicate(1_000, PAGE_BYTES[which % len(PAGE_BYTES)])
            if self.replica.engine is not None and not self.halted() and not self.troubled():
                break
            self.resolve(which)
        assert not self.halted(), "a halt that nothing lifts"
        assert not self.troubled(), "a halt that no reader met"
        vector = vector_of(self.store.checkpoints(self.generation.id))
        assert vector == self.end(), "the consumer has not reached the log's end"
        assert_replica(self.store, self.tables(vector))
        for partition in range(PARAMS.partitions):
            verdict = self.verdict(partition)
            check_ledger(self.producers.ledger, partition, verdict)
            check_order((t.session, t.event) for t in verdict.sequenced if t.event is not None)
            self.met.update(verdict.counts)
            self.met["copies"] += sum(t.what == COPY for t in verdict.taken)
        self.met.update(self.producers.met)


def assert_replica(store: Reader, tables: Tables) -> None:
    """Rows, tombstones, versions, digests and rejections are those of the reference."""
    names = {table for generation in store.generations() for table in generation.tables}
    assert names == tables.names()
    for table in sorted(names):
        rows = dict(store.scan(table))
        found = {key: (row.version, row.partition, row.data) for key, row in rows.items()}
        assert found == tables.rows(table)
        assert list(rows) == sorted(rows)
        wanted = TableDigest(table).add(
            (key, Row(*content)) for key, content in tables.rows(table).items()
        )
        assert TableDigest(table).add(rows.items()).hexdigest() == wanted.hexdigest()
    refused = {
        (r.partition, r.offset, r.table, r.key, r.id, r.expected, r.found) for r in tables.refused
    }
    noted = [
        (r.partition, r.offset, r.table, r.key, r.id, r.expected, r.found)
        for r in store.rejections()
    ]
    assert len(noted) == len(set(noted)), "a rejection twice"
    assert set(noted) == refused
