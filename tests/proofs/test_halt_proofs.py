"""Halts whose resolution turns on a detail, as short histories."""

from __future__ import annotations

from binlog.frame import Session
from binlog.testing.world.garbage import GARBAGE
from binlog.testing.world.records import START_MS, Frame, Garbage
from tests.proofs.drive import Driver
from tests.proofs.histories import Soup, small_event
from tests.proofs.test_sequencer_proofs import assert_same

ONE, TWO = Session(bytes([1] * 16), 1), Session(bytes([2] * 16), 1)


def add(soup: Soup, arrival: int, session: Session, born: int, first: int, count: int = 1) -> None:
    events = tuple(small_event(first + i) for i in range(count))
    soup.append(soup.log.encoded(Frame(arrival, session, born, first, events)))


def garbage(soup: Soup, arrival: int) -> None:
    why, make = GARBAGE[1]
    frame = Frame(arrival, TWO, arrival, 1, (small_event(1), small_event(2)))
    soup.history.append(Garbage(arrival, why, make(soup.log, frame)))


def test_the_mark_of_an_undecodable_record_expires_a_resolve() -> None:
    """S3: expired against the mark over every record. A reader that left undecodable ones out
    would count a RESOLVE that the others do not."""
    soup = Soup()
    garbage(soup, START_MS)
    life = soup.log.params.session_life_ms
    garbage(soup, START_MS + life + 1)
    soup.add_resolve(START_MS, 0, 0, 3)  # born at the start, and found behind both
    driven = Driver(soup.log).run(soup.history)
    assert driven.halt is not None
    assert_same(soup, driven, soup.judge())


def test_a_number_that_was_given_up_and_comes_after_all_is_reported() -> None:
    """S3: never dropped as a duplicate in silence; alone, or in a frame that holds more."""
    soup = Soup()
    for first in (3, 4, 5, 6):  # one more than may be held
        add(soup, START_MS, ONE, START_MS, first)
    soup.add_resolve(START_MS + 1, 0, 0, 1)  # the first decision by name: gap
    add(soup, START_MS + 2, ONE, START_MS, 1)
    add(soup, START_MS + 2, ONE, START_MS, 2, count=6)
    driven, verdict = Driver(soup.log).run(soup.history), soup.judge()
    assert_same(soup, driven, verdict)
    assert [(halt.rule, decision) for halt, decision in driven.lifted] == [("hold-bound", "gap")]
    assert driven.counters["given_up_late"] == verdict.counts["given_up_late"] == 2
    assert [e.number for e in driven.events if e.session == ONE] == [3, 4, 5, 6, 7]
