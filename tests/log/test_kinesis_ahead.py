"""Pages fetched ahead, and the budget of reading: nothing is read twice, too soon, or in vain."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from binlog.errors import RefusedError
from binlog.frame import decode_header
from binlog.log import Position, ReadsAhead
from binlog.logs import kinesis_reader, kinesis_stream
from binlog.logs.kinesis import KinesisLog
from binlog.logs.kinesis_stream import SHARD_BYTES_PER_S
from binlog.reader import Reader
from tests.log.kinesis_double import refusal
from tests.log.kinesis_world import HOUR_MS, KinesisWorld, read_shard
from tests.log.log_frames import PARAMS, put
from tests.waits import patience

FIRST = "shardId-000000000000"
BEGINNING = Position(FIRST, -1)
WAIT_S = patience(60.0)  # for what comes at once, unless the test fails


@pytest.fixture
def world() -> KinesisWorld:
    made = KinesisWorld()
    made.pages_ahead = 2
    made.double.page_records = 4
    return made


@pytest.fixture
def gate(world: KinesisWorld) -> Iterator[Gate]:
    made = Gate(world)
    yield made
    made.open.set()
    settle()


class Gate:
    """Stands before GetRecords of threads that fetch ahead; open at first, and in a child."""

    def __init__(self, world: KinesisWorld) -> None:
        self.world = world
        self._pid = os.getpid()
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Semaphore(0)
        self.limits: list[int] = []
        self._get = world.double.get_records
        world.double.get_records = self.get_records  # type: ignore[method-assign]

    def get_records(self, **request: Any) -> Any:
        self.limits.append(request["Limit"])
        if threading.current_thread().name == "binlog-read" and os.getpid() == self._pid:
            self.waiting.release()
            assert self.open.wait(WAIT_S)
        return self._get(**request)


def settle() -> None:
    """When nothing is being fetched."""
    for thread in threading.enumerate():
        if thread.name == "binlog-read":
            thread.join(WAIT_S)
            assert not thread.is_alive()


def fill(log: KinesisLog, count: int, *, start: int = 1) -> list[int]:
    numbers = list(range(start, start + count))
    for number in numbers:
        log.append([put(number)])
    return numbers


def numbers(records: Any) -> list[int]:
    headers = [decode_header(record.data) for record in records]
    return [header.first for header in headers if not header.genesis]


def test_the_next_page_is_there_when_it_is_asked_for(world: KinesisWorld) -> None:
    """For one call more: the last page was not known to be the last when it was fetched."""
    log = world.open()
    assert isinstance(log, ReadsAhead)
    sent = fill(log, 40)
    begun = world.double.calls["get_records"]
    page = log.read(BEGINNING)
    found = page.records
    while not page.caught_up:
        settle()
        before = world.double.calls["get_records"]
        page = log.read(page.next)
        settle()
        assert world.double.calls["get_records"] - before <= 1
        found += page.records
    assert numbers(found) == sent
    ended = world.double.calls["get_records"]
    world.pages_ahead = 0
    assert numbers(read_shard(world.open(), BEGINNING)) == sent
    assert ended - begun == world.double.calls["get_records"] - ended + 1


def test_what_is_kept_is_read_while_the_next_page_is_on_its_way(
    world: KinesisWorld, gate: Gate
) -> None:
    """Page by page of what one call gave: none waits for the network."""
    log = world.open()
    fill(log, 9)
    gate.open.clear()
    page = log.read(BEGINNING, bytes_max=1)
    assert gate.waiting.acquire(timeout=WAIT_S)
    pages = [page]

    def read_on() -> None:
        for _ in range(3):
            pages.append(log.read(pages[-1].next, bytes_max=1))

    reading = threading.Thread(target=read_on)
    reading.start()
    reading.join(WAIT_S / 3)
    assert not reading.is_alive()
    assert [len(each.records) for each in pages] == [1] * 4


def test_the_end_is_told_only_by_a_call_that_began_after_the_question(world: KinesisWorld) -> None:
    """What was fetched ahead was the end when it was fetched; something may have come since."""
    log = world.open()
    fill(log, 2)
    page = log.read(BEGINNING)
    settle()  # the rest, and that there is no more
    fill(log, 1, start=3)
    found = page.records
    while not page.caught_up:
        page = log.read(page.next)
        found += page.records
    assert numbers(found) == [1, 2, 3]


def test_nothing_is_fetched_ahead_of_the_end(world: KinesisWorld) -> None:
    """Only who waits for more asks for it, in its turn."""
    log = world.open()
    fill(log, 9)
    place = Position(FIRST, read_shard(log, BEGINNING)[-1].sequence)
    settle()
    before = world.double.calls["get_records"]
    for _ in range(3):
        log.expect([place])
        assert log.read(place).caught_up
        settle()
    assert world.double.calls["get_records"] - before == 3


def test_the_first_pages_of_several_shards_come_at_once() -> None:
    """As a reader of all of them lets the log know; two, as it is told, and not three."""
    world = KinesisWorld(shards=4)
    world.pages_ahead, gate = 2, Gate(world)
    log = world.open()
    for partition in range(PARAMS.partitions):
        log.append([put(1, partition=partition)])
    reader = Reader(log)
    gate.open.clear()
    asked = threading.Thread(target=reader.read)
    asked.start()
    assert gate.waiting.acquire(timeout=WAIT_S)
    assert gate.waiting.acquire(timeout=WAIT_S)
    assert not gate.waiting.acquire(timeout=0.05)
    gate.open.set()
    asked.join(WAIT_S)
    settle()
    while reader.read() is not None:
        pass
    assert reader.vector() == dict.fromkeys(range(PARAMS.partitions), 1)


def test_trouble_is_met_by_who_reads_there_and_passes(world: KinesisWorld) -> None:
    log = world.open()
    sent = fill(log, 9)
    page = log.read(BEGINNING)
    settle()
    kept = log.read(page.next)  # fetched before
    world.double.refuse["get_records"] = refusal("AccessDeniedException", "not you")
    settle()
    world.double.expire_iterators()
    place = kept.next
    log.expect([place])
    settle()
    while log._reader._readers[FIRST].unread_after(place.sequence) != place.sequence:
        place = log.read(place).next
        settle()
    with pytest.raises(RefusedError, match="not you"):
        log.read(place)
    del world.double.refuse["get_records"]
    assert numbers(read_shard(log, BEGINNING)) == sent


def test_what_is_trimmed_meanwhile_is_not_passed_over(world: KinesisWorld) -> None:
    """A page that was fetched ahead is proved like any other, at the time when it was fetched."""
    log = world.open()
    for hour in range(30):
        fill(log, 1, start=hour + 1)
        world.clock.advance(HOUR_MS)
    world.stream.trim(world.clock.now_ms())
    page = log.read(Position(FIRST, world.stream.shards[FIRST].records[3].sequence))
    settle()
    world.clock.advance(12 * HOUR_MS)
    found = page.records + log.read(page.next).records
    first = numbers(found)[0]
    assert numbers(found) == list(range(first, first + len(found)))
    assert len(found) == 7


def test_no_more_is_kept_than_there_is_room_for(
    world: KinesisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that pushes another one out has to be fetched twice."""
    monkeypatch.setattr(kinesis_stream, "KEPT_BYTES_MAX", 2 * kinesis_stream.CALL_BYTES_MAX - 1)
    log = world.open()
    fill(log, 9)
    before = world.double.calls["get_records"]
    log.read(BEGINNING)
    settle()
    assert world.double.calls["get_records"] - before == 1


