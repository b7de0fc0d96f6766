"""A bit that is turned, an object that is gone or cut, anywhere in an archive: found, named, never served."""

from __future__ import annotations

from functools import cache

import pytest

from binlog.archive.archive import Archive
from binlog.archive.cutter import Cutter
from binlog.errors import BinlogError, DamageError, MismatchError, UpgradeError
from binlog.log import Position
from binlog.objects import MemoryObjects
from binlog.testing.world.producers import PARAMS
from tests.objects.hostile_objects import cut_at_rest, flip_at_rest
from tests.proofs.archive_reference import Placed
from tests.proofs.archive_scene import SCENE

EVERY = 4  # records of a segment


@cache
def _small() -> dict[str, bytes]:
    """The objects of an archive of a few segments a partition, cut by hand."""
    objects = MemoryObjects()
    archive = Archive.create(objects, PARAMS, SCENE.log.genesis)
    shards = {shard.id: shard for shard in SCENE.log.shards()}
    for partition in range(PARAMS.partitions):
        records = SCENE.reference.records(partition)
        root = Position(records[0][0], -1)
        cutter = Cutter(
            PARAMS, SCENE.log.genesis, partition, root=root, shard_of=shards.__getitem__
        )
        for number, (shard, record) in enumerate(records, 1):
            cutter.feed(shard, record)
            if number % EVERY == 0 or number == len(records):
                cut = cutter.cut()
                assert archive.objects.put_new(cut.key, cut.data)
                cutter.settle(cut)
    return {entry.key: objects.get(entry.key) or b"" for entry in objects.list()}


def small() -> MemoryObjects:
    """A copy of it, to be damaged."""
    objects = MemoryObjects()
    for key, data in _small().items():
        objects.put(key, data)
    return objects


def served(objects: MemoryObjects, partition: int) -> tuple[list[Placed], BinlogError | None]:
    """What a reader of the chain is given, and what it is told then."""
    given: list[Placed] = []
    try:
        chain = Archive.open(objects).chain(partition)
        for info in chain.segments():
            for block in chain.open(info):
                given += block
    except BinlogError as error:
        return given, error
    return given, None


RIGHT = [SCENE.reference.records(partition) for partition in range(PARAMS.partitions)]
KEYS = sorted(_small())
SEGMENTS = [key for key in KEYS if key.startswith("chain/")]
WHOLLY = {"archive.json", SEGMENTS[1]}


def partition_of(key: str) -> int:
    return int(key.split("/")[1][1:]) if "/" in key else 0


def told_of(error: BinlogError | None, key: str) -> bool:
    return isinstance(error, DamageError | MismatchError | UpgradeError) and key in str(error)


def test_undamaged_it_is_served_whole() -> None:
    """Else nothing below would show anything."""
    assert len(SEGMENTS) >= 6
    for partition in range(PARAMS.partitions):
        given, error = served(small(), partition)
        assert error is None
        assert [(shard, r.sequence) for shard, r in given] == [
            (shard, r.sequence) for shard, r in RIGHT[partition]
        ]


@pytest.mark.parametrize("key", KEYS)
def test_any_turned_bit_is_found_and_nothing_of_it_is_served(key: str) -> None:
    """Every bit of some objects, one of every byte of all others; what lies before the damaged block
    is given, and right."""
    partition = partition_of(key)
    objects = small()
    data = _small()[key]
    whole, _ = served(small(), partition)
    for bit in range(8 * len(data)) if key in WHOLLY else [8 * n + n % 8 for n in range(len(data))]:
        flip_at_rest(objects, key, bit)
        given, error = served(objects, partition)
        assert told_of(error, key), f"bit {bit}: {error}"
        assert given == whole[: len(given)], f"bit {bit}"
        assert len(given) < len(whole)
        flip_at_rest(objects, key, bit)


@pytest.mark.parametrize("key", KEYS)
def test_any_cut_is_found(key: str) -> None:
    objects, partition = small(), partition_of(key)
    data = _small()[key]
    whole, _ = served(small(), partition)
    for size in range(0, len(data), 1 if key in WHOLLY else 13):
        cut_at_rest(objects, key, size)
        given, error = served(objects, partition)
        assert told_of(error, key), f"{size} bytes: {error}"
        assert given == whole[: len(given)]
        objects.put(key, data)


@pytest.mark.parametrize("key", SEGMENTS)
def test_a_missing_segment_is_found_unless_it_is_the_last(key: str) -> None:
    """In the chain alone: that it went on is what the notes tell (`binlog.archive.ends`)."""
    objects, partition = small(), partition_of(key)
    objects.delete([key])
    given, error = served(objects, partition)
    whole, _ = served(small(), partition)
    assert given == whole[: len(given)]
    is_last = key == [each for each in SEGMENTS if partition_of(each) == partition][-1]
    assert is_last == (error is None)
    assert is_last or told_of(error, key)


@pytest.mark.parametrize("key", SEGMENTS)
def test_another_segment_under_its_name_is_found(key: str) -> None:
    """Another partition's, an earlier one, another archive's of the same log."""
    partition = partition_of(key)
    whole, _ = served(small(), partition)
    for other in SEGMENTS:
        if other == key:
            continue
        objects = small()
        objects.put(key, _small()[other])
        given, error = served(objects, partition)
        assert told_of(error, key), f"{other}: {error}"
        assert given == whole[: len(given)]
