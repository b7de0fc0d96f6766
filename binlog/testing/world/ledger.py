"""What producers were told, held against what the log's readers have to find.

Linear in events, and nothing is kept: it runs at the end of every run of the world.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Protocol

from binlog.envelope import CONTROL_PREFIX, Envelope
from binlog.frame import Predecessor, Session
from binlog.producer.outcome import Outcome
from binlog.testing.violation import Violation
from binlog.testing.world.specification import (
    COPY,
    EXPIRED_HELD,
    HOLD_BOUND,
    Taken,
    Trouble,
    Verdict,
)


class Entry(Protocol):
    """One event as its owner sees it.

    ``serial`` is the event's ``time_ms``, which tells it from all others. ``outcome`` is ``None``
    while there is none; ``session`` and ``number`` say where it travelled, if it was sent.
    """

    @property
    def serial(self) -> int: ...
    @property
    def event(self) -> Envelope: ...
    @property
    def partition(self) -> int: ...
    @property
    def outcome(self) -> Outcome | None: ...
    @property
    def session(self) -> Session | None: ...
    @property
    def number(self) -> int: ...


def check_ledger(ledger: Iterable[Entry], partition: int, verdict: Verdict) -> None:
    """Invariants 2 and 3: every acknowledged event once, nothing alien, the rest at most once.

    What an operator gave up when he lifted a halt of its session may be missing.

    Raises:
        Violation: one of these does not hold.
    """
    found: dict[int, Taken] = {}  # by serial
    where: dict[tuple[Session, int], Taken] = {}
    given_up: set[tuple[Session, int]] = set()
    for taken in verdict.taken:
        event = taken.event
        if event is None:
            given_up.add((taken.session, taken.number))
            continue
        if is_control(event):
            continue
        if event.time_ms in found:
            raise _broken("an event twice", event)
        found[event.time_ms] = taken
        where[taken.session, taken.number] = taken
    mine = 0
    first: dict[tuple[object, ...], int] | None = None  # by content: the first record that has it
    for entry in ledger:
        if entry.partition != partition:
            continue
        serial, event = entry.serial, entry.event
        mine += serial in found
        if entry.outcome is Outcome.FAILED and serial in found:
            raise _broken("reported as never sent, and in the log", event)
        if entry.session is None:
            continue
        there = where.get((entry.session, entry.number))
        if there is not None and there.event != event:
            raise _broken("another event under its number", event)
        if entry.outcome is Outcome.ACKNOWLEDGED:
            if there is None:
                if not _is_decided(entry.session, entry.number, verdict, given_up):
                    raise _broken("an acknowledged event is lost", event)
            elif there.what == COPY:
                first = _first_by_content(verdict) if first is None else first
                if first.get(content(event), there.at + 1) > there.at:
                    raise _broken("a copy of nothing", event)
    if mine < len(found):
        raise Violation("an event that nobody published", law="nothing alien")


def check_order(events: Iterable[tuple[Session, Envelope]]) -> None:
    """Invariants 4 and 5: of one process life, what came through came in publishing order.

    Raises:
        Violation: it did not.
    """
    last: dict[bytes, int] = {}
    for session, event in events:
        if event.type.startswith(CONTROL_PREFIX):
            continue
        family, serial = session.family, event.time_ms
        if serial <= last.get(family, 0):
            raise Violation(
                f"a process's order is lost: {event.type} {event.id!r} came after a later one",
                law="publishing order",
            )
        last[family] = serial


def check_predecessors(
    frames: Iterable[tuple[Session, Predecessor]], acknowledged: Container[tuple[Session, int]]
) -> None:
    """P7: a generation waits for what was acknowledged, and for nothing that may never come.

    Raises:
        Violation: it does not.
    """
    for session, predecessor in frames:
        earlier = Session(session.family, predecessor.generation)
        if (earlier, predecessor.number) not in acknowledged:
            raise Violation(
                f"session {session} waits for number {predecessor.number} of generation"
                f" {predecessor.generation}, which was never acknowledged",
                law="a generation waits for what was acknowledged (P7)",
            )


def check_waits(lifted: Iterable[tuple[Trouble, str]], broken: Container[bytes]) -> None:
    """7: what a producer sends that keeps its rules waits for nothing that never comes.

    ``broken`` are families of programs that do not keep them. Where too much waited, somebody may
    have decided that it is not waited for.

    Raises:
        Violation: a session came to its end while its frames still waited.
    """
    decided = set()
    for trouble, _ in lifted:
        session = trouble.session or ""
        if trouble.rule == HOLD_BOUND:
            decided.add(session)
        is_broken = session and bytes.fromhex(session.partition(".")[0]) in broken
        if trouble.rule == EXPIRED_HELD and not is_broken and session not in decided:
            raise Violation(
                f"frames of session {session} waited for one that never came",
                law="nothing is held for ever (7)",
            )


def is_control(event: Envelope) -> bool:
    """Whether it is the log's own, and no producer's."""
    return event.type.startswith(CONTROL_PREFIX)


def content(event: Envelope) -> tuple[object, ...]:
    """What makes two events copies of each other (P6)."""
    return event.id, event.type, event.table, event.key, event.data


def _is_decided(
    session: Session, number: int, verdict: Verdict, given_up: set[tuple[Session, int]]
) -> bool:
    """Whether somebody who lifted a halt of the session said that this number need not come.

    Or of a later generation: one that no longer waits for its predecessor begins, and closes it.
    """
    decisions = set()
    for trouble, decision in verdict.lifted:
        family, _, generation = (trouble.session or "").partition(".")
        if trouble.session == str(session):
            decisions.add(decision)
        elif (
            decision in {"gap", "accept"}
            and family == session.family.hex()
            and int(generation) > session.generation
        ):
            return True
    if decisions & {"skip", "drop"}:
        return True
    return bool(decisions & {"gap", "accept"}) and (session, number) in given_up


def _first_by_content(verdict: Verdict) -> dict[tuple[object, ...], int]:
    first: dict[tuple[object, ...], int] = {}
    for taken in verdict.sequenced:
        if taken.event is not None:
            first.setdefault(content(taken.event), taken.at)
    return first


def _broken(what: str, event: Envelope) -> Violation:
    return Violation(
        f"{what}: {event.type} {event.id!r}, published as number {event.time_ms}",
        law="acknowledged exactly once",
    )
