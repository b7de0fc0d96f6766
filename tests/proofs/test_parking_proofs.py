"""Invariants 12 and 16: what is parked is never lost, waits in order, and comes back as it should.

Consumers that crash, are overtaken by their own zombies and lose races park what does not fit, while
somebody redrives beside them, with rules that are mended and with some that are not. What the store
holds is compared with tables written from the specification (`binlog.testing.world.tables`), and
with a rebuild that parks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.applier import ApplierError, Appliers, Rules
from appliers.digest import TableDigest
from appliers.fingerprint import fingerprint
from appliers.item import Row
from appliers.stores.memory import MemoryStore
from binlog.envelope import Envelope, Event
from binlog.errors import LostError, MismatchError
from binlog.reader import Reader
from binlog.testing.world.item_events import item_event, poison_event
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.replicas import RECORDS, Replica
from binlog.testing.world.store import Crashed, Diverted, Moved, Settled, WorldStore, Wrote
from binlog.testing.world.tables import Tables
from binlog.values import encode_value
from consumers.redrive import Redrive, Redriven, waiting_in
from snapshots.rebuild import Wanted, rebuild
from tests.proofs.budget import assert_met, examples
from tests.proofs.hostile import HostileProducers

Seed = tuple[int, int, int]
seeds = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
steps = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 5), st.integers(1, 4)), max_size=16)


class Mood:
    """Whether the applier is the one that fails; both have one source, and so one fingerprint."""

    def __init__(self) -> None:
        self.broken = True
        self.rules = self._rules()

    def _rules(self) -> Rules:
        appliers = Appliers()

        def sides(event: Event) -> list[dict[str, Any]]:
            if event.data == 6:
                raise ValueError("nobody knows whose")
            return [{"id": event.key["id"]}, {"id": event.key["id"], "side": event.data % 2}]

        def of_whom(key: dict[str, Any]) -> tuple[str, dict[str, Any]]:
            return "", {"id": key["id"]}

        @appliers.on("Tallied", table="tally", keys=sides, owner=of_whom)
        def tally(item: Any, event: Event, key: dict[str, Any]) -> dict[str, Any] | None:
            if self.broken and event.data in (1, 4) and "side" in key:
                raise ApplierError("a number that is not liked")
            if event.data == 5:
                return None
            return {
                **key,
                "total": (item or {"total": 0})["total"] + event.data,
                "at": event.number,
            }

        return appliers.build()


def event_of(a: int, b: int, c: int) -> Envelope:
    """Items' events, some that fit nothing, and the user's own."""
    if a % 3 == 0:
        expect = c % 9 if b % 4 == 0 else None
        key = encode_value({"id": "aeh"[b % 3]})
        return Envelope(f"t{c}", "Tallied", 1, "", key, encode_value(c % 7), None, expect)
    if a % 11 == 0:
        return poison_event(b, c)
    return item_event(a, b, c)


class Scene:
    """A log, its replica, and all that may befall it."""

    def __init__(self, commits: list[list[Seed]], *, remembers: bool) -> None:
        self.met: Counter[str] = Counter()
        self.mood = Mood()
        self.producers = HostileProducers(kinesis=True, make_event=item_event)
        self.log = self.producers.log
        for seeds_ in commits:
            self.producers.publish(0, [event_of(*seed) for seed in seeds_])
            for _ in range(8):
                self.producers.tick(5)
                self.producers.work(0, (0, 0), reply_at_once=True)
        self.producers.settle()
        self._events: list[tuple[int, int, Envelope, int, object, int]] = []
        self.store = WorldStore(met=self.met)
        self.replica = Replica(
            0,
            self.log,
            self.store,
            self.mood.rules,
            fingerprint=fingerprint(self.mood.rules),
            remembers=remembers,
            met=self.met,
            poison="park",
        )

    def step(self, op: int, a: int, b: int) -> None:
        replica = self.replica
        if op <= 2:
            replica.consume(b, 1 + a)
        elif op == 3:
            replica.start_zombie(1 + a)
        elif op == 4:
            replica.wake(b)
        elif op == 5:
            replica.crash(a + b, 1 + a, heard=bool(a % 2))
        elif op == 6:
            replica.overtake(b, by_zombie=bool(a % 2), at_read=a > 2)
        elif op == 7:
            self.redrive(lambda: replica.consume(1, RECORDS))
        elif op == 8:
            self.redrive(lambda: replica.wake(1))
        else:
            self.store.crash_after, self.store.time_out = a // 2, False
            self.redrive(lambda: None)
        self.store.crash_after = None
        self.store.between = self.store.on_read = None

    def redrive(self, between: Callable[[], object], *, mended: bool = True) -> list[Redriven]:
        done: list[Redriven] = []
        runs = 3

        def within() -> None:
            nonlocal runs
            runs -= 1
            if runs > 0:
                self.mood.broken = True
                between()
                self.mood.broken = not mended

        self.mood.broken = not mended
        try:
            redrive = Redrive(self.store, self.mood.rules, dry_run=False, between=within)
            done += redrive.run()
        except Crashed:
            self.met["redrive crashed"] += 1
        except LostError:
            self.met["redrive lost"] += 1
        finally:
            self.mood.broken = True
        for each in done:
            self.met[f"redriven: {each.outcome}"] += 1
        return done

    # -- checks ----------------------------------------------------------------------------------

    def events(self) -> list[tuple[int, int, Envelope, int, object, int]]:
        """As a reader of its own numbers them."""
        if self._events:
            return self._events
        found = self._events
        reader = Reader(self.log)
        while (runs := reader.read()) is not None:
            for run in runs:
                for i, event in enumerate(run.columns.envelopes()):
                    more = (run.arrival_ms, run.session, run.numbers[i])
                    found.append((run.partition, run.first_offset + i, event, *more))
        return found

    def tables(self, *, broken: bool, parks: bool = True) -> Tables:
        self.mood.broken = broken
        tables = Tables(self.mood.rules, PARAMS.partitions, parks=parks)
        for each in sorted(self.events(), key=lambda each: each[:2]):
            tables.apply(*each)
        self.mood.broken = True
        return tables

    def check_nothing_is_lost(self) -> None:
        """Every event up to the checkpoint is in its item, noted as refused, or a letter in order."""
        [generation] = self.store.generations()
        applied = {p: c.applied for p, c in self.store.checkpoints(generation.id).items()}
        letters: dict[tuple[str, bytes], list[int]] = {}
        alone = set()
        for letter in self.store.letters():
            if letter.alone:
                alone.add((letter.partition, letter.offset))
            else:
                letters.setdefault((letter.table, letter.key), []).append(letter.offset)
        refused = {(r.table, r.key, r.offset) for r in self.store.rejections()}
        rows = {(t, k): row for t in generation.tables for k, row in self.store.scan(t)}
        for partition, offset, event, *_ in self.events():
            if offset > applied.get(partition, 0):
                continue
            for table, key in self.items_of(event):
                row = rows.get((table, key), Row(0, partition, None))
                if key == b"":
                    assert (partition, offset) in alone
                elif offset > row.version and (table, key, offset) not in refused:
                    assert row.parked, "an event is in no item, and its item is not parked"
                    assert offset <= row.tail
                    assert offset in letters[table, key], "an event is nowhere"

    def items_of(self, event: Envelope) -> list[tuple[str, bytes]]:
        if event.type != "Tallied":
            return [(event.table, event.key)]
        if event.data == encode_value(6):
            return [("tally", b"")]
        assert event.data is not None
        name = {97: "a", 101: "e", 104: "h"}[event.key[-1]]
        side = event.data[0] % 2
        keys = ({"id": name}, {"id": name, "side": side})
        return [("tally", encode_value(key)) for key in keys]

    def check_order_of_writes(self) -> None:
        """No mark before its letters, no checkpoint before the mark."""
        kept: dict[tuple[str, bytes], set[int]] = {}
        tails: dict[tuple[str, bytes], int] = {}
        for entry in self.store.journal:
            if isinstance(entry, Diverted):
                kept.setdefault((entry.letter.table, entry.letter.key), set()).add(
                    entry.letter.version
                )
            elif isinstance(entry, Wrote):
                place = entry.table, entry.key
                if entry.row.parked:
                    assert entry.row.tail in kept.get(place, ()), "a mark before its letter"
                    assert entry.row.tail >= tails.get(place, 0), "a tail went back"
                tails[place] = entry.row.tail
            elif isinstance(entry, Settled) and not entry.letter.alone:
                row = dict(self.store.scan(entry.letter.table)).get(entry.letter.key)
                assert row is None or not row.parked or entry.letter.version <= row.tail
        assert any(isinstance(entry, Moved) for entry in self.store.journal)

    def check_equals(self, tables: Tables) -> None:
        for table in tables.names():
            rows = {
                k: (r.version, r.partition, r.data, r.parked, r.tail)
                for k, r in self.store.scan(table)
            }
            assert rows == tables.marked_rows(table), table
        found = [
            (x.table, x.key, x.partition, x.offset, bool(x.reason))
            for x in self.store.letters()
            if not x.alone
        ]
        wanted = [
            (table, key, partition, offset, offset == waiting[0][1])
            for (table, key), waiting in tables.waiting.items()
            for partition, offset in waiting
        ]
        assert sorted(found) == sorted(wanted)
        assert sorted(
            (x.table, x.partition, x.offset) for x in self.store.letters() if x.alone
        ) == (sorted(tables.alone))
        refused = {(r.partition, r.offset, r.table, r.key) for r in tables.refused}
        assert {(r.partition, r.offset, r.table, r.key) for r in self.store.rejections()} == refused

    def check_equals_rebuild(self, *, broken: bool) -> None:
        self.mood.broken = broken
        other = MemoryStore()
        report = rebuild(self.log, other, Wanted(rules=self.mood.rules, poison="park"))
        self.mood.broken = True
        assert report.tables == self.store.generations()[0].tables
        for table in report.tables:
            mine, theirs = TableDigest(table), TableDigest(table)
            assert mine.add(self.store.scan(table)).hexdigest() == (
                theirs.add(other.scan(table)).hexdigest()
            )
        assert list(other.letters()) == list(self.store.letters())

    def to_the_end(self) -> None:
        for _ in range(100):
            if self.replica.consume(50, RECORDS) == "caught up":
                break
        else:
            raise AssertionError("the consumer never catches up")
        if self.replica.engine is not None:
            self.replica.engine.checkpoint()


COMMITS = st.lists(st.lists(seeds, min_size=1, max_size=8), min_size=2, max_size=9)


def test_parked_events_are_neither_lost_nor_overtaken_and_come_back_in_order() -> None:
    """Whatever crashes and whoever interferes: at rest the store is what the specification says."""
    met: Counter[str] = Counter()

    @examples(3)
    @given(commits=COMMITS, steps_=steps, remembers=st.booleans())
    def holds(
        commits: list[list[Seed]], steps_: list[tuple[int, int, int]], remembers: bool
    ) -> None:
        scene = Scene(commits, remembers=remembers)
        for step in steps_:
            scene.step(*step)
            scene.check_nothing_is_lost()
        scene.to_the_end()
        scene.check_nothing_is_lost()
        for _ in range(2):  # the zombie's last word may be a letter in the way
            scene.redrive(lambda: None)
        scene.check_order_of_writes()
        mended = scene.tables(broken=False)
        scene.check_equals(mended)
        scene.check_equals_rebuild(broken=False)
        met.update(scene.met)
        met["still parked"] += bool(mended.waiting)
        met["alone"] += bool(mended.alone)

    holds()
    assert_met(
        met,
        [
            "still parked",
            "alone",
            "redriven: back",
            "redriven: stays",
            "redrive crashed",
            "zombie write",
            "consumer crashed",
            "condition failed",
        ],
    )


def test_without_a_redrive_it_is_what_a_rebuild_that_parks_makes() -> None:
    """One fold for all: which batches, crashes and zombies there were cannot be seen."""
    met: Counter[str] = Counter()

    @examples(1)
    @given(commits=COMMITS, steps_=steps, remembers=st.booleans())
    def holds(
        commits: list[list[Seed]], steps_: list[tuple[int, int, int]], remembers: bool
    ) -> None:
        scene = Scene(commits, remembers=remembers)
        for op, a, b in steps_:
            scene.step(op % 7, a, b)
        scene.to_the_end()
        broken = scene.tables(broken=True)
        scene.check_equals(broken)
        scene.check_equals_rebuild(broken=True)
        met["parked"] += bool(broken.waiting)
        met["several wait"] += any(len(each) > 2 for each in broken.waiting.values())
        # With rules that are as they were a redrive changes nothing, and says so.
        journal = len(scene.store.journal)
        done = scene.redrive(lambda: None, mended=False)
        assert {each.outcome for each in done} <= {"stays"}
        assert len(scene.store.journal) == journal

    holds()
    assert_met(met, ["parked", "several wait"])


def test_a_dry_run_tells_what_would_come_of_it_and_writes_nothing() -> None:
    """What it says is what the redrive then does."""
    met: Counter[str] = Counter()

    @examples(1)
    @given(commits=COMMITS)
    def holds(commits: list[list[Seed]]) -> None:
        scene = Scene(commits, remembers=True)
        scene.to_the_end()
        journal = len(scene.store.journal)
        scene.mood.broken = False
        told = list(Redrive(scene.store, scene.mood.rules).run())
        assert len(scene.store.journal) == journal
        assert told == list(Redrive(scene.store, scene.mood.rules, dry_run=False).run())
        scene.mood.broken = True
        left = {(w.table, w.key, w.alone) for w in waiting_in(scene.store)}
        assert left == {
            (each.waiting.table, each.waiting.key, each.waiting.alone)
            for each in told
            if not each.is_done
        }
        met.update(each.outcome for each in told)

    holds()
    assert_met(met, ["back", "stays"])


def test_other_rules_are_refused() -> None:
    scene = Scene([[(0, 1, 1), (0, 1, 1)]], remembers=True)
    scene.to_the_end()
    assert list(waiting_in(scene.store))
    appliers = Appliers()
    appliers.on("Tallied", table="tally", version=2)(lambda _, event: {**event.key})
    with pytest.raises(MismatchError):
        list(Redrive(scene.store, appliers.build(), dry_run=False).run())
