"""A state machine over the whole: produce, crash, restart, reshard, replicate, rebuild, check."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from binlog.testing.world.producers import PARAMS, PROCESSES
from binlog.testing.world.store import WorldStore
from tests.proofs.budget import assert_met, examples
from tests.proofs.hostile import STEP_BYTES
from tests.proofs.whole import PAGE_BYTES, Whole

steps = st.lists(st.binary(min_size=STEP_BYTES, max_size=STEP_BYTES), min_size=1, max_size=12)
pages = st.sampled_from(PAGE_BYTES)
partitions = st.integers(0, PARAMS.partitions - 1)
small = st.integers(0, 7)


class WholeMachine(RuleBasedStateMachine):
    """Each rule is something that happens to a running system, at any moment."""

    met: Counter[str]
    whole: Whole

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="binlog-proofs-"))

    @initialize(
        kind=st.sampled_from(["loose", "loose", "loose", "memory", "memory", "sqlite"]),
        kinesis=st.booleans(),
    )
    def begin(self, kind: str, kinesis: bool) -> None:
        self.whole = Whole(kind=kind, kinesis=kinesis, folder=self.folder)

    @rule(steps=steps)
    def produce(self, steps: list[bytes]) -> None:
        """Producers publish, call, hear, wait, die; the log reshards; ghosts land."""
        for step in steps:
            self.whole.producers.step(step)

    @rule(more=steps)
    def produce_more(self, more: list[bytes]) -> None:
        self.produce(more)

    @rule(
        index=st.integers(0, PROCESSES - 1), a=small, b=small, wait_ms=st.sampled_from([0, 0, 700])
    )
    def let_a_ghost_land_behind_the_next_session(
        self, index: int, a: int, b: int, wait_ms: int
    ) -> None:
        """Without the closing of older generations it would overwrite a newer value."""
        producers = self.whole.producers
        producers.leave_a_ghost(index, producers.make_event(a, b, a + b))
        producers.tick(wait_ms)
        producers.land(-1)

    @rule(index=st.integers(0, PROCESSES - 1), a=small, b=small)
    def let_a_frame_overtake_an_acknowledged_one(self, index: int, a: int, b: int) -> None:
        producers = self.whole.producers
        producers.overtake(index, producers.make_event(a, b, a + b))

    @precondition(lambda self: self.whole.log.ghosts)
    @rule(which=small, wait_ms=st.sampled_from([0, 0, 50, 1_050]))
    def let_a_ghost_land(self, which: int, wait_ms: int) -> None:
        """A frame that was given up, perhaps when its session is closed or expired by now."""
        self.whole.producers.tick(wait_ms)
        if wait_ms:
            self.whole.noop(which % PARAMS.partitions)
        self.whole.producers.land(which)

    @rule(count=st.integers(1, 4), page=pages)
    def replicate(self, count: int, page: int) -> None:
        self.whole.replicate(count, page)

    @rule()
    def restart_the_consumer(self) -> None:
        self.whole.replica.engine = None

    @precondition(lambda self: isinstance(self.whole.store, WorldStore))
    @rule(after=small, time_out=st.booleans(), page=pages)
    def break_a_commit(self, after: int, time_out: bool, page: int) -> None:
        """The consumer dies after some steps of a commit, or is not told how it ended."""
        store = self.whole.store
        assert isinstance(store, WorldStore)
        store.crash_after, store.time_out = after, time_out
        self.whole.replicate(3, page)

    @precondition(lambda self: isinstance(self.whole.store, WorldStore))
    @rule(page=pages)
    def start_a_second_consumer(self, page: int) -> None:
        """It reads where the first one stands, and goes on as if it were alone."""
        self.whole.start_zombie(page)

    @precondition(lambda self: self.whole.replica.zombie is not None)
    @rule(count=st.integers(1, 3))
    def let_the_zombie_write(self, count: int) -> None:
        self.whole.zombie_step(count)

    @precondition(lambda self: self.whole.replica.zombie is not None)
    @rule(count=st.integers(1, 3), page=pages)
    def let_the_zombie_write_in_the_middle(self, count: int, page: int) -> None:
        """Between what the first one read and what it writes."""
        store = self.whole.store
        assert isinstance(store, WorldStore)
        store.between = lambda: self.whole.zombie_step(count)
        self.whole.replicate(2, page)
        store.between = None

    @precondition(lambda self: isinstance(self.whole.store, WorldStore))
    @rule(
        seed=st.integers(0, 15),
        keys=st.integers(1, 2),
        woken=st.integers(1, 4),
        in_the_middle=st.booleans(),
    )
    def let_a_zombie_wake_up_late(
        self, seed: int, keys: int, woken: int, in_the_middle: bool
    ) -> None:
        """It writes what it read when it was alone, record by record; the other one is past it, or
        about to be, by events that follow in the same items."""
        whole, store = self.whole, self.whole.store
        assert isinstance(store, WorldStore)
        whole.replicate(1_000, PAGE_BYTES[-1])
        whole.start_zombie(PAGE_BYTES[0])
        for number in range(6):
            event = whole.producers.make_event(
                1 + 8 * (number % keys), seed + number, seed + number
            )
            whole.producers.publish(0, [event])
            whole.producers.tick(5)
            whole.producers.work(0, (0, 0), reply_at_once=True)
        if in_the_middle:
            store.between = lambda: whole.zombie_step(woken)
        whole.replica.engine = None
        whole.replicate(1_000, PAGE_BYTES[-1])
        store.between = None
        if not in_the_middle:
            whole.zombie_step(woken)

    @rule()
    def hide_what_lands(self) -> None:
        self.whole.log.hold_back()

    @rule()
    def show_what_landed(self) -> None:
        self.whole.log.release()

    @rule(partition=partitions, which=st.integers(0, 40))
    def damage_a_partition(self, partition: int, which: int) -> None:
        if self.whole.met["damaged"] < 3:
            self.whole.damage(partition, which)

    @rule(which=small)
    def resolve_what_is_halted(self, which: int) -> None:
        self.whole.resolve(which)

    @rule(partition=partitions)
    def move_the_mark(self, partition: int) -> None:
        self.whole.noop(partition)

    @rule()
    def check_the_store(self) -> None:
        self.whole.check_store()

    @rule(cuts=st.lists(small, min_size=PARAMS.partitions, max_size=PARAMS.partitions))
    def rebuild_to_a_vector(self, cuts: list[int]) -> None:
        """Any vector, in the middle of frames too."""
        if self.whole.troubled():
            return
        self.whole.log.release()
        end = self.whole.end()
        self.whole.check_rebuild({p: n * cuts[p] // 7 for p, n in end.items()})

    @rule(ago_ms=st.sampled_from([0, 0, 1, 5, 20, 100, 1_000]))
    def rebuild_to_a_moment(self, ago_ms: int) -> None:
        if not self.whole.troubled():
            self.whole.log.release()
            self.whole.check_rebuild_until(self.whole.log.now_ms() - ago_ms)

    def teardown(self) -> None:
        try:
            if hasattr(self, "whole"):
                self.whole.settle()
                self.whole.check_rebuild(None)
                self.met.update(self.whole.met)
                self.whole.close()
        finally:
            shutil.rmtree(self.folder)


MUST_HAPPEN = (
    "ACKNOWLEDGED",
    "UNKNOWN",
    "killed",
    "ghost landed",
    "resharded",
    "held",
    "expired",
    "closed",
    "copies",
    "consumer crashed",
    "commit timed out",
    "condition failed",
    "zombie stepped",
    "resolved",
    "skipped",
    "rebuilt",
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What a consumer reports when it loses a race is what is wanted here."""
    logger = logging.getLogger("consumers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def test_all_replicas_are_those_of_reference_and_ledger() -> None:
    """Invariants 2 to 4, 10 to 15 and 19: whatever happens, at rest every store holds what the
    reference holds, and the reference what producers were told."""
    met: Counter[str] = Counter()

    class Machine(WholeMachine):
        pass

    Machine.met = met
    run_state_machine_as_test(Machine, settings=examples(3))
    assert_met(met, MUST_HAPPEN)
