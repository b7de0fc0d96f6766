"""What the proofs found in reader and engine, each as the shortest story that showed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliers.store import vector_of
from binlog.errors import StorageError
from binlog.frame import decode_header
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.store import WorldStore
from tests.proofs.whole import Whole, assert_replica

ONE_RECORD, ALL = 1, 1 << 20


def whole(tmp_path: Path, kind: str) -> Whole:
    return Whole(kind=kind, kinesis=True, folder=tmp_path)


def publish(whole: Whole, events: int) -> None:
    producers = whole.producers
    for number in range(events):
        producers.publish(0, [producers.make_event(number, 1, number)])
        producers.tick(5)
        producers.work(0, (0, 0), reply_at_once=True)


def test_an_engine_that_heard_of_no_outcome_starts_over(tmp_path: Path) -> None:
    """It went on behind the page whose commit had failed: the next checkpoint covered events that
    no item held."""
    world = whole(tmp_path, "loose")
    publish(world, 6)
    store = world.store
    assert isinstance(store, WorldStore)
    engine = world.replica.new_engine(ALL)
    store.crash_after, store.time_out = 0, True
    with pytest.raises(StorageError):
        engine.step()
    while engine.step() is not None:
        pass
    assert_replica(store, world.tables(world.end()))


def test_a_checkpoint_does_not_wait_where_a_shard_ends(tmp_path: Path) -> None:
    """A partition that moved on to a child shard with its first page stood before its first
    record, and looked as if it had not been read: items without a checkpoint."""
    world = whole(tmp_path, "memory")
    publish(world, 6)
    world.log.merge(*(shard.id for shard in world.log.shards()))
    engine = world.replica.new_engine(ALL)
    engine.step()
    vector = vector_of(world.store.checkpoints(world.generation.id))
    assert vector
    assert_replica(world.store, world.tables(vector))


def test_a_partition_that_went_on_is_not_moved_back_by_one_that_was_halted(tmp_path: Path) -> None:
    """Reading again from where the halted one stood took the others back; their checkpoints could
    not move, and the engine lost them and started over for ever."""
    world = Whole(kind="memory", kinesis=False, folder=tmp_path)
    publish(world, 3)
    busy = {decode_header(r.data).partition for p in range(3) for _, r in world.log.records(p)[1:]}
    quiet = min(set(range(PARAMS.partitions)) - busy, default=0)
    world.damage(quiet, 1)
    publish(world, 6)
    world.replicate(100, ONE_RECORD)
    assert [halt.partition for halt in world.halted()] == [quiet]
    world.resolve(0)
    world.replicate(100, ONE_RECORD)
    world.replicate(100, ONE_RECORD)
    assert vector_of(world.store.checkpoints(world.generation.id)) == world.end()
