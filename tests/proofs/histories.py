"""Histories of one partition that keep only the rules that every frame keeps by itself.

`soup` mixes the frames of a few sessions in any order: ahead, behind, overlapping, cut anew,
late, twice. What it keeps: a session has one born, later generations of a family are not born
earlier, the same number of a session is always the same event. (Producers that also keep the rest
of their rules are in `binlog.testing.world`.) Numbers and names are few, so that they collide.

A history is decided by a list of steps of a few bytes each: Hypothesis shrinks it by leaving steps
out and by making bytes smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from hypothesis import strategies as st

from binlog.envelope import DELETE_ITEM, PUT_ITEM, Envelope
from binlog.frame import Predecessor, Session
from binlog.params import Params
from binlog.testing.world.garbage import GARBAGE
from binlog.testing.world.records import (
    START_MS,
    Frame,
    Garbage,
    Log,
    Rec,
    Resolve,
    resolve_envelope,
)
from binlog.testing.world.specification import (
    ALLOWED,
    HOLD_BOUND,
    Limits,
    Reference,
    Trouble,
    Verdict,
)
from binlog.values import encode_value
from tests.proofs.drive import Driver

STEP_BYTES = 8
FIRSTS = (1, 1, 1, 2, 2, 3, 4, 5)
KEYS = [encode_value({"id": name}) for name in ("a", "b", "c")]

PARAMS = Params(
    log_id="5e" * 16,
    partitions=3,
    session_age_ms=20,
    session_life_ms=60,
    born_tolerance_ms=4,
    id_window=3,
    hold_frames_max=3,
    hold_bytes_max=1_400,
    frame_events_max=8,
)
SEQUENCE_BASES = (0, 7, 10**55 - 1, 49_650_000_000_000_000_000_000_000_000_000_000_000_000_000_002)
TICKS = (*[0] * 18, *[1] * 10, *[2] * 8, 3, 3, 5, 8, 13, 19, 20, 21, 40, 59, 60, 61, 62, 130)


def limits_of(params: Params) -> Limits:
    return Limits(
        params.session_life_ms, params.id_window, params.hold_frames_max, params.hold_bytes_max
    )


def small_event(seed: int) -> Envelope:
    """One of a few events; some share their id, some all but one thing."""
    seed %= 11
    deleted = seed == 7
    return Envelope(
        id=f"id{seed % 4}",
        type=DELETE_ITEM if deleted else PUT_ITEM,
        schema=1,
        table="tab" if seed % 5 else "other",
        key=KEYS[seed % 3],
        data=None if deleted else encode_value({"id": "abc"[seed % 3], "n": seed % 2}),
        time_ms=seed,
    )


@dataclass
class SessionPlan:
    """What is fixed about a session from its first frame on."""

    session: Session
    born: int
    predecessor: Predecessor | None
    id_window: bool
    sent: int = 0  # highest number so far

    def event(self, number: int) -> Envelope:
        family = self.session.family[-1]
        return small_event(31 * family + 17 * self.session.generation + 5 * number)


@dataclass
class Soup:
    """A history in the making."""

    log: Log = field(default_factory=lambda: Log(PARAMS))
    history: list[Rec] = field(default_factory=list)
    plans: dict[Session, SessionPlan] = field(default_factory=dict)
    resolvable: dict[Session, Envelope] = field(default_factory=dict)
    now: int = START_MS
    counter: int = 0

    def judge(self) -> Verdict:
        limits = limits_of(self.log.params)
        return Reference(limits, list(self.history), self.resolvable).judge()

    @property
    def mark(self) -> int:
        return max((rec.arrival for rec in self.history), default=START_MS)

    def family(self) -> bytes:
        """A family that nobody has yet."""
        self.counter += 1
        return self.counter.to_bytes(16, "big")

    def step(self, step: bytes) -> None:
        op, who, where, count, tick, a, b, c = step
        self.now = self.later(tick)
        arrival = max(START_MS, self.now - c % 3)
        op %= 16
        if op <= 10 or not self.history:
            self.add_frame(arrival, who, where, count, a, b)
            if c % 8 == 1:
                self.resolve_at_once(arrival, a)
        elif op <= 12:
            self.repeat(arrival, self.history[where % len(self.history)])
        elif op == 13 and who % 2:
            self.add_garbage(arrival, where)
        else:
            self.add_resolve(arrival, who, where, a)

    def later(self, tick: int) -> int:
        """The time of the next arrival: a little later, or just at or after some session's end."""
        life = self.log.params.session_life_ms
        ends = sorted({p.born + life for p in self.plans.values() if p.born + life >= self.now})
        if tick >= 208 and ends:
            return ends[tick // 2 % min(3, len(ends))] + tick % 2
        return self.now + TICKS[tick % len(TICKS)]

    # -- frames ----------------------------------------------------------------------------------

    def plan(self, who: int, a: int, b: int) -> SessionPlan:
        family, generation = 1 + who % 2, 1 + who // 2 % 3
        session = Session(bytes([0xF0] * 15 + [family]), generation)
        if session not in self.plans:
            if generation > 1 and b % 2:  # the one before exists, perhaps none of it ever lands
                self.plan(who - 2, a // 2, b // 2)
            older = [p for s, p in self.plans.items() if s < session and s.family == session.family]
            newer = [p for s, p in self.plans.items() if s > session and s.family == session.family]
            born = max([self.now - 4 + a % 8, *(p.born + a // 8 % 4 for p in older)])
            born = min([born, *(p.born for p in newer)])
            before = None
            if older and b % 6:
                chosen = older[b % len(older)]
                before = Predecessor(chosen.session.generation, 1 + b // 6 % 3, chosen.born)
            self.plans[session] = SessionPlan(session, born, before, id_window=bool(a % 2))
        return self.plans[session]

    def add_frame(self, arrival: int, who: int, where: int, count: int, a: int, b: int) -> None:
        plan = self.plan(who, a, b)
        first = FIRSTS[where % len(FIRSTS)] if where < 160 else plan.sent + 1
        numbers = range(first, first + 1 + count % 3)
        if where % 16 == 9:  # cut anew: all from there on
            numbers = range(first, max(numbers[-1], min(plan.sent, first + 7)) + 1)
        self.add_numbers(arrival, plan, numbers)

    def add_numbers(self, arrival: int, plan: SessionPlan, numbers: range) -> None:
        plan.sent = max(plan.sent, numbers[-1])
        frame = Frame(
            arrival,
            plan.session,
            plan.born,
            numbers[0],
            tuple(map(plan.event, numbers)),
            plan.predecessor if numbers[0] == 1 else None,
            plan.id_window,
        )
        self.append(self.log.encoded(frame))

    def append(self, rec: Frame | Resolve) -> None:
        """A frame as it lands; born too far in the future, it is no frame (P2)."""
        mark = max(self.mark, rec.arrival)
        expired = rec.born + self.log.params.session_life_ms < mark
        if not expired and rec.born > rec.arrival + self.log.params.born_tolerance_ms:
            self.history.append(Garbage(rec.arrival, "born in the future", rec.data))
        else:
            self.history.append(rec)

    def repeat(self, arrival: int, rec: Rec) -> None:
        """The same bytes again."""
        if isinstance(rec, Garbage):
            return
        self.append(
            Frame(
                arrival,
                rec.session,
                rec.born,
                rec.first,
                rec.events,
                rec.predecessor,
                rec.id_window,
                rec.data,
            )
            if isinstance(rec, Frame)
            else Resolve(
                arrival,
                rec.session,
                rec.born,
                rec.target,
                rec.rule,
                rec.halted,
                rec.offset,
                rec.decision,
                rec.honest,
                rec.data,
            )
        )

    def add_garbage(self, arrival: int, which: int) -> None:
        why, make = GARBAGE[which % len(GARBAGE)]
        session = Session(self.family(), 1)
        frame = Frame(arrival, session, arrival, 1, (small_event(which), small_event(which + 1)))
        self.history.append(Garbage(arrival, why, make(self.log, frame)))

    # -- RESOLVE ---------------------------------------------------------------------------------

    def resolve_at_once(self, arrival: int, which: int) -> None:
        """An operator who is quick: sessions are alive yet when the bound is lifted."""
        trouble = self.judge().trouble
        if trouble and trouble.at == len(self.history) - 1 and trouble.rule == HOLD_BOUND:
            self.add_resolve(arrival, 0, which, 1)

    def add_resolve(self, arrival: int, how: int, which: int, a: int) -> None:
        """A RESOLVE for the halt that stands, if one does; some of them wrong in one fact."""
        verdict = self.judge()
        trouble = verdict.trouble
        driven = Driver(self.log).run(self.history)
        digest = driven.digest
        if trouble is None or how % 16 == 15:
            if not verdict.lifted:
                return
            # It was lifted already: the first RESOLVE that counts has decided.
            trouble = verdict.lifted[which % len(verdict.lifted)][0]
            digest = driven.digests[trouble.at]
        decisions = sorted(ALLOWED[trouble.rule])
        # Mostly right, and wrong in each of these ways sometimes.
        wrong = (
            "",
            "",
            "",
            "",
            "session",
            "digest",
            "offset",
            "position",
            "log",
            "rule",
            "old",
            "future",
        )[how % 12]
        decision = decisions[which % len(decisions)]
        ages = {"old": 61, "future": -self.log.params.born_tolerance_ms - 1}
        born = arrival - ages.get(wrong, 60 if a % 5 == 0 else a % 3)
        self.append(
            make_resolve(
                self.log,
                trouble,
                digest,
                decision,
                wrong,
                arrival,
                born,
                self.family(),
                self.resolvable,
            )
        )
        if decision == "gap" and trouble.session is not None:
            # What is given up comes after all.
            family, _, generation = trouble.session.partition(".")
            plan = self.plans.get(Session(bytes.fromhex(family), int(generation)))
            if plan is not None:
                self.add_numbers(arrival, plan, range(1, 2 + a % 3))


def make_resolve(
    log: Log,
    trouble: Trouble,
    digest: bytes,
    decision: str,
    wrong: str,
    arrival: int,
    born: int,
    family: bytes,
    resolvable: dict[Session, Envelope],
) -> Resolve:
    """A RESOLVE of ``trouble``, with the one fact wrong that ``wrong`` names."""
    target, rule, halted, offset = trouble.at, trouble.rule, trouble.session, trouble.offset
    if wrong == "session":
        halted = f"{'ee' * 16}.1" if halted is None else f"{halted[:-1]}9"
    if wrong == "position":
        target += 1
    if wrong == "offset":
        offset += 1
    if wrong == "rule":
        rule = "hold-bound" if rule == "expired-held" else "expired-held"
        decision = sorted(ALLOWED[rule])[0]
    session = Session(family, 1)
    resolve = Resolve(
        arrival,
        session,
        born,
        target,
        rule,
        halted,
        offset,
        decision,
        honest=wrong not in ("digest", "log"),
    )
    content = {
        "log_id": "0" * 32 if wrong == "log" else log.params.log_id,
        "partition": log.partition,
        "position": f"{log.shard}:{log.sequence(target)}",
        "rule": rule,
        "session": halted,
        "offset": offset,
        "digest": (sha256(digest).digest() if wrong == "digest" else digest).hex(),
        "decision": decision,
    }
    resolvable[session] = resolve_envelope(resolve, content)
    return log.encoded_resolve(resolve, content)


steps = st.binary(min_size=STEP_BYTES, max_size=STEP_BYTES)


@st.composite
def soups(draw: st.DrawFn, max_size: int = 40) -> Soup:
    """A finished history, with all that is known about it."""
    soup = Soup(
        Log(
            PARAMS,
            partition=draw(st.sampled_from([0, 2])),
            sequence_base=draw(st.sampled_from(SEQUENCE_BASES)),
        )
    )
    # Left to itself Hypothesis makes short lists; the rare things need long ones.
    at_least = draw(st.sampled_from([1, 12, 24]))
    for step in draw(st.lists(steps, min_size=min(at_least, max_size), max_size=max_size)):
        soup.step(step)
    return soup
