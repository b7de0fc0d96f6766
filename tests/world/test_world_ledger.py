"""The ledger notices each thing that must not be between what was told and what is found."""

from __future__ import annotations

from dataclasses import dataclass
from time import process_time

import msgspec
import pytest

from binlog.changes import put_item
from binlog.control import RESOLVE_TYPE
from binlog.envelope import PUT_ITEM, Envelope
from binlog.frame import Predecessor, Session
from binlog.producer.outcome import Outcome
from binlog.testing.violation import Violation
from binlog.testing.world.ledger import check_ledger, check_order, check_predecessors, check_waits
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.specification import (
    COPY,
    EXPIRED_HELD,
    GIVEN_UP,
    HOLD_BOUND,
    SEQUENCED,
    Taken,
    Trouble,
    Verdict,
)
from binlog.testing.world.world import World

SESSION, NEXT, OTHER = Session(b"a" * 16, 1), Session(b"a" * 16, 2), Session(b"b" * 16, 1)


@dataclass
class Told:
    serial: int
    outcome: Outcome | None
    session: Session | None
    number: int
    event: Envelope
    partition: int = 0


def event(serial: int, name: str = "") -> Envelope:
    return Envelope(name or f"e{serial}", PUT_ITEM, 1, "items", b"k", b"d", time_ms=serial)


def told(serial: int, outcome: Outcome | None = Outcome.ACKNOWLEDGED) -> Told:
    session = None if outcome is Outcome.FAILED else SESSION
    return Told(serial, outcome, session, serial, event(serial))


def taken(serial: int, what: str = SEQUENCED, name: str = "") -> Taken:
    return Taken(serial, SESSION, serial, what, event(serial, name))


def verdict(*taken: Taken) -> Verdict:
    sequenced = [t for t in taken if t.what == SEQUENCED]
    return Verdict(sequenced, None, {}, [], [*taken])


def control(serial: int) -> Taken:
    resolve = msgspec.structs.replace(event(serial), type=RESOLVE_TYPE)
    return Taken(serial, OTHER, 1, SEQUENCED, resolve)


def test_what_holds_passes() -> None:
    """Unknown ones may be there or not, control events are nobody's, other partitions are others'."""
    ledger = [told(1), told(2, Outcome.UNKNOWN), told(3, Outcome.UNKNOWN), told(4, None),
              told(5, Outcome.FAILED), told(6)]  # fmt: skip
    ledger[-1].partition = 1
    given_up = Taken(7, SESSION, 7, GIVEN_UP, None)
    check_ledger(ledger, 0, verdict(taken(1), taken(2), taken(4), control(99), given_up))


def test_a_copy_counts_where_its_original_came_before() -> None:
    one, two = told(1), told(2)
    two.event = event(2, "e1")
    check_ledger([one, two], 0, verdict(taken(1), taken(2, COPY, "e1")))
    early = msgspec.structs.replace(taken(2, COPY, "e1"), at=0)
    with pytest.raises(Violation, match="a copy of nothing"):
        check_ledger([one, two], 0, verdict(early, taken(1)))


@pytest.mark.parametrize(
    ("ledger", "found", "says"),
    [
        ([told(1), told(2)], [taken(1)], "acknowledged event is lost"),
        ([told(1)], [taken(1), taken(1)], "an event twice"),
        ([told(1)], [taken(1), taken(2)], "nobody published"),
        ([], [taken(1)], "nobody published"),
        ([told(1, Outcome.FAILED)], [taken(1)], "never sent, and in the log"),
        ([told(1)], [taken(1, name="another")], "another event under its number"),
        ([told(1)], [taken(1, COPY)], "a copy of nothing"),
        ([told(1)], [Taken(1, SESSION, 1, GIVEN_UP, None)], "acknowledged event is lost"),
    ],
)
def test_each_disagreement_is_a_violation(
    ledger: list[Told], found: list[Taken], says: str
) -> None:
    with pytest.raises(Violation, match=says):
        check_ledger(ledger, 0, verdict(*found))


@pytest.mark.parametrize(
    ("rule", "decision", "number", "is_excused"),
    [
        (HOLD_BOUND, "gap", 1, True),
        (HOLD_BOUND, "gap", 2, False),  # nobody gave that one up
        (HOLD_BOUND, "hold", 1, False),
        (HOLD_BOUND, "skip", 2, True),
        (EXPIRED_HELD, "accept", 1, True),
        (EXPIRED_HELD, "drop", 2, True),
    ],
)
def test_what_was_given_up_by_a_decision_is_not_lost(
    rule: str, decision: str, number: int, *, is_excused: bool
) -> None:
    for session, excused in ((SESSION, is_excused), (OTHER, False)):
        found = verdict(Taken(3, SESSION, 1, GIVEN_UP, None))
        found.lifted.append((Trouble(3, rule, str(session), 0), decision))
        if excused:
            check_ledger([told(number)], 0, found)
        else:
            with pytest.raises(Violation, match="acknowledged event is lost"):
                check_ledger([told(number)], 0, found)


