"""Putting events back in a real service's tables, while a worker of a team goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from appliers.item import Row
from appliers.stores import MemoryStore
from appliers.stores.dynamodb import DynamoDBStore
from appliers.summary import summarize
from binlog.changes import put_item
from binlog.values import decode_value
from consumers.delivery import Worker, Working
from consumers.redrive import Redrive, Redriven
from scripts.standins.server import Server
from snapshots.rebuild import Wanted, rebuild
from tests.contracts.dynamodb_places import on_service, remove_tables, shared_connect
from tests.delivery.delivery_support import append, batch, new_log
from tests.following.test_parking_consumers import BROKEN, RULES, order, paid
from tests.integration.waiting import PATIENCE_S

ORDERS = range(1, 7)
ROUNDS = 12


@pytest.fixture
def handle(
    ministack: Server, stream_name: Callable[[], str]
) -> Iterator[Callable[[], DynamoDBStore]]:
    prefix, connect = stream_name(), shared_connect(ministack.url)
    opened: list[DynamoDBStore] = []

    def tracked() -> DynamoDBStore:
        opened.append(on_service(prefix, connect)())
        return opened[-1]

    BROKEN.clear()
    BROKEN.add(2)
    yield tracked
    BROKEN.clear()
    for store in opened:
        store.close()
    remove_tables(connect, prefix)


def put_back(store: DynamoDBStore) -> list[Redriven]:
    return list(Redrive(store, RULES, dry_run=False).run())


def rows(store: DynamoDBStore | MemoryStore) -> dict[bytes, Row]:
    return dict(store.scan("orders"))


def test_a_redrive_beside_a_worker_loses_and_repeats_nothing(
    handle: Callable[[], DynamoDBStore],
) -> None:
    """New events wait behind those that are put back, and are put back, too, or applied after them."""
    log = new_log()
    [shard] = log.shards()
    append(log, *map(order, ORDERS), *[paid(each, n) for each in (1, 2, 4) for n in ORDERS])
    worker = Worker(log, handle(), Working(rules=RULES, poison="park"))
    assert worker.apply(shard.id, batch(log, shard.id)).parked == 2 * len(ORDERS)
    store = handle()
    assert [each.outcome for each in put_back(store)] == ["stays"] * len(ORDERS)
    begun, done = threading.Event(), threading.Event()
    errors: list[object] = []

    def work() -> None:
        at = len(batch(log, shard.id))
        try:
            for number in range(ROUNDS):
                late = put_item("orders", {"id": 1, "total": 0}, key="id", expect=1)
                # One that cannot be applied yet comes in the middle.
                append(log, late, *[paid(3 if number == 5 else 100 + number, n) for n in ORDERS])
                given = batch(log, shard.id)[at:]
                at += len(given)
                outcome = worker.apply(shard.id, given)
                if outcome.first_failed is not None:
                    errors.append(outcome)
                begun.set()
        except BaseException as error:
            errors.append(error)
            raise
        finally:
            begun.set()
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(PATIENCE_S)
    BROKEN.clear()
    BROKEN.add(3)
    met = put_back(store)
    while not done.is_set():
        met += put_back(store)
    thread.join()
    assert errors == []
    assert met
    put_back(store)
    for still in ({3}, set()):
        BROKEN.clear()
        BROKEN.update(still)
        reference = MemoryStore()
        rebuild(log, reference, Wanted(rules=RULES, poison="park"))
        left = put_back(store)
        assert [each.is_done for each in left] == [not still] * len(ORDERS)
        assert rows(store) == rows(reference)
        assert summarize(store) == summarize(reference)
        places = [(x.place, x.reason) for x in store.letters()]
        assert places == [(x.place, x.reason) for x in reference.letters()]
        assert list(store.rejections()) == list(reference.rejections())
    assert put_back(store) == []
    for row in rows(store).values():
        assert row.data is not None
        expected = [1, 2, 4, *[3 if n == 5 else 100 + n for n in range(ROUNDS)]]
        assert decode_value(row.data)["paid"] == expected
