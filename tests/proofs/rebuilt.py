"""Rebuilds from wherever they may begin: what each has to be is the specification's, and one's own rules'.

Several consumers of one log, each with its tables and exclusions, are gone on with and broken in the
middle of a commit; snapshots are taken of their stores at any moment. Then somebody asks for tables at
a vector or at a time, under exclusions; the planner chooses, the rebuild is killed and gone on with.
The log is the stream, or stream and archive of which the stream has forgotten all, or the archive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from appliers.exclusion import parse_exclusions
from appliers.fingerprint import fingerprint
from appliers.store import Generation, Reader, vector_of
from binlog.archive.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.archiver import Archiving, archive
from binlog.envelope import Envelope
from binlog.errors import ConflictError, PoisonError
from binlog.json_values import encode_json
from binlog.log import Log
from binlog.objects import MemoryObjects
from binlog.target import Target
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.replicas import RECORDS, Replica
from binlog.testing.world.store import WorldStore
from binlog.testing.world.tables import Tables
from binlog.values import decode_value
from binlog.vector import Vector, without_zeros
from snapshots.kept import KeptWork
from snapshots.rebuild import Report, Wanted, plan_digest, rebuild
from snapshots.snapshot import open_snapshot
from snapshots.snapshot_manifest import Manifest
from snapshots.snapshot_take import take_snapshot
from snapshots.starting import Starting, starting
from tests.objects.hostile_objects import Crashed, Fates, HostileObjects
from tests.proofs.forgetful import SLACK_MS, ForgetfulLog
from tests.proofs.parked import Numbered, Parked, Seed

NAMES = ("orders", "orders.old", "stock.level", "tally")
SETS: tuple[tuple[str, ...] | None, ...] = (
    None, None, None, ("orders",), ("orders", "tally"), ("stock.level", "orders.old"),
)  # fmt: skip


@dataclass
class Live:
    """A consumer, its store, and what was asked of it when it was made."""

    replica: Replica[WorldStore]
    tables: tuple[str, ...] | None
    excluded: tuple[str, ...]


class Rebuilt(Parked):
    """``random`` decides on everything that is not given."""

    def __init__(self, commits: Sequence[Sequence[Seed]], random: Random) -> None:
        super().__init__(commits)
        self.random = random
        self.met: Counter[str] = Counter()
        self.snapshots = MemoryObjects("memory:snapshots")
        self.kept = MemoryObjects("memory:kept")
        self.log_kind = random.choice(["stream", "both", "archive"])
        self.source = self._source()
        numbers = [(p, o, event) for p, o, event, *_ in self.events()]
        some = random.sample(numbers, min(3, len(numbers)))
        self.rules = [self._rule(*each) for each in some]
        self.lives = [self._live() for _ in range(3)]

    def _source(self) -> Log:
        if self.log_kind == "stream":
            return self.log
        objects = MemoryObjects("memory:archive")
        kept = Archive.create(objects, PARAMS, self.log.genesis)
        stream = ForgetfulLog(self.log)
        self.producers.clock.advance(2 * SLACK_MS)
        for _ in range(2):
            archive(stream.open(), kept, Archiving(once=True, page_bytes=3, memory_bytes_max=1))
        if self.log_kind == "archive":
            return ArchiveLog(kept)
        stream.forget(self.log.now_ms() - SLACK_MS - 1)
        assert not stream.is_whole()
        return ArchivedLog(stream.open(), kept)

    def _rule(self, partition: int, offset: int, event: Envelope) -> str:
        kind = self.random.randrange(4)
        if kind == 0:
            return f"id={event.id}"
        if kind == 1:
            return f"type={event.type}"
        if kind == 2 and event.table:
            key = encode_json(decode_value(event.key)).decode()
            return f"key={event.table}:{key}"
        return f"offsets={partition}:{offset}-{offset + self.random.randrange(3)}"

    def _exclusions(self) -> tuple[str, ...]:
        chosen = [rule for rule in self.rules if self.random.random() < 0.3]
        found = parse_exclusions(chosen, partitions=PARAMS.partitions)
        return () if found is None else found.rules

    def _live(self) -> Live:
        store = WorldStore(met=self.met)
        store.bind(self.log.genesis)
        tables, excluded = self.random.choice(SETS), self._exclusions()
        generation = store.create(
            tables=tables, fingerprint=fingerprint(self.mood.rules), excluded=excluded
        )
        return Live(self._replica(store, generation, self.log), tables, excluded)

    def _replica(self, store: WorldStore, generation: Generation, log: Log) -> Replica[WorldStore]:
        return Replica(
            0,
            log,
            store,
            self.mood.rules,
            fingerprint=fingerprint(self.mood.rules),
            remembers=True,
            met=self.met,
            poison="park",
            generation=generation,
        )

    # -- what happens ----------------------------------------------------------------------------

    def go_on(self) -> None:
        """A consumer applies some more, or breaks over it."""
        replica = self.random.choice(self.lives).replica
        if self.random.random() < 0.4:
            replica.crash(self.random.randrange(6), 1 + self.random.randrange(6), heard=False)
        else:
            replica.consume(1, 1 + self.random.randrange(8))

    def snapshot(self) -> Manifest:
        live = self.random.choice(self.lives)
        manifest = take_snapshot(live.replica.store, self.snapshots, anew=True)
        self.met["snapshot"] += 1
        self.met["fuzzy snapshot"] += not manifest.is_exact
        return manifest

    # -- what is asked for -----------------------------------------------------------------------

    def wanted(self) -> tuple[Wanted, Vector]:
        """Something to rebuild, and the vector that it is at."""
        random = self.random
        end = self.end()
        vector = {p: o if random.random() < 0.5 else random.randint(0, o) for p, o in end.items()}
        target = Target(vector=without_zeros(vector))
        kind = random.randrange(4)
        if kind == 0:
            vector, target = end, Target()
        elif kind == 1:
            moment = random.choice([each[3] for each in self.events()]) - random.randrange(2)
            vector, target = self.at(moment), Target(time_ms=moment)
        tables = random.choice(SETS)
        excluded = random.choice([self._exclusions(), random.choice(self.lives).excluded])
        wanted = Wanted(
            tables=tables,
            without=("orders.old",) if tables is None and random.random() < 0.2 else (),
            target=target,
            rules=self.mood.rules,
            excluded=excluded,
            idle_exclusions="allow",
            poison=random.choice(["park", "park", "stop"]),
        )
        return wanted, without_zeros(vector)

    def end(self) -> Vector:
        return {p: max(o for q, o, *_ in self.events() if q == p) for p in self._partitions()}

    def _partitions(self) -> set[int]:
        return {each[0] for each in self.events()}

    def at(self, moment: int) -> Vector:
        """By partition the events before the first that arrived later."""
        later = {
            p: [o for q, o, _, t, *_ in self.events() if q == p and t > moment] for p in self.end()
        }
        return {p: min([*found, self.end()[p] + 1]) - 1 for p, found in later.items()}

    def is_excluded(self, rules: Collection[str], each: Numbered) -> bool:
        """By the words of a rule, and nothing else."""
        partition, offset, event, *_ = each
        for rule in rules:
            kind, _, rest = rule.partition("=")
            if kind == "offsets":
                where, _, bounds = rest.partition(":")
                first, _, last = bounds.partition("-")
                if int(where) == partition and int(first) <= offset <= int(last):
                    return True
            elif kind == "key":
                table, _, key = rest.partition(":")
                written = encode_json(decode_value(event.key)).decode()
                if table == event.table and key == written:
                    return True
            elif rest == (event.id if kind == "id" else event.type):
                return True
        return False

    def reference(self, wanted: Wanted, vector: Vector) -> tuple[Tables, set[str]]:
        """All tables, and the names of those that are asked for."""
        tables = Tables(self.mood.rules, PARAMS.partitions, parks=True)
        for each in sorted(self.events(), key=lambda each: each[:2]):
            if each[1] <= vector.get(each[0], 0) and not self.is_excluded(wanted.excluded, each):
                tables.apply(*each)
        names = set(wanted.tables or tables.names() - set(wanted.without))
        return tables, names

    # -- rebuilt ---------------------------------------------------------------------------------

    def rebuild(self, wanted: Wanted, begun: Starting) -> tuple[WorldStore, Report]:
        """Killed at any write, and gone on with."""
        store = WorldStore(met=self.met)
        plan = plan_digest(self.source, wanted, start=begun.digest)
        tries = 0
        while True:
            tries += 1
            fates = Fates(crash_before=0.1, crash_after=0.1) if tries < 6 else Fates()
            objects = HostileObjects(self.kept, self.random, fates)
            work = KeptWork(objects, store="memory:rebuilt", plan=plan)
            try:
                report = rebuild(self.source, store, wanted, base=begun.base, work=work)
            except Crashed:
                self.met["rebuild killed"] += 1
                continue
            self.met["rebuild gone on with"] += report.resumed > 0
            return store, report

    def check(self) -> None:
        """Invariant 19: whatever start is chosen, it is what the specification says."""
        wanted, vector = self.wanted()
        tables, names = self.reference(wanted, vector)
        begun = starting(self.source, self.snapshots, wanted)
        waits = {t for t, _ in tables.waiting} | {t for t, *_ in tables.alone}
        self.met[f"begun at {'a snapshot' if begun.base else 'the beginning'}"] += 1
        if begun.base is not None:
            manifest = begun.base.snapshot.manifest
            self.met["begun at a fuzzy snapshot"] += not manifest.is_exact
            self.met["begun with exclusions"] += bool(manifest.generation.excluded)
            self.met[f"begun at a snapshot, from {self.log_kind}"] += 1
            self._note_rows(manifest, names, tables)
        try:
            store, report = self.rebuild(wanted, begun)
        except PoisonError:
            assert wanted.poison == "stop", "it was to park"
            assert waits & names, "there is no poison"
            self.met["stopped by poison"] += 1
            return
        assert wanted.poison == "park" or not waits & names, "poison was passed over"
        assert report.vector == vector
        check_contents(store, tables, names)
        self.met["rebuilt"] += 1
        self._go_on_from(store, wanted)

    def _note_rows(self, manifest: Manifest, names: set[str], tables: Tables) -> None:
        """What became of the base's rows."""
        snapshot = open_snapshot(self.snapshots, manifest.id)
        for table in names.intersection(manifest.generation.tables):
            rows = dict(snapshot.rows(table))
            for key, row in rows.items():
                cell = tables.cell(table, key)
                if cell is None or cell.version == row.version:
                    self.met["base row never touched"] += 1
                elif cell.deleted:
                    self.met["base row deleted"] += row.data is not None
                else:
                    self.met["base row updated"] += 1
                self.met["base row a tombstone"] += row.data is None

    def _go_on_from(self, store: WorldStore, wanted: Wanted) -> None:
        """The consumer begins at the vector of this very attempt."""
        [generation] = store.generations()
        if wanted.without:
            return  # an open generation takes those, too, from here on
        replica = self._replica(store, generation, self.source)
        for _ in range(100):
            if replica.consume(20, RECORDS) == "caught up":
                break
        if replica.engine is not None:
            replica.engine.checkpoint()
        assert vector_of(store.checkpoints(generation.id)) == without_zeros(self.end())
        tables, names = self.reference(wanted, self.end())
        check_contents(store, tables, names)


