"""What producers were told is what readers find: each acknowledged event once, in order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from binlog.producer.outcome import Frame as SentFrame
from binlog.producer.outcome import Outcome
from binlog.producer.resolve import Resolved, resolve
from binlog.producer.resolve import Verdict as Resolution
from binlog.sequencer import Sequencer
from binlog.testing.world.ledger import check_ledger, check_order
from binlog.testing.world.operators import meaning_of
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.specification import Limits, Reference, Verdict
from tests.proofs.budget import assert_met, examples
from tests.proofs.drive import Numbered, events_of
from tests.proofs.hostile import FATES, STEP_BYTES, HostileProducers

LIMITS = Limits(
    PARAMS.session_life_ms, PARAMS.id_window, PARAMS.hold_frames_max, PARAMS.hold_bytes_max
)


def read_back(world: HostileProducers, partition: int) -> tuple[list[Numbered], Sequencer]:
    sequencer = Sequencer(world.log.params, world.log.genesis, partition)
    events: list[Numbered] = []
    for shard, record in world.records(partition):
        for run in sequencer.feed(shard, record):
            events += events_of(run)
    return events, sequencer


def judge(world: HostileProducers, partition: int) -> Verdict:
    records = [record for _, record in world.records(partition)]
    return Reference(LIMITS, [meaning_of(record) for record in records[1:]]).judge()


def check(world: HostileProducers, met: Counter[str]) -> None:
    """Invariants 1 to 5 and 7 of the design, against reference and ledger."""
    for partition in range(PARAMS.partitions):
        events, sequencer = read_back(world, partition)
        verdict = judge(world, partition)
        assert verdict.trouble is None, "producers that keep their rules never halt a reader"
        assert [(e.session, e.number, e.event) for e in events] == [
            (t.session, t.number, t.event) for t in verdict.sequenced
        ]
        assert sequencer.held == 0, "something is held for ever"
        check_ledger(world.ledger, partition, verdict)
        check_order((e.session, e.event) for e in events)
        for name in sequencer.counters.__struct_fields__:
            met[name] += getattr(sequencer.counters, name)


MUST_HAPPEN = (
    *set(FATES),
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
        world = HostileProducers(kinesis=kinesis)
        for step in steps:
            world.step(step)
        world.settle()
        check(world, met)
        met.update(world.met)

    holds()
    assert_met(met, MUST_HAPPEN)


def verdicts_of(world: HostileProducers) -> dict[SentFrame, Resolved]:
    unknown = [
        p.frame for p in world.ledger if p.outcome is Outcome.UNKNOWN and p.frame is not None
    ]
    return resolve(world.log, unknown)


def check_verdicts(world: HostileProducers, verdicts: dict[SentFrame, Resolved]) -> None:
    """What was resolved is so, whatever has landed since."""
    taken = {p: judge(world, p).taken for p in range(PARAMS.partitions)}
    for frame, resolved in verdicts.items():
        numbers = range(frame.first, frame.last + 1)
        found = [
            t.number
            for t in taken[frame.partition]
            if t.session == frame.session and t.number in numbers
        ]
        if resolved.verdict is Resolution.ACKNOWLEDGED:
            assert found == list(numbers), resolved.why
        if resolved.verdict is Resolution.NEVER:
            assert not found, resolved.why


def test_an_unknown_outcome_ends_in_certainty() -> None:
    """P5: what is resolved stays so though ghosts land later; after L all is decided, and what was
    never to count may be published again and is then found exactly once."""
    met: Counter[str] = Counter()

    @examples(2)
    @given(
        st.lists(st.binary(min_size=STEP_BYTES, max_size=STEP_BYTES), min_size=40, max_size=120),
        st.lists(st.integers(0, 9), max_size=6),
    )
    def holds(steps: list[bytes], landings: list[int]) -> None:
        world = HostileProducers(kinesis=True)
        for step in steps:
            world.step(step)
        world.settle()
        soon = verdicts_of(world)
        for which in landings:
            world.land(which)
        check_verdicts(world, soon)
        world.tick(PARAMS.session_life_ms + 1)
        late = verdicts_of(world)
        while world.log.ghosts:
            world.land(0)
        check_verdicts(world, late)
        for frame, resolved in late.items():
            met[f"late {resolved.verdict.value}"] += 1
            certain = resolved.verdict is not Resolution.UNDECIDED
            assert certain or not frame.born_ms or "copies" in resolved.why, resolved.why
        met.update(f"soon {resolved.verdict.value}" for resolved in soon.values())
        again = [
            p
            for p in world.ledger
            if p.frame is not None and p.frame in late and late[p.frame].verdict is Resolution.NEVER
        ]
        for entry in again:
            world.publish(1, [entry.event])  # process 1 asks for no id window
        world.settle()
        check(world, met)

    holds()
    wanted = [f"{when} {v.value}" for when in ("soon", "late") for v in Resolution]
    assert_met(met, [name for name in wanted if name != "late undecided"])
