"""Halts while a consumer follows: told at once, lifted when somebody decides, and never waited for."""

from __future__ import annotations

import logging

import pytest

from appliers.store import vector_of
from appliers.stores import MemoryStore
from binlog.changes import put_item
from binlog.clock import ManualClock
from binlog.control import resolve_frame
from binlog.errors import HaltedError
from binlog.halt import resolution_for
from binlog.log import Put
from binlog.logs.memory import MemoryLog
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.producer import Producer
from binlog.reader import Reader
from binlog.values import encode_value
from consumers import local
from consumers.local import Following, replicate

PARAMS = Params(log_id="ab" * 16, partitions=2)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "WAIT_S", 0.0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(clock: ManualClock) -> MemoryLog:
    """One event in partition 0, then a record that no reader can take, then one behind it."""
    log = MemoryLog(PARAMS, clock=clock)
    append(log, 0)
    log.inject(0, b"no frame at all")
    append(log, 0)
    return log


def append(log: MemoryLog, partition: int) -> None:
    key = next(
        key
        for key in map(str, range(100))
        if partition_of(ordering_key("items", encode_value({"id": key})), 2) == partition
    )
    with Producer(log) as producer:
        producer.append(put_item("items", {"id": key, "n": 1}, key="id"))


def decide(log: MemoryLog) -> None:
    """Write the RESOLVE that lifts the halt of partition 0."""
    reader = Reader(log, partitions=[0])
    while reader.read() is not None:
        pass
    resolution = resolution_for(reader.halts[0], "skip")
    frame = resolve_frame(log.params, log.genesis, resolution, family=b"f" * 16, now_ms=1)
    log.append([Put(0, frame)])


def offsets(store: MemoryStore) -> dict[int, int]:
    [generation] = store.generations()
    return vector_of(store.checkpoints(generation.id))


def test_a_follower_takes_up_a_partition_when_its_halt_is_resolved(
    log: MemoryLog, clock: ManualClock
) -> None:
    """Otherwise it would have to be restarted to hear of the decision."""
    store, rounds = MemoryStore(), 0

    def stop() -> bool:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            decide(log)
        return rounds > 10

    replicate(log, store, Following(), stop=stop, clock=clock)
    assert offsets(store) == {0: 3}  # two events and the RESOLVE itself


def test_on_a_log_that_is_never_idle_too(log: MemoryLog, clock: ManualClock) -> None:
    """With steady writing the end is never reached, and nobody would ever look again."""
    store, rounds = MemoryStore(), 0

    def stop() -> bool:
        nonlocal rounds
        rounds += 1
        append(log, 1)
        if rounds == 2:
            decide(log)
        if rounds == 5:
            clock.advance(60_000)
        return rounds > 10

    replicate(log, store, Following(), stop=stop, clock=clock)
    assert offsets(store)[0] == 3


def test_an_undecided_halt_is_told_at_once_and_ends_a_follower_at_the_end(
    log: MemoryLog, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are carried on; a person has to hear of it before that."""
    store = MemoryStore()
    append(log, 1)
    with caplog.at_level(logging.WARNING), pytest.raises(HaltedError, match="partition 0"):
        replicate(log, store, Following(), clock=clock)
    assert offsets(store) == {0: 1, 1: 1}
    told = [m for m in caplog.messages if "partition.halted" in m]
    assert told
    assert "rule='undecodable'" in told[0]
