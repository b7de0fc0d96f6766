"""Who reads a stream to its end comes to one under any load, and misses nothing from before."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from binlog.errors import StorageError
from binlog.horizon import Horizon, horizon_of
from binlog.logs import kinesis_horizon
from binlog.partition import explicit_hash_key
from binlog.reader import Reader
from binlog.vector import Vector
from tests.log.log_frames import PARAMS
from tests.log.stream_under_load import EndlessError, Load, OwnClock

ALL = range(PARAMS.partitions)


def read_all(reader: Reader) -> Vector:
    while reader.read() is not None:
        pass
    assert not reader.halts
    return reader.vector()


def has_all(vector: Vector, wanted: Vector) -> bool:
    return all(vector.get(p, 0) >= wanted[p] for p in ALL)


# -- the law -------------------------------------------------------------------------------------


def story(seed: int) -> None:
    """A stream of any history, a reader with a clock of its own, and load from its start on."""
    random = Random(seed)
    load = Load(random, shards=random.randint(1, 3))
    world, double = load.world, load.world.double
    for _ in range(random.randint(0, 40)):
        load.put()
        world.clock.advance(random.choice([0, 1, 300]))
        if random.random() < 0.1:
            load.reshard()
    clock = OwnClock(world.clock, off_ms=random.choice([0, -3_600_000, 3_600_000]))
    log = load.open(clock, pages_ahead=0)
    if random.random() < 0.5:  # what others have read by then is kept in memory
        before = Reader(log, page_bytes=random.choice([1, 1 << 20]))
        for _ in range(random.randint(1, 4)):
            before.read()
    if random.random() < 0.5:
        slept_ms = random.randint(0, 1_200_000)
        clock.asleep_ms += slept_ms
        world.clock.advance(slept_ms)
    world.stream.arrives_off_ms = lambda: random.randint(-2_000, 2_000)
    for _ in range(random.randint(0, 12)):
        load.put()
    if random.random() < 0.5:
        load.reshard(unlisted=random.choice([0, 1, 5]))
        for _ in range(random.randint(0, 6)):
            load.put()
    double.page_records = random.choice([2, 10, 10_000])
    double.empty_pages = random.choice([0, 5])
    double.throttled_reads = random.choice([0, 3])
    double.shown_after_ms = random.choice([0, 0, 700, 3_000])
    double.silent_ends = random.choice([0, 1, 4])
    load.puts_a_read = random.choice([(1, 3), (3, 12)])
    load.reshards = random.choice([0.0, 0.05])
    load.takes_ms = random.choice([(1, 250), (200, 1_500)])
    load.reads_max = 3_000
    wanted = dict(load.acknowledged)
    load.begin()
    horizon = horizon_of(log)
    size = random.choice([1, 300, 1 << 22])
    first = read_all(Reader(log, horizon=horizon, page_bytes=size))
    assert has_all(first, wanted), f"seed {seed}: {first} lacks some of {wanted}"
    assert read_all(Reader(log, horizon=horizon)) == first, f"seed {seed}: another end"
    load.end()


@pytest.mark.parametrize("seeds", range(10))
def test_nothing_acknowledged_before_the_start_is_missed_and_it_ends(seeds: int) -> None:
    for seed in range(seeds * 12, seeds * 12 + 12):
        story(seed)


def test_without_a_horizon_there_is_no_end() -> None:
    """Or the law would hold of a load that is none."""
    load = Load(Random(1))
    log = load.open()
    load.begin()
    with pytest.raises(EndlessError):
        read_all(Reader(log))


# -- its parts -----------------------------------------------------------------------------------


def test_what_was_fetched_before_it_began_does_not_tell_where_it_ends() -> None:
    load = Load(Random(2))
    log = load.open()
    load.put(0)
    before = Reader(log, page_bytes=1)
    before.read()  # there is more of the page, which holds the end of the shard
    load.put(1)
    wanted = dict(load.acknowledged)
    assert has_all(read_all(Reader(log, horizon=horizon_of(log))), wanted)


def test_the_reply_to_a_call_that_began_before_does_not_tell_it_either() -> None:
    """Another thread of the handle may be in a call when somebody begins."""
    load = Load(Random(11))
    log = load.open()
    double = load.world.double
    answer = double.get_records
    begun: list[tuple[Vector, Horizon]] = []

    def answer_late(**request: Any) -> Any:
        reply = answer(**request)
        if not begun:
            load.put(0)
            begun.append((dict(load.acknowledged), horizon_of(log)))
        return reply

    double.get_records = answer_late  # type: ignore[method-assign]
    Reader(log).read()
    [(wanted, horizon)] = begun
    assert has_all(read_all(Reader(log, horizon=horizon)), wanted)


def test_one_date_that_lies_ends_nothing_too_soon() -> None:
    load = Load(Random(12))
    log = load.open()
    for _ in range(10):
        load.put()
        load.world.clock.advance(30_000)
    load.world.double.page_records = 2
    wanted = dict(load.acknowledged)
    reader = Reader(log, horizon=horizon_of(log))
    load.world.double.dates_ahead.extend([-3_600_000] * 2)  # of the iterator, and of its first page
    assert has_all(read_all(reader), wanted)


def test_a_shard_that_was_closed_before_is_read_to_the_end_of_its_children() -> None:
    """Its last reply may say that nothing more is there, and not yet that it is closed."""
    load = Load(Random(3))
    load.put(0)
    load.world.stream.split("shardId-000000000000", key_of(2), load.world.clock.now_ms())
    load.put(0)
    load.put(3)
    load.world.double.silent_ends = 3
    wanted = dict(load.acknowledged)
    log = load.open()
    assert has_all(read_all(Reader(log, horizon=horizon_of(log))), wanted)


def key_of(partition: int) -> int:
    return explicit_hash_key(partition, PARAMS.partitions)


def test_children_that_are_not_listed_yet_are_waited_for() -> None:
    load = Load(Random(4))
    log = load.open()
    stream = load.world.stream
    one, two = stream.split("shardId-000000000000", key_of(2), load.world.clock.now_ms())
    load.put(0)
    load.put(3)
    stream.unlisted = {one: 6, two: 6}
    wanted = dict(load.acknowledged)
    assert has_all(read_all(Reader(log, horizon=horizon_of(log))), wanted)
    stream.unlisted = {one: 10**6, two: 10**6}
    log = load.open()
    before = load.world.clock.now_ms()
    with pytest.raises(StorageError, match=r"without children.*shardId-000000000000"):
        read_all(Reader(log, horizon=horizon_of(log)))
    waited_s = (load.world.clock.now_ms() - before) / 1000
    assert kinesis_horizon.PATIENCE_S <= waited_s <= kinesis_horizon.PATIENCE_S + 10


def test_a_shard_that_gets_more_than_is_read_ends_by_the_services_time() -> None:
    """Whatever our own clock says, and however much the arrivals are out of order."""
    load = Load(Random(5))
    clock = OwnClock(load.world.clock, off_ms=-7_200_000)
    log = load.open(clock)
    clock.asleep_ms += 900_000
    load.world.clock.advance(900_000)  # by its own clock the reader knows nothing of it
    load.world.stream.arrives_off_ms = lambda: load.random.randint(-9_000, 0)
    for _ in range(60):
        load.put()
        load.world.clock.advance(20)
    load.world.double.page_records = 3
    load.puts_a_read = (4, 4)  # it is never seen to end
    load.takes_ms = (100, 100)
    wanted = dict(load.acknowledged)
    began_ms = load.world.clock.now_ms()
    load.begin()
    found = read_all(Reader(log, horizon=horizon_of(log)))
    assert has_all(found, wanted)
    # What arrived in the margin is read, too, and more of that than of anything else.
    margin_s = (kinesis_horizon.MARGIN_MS + 2_000 + 9_000) / 1000
    assert sum(found.values()) <= sum(wanted.values()) + 4 * 10 * margin_s + 20
    assert load.world.clock.now_ms() > began_ms


def test_what_arrived_out_of_order_by_seconds_is_not_left_behind() -> None:
    """A record's own time may be later than that of one behind it in the shard."""
    load = Load(Random(6))
    log = load.open()
    load.world.stream.arrives_off_ms = lambda: 8_000
    load.put(0)
    load.world.stream.arrives_off_ms = lambda: 0
    for _ in range(8):
        load.put(1)
    load.world.double.page_records = 2
    load.puts_a_read = (3, 3)
    load.takes_ms = (50, 50)
    wanted = dict(load.acknowledged)
    load.begin()
    assert has_all(read_all(Reader(log, horizon=horizon_of(log))), wanted)


