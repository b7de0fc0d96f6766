"""An event that no applier can apply stops every reader at the same place, and loses nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.stores.memory import MemoryStore
from binlog.errors import PoisonError
from binlog.testing.world.item_events import item_event, poison_event
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.tables import Tables
from consumers.engine import Engine
from snapshots.rebuild import Wanted, rebuild
from tests.proofs.budget import assert_met, examples
from tests.proofs.whole import PAGE_BYTES, Whole, assert_replica

Seed = tuple[int, int, int]
seeds = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
NOWHERE: frozenset[tuple[int, int]] = frozenset()


def run_to_the_end(engine: Engine) -> None:
    while engine.step() is not None:
        pass


class Poisoned:
    """A log with a few poison events among others, several events a frame."""

    def __init__(self, folder: Path, commits: list[list[Seed]], bad: list[Seed]) -> None:
        self.whole = Whole(kind="memory", kinesis=True, folder=folder)
        self.log = self.whole.log
        producers = self.whole.producers
        for number, commit in enumerate(commits):
            events = [item_event(*seed) for seed in commit]
            for at, which, what in bad:
                if at % len(commits) == number:
                    events.insert(which % (len(events) + 1), poison_event(which, what))
            producers.publish(0, events)
            for _ in range(8):
                producers.tick(5)
                producers.work(0, (0, 0), reply_at_once=True)
        producers.settle()
        self.places = {
            (partition, offset)
            for partition in range(PARAMS.partitions)
            for offset, taken in enumerate(self.whole.verdict(partition).sequenced, 1)
            if taken.event is not None and taken.event.id.startswith("poison")
        }

    def tables(self, without: frozenset[tuple[int, int]] = NOWHERE) -> Tables:
        tables = Tables(partitions=PARAMS.partitions)
        for partition in range(PARAMS.partitions):
            for offset, taken in enumerate(self.whole.verdict(partition).sequenced, 1):
                assert taken.event is not None
                if (partition, offset) not in without:
                    tables.apply(partition, offset, taken.event)
        return tables

    def replicate(self, page_bytes: int) -> tuple[MemoryStore, list[PoisonError]]:
        """Step until it stops; asked again, it stops again.

        In the same place, or where another partition stops, which shard is read first.
        """
        store = MemoryStore()
        store.bind(self.log.genesis)
        generation = store.create(tables=None, fingerprint=fingerprint(NO_RULES), excluded=())
        engine = Engine(self.log, store, generation, NO_RULES, page_bytes=page_bytes)
        found: list[PoisonError] = []
        for _ in range(2):
            with pytest.raises(PoisonError) as caught:
                run_to_the_end(engine)
            found.append(caught.value)
        places = [error.details["partition"] for error in found]
        assert places[0] != places[1] or str(found[0]) == str(found[1])
        return store, found


def test_poison_stops_every_reader_before_it_and_an_exclusion_passes_it() -> None:
    """Design section 6: exit with partition, offset, id and the exclusion that passes it; what lies
    before its record is applied, nothing behind it in its partition is."""
    met: Counter[str] = Counter()

    @examples(1)
    @given(
        commits=st.lists(st.lists(seeds, min_size=1, max_size=8), min_size=2, max_size=10),
        bad=st.lists(seeds, min_size=1, max_size=3),
        page_bytes=st.sampled_from(PAGE_BYTES),
    )
    def holds(commits: list[list[Seed]], bad: list[Seed], page_bytes: int) -> None:
        folder = Path(tempfile.mkdtemp(prefix="binlog-proofs-"))
        try:
            poisoned = Poisoned(folder, commits, bad)
            assume(poisoned.places)
            stops_before(poisoned, page_bytes, met)
            is_passed_by_exclusions(poisoned, met)
        finally:
            shutil.rmtree(folder)

    holds()
    assert_met(met, ["applied before it", "poison", "several"])


def stops_before(poisoned: Poisoned, page_bytes: int, met: Counter[str]) -> None:
    store, errors = poisoned.replicate(page_bytes)
    first = {p: min(o for q, o in poisoned.places if q == p) for p, _ in poisoned.places}
    for details in (error.details for error in errors):
        assert details["offset"] == first[details["partition"]]  # type: ignore[index]
    [generation] = store.generations()
    applied = {p: c.applied for p, c in store.checkpoints(generation.id).items()}
    assert all(applied.get(p, 0) < offset for p, offset in first.items())
    tables = Tables(partitions=PARAMS.partitions)
    for partition, through in sorted(applied.items()):
        for offset, taken in enumerate(poisoned.whole.verdict(partition).sequenced[:through], 1):
            assert taken.event is not None
            tables.apply(partition, offset, taken.event)
    assert_replica(store, tables)
    met["applied before it"] += sum(applied.values())
    met["several"] += len(poisoned.places) > 1


def is_passed_by_exclusions(poisoned: Poisoned, met: Counter[str]) -> None:
    """A rebuild names one place after the other; with all of them left out it goes through."""
    excluded: list[str] = []
    without: set[tuple[int, int]] = set()
    for _ in range(len(poisoned.places)):
        store = MemoryStore()
        with pytest.raises(PoisonError) as caught:
            rebuild(poisoned.log, store, Wanted(excluded=tuple(excluded)))
        assert not store.generations(), "what was half built is visible"
        place = caught.value.details["partition"], caught.value.details["offset"]
        assert place in poisoned.places - without
        rule = caught.value.details["exclude"][1]  # type: ignore[index]
        excluded.append(rule)
        without.add(place)
        met["poison"] += 1
    store = MemoryStore()
    report = rebuild(poisoned.log, store, Wanted(excluded=tuple(excluded)))
    assert report.counts.excluded == len(without)
    assert_replica(store, poisoned.tables(frozenset(without)))
    [generation] = store.generations()
    assert set(generation.excluded) == set(excluded)


def test_events_left_out_do_not_exist() -> None:
    """Any exclusion gives the tables of a log without those events, at the same vector."""

    @examples(1)
    @given(
        commits=st.lists(st.lists(seeds, min_size=1, max_size=8), min_size=2, max_size=10),
        which=st.sets(st.integers(0, 79), max_size=12),
        by_id=st.booleans(),
    )
    def holds(commits: list[list[Seed]], which: set[int], by_id: bool) -> None:
        folder = Path(tempfile.mkdtemp(prefix="binlog-proofs-"))
        try:
            log = Poisoned(folder, commits, [])
            events = {
                (p, o): taken.event
                for p in range(PARAMS.partitions)
                for o, taken in enumerate(log.whole.verdict(p).sequenced, 1)
                if taken.event is not None
            }
            places = {place for i, place in enumerate(sorted(events)) if i in which}
            rules = {f"offsets={p}:{o}-{o}" for p, o in places}
            if by_id:
                ids = {events[place].id for place in places}
                rules = {f"id={name}" for name in ids}
                places = {place for place, event in events.items() if event.id in ids}
            store = MemoryStore()
            rebuild(log.log, store, Wanted(excluded=tuple(sorted(rules))))
            # A table is there if an event for it was not left out.
            assert_replica(store, log.tables(frozenset(places)))
        finally:
            shutil.rmtree(folder)

    holds()
