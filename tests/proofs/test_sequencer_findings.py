"""What the proofs found in the sequencer, each as the shortest history that showed it."""

from __future__ import annotations

import msgspec
import pytest

from binlog.frame import Predecessor, Session
from binlog.sequencer_state import SequencerState, SessionState
from binlog.sessions import Sessions
from binlog.testing.world.records import Frame, Log
from tests.proofs.drive import Driver
from tests.proofs.histories import PARAMS, Soup, small_event
from tests.proofs.test_sequencer_proofs import assert_same

ONE, TWO = bytes([1] * 16), bytes([2] * 16)


def frame(
    soup: Soup,
    arrival: int,
    session: Session,
    born: int,
    numbers: range,
    predecessor: Predecessor | None = None,
) -> None:
    events = tuple(small_event(number) for number in numbers)
    rec = Frame(arrival, session, born, numbers[0], events, predecessor)
    soup.append(soup.log.encoded(rec))


def resolve(soup: Soup, arrival: int, decision: str) -> None:
    """A right RESOLVE of the halt that stands."""
    index = ["accept", "drop"].index(decision)
    soup.add_resolve(arrival, 0, index, 1)


def assert_same_however_cut(soup: Soup) -> None:
    straight = Driver(soup.log).run(soup.history)
    assert_same(soup, straight, soup.judge())
    for cut in range(1, len(soup.history) + 1):
        assert Driver(soup.log, restart_at=frozenset([cut])).run(soup.history) == straight


def test_a_predecessor_named_behind_other_frames_expires_in_time() -> None:
    """The end of the wait was not noted when the session was known already: a reader that had
    restarted in between numbered otherwise than one that had not."""
    soup = Soup()
    frame(soup, 1000, Session(ONE, 2), 1002, range(2, 3))
    frame(soup, 1000, Session(ONE, 2), 1002, range(1, 2), Predecessor(1, 1, 995))
    frame(soup, 1056, Session(TWO, 1), 1050, range(1, 2))  # 995 + 60 < 1056
    frame(soup, 1056, Session(TWO, 1), 1050, range(2, 3))
    assert_same_however_cut(soup)
    first = Driver(soup.log).run(soup.history).events[0]
    assert first.session == Session(ONE, 2)


def test_an_older_generation_halts_before_a_younger_one_closes_it() -> None:
    """Both set free by the same arrival, the younger one went first and what the older one held,
    perhaps acknowledged, was dropped without a halt."""
    soup = Soup()
    frame(soup, 1060, Session(ONE, 1), 1059, range(4, 5))
    frame(soup, 1060, Session(ONE, 2), 1062, range(1, 2), Predecessor(1, 2, 1059))
    frame(soup, 1120, Session(TWO, 1), 1119, range(1, 2))
    halt = Driver(soup.log).run(soup.history).halt
    assert halt is not None
    assert (halt.rule, halt.session) == ("expired-held", str(Session(ONE, 1)))
    resolve(soup, 1121, "accept")
    assert_same_however_cut(soup)


def test_a_frame_that_held_ones_overtake_does_not_move_the_session_back() -> None:
    """Its arrival set free frames that carry it; taken after them, it moved ``next`` back, and
    what came again was sequenced again."""
    soup = Soup()
    frame(soup, 1004, Session(ONE, 1), 996, range(2, 3))
    frame(soup, 1004, Session(ONE, 2), 1004, range(1, 2), Predecessor(1, 1, 996))
    frame(soup, 1004, Session(ONE, 2), 1004, range(2, 5))
    frame(soup, 1062, Session(ONE, 2), 1004, range(2, 3))  # ends generation 1: RESOLVE below
    frame(soup, 1063, Session(ONE, 2), 1004, range(3, 5))
    resolve(soup, 1063, "accept")
    assert_same_however_cut(soup)
    numbers = [e.number for e in Driver(soup.log).run(soup.history).events]
    assert numbers == [2, 1, 2, 3, 4, 1]


def test_a_frame_that_a_resolve_drops_leaves_no_wait_behind() -> None:
    """It named a predecessor, and the session waited for that although the frame counts for
    nothing; the end of the wait was noted by a reader that had restarted and by no other."""
    soup = Soup(Log(msgspec.structs.replace(PARAMS, hold_frames_max=1)))
    frame(soup, 1050, Session(ONE, 2), 1050, range(2, 3))
    frame(soup, 1051, Session(ONE, 2), 1050, range(1, 2), Predecessor(1, 5, 1000))
    soup.add_resolve(1051, 0, 2, 1)
    assert [decision for _, decision in Driver(soup.log).run(soup.history).lifted] == ["skip"]
    frame(soup, 1061, Session(ONE, 2), 1050, range(2, 3))  # 1000 + 60 < 1061
    assert_same_however_cut(soup)
    frame(soup, 1062, Session(ONE, 2), 1050, range(1, 2))
    assert_same_however_cut(soup)


def test_sessions_that_end_one_after_the_other_cost_no_look_at_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten new sessions a second, and each record took 38 ms: a partition knows an hour of them, and
    one ends with nearly every record."""
    soup = Soup()
    for number in range(200):
        family = number.to_bytes(16, "big")
        generation = 1 + number % 3
        frame(soup, 1_000 + number, Session(family, generation), 1_000 + number, range(1, 2))
    looks: list[int] = []
    states = Sessions.states

    def counted(sessions: Sessions) -> list[SessionState]:
        looks.append(1)
        return states(sessions)

    sequencer = Driver(soup.log).new()
    monkeypatch.setattr(Sessions, "states", counted)
    for record in soup.log.records(soup.history):
        sequencer.feed(soup.log.shard, record)
    assert not looks
    sequencer.encode_state()
    assert len(looks) == 1
    known = SequencerState.decode(sequencer.encode_state()).sessions
    assert [s.born_ms for s in sorted(known, key=lambda s: s.born_ms)] == [*range(1_139, 1_200)]
