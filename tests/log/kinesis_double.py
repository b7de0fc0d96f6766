"""Kinesis in this process, as its clients meet it: the calls of boto3's client, and its errors.

It is a reference of what we rely on, and as hostile as the service on request: see the fields of
`KinesisDouble` and `Fault`. Time is the clock's; a reply's Date has whole seconds, as theirs has.
"""

# ruff: noqa: N803, N806 - the service's own names of its arguments

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from binlog.clock import Clock

HASH_MAX = 2**128 - 1
FIRST_SEQUENCE = 49 * 10**54
STEP = 10**20 + 1
HOUR_MS = 3_600_000
PAGE_BYTES_MAX = 10 * 1024 * 1024


class Fault(NamedTuple):
    """What becomes of a PutRecords. ``of`` are the indexes of the records that it hits."""

    kind: Literal["throttle", "fail", "unreached", "lose request", "lose reply", "late", "error"]
    of: frozenset[int] = frozenset()
    code: str = ""


@dataclass
class Stored:
    sequence: int
    arrival_ms: int
    key: str
    data: bytes
    put_ms: int


@dataclass
class ShardDouble:
    id: str
    low: int
    high: int
    parents: tuple[str, ...] = ()
    records: list[Stored] = field(default_factory=list)
    first: int = FIRST_SEQUENCE
    opened_ms: int = 0
    closed_ms: int | None = None
    ever: int = 0  # records put, the forgotten ones too


def refusal(code: str, message: str = "no", status: int = 400, operation: str = "") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
        },
        operation,
    )


