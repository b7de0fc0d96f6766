"""What producers were told is what readers find: each acknowledged event once, in order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from binlog.sequencer import Sequencer
from tests.proofs.budget import assert_met, examples
from tests.proofs.drive import Numbered, events_of
from tests.proofs.ledger import check_ledger, check_order
from tests.proofs.producers import FATES, PARAMS, STEP_BYTES, Producers, meaning_of
from tests.proofs.reference_sequencer import Limits, Reference, Verdict

LIMITS = Limits(
    PARAMS.session_life_ms, PARAMS.id_window, PARAMS.hold_frames_max, PARAMS.hold_bytes_max
)


def read_back(world: Producers, partition: int) -> tuple[list[Numbered], Sequencer]:
    sequencer = Sequencer(world.log.params, world.log.genesis, partition)
    events: list[Numbered] = []
    for shard, record in world.records(partition):
        for run in sequencer.feed(shard, record):
            events += events_of(run)
    return events, sequencer


def judge(world: Producers, partition: int) -> Verdict:
    records = [record for _, record in world.records(partition)]
    return Reference(LIMITS, [meaning_of(record) for record in records[1:]]).judge()


def check(world: Producers, met: Counter[str]) -> None:
    """Invariants 1 to 5 and 7 of the design, against reference and ledger."""
    for partition in range(PARAMS.partitions):
        events, sequencer = read_back(world, partition)
        verdict = judge(world, partition)
        assert verdict.trouble is None, "producers that keep their rules never halt a reader"
        assert [(e.session, e.number, e.event) for e in events] == [
            (t.session, t.number, t.event) for t in verdict.sequenced
        ]
        assert sequencer.held == 0, "something is held for ever"
        check_ledger(world, partition, verdict)
        check_order((e.session, e.event) for e in events)
        for name in sequencer.counters.__struct_fields__:
            met[name] += getattr(sequencer.counters, name)


MUST_HAPPEN = (
    *(str(fate) for fate in set(FATES)),
    "ACKNOWLEDGED",
    "UNKNOWN",
    "FAILED",
    "Expired",
    "killed",
    "ghost landed",
    "forgotten family",
    "emitted again",
    "duplicates",
    "expired",
    "closed",
    "held",
    "drained",
    "window_dropped",
    "id_reused",
)


def test_each_acknowledged_event_is_found_exactly_once() -> None:
    """Invariants 2 to 5: nothing lost, nothing twice, nothing alien, and in order."""
    met: Counter[str] = Counter()

    @examples(6)
    @given(
        st.lists(st.binary(min_size=STEP_BYTES, max_size=STEP_BYTES), min_size=40, max_size=160),
        st.booleans(),
    )
    def holds(steps: list[bytes], kinesis: bool) -> None:
        world = Producers.begin(kinesis=kinesis)
        for step in steps:
            world.step(step)
        world.settle()
        check(world, met)
        met.update(world.met)

    holds()
    assert_met(met, MUST_HAPPEN)
