"""How far a log that keeps no horizon of its own, or numbers its records, is read to come to an end."""

from __future__ import annotations

from binlog.clock import ManualClock
from binlog.horizon import Below, WhereCaughtUp, horizon_of
from binlog.log import Page, Position, Record
from binlog.logs import MemoryLog
from binlog.reader import Reader
from tests.log.log_frames import PARAMS, put


def page(*sequences: int, caught_up: bool = True, closed: bool = False) -> Page:
    records = [Record(number, 1, 0, b"x") for number in sequences]
    return Page(records, Position("s", sequences[-1]), caught_up=caught_up, closed=closed)


BEGINNING = Position("s", -1)


def test_a_closed_shard_goes_on_in_its_children() -> None:
    log = MemoryLog(PARAMS, clock=ManualClock())
    log.append([put(1), put(1, partition=3)])
    [shard] = log.shards()
    log.split(shard.id)
    log.append([put(2), put(2, partition=3)])
    reader = Reader(log, horizon=horizon_of(log), page_bytes=1)
    while reader.read() is not None:
        pass
    assert reader.vector() == {0: 2, 3: 2}


def test_a_reader_is_at_its_horizon_and_no_further_until_it_gets_another() -> None:
    log = MemoryLog(PARAMS, clock=ManualClock())
    log.append([put(1)])
    reader = Reader(log, horizon=horizon_of(log))
    while reader.read() is not None:
        pass
    log.append([put(2)])
    assert reader.read() is None
    assert reader.vector() == {0: 1}
    reader.extend(horizon_of(log))
    while reader.read() is not None:
        pass
    assert reader.vector() == {0: 2}


def test_where_it_was_caught_up() -> None:
    horizon = WhereCaughtUp()
    assert horizon.bound(BEGINNING, page(1, 2))[1]
    assert not horizon.bound(BEGINNING, page(1, 2, caught_up=False))[1]
    assert not horizon.bound(BEGINNING, page(1, 2, closed=True))[1]


def test_what_has_the_number_of_the_end_came_later() -> None:
    horizon = Below(10)
    before, beyond = page(3, 9, caught_up=False), page(3, 9, 10, 12, caught_up=False)
    assert horizon.bound(BEGINNING, before) == (before, False)
    cut, is_over = horizon.bound(BEGINNING, beyond)
    assert is_over
    assert [record.sequence for record in cut.records] == [3, 9]
    assert cut.next == Position("s", 9)
    assert cut.caught_up
    nothing, is_over = horizon.bound(Position("s", 9), page(10, caught_up=False))
    assert (nothing.records, nothing.next, is_over) == ([], Position("s", 9), True)
