"""Producers and readers on running stand-ins, while shards split and replies are lost."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binlog.aws.account import Account
from binlog.horizon import horizon_of
from binlog.log import Position
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import StreamOptions, create_kinesis_log
from binlog.logs.kinesis_service import Service
from binlog.params import Params
from binlog.producer import Outcome, Producer, ProducerOptions
from binlog.reader import Reader, Start
from scripts.standins.server import Server
from scripts.standins.services import KINESALITE
from tests.integration.kinesis_hooks import Faults
from tests.integration.kinesis_streams import merge, split
from tests.integration.waiting import PATIENCE_S, until
from tests.log.kinesis_ledger import Ledger

PARTITIONS = 8
OPTIONS = ProducerOptions(
    linger_s=0.005,
    retry_first_s=0.005,
    retry_most_s=0.05,
    give_up_s=2 * PATIENCE_S,  # what is put is acknowledged here, sooner or later
    frame_bytes_goal=2_000,
)
READS_PER_S = 100.0
FAULTS = {"throttled", "lost request", "lost reply"}


@pytest.fixture(params=["kinesis_local", "kinesalite"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def make(server: Server, stream: str, *, shards: int = 2) -> Service:
    service = kinesis_service(stream, account=Account(endpoint=server.url))
    wanted = Params(log_id="0" * 32, partitions=PARTITIONS)
    create_kinesis_log(service, wanted, StreamOptions(shards=shards))
    return service


def open_log(server: Server, service: Service, **options: Any) -> KinesisLog:
    return KinesisLog(
        service.stream, account=Account(endpoint=server.url), reads_per_s=READS_PER_S, **options
    )


def count_failed(log: KinesisLog) -> int:
    """Records that were sent in vain; what nobody has taken counts as what was throttled."""
    return log.counters.failed + log.counters.throttled


def test_shards_split_and_merge_under_load_and_faults(
    server: Server, stream_name: Callable[[], str]
) -> None:
    """A reader follows all the while and sees what one sees that reads it all afterwards."""
    service = make(server, stream_name())
    faults = Faults(seed=4)
    log = open_log(server, service, connect=faults.connect(server.url))
    ledger, following = Ledger(), open_log(server, service)
    follower = Reader(following)
    followed: Counter[int] = Counter()

    def follow() -> None:
        while (runs := follower.read()) is not None:
            for run in runs:
                followed[run.partition] += len(run.columns)

    steps: list[Callable[[], object]] = [
        lambda: split(service, 0),
        lambda: split(service, 2),
        lambda: merge(service, 0),
        lambda: merge(service, 1),
    ]
    with contextlib.closing(log), Producer(log, options=OPTIONS) as producer:
        for number, step in enumerate(steps):
            for part in range(6):
                at = (number * 6 + part) * 20
                ledger.publish(producer, "a", range(at, at + 20))
                if part == 3:
                    step()
                follow()
            producer.flush(PATIENCE_S)
        count = 480
        while not faults.met.keys() >= FAULTS:  # how many calls there were is the machine's affair
            ledger.publish(producer, "a", range(count, count + 20))
            count += 20
            producer.flush(PATIENCE_S)
    follower.extend(horizon_of(following))
    follow()
    following.close()
    assert ledger.count(Outcome.ACKNOWLEDGED) == count
    with contextlib.closing(open_log(server, service)) as reading:
        met = ledger.check(reading)
        assert len(reading.shards()) == 2 + 2 + 2 + 1 + 1
        assert sum(shard.closed for shard in reading.shards()) == 6
        whole = Reader(reading, horizon=horizon_of(reading))
        while whole.read() is not None:
            pass
        digests = [whole.checkpoint(p).digest for p in whole.partitions]
    assert met["duplicates"] > 0
    assert met["accepted"] == count == sum(followed.values())
    assert [follower.checkpoint(p).digest for p in follower.partitions] == digests
    service.call("delete_stream", StreamName=service.stream)


def test_a_reader_goes_on_from_a_checkpoint_in_a_closed_shard(
    server: Server, stream_name: Callable[[], str]
) -> None:
    service = make(server, stream_name(), shards=1)
    with contextlib.closing(open_log(server, service)) as log:
        with Producer(log, options=OPTIONS) as producer:
            ledger = Ledger()
            ledger.publish(producer, "a", range(40))
            producer.flush(PATIENCE_S)
            first = Reader(log, page_bytes=1)
            for _ in range(3 + PARTITIONS):
                first.read()
            starts = {}
            for partition in first.partitions:
                at = first.checkpoint(partition)
                starts[partition] = Start(at.position, at.state, at.applied)
            done = sum(first.vector().values())
            split(service, 0)
            ledger.publish(producer, "a", range(40, 80))
        second, count = Reader(log, starts=starts, horizon=horizon_of(log)), 0
        while (runs := second.read()) is not None:
            count += sum(len(run.columns) for run in runs)
        assert 0 < done < 40
        assert done + count == 80
        ledger.check(log)
        [parent, *children] = log.shards()
        assert [child.parents for child in children] == [(parent.id,)] * 2
        assert log.read(Position(parent.id, -1)).next.shard == parent.id
    service.call("delete_stream", StreamName=service.stream)


def test_a_service_that_is_killed_loses_nothing_that_was_acknowledged(
    tmp_path: Path, kinesalite: Server, stream_name: Callable[[], str]
) -> None:
    """With SIGKILL, in the middle of load; the producer goes on when it is back."""
    server = Server(KINESALITE, tmp_path)
    try:
        service = make(server, stream_name())
        ledger = Ledger()
        with (
            contextlib.closing(open_log(server, service)) as log,
            Producer(log, options=OPTIONS) as producer,
        ):
            for turn in range(2):
                for part in range(5):
                    at = (turn * 5 + part) * 20
                    ledger.publish(producer, "a", range(at, at + 20))
                    time.sleep(0.01)
                server.kill()
                failed = count_failed(log)
                ledger.publish(producer, "b", range(turn * 20, turn * 20 + 20))
                until(lambda: count_failed(log) > failed, "a put that reaches nobody")  # noqa: B023
                server = Server(KINESALITE, tmp_path, port=server.port)
                producer.flush(PATIENCE_S)
        assert ledger.count(Outcome.ACKNOWLEDGED) == 240
        with contextlib.closing(open_log(server, service)) as reading:
            ledger.check(reading)
    finally:
        server.kill()
