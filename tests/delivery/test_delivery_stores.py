"""Stores that several workers share: DynamoDB as memory, and who is shut out by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliers.store import Shareable, Store
from appliers.stores.memory import MemoryStore
from appliers.summary import summarize
from binlog.errors import BusyError, ConflictError, LostError
from consumers.delivery import Worker, Working
from consumers.local import Following, replicate
from snapshots.rebuild import Wanted, rebuild
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import checkpoint
from tests.delivery.delivery_support import add, append, batch, new_log, pulled
from tests.stores.dynamodb_double import DynamoDBDouble, refusal

Handles = Callable[[], Store]


@pytest.fixture(params=["memory", "dynamodb"])
def handles(request: pytest.FixtureRequest) -> Iterator[Handles]:
    """Makes handles on one store, each as a process of its own has one."""
    opened: list[Store] = []
    memory = MemoryStore()
    double = DynamoDBDouble()

    def handle() -> Store:
        made = memory.open() if request.param == "memory" else store_on(double, "shop")
        opened.append(made)
        return made

    yield handle
    for each in opened:
        each.close()


def test_workers_beside_each_other_make_one_store(handles: Handles) -> None:
    log = new_log(shards=2)
    append(log, *[add(n % 9) for n in range(30)])
    for _ in range(2):
        for shard in log.shards():
            for lane in ([0, 2], [1, 3]):
                records = batch(log, shard.id, partitions=lane)
                for at in range(0, len(records), 4):
                    given = records[at : at + 4]
                    outcome = Worker(log, handles(), Working()).apply(shard.id, given)
                    assert (outcome.first_failed, outcome.error) == (None, None)
    assert dict(summarize(handles()).tables) == pulled(log)


def test_a_rebuild_beside_them_is_what_they_go_on_with(handles: Handles) -> None:
    log = new_log()
    [shard] = log.shards()
    append(log, *[add(n) for n in range(10)])
    worker = Worker(log, handles(), Working())
    assert worker.apply(shard.id, batch(log, shard.id)).first_failed is None
    other = handles()
    rebuild(log, other, Wanted())
    other.close()
    last = max(r.sequence for r in batch(log, shard.id))
    append(log, *[add(n) for n in range(10)])
    outcome = worker.apply(shard.id, batch(log, shard.id, after=last))
    assert (outcome.first_failed, outcome.error) == (None, None)
    assert dict(summarize(handles()).tables) == pulled(log)


def test_a_row_is_moved_by_who_has_read_it_as_it_is(handles: Handles) -> None:
    """The condition of a row is what was read, not only that it is behind."""
    one, other = handles(), handles()
    for each in (one, other):
        assert isinstance(each, Shareable)
        each.share()
        each.bind(new_log().genesis)
    made = one.create(tables=None, fingerprint="f", excluded=())
    assert one.checkpoints(made.id, [1]) == {}
    one.commit(made.id, [], [checkpoint(1, 10)])
    assert [g.id for g in other.generations()] == [made.id]
    assert other.checkpoints(made.id, [1, 2]) == {1: checkpoint(1, 10)}
    one.commit(made.id, [], [checkpoint(1, 20)])
    with pytest.raises(LostError):
        other.commit(made.id, [], [checkpoint(1, 30)])
    assert other.checkpoints(made.id, [1]) == {1: checkpoint(1, 20)}
    other.commit(made.id, [], [checkpoint(1, 30)])
    assert handles().checkpoints(made.id) == {1: checkpoint(1, 30)}


def test_who_would_write_alone_is_told_of_the_team(handles: Handles) -> None:
    log, store = new_log(), handles()
    Worker(log, store, Working()).apply("shard-0000", batch(log, "shard-0000"))
    append(log, add(1))
    alone = handles()
    with pytest.raises(ConflictError, match="--alone"):
        replicate(log, alone, Following(once=True))
    replicate(log, alone, Following(once=True, alone=True))
    alone.close()
    replicate(log, handles(), Following(once=True))
    assert dict(summarize(handles()).tables) == pulled(log)


def refuse_rows(request: dict[str, Any]) -> None:
    if request["TableName"] == "shop.binlog":
        raise refusal("AccessDeniedException", "not authorized to perform: dynamodb:PutItem")


def test_a_reader_is_told_that_somebody_is_ahead() -> None:
    """An item beyond its checkpoint is no difference; nor is it of the moment that the rest is of."""
    log, double = new_log(), DynamoDBDouble()
    append(log, *[add(n) for n in range(10)])
    store = store_on(double, "shop")
    worker = Worker(log, store, Working())
    records = batch(log, "shard-0000")
    assert worker.apply("shard-0000", records[:-3]).first_failed is None
    before = dict(summarize(store_on(double, "shop")).tables)
    double.hooks["put_item"] = refuse_rows
    assert worker.apply("shard-0000", records).first_failed == records[-3].sequence
    del double.hooks["put_item"]
    # Nobody writes to it by now, so "try again" alone would be for ever.
    with pytest.raises(BusyError, match=r"or was left unfinished: .* let its consumer go on"):
        summarize(store_on(double, "shop"))
    assert worker.apply("shard-0000", records).first_failed is None
    assert dict(summarize(store_on(double, "shop")).tables) == pulled(log) != before
