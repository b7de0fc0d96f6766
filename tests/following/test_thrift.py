"""Checkpoints of a store that is paid by the write: fewer, and never one that is ahead of its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.item import Row, Write
from appliers.stores import MemoryStore
from appliers.summary import summarize
from binlog.changes import put_item
from binlog.clock import ManualClock
from binlog.envelope import Envelope
from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.producer import Producer
from consumers.engine import Engine
from consumers.local import Following, replicate
from consumers.thrift import IDLE_S, ITEMS, LONGEST_S, Thrift, is_paid_by_the_write
from snapshots.rebuild import Wanted, rebuild


def writes(count: int, partition: int = 0) -> list[Write]:
    return [Write("t", n.to_bytes(2), Row(n + 1, partition, b"x"), None) for n in range(count)]


class Counting(MemoryStore):
    """Counts the rows that it is given."""

    paid_by_the_write = True

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def commit(self, generation: str, writes: Any, checkpoints: Sequence[Any], **more: Any) -> Any:
        self.rows += len(checkpoints)
        return super().commit(generation, writes, checkpoints, **more)


def follower(log: DirectoryLog, store: MemoryStore, clock: ManualClock) -> Engine:
    if not store.generations():
        store.bind(log.genesis)
        store.create(tables=None, fingerprint=fingerprint(NO_RULES), excluded=())
    (generation,) = store.generations()
    return Engine(log, store, generation, NO_RULES, thrift=Thrift(clock.monotonic))


def append(log: DirectoryLog, first: int, count: int) -> None:
    with Producer(log) as producer:
        for number in range(first, first + count):
            producer.append(put_item("orders", {"id": number, "total": 1}, key="id"))


def new_log(path: Path, partitions: int = 1) -> tuple[DirectoryLog, ManualClock]:
    clock = ManualClock()
    create_directory_log(path, Params(log_id="ab" * 16, partitions=partitions))
    return DirectoryLog(path, clock=clock), clock


def test_a_row_is_due_by_items_by_time_and_sooner_when_idle() -> None:
    """Each partition by its own; what was saved begins again."""
    clock = ManualClock()
    thrift = Thrift(clock.monotonic)
    assert thrift.due([0, 1], writes(ITEMS - 1)) == []
    thrift.note_page(writes(ITEMS - 1))
    assert thrift.due([0, 1], writes(1)) == [0]
    assert thrift.due([0, 1], writes(1, partition=1)) == []
    thrift.note_page(writes(1))
    thrift.note_saved([0])
    assert thrift.due([0, 1], writes(1)) == []
    clock.advance(round(LONGEST_S * 1000) - 1)
    assert thrift.due([0, 1]) == []
    clock.advance(1)
    assert thrift.due([0, 1]) == [0, 1]
    thrift.note_saved([0, 1])
    assert thrift.due([0, 1]) == []


def test_a_quiet_log_is_one_where_nothing_came_for_a_while() -> None:
    """Between two frames of a producer that lingers there is nothing either, and no row is due."""
    clock = ManualClock()
    thrift = Thrift(clock.monotonic)
    for _ in range(5):
        thrift.note_page(writes(1))
        clock.advance(round(IDLE_S * 1000) - 1)
        assert thrift.due([0, 1], idle=True) == []
    clock.advance(1)
    assert thrift.due([0, 1]) == []
    assert thrift.due([0, 1], idle=True) == [0, 1]


def test_fewer_rows_are_written_than_pages_read(tmp_path: Path) -> None:
    """That is the point; and at the end, or when nothing comes any more, they stand at the end."""
    log, clock = new_log(tmp_path / "log")
    store = Counting()
    engine = follower(log, store, clock)
    for number in range(20):
        append(log, number, 1)
        engine.step()
    assert store.rows == 0
    clock.advance(round(IDLE_S * 1000))
    while engine.step() is not None:
        pass
    assert store.rows == 1
    (generation,) = store.generations()
    assert store.checkpoints(generation.id)[0].applied == 20


def test_what_is_not_checkpointed_is_read_again_and_written_once(tmp_path: Path) -> None:
    """A crash in between: the next one finds the items there, and ends with the very same table."""
    log, clock = new_log(tmp_path / "log", partitions=3)
    store = Counting()
    append(log, 0, 40)
    engine = follower(log, store, clock)
    while engine.step() is not None:
        pass
    (generation,) = store.generations()
    assert store.checkpoints(generation.id) == {}
    again = follower(log, store, clock)
    while (step := again.step()) is not None:
        assert step.writes == 0
    again.checkpoint()
    other = MemoryStore()
    rebuild(log, other, Wanted())
    assert summarize(store).tables == summarize(other).tables


def test_a_partition_that_others_leave_no_pause_for_is_saved_all_the_same(tmp_path: Path) -> None:
    """Its row is due by time, with a page that holds nothing of it."""
    log, clock = new_log(tmp_path / "log", partitions=2)
    store = Counting()
    engine = follower(log, store, clock)
    by_partition: dict[int, Envelope] = {}
    for number in range(20):
        envelope = put_item("orders", {"id": number, "total": 1}, key="id")
        by_partition[partition_of(ordering_key("orders", envelope.key), 2)] = envelope
    with Producer(log) as producer:
        producer.append(by_partition[0])
        while engine.step() is not None and not engine.reader.vector().get(0):
            pass
        clock.advance(round(LONGEST_S * 1000))
        producer.append(by_partition[1])
        engine.step()
    (generation,) = store.generations()
    assert store.checkpoints(generation.id)[0].applied == 1


def test_replicate_is_thrifty_only_where_rows_cost(tmp_path: Path) -> None:
    """And leaves no store behind its items when it ends."""
    log, _ = new_log(tmp_path / "log", partitions=2)
    append(log, 0, 10)
    store = Counting()
    assert is_paid_by_the_write(store)
    assert not is_paid_by_the_write(MemoryStore())
    replicate(log, store, Following(once=True))
    (generation,) = store.generations()
    assert sum(c.applied for c in store.checkpoints(generation.id).values()) == 10