class KinesisDouble:
    """One account with any number of streams; hand `connect` to what makes clients."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.streams: dict[str, StreamDouble] = {}
        self.calls: Counter[str] = Counter()
        self.faults: deque[Fault | None] = deque()  # of the next PutRecords
        self.refuse: dict[str, ClientError] = {}  # operations that end so
        self.under_way: list[Callable[[], object]] = []  # late ones; call one to let it land
        self.page_records = 10_000
        self.page_shards = 1_000
        self.empty_pages = 0  # GetRecords that give nothing although there is something
        self.throttled_reads = 0  # GetRecords that are throttled
        self.behind_is_always_0 = False  # as kinesalite says
        self.trimmed_is: Literal["skipped", "refused"] = "skipped"
        self.counts_forgotten = False  # into a page, as kinesalite does; behind_is_always_0 with it
        self.before_reads: Callable[[], object] = lambda: None  # what others do meanwhile
        self.shown_after_ms = 0  # what is younger is not given yet, and counts as being behind
        self.silent_ends = 0  # replies at the end of a closed shard that do not say so yet
        self.has_dates = True
        self.dates_ahead: deque[int] = deque()  # ms, of the next replies
        self.sent: list[list[dict[str, Any]]] = []
        self._iterators: dict[str, tuple[str, str, int]] = {}  # stream, shard, next sequence
        self._numbers = count(1)
        self._lock = threading.RLock()  # of what is counted down above; a stream has its own

    def connect(self, puts: bool) -> KinesisDouble:  # noqa: ARG002
        return self

    def close(self) -> None:
        pass

    def expire_iterators(self) -> None:
        self._iterators.clear()

    # -- the client's calls ----------------------------------------------------------------------

    def create_stream(self, *, StreamName: str, **mode: Any) -> dict[str, Any]:
        self._called("create_stream")
        if StreamName in self.streams:
            raise refusal("ResourceInUseException")
        self.streams[StreamName] = StreamDouble(
            self.clock.now_ms(), StreamName, mode.get("ShardCount", 4)
        )
        return self._reply()

    def describe_stream_summary(self, *, StreamName: str) -> dict[str, Any]:
        self._called("describe_stream_summary")
        stream = self._stream(StreamName)
        return self._reply(
            StreamDescriptionSummary={
                "StreamName": StreamName,
                "StreamARN": f"arn:aws:kinesis:us-east-1:000000000000:stream/{StreamName}",
                "StreamStatus": stream.status.popleft() if stream.status else "ACTIVE",
                "StreamCreationTimestamp": moment(stream.created_ms),
                "RetentionPeriodHours": stream.retention_hours,
                **stream.described,
            }
        )

    def list_tags_for_stream(
        self, *, StreamName: str, ExclusiveStartTagKey: str = ""
    ) -> dict[str, Any]:
        self._called("list_tags_for_stream")
        tags = sorted(self._stream(StreamName).tags.items())
        left = [{"Key": k, "Value": v} for k, v in tags if k > ExclusiveStartTagKey]
        return self._reply(Tags=left[:1], HasMoreTags=len(left) > 1)

    def add_tags_to_stream(self, *, StreamName: str, Tags: dict[str, str]) -> dict[str, Any]:
        self._called("add_tags_to_stream")
        assert all(len(key) <= 128 and len(value) <= 256 for key, value in Tags.items())
        self._stream(StreamName).tags |= Tags
        return self._reply()

    def increase_stream_retention_period(
        self, *, StreamName: str, RetentionPeriodHours: int
    ) -> dict[str, Any]:
        self._called("increase_stream_retention_period")
        self._ready(StreamName).retention_hours = RetentionPeriodHours
        return self._reply()

    def start_stream_encryption(
        self, *, StreamName: str, EncryptionType: str, KeyId: str
    ) -> dict[str, Any]:
        self._called("start_stream_encryption")
        self._ready(StreamName).status.append("UPDATING")
        self._stream(StreamName).described |= {"EncryptionType": EncryptionType, "KeyId": KeyId}
        return self._reply()

    def list_shards(
        self,
        *,
        StreamName: str = "",
        MaxResults: int,
        NextToken: str = "",
        ShardFilter: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        self._called("list_shards")
        if NextToken:
            assert not StreamName, "the service refuses both"
            StreamName, _, after = NextToken.partition("/")
        else:
            after = ""
        stream = self._stream(StreamName)
        shards = [s for s in stream.listed(self.clock.now_ms()) if s.id > after]
        if ShardFilter is not None:
            assert ShardFilter == {"Type": "AT_TRIM_HORIZON"}
            edge = max(stream.edge_ms(self.clock.now_ms()), stream.created_ms)
            shards = [s for s in shards if s.opened_ms <= edge]
        size = min(MaxResults, self.page_shards)
        page = shards[:size]
        more = {"NextToken": f"{StreamName}/{page[-1].id}"} if len(shards) > size else {}
        return self._reply(Shards=[described(shard) for shard in page], **more)

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        self._called("put_records")
        assert 1 <= len(Records) <= 500
        keys = [record["PartitionKey"] for record in Records]
        assert len(set(keys)) == len(keys), "two records of one partition in a call"
        with self._lock:
            self.sent.append([dict(record) for record in Records])
            stream = self._ready(StreamName)
            fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            if fault.kind == "error":
                raise refusal(fault.code, status=500 if "Internal" in fault.code else 400)
            if fault.kind == "unreached":
                raise EndpointConnectionError(endpoint_url="http://localhost")
            if fault.kind == "late":
                self.under_way.append(lambda: self._land_all(stream, Records, frozenset()))
            if fault.kind in {"lose request", "late"}:
                raise ReadTimeoutError(endpoint_url="http://localhost")
        failing = fault.of if fault is not None else frozenset[int]()
        entries = self._land_all(stream, Records, failing, "" if fault is None else fault.kind)
        if fault is not None and fault.kind == "lose reply":
            raise ReadTimeoutError(endpoint_url="http://localhost")
        failed = sum("ErrorCode" in entry for entry in entries)
        return self._reply(FailedRecordCount=failed, Records=entries)

    def get_shard_iterator(
        self,
        *,
        StreamName: str,
        ShardId: str,
        ShardIteratorType: str,
        StartingSequenceNumber: str = "0",
    ) -> dict[str, Any]:
        self._called("get_shard_iterator")
        stream = self._stream(StreamName)
        if not self.counts_forgotten:
            stream.trim(self.clock.now_ms())
        shard = stream.shards.get(ShardId)
        if shard is None:
            raise refusal("ResourceNotFoundException", f"no shard {ShardId}")
        assert ShardIteratorType in {"TRIM_HORIZON", "AT_SEQUENCE_NUMBER"}
        at = 0
        if ShardIteratorType == "AT_SEQUENCE_NUMBER":
            at = int(StartingSequenceNumber)
            if self.trimmed_is == "refused" and not any(r.sequence == at for r in shard.records):
                raise refusal("InvalidArgumentException", f"no record {at}")
        return self._reply(ShardIterator=self._iterator(StreamName, ShardId, at))

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict[str, Any]:
        self.before_reads()
        self._called("get_records")
        if self._is_one_of("throttled_reads"):
            raise refusal("ProvisionedThroughputExceededException")
        if ShardIterator not in self._iterators:
            raise refusal("ExpiredIteratorException")
        name, shard_id, at = self._iterators[ShardIterator]
        with self._stream(name).lock:
            return self._page(name, shard_id, at, Limit)

    # -- inside ----------------------------------------------------------------------------------

    def _page(self, name: str, shard_id: str, at: int, limit: int) -> dict[str, Any]:
        stream = self._stream(name)
        if not self.counts_forgotten:
            stream.trim(self.clock.now_ms())
        shard = stream.shards[shard_id]
        left = shard.records[bisect_left(shard.records, at, key=attrgetter("sequence")) :]
        shown = len(left)
        if self.shown_after_ms:
            newest_ms = self.clock.now_ms() - self.shown_after_ms
            shown = next((n for n, r in enumerate(left) if r.put_ms > newest_ms), shown)
        page = left[: min(limit, self.page_records, shown)]
        while len(page) > 1 and sum(len(record.data) for record in page) > PAGE_BYTES_MAX:
            page.pop()
        if left and self._is_one_of("empty_pages"):
            page = []
        after = page[-1].sequence + 1 if page else at
        edge_ms = stream.edge_ms(self.clock.now_ms())
        behind = 1_000 if len(left) > len(page) and not self.behind_is_always_0 else 0
        ended = shard.closed_ms is not None and len(left) == len(page)
        if ended and self._is_one_of("silent_ends"):
            ended = False
        return self._reply(
            Records=[
                {
                    "SequenceNumber": str(record.sequence),
                    "ApproximateArrivalTimestamp": moment(record.arrival_ms),
                    "Data": record.data,
                    "PartitionKey": record.key,
                }
                for record in page
                if record.arrival_ms >= edge_ms
            ],
            NextShardIterator=None if ended else self._iterator(name, shard_id, after),
            MillisBehindLatest=behind,
        )

    def _is_one_of(self, name: str) -> bool:
        """Of calls that are counted down, each of which one thread has."""
        with self._lock:
            left: int = getattr(self, name)
            setattr(self, name, max(0, left - 1))
        return left > 0

    def _called(self, operation: str) -> None:
        with self._lock:
            self.calls[operation] += 1
        if operation in self.refuse:
            raise self.refuse[operation]

    def _reply(self, **fields: Any) -> dict[str, Any]:
        with self._lock:
            ahead_ms = self.dates_ahead.popleft() if self.dates_ahead else 0
        date = format_datetime(moment((self.clock.now_ms() + ahead_ms) // 1000 * 1000), usegmt=True)
        headers = {"date": date} if self.has_dates else {}
        return fields | {"ResponseMetadata": {"HTTPHeaders": headers}}

    def _stream(self, name: str) -> StreamDouble:
        if name not in self.streams:
            raise refusal("ResourceNotFoundException", f"Stream {name} not found")
        return self.streams[name]

    def _ready(self, name: str) -> StreamDouble:
        stream = self._stream(name)
        if stream.status:  # as its next description says
            raise refusal("ResourceInUseException", f"Stream {name} is {stream.status[0]}")
        return stream

    def _iterator(self, stream: str, shard: str, at: int) -> str:
        token = f"iterator-{next(self._numbers)}"
        self._iterators[token] = stream, shard, at
        return token

    def _land_all(
        self,
        stream: StreamDouble,
        records: list[dict[str, Any]],
        failing: frozenset[int],
        kind: str = "",
    ) -> list[dict[str, Any]]:
        code = {
            "throttle": "ProvisionedThroughputExceededException",
            "fail": "InternalFailure",
        }.get(kind, "")
        with stream.lock:
            return [
                {"ErrorCode": code, "ErrorMessage": "no"}
                if code and index in failing
                else stream.land(record, self.clock.now_ms())
                for index, record in enumerate(records)
            ]


class StreamDouble:
    """One stream. Any thread may call: none sees a shard in which another one has half done something."""

    def __init__(self, created_ms: int, name: str, shards: int) -> None:
        self.name = name
        self.created_ms = created_ms
        self.retention_hours = 24
        self.tags: dict[str, str] = {}
        self.described: dict[str, Any] = {}
        self.status: deque[str] = deque(["CREATING"])
        self.shards: dict[str, ShardDouble] = {}
        self.step = STEP
        self.arrives_off_ms: Callable[[], int] = lambda: 0  # of a record's own time
        self.unlisted: dict[str, int] = {}  # shards, and the lists in which they are left out
        self._numbers = count()
        self.lock = threading.RLock()
        for i in range(shards):
            low, high = i * 2**128 // shards, (i + 1) * 2**128 // shards - 1
            self._open(low, high, (), created_ms)

    def _open(self, low: int, high: int, parents: tuple[str, ...], now_ms: int) -> ShardDouble:
        number = next(self._numbers)
        shard = ShardDouble(f"shardId-{number:012d}", low, high, parents, opened_ms=now_ms)
        shard.first += number * 10**40 if parents else 0  # theirs grow over a split, too
        self.shards[shard.id] = shard
        return shard

    def land(self, record: dict[str, Any], now_ms: int) -> dict[str, Any]:
        key = int(record["ExplicitHashKey"])
        with self.lock:
            shard = next(
                s for s in self.shards.values() if s.closed_ms is None and s.low <= key <= s.high
            )
            sequence = shard.first + shard.ever * self.step
            shard.ever += 1
            arrival_ms = now_ms + self.arrives_off_ms()
            shard.records.append(
                Stored(sequence, arrival_ms, record["PartitionKey"], record["Data"], now_ms)
            )
        return {"SequenceNumber": str(sequence), "ShardId": shard.id}

    def split(self, shard_id: str, at: int, now_ms: int) -> tuple[str, str]:
        """At a hash key; ``at`` goes to the second child."""
        shard = self.shards[shard_id]
        with self.lock:
            shard.closed_ms = now_ms
            one = self._open(shard.low, at - 1, (shard_id,), now_ms)
            two = self._open(at, shard.high, (shard_id,), now_ms)
        return one.id, two.id

    def merge(self, first: str, second: str, now_ms: int) -> str:
        one, two = self.shards[first], self.shards[second]
        with self.lock:
            one.closed_ms = two.closed_ms = now_ms
            return self._open(one.low, two.high, (first, second), now_ms).id

    def edge_ms(self, now_ms: int) -> int:
        return now_ms - self.retention_hours * HOUR_MS

    def trim(self, now_ms: int) -> None:
        with self.lock:  # else what lands meanwhile would land in the list that is given up
            for shard in self.shards.values():
                shard.records = [r for r in shard.records if r.arrival_ms >= self.edge_ms(now_ms)]

    def listed(self, now_ms: int) -> list[ShardDouble]:
        edge = self.edge_ms(now_ms)
        with self.lock:
            hidden = {shard for shard, lists in self.unlisted.items() if lists > 0}
            self.unlisted = {s: lists - 1 for s, lists in self.unlisted.items() if lists > 1}
            return [
                s
                for s in self.shards.values()
                if s.id not in hidden and (s.closed_ms is None or s.closed_ms >= edge)
            ]


def described(shard: ShardDouble) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": str(shard.first)}
    if shard.closed_ms is not None:
        numbers["EndingSequenceNumber"] = str(2**63 - 1)
    parents = zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False)
    return {
        "ShardId": shard.id,
        "HashKeyRange": {"StartingHashKey": str(shard.low), "EndingHashKey": str(shard.high)},
        "SequenceNumberRange": numbers,
        **dict(parents),
    }


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
