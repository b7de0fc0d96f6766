"""Invariants 15, 18 and 19: an archive without gap or overlap, and one log of stream and archive."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from binlog.testing.world.producers import PARAMS
from tests.proofs.archived import CUTS, MOODS, Archived
from tests.proofs.budget import assert_met, examples
from tests.proofs.hostile import STEP_BYTES
from tests.proofs.whole import PAGE_BYTES

steps = st.lists(st.binary(min_size=STEP_BYTES, max_size=STEP_BYTES), min_size=1, max_size=12)
small = st.integers(0, 7)
pages = st.sampled_from(PAGE_BYTES)
partitions = st.integers(0, PARAMS.partitions - 1)
moods = st.integers(0, len(MOODS) - 1)
sizes = st.integers(0, len(CUTS) - 1)
seeds = st.integers(0, 1 << 16)

MUST_HAPPEN = (
    "archived to the end",
    "archiver died",
    "race lost",
    "segment without events",
    "reshard within a segment",
    "forgotten",
    "rebuilt from both",
    "rebuilt from the archive alone",
    "archived while halted",
)


class ArchiveMachine(RuleBasedStateMachine):
    """Each rule is something that happens to a stream and its archive, at any moment."""

    met: Counter[str]
    whole: Archived

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="binlog-proofs-"))

    @initialize(kind=st.sampled_from(["loose", "memory"]), kinesis=st.booleans())
    def begin(self, kind: str, kinesis: bool) -> None:
        self.whole = Archived(kind=kind, kinesis=kinesis, folder=self.folder)

    @rule(steps=steps)
    def produce(self, steps: list[bytes]) -> None:
        for step in steps:
            self.whole.producers.step(step)

    @rule(more=steps)
    def produce_more(self, more: list[bytes]) -> None:
        self.produce(more)

    @rule(mood=moods, size=sizes, seed=seeds)
    def archive(self, mood: int, size: int, seed: int) -> None:
        self.whole.run_archiver(mood, size, seed)
        self.whole.check_archive()

    @rule(mood=moods, size=sizes, seed=seeds)
    def archive_again(self, mood: int, size: int, seed: int) -> None:
        self.archive(mood, size, seed)

    @rule()
    def land_late(self) -> None:
        self.whole.land_late()
        self.whole.check_archive()

    @rule(which=small)
    def put_foreign(self, which: int) -> None:
        self.whole.put_foreign(which)

    @rule(partition=partitions, which=small)
    def damage(self, partition: int, which: int) -> None:
        self.whole.damage(partition, which)

    @rule(which=small, steps=st.integers(1, 5), page=pages)
    def resolve(self, which: int, steps: int, page: int) -> None:
        self.whole.replicate(steps, page)
        self.whole.resolve(which)

    @rule(back_ms=st.sampled_from([0, 30, 300, 1_500]))
    def forget(self, back_ms: int) -> None:
        self.whole.forget(back_ms)

    @rule(steps=st.integers(1, 5), page=pages)
    def replicate(self, steps: int, page: int) -> None:
        self.whole.replicate(steps, page)
        self.whole.check_store()

    @rule()
    def restart_the_consumer(self) -> None:
        self.whole.replica.engine = None

    @rule()
    def rebuild(self) -> None:
        if not self.whole.troubled():
            self.whole.check_rebuild(None)

    @rule()
    def rebuild_from_the_archive_alone(self) -> None:
        self.whole.check_rebuild_alone()

    def teardown(self) -> None:
        try:
            if hasattr(self, "whole"):
                self.whole.settle()
                self.met.update(self.whole.met)
        finally:
            shutil.rmtree(self.folder)


def test_stream_and_archive_are_one_log() -> None:
    """Whoever races, dies or is late, and whatever the stream forgets meanwhile."""

    class Machine(ArchiveMachine):
        pass

    Machine.met = Counter()
    run_state_machine_as_test(Machine, settings=examples(0.4))
    assert_met(Machine.met, MUST_HAPPEN)
