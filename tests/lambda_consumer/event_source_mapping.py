"""An event source mapping of a Kinesis stream, one step at a time, as AWS documents it.

* https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html: batches by size, window and bytes;
  a shard is split into lanes by partition key (``ParallelizationFactor``), each lane in order, one
  invocation at a time; parents before children.
* https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html and
  services-kinesis-batchfailurereporting.html: what an error, a time-out and a partial response come
  to; the lowest sequence number reported is the checkpoint; bisecting; retries and age, which drop.

Not documented, so both happen, by chance: whether what is delivered again after a partial response
comes with newer records of its lane; in which order lanes are served. `restart` is what the service
does at any time: what was finished beyond the lowest unfinished record of a shard comes again.

Chance comes from a ``Random``, time from a clock: the same seed is the same history.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import md5
from random import Random
from typing import Any, NamedTuple, Protocol

from binlog.clock import Clock

PAYLOAD_BYTES_MAX = 6 * 1024 * 1024  # of an invocation, base64 and all (service limit)
STREAM_ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/{}"


class SourceRecord(NamedTuple):
    sequence: int
    arrival_ms: int
    key: str
    data: bytes


class SourceShard(NamedTuple):
    id: str
    parents: tuple[str, ...]
    closed: bool  # nothing is put into it any more


class Source(Protocol):
    """A stream as the poller sees it."""

    arn: str

    def shards(self) -> list[SourceShard]: ...

    def read(self, shard: str, after: int) -> list[SourceRecord]:
        """Everything after a sequence number; -1: from the beginning."""


class DoubleSource:
    """A stream of `tests.log.kinesis_double`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.arn = STREAM_ARN.format(stream.name)

    def shards(self) -> list[SourceShard]:
        return [
            SourceShard(s.id, s.parents, s.closed_ms is not None)
            for s in self._stream.shards.values()
        ]

    def read(self, shard: str, after: int) -> list[SourceRecord]:
        return [
            SourceRecord(r.sequence, r.arrival_ms, r.key, r.data)
            for r in self._stream.shards[shard].records
            if r.sequence > after
        ]


@dataclass(frozen=True)
class Settings:
    """Of the mapping, by the service's defaults but for the first."""

    report_batch_item_failures: bool = True
    batch_size: int = 100
    window_s: float = 0.0
    parallelization: int = 1
    bisect: bool = False
    retries: int = -1  # for ever
    age_s: int = -1

    def __post_init__(self) -> None:
        assert 1 <= self.parallelization <= 10
        assert 1 <= self.batch_size <= 10_000


class FailedError(Exception):
    """Raised by the invocation: the function's error, or its time-out."""


Invoke = Callable[[dict[str, Any]], Any]
"""Given the event, gives the response; raises `FailedError`."""


@dataclass
class _Batch:
    records: list[SourceRecord]
    attempts: int = 0


@dataclass
class _Lane:
    """One of a shard's, in order; what failed is before what was not tried."""

    waiting: deque[tuple[SourceRecord, int]] = field(default_factory=deque)  # with when it was read
    pending: deque[_Batch] = field(default_factory=deque)

    @property
    def lowest(self) -> int | None:
        if self.pending:
            return self.pending[0].records[0].sequence
        return self.waiting[0][0].sequence if self.waiting else None


@dataclass
class _Poll:
    """What the mapping knows of a shard."""

    cursor: int = -1
    lanes: list[_Lane] = field(default_factory=list)

    @property
    def lowest(self) -> int | None:
        """The first record that is not finished."""
        return min((x for lane in self.lanes if (x := lane.lowest) is not None), default=None)


