"""Runs the sequencer over records as every reader does: halts looked up, then fed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from binlog.envelope import Envelope
from binlog.frame import Session
from binlog.halt import Halt, Halted
from binlog.log import Record
from binlog.resolution import find_resolution
from binlog.run import Run
from binlog.sequencer import Sequencer
from binlog.testing.world.records import Log, Rec


@dataclass(frozen=True)
class Numbered:
    """An event as the sequencer gave it."""

    offset: int
    session: Session
    number: int
    event: Envelope
    arrival: int
    sequence: int


@dataclass
class Driven:
    """All that came of one reading."""

    events: list[Numbered] = field(default_factory=list)
    halt: Halt | None = None
    halted_at: int | None = None  # index of the record; 0 is the genesis
    digest: bytes = b""
    state: bytes = b""
    lifted: list[tuple[Halt, str]] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)  # after each record
    states: list[bytes] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)


@dataclass
class Driver:
    """``restart_at``: before these records the sequencer is made anew from its saved state."""

    log: Log
    restart_at: frozenset[int] = frozenset()
    repeat_at: frozenset[int] = frozenset()

    def new(self, state: bytes | None = None) -> Sequencer:
        return Sequencer(self.log.params, self.log.genesis, self.log.partition, state)

    def run(self, history: Sequence[Rec]) -> Driven:
        return self.run_records(self.log.records(history))

    def run_records(self, records: Sequence[Record]) -> Driven:
        driven = Driven()
        sequencer = self.new()
        counted: dict[str, int] = {}
        for index, record in enumerate(records):
            if index in self.restart_at:
                _add(counted, sequencer)
                sequencer = self.new(sequencer.encode_state())
            try:
                runs = self.feed(sequencer, records, index, driven)
            except Halted as halted:
                driven.halt, driven.halted_at = halted.halt, index
                break
            # Not one that a RESOLVE let pass: it names the state before the record, and readers
            # drop what lies at or before their position anyway (C2).
            lifted = any(h.position.sequence == record.sequence for h, _ in driven.lifted)
            if index in self.repeat_at and not lifted:
                state = sequencer.encode_state()
                again = self.feed(sequencer, records, index, Driven())
                assert not again, "a record fed twice gave events twice"
                assert sequencer.encode_state() == state, "a record fed twice changed the state"
            driven.events += [event for run in runs for event in events_of(run)]
            driven.digests.append(sequencer.digest)
            driven.states.append(sequencer.encode_state())
        _add(counted, sequencer)
        driven.counters = counted
        driven.digest = sequencer.digest
        driven.state = sequencer.encode_state()
        return driven

    def feed(
        self, sequencer: Sequencer, records: Sequence[Record], index: int, driven: Driven
    ) -> Sequence[Run]:
        """The runs of one record, under the RESOLVEs that lift its halts, if there are any."""
        record = records[index]
        decisions: dict[tuple[str, str | None], str] = {}
        before = sequencer.encode_state()
        lifted: list[tuple[Halt, str]] = []
        while True:
            try:
                runs = sequencer.feed(self.log.shard, record, decisions)
            except Halted as halted:
                assert sequencer.encode_state() == before, "a halt changed the state"
                found = find_resolution(
                    halted.halt, records[index:], sequencer.params, self.log.genesis
                )
                if found is None:
                    raise
                decisions[halted.halt.rule, halted.halt.session] = found.decision
                lifted.append((halted.halt, found.decision))
            else:
                driven.lifted += lifted
                return runs


def _add(counted: dict[str, int], sequencer: Sequencer) -> None:
    for name in sequencer.counters.__struct_fields__:
        counted[name] = counted.get(name, 0) + getattr(sequencer.counters, name)


def events_of(run: Run) -> list[Numbered]:
    return [
        Numbered(offset, run.session, number, event, run.arrival_ms, run.sequence)
        for offset, number, event in zip(
            range(run.first_offset, run.last_offset + 1),
            run.numbers,
            run.columns.envelopes(),
            strict=True,
        )
    ]
