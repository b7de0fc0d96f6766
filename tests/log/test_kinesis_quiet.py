"""A stream that was quiet for longer than its retention: from which places one can still go on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from binlog.clock import ManualClock
from binlog.errors import MismatchError, TrimmedError
from binlog.log import Appended, Forgets, Page, Position, note_seen, seen_ms
from binlog.logs import MemoryLog
from binlog.logs.kinesis import KinesisLog
from binlog.logs.kinesis_reader import ShardReader
from binlog.logs.kinesis_seen import CLAIMS_MAX, SeenEnds
from binlog.logs.kinesis_stream import EDGE_MS, RETENTION_MIN_MS
from binlog.partition import PARTITIONS_MAX, explicit_hash_key
from binlog.reader import Reader, Start
from binlog.target import Target
from tests.log.kinesis_world import HOUR_MS, KinesisWorld, read_shard
from tests.log.log_frames import PARAMS, put

FIRST = "shardId-000000000000"
BEGINNING = Position(FIRST, -1)
LONGEST_MS = RETENTION_MIN_MS - EDGE_MS  # for which an end that was seen is good


@pytest.fixture
def world() -> KinesisWorld:
    return KinesisWorld()


@pytest.fixture
def log(world: KinesisWorld) -> KinesisLog:
    return world.open()


def fill(log: KinesisLog, count: int, *, start: int = 1) -> None:
    for number in range(start, start + count):
        assert isinstance(log.append([put(number)])[0], Appended)


def seen(world: KinesisWorld, log: KinesisLog, *, quiet_ms: int = 40 * HOUR_MS) -> Page:
    """The end of a stream whose records are all forgotten, and a reader that has just seen it."""
    fill(log, 3)
    page = log.read(BEGINNING)
    while quiet_ms > 0:
        step_ms = min(quiet_ms, 20 * HOUR_MS)
        world.clock.advance(step_ms)
        quiet_ms -= step_ms
        page = log.read(page.next)
        assert page.records == []
    return page


def seen_by(log: KinesisLog, place: Position) -> int:
    found = log.seen_ms(place)
    assert found is not None
    return found


# -- what is seen --------------------------------------------------------------------------------


def test_the_end_of_an_open_shard_is_seen_where_it_was_read(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """At that place, by the service's time, anew whenever it is looked at; nowhere else."""
    assert isinstance(log, Forgets)
    fill(log, 3)
    assert log.seen_ms(BEGINNING) is None
    page = log.read(BEGINNING)
    sequences = [record.sequence for record in page.records]
    assert log.seen_ms(page.next) == world.clock.now_ms() // 1000 * 1000
    for place in (BEGINNING, *[Position(FIRST, s) for s in sequences[:-1]], Position("other", 5)):
        assert log.seen_ms(place) is None
    world.clock.advance(HOUR_MS)
    log.read(page.next)
    assert log.seen_ms(page.next) == world.clock.now_ms() // 1000 * 1000


def test_a_page_that_was_not_the_last_shows_no_end(world: KinesisWorld, log: KinesisLog) -> None:
    """Whoever stands between two pages has seen the end of nothing."""
    fill(log, 3)
    world.double.page_records = 2
    page = log.read(BEGINNING)
    while not page.caught_up:
        assert log.seen_ms(page.next) is None
        page = log.read(page.next)
    assert log.seen_ms(page.next) is not None


def test_what_came_later_leaves_what_was_seen_true(world: KinesisWorld, log: KinesisLog) -> None:
    """A row may be written after the next record has landed: what came after came after that."""
    page = seen(world, log)
    before = seen_by(log, page.next)
    world.clock.advance(HOUR_MS)
    fill(log, 2, start=4)
    after = log.read(page.next)
    assert len(after.records) == 2
    assert log.seen_ms(page.next) == before
    world.clock.advance(before + LONGEST_MS - 1_000 - world.clock.now_ms())
    again = world.open()
    again.note_seen(page.next, before)
    assert again.read(page.next).records == after.records


def test_a_closed_shard_has_no_end_to_be_seen(world: KinesisWorld, log: KinesisLog) -> None:
    """Its lineage says what comes next. Of a child that nobody wrote to the end is its beginning."""
    fill(log, 1)
    page = log.read(BEGINNING)
    assert log.seen_ms(page.next) is not None
    one, two = world.stream.split(FIRST, explicit_hash_key(2, 4) - 5, world.clock.now_ms())
    page = log.read(page.next)
    assert page.closed
    log.note_seen(page.next, world.clock.now_ms())
    assert log.seen_ms(page.next) is None
    child = log.read(Position(one, -1))
    assert child.next == Position(one, -1)
    assert log.seen_ms(child.next) is not None
    assert log.seen_ms(Position(two, -1)) is None


