"""A store of several generations: what is delivered is done when it is in all of them."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.stores.memory import MemoryStore
from binlog.changes import update_item
from binlog.errors import StorageError
from consumers.delivery import Worker, Working
from snapshots.rebuild import Wanted, rebuild
from tests.delivery.delivery_support import add, append, batch, new_log, pulled, tables, worker


class Refuses(MemoryStore):
    """Commits of one generation fail."""

    refused: str = ""

    def commit(self, generation: str, *rest: Any, **more: Any) -> Any:
        if generation == self.refused:
            raise StorageError("refused", self.name)
        return super().commit(generation, *rest, **more)


def handle(store: MemoryStore) -> Refuses:
    made = Refuses(name=store.name)
    made._content, made._mutex, made._writer = store._content, store._mutex, store._writer
    return made


@pytest.mark.parametrize("which", [0, 1])
def test_a_batch_is_done_when_every_generation_has_it(which: int) -> None:
    """One table was rebuilt by itself; the service goes on behind what it is told is done."""
    log, store = new_log(), MemoryStore()
    [shard] = log.shards()
    users = [update_item("users", {"id": n}, {"Add": {"sum": 1}}) for n in range(6)]
    append(log, *[add(n) for n in range(6)], *users)
    assert worker(log, store).apply(shard.id, batch(log, shard.id)).first_failed is None
    aside = store.open()
    rebuild(log, aside, Wanted(tables=("users",)))
    aside.close()
    generations = store.generations()
    assert len(generations) == 2
    done = max(c.sequence for c in store.checkpoints(generations[0].id).values())
    append(log, *[add(n) for n in range(6)], *users)
    records = batch(log, shard.id, after=done)
    broken = handle(store)
    broken.refused = generations[which].id
    outcome = Worker(log, broken, Working()).apply(shard.id, records)
    assert outcome.first_failed == records[0].sequence
    assert isinstance(outcome.error, StorageError)
    assert worker(log, store).apply(shard.id, records).first_failed is None
    assert tables(store) == pulled(log)


class Switches(MemoryStore):
    """A handle that a rebuild uses: before it switches, something happens."""

    before: Any = None

    def build(self, **how: Any) -> Any:
        made = super().build(**how)
        finish = made.finish

        def finished(*arguments: Any, **more: Any) -> None:
            self.before()
            finish(*arguments, **more)

        made.finish = finished  # type: ignore[method-assign]
        return made


def test_a_partition_that_falls_silent_while_a_rebuild_switches_is_carried_too() -> None:
    """What came to it while the rebuild was at work is done, and in no later batch."""
    log, store = new_log(), MemoryStore()
    [shard] = log.shards()
    append(log, *[add(n) for n in range(12)])
    one = worker(log, store)
    assert one.apply(shard.id, batch(log, shard.id)).first_failed is None
    done = batch(log, shard.id)[-1].sequence
    aside = Switches(name=store.name)
    aside._content, aside._mutex, aside._writer = store._content, store._mutex, store._writer

    def meanwhile() -> None:
        nonlocal done
        append(log, *[add(n) for n in range(12)])
        records = batch(log, shard.id, after=done)
        assert {r.partition for r in records} == set(range(4))
        assert one.apply(shard.id, records).first_failed is None
        done = records[-1].sequence

    aside.before = meanwhile
    rebuild(log, aside, Wanted())
    aside.close()
    append(log, add(0))  # one partition's
    records = batch(log, shard.id, after=done)
    assert one.apply(shard.id, records).first_failed is None
    assert tables(store) == pulled(log)
