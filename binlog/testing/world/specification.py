"""What the sequencer has to answer, written from its specification and not from its code.

The specification, for one partition:

* `mark(i)` is the highest arrival up to record i. A frame *stands* unless it is expired there
  (born + L < mark) or of a generation that a later one of its family has closed.
* Envelope k of a session is taken when the first standing records that carry 1, 2, .. k are all
  there: at the highest of their positions. Those taken at the same record go by k.
* A session begins once the predecessor it names is complete, expired or closed; beginning closes
  all older generations of its family, and what they still held is dropped.
* What a record sets free goes in this order: by (family, generation) sessions that its arrival
  makes expire, and those whose predecessor it makes expire, so that nothing is closed while what
  it holds has not been decided upon; then the record's own session; then its family.
* An envelope of a session that asks for the id window is a copy, and gets no offset, if the last
  W events that were sequenced for such sessions hold the same id, type, table, key and data.
* A record that is no frame, a frame too many in waiting, a session that expires while frames of
  it wait: a halt, lifted by the first RESOLVE behind it, not expired where it stands, that names
  it with every fact.

Nothing is kept from record to record but what became of each number, which records stand, and the
decisions taken. Everything else is worked out anew, from the whole history, whenever it is asked
for: slow, and hard to get wrong in the way in which the code can be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from binlog.envelope import Envelope
from binlog.frame import Predecessor, Session
from binlog.testing.world.records import Frame, Garbage, Rec, Resolve

UNDECODABLE, HOLD_BOUND, EXPIRED_HELD = "undecodable", "hold-bound", "expired-held"
ALLOWED = {
    UNDECODABLE: {"skip"},
    HOLD_BOUND: {"hold", "gap", "skip"},
    EXPIRED_HELD: {"accept", "drop"},
}
SEQUENCED, COPY, GIVEN_UP = "sequenced", "copy", "given up"


@dataclass(frozen=True)
class Limits:
    """The pinned values that the specification speaks of."""

    life: int
    window: int
    hold_frames: int
    hold_bytes: int


class Taken(msgspec.Struct, frozen=True):
    """What became of one number of a session, at record ``at``."""

    at: int
    session: Session
    number: int
    what: str
    event: Envelope | None


class Trouble(msgspec.Struct, frozen=True):
    """A halt at record ``at``."""

    at: int
    rule: str
    session: str | None
    offset: int


@dataclass
class Verdict:
    """The answer: what was sequenced (offset 1 is the first), and where it stopped, if it did."""

    sequenced: list[Taken]
    trouble: Trouble | None
    counts: dict[str, int]
    lifted: list[tuple[Trouble, str]]
    taken: list[Taken]


@dataclass
class Reference:
    """Judges one history; make a new one for another."""

    limits: Limits
    history: Sequence[Rec]
    resolvable: dict[Session, Envelope] = field(default_factory=dict)
    taken: list[Taken] = field(default_factory=list)
    standing: dict[int, bool] = field(default_factory=dict)
    begun: list[Session] = field(default_factory=list)
    waited_enough: set[Session] = field(default_factory=set)
    patience: int = 1
    counts: dict[str, int] = field(default_factory=dict)
    lifted: list[tuple[Trouble, str]] = field(default_factory=list)

    def judge(self) -> Verdict:
        """Read the history to its end, or to the first halt that nothing lifts."""
        trouble = None
        for at in range(len(self.history)):
            before = len(self.sequenced())
            try:
                self._read(at, before)
            except _Stopped as stop:
                trouble = stop.trouble
                self.taken = [t for t in self.taken if t.at < at]
                self.lifted = [(t, decision) for t, decision in self.lifted if t.at < at]
                break
        return Verdict(self.sequenced(), trouble, self.counts, self.lifted, self.taken)

    # -- what can be asked at any time ---------------------------------------------------------

    def sequenced(self) -> list[Taken]:
        return [t for t in self.taken if t.what == SEQUENCED]

    def mark(self, at: int) -> int:
        return max(rec.arrival for rec in self.history[: at + 1])

    def frames(self, session: Session) -> Iterator[tuple[int, Frame | Resolve]]:
        """The standing frames of a session, in log order."""
        for at, rec in enumerate(self.history):
            if self.standing.get(at) and not isinstance(rec, Garbage) and rec.session == session:
                yield at, rec

    def next(self, session: Session) -> int:
        return 1 + max((t.number for t in self.taken if t.session == session), default=0)

    def closed(self, session: Session) -> bool:
        return any(
            other.family == session.family and other.generation > session.generation
            for other in self.begun
        )

    def carriers(self, session: Session) -> dict[int, tuple[int, Envelope]]:
        """By number: the first standing record that carries it, and the event."""
        found: dict[int, tuple[int, Envelope]] = {}
        for at, rec in self.frames(session):
            for number, event in enumerate(self._events(rec), _first(rec)):
                found.setdefault(number, (at, event))
        return found

    def predecessor(self, session: Session) -> Predecessor | None:
        named = [
            rec.predecessor
            for _, rec in self.frames(session)
            if isinstance(rec, Frame) and rec.first == 1
        ]
        return named[0] if named else None

    def may_begin(self, session: Session, at: int) -> bool:
        before = self.predecessor(session)
        if session in self.begun or session in self.waited_enough or before is None:
            return True
        earlier = Session(session.family, before.generation)
        return (
            self.next(earlier) > before.number
            or before.born_ms + self.limits.life < self.mark(at)
            or self.closed(earlier)
        )

    def waiting(self, session: Session, at: int) -> dict[tuple[int, int], int]:
        """The frames of a session that wait: by their numbers, which record."""
        if self.closed(session):
            return {}
        found: dict[tuple[int, int], int] = {}
        for index, rec in self.frames(session):
            if _first(rec) > self.next(session) or not self.may_begin(session, at):
                found.setdefault((_first(rec), _last(rec)), index)
        return found

    def sessions(self) -> list[Session]:
        return sorted(
            {
                rec.session
                for at, rec in enumerate(self.history)
                if self.standing.get(at) and not isinstance(rec, Garbage)
            }
        )

    def born(self, session: Session) -> int:
        return next(
            rec.born
            for rec in self.history
            if not isinstance(rec, Garbage) and rec.session == session
        )

    # -- one record ------------------------------------------------------------------------------

    def _read(self, at: int, offset: int) -> None:
        rec = self.history[at]
        if isinstance(rec, Garbage):
            self._decide(at, UNDECODABLE, None, offset)
            self._count("skipped")
        # Known before anything is set free: it waits already, and comes again.
        repeated = not isinstance(rec, Garbage) and self._waits_already(rec, at)
        for session in self.sessions():
            self._take(session, at)
            if self.born(session) + self.limits.life < self.mark(at):
                self._end(session, at, offset)
        if isinstance(rec, Garbage) or repeated:
            return
        session = rec.session
        expired = rec.born + self.limits.life < self.mark(at)
        closed = self.closed(session)
        if expired or closed:
            self.standing[at] = False
            self._count("expired" if expired else "closed")
            return
        late = {t.number for t in self.taken if t.session == session and t.what == GIVEN_UP}
        self._count("given_up_late", len(late & set(range(_first(rec), _last(rec) + 1))))
        if _last(rec) < self.next(session):
            self.standing[at] = False
            return
        known = set(self.waiting(session, at))
        self.standing[at] = True
        if (_first(rec), _last(rec)) in known:
            return
        if (_first(rec), _last(rec)) in self.waiting(session, at):
            self._hold(at, rec, offset)
        self._take(session, at)
        for other in self.sessions():
            if other.family == session.family:
                self._take(other, at)

    def _waits_already(self, rec: Frame | Resolve, at: int) -> bool:
        return (
            at > 0
            and rec.born + self.limits.life >= self.mark(at)
            and (_first(rec), _last(rec)) in self.waiting(rec.session, at - 1)
        )

    def _hold(self, at: int, rec: Frame | Resolve, offset: int) -> None:
        """One more waits: is there room?"""
        records = {i for s in self.sessions() for i in self.waiting(s, at).values()}
        size = sum(len(self.history[i].data) for i in records)
        if (
            len(records) > self.limits.hold_frames * self.patience
            or size > self.limits.hold_bytes * self.patience
        ):
            decision = self._decide(at, HOLD_BOUND, str(rec.session), offset)
            if decision == "skip":
                self.standing[at] = False
                self._count("skipped")
            elif decision == "hold":
                self.patience *= 2
            else:
                lowest = min(first for first, _ in self.waiting(rec.session, at))
                self._give_up(rec.session, lowest, at)
        self._count("held", int(self.standing[at]))

    def _end(self, session: Session, at: int, offset: int) -> None:
        """A session expires; nothing of it may be left waiting."""
        waiting = self.waiting(session, at)
        if not waiting:
            return
        decision = self._decide(at, EXPIRED_HELD, str(session), offset)
        if decision == "drop":
            for index in waiting.values():
                self.standing[index] = False
            for index, rec in self.frames(session):
                if _last(rec) >= self.next(session):
                    self.standing[index] = False
            self._count("skipped", len(waiting))
            return
        while waiting := self.waiting(session, at):
            self._give_up(session, min(first for first, _ in waiting), at)
            self._take(session, at)

    def _give_up(self, session: Session, lowest: int, at: int) -> None:
        self.waited_enough.add(session)
        for number in range(self.next(session), lowest):
            self.taken.append(Taken(at, session, number, GIVEN_UP, None))

    def _take(self, session: Session, at: int) -> None:
        """Take every number whose turn it is."""
        while not self.closed(session) and self.may_begin(session, at):
            number = self.next(session)
            carrier = self.carriers(session).get(number)
            if carrier is None:
                return
            _, event = carrier
            if session not in self.begun:
                for other in self.sessions():
                    if other.family == session.family and other.generation < session.generation:
                        self._count("closed", len(self.waiting(other, at)))
                self.begun.append(session)
            what = COPY if self._asks(session) and self._is_copy(event) else SEQUENCED
            self.taken.append(Taken(at, session, number, what, event))

    # -- details ---------------------------------------------------------------------------------

    def _events(self, rec: Frame | Resolve) -> tuple[Envelope, ...]:
        return rec.events if isinstance(rec, Frame) else (self.resolvable[rec.session],)

    def _asks(self, session: Session) -> bool:
        return any(isinstance(rec, Frame) and rec.id_window for _, rec in self.frames(session))

    def _is_copy(self, event: Envelope) -> bool:
        asked = [t.event for t in self.sequenced() if self._asks(t.session) and t.event is not None]
        recent = asked[-self.limits.window :] if self.limits.window else []
        copy = any(_content(event) == _content(other) for other in recent)
        if not copy:
            self._count("id_reused", int(any(event.id == other.id for other in recent)))
        return copy

    def _decide(self, at: int, rule: str, session: str | None, offset: int) -> str:
        trouble = Trouble(at, rule, session, offset)
        for index in range(at + 1, len(self.history)):
            rec = self.history[index]
            if (
                isinstance(rec, Resolve)
                and rec.born + self.limits.life >= self.mark(index)
                and rec.honest
                and (rec.target, rec.rule, rec.halted, rec.offset) == (at, rule, session, offset)
                and rec.decision in ALLOWED[rule]
            ):
                self.lifted.append((trouble, rec.decision))
                return rec.decision
        raise _Stopped(trouble)

    def _count(self, name: str, by: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + by


class _Stopped(Exception):  # noqa: N818  (an answer, not a failure)
    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble


def _first(rec: Frame | Resolve) -> int:
    return rec.first if isinstance(rec, Frame) else 1


def _last(rec: Frame | Resolve) -> int:
    return rec.last if isinstance(rec, Frame) else 1


def _content(event: Envelope) -> tuple[object, ...]:
    return event.id, event.type, event.table, event.key, event.data
