"""Logs and stores to take snapshots of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliers.item import Row
from appliers.store import Store
from appliers.stores import MemoryStore, SQLiteStore
from binlog.changes import delete_item, put_item
from binlog.clock import ManualClock
from binlog.logs import DirectoryLog, create_directory_log
from binlog.objects import MemoryObjects
from binlog.params import Params
from binlog.producer import Producer
from consumers.local import Following, replicate
from snapshots.snapshot import Snapshot
from snapshots.snapshot_take import take_snapshot
from tests.contracts.dynamodb_places import store_on
from tests.stores.dynamodb_double import DynamoDBDouble

KINDS = ("memory", "sqlite", "dynamodb")
ONCE = Following(once=True)


def new_log(path: Path, log_id: str = "ab", partitions: int = 4) -> DirectoryLog:
    create_directory_log(path, Params(log_id=log_id * 16, partitions=partitions))
    return DirectoryLog(path, clock=ManualClock())


def orders(log: Any, *numbers: int, table: str = "orders", size: int = 1) -> None:
    with Producer(log) as producer:
        for number in numbers:
            item = {"id": number, "text": "x" * size}
            producer.append(put_item(table, item, key="id"))


def without(log: Any, *numbers: int) -> None:
    with Producer(log) as producer:
        for number in numbers:
            producer.append(delete_item("orders", {"id": number}))


def new_store(kind: str, path: Path) -> Any:
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite":
        return SQLiteStore(path / "store.db")
    return store_on(DynamoDBDouble())


def filled(path: Path, kind: str = "memory", count: int = 40) -> tuple[Any, Any]:
    """A log, and a store of the kind that is at its end."""
    log = new_log(path / "log")
    orders(log, *range(count))
    without(log, 3, 5)
    store = new_store(kind, path)
    replicate(log, store, ONCE)
    return log, store


def taken(store: Store, objects: Any = None, **how: Any) -> Snapshot:
    """A snapshot of ``store``."""
    objects = MemoryObjects() if objects is None else objects
    return Snapshot(objects, take_snapshot(store, objects, **how))


def rows(store: Any, table: str = "orders") -> dict[bytes, Row]:
    return dict(store.scan(table))


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    """One bit turned."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def replaced(snapshot: Snapshot, key: str, data: bytes | None) -> Snapshot:
    """The snapshot where one object is another, or none, opened anew."""
    objects = snapshot.objects
    if data is None:
        objects.delete([key])
    else:
        objects.put(key, data)
    return Snapshot(objects, snapshot.manifest)
