"""Every verb that reads a log to its end comes to one while others go on writing to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from appliers.stores.memory import MemoryStore
from binlog.archive.archive import Archive
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.archiver import Archiving, archive
from binlog.changes import put_item
from binlog.cli.halted import find_halts
from binlog.clock import ManualClock
from binlog.frame import Session
from binlog.log import Log, Page
from binlog.logs import DirectoryLog, create_directory_log
from binlog.objects import MemoryObjects
from binlog.ordered import OrderedRuns
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.producer import Producer
from binlog.producer.outcome import Frame
from binlog.producer.resolve import Verdict, resolve
from binlog.values import encode_value
from binlog.vector import Vector
from consumers.lag import measure
from consumers.local import Following, replicate
from snapshots.adopt_log import AdoptionLog
from snapshots.check_log import Walk
from snapshots.rebuild import Wanted, rebuild
from tests.log.log_frames import PARAMS
from tests.log.stream_under_load import EndlessError, Load


def replicated(log: Log) -> Vector:
    return replicate(log, MemoryStore(), Following(once=True)).vector


def replicated_by_records(log: Log) -> Vector:
    return replicate(log, MemoryStore(), Following(once=True, page_bytes=1)).vector


def rebuilt(log: Log) -> Vector:
    return rebuild(log, MemoryStore(), Wanted()).vector


def archived(log: Log) -> Vector:
    into = Archive.create(MemoryObjects(), log.params, log.genesis)
    return archive(log, into, Archiving(once=True)).vector


def measured(log: Log) -> Vector:
    return {p.partition: p.offset for p in measure(log).partitions}


def measured_of_a_store(log: Log) -> Vector:
    store = MemoryStore()
    replicate(log, store, Following(once=True))
    found = measure(log, store, over_s=0.0)
    return {p.partition: p.offset for p in found.partitions}


def printed(log: Log) -> Vector:
    runs = OrderedRuns(log, kept_bytes_max=1_000)
    for _ in runs:
        pass
    runs.finish()
    return runs.vector


def walked(log: Log) -> Vector:
    walk = Walk(log)
    vector = walk.run()
    assert not walk.found
    return vector


def halts(log: Log) -> None:
    assert find_halts(log) == []


def resolved(log: Log) -> None:
    frame = Frame(Session(b"x" * 16, 1), log.now_ms(), 0, 1, 1)
    assert resolve(log, [frame])[frame].verdict is not Verdict.ACKNOWLEDGED


def adopted(log: Log) -> None:
    AdoptionLog(log, "another").read()


VERBS: list[Callable[[Log], Vector | None]] = [
    replicated,
    replicated_by_records,
    rebuilt,
    archived,
    measured,
    measured_of_a_store,
    printed,
    walked,
    halts,
    resolved,
    adopted,
]


def check(vector: Vector | None, wanted: Vector) -> None:
    if vector is not None:
        assert {p: vector.get(p, 0) for p in wanted if vector.get(p, 0) < wanted[p]} == {}


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_of_a_stream(verb: Callable[[Log], Vector | None]) -> None:
    load = Load(Random(verb.__name__), shards=2)
    for _ in range(30):
        load.put()
    load.reshard()
    wanted = dict(load.acknowledged)
    load.begin()
    check(verb(load.open()), wanted)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_of_a_stream_beside_its_archive(verb: Callable[[Log], Vector | None]) -> None:
    load = Load(Random(verb.__name__), shards=2)
    for _ in range(30):
        load.put()
    log = load.open()
    kept = Archive.create(MemoryObjects(), log.params, log.genesis)
    archive(log, kept, Archiving(once=True))
    for _ in range(10):
        load.put()
    load.reshard()
    wanted = dict(load.acknowledged)
    load.begin()
    check(verb(ArchivedLog(load.open(), kept)), wanted)


class BusyDirectory:
    """A directory log and a producer that writes whenever it was read."""

    def __init__(self, path: Path) -> None:
        clock = ManualClock()
        create_directory_log(path, Params(log_id=PARAMS.log_id, partitions=4), clock=clock)
        self.log = DirectoryLog(path, clock=clock)
        self.producer = Producer(DirectoryLog(path, clock=clock))
        self.reads = 0
        self.acknowledged = dict.fromkeys(range(4), 0)

    def write(self, count: int = 1) -> None:
        keys = [f"k{i}" for i in range(count)]
        for key in keys:
            self.acknowledged[partition_of(ordering_key("tab", encode_value({"id": key})), 4)] += 1
        self.producer.append_many(
            [put_item("tab", {"id": key, "n": self.reads}, key="id") for key in keys]
        )

    def begin(self) -> DirectoryLog:
        read = self.log.read

        def busy(*args: object, **rest: object) -> Page:
            self.reads += 1
            if self.reads > 500:
                raise EndlessError(f"{self.reads} reads")
            self.write(3)
            return read(*args, **rest)  # type: ignore[arg-type]

        self.log.read = busy  # type: ignore[method-assign]
        return self.log


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_of_a_directory(verb: Callable[[Log], Vector | None], tmp_path: Path) -> None:
    """Also of one that is never seen to end: each page is full, and more is written than is read."""
    busy = BusyDirectory(tmp_path / "log")
    with busy.producer:
        for _ in range(3):
            busy.write(20)
        wanted = dict(busy.acknowledged)
        check(verb(busy.begin()), wanted)


def test_a_consumer_that_follows_does_not_end() -> None:
    load = Load(Random(1))
    load.put()
    load.begin()
    with pytest.raises(EndlessError):
        replicate(load.open(), MemoryStore(), Following())