def check_contents(store: Reader, tables: Tables, names: set[str]) -> None:
    """Of those tables: rows with their marks, letters, rejections."""
    found = {t for g in store.generations() for t in g.tables}
    assert found & tables.names() == names & tables.names()
    for table in sorted(names):
        rows = {k: (r.version, r.partition, r.data, r.parked, r.tail) for k, r in store.scan(table)}
        assert rows == tables.marked_rows(table), table
    letters = sorted(
        (x.table, x.key, x.partition, x.offset, bool(x.reason))
        for x in store.letters()
        if not x.alone and x.table in names
    )
    assert letters == sorted(
        (table, key, partition, offset, offset == waiting[0][1])
        for (table, key), waiting in tables.waiting.items()
        for partition, offset in waiting
        if table in names
    )
    alone = sorted((x.table, x.partition, x.offset) for x in store.letters() if x.alone)
    assert alone == sorted(each for each in tables.alone if each[0] in names or not each[0])
    refused = {(r.partition, r.offset, r.table, r.key) for r in tables.refused if r.table in names}
    assert {(r.partition, r.offset, r.table, r.key) for r in store.rejections()} == refused


def tell(
    commits: Sequence[Sequence[Seed]], random: Random, *, steps: int, checks: int
) -> Counter[str]:
    """A whole story; what was met."""
    story = Rebuilt(commits, random)
    for _ in range(steps):
        story.go_on()
        if random.random() < 0.3:
            story.snapshot()
    for _ in range(checks):
        try:
            story.check()
        except ConflictError as error:
            raise AssertionError(f"nobody asked for that: {error}") from error
    return story.met
