"""A snapshot of DynamoDB tables into a bucket, both on a stand-in, while a consumer writes to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliers.stores import MemoryStore
from appliers.stores.dynamodb import DynamoDBStore
from binlog.aws.account import Account
from binlog.objects.s3 import S3Objects
from consumers.local import replicate
from scripts.standins.server import Server
from snapshots.check_snapshots import check_snapshots
from snapshots.restore import restore
from snapshots.snapshot import open_snapshot
from snapshots.snapshot_take import take_snapshot
from snapshots.verify import verify
from tests.contracts.dynamodb_places import on_service, remove_tables, shared_connect
from tests.snapshot.snapshot_support import ONCE, new_log, orders, without


@pytest.fixture
def place(ministack: Server, stream_name: Callable[[], str]) -> Iterator[Place]:
    made = Place(ministack, stream_name())
    yield made
    made.close()


class Place:
    """Stores by prefix, and a bucket."""

    def __init__(self, server: Server, name: str) -> None:
        import boto3

        self._connect = shared_connect(server.url)
        self._name = name
        self._opened: list[DynamoDBStore] = []
        self._prefixes: set[str] = set()
        boto3.client("s3", endpoint_url=server.url).create_bucket(Bucket=name)
        self.objects = S3Objects(f"{name}/shop", account=Account(endpoint=server.url))

    def store(self, prefix: str) -> DynamoDBStore:
        self._prefixes.add(f"{self._name}-{prefix}")
        self._opened.append(on_service(f"{self._name}-{prefix}", self._connect)())
        return self._opened[-1]

    def close(self) -> None:
        self.objects.close()
        for store in self._opened:
            store.close()
        for prefix in self._prefixes:
            remove_tables(self._connect, prefix)


def test_a_snapshot_beside_a_consumer_comes_back_into_other_tables_and_goes_on(
    place: Place, tmp_path: Path
) -> None:
    """Scan by segments, create-if-absent, ranged reads, batched loading: as services do them."""
    log = new_log(tmp_path / "log")
    orders(log, *range(120), size=50)
    without(log, 3, 5)
    live = place.store("live")
    replicate(log, live, ONCE)
    at_once = take_snapshot(place.store("live"), place.objects, workers=3)
    assert at_once.is_exact
    assert (at_once.tables["orders"].items, at_once.tables["orders"].tombstones) == (118, 2)

    over = threading.Event()

    def consume() -> None:
        number = 0
        while not over.is_set():
            number += 1
            orders(log, number % 90, 200 + number, size=number % 40)
            replicate(log, live, ONCE)

    thread = threading.Thread(target=consume)
    thread.start()
    try:
        manifest = take_snapshot(place.store("live"), place.objects, workers=3, part_bytes=2000)
    finally:
        over.set()
        thread.join()
    assert manifest.id != at_once.id
    assert list(check_snapshots(place.objects)) == []
    snapshot = open_snapshot(place.objects)
    assert snapshot.manifest == manifest
    back = place.store("back")
    restore(snapshot, back, log=log)
    for store in (live, back):
        replicate(log, store, ONCE)
    with verify(live, back) as found:
        assert [d for table in found.tables for d in found.differences(table)] == []
        assert found.rows >= 120
    memory = MemoryStore()
    restore(open_snapshot(place.objects, at_once.id), memory)
    replicate(log, memory, ONCE)
    with verify(live, memory) as found:
        assert [d for table in found.tables for d in found.differences(table)] == []
