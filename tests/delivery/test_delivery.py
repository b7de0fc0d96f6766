"""Delivered records: what a worker applies, drops, reports, and where it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from binlog.errors import ConflictError, MismatchError
from binlog.testing.world.store import WorldStore
from consumers.delivery import Worker, Working
from snapshots.rebuild import Wanted, rebuild
from tests.delivery.delivery_support import (
    add,
    append,
    apply_all,
    batch,
    new_log,
    pulled,
    put,
    tables,
    worker,
)


def test_a_delivered_shard_is_what_a_replica_of_it_is() -> None:
    """Invariant 15: the driver makes no difference."""
    log, store = new_log(), MemoryStore()
    append(log, *[put(n, n) for n in range(20)], *[add(n) for n in range(0, 20, 3)])
    outcome = apply_all(log, store)
    assert outcome.first_failed is None
    assert outcome.error is None
    assert outcome.events == 27
    assert tables(store) == pulled(log)


def test_what_is_delivered_again_is_dropped() -> None:
    log, store = new_log(), MemoryStore()
    append(log, *[add(n % 3) for n in range(9)])
    apply_all(log, store)
    again = apply_all(log, store)
    assert (again.first_failed, again.events, again.writes) == (None, 0, 0)
    assert tables(store) == pulled(log)


def test_lanes_are_applied_by_several_workers_in_any_order() -> None:
    """The parallelization of a mapping: each lane its own partitions, and its own pace."""
    log, store = new_log(), MemoryStore()
    append(log, *[add(n) for n in range(24)])
    [shard] = log.shards()
    lanes = [batch(log, shard.id, partitions=lane) for lane in ([0, 2], [1], [3])]
    team = [worker(log, store) for _ in lanes]
    for at in range(0, max(map(len, lanes)), 2):
        for each, lane in zip(reversed(team), reversed(lanes), strict=True):
            assert each.apply(shard.id, lane[at : at + 2]).first_failed is None
    assert tables(store) == pulled(log)


def test_a_split_and_a_merge_are_gone_through() -> None:
    """Parents, then children: rows of partitions without a record in between go on, too (C4)."""
    log, store = new_log(shards=2), MemoryStore()
    append(log, *[add(n) for n in range(12)])
    first, second = [shard.id for shard in log.shards()]
    low, high = log.split(first)
    append(log, *[add(n) for n in range(5)])
    merged = log.merge(high, second)
    append(log, *[add(n) for n in range(12)])
    for shard in (first, low, second, high, merged):
        outcome = worker(log, store).apply(shard, batch(log, shard))
        assert (outcome.first_failed, outcome.error) == (None, None)
    assert tables(store) == pulled(log)


def test_a_child_before_its_parent_loses_nothing() -> None:
    """What the parent has is taken from the log, and dropped when it is delivered after all."""
    log, store = new_log(), MemoryStore()
    [parent] = log.shards()
    append(log, *[add(n % 5) for n in range(10)])
    assert worker(log, store).apply(parent.id, batch(log, parent.id)[:6]).first_failed is None
    children = log.split(parent.id)
    append(log, *[add(n % 5) for n in range(10)])
    for child in children:
        assert worker(log, store).apply(child, batch(log, child)).first_failed is None
    late = worker(log, store).apply(parent.id, batch(log, parent.id)[6:])
    assert late.first_failed is None
    assert tables(store) == pulled(log)


def test_a_new_generation_is_carried_through_what_was_done_in_the_one_before_it() -> None:
    """A rebuild reads to some place; what was handed over and done after it never comes again."""
    log, store = new_log(), MemoryStore()
    [shard] = log.shards()
    append(log, *[add(n) for n in range(8)])
    team = worker(log, store)
    assert team.apply(shard.id, batch(log, shard.id)).first_failed is None
    aside = store.open()
    log.hold_back()
    append(log, *[add(n) for n in range(8)])
    rebuild(log, aside, Wanted())
    aside.close()
    log.release()
    [generation] = store.generations()
    done = max(c.sequence for c in store.checkpoints(generation.id).values())
    # As if the ones after that had been done in the old generation.
    later = batch(log, shard.id, after=done)
    append(log, *[add(n) for n in range(8)])
    for record in batch(log, shard.id, after=later[-1].sequence):
        assert team.apply(shard.id, [record]).first_failed is None
    assert tables(store) == pulled(log)


def test_what_was_not_caught_up_with_in_time_is_gone_on_with() -> None:
    """A row of a rebuild is none to go on from before it has been at the log's end once."""
    log, store = new_log(), MemoryStore()
    [shard] = log.shards()
    append(log, *[add(n) for n in range(8)])
    team = worker(log, store)
    assert team.apply(shard.id, batch(log, shard.id)).first_failed is None
    other = store.open()
    rebuild(log, other, Wanted())
    other.close()
    [generation] = store.generations()
    done = max(c.sequence for c in store.checkpoints(generation.id).values())
    append(log, *[add(n) for n in range(8)])  # done in the generation before, say
    handed = batch(log, shard.id, after=done)
    append(log, *[add(n) for n in range(8)])
    later = batch(log, shard.id, after=handed[-1].sequence)
    broken = WorldStore()
    broken._content, broken._mutex = store._content, store._mutex
    for steps in range(4):
        broken.crash_after, broken.time_out = steps, True
        one = Worker(log, broken, Working())
        assert one.apply(shard.id, later).first_failed is not None
    assert worker(log, store).apply(shard.id, later).first_failed is None
    assert tables(store) == pulled(log)


def test_a_row_in_a_shard_of_nowhere_is_refused() -> None:
    log, store = new_log(shards=2), MemoryStore()
    append(log, *[add(n) for n in range(12)])
    first, second = log.shards()
    assert worker(log, store).apply(first.id, batch(log, first.id)).first_failed is None
    records = batch(log, first.id)
    outcome = worker(log, store).apply(second.id, records)
    assert outcome.first_failed == records[0].sequence
    assert isinstance(outcome.error, MismatchError)


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="several workers"):
        Worker(new_log(), SQLiteStore(tmp_path / "a.db"), Working())
