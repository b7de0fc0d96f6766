"""A state machine over what is delivered: lanes, overlaps, zombies, reshards, rebuilds beneath."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import seed
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from binlog.testing.world.producers import PARAMS, PROCESSES
from tests.proofs.budget import assert_met, examples
from tests.proofs.delivered import PAGES, WORKERS, Delivered
from tests.proofs.hostile import STEP_BYTES

steps = st.lists(st.binary(min_size=STEP_BYTES, max_size=STEP_BYTES), min_size=1, max_size=12)
small = st.integers(0, 7)
indexes = st.integers(0, WORKERS - 1)
counts = st.sampled_from([1, 2, 3, 5, 8, 100])
partitions = st.integers(0, PARAMS.partitions - 1)


class DeliveryMachine(RuleBasedStateMachine):
    """Each rule is something that happens to a team at work, at any moment."""

    met: Counter[str]
    whole: Delivered

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="binlog-proofs-"))

    @initialize(lanes=st.sampled_from([1, 2, 4]), kinesis=st.booleans())
    def begin(self, lanes: int, kinesis: bool) -> None:
        self.whole = Delivered(lanes=lanes, kinesis=kinesis, folder=self.folder)

    @rule(steps=steps)
    def produce(self, steps: list[bytes]) -> None:
        for step in steps:
            self.whole.producers.step(step)

    @rule(more=steps)
    def produce_more(self, more: list[bytes]) -> None:
        self.produce(more)

    @rule(which=small, index=indexes, count=counts, times=st.integers(1, 4))
    def deliver(self, which: int, index: int, count: int, times: int) -> None:
        for number in range(times):
            self.whole.invoke(which + number, index, count)

    @rule(which=small, index=indexes, size=st.sampled_from(PAGES), pages=st.integers(0, 3))
    def deliver_with_little_time(self, which: int, index: int, size: int, pages: int) -> None:
        self.whole.invoke(which, index, 100, size=size, pages=pages)

    @rule(which=small, index=indexes)
    def deliver_an_old_batch(self, which: int, index: int) -> None:
        self.whole.invoke_again(which, index)

    @rule(which=small, index=indexes, count=counts, other=small, at_read=st.booleans())
    def overtake_a_worker(
        self, which: int, index: int, count: int, other: int, at_read: bool
    ) -> None:
        """By the same batch that is handed over again, or by another one."""
        whole = self.whole

        def again() -> None:
            helper = (index + 1) % WORKERS
            if other % 2 and whole.service.sent:
                whole.apply(helper, whole.service.sent[-1], size=PAGES[-1], pages=1 << 30)
            else:
                whole.invoke(which, helper, count + other)

        whole.overlap(index, again, lambda: whole.invoke(which, index, count), at_read=at_read)

    @rule(which=small, index=indexes, seed=small, process=st.integers(0, PROCESSES - 1))
    def overtake_a_worker_by_its_own_batch(
        self, which: int, index: int, seed: int, process: int
    ) -> None:
        """As after a time-out: the batch is handed over again, while the first one still writes."""
        whole = self.whole
        for number in range(3):
            event = whole.producers.make_event(1 + seed, seed + number, seed + number)
            whole.producers.publish(process, [event])
            whole.producers.tick(5)
            whole.producers.work(process, (0, 0), reply_at_once=True)
        whole.deliver_all()
        helper = (index + 1) % WORKERS
        whole.producers.publish(process, [whole.producers.make_event(1 + seed, which, seed)])
        whole.producers.tick(5)
        whole.producers.work(process, (0, 0), reply_at_once=True)

        def again() -> None:
            if whole.service.sent:
                whole.apply(helper, whole.service.sent[-1], size=PAGES[-1], pages=1 << 30)

        whole.overlap(index, again, lambda: whole.invoke(which, index, 100), at_read=False)

    @rule(which=small, index=indexes, count=counts, old=st.booleans(), at_read=st.booleans())
    def rebuild_in_the_middle(
        self, which: int, index: int, count: int, old: bool, at_read: bool
    ) -> None:
        whole = self.whole

        def outer() -> None:
            if old:
                whole.invoke_again(which, index)
            else:
                whole.invoke(which, index, count)

        whole.overlap(index, whole.rebuild, outer, at_read=at_read)

    @rule()
    def rebuild(self) -> None:
        self.whole.rebuild()

    @rule(which=small, index=indexes, after=small, heard=st.booleans())
    def break_a_commit(self, which: int, index: int, after: int, heard: bool) -> None:
        """A worker dies after some steps of a commit, or is not told how it ended."""
        handle = self.whole.handles[index]
        handle.crash_after, handle.time_out = after, heard
        self.whole.invoke(which, index, 100)
        handle.crash_after = None

    @rule(index=indexes)
    def restart_a_worker(self, index: int) -> None:
        self.whole.restart(index)

    @rule()
    def hide_what_lands(self) -> None:
        self.whole.log.hold_back()

    @rule()
    def show_what_landed(self) -> None:
        self.whole.log.release()

    @rule(which=st.integers(0, 40))
    def put_a_foreign_record(self, which: int) -> None:
        self.whole.put_foreign(which)

    @rule(partition=partitions, which=st.integers(0, 40))
    def damage_a_partition(self, partition: int, which: int) -> None:
        if self.whole.met["damaged"] < 3:
            self.whole.damage(partition, which)

    @rule(which=small)
    def resolve_what_is_halted(self, which: int) -> None:
        self.whole.resolve(which)
        self.whole.halts.clear()

    @rule(partition=partitions)
    def move_the_mark(self, partition: int) -> None:
        self.whole.noop(partition)

    def teardown(self) -> None:
        try:
            if hasattr(self, "whole"):
                self.whole.settle()
                self.met.update(self.whole.met)
                self.whole.close()
        finally:
            shutil.rmtree(self.folder)


MUST_HAPPEN = (
    "ACKNOWLEDGED",
    "resharded",
    "held",
    "copies",
    "worker crashed",
    "reply lost",
    "overtaken",
    "stale read",
    "condition failed",
    "out of time",
    "nothing new",
    "delivered again",
    "rebuilt beneath",
    "resolved",
    "foreign",
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What a consumer reports when it loses a race is what is wanted here."""
    logger = logging.getLogger("consumers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def test_what_is_delivered_is_what_reference_and_ledger_say() -> None:
    """Invariants 2, 10 to 15: however batches are cut, repeated and overtaken, at rest the store holds
    what a replica does that pulled the log, and the reference what producers were told."""
    met: Counter[str] = Counter()

    class Machine(DeliveryMachine):
        pass

    Machine.met = met
    for number in range(4):  # the rarest may come in none of one round's examples
        run_state_machine_as_test(seed(number)(Machine), settings=examples(1))
        if all(met[name] for name in MUST_HAPPEN):
            break
    assert_met(met, MUST_HAPPEN)