def test_one_horizon_is_the_same_for_all_who_read_to_it() -> None:
    """Replicas that are carried forward by one command come to one vector."""
    load = Load(Random(7), shards=2)
    for _ in range(20):
        load.put()
    log = load.open()
    load.begin()
    horizon = horizon_of(log)
    readers = [Reader(log, horizon=horizon, page_bytes=size) for size in (1, 500, 1 << 22)]
    vectors = [read_all(reader) for reader in readers]
    assert vectors[0] == vectors[1] == vectors[2]


def test_a_reader_reads_on_to_another_horizon() -> None:
    load = Load(Random(8))
    load.put(0)
    log = load.open()
    load.begin()
    reader = Reader(log, horizon=horizon_of(log))
    first = read_all(reader)
    for _ in range(5):
        load.put(1)
    wanted = dict(load.acknowledged)
    assert not has_all(first, wanted)
    reader.extend(horizon_of(log))
    assert has_all(read_all(reader), wanted)


def test_foreign_records_in_a_shard_without_partitions_end_as_well() -> None:
    load = Load(Random(9))
    world = load.world
    one, _ = world.stream.split("shardId-000000000000", 5, world.clock.now_ms())
    world.foreign("early", hash_key=0)
    log = load.open()
    load.begin()
    writes = world.double.before_reads

    def write() -> None:
        writes()
        world.foreign("late", hash_key=0)

    world.double.before_reads = write
    reader = Reader(log, horizon=horizon_of(log))
    met: list[str] = []
    while reader.read() is not None:
        met += [each.partition_key for each in reader.foreign]
    assert "early" in met
    assert {each.place[0] for each in reader.foreign} <= {one}


def test_pages_that_are_fetched_ahead_tell_it_as_well() -> None:
    load = Load(Random(10), shards=2)
    for _ in range(50):
        load.put()
    load.world.double.page_records = 7
    log = load.open(pages_ahead=3)
    wanted = dict(load.acknowledged)
    load.begin()
    found = read_all(Reader(log, horizon=horizon_of(log)))
    assert has_all(found, wanted)
