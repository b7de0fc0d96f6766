"""Reading a stream: whatever its pages, iterators and shards do, every record once and in order."""

from __future__ import annotations

import threading

import pytest

from binlog.errors import DamageError, MismatchError, RefusedError, StorageError, TrimmedError
from binlog.frame import decode_header
from binlog.log import Appended, Position, Record, holds
from binlog.logs import kinesis_reader, kinesis_stream
from binlog.logs.kinesis import KinesisLog
from binlog.logs.kinesis_shards import shards_of
from binlog.partition import explicit_hash_key, partition_key
from binlog.reader import Reader, Start
from tests.log.kinesis_double import refusal
from tests.log.kinesis_world import HOUR_MS, KinesisWorld, read_lineage, read_shard
from tests.log.log_frames import PARAMS, put

FIRST = "shardId-000000000000"
BEGINNING = Position(FIRST, -1)


@pytest.fixture
def world() -> KinesisWorld:
    return KinesisWorld()


@pytest.fixture
def log(world: KinesisWorld) -> KinesisLog:
    return world.open()


def fill(log: KinesisLog, count: int, *, start: int = 1) -> list[int]:
    """Numbers of partition 0."""
    numbers = list(range(start, start + count))
    for number in numbers:
        assert isinstance(log.append([put(number)])[0], Appended)
    return numbers


def numbers(records: list[Record]) -> list[int]:
    headers = [decode_header(record.data) for record in records if record.partition >= 0]
    return [header.first for header in headers if not header.genesis]


def middle() -> int:
    """A hash key between partitions 1 and 2."""
    return explicit_hash_key(2, PARAMS.partitions) - 5


# -- pages and iterators -------------------------------------------------------------------------


@pytest.mark.parametrize("page_records", [1, 3, 10_000])
@pytest.mark.parametrize("always_0", [False, True])
def test_pages_of_any_size_give_everything_once(
    world: KinesisWorld, log: KinesisLog, page_records: int, always_0: bool
) -> None:
    sent = fill(log, 20)
    world.double.page_records = page_records
    world.double.behind_is_always_0 = always_0 and page_records > 24
    assert numbers(read_shard(log, BEGINNING)) == sent
    assert numbers(read_shard(log, BEGINNING, bytes_max=1)) == sent


def test_an_empty_page_is_not_the_end(world: KinesisWorld, log: KinesisLog) -> None:
    sent = fill(log, 3)
    world.double.page_records = 2
    world.double.empty_pages = 7
    assert numbers(read_shard(log, BEGINNING)) == sent
    assert world.double.empty_pages == 0


def test_an_empty_page_does_not_say_that_a_place_is_not_there(
    world: KinesisWorld, log: KinesisLog
) -> None:
    sent = fill(log, 3)
    place = read_shard(log, BEGINNING)[-3]
    world.double.empty_pages = 5
    found = read_shard(world.open(), Position(FIRST, place.sequence))
    assert numbers(found) == sent[1:]


def test_an_expired_iterator_is_opened_again_where_it_was(
    world: KinesisWorld, log: KinesisLog
) -> None:
    sent = fill(log, 5)
    world.double.page_records = 4
    page = log.read(BEGINNING)
    world.double.expire_iterators()
    assert numbers(page.records + read_shard(log, page.next)) == sent


def test_an_iterator_that_is_about_to_expire_is_not_used(
    world: KinesisWorld, log: KinesisLog
) -> None:
    fill(log, 1)
    place = log.read(BEGINNING).next
    opened = world.double.calls["get_shard_iterator"]
    log.read(place)
    assert world.double.calls["get_shard_iterator"] == opened
    world.clock.advance(250_000)
    log.read(place)
    assert world.double.calls["get_shard_iterator"] == opened + 1


def test_one_poller_serves_all_readers_of_a_shard(world: KinesisWorld, log: KinesisLog) -> None:
    """The calls of a shard are few, and shared with production."""
    sent = fill(log, 30)
    before = world.double.calls["get_records"]
    for partition in range(PARAMS.partitions):
        after, found = BEGINNING, []
        while True:
            page = log.read(after, partitions=frozenset({partition}), bytes_max=1)
            found += page.records
            after = page.next
            if page.caught_up:
                break
        assert numbers(found) == (sent if partition == 0 else [])
    # One that has the records, and one a reader to see that nothing more has come.
    assert world.double.calls["get_records"] - before <= 1 + PARAMS.partitions