class Mapping:
    """Calls ``invoke`` with events of the source's records; see the module."""

    def __init__(
        self,
        source: Source,
        invoke: Invoke,
        settings: Settings,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        self.settings = settings
        self.dropped: list[SourceRecord] = []  # retries exhausted, or too old
        self.delivered: list[tuple[str, int]] = []  # shard and sequence number, in order
        self.invocations = 0
        self.partial = 0
        self._source = source
        self._invoke = invoke
        self._clock = clock
        self._random = random
        self._polls: dict[str, _Poll] = {}

    # -- what the service does -------------------------------------------------------------------

    def step(self) -> bool:
        """One invocation, of some lane that has something to give; ``False`` if none has."""
        self._poll()
        ready = [
            (shard, poll, lane)
            for shard, poll in sorted(self._polls.items())
            for lane in poll.lanes
            if lane.pending or self._is_full(shard, lane)
        ]
        if not ready:
            return False
        shard, _, lane = self._random.choice(ready)
        if not lane.pending:
            lane.pending.append(self._batch_of(lane, []))
        self._deliver(shard, lane)
        return True

    def run(self, steps_max: int = 10_000) -> None:
        """Until everything is delivered.

        Raises:
            AssertionError: it is not after so many invocations.
        """
        for _ in range(steps_max):
            if not self.step():
                return
        raise AssertionError(f"{steps_max} invocations, and still something left: {self.stuck()}")

    def stuck(self) -> dict[str, int]:
        """Of every shard that is not finished the first record that is not."""
        return {s: low for s, p in sorted(self._polls.items()) if (low := p.lowest) is not None}

    def is_due(self) -> bool:
        """Whether some lane waits for its window."""
        return any(lane.waiting for poll in self._polls.values() for lane in poll.lanes)

    def restart(self, settings: Settings | None = None) -> None:
        """Begin again at the checkpoint of every shard; with other settings, maybe."""
        self.settings = settings or self.settings
        for poll in self._polls.values():
            lowest = poll.lowest
            poll.cursor = poll.cursor if lowest is None else lowest - 1
            poll.lanes = self._new_lanes()

    # -- polling ---------------------------------------------------------------------------------

    def _poll(self) -> None:
        now_ms = self._clock.now_ms()
        shards = {shard.id: shard for shard in self._source.shards()}
        for shard in shards.values():
            if not all(self._is_finished(shards[p]) for p in shard.parents if p in shards):
                continue
            poll = self._polls.setdefault(shard.id, _Poll(lanes=self._new_lanes()))
            for record in self._source.read(shard.id, poll.cursor):
                lane = poll.lanes[self._lane_of(record.key)]
                lane.waiting.append((record, now_ms))
                poll.cursor = record.sequence

    def _is_finished(self, shard: SourceShard) -> bool:
        poll = self._polls.get(shard.id)
        if poll is None or not shard.closed or poll.lowest is not None:
            return False
        return not self._source.read(shard.id, poll.cursor)

    def _new_lanes(self) -> list[_Lane]:
        return [_Lane() for _ in range(self.settings.parallelization)]

    def _lane_of(self, key: str) -> int:
        digest = md5(key.encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest, "big") % self.settings.parallelization

    def _is_full(self, shard: str, lane: _Lane) -> bool:
        """Whether a batch may be made: enough of it, or its window is over."""
        if not lane.waiting:
            return False
        if len(lane.waiting) >= self.settings.batch_size:
            return True
        if next(s.closed for s in self._source.shards() if s.id == shard):
            return True
        return self._clock.now_ms() - lane.waiting[0][1] >= self.settings.window_s * 1000

    def _batch_of(self, lane: _Lane, begun: list[SourceRecord]) -> _Batch:
        """``begun`` and what comes after it, up to the limits."""
        records = list(begun)
        size = sum(len(r.data) * 4 // 3 + 500 for r in records)
        while lane.waiting and len(records) < self.settings.batch_size:
            record = lane.waiting[0][0]
            size += len(record.data) * 4 // 3 + 500
            if records and size > PAYLOAD_BYTES_MAX:
                break
            records.append(lane.waiting.popleft()[0])
        return _Batch(records)

    # -- invocations -----------------------------------------------------------------------------

    def _deliver(self, shard: str, lane: _Lane) -> None:
        batch = lane.pending[0]
        self._drop_old(batch)
        if not batch.records:
            lane.pending.popleft()
            return
        self.invocations += 1
        self.delivered += [(shard, record.sequence) for record in batch.records]
        event = event_of(shard, batch.records, self._source.arn)
        try:
            response = self._invoke(event)
        except FailedError:
            self._retry(lane, batch)
            return
        kept = self._kept_of(response, batch)
        if kept == 0:
            self._retry(lane, batch)
        elif kept is None:
            lane.pending.popleft()
        else:
            self.partial += 1
            self._retry_rest(lane, batch, kept)

    def _kept_of(self, response: Any, batch: _Batch) -> int | None:
        """How many of the batch are done: ``None`` all, 0 none."""
        if not self.settings.report_batch_item_failures:
            return None
        failures = (response or {}).get("batchItemFailures") or []
        if not failures:
            return None
        sequences = [str(record.sequence) for record in batch.records]
        reported = [each.get("itemIdentifier") for each in failures]
        if any(each not in sequences for each in reported):
            return 0  # empty, null, or none of this batch: all of it has failed
        return min(sequences.index(each) for each in reported)

    def _retry(self, lane: _Lane, batch: _Batch) -> None:
        """All of it."""
        if self.settings.bisect and len(batch.records) > 1:
            middle = len(batch.records) // 2
            lane.pending.popleft()
            lane.pending.appendleft(_Batch(batch.records[middle:]))
            lane.pending.appendleft(_Batch(batch.records[:middle]))
            return
        batch.attempts += 1
        if 0 <= self.settings.retries < batch.attempts:
            self.dropped += batch.records
            lane.pending.popleft()

    def _retry_rest(self, lane: _Lane, batch: _Batch, kept: int) -> None:
        lane.pending.popleft()
        rest = _Batch(batch.records[kept:], batch.attempts + 1)
        if 0 <= self.settings.retries < rest.attempts:
            self.dropped += rest.records
            return
        if not lane.pending and self._random.random() < 0.5:
            rest.records = self._batch_of(lane, rest.records).records
        lane.pending.appendleft(rest)

    def _drop_old(self, batch: _Batch) -> None:
        if self.settings.age_s < 0:
            return
        edge_ms = self._clock.now_ms() - self.settings.age_s * 1000
        self.dropped += [r for r in batch.records if r.arrival_ms < edge_ms]
        batch.records = [r for r in batch.records if r.arrival_ms >= edge_ms]


def event_of(shard: str, records: Iterable[SourceRecord], arn: str) -> dict[str, Any]:
    """The event of a batch, as functions get it: arrival in seconds, a float."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": record.key,
                    "sequenceNumber": str(record.sequence),
                    "data": base64.b64encode(record.data).decode("ascii"),
                    "approximateArrivalTimestamp": record.arrival_ms / 1000,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{shard}:{record.sequence}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::000000000000:role/applier",
                "awsRegion": "us-east-1",
                "eventSourceARN": arn,
            }
            for record in records
        ]
    }


def batches(source: Source, size: int) -> Iterator[tuple[str, Sequence[SourceRecord]]]:
    """All records by shard, parents first, in batches: the plainest history there is."""
    for shard in source.shards():
        records = source.read(shard.id, -1)
        for at in range(0, len(records), size):
            yield shard.id, records[at : at + size]


def other_factor(settings: Settings, factor: int) -> Settings:
    """The same with another ``ParallelizationFactor``, as somebody may set at any time."""
    return replace(settings, parallelization=factor)
