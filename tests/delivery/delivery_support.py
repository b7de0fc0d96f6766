"""A log in memory, a service that delivers its shards, and the workers that it delivers to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from appliers.stores.memory import MemoryStore
from appliers.summary import TableSummary, summarize
from binlog.changes import delete_item, put_item, update_item
from binlog.clock import ManualClock
from binlog.envelope import Envelope
from binlog.log import Log, Position, Record
from binlog.logs.memory import MemoryLog
from binlog.params import Params
from binlog.producer import Producer
from consumers.delivery import Outcome, Worker, Working
from consumers.local import Following, replicate

PARTITIONS = 4


def new_log(*, shards: int = 1, **params: Any) -> MemoryLog:
    wanted = Params(log_id="de" * 16, partitions=PARTITIONS, **params)
    return MemoryLog(wanted, clock=ManualClock(1_000_000), shards=shards, first_sequence=10**18)


def append(log: Log, *envelopes: Envelope) -> None:
    """Each in a frame of its own."""
    with Producer(log) as producer:
        for envelope in envelopes:
            producer.append(envelope)
            producer.flush()


def put(number: int, value: int = 0) -> Envelope:
    return put_item("orders", {"id": number, "value": value}, key="id")


def add(number: int, amount: int = 1) -> Envelope:
    return update_item("orders", {"id": number}, {"Add": {"sum": amount}})


def delete(number: int) -> Envelope:
    return delete_item("orders", {"id": number})


def batch(log: Log, shard: str, *, after: int = -1, partitions: Iterable[int] = ()) -> list[Record]:
    """What a service has of a shard after a record, of some partitions where they are named."""
    wanted = set(partitions)
    page = log.read(Position(shard, after), bytes_max=1 << 30)
    return [r for r in page.records if not wanted or r.partition in wanted]


def worker(log: Log, store: MemoryStore, **how: Any) -> Worker:
    """One of a team, with a handle of its own."""
    return Worker(log, store.open(), Working(**how))


def apply_all(log: Log, store: MemoryStore, records: Sequence[Record] | None = None) -> Outcome:
    """Hand over a whole shard to a new worker."""
    [first, *_] = log.shards()
    given = batch(log, first.id) if records is None else records
    return worker(log, store).apply(first.id, given)


def tables(store: MemoryStore) -> dict[str, TableSummary]:
    return dict(summarize(store).tables)


def pulled(log: Log) -> dict[str, TableSummary]:
    """What a replica of the same log holds."""
    store = MemoryStore()
    replicate(log, store, Following(once=True))
    return tables(store)
