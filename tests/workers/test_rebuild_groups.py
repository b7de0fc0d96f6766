"""Who reads what in a rebuild by several workers: all partitions once, and a shard by one of them."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliers.stores.memory import MemoryStore
from binlog.actions import build_many
from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.archiver import Archiving, archive
from binlog.clock import ManualClock
from binlog.log import GivesWholeShards, Shard
from binlog.logs.memory import MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.params import Params
from binlog.producer import Producer, ProducerOptions
from binlog.values import encode_value
from snapshots.grouping import GROUP_BYTES, PARTITION_BYTES, balanced, groups_of, joined
from snapshots.rebuild import Wanted, fold_partitions, rebuild
from tests.log.kinesis_world import KinesisWorld
from tests.log.log_frames import PARAMS, put

TABLE = "orders"
EVERY = list(range(PARAMS.partitions))


class Listened:
    """What workers ask the service for, one after the other."""

    def __init__(self, world: KinesisWorld) -> None:
        self.shards: list[str] = []
        self.records = 0
        double = world.double
        open_, get = double.get_shard_iterator, double.get_records

        def get_shard_iterator(**request: Any) -> Any:
            self.shards.append(request["ShardId"])
            return open_(**request)

        def get_records(**request: Any) -> Any:
            reply = get(**request)
            self.records += len(reply["Records"])
            return reply

        double.get_shard_iterator = get_shard_iterator  # type: ignore[method-assign]
        double.get_records = get_records  # type: ignore[method-assign]


def fill(world: KinesisWorld) -> None:
    """Three times twenty items, in frames of all partitions."""
    options = ProducerOptions(calls_max=1)  # no thread: with one about nothing is forked
    with world.open() as log, Producer(log, options=options, clock=world.clock) as producer:
        for turn in range(3):
            actions = [
                {"Action": "PutItem", "Table": TABLE, "Key": {"id": str(n)}, "Data": {"turn": turn}}
                for n in range(20)
            ]
            producer.append_many(build_many(actions, now_ms=world.clock.now_ms()))


def stored(world: KinesisWorld) -> int:
    return sum(len(shard.records) for shard in world.stream.shards.values())


def read_by_groups(world: KinesisWorld, workers: int) -> tuple[list[list[int]], Listened]:
    """Each group as a worker of its own reads it, by its own handle; no shard twice."""
    with world.open() as log:
        groups = groups_of(log, workers)
    listened = Listened(world)
    for group in groups:
        with world.open() as log:
            fold_partitions(log, group, Wanted())
    return groups, listened


def test_no_two_workers_read_the_same_shard() -> None:
    """A worker gets the whole shard whatever it wants of it, and both would share its budget."""
    world = KinesisWorld(shards=2)
    fill(world)
    groups, listened = read_by_groups(world, 2)
    assert groups == [[0, 1], [2, 3]]
    assert max(Counter(listened.shards).values()) == 1
    assert listened.records == stored(world)


def test_a_shard_stays_with_its_children() -> None:
    """Both halves need what the parent holds, so one worker reads parent and halves."""
    world = KinesisWorld(shards=2)
    fill(world)
    first = next(iter(world.stream.shards))
    world.stream.split(first, 1 << 126, world.clock.now_ms())
    fill(world)
    groups, listened = read_by_groups(world, 4)
    assert groups == [[0, 1], [2, 3]]
    assert listened.records == stored(world)


def test_after_a_merge_one_worker_reads_all() -> None:
    world = KinesisWorld(shards=2)
    fill(world)
    first, second = world.stream.shards
    world.stream.merge(first, second, world.clock.now_ms())
    fill(world)
    groups, listened = read_by_groups(world, 2)
    assert groups == [EVERY]
    assert listened.records == stored(world)


def test_two_workers_come_to_what_one_comes_to() -> None:
    world = KinesisWorld(shards=2)
    fill(world)
    stores = [MemoryStore(), MemoryStore()]
    reports = []
    for workers, store in enumerate(stores, 1):
        with world.open() as log:
            reports.append(rebuild(log, store, Wanted(), workers=workers))
    assert reports[0].vector == reports[1].vector
    assert sum(reports[1].vector.values()) == 60
    rows = list(stores[0].scan(TABLE))
    assert len(rows) == 20
    assert rows == list(stores[1].scan(TABLE))


def test_a_log_that_skips_what_is_not_asked_for_is_shared_evenly() -> None:
    """Those of Zipf keys are not alike, and neighbours no more than others."""
    params = Params(log_id="2e" * 16, partitions=7)
    log = MemoryLog(params)
    assert not isinstance(log, GivesWholeShards)
    assert groups_of(log, 3) == [[0, 3, 6], [1, 4], [2, 5]]
    log.size_bytes = lambda: 4 * GROUP_BYTES  # type: ignore[method-assign]
    assert len(groups_of(log, 2)) == 4, "a group is what one worker holds at a time"


def test_an_archive_is_shared_by_what_it_holds_of_each_partition() -> None:
    """One is read as long as all the others together, and who reads it gets nothing else."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    value = encode_value({"noise": Random(3).randbytes(150_000)})
    for partition, count in enumerate((1, 8, 3, 3)):
        for number in range(1, count + 1):
            log.append([put(number, partition=partition, data=value)])
    kept = Archive.create(MemoryObjects(), log.params, log.genesis)
    archive(log, kept, Archiving(once=True))
    alone, beside = ArchiveLog(kept), ArchivedLog(log, kept)
    assert groups_of(alone, 2) == groups_of(beside, 2) == [[1], [0, 2, 3]]
    behind = ArchivedLog(log, kept, archive_first=False)
    assert groups_of(behind, 2) == [[0, 2], [1, 3]], "who asks the log looks at no chain"
    assert alone.size_bytes() == sum(alone.bytes_by_partition().values())
    alone.partitions_at_once = 2
    assert groups_of(alone, 2) == [[0, 1], [2, 3]]


@given(
    st.lists(st.integers(0, 1 << 30) | st.just(0), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 40),
)
def test_groups_are_as_even_as_their_largest_member_allows(
    sizes: list[int], count: int, most: int
) -> None:
    """Greedy: whoever has most was given its last one when nobody with room had less."""
    count = max(count, -(-len(sizes) // most))
    found = balanced(dict(enumerate(sizes)), count, most=most)
    assert sorted(p for group in found for p in group) == list(range(len(sizes)))
    assert len(found) == count
    assert all(group == sorted(group) and len(group) <= most for group in found)
    if most >= len(sizes):
        cost = [sum(sizes[p] + PARTITION_BYTES for p in group) for group in found]
        assert max(cost) - min(cost) <= max(sizes) + PARTITION_BYTES


def test_partitions_that_are_alike_are_dealt_out_in_turn() -> None:
    """So that all groups are of one number, up to one, and each has some of everywhere."""
    assert balanced(dict.fromkeys(range(7), 5), 3, most=7) == [[0, 3, 6], [1, 4], [2, 5]]


partitions = st.frozensets(st.integers(0, 15), max_size=5)


@given(st.lists(partitions, max_size=12))
def test_joined_is_the_least_that_keeps_shards_whole(held: list[frozenset[int]]) -> None:
    """Against a walk from partition to partition by the shards that hold both."""
    found = joined([Shard(str(i), (), each) for i, each in enumerate(held)])
    expected: set[frozenset[int]] = set()
    for begin in frozenset().union(*held):
        reached = {begin}
        while more := frozenset().union(*(s for s in held if not reached.isdisjoint(s))) - reached:
            reached |= more
        expected.add(frozenset(reached))
    assert {frozenset(each) for each in found} == expected
    assert len(found) == len(expected)
