"""A log in the Kinesis double, for tests of one part at a time."""

from __future__ import annotations

from binlog.clock import ManualClock
from binlog.log import Position, Record
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import begin_kinesis_log
from binlog.logs.kinesis_service import Service
from binlog.params import encode_genesis
from tests.log.kinesis_double import KinesisDouble, StreamDouble
from tests.log.log_frames import PARAMS

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


class KinesisWorld:
    """A stream ``s`` of ``shards`` that holds the log of `PARAMS`, and its clock."""

    def __init__(self, shards: int = 1, *, reads_per_s: float = 1_000.0) -> None:
        self.clock = ManualClock(START_MS)
        self.double = KinesisDouble(self.clock)
        self.reads_per_s = reads_per_s
        self.pages_ahead = 0  # so that calls can be counted
        self.paused_ms = 0
        service = self.service()
        service.call("create_stream", StreamName="s", ShardCount=shards)
        service.wait(lambda _: True)
        begin_kinesis_log(service, encode_genesis(PARAMS), PARAMS)

    @property
    def stream(self) -> StreamDouble:
        return self.double.streams["s"]

    def pause(self, seconds: float) -> None:
        ms = max(1, round(seconds * 1_000))
        self.paused_ms += ms
        self.clock.advance(ms)

    def service(self, stream: str = "s") -> Service:
        return kinesis_service(
            stream, connect=self.double.connect, clock=self.clock, pause=self.pause
        )

    def open(self) -> KinesisLog:
        return KinesisLog(
            "s",
            connect=self.double.connect,
            clock=self.clock,
            pause=self.pause,
            reads_per_s=self.reads_per_s,
            pages_ahead=self.pages_ahead,
        )

    def foreign(self, key: str, data: bytes = b"hello", *, hash_key: int = 0) -> None:
        """A record as another program puts it."""
        record = {"PartitionKey": key, "ExplicitHashKey": str(hash_key), "Data": data}
        self.stream.land(record, self.clock.now_ms())


def read_shard(log: KinesisLog, after: Position, *, bytes_max: int = 1 << 20) -> list[Record]:
    """From a place to the end of its shard as it is now."""
    found: list[Record] = []
    while True:
        page = log.read(after, bytes_max=bytes_max)
        found += page.records
        after = page.next
        if page.caught_up:
            return found


def read_lineage(log: KinesisLog) -> list[Record]:
    """All there is, parents first."""
    return [record for shard in log.shards() for record in read_shard(log, Position(shard.id, -1))]
