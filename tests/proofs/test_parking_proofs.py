"""Invariants 12 and 16: what is parked is never lost, waits in order, and comes back as it should.

Consumers that crash, are overtaken by their own zombies and lose races park what does not fit, while
somebody redrives beside them, with rules that are mended and with some that are not. What the store
holds is compared with tables written from the specification (`binlog.testing.world.tables`), and
with a rebuild that parks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.applier import Appliers
from appliers.digest import TableDigest
from appliers.fingerprint import fingerprint
from appliers.stores.memory import MemoryStore
from binlog.errors import LostError, MismatchError
from binlog.testing.world.replicas import RECORDS, Replica
from binlog.testing.world.store import Crashed, Diverted, Moved, Settled, WorldStore, Wrote
from consumers.redrive import Redrive, Redriven, waiting_in
from snapshots.rebuild import Wanted, rebuild
from tests.proofs.budget import assert_met, examples
from tests.proofs.parked import Parked, Seed

seeds = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
steps = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 5), st.integers(1, 4)), max_size=16)


class Scene(Parked):
    """A log, its replica, and all that may befall it."""

    def __init__(self, commits: list[list[Seed]], *, remembers: bool) -> None:
        super().__init__(commits)
        self.met: Counter[str] = Counter()
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
            scene.check_nothing_is_lost(scene.store)
        scene.to_the_end()
        scene.check_nothing_is_lost(scene.store)
        for _ in range(2):  # the zombie's last word may be a letter in the way
            scene.redrive(lambda: None)
        scene.check_order_of_writes()
        mended = scene.tables(broken=False)
        scene.check_equals(scene.store, mended)
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
        scene.check_equals(scene.store, broken)
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
