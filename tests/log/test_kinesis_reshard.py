"""Shards without number, that split and merge by themselves: a reader follows, whatever it meets."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from binlog.frame import decode_header
from binlog.log import Appended
from binlog.logs.kinesis import KinesisLog
from binlog.logs.kinesis_shards import PAGE_SHARDS, hash_keys, shards_of
from binlog.reader import Reader
from tests.log.kinesis_double import HASH_MAX, ShardDouble, described, refusal
from tests.log.kinesis_world import KinesisWorld, read_lineage
from tests.log.log_frames import PARAMS, put

SHARDS = 2_500


@pytest.fixture(scope="module")
def wide() -> KinesisWorld:
    """A stream of so many shards that a listing has three pages."""
    return KinesisWorld(shards=SHARDS)


def test_more_shards_than_a_page_holds_are_all_listed(wide: KinesisWorld) -> None:
    """A page has a thousand; the next is asked for by its token alone, as the service insists."""
    log = wide.open()
    before = wide.double.calls["list_shards"]
    shards = log.shards()
    assert wide.double.calls["list_shards"] - before == 3
    assert len({shard.id for shard in shards}) == SHARDS
    held = [partition for shard in shards for partition in shard.partitions]
    assert sorted(held) == list(range(PARAMS.partitions))


def test_a_log_in_so_many_shards_is_read_where_its_partitions_are(wide: KinesisWorld) -> None:
    """A child on the last page included. Every shard is looked at, once: in those that hold no
    partition there may be foreign records."""
    log = wide.open()
    for partition in range(PARAMS.partitions):
        assert isinstance(log.append([put(1, partition=partition)])[0], Appended)
    last = next(s for s in log.shards() if PARAMS.partitions - 1 in s.partitions)
    double = wide.stream.shards[last.id]
    one, two = wide.stream.split(last.id, (double.low + double.high) // 2, wide.clock.now_ms())
    assert min(int(one[-12:]), int(two[-12:])) >= 2 * PAGE_SHARDS
    for partition in range(PARAMS.partitions):
        log.append([put(2, partition=partition)])
    before = wide.double.calls["get_records"]
    reader = Reader(log)
    while reader.read() is not None:
        pass
    assert reader.vector() == dict.fromkeys(range(PARAMS.partitions), 2)
    assert wide.double.calls["get_records"] - before <= SHARDS + 4 * (PARAMS.partitions + 1)


@pytest.mark.parametrize("times", [1, 3])
def test_a_listing_whose_token_expires_begins_again(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who never gets to the end is told so."""
    world = KinesisWorld(shards=5)
    world.double.page_shards = 2
    log, left = world.open(), times
    listed = world.double.list_shards

    def list_shards(**request: Any) -> Any:
        nonlocal left
        if "NextToken" in request and left:
            left -= 1
            raise refusal("ExpiredNextTokenException")
        return listed(**request)

    monkeypatch.setattr(world.double, "list_shards", list_shards)
    if times == 3:
        with pytest.raises(Exception, match="ExpiredNextToken"):
            log.shards()
    assert len([shard.id for shard in log.shards()]) == 5


def test_where_a_partition_lies_is_a_matter_of_its_point() -> None:
    """At the edges too: a shard's bounds are inclusive."""
    keys = hash_keys(PARAMS.partitions)
    for low, high, held in (
        (0, HASH_MAX, {0, 1, 2, 3}),
        (keys[1], keys[2], {1, 2}),
        (keys[1] + 1, keys[2] - 1, set()),
        (keys[3], HASH_MAX, {3}),
        (0, keys[0] - 1, set()),
    ):
        [shard] = shards_of([described(ShardDouble("s", low, high))], PARAMS.partitions, "x")
        assert shard.partitions == held


# -- resharding that nobody asked for ------------------------------------------------------------


class OnDemand:
    """A stream that splits what it likes and merges what it likes, at any time."""

    def __init__(self, world: KinesisWorld, random: Random) -> None:
        self._world = world
        self._random = random
        self.splits = self.merges = 0

    def move(self) -> None:
        stream, now_ms = self._world.stream, self._world.clock.now_ms()
        opened = sorted(
            (s for s in stream.shards.values() if s.closed_ms is None), key=lambda s: s.low
        )
        if len(opened) > 1 and (len(opened) > 6 or self._random.random() < 0.5):
            index = self._random.randrange(len(opened) - 1)
            stream.merge(opened[index].id, opened[index + 1].id, now_ms)
            self.merges += 1
        else:
            shard = self._random.choice(opened)
            if shard.high - shard.low > 1:
                stream.split(shard.id, self._random.randint(shard.low + 1, shard.high), now_ms)
                self.splits += 1


@pytest.mark.parametrize("pages_ahead", [0, 3])
@pytest.mark.parametrize("seed", range(12))
def test_a_reader_follows_a_stream_that_reshards_by_itself(seed: int, pages_ahead: int) -> None:
    """Between any two of its reads, several times over, before it has read the parents, and while a
    page of them is on its way: each partition's frames come in order, each once."""
    random = Random(seed)
    world = KinesisWorld(shards=random.randint(1, 3))
    world.pages_ahead = pages_ahead
    world.double.page_records = random.choice([1, 2, 5, 10_000])
    world.double.page_shards = random.choice([1, 3, 1_000])
    writer, log, stream = world.open(), world.open(), OnDemand(world, random)
    reader = Reader(log, page_bytes=random.choice([1, 1_000, 1 << 20]))
    sent = dict.fromkeys(range(PARAMS.partitions), 0)
    offsets: dict[int, list[int]] = {partition: [] for partition in sent}

    def follow(reads: int) -> bool:
        for _ in range(reads):
            runs = reader.read()
            for run in runs or ():
                offsets[run.partition] += range(run.first_offset, run.last_offset + 1)
            if runs is None:
                return False
        return True

    for _ in range(40):
        for _ in range(random.randint(0, 4)):
            partition = random.choice(list(sent))
            sent[partition] += 1
            [reply] = writer.append([put(sent[partition], partition=partition)])
            assert isinstance(reply, Appended)
        for _ in range(random.choice([0, 0, 1, 3])):
            stream.move()
        if random.random() < 0.2:
            world.double.expire_iterators()
        world.double.empty_pages = random.choice([0, 0, 2])
        world.clock.advance(random.choice([1, 500, 60_000]))
        follow(random.randint(0, 3))
    while follow(1):
        pass
    assert stream.splits > 3
    assert stream.merges > 3
    assert offsets == {p: list(range(1, count + 1)) for p, count in sent.items()}
    _same_as_whole(world.open(), reader, sent)


def _same_as_whole(log: KinesisLog, reader: Reader, sent: dict[int, int]) -> None:
    """As whoever reads all of it afterwards."""
    whole = Reader(log)
    while whole.read() is not None:
        pass
    for partition in sent:
        assert whole.checkpoint(partition).digest == reader.checkpoint(partition).digest
    headers = [decode_header(record.data) for record in read_lineage(log)]
    for partition, count in sent.items():
        numbers = [h.first for h in headers if h.partition == partition and not h.genesis]
        assert numbers == list(range(1, count + 1))