def test_in_a_lambda_nothing_is_fetched_behind_its_back(
    world: KinesisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread would be frozen with the rest, and its connection die meanwhile (P8)."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    log = world.open()
    fill(log, 9)
    others = set(threading.enumerate())  # of earlier tests, which end when they like
    before = world.double.calls["get_records"]
    log.read(BEGINNING)
    assert not set(threading.enumerate()) - others
    assert world.double.calls["get_records"] - before == 1


def test_a_forked_child_reads_although_its_parent_was_fetching(
    world: KinesisWorld, gate: Gate
) -> None:
    """Neither the lock of the shard nor a thread of its parent's is anything to it."""
    log = world.open()
    sent = fill(log, 9)
    gate.open.clear()
    log.read(BEGINNING)
    assert gate.waiting.acquire(timeout=WAIT_S)
    with warnings.catch_warnings():  # a fork beside threads: what is tested here
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:  # the gate's own locks may be held by who waits at it: it is open here
        os._exit(0 if numbers(read_shard(log, BEGINNING)) == sent else 1)
    gate.open.set()
    assert os.waitpid(pid, 0)[1] == 0


# -- the budget ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reads_per_s", [5.0, 1.0])
def test_the_bytes_of_a_shard_are_shared_as_its_calls_are(reads_per_s: float) -> None:
    """A page of 4 MB is two seconds of what a shard gives to all its readers together."""
    world = KinesisWorld(reads_per_s=reads_per_s)
    log = world.open()
    for number in range(40):
        world.foreign(f"c{number}", bytes(500_000))
    before_ms, place, taken = world.clock.now_ms(), BEGINNING, 0
    while not (page := log.read(place)).caught_up:
        place = page.next
        taken += sum(len(record.data) for record in page.records)
    assert taken > 19_000_000
    share = SHARD_BYTES_PER_S * reads_per_s / 5.0
    assert world.clock.now_ms() - before_ms >= (taken - kinesis_stream.CALL_BYTES_MAX) / share * 1e3


def test_a_call_asks_for_about_a_page_whatever_the_records_are() -> None:
    """10 MB at once would be thrown away, before they are read, where shards are many."""
    world = KinesisWorld()
    world.pages_ahead = 0
    made = Gate(world)
    log = world.open()
    for number in range(3_000):
        world.foreign(f"c{number}", bytes(200))
    for number in range(30):
        world.foreign(f"c{number}", bytes(900_000))
    found = read_shard(log, BEGINNING, bytes_max=1 << 30)
    assert len(found) == 3_030 + PARAMS.partitions
    goal = kinesis_reader.CALL_BYTES_GOAL
    assert made.limits[0] == goal // (24 * 1024)
    assert max(made.limits) == kinesis_reader.CALL_RECORDS_MAX
    assert made.limits[-1] == goal // 900_000


def test_the_first_page_comes_before_those_that_are_expected(gate_of_two: Gate) -> None:
    """All at once they would keep it from coming soon, and nothing could be begun meanwhile."""
    world, asked = gate_of_two.world, gate_of_two.limits
    log = world.open()
    second = Position(sorted(world.stream.shards)[1], -1)
    log.expect([second])
    settle()
    assert not asked, "nothing has been read yet"
    assert log.read(BEGINNING).records
    settle()
    assert len(asked) == 2
    before = len(asked)
    assert log.read(second).records
    assert len(asked) == before, "it was fetched ahead"


@pytest.fixture
def gate_of_two() -> Gate:
    """Of a stream of two shards."""
    world = KinesisWorld(shards=2)
    world.pages_ahead = 2
    return Gate(world)
