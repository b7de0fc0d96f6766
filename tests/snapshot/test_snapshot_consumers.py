"""Who goes on from a restored store: whoever is handed records, as Lambda and the KCL do it."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.stores import MemoryStore
from binlog.objects import MemoryObjects
from consumers.delivery import Worker, Working
from snapshots.restore import restore
from snapshots.snapshot import Snapshot
from snapshots.snapshot_take import take_snapshot
from tests.contracts.dynamodb_places import store_on
from tests.delivery.delivery_support import add, append, batch, new_log, pulled, tables
from tests.stores.dynamodb_double import DynamoDBDouble


@pytest.mark.parametrize("target", ["memory", "dynamodb"])
def test_a_worker_goes_on_from_what_was_restored(target: str) -> None:
    """A row of a restored store has not joined: what follows is still to be handed over, from there."""
    log = new_log()
    [shard] = log.shards()
    append(log, *[add(n % 5) for n in range(20)])
    double = DynamoDBDouble()
    live = store_on(double, width=1)
    assert Worker(log, live, Working()).apply(shard.id, batch(log, shard.id)).first_failed is None
    seen = {c.sequence for c in live.checkpoints(live.generations()[0].id).values()}
    append(log, *[add(n % 5) for n in range(20)])
    snapshot = Snapshot(objects := MemoryObjects(), take_snapshot(store_on(double), objects))
    assert not any(c.joined for c in snapshot.checkpoints.values())
    assert {c.sequence for c in snapshot.checkpoints.values()} == seen
    other = DynamoDBDouble()

    def handle() -> Any:
        return memory.open() if target == "memory" else store_on(other, width=1)

    memory = MemoryStore()
    builder = handle()
    restore(snapshot, builder, log=log)
    builder.close()
    rest = batch(log, shard.id, after=min(seen))
    assert Worker(log, handle(), Working()).apply(shard.id, rest).first_failed is None
    assert tables(handle()) == pulled(log)
    again = Worker(log, handle(), Working()).apply(shard.id, batch(log, shard.id))
    assert again.first_failed is None
    assert tables(handle()) == pulled(log), "what was handed over before changes nothing"