@pytest.mark.parametrize(
    ("decided", "decision", "asked", "is_excused"),
    [
        (NEXT, "gap", SESSION, True),
        (NEXT, "accept", SESSION, True),
        (NEXT, "hold", SESSION, False),
        (SESSION, "gap", NEXT, False),  # the younger one waits for nothing of its own
        (OTHER, "gap", SESSION, False),
    ],
)
def test_a_generation_that_need_not_wait_closes_the_one_before(
    decided: Session, decision: str, asked: Session, *, is_excused: bool
) -> None:
    """Found by a soak: what the older one still had under way is dropped where it lands."""
    found = verdict()
    found.lifted.append((Trouble(3, HOLD_BOUND, str(decided), 0), decision))
    entry = Told(9, Outcome.ACKNOWLEDGED, asked, 9, event(9))
    if is_excused:
        check_ledger([entry], 0, found)
    else:
        with pytest.raises(Violation, match="acknowledged event is lost"):
            check_ledger([entry], 0, found)


def test_a_world_in_which_a_gap_is_accepted_holds() -> None:
    """Readers find the first frame last; too many wait, and somebody goes on without it."""
    world = World()
    put = put_item("items", {"id": "a"}, key="id", event_id="e")
    world.publish(0, [put])
    world.call(0, "found later")
    partition = world.producers.ledger[0].partition
    world.damage(partition, 0)  # the first decision is on this
    for _ in range(PARAMS.hold_frames_max + 1):
        world.publish(0, [put])
        world.call(0, "land")
    world.settle()
    lifted = world.truth.verdict(partition).lifted
    assert [decision for _, decision in lifted] == ["skip", "gap"]


def test_order_is_that_of_a_process_through_all_its_generations() -> None:
    check_order([(SESSION, event(1)), (OTHER, event(1)), (SESSION, event(3)), (NEXT, event(4))])
    for events in ([(SESSION, event(2)), (SESSION, event(1))],
                   [(NEXT, event(2)), (SESSION, event(1))],
                   [(SESSION, event(2)), (SESSION, event(2))]):  # fmt: skip
        with pytest.raises(Violation, match="order is lost"):
            check_order(events)


@pytest.mark.parametrize(("generation", "number"), [(1, 4), (2, 3)])
def test_a_generation_waits_for_nothing_but_what_was_acknowledged(
    generation: int, number: int
) -> None:
    """What it waits for in vain delays it by a whole life of a session, and no more is seen of it."""
    acknowledged = {(SESSION, 3), (OTHER, 4)}
    check_predecessors([(NEXT, Predecessor(1, 3, 0))], acknowledged)
    with pytest.raises(Violation, match="which was never acknowledged"):
        check_predecessors([(NEXT, Predecessor(generation, number, 0))], acknowledged)


@pytest.mark.parametrize(
    ("earlier", "broken", "is_right"),
    [((), set(), False), ((HOLD_BOUND,), set(), True), ((), {SESSION.family}, True)],
)
def test_a_producer_that_keeps_its_rules_makes_nobody_decide(
    earlier: tuple[str, ...], broken: set[bytes], *, is_right: bool
) -> None:
    """A number that it left out would hold all that follows, until somebody lets that in."""
    rules = [*earlier, EXPIRED_HELD]
    lifted = [(Trouble(at, rule, str(SESSION), 0), "accept") for at, rule in enumerate(rules)]
    check_waits([(Trouble(0, "undecodable", None, 0), "skip"), *lifted[:-1]], broken)
    if is_right:
        check_waits(lifted, broken)
    else:
        with pytest.raises(Violation, match="waited for one that never came"):
            check_waits(lifted, broken)


def test_it_is_linear_and_cheap() -> None:
    """It runs at the end of each of a hundred thousand runs.

    By the CPU time of the best round: others on the machine only ever add to it, and not to all.
    """
    given = {
        count: (
            [told(n) for n in range(1, count + 1)],
            verdict(*(taken(n) for n in range(1, count + 1))),
        )
        for count in (2_000, 8_000)
    }
    best, an_event, is_linear = dict.fromkeys(given, 1e9), 1e9, False
    for number in range(30):
        for count, (ledger, found) in given.items():
            started = process_time()
            check_ledger(ledger, 0, found)
            check_order((t.session, t.event) for t in found.sequenced if t.event is not None)
            best[count] = min(best[count], process_time() - started)
        an_event, is_linear = best[8_000] / 8_000, best[8_000] < 12 * best[2_000]
        if number >= 2 and an_event < 20e-6 and is_linear:
            break
    print(f"ledger: {an_event * 1e6:.2f} us an event")
    assert an_event < 20e-6
    assert is_linear, best