def test_calls_keep_to_the_budget() -> None:
    world = KinesisWorld(reads_per_s=2.5)
    log = world.open()
    place = log.read(BEGINNING).next
    before = world.clock.now_ms()
    for _ in range(11):
        log.read(place)
    assert world.clock.now_ms() - before >= 10 * 400


def test_a_throttled_read_waits_and_goes_on(world: KinesisWorld, log: KinesisLog) -> None:
    sent = fill(log, 3)
    world.double.throttled_reads = 4
    before = world.paused_ms
    assert numbers(read_shard(log, BEGINNING)) == sent
    assert world.paused_ms - before >= 250 * (1 + 2 + 4 + 8)


def test_a_read_that_is_throttled_for_ever_ends(world: KinesisWorld, log: KinesisLog) -> None:
    world.double.throttled_reads = 1_000
    with pytest.raises(StorageError, match="throttled"):
        log.read(BEGINNING)


def test_a_wait_is_for_the_first_record(world: KinesisWorld, log: KinesisLog) -> None:
    after = log.read(BEGINNING).next
    before = world.clock.now_ms()
    assert log.read(after, wait_s=3.0).records == []
    assert 3_000 <= world.clock.now_ms() - before < 4_000


def test_a_wait_ends_when_the_log_is_closed(world: KinesisWorld, log: KinesisLog) -> None:
    after = log.read(BEGINNING).next
    caught: list[Exception] = []

    def wait() -> None:
        try:
            log.read(after, wait_s=1e12)
        except RefusedError as error:
            caught.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    log.close()
    waiting.join(timeout=200)
    assert not waiting.is_alive()
    assert len(caught) == 1


@pytest.mark.parametrize("code", ["AccessDeniedException", "InternalFailure"])
def test_trouble_is_named(world: KinesisWorld, log: KinesisLog, code: str) -> None:
    world.double.refuse["get_records"] = refusal(code, "for a reason", 500)
    with pytest.raises((RefusedError, StorageError), match="for a reason") as caught:
        log.read(BEGINNING)
    assert "kinesis://s" in str(caught.value)
    assert caught.value.retriable is (code == "InternalFailure")


# -- shards --------------------------------------------------------------------------------------


