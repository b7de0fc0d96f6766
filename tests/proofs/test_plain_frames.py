"""The short way that the sequencer takes with common frames gives what the long way gives.

That it does so in general is claimed by `test_saved_anywhere_it_goes_on_alike`: a sequencer made
anew for every record never takes the short way. Here: that it is taken, and what histories by
chance do not meet.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from binlog import plain_frame, sequencer
from binlog.columns import Columns
from binlog.frame import Session
from binlog.params import Params
from binlog.testing.world.records import Frame
from tests.proofs.drive import Driver
from tests.proofs.histories import Soup, small_event
from tests.proofs.test_sequencer_proofs import assert_same

ONE, TWO = Session(bytes([1] * 16), 1), Session(bytes([2] * 16), 1)


def frame(soup: Soup, arrival: int, session: Session, born: int, first: int, count: int) -> None:
    events = tuple(small_event(number) for number in range(first, first + count))
    soup.append(soup.log.encoded(Frame(arrival, session, born, first, events)))


def assert_same_by_both_ways(soup: Soup) -> None:
    straight = Driver(soup.log).run(soup.history)
    assert_same(soup, straight, soup.judge())
    every = frozenset(range(1, len(soup.history) + 1))
    assert Driver(soup.log, restart_at=every).run(soup.history) == straight


def test_all_frames_but_the_first_of_a_session_go_the_short_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when two sessions take turns; else only the benchmark would notice."""
    taken: list[int] = []

    def read_plain(
        data: bytes, partition: int, params: Params
    ) -> tuple[int, bytes, Columns] | None:
        found = original(data, partition, params)
        taken.append(0 if found is None else found[0])
        return found

    original = plain_frame.read_plain
    monkeypatch.setattr(sequencer, "read_plain", read_plain)
    soup = Soup()
    for turn in range(5):
        for session in (ONE, TWO):
            frame(soup, 1_000 + turn, session, 1_000, 1 + 3 * turn, 3)
    driven = Driver(soup.log).run(soup.history)
    assert len(driven.events) == 30
    assert taken == [4, 4, 7, 7, 10, 10, 13, 13]
    assert_same_by_both_ways(soup)


def test_a_known_session_born_after_the_arrival_halts() -> None:
    """Arrivals may go back; a birth beyond the tolerance after one is refused wherever it is met."""
    soup = Soup()
    frame(soup, 1_050, ONE, 1_050, 1, 1)
    frame(soup, 1_050 - soup.log.params.born_tolerance_ms, ONE, 1_050, 2, 1)
    frame(soup, 1_049 - soup.log.params.born_tolerance_ms, ONE, 1_050, 3, 1)
    halt = Driver(soup.log).run(soup.history).halt
    assert halt is not None
    assert (halt.rule, halt.offset) == ("undecodable", 2)
    assert_same_by_both_ways(soup)


@pytest.mark.parametrize("at", range(0, 200, 7))
def test_a_flipped_bit_halts_where_the_short_way_meets_it(at: int) -> None:
    """Header, checksums and body of a frame whose session is known."""
    soup = Soup()
    frame(soup, 1_000, ONE, 1_000, 1, 1)
    frame(soup, 1_001, ONE, 1_000, 2, 3)
    good = soup.history[-1]
    assert isinstance(good, Frame)
    harmed = bytearray(good.data)
    harmed[at % len(harmed)] ^= 1
    history = [*soup.history[:-1], replace(good, data=bytes(harmed))]
    driven = Driver(soup.log).run(history)
    assert driven.halt is not None
    assert (driven.halt.rule, driven.halt.offset) == ("undecodable", 1)
    assert Driver(soup.log).run(soup.history).halt is None
