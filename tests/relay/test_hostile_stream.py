"""Hostile records on a stream: one line of error that names thing and remedy, nothing else lost.

Anybody who may call PutRecord may put them, under our keys or under others. (Invariant 23.)
"""

from __future__ import annotations

import time
import tracemalloc

import pytest

from binlog.control import resolve_frame
from binlog.errors import HaltedError
from binlog.frame import Session
from binlog.halt import resolution_for
from binlog.log import Position, Put
from binlog.logs.kinesis import KinesisLog
from binlog.partition import explicit_hash_key, partition_key
from binlog.reader import Reader
from binlog.relay import ForeignInbox, Relay, make_convert
from binlog.testing.world.garbage import GARBAGE, bomb
from binlog.testing.world.records import Frame, Log
from consumers.lag import measure
from snapshots.check import check_log
from tests.log.kinesis_world import KinesisWorld
from tests.log.log_frames import PARAMS, put
from tests.proofs.histories import small_event

GIVEN = Log(PARAMS)
FAMILY = bytes(15) + b"\x09"
MiB = 1024 * 1024


def hostile(world: KinesisWorld, why: str) -> bytes:
    events = (small_event(1), small_event(2))
    now = world.clock.now_ms()
    return dict(GARBAGE)[why](GIVEN, Frame(now, Session(FAMILY, 1), now, 1, events))


def land(world: KinesisWorld, data: bytes, *, key: str | None = None, partition: int = 0) -> None:
    hash_key = explicit_hash_key(partition, PARAMS.partitions)
    record = {
        "PartitionKey": key or partition_key(partition),
        "ExplicitHashKey": str(hash_key),
        "Data": data,
    }
    world.stream.land(record, world.clock.now_ms())


def append_everywhere(log: KinesisLog, session: int) -> None:
    log.append(
        [
            put(partition=p, session=session, born_ms=log.birth_ms())
            for p in range(PARAMS.partitions)
        ]
    )


def read_all(reader: Reader) -> None:
    while reader.read() is not None:
        pass


@pytest.mark.parametrize("why", [why for why, _ in GARBAGE])
def test_under_our_key_it_halts_its_partition_names_it_and_loses_nothing_else(why: str) -> None:
    world = KinesisWorld()
    log = world.open()
    append_everywhere(log, 1)
    land(world, hostile(world, why))
    place = world.stream.shards["shardId-000000000000"].records[-1].sequence
    append_everywhere(log, 2)
    reader = Reader(log)
    read_all(reader)
    assert reader.vector() == {0: 1, 1: 2, 2: 2, 3: 2}
    with pytest.raises(HaltedError) as halted:
        reader.raise_halts()
    line = str(halted.value)
    assert "\n" not in line
    assert f"shardId-000000000000 of kinesis://s, sequence number {place}" in line
    assert f"`binlog resolve LOG 0 shardId-000000000000:{place} skip`" in line
    # The frames of these tests hold small events whose keys are anywhere, which `check` says, too.
    assert [f.rule for f in check_log(log) if f.rule != "event"] == ["halt"]
    resolution = resolution_for(reader.halts[0], "skip")
    frame = resolve_frame(
        log.params, log.genesis, resolution, family=bytes(16), now_ms=log.now_ms()
    )
    log.append([Put(0, frame)])
    for each in (reader, Reader(log)):
        each.retry_halted()
        read_all(each)
        assert each.vector() == {0: 3, 1: 2, 2: 2, 3: 2}
    log.close()


@pytest.mark.parametrize("why", [why for why, _ in GARBAGE])
def test_under_another_key_it_is_kept_and_halts_nobody(why: str) -> None:
    """A frame of ours under a foreign key, too: nobody who writes with us puts it there."""
    world = KinesisWorld()
    data = hostile(world, why)
    log = world.open()
    append_everywhere(log, 1)
    land(world, data, key="customer-9")
    append_everywhere(log, 2)
    reader, kept = Reader(log), []
    while reader.read() is not None:
        kept += [record.data for record in reader.foreign]
    assert kept == [data]
    assert not reader.halts
    assert reader.vector() == {0: 2, 1: 2, 2: 2, 3: 2}
    log.close()


def test_a_bomb_costs_fixed_memory_and_time_on_the_way_from_the_stream() -> None:
    """Half a gigabyte in 50 KB, forty times."""
    world = KinesisWorld()
    log = world.open()
    append_everywhere(log, 1)
    events = (small_event(1), small_event(2))
    now = world.clock.now_ms()
    data = bomb(GIVEN, Frame(now, Session(FAMILY, 1), now, 1, events), 512 * MiB, 100_000)
    assert len(data) < 60_000
    for _ in range(40):
        land(world, data)
    append_everywhere(log, 2)
    began = time.process_time()
    tracemalloc.start()
    try:
        reader = Reader(log)
        read_all(reader)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.vector() == {0: 1, 1: 2, 2: 2, 3: 2}
    assert peak < 24 * MiB
    assert time.process_time() - began < 5
    log.close()


def test_foreign_records_pass_through_memory_a_page_at_a_time() -> None:
    """Whoever fills the stream with them fills nobody's memory."""
    world = KinesisWorld()
    log = world.open()
    size, count = 200_000, 300
    for number in range(count):
        land(world, bytes([number % 251]) * size, key=f"k{number}", partition=number % 4)
    tracemalloc.start()
    try:
        reader, kept, most = Reader(log, page_bytes=MiB), 0, 0
        while reader.read() is not None:
            kept += len(reader.foreign)
            most = max(most, len(reader.foreign))
        status = measure(log)
    finally:
        tracemalloc.stop()
    assert kept == count
    assert most * size <= 2 * MiB
    assert len(status.foreign) == count
    log.close()


def test_a_relay_of_hostile_records_keeps_each_and_relays_what_is_an_event() -> None:
    world = KinesisWorld()
    log = world.open()
    for why, _ in GARBAGE:
        land(world, hostile(world, why), key="customer-9")
    land(world, b'{"id": "ann"}', key="customer-9")
    world.clock.advance(5_000)
    relay = Relay(
        ForeignInbox(log),
        log,
        make_convert(table="users", key_names=("id",)),
        on_error="keep",
        monotonic=world.clock.monotonic,
        pause=world.pause,
    )
    report = relay.run(once=True)
    assert (report.events, report.unreadable) == (len(GARBAGE) + 1, len(GARBAGE))
    reader = Reader(log)
    read_all(reader)
    assert not reader.halts
    assert log.read(Position("shardId-000000000000", -1)).records
    log.close()