def test_a_split_and_a_merge_keep_every_partition_in_order(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """Children may number below their parents, and are listed a page of one at a time."""
    world.double.page_shards = 1
    expected: dict[int, list[int]] = {p: [] for p in range(PARAMS.partitions)}

    def send(number: int) -> None:
        for partition, sent in expected.items():
            sent.append(number)
            log.append([put(number, partition=partition)])

    send(1)
    one, two = world.stream.split(FIRST, middle(), world.clock.now_ms())
    world.stream.shards[one].first -= 10**45
    send(2)
    three, four = world.stream.split(two, explicit_hash_key(3, 4), world.clock.now_ms())
    send(3)
    world.stream.merge(one, three, world.clock.now_ms())
    send(4)
    held = {shard.id: shard.partitions for shard in log.shards()}
    assert (held[one], held[two]) == (frozenset({0, 1}), frozenset({2, 3}))
    assert (held[three], held[four]) == (frozenset({2}), frozenset({3}))
    found = read_lineage(log)
    for partition, sent in expected.items():
        assert numbers([r for r in found if r.partition == partition]) == sent
    reader = Reader(log)
    offsets: list[tuple[int, int]] = []
    while (runs := reader.read()) is not None:
        offsets += [(run.partition, run.first_offset) for run in runs]
    assert not reader.halts
    for partition in range(PARAMS.partitions):
        assert [offset for p, offset in offsets if p == partition] == [1, 2, 3, 4]


def test_leaving_a_shard_lists_the_shards_once(world: KinesisWorld, log: KinesisLog) -> None:
    """Not once for each partition that leaves."""
    fill(log, 1)
    reader = Reader(log)
    while reader.read() is not None:
        pass
    world.stream.split(FIRST, middle(), world.clock.now_ms())
    fill(log, 1, start=2)
    before = world.double.calls["list_shards"]
    assert [run.first_offset for run in reader.read() or ()] == [2]
    assert world.double.calls["list_shards"] - before <= 2  # the reader's, and the log's own


def test_a_foreign_record_comes_beside_what_lies_around_it(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """It stops nobody, and whoever moves the checkpoint has it in hand (S7)."""
    fill(log, 2)
    world.foreign("customer-9")
    fill(log, 1, start=3)
    reader = Reader(log)
    assert [run.last_offset for run in reader.read() or ()] == [1, 2, 3]
    assert [(each.partition_key, each.data) for each in reader.foreign] == [
        ("customer-9", b"hello")
    ]
    assert reader.read() is None
    assert reader.foreign == []


def test_a_shard_that_holds_no_partition_is_read_to_its_end(
    world: KinesisWorld, log: KinesisLog
) -> None:
    world.stream.split(FIRST, 5, world.clock.now_ms())
    [_, empty, full] = log.shards()
    assert (empty.partitions, full.partitions) == (frozenset(), frozenset({0, 1, 2, 3}))
    assert Reader(log).read() is not None


def test_shards_are_listed_parents_first_whatever_their_ids() -> None:
    def listed(name: str, low: int, high: int, *parents: str) -> dict[str, object]:
        names = ("ParentShardId", "AdjacentParentShardId")
        return {
            "ShardId": name,
            "HashKeyRange": {"StartingHashKey": str(low), "EndingHashKey": str(high)},
            "SequenceNumberRange": {"StartingSequenceNumber": "1"},
            **dict(zip(names, parents, strict=False)),
        }

    top = 2**128 - 1
    a, b = listed("z", 0, top, "gone"), listed("a", 0, middle(), "z")
    c, d = listed("b", middle() + 1, top, "z"), listed("c", 0, top, "a", "b")
    ordered = shards_of([d, c, b, a], 4, "kinesis://s")
    assert [shard.id for shard in ordered] == ["z", "a", "b", "c"]
    assert ordered[0].parents == ("gone",)
    assert ordered[3].parents == ("a", "b")
    with pytest.raises(DamageError, match="ancestors"):
        shards_of([listed("x", 0, 1, "y"), listed("y", 0, 1, "x")], 4, "kinesis://s")


def test_what_is_not_under_our_keys_is_foreign(world: KinesisWorld, log: KinesisLog) -> None:
    """Also under a partition's own text, in a shard that does not hold it (S7)."""
    one, two = world.stream.split(FIRST, middle(), world.clock.now_ms())
    world.foreign("customer-9")
    world.foreign(partition_key(3), hash_key=0)
    world.foreign("p0004", hash_key=0)
    log.append([put(1)])
    found = read_shard(log, Position(one, -1))
    assert [(r.partition, r.partition_key) for r in found] == [
        (-1, "customer-9"),
        (-1, "p0003"),
        (-1, "p0004"),
        (0, ""),
    ]
    page = log.read(Position(one, -1), partitions=frozenset({1}))
    assert [r.partition for r in page.records] == [-1, -1, -1]
    assert read_shard(log, Position(two, -1)) == []


# -- what a stream forgets -----------------------------------------------------------------------


def test_a_place_that_a_young_stream_does_not_have_is_another_logs(
    world: KinesisWorld, log: KinesisLog
) -> None:
    fill(log, 2)
    found = read_shard(log, BEGINNING)
    between = Position(FIRST, found[-1].sequence - 1)
    for place in (between, Position(FIRST, found[-1].sequence + 7), Position(FIRST, 1)):
        with pytest.raises(MismatchError, match="no record"):
            log.read(place)
        assert not holds(log, place)
    assert holds(log, Position(FIRST, found[0].sequence))
    with pytest.raises(RefusedError, match="no such shard"):
        log.read(Position("shardId-000000000009", -1))


@pytest.mark.parametrize("how", ["skipped", "refused"])
def test_a_forgotten_place_is_named(world: KinesisWorld, log: KinesisLog, how: str) -> None:
    """The service may begin with what is left, in silence: that would be loss."""
    world.double.trimmed_is = how  # type: ignore[assignment]
    fill(log, 3)
    place = log.read(BEGINNING).next
    world.clock.advance(20 * HOUR_MS)
    fill(log, 3, start=4)
    world.clock.advance(5 * HOUR_MS)
    with pytest.raises(TrimmedError, match="retention"):
        world.open().read(place)
    with pytest.raises(TrimmedError):
        holds(world.open(), place)


def test_a_forgotten_genesis_is_named(world: KinesisWorld, log: KinesisLog) -> None:
    fill(log, 1)
    world.clock.advance(20 * HOUR_MS)
    fill(log, 1, start=2)
    world.clock.advance(5 * HOUR_MS)
    with pytest.raises(TrimmedError, match="genesis"):
        Reader(world.open()).read()


def test_a_child_whose_beginning_may_be_forgotten_is_refused(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """Nobody can see at its first record that there were others before it."""
    world.clock.advance(30 * HOUR_MS)
    one, _ = world.stream.split(FIRST, middle(), world.clock.now_ms())
    fill(log, 2)
    assert numbers(read_shard(world.open(), Position(one, -1))) == [1, 2]
    world.clock.advance(23 * HOUR_MS)
    assert numbers(read_shard(world.open(), Position(one, -1))) == [1, 2]
    fill(log, 2, start=3)
    world.clock.advance(2 * HOUR_MS)
    with pytest.raises(TrimmedError, match="first records"):
        world.open().read(Position(one, -1))
    with pytest.raises(TrimmedError, match="whole shard"):
        world.open().read(Position(FIRST, 5))


def test_a_reader_that_stands_in_a_forgotten_shard_is_told_so(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """It is no longer listed; its children are."""
    fill(log, 2)
    reader = Reader(log, partitions=[0])
    reader.read()
    at = reader.checkpoint(0)
    world.stream.split(FIRST, middle(), world.clock.now_ms())
    world.clock.advance(30 * HOUR_MS)
    with pytest.raises(TrimmedError, match="whole shard"):
        Reader(
            world.open(), partitions=[0], starts={0: Start(at.position, at.state, at.applied)}
        ).read()


def test_a_reader_that_falls_behind_the_retention_is_stopped(
    world: KinesisWorld, log: KinesisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its iterator is fresh, and goes on behind the gap without a word."""
    monkeypatch.setattr(kinesis_reader, "ITERATOR_LIFE_S", 1e9)
    for hour in range(30):
        fill(log, 1, start=hour + 1)
        world.clock.advance(HOUR_MS)
    world.double.page_records = 3
    world.stream.trim(world.clock.now_ms())
    page = log.read(Position(FIRST, world.stream.shards[FIRST].records[0].sequence))
    assert len(page.records) == 2
    world.clock.advance(6 * HOUR_MS)
    with pytest.raises(TrimmedError):
        read_shard(log, page.next)


def test_a_reader_near_the_edge_goes_on_while_nothing_is_lost(
    world: KinesisWorld, log: KinesisLog
) -> None:
    for hour in range(30):
        fill(log, 1, start=hour + 1)
        world.clock.advance(HOUR_MS)
    oldest = world.stream.shards[FIRST]
    world.stream.trim(world.clock.now_ms())
    world.double.page_records = 1
    first = oldest.records[1].sequence  # the very oldest may go any moment
    found = numbers(read_shard(log, Position(FIRST, first)))
    assert found == list(range(31 - len(found), 31))
    assert len(found) >= 21


def test_a_record_forgotten_before_a_quiet_time_is_missed(
    world: KinesisWorld, log: KinesisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes next is young, so that it does not look like the edge of the retention."""
    fill(log, 1)
    world.clock.advance(HOUR_MS)
    fill(log, 2, start=2)
    world.clock.advance(20 * HOUR_MS)
    fill(log, 1, start=4)
    world.double.page_records = len(world.stream.shards[FIRST].records) - 2
    page = log.read(BEGINNING)
    assert numbers(page.records) == [1, 2]
    monkeypatch.setattr(kinesis_reader, "ITERATOR_LIFE_S", 1e9)
    world.clock.advance(5 * HOUR_MS)
    with pytest.raises(TrimmedError):
        read_shard(log, page.next)


def test_a_retention_that_was_lowered_is_noticed(world: KinesisWorld, log: KinesisLog) -> None:
    """Nobody tells a reader; at once its next records are gone."""
    world.stream.retention_hours = 168
    log = world.open()
    fill(log, 3)
    world.clock.advance(30 * HOUR_MS)
    fill(log, 1, start=4)
    world.double.page_records = len(world.stream.shards[FIRST].records) - 2
    page = log.read(BEGINNING)
    assert numbers(page.records) == [1, 2]
    world.stream.retention_hours = 24
    with pytest.raises(TrimmedError):
        read_shard(log, page.next)


@pytest.mark.parametrize("how", ["skipped", "refused"])
@pytest.mark.parametrize("is_child", [False, True])
def test_who_reads_on_is_not_stopped_by_a_quiet_stream(
    world: KinesisWorld, log: KinesisLog, how: str, is_child: bool
) -> None:
    """The record where it stands is forgotten, and so may be what was before it: both were read."""
    world.double.trimmed_is = how  # type: ignore[assignment]
    after = BEGINNING
    if is_child:  # whose beginning nobody has seen but who read it then
        one, _ = world.stream.split(FIRST, middle(), world.clock.now_ms())
        after = Position(one, -1)
    else:
        fill(log, 2)
    page = log.read(after)
    for _ in range(3):
        world.clock.advance(20 * HOUR_MS)
        world.double.expire_iterators()
        page = log.read(page.next)
        assert page.records == []
        assert page.caught_up
    fill(log, 2, start=3)
    world.clock.advance(23 * HOUR_MS)
    assert numbers(read_shard(log, page.next)) == [3, 4]
    place = page.next
    fill(log, 1, start=5)
    world.clock.advance(2 * HOUR_MS)
    with pytest.raises(TrimmedError):  # it did not read on: 3 and 4 are gone
        world.open().read(place)


def test_who_stops_reading_for_longer_than_the_retention_is_stopped(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """Having seen the end once does not help: what came after it may be forgotten."""
    fill(log, 1)
    page = log.read(BEGINNING)
    assert page.caught_up
    fill(log, 1, start=2)
    world.clock.advance(25 * HOUR_MS)
    fill(log, 1, start=3)
    with pytest.raises(TrimmedError):
        log.read(page.next)


def test_what_is_kept_of_pages_is_bounded(
    world: KinesisWorld, log: KinesisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all shards: a stream has thousands of them, and a page is 10 MiB."""
    one, two = world.stream.split(FIRST, middle(), world.clock.now_ms())
    for number in range(1, 9):
        log.append([put(number), put(number, partition=3)])
    half = read_shard(log, Position(one, -1))[3].sequence
    kept = sum(len(record.data) for record in world.stream.shards[one].records)
    monkeypatch.setattr(kinesis_stream, "KEPT_BYTES_MAX", kept + 1)
    calls = world.double.calls["get_records"]
    assert numbers(log.read(Position(one, half)).records) == [5, 6, 7, 8]
    assert world.double.calls["get_records"] == calls
    assert len(read_shard(log, Position(two, -1))) == 8
    assert numbers(log.read(Position(one, half)).records) == [5, 6, 7, 8]
    assert world.double.calls["get_records"] > calls + 1
    assert len(read_shard(log, Position(two, -1))) == 8


def test_a_stream_that_is_gone_is_named(world: KinesisWorld, log: KinesisLog) -> None:
    """It is not that its retention is over."""
    fill(log, 1)
    world.clock.advance(30 * HOUR_MS)
    del world.double.streams["s"]
    with pytest.raises(RefusedError, match="no such stream"):
        log.read(BEGINNING)


def test_a_wait_in_front_of_empty_pages_ends_when_the_log_is_closed(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """There may be hundreds of them where a stream is sparse."""
    fill(log, 1)
    world.double.empty_pages = 1 << 60
    caught: list[Exception] = []

    def wait() -> None:
        try:
            log.read(BEGINNING)
        except RefusedError as error:
            caught.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    log.close()
    waiting.join(timeout=200)
    assert not waiting.is_alive()
    assert len(caught) == 1
