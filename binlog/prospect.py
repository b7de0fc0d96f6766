"""What a decision about a halt would do: the sequencer run on over the log, on a copy.

The rules say what a decision means; only the log says what it costs: whether the missing frame
lies ahead, how many events come through, where it would halt next. So each decision is tried on a
sequencer of its own, by the same code that every reader runs, up to the log's end as it is now.
"""

from __future__ import annotations

from itertools import chain

import msgspec

from binlog.columns import FrameError
from binlog.errors import UpgradeError
from binlog.frame import Header, decode_header
from binlog.halt import DECISIONS, EXPIRED_HELD, FOREIGN, HOLD_BOUND, Halt, Halted
from binlog.lineage import records_after
from binlog.log import Log, Position, Record
from binlog.reader import Checked
from binlog.resolution import find_resolution
from binlog.sequencer import Sequencer
from binlog.sequencer_state import SequencerState


class Prospect(msgspec.Struct, frozen=True):
    """What comes of ``decision``, up to the log's end as it is now."""

    decision: str
    accepted: int  # events that get offsets, from the halted record on
    dropped: int | None  # events in the log that the decision leaves out; None: cannot be known
    given_up: tuple[int, int] | None  # numbers no longer waited for, inclusive
    late: int  # events with such a number that lie ahead: reported when read, never applied
    closed: int  # frames of earlier generations, held or ahead, that a gap drops: it closes those
    loses_nothing: bool  # the missing frame lies ahead, and `hold` waits for it
    next_halt: Halt | None  # where the partition would stop again; None: it reaches the end


def prospects(log: Log, halt: Halt, place: Checked) -> list[Prospect]:
    """What each decision that ``halt`` allows would do, the harmless ones first.

    ``place`` is where the reader of that partition stands, before the halted record.
    """
    found = [prospect(log, halt, place, decision) for decision in DECISIONS[halt.rule]]
    return sorted(found, key=lambda each: not each.loses_nothing)


def prospect(log: Log, halt: Halt, place: Checked, decision: str) -> Prospect:
    """What ``decision`` would do. Reads the partition's records from the halted one on."""
    trial = _Trial(log, halt, place, decision)
    records = records_after(log, place.position, halt.partition)
    # A foreign record is none of the partition's: what follows it is all there is to try.
    halted = [] if halt.rule == FOREIGN else [next(records)]
    header = _header_of(halted[0][1]) if halted else None
    loses_nothing = False
    closed = 0
    for shard, record in chain(halted, records):
        closed_before = trial.sequencer.counters.closed
        if not trial.feed(shard, record):
            break
        if decision == "gap" and trial.sequencer.counters.closed > closed_before:
            closing = _header_of(record)
            if header and closing and closing.session.family == header.session.family:
                closed += trial.sequencer.counters.closed - closed_before
        if decision == "hold" and header is not None and not loses_nothing:
            accepted = trial.sequencer.accepted_up_to(header.session)
            loses_nothing = accepted is not None and accepted >= header.last
    counters = trial.sequencer.counters
    return Prospect(
        decision=decision,
        accepted=counters.accepted,
        dropped=_dropped(halt, decision, header, place.state),
        given_up=halt.numbers if decision in ("gap", "accept") else None,
        late=counters.given_up_late,
        closed=closed,
        loses_nothing=loses_nothing,
        next_halt=trial.next_halt,
    )


class _Trial:
    """A sequencer that follows one decision, and for all other halts what the log says."""

    def __init__(self, log: Log, halt: Halt, place: Checked, decision: str) -> None:
        self.sequencer = Sequencer(log.params, log.genesis, halt.partition, place.state)
        self.next_halt: Halt | None = None  # the first that nobody has decided
        self._log = log
        self._halt = halt
        self._decision = decision

    def feed(self, shard: str, record: Record) -> bool:
        """Whether the record was taken; ``False``: the partition stands still there."""
        decisions: dict[tuple[str, str | None], str] = {}
        while True:
            try:
                self.sequencer.feed(shard, record, decisions)
            except Halted as error:
                decision = self._decide(error.halt, shard, record)
                if decision is None:
                    return False
                decisions[error.halt.rule, error.halt.session] = decision
            else:
                return True

    def _decide(self, halt: Halt, shard: str, record: Record) -> str | None:
        if halt == self._halt:
            return self._decision
        partition = self.sequencer.partition
        ahead = records_after(self._log, Position(shard, record.sequence), partition)
        found = find_resolution(
            halt,
            chain([record], (later for _, later in ahead)),
            self.sequencer.params,
            self._log.genesis,
        )
        if found is not None:
            return found.decision
        self.next_halt = self.next_halt or halt
        # The bound is reached again before the missing frame: who holds once will hold again.
        again = self._decision == "hold" and halt.rule == HOLD_BOUND
        return "hold" if again and halt.session == self._halt.session else None


def _header_of(record: Record) -> Header | None:
    try:
        return decode_header(record.data)
    except (FrameError, UpgradeError):
        return None


def _dropped(halt: Halt, decision: str, header: Header | None, state: bytes) -> int | None:
    """Events that are in the log and that the decision, by its meaning, leaves out."""
    if decision == "skip":
        return header.count if header is not None else None
    if halt.rule == EXPIRED_HELD and decision == "drop":
        return sum(
            frame.count
            for session in SequencerState.decode(state).sessions
            if str(session.session) == halt.session
            for frame in session.held
        )
    return 0
