"""Workers that are handed records (Lambda, KCL) on a log with an adopted table."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliers.stores import MemoryStore
from appliers.summary import summarize
from binlog.clock import ManualClock
from binlog.log import Log, Position, Record
from binlog.logs import MemoryLog
from binlog.objects.memory import MemoryObjects
from consumers.delivery import Worker, Working
from snapshots.adopt_base import KeptBases
from snapshots.rebuild import Wanted, rebuild
from tests.adoption.adoption_world import (
    PARAMS,
    Held,
    add,
    adopt,
    append,
    delete,
    folded,
    held,
    item,
    items,
    put,
)
from tests.adoption.in_place import Place

EVENTS = [add("k001", 5), put("k002", 70), delete("k003"), put("new", 1), add("new", 2)]


def memory_log() -> MemoryLog:
    return MemoryLog(PARAMS, clock=ManualClock(1_000_000), first_sequence=10**18)


def batch(log: Log, shard: str) -> list[Record]:
    return list(log.read(Position(shard, -1), bytes_max=1 << 30).records)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path, items(12), memory_log())
    made.take_over(made.adopt()).close()
    return made


def test_workers_go_on_with_a_table_in_place(place: Place) -> None:
    """They need no base for it: what is compared is in the store's own table."""
    for event in EVENTS:
        append(place.log, event)
    [shard] = place.log.shards()
    outcome = Worker(place.log, place.store(), Working()).apply(
        shard.id, batch(place.log, shard.id)
    )
    assert (outcome.first_failed, outcome.error) == (None, None)
    rebuilt = MemoryStore()
    rebuild(place.log, rebuilt, Wanted(bases=place.bases))
    assert summarize(place.store()).tables == summarize(rebuilt).tables
    with place.store().view() as view:
        assert held(view) == folded(place.content, EVENTS)


def test_a_stray_stops_its_own_partition_alone(place: Place) -> None:
    """What it is delivered with of other partitions is done."""
    place.write(item("k001", 99))
    for event in (add("k001", 5), *(add(f"k00{n}", 1) for n in range(2, 9))):
        append(place.log, event)
    [shard] = place.log.shards()
    records = batch(place.log, shard.id)
    outcome = Worker(place.log, place.store(), Working()).apply(shard.id, records)
    assert outcome.error is not None
    assert "was changed in the table since that was adopted" in str(outcome.error)
    assert outcome.first_failed is not None
    ours = next(r.partition for r in records if r.sequence == outcome.first_failed)
    touched = {name for name, each in place.stored().items() if "_binlog" in each}
    assert touched
    assert "k001" not in touched
    assert outcome.error.details["partition"] == ours


def test_workers_of_another_store_are_told_to_rebuild_it() -> None:
    """They have no base, and no time to load one; a rebuild has both, and they go on from it."""
    log, objects, store = memory_log(), MemoryObjects(), MemoryStore()
    table = Held(items(12))
    adopt(log, objects, table)
    append(log, *EVENTS)
    [shard] = log.shards()
    outcome = Worker(log, store.open(), Working()).apply(shard.id, batch(log, shard.id))
    assert outcome.error is not None
    assert "binlog rebuild" in str(outcome.error)
    rebuild(log, store.open(), Wanted(bases=KeptBases(log.genesis, objects)))
    outcome = Worker(log, store.open(), Working()).apply(shard.id, batch(log, shard.id))
    assert (outcome.first_failed, outcome.error) == (None, None)
    assert held(store) == folded(table.content, EVENTS)