def test_before_the_first_record_of_all_nothing_is_seen(world: KinesisWorld) -> None:
    """A stream that has forgotten everything looks empty from there, and had a genesis."""
    world.clock.advance(30 * HOUR_MS)
    log = world.open()
    assert log.read(BEGINNING).records == []
    assert log.seen_ms(BEGINNING) is None


def test_the_time_is_the_services_by_two_replies(world: KinesisWorld, log: KinesisLog) -> None:
    """One Date that lies would make of an old place a young one."""
    fill(log, 1)
    page = log.read(BEGINNING)
    world.clock.advance(1_000)
    world.double.dates_ahead.append(HOUR_MS)
    for _ in range(2):
        log.read(page.next)
    assert seen_by(log, page.next) <= world.clock.now_ms()


def test_a_process_that_is_stopped_after_a_reply_saw_the_end_before_that(
    world: KinesisWorld, log: KinesisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on hours later, and what arrived meanwhile came after the end that it saw."""
    fill(log, 1)
    page = log.read(BEGINNING)
    asked_ms = world.clock.now_ms()
    get_records = world.double.get_records

    def stopped(**request: Any) -> dict[str, Any]:
        reply = get_records(**request)
        answered.append(reply)
        return reply

    answered: list[dict[str, Any]] = []
    hear = log._time.hear

    def heard_and_stopped(reply: Mapping[str, Any]) -> int:
        said = hear(reply)
        if reply in answered:
            world.clock.advance(13 * HOUR_MS)
        return said

    monkeypatch.setattr(world.double, "get_records", stopped)
    monkeypatch.setattr(log._time, "hear", heard_and_stopped)
    log.read(page.next)
    monkeypatch.undo()
    told = seen_by(log, page.next)
    assert told <= asked_ms
    world.stream.land(
        {"PartitionKey": "p0000", "ExplicitHashKey": "0", "Data": b"lost"}, asked_ms + 1_000
    )
    world.clock.advance(asked_ms + 25 * HOUR_MS - world.clock.now_ms())
    again = world.open()
    again.note_seen(page.next, told)
    with pytest.raises(TrimmedError):
        again.read(page.next)


def test_the_end_is_as_old_as_the_page_that_shows_it(
    world: KinesisWorld, log: KinesisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is looked at after it, whether the place is there still, takes time of its own."""
    world.stream.retention_hours = 168
    fill(log, 2)
    first = read_shard(log, BEGINNING)[-2].sequence
    world.clock.advance(30 * HOUR_MS)
    world.double.page_records = 1
    again = world.open()
    asked: list[int] = []
    look = ShardReader._check_still_there

    def slowly(reader: ShardReader, after: int) -> None:
        asked.append(world.clock.now_ms())
        world.clock.advance(HOUR_MS)
        world.service().describe()
        look(reader, after)

    monkeypatch.setattr(ShardReader, "_check_still_there", slowly)
    page = again.read(Position(FIRST, first))
    assert len(page.records) == len(asked) == 1
    assert seen_by(again, page.next) <= asked[0]


def test_the_consumers_clock_has_no_say(world: KinesisWorld) -> None:
    """It may be days ahead; what it would have seen then is nothing that anybody saw."""
    clock = ManualClock(world.clock.now_ms() + 72 * HOUR_MS)
    log = KinesisLog("s", connect=world.double.connect, clock=clock, pause=world.pause)
    page = log.read(BEGINNING)
    assert log.seen_ms(page.next) == world.clock.now_ms() // 1000 * 1000


def test_a_page_that_is_short_of_what_was_forgotten_shows_no_end(
    world: KinesisWorld, log: KinesisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kinesalite counts it into the page, and says that nobody is ever behind."""
    world.double.behind_is_always_0 = world.double.counts_forgotten = True
    page = seen(world, log)
    fill(log, 6, start=4)
    again = world.open()
    again.note_seen(page.next, seen_by(log, page.next))
    monkeypatch.setattr("binlog.logs.kinesis_reader.CALL_RECORDS_MAX", 4)
    first = again.read(page.next)
    assert len(first.records) == 3
    assert not first.caught_up
    assert again.seen_ms(first.next) is None
    assert len(read_shard(again, page.next)) == 6
    empty = world.open()
    empty.note_seen(page.next, seen_by(log, page.next))
    monkeypatch.setattr("binlog.logs.kinesis_reader.CALL_RECORDS_MAX", 1)
    assert len(read_shard(empty, page.next)) == 6


# -- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["skipped", "refused"])
@pytest.mark.parametrize("empty_pages", [0, 5])
def test_who_knows_that_the_end_was_seen_goes_on(
    world: KinesisWorld, log: KinesisLog, how: str, empty_pages: int
) -> None:
    """The record of its place is forgotten; what came since is not, and comes once."""
    world.double.trimmed_is = how  # type: ignore[assignment]
    page = seen(world, log)
    told = seen_by(log, page.next)
    world.clock.advance(told + LONGEST_MS - 1_000 - world.clock.now_ms())
    quiet = world.open()
    quiet.note_seen(page.next, told)
    assert quiet.read(page.next).records == []
    assert seen_by(quiet, page.next) > told
    fill(log, 2, start=4)
    world.double.empty_pages = empty_pages
    again = world.open()
    again.note_seen(page.next, told)
    assert len(read_shard(again, page.next)) == 2


@pytest.mark.parametrize("how", ["skipped", "refused"])
@pytest.mark.parametrize("between", [0, 2])
def test_an_end_that_was_seen_too_long_ago_says_nothing(
    world: KinesisWorld, log: KinesisLog, how: str, between: int
) -> None:
    """Whether something came and was forgotten meanwhile cannot be known."""
    world.double.trimmed_is = how  # type: ignore[assignment]
    page = seen(world, log)
    told = seen_by(log, page.next)
    fill(log, between, start=4)
    world.clock.advance(told + LONGEST_MS + 1_000 - world.clock.now_ms())
    again = world.open()
    again.note_seen(page.next, told)
    with pytest.raises(TrimmedError):
        again.read(page.next)


def test_a_time_at_which_it_passes_the_edge_while_it_is_read_is_noticed(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """What was decided before the call holds no more when its reply is there."""
    page = seen(world, log)
    told = seen_by(log, page.next)
    world.clock.advance(told + LONGEST_MS - 1_000 - world.clock.now_ms())
    again = world.open()
    again.note_seen(page.next, told)
    world.double.throttled_reads = 8
    with pytest.raises(TrimmedError):
        again.read(page.next)


def test_a_retention_that_was_lowered_and_raised_hides_nothing(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """Nobody tells a reader, so a long one is never relied upon."""
    world.stream.retention_hours = 168
    fill(log, 1)
    world.clock.advance(30 * HOUR_MS)
    page = log.read(BEGINNING)
    told = seen_by(log, page.next)
    fill(log, 1, start=2)
    world.clock.advance(26 * HOUR_MS)
    world.stream.retention_hours = 24
    world.stream.trim(world.clock.now_ms())
    world.stream.retention_hours = 168
    again = world.open()
    again.note_seen(page.next, told)
    with pytest.raises(TrimmedError):
        again.read(page.next)


def test_only_the_very_place_is_gone_on_from(world: KinesisWorld, log: KinesisLog) -> None:
    page = seen(world, log)
    again = world.open()
    again.note_seen(page.next, seen_by(log, page.next))
    for sequence in (page.next.sequence - 1, page.next.sequence + 1):
        with pytest.raises(TrimmedError):
            again.read(Position(FIRST, sequence))


def test_a_time_to_come_is_not_believed(world: KinesisWorld, log: KinesisLog) -> None:
    """Nobody can have seen it; a row written under a wrong Date must not make a gap."""
    page = seen(world, log)
    world.clock.advance(30 * HOUR_MS)
    again = world.open()
    again.note_seen(page.next, world.clock.now_ms() + HOUR_MS)
    with pytest.raises(TrimmedError):
        again.read(page.next)


def test_a_second_that_a_date_cuts_off_is_no_time_to_come(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """Who goes on in the same second reckons with a Date that may be almost one behind."""
    page = seen(world, log)
    world.clock.advance(20 * HOUR_MS + 999 - world.clock.now_ms() % 1000)
    again = world.open()
    again.note_seen(page.next, world.clock.now_ms())
    assert again.read(page.next).records == []


def test_in_a_young_stream_the_place_has_to_be_there(world: KinesisWorld, log: KinesisLog) -> None:
    """It is another log's, whatever is told of it: nothing can have been forgotten."""
    fill(log, 2)
    place = Position(FIRST, read_shard(log, BEGINNING)[-1].sequence + 7)
    world.clock.advance(HOUR_MS)
    log.note_seen(place, world.clock.now_ms() - HOUR_MS // 2)
    log.read(BEGINNING)
    with pytest.raises(MismatchError, match="no record"):
        log.read(place)


def test_a_child_that_was_seen_empty_is_gone_on_with(world: KinesisWorld, log: KinesisLog) -> None:
    """Its beginning is no record, and yet a place; what was never seen there stays refused."""
    fill(log, 1)
    one, two = world.stream.split(FIRST, explicit_hash_key(2, 4) - 5, world.clock.now_ms())
    beginning, told = Position(one, -1), 0
    for _ in range(3):
        log.read(beginning)
        told = seen_by(log, beginning)
        world.clock.advance(20 * HOUR_MS)
    again = world.open()
    with pytest.raises(TrimmedError):
        again.read(Position(two, -1))
    again.note_seen(beginning, told)
    assert again.read(beginning).records == []


def test_a_shard_that_closed_after_it_was_seen_is_left_for_its_children(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """What they have came later still."""
    fill(log, 1)
    world.clock.advance(20 * HOUR_MS)
    reader = Reader(log)
    while reader.read() is not None:
        pass
    at = {p: reader.checkpoint(p) for p in reader.partitions}
    world.stream.split(FIRST, explicit_hash_key(2, 4) - 5, world.clock.now_ms())
    log.append([put(1, session=2)])
    world.clock.advance(20 * HOUR_MS)
    starts = {p: Start(c.position, c.state, c.applied, c.seen_ms) for p, c in at.items()}
    again = Reader(world.open(), starts=starts)
    assert [run.first_offset for run in again.read() or ()] == [2]
    with pytest.raises(TrimmedError):
        Reader(
            world.open(),
            starts={p: Start(c.position, c.state, c.applied) for p, c in at.items()},
        ).read()


# -- readers' places -----------------------------------------------------------------------------


def test_a_reader_knows_the_end_of_every_partition_and_of_no_cut_record(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """Also of those that have nothing there; where a target cuts a record more is known to come."""
    log.append([put(1)])
    log.append([put(2, count=5)])
    reader = Reader(log)
    while reader.read() is not None:
        pass
    now_ms = world.clock.now_ms() // 1000 * 1000
    (told_ms,) = {reader.checkpoint(p).seen_ms for p in reader.partitions}
    assert told_ms is not None
    assert now_ms <= told_ms <= world.clock.now_ms()
    cut = Reader(log, target=Target(vector={0: 3}))
    while cut.read() is not None:
        pass
    assert cut.checkpoint(0).applied == 3
    log.note_seen(cut.checkpoint(0).position, now_ms)
    assert cut.checkpoint(0).seen_ms is None


def test_a_log_that_forgets_nothing_has_no_ends_to_keep() -> None:
    log = MemoryLog(PARAMS)
    reader = Reader(log)
    while reader.read() is not None:
        pass
    assert not isinstance(log, Forgets)
    note_seen(log, reader.checkpoint(0).position, 5)
    assert seen_ms(log, reader.checkpoint(0).position) is None
    assert reader.checkpoint(0).seen_ms is None


def test_claims_are_bounded_and_the_best_are_kept() -> None:
    """Whoever starts over again and again tells the same, or more."""
    ends = SeenEnds()
    ends.note("s", 7, 100)
    ends.note("s", 7, 50)
    assert ends.of("s", 7) == 100
    assert ends.of("t", 7) is None
    for number in range(CLAIMS_MAX):
        ends.note("t", number, 1_000 + number)
    assert ends.of("s", 7) is None
    assert ends.of("t", CLAIMS_MAX // 2) is not None


def test_every_partition_of_several_generations_has_its_claim() -> None:
    """One that goes is a partition that nobody can go on with, though nothing of it was forgotten."""
    ends = SeenEnds()
    for number in range(4 * PARTITIONS_MAX):
        ends.note("s", number, 1_000 + number)
    assert all(ends.of("s", number) is not None for number in range(4 * PARTITIONS_MAX))


def test_claims_of_several_threads_do_not_displace_each_other() -> None:
    """Each is as good as a place to go on from."""
    ends, often = SeenEnds(), sys.getswitchinterval()

    def note(shard: str) -> None:
        for number in range(300):
            ends.note(shard, number, 5)

    threads = [threading.Thread(target=note, args=(name,)) for name in "abcd"]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(often)
    assert all(ends.of(name, number) == 5 for name in "abcd" for number in range(300))
