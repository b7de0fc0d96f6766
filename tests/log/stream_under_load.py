"""A stream in the Kinesis double that never pauses: whenever it is read, others write to it first."""

from __future__ import annotations

from random import Random

from binlog.clock import Clock
from binlog.log import Appended
from binlog.logs.kinesis import KinesisLog
from binlog.partition import explicit_hash_key, ordering_key, partition_of
from binlog.values import encode_value
from tests.log.kinesis_world import KinesisWorld
from tests.log.log_frames import PARAMS, put

KEYS = {  # one of each partition
    partition_of(ordering_key("table", encode_value({"id": f"k{n}"})), PARAMS.partitions): f"k{n}"
    for n in range(50)
}


class EndlessError(BaseException):
    """A reader went on and on. Nobody takes it for an error of the service."""


class OwnClock:
    """A reader's clock: its wall time is off, and its monotonic one stood still while it slept."""

    def __init__(self, clock: Clock, *, off_ms: int = 0) -> None:
        self._clock = clock
        self.off_ms = off_ms
        self.asleep_ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.off_ms

    def monotonic(self) -> float:
        return self._clock.monotonic() - self.asleep_ms / 1000


class Load:
    """Producers; what was acknowledged is counted, and so is an offset: each event is a frame."""

    def __init__(self, random: Random, *, shards: int = 1) -> None:
        self.random = random
        self.world = KinesisWorld(shards=shards)
        self.acknowledged = dict.fromkeys(range(PARAMS.partitions), 0)
        self.puts_a_read = (1, 4)
        self.reshards = 0.0  # how often, for a read
        self.takes_ms = (1, 400)  # a call
        self.reads_max = 500  # who has not come to an end by then never does
        self._log = self.world.open()
        self._calls = 0

    def put(self, partition: int | None = None) -> None:
        """One event, to its acknowledgement."""
        home = self.random.randrange(PARAMS.partitions) if partition is None else partition
        number = self.acknowledged[home] + 1
        key = encode_value({"id": KEYS[home]})
        data = encode_value({"id": KEYS[home], "n": number})
        [reply] = self._log.append([put(number, partition=home, key=key, data=data)])
        assert isinstance(reply, Appended)
        self.acknowledged[home] = number

    def reshard(self, *, unlisted: int = 0) -> None:
        """Split a shard, or merge two; lists leave the children out so many times."""
        stream, random = self.world.stream, self.random
        open_ = sorted((s.low, s.id) for s in stream.shards.values() if s.closed_ms is None)
        now_ms = self.world.clock.now_ms()
        at = random.randrange(len(open_))
        if len(open_) > 1 and random.random() < 0.5:
            at = max(at, 1)
            children = [stream.merge(open_[at - 1][1], open_[at][1], now_ms)]
        else:
            shard = stream.shards[open_[at][1]]
            inside = [
                key
                for p in range(PARAMS.partitions)
                if shard.low < (key := explicit_hash_key(p, PARAMS.partitions)) <= shard.high
            ]
            if not inside:
                return
            children = list(stream.split(shard.id, random.choice(inside), now_ms))
        stream.unlisted |= dict.fromkeys(children, unlisted) if unlisted else {}

    def begin(self) -> None:
        """From now on nobody reads before others have written."""
        self._calls = 0
        self.world.double.before_reads = self._before_read

    def end(self) -> None:
        """Pause."""
        self.world.double.before_reads = lambda: None

    def _before_read(self) -> None:
        self._calls += 1
        if self._calls > self.reads_max:
            raise EndlessError(f"{self._calls} reads, and more is written at each of them")
        for _ in range(self.random.randint(*self.puts_a_read)):
            self.put()
        if self.random.random() < self.reshards:
            self.reshard(unlisted=self.random.choice([0, 0, 1, 3]))
        self.world.clock.advance(self.random.randint(*self.takes_ms))

    def open(self, clock: Clock | None = None, *, pages_ahead: int = 0) -> KinesisLog:
        """A reader's own handle."""
        return KinesisLog(
            "s",
            connect=self.world.double.connect,
            clock=clock or self.world.clock,
            pause=self.world.pause,
            reads_per_s=1_000.0,
            pages_ahead=pages_ahead,
        )
