"""What the sequencer has to answer, in time linear in the records: the specification made quick.

It answers what `specification.Reference` answers and is proved against it, which works everything
out anew each time. It shares no code and no data structure with `binlog.sequencer`: plain events
by number, no runs, no columns, no encoded state. It is for long runs, and reads record by record.

What is kept instead of being worked out anew, and why that is enough:

* of a session, the events from ``next`` on by number, each from the first standing record that
  carried it; and the frames that wait;
* an arrival can set something free by itself only where it passes a deadline: a session's own
  end, or the end of the predecessor that it waits for. All deadlines are in one heap;
* all else that a record sets free belongs to its own family, and there to its own session or to
  a later generation;
* a halt suspends the reading of its record where a decision is needed; it goes on from there when
  the first RESOLVE that counts is read. Until then nothing of the record, and nothing behind it,
  is in the answer.

Assumed, as every producer keeps it: a session has one ``born`` and one answer to whether it asks
for the id window, in all its frames; a predecessor is an older generation, not born later.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from collections.abc import Generator, Iterable, Mapping
from heapq import heappop, heappush
from operator import attrgetter

from binlog.envelope import Envelope
from binlog.frame import Predecessor, Session
from binlog.testing.world.records import Frame, Garbage, Rec, Resolve
from binlog.testing.world.specification import (
    ALLOWED,
    COPY,
    EXPIRED_HELD,
    GIVEN_UP,
    HOLD_BOUND,
    SEQUENCED,
    UNDECODABLE,
    Limits,
    Taken,
    Trouble,
    Verdict,
)

_Asking = Generator[Trouble, None, str]  # ends with the decision
_Reading = Generator[Trouble, None, None]


class _Life:
    """A session as far as it has been read."""

    __slots__ = ("asks", "begun", "born", "carried", "closed", "given_up", "knows", "next",
                 "patient", "predecessor", "session", "waiting")  # fmt: skip

    def __init__(self, session: Session, born: int) -> None:
        self.session = session
        self.born = born
        self.next = 1
        self.begun = False
        self.closed = False
        self.asks = False
        self.patient = True  # waits for its predecessor yet
        self.knows = False  # has its first frame, which names the predecessor
        self.predecessor: Predecessor | None = None
        self.carried: dict[int, Envelope] = {}
        self.waiting: dict[tuple[int, int], int] = {}  # by numbers: bytes
        self.given_up: set[int] = set()


def judge(
    limits: Limits, history: Iterable[Rec], resolvable: Mapping[Session, Envelope] = {}
) -> Verdict:
    """What `specification.Reference` answers, but for counts of nothing."""
    model = Model(limits, resolvable)
    for rec in history:
        model.read(rec)
    return model.verdict()


class Model:
    """Reads one history of one partition, the genesis record left out.

    ``resolvable`` has the event of each RESOLVE by its session, at the latest when it is read.
    ``sequenced``, ``taken``, ``lifted``, ``counts`` and ``trouble`` are the answer so far.
    """

    def __init__(self, limits: Limits, resolvable: Mapping[Session, Envelope] = {}) -> None:
        self.limits = limits
        self.resolvable = resolvable
        self.sequenced: list[Taken] = []
        self.taken: list[Taken] = []
        self.lifted: list[tuple[Trouble, str]] = []
        self.counts: Counter[str] = Counter()
        self.trouble: Trouble | None = None
        self.read_count = 0
        self.ends: list[int] = []  # events numbered by the end of each record; none behind a halt
        self._life = limits.life
        self._mark = 0  # over all that was read, behind a halt too
        self._lives: dict[Session, _Life] = {}
        self._families: dict[bytes, list[_Life]] = {}  # neither closed nor ended, by generation
        self._newest: dict[bytes, int] = {}  # generation that has begun
        self._deadlines: list[tuple[int, int, _Life]] = []
        self._frames_waiting = 0
        self._bytes_waiting = 0
        self._patience = 1
        self._window: deque[tuple[object, ...]] = deque()
        self._recent: dict[object, int] = {}  # contents and ids in the window: how often
        self._decisions: dict[Trouble | None, str] = {}
        self._suspended: _Reading | None = None  # of the record that halts; what it has done:
        self._done: tuple[list[Taken], list[Taken], list[tuple[Trouble, str]]] = ([], [], [])
        self._behind: deque[tuple[int, Rec, int]] = deque()

    def verdict(self) -> Verdict:
        """The answer; the model goes on reading, and the answer stays."""
        return Verdict(
            [*self.sequenced], self.trouble, dict(self.counts), [*self.lifted], [*self.taken]
        )

    def read(self, rec: Rec) -> None:
        """Take the next record."""
        at = self.read_count
        self.read_count = at + 1
        mark = self._mark
        if rec.arrival > mark:
            mark = self._mark = rec.arrival
        if type(rec) is Resolve:
            self._note(at, rec, mark)
        if self._suspended is None:
            self._feed(at, rec, mark)
        else:
            self._behind.append((at, rec, mark))
            if type(rec) is Resolve:
                self._go_on()

    # -- halts -------------------------------------------------------------------------------

    def _note(self, at: int, rec: Resolve, mark: int) -> None:
        """The first RESOLVE counts that stands, is honest, and comes behind what it names."""
        if (
            rec.honest
            and rec.target < at
            and rec.born + self._life >= mark
            and rec.decision in ALLOWED.get(rec.rule, ())
        ):
            named = Trouble(rec.target, rec.rule, rec.halted, rec.offset)
            self._decisions.setdefault(named, rec.decision)

    def _decide(self, at: int, rule: str, session: str | None, offset: int) -> _Asking:
        trouble = Trouble(at, rule, session, offset)
        while trouble not in self._decisions:
            yield trouble
        decision = self._decisions[trouble]
        self.lifted.append((trouble, decision))
        return decision

    def _run(self, reading: _Reading, before: tuple[int, int, int]) -> None:
        """Go on until a decision is missing; what was done since ``before`` is put aside then."""
        trouble = next(reading, None)
        self.trouble = trouble
        if trouble is None:
            self._suspended = None
            self.ends.append(len(self.sequenced))
            return
        self._suspended = reading
        taken, sequenced, lifted = before
        self._done = self.taken[taken:], self.sequenced[sequenced:], self.lifted[lifted:]
        del self.taken[taken:], self.sequenced[sequenced:], self.lifted[lifted:]

    def _go_on(self) -> None:
        while (reading := self._suspended) is not None and self.trouble in self._decisions:
            before = (len(self.taken), len(self.sequenced), len(self.lifted))
            taken, sequenced, lifted = self._done
            self.taken += taken
            self.sequenced += sequenced
            self.lifted += lifted
            self._run(reading, before)
            while self._behind and self._suspended is None:
                self._feed(*self._behind.popleft())

    # -- one record --------------------------------------------------------------------------

    def _feed(self, at: int, rec: Rec, mark: int) -> None:
        if type(rec) is Frame and (not self._deadlines or self._deadlines[0][0] >= mark):
            life = self._lives.get(rec.session)
            # The common record: the next frame of a session that nothing else waits for.
            if (
                life is not None
                and (life.next == rec.first and life.begun)
                and not (life.closed or life.waiting)
                and rec.born + self._life >= mark
                and len(self._families[rec.session.family]) == 1
            ):
                life.next += len(rec.events)
                for number, event in enumerate(rec.events, rec.first):
                    self._sequence(at, life, number, event)
                self.ends.append(len(self.sequenced))
                return
        self._run(
            self._reading(at, rec, mark), (len(self.taken), len(self.sequenced), len(self.lifted))
        )

    def _reading(self, at: int, rec: Rec, mark: int) -> _Reading:
        offset = len(self.sequenced)
        if isinstance(rec, Garbage):
            yield from self._decide(at, UNDECODABLE, None, offset)
            self.counts["skipped"] += 1
            repeated = True
        else:
            life = self._lives.get(rec.session)
            waits = life is not None and _numbers(rec) in life.waiting
            repeated = waits and rec.born + self._life >= mark
        if self._deadlines and self._deadlines[0][0] < mark:
            for life in self._due(mark):
                self._take(at, life, mark)
                if life.born + self._life < mark:
                    yield from self._end(at, life, mark, offset)
        if not isinstance(rec, Garbage) and not repeated:
            yield from self._own(at, rec, mark, offset)

    def _due(self, mark: int) -> list[_Life]:
        """In order, all sessions of the families in which a deadline has passed."""
        families = set()
        while self._deadlines and self._deadlines[0][0] < mark:
            families.add(heappop(self._deadlines)[2].session.family)
        return [life for family in sorted(families) for life in self._families[family]]

    def _own(self, at: int, rec: Frame | Resolve, mark: int, offset: int) -> _Reading:
        session = rec.session
        if rec.born + self._life < mark:
            self.counts["expired"] += 1
            return
        if self._newest.get(session.family, 0) > session.generation:
            self.counts["closed"] += 1
            return
        first, last = numbers = _numbers(rec)
        life = self._lives.get(session) or self._new(session, rec.born)
        if life.given_up:
            self.counts["given_up_late"] += sum(first <= n <= last for n in life.given_up)
        if last < life.next or numbers in life.waiting:
            return
        names_it = first == 1 and isinstance(rec, Frame) and not life.knows
        if isinstance(rec, Frame):
            life.asks |= rec.id_window
            if names_it:
                life.knows = True
                life.predecessor = rec.predecessor
        may_begin = self._may_begin(life, mark)
        if first > life.next or not may_begin:
            if names_it and life.predecessor is not None:
                self._set_deadline(life.predecessor.born_ms, life)
            self._wait(life, numbers, len(rec.data))
            if self._is_too_much():
                decision = yield from self._decide(at, HOLD_BOUND, str(session), offset)
                if decision == "skip":
                    self._wait_no_more(life, [numbers])
                    if names_it:
                        life.knows, life.predecessor = False, None
                    self.counts["skipped"] += 1
                    return
                if decision == "hold":
                    self._patience *= 2
                else:
                    self._give_up(at, life)
            self.counts["held"] += 1
        events = rec.events if isinstance(rec, Frame) else (self.resolvable[session],)
        for number, event in enumerate(events, first):
            if number >= life.next:
                life.carried.setdefault(number, event)
        self._take(at, life, mark)
        for other in [*self._families[session.family]]:
            self._take(at, other, mark)

    def _new(self, session: Session, born: int) -> _Life:
        life = self._lives[session] = _Life(session, born)
        insort(self._families.setdefault(session.family, []), life, key=attrgetter("session"))
        self._set_deadline(born, life)
        return life

    def _set_deadline(self, born: int, life: _Life) -> None:
        # (The second number is there so that no two are equal and sessions are never compared.)
        heappush(self._deadlines, (born + self._life, id(life), life))

    # -- what waits --------------------------------------------------------------------------

    def _wait(self, life: _Life, numbers: tuple[int, int], size: int) -> None:
        life.waiting[numbers] = size
        self._frames_waiting += 1
        self._bytes_waiting += size

    def _wait_no_more(self, life: _Life, which: list[tuple[int, int]]) -> None:
        for numbers in which:
            self._bytes_waiting -= life.waiting.pop(numbers)
        self._frames_waiting -= len(which)

    def _is_too_much(self) -> bool:
        limits = self.limits
        return (
            self._frames_waiting > limits.hold_frames * self._patience
            or self._bytes_waiting > limits.hold_bytes * self._patience
        )

    def _may_begin(self, life: _Life, mark: int) -> bool:
        before = life.predecessor
        if life.begun or not life.patient or before is None:
            return True
        family = life.session.family
        earlier = self._lives.get(Session(family, before.generation))
        return (
            (earlier.next if earlier is not None else 1) > before.number
            or before.born_ms + self._life < mark
            or self._newest.get(family, 0) > before.generation
        )

    def _give_up(self, at: int, life: _Life) -> None:
        """All numbers up to the first frame that waits."""
        life.patient = False
        lowest = min(life.waiting)[0]
        for number in range(life.next, lowest):
            self.taken.append(Taken(at, life.session, number, GIVEN_UP, None))
            life.given_up.add(number)
        life.next = max(life.next, lowest)

    def _end(self, at: int, life: _Life, mark: int, offset: int) -> _Reading:
        """A session expires; nothing of it may be left waiting."""
        if life.waiting:
            decision = yield from self._decide(at, EXPIRED_HELD, str(life.session), offset)
            if decision == "drop":
                self.counts["skipped"] += len(life.waiting)
                self._wait_no_more(life, [*life.waiting])
            while life.waiting:
                self._give_up(at, life)
                self._take(at, life, mark)
        life.carried.clear()
        mine = self._families[life.session.family]
        if life in mine:
            mine.remove(life)

    # -- what is set free --------------------------------------------------------------------

    def _take(self, at: int, life: _Life, mark: int) -> None:
        """Take every number whose turn it is."""
        carried = life.carried
        if life.closed or life.next not in carried or not self._may_begin(life, mark):
            return
        if not life.begun:
            self._begin(life)
        while (event := carried.pop(life.next, None)) is not None:
            number = life.next
            life.next = number + 1
            self._sequence(at, life, number, event)
        if life.waiting:
            self._wait_no_more(life, [n for n in life.waiting if n[0] <= life.next])

    def _begin(self, life: _Life) -> None:
        """Close all older generations of its family, what they hold with them."""
        life.begun = True
        session = life.session
        mine = self._families[session.family]
        for other in [*mine]:
            if other.session.generation < session.generation:
                self.counts["closed"] += len(other.waiting)
                self._wait_no_more(other, [*other.waiting])
                other.closed = True
                other.carried.clear()
                mine.remove(other)
        self._newest[session.family] = session.generation

    def _sequence(self, at: int, life: _Life, number: int, event: Envelope) -> None:
        if life.asks and self._is_copy(event):
            self.taken.append(Taken(at, life.session, number, COPY, event))
            return
        taken = Taken(at, life.session, number, SEQUENCED, event)
        self.taken.append(taken)
        self.sequenced.append(taken)

    def _is_copy(self, event: Envelope) -> bool:
        """Whether the window has it; if not, it enters the window."""
        limit, window, recent = self.limits.window, self._window, self._recent
        content = event.id, event.type, event.table, event.key, event.data
        if content in recent:
            return True
        if event.id in recent:
            self.counts["id_reused"] += 1
        window.append(content)
        recent[content] = 1
        recent[event.id] = recent.get(event.id, 0) + 1
        if len(window) > limit:
            gone = window.popleft()
            del recent[gone]
            recent[gone[0]] -= 1
            if not recent[gone[0]]:
                del recent[gone[0]]
        return False


def _numbers(rec: Frame | Resolve) -> tuple[int, int]:
    return (rec.first, rec.last) if isinstance(rec, Frame) else (1, 1)
