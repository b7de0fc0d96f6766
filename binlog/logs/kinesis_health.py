"""What of a stream can be wrong for a log: its mode, order, limits, retention, its readers' budgets.

Service limits: https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from binlog.aws.account import Account, connector
from binlog.aws.identity import ATTEMPTS, READ_TIMEOUT_S
from binlog.aws.permissions import Probe
from binlog.clock import Clock
from binlog.errors import BinlogError
from binlog.health import Finding
from binlog.logs.kinesis import kinesis_service
from binlog.logs.kinesis_service import Service
from binlog.logs.kinesis_stream import EDGE_MS, RETENTION_MIN_MS
from binlog.params import Params

HOUR_MS = 3_600_000
READS_PER_S = 5.0  # GetRecords calls that a shard answers a second, for all its readers together
READ_MIB_PER_S, WRITE_MIB_PER_S = 2, 1  # of a shard; the first for all its readers together
ON_DEMAND_SHARDS = 4  # what a new stream on demand takes, in shares of a shard
RECORD_KIB_MIN = 1024
LAMBDA_RECORD_KIB = 4_608  # what a Lambda invocation can carry of data (4.5 MiB)
_DAY_H = 24


def questions(stream: str, account: Account, clock: Clock) -> Service:
    """Control calls whose failure is an answer, too: it does not wait long for another."""
    name = f"kinesis://{stream}"
    calls = connector(
        account, "kinesis", name, total_max_attempts=ATTEMPTS, read_timeout_s=READ_TIMEOUT_S
    )
    return kinesis_service(stream, connect=lambda _: calls(), clock=clock)


class StreamHealth:
    """One stream as the service describes it, whether a log can be in it or not."""

    def __init__(self, service: Service, clock: Clock) -> None:
        """One DescribeStreamSummary.

        Raises:
            BinlogError: as `binlog.aws.errors.trouble` says.
        """
        self.name = service.name
        self.asked_ms = clock.now_ms()
        self.reply = service.call("describe_stream_summary", StreamName=service.stream)
        self.heard_ms = clock.now_ms()
        self._found: Mapping[str, Any] = self.reply["StreamDescriptionSummary"]
        self._known = _members(service)

    @property
    def arn(self) -> str:
        return str(self._found["StreamARN"])

    @property
    def kms_key(self) -> str | None:
        key = self._found.get("KeyId") if self._found.get("EncryptionType") == "KMS" else None
        return None if key is None else str(key)

    @property
    def retention_ms(self) -> int:
        hours: int = self._found["RetentionPeriodHours"]
        return hours * HOUR_MS

    @property
    def created_ms(self) -> int:
        created: datetime = self._found["StreamCreationTimestamp"]
        return round(created.timestamp() * 1000)

    def findings(self, params: Params | None) -> Iterator[Finding]:
        """``params``: the log's, where there is one."""
        yield self._status()
        yield self._mode(params)
        yield self._limits()
        yield self._order()
        yield self._record_size(params)
        yield self._encryption()

    def _finding(self, check: str, state: Any, what: str, do: str = "") -> Finding:
        return Finding(check, state, what, self.name, do)

    def _status(self) -> Finding:
        status = str(self._found["StreamStatus"])
        if status == "ACTIVE":
            return self._finding("stream", "ok", f"ACTIVE, {self.arn}")
        if status == "UPDATING":
            return self._finding("stream", "noted", "UPDATING: it is being split, merged or set up")
        do = "wait until it is ACTIVE" if status == "CREATING" else "make it again: it will be gone"
        return self._finding("stream", "unhealthy", status, do)

    def _mode(self, params: Params | None) -> Finding:
        details = self._found.get("StreamModeDetails") or {}
        mode = {"ON_DEMAND": "on demand", "PROVISIONED": "provisioned"}.get(
            details.get("StreamMode", "PROVISIONED"), str(details.get("StreamMode"))
        )
        shards = int(self._found.get("OpenShardCount", 0))
        partitions = "" if params is None else f" for {params.partitions} partitions"
        what = f"{mode}, {shards} open shard{'s' * (shards != 1)}{partitions}"
        if params is not None and mode == "provisioned" and shards > params.partitions:
            idle = shards - params.partitions
            do = f"merge: at least {idle} of them hold no partition, and are paid for"
            return self._finding("mode", "noted", what, do)
        return self._finding("mode", "ok", what)

    def _limits(self) -> Finding:
        if (self._found.get("StreamModeDetails") or {}).get("StreamMode") == "ON_DEMAND":
            what = "takes twice its peak of the last 30 days, and a new one"
            new = ON_DEMAND_SHARDS
        else:
            what, new = "takes", int(self._found.get("OpenShardCount", 0))
        what += (
            f" {WRITE_MIB_PER_S * new:,} MB and {1_000 * new:,} records a second;"
            f" gives {READ_MIB_PER_S * new:,} MB to all readers; a partition has one shard's share"
        )
        return self._finding("limits", "ok", what)

    def _order(self) -> Finding:
        strategy = self._found.get("RecordDistributionStrategy")
        if strategy == "AUTO":
            return self._finding(
                "order",
                "unhealthy",
                "the stream distributes records by itself (RecordDistributionStrategy AUTO)",
                "it keeps no order: set it to the explicit strategy, or take another stream",
            )
        if "RecordDistributionStrategy" not in self._known:
            what = "how the stream distributes records is unknown to this botocore"
            return self._finding("order", "unknown", what, "pip install -U botocore")
        return self._finding("order", "ok", "records go where their hash keys say")

    def _record_size(self, params: Params | None) -> Finding:
        kib = self._found.get("MaxRecordSizeInKiB")
        if kib is None:
            if "MaxRecordSizeInKiB" not in self._known:
                what = "the largest record is unknown to this botocore"
                return self._finding("record size", "unknown", what, "pip install -U botocore")
            kib = RECORD_KIB_MIN
        what = f"records of {kib:,} KiB at most"
        wanted = 0 if params is None else -(-params.frame_bytes_max // 1024)
        if kib < wanted:
            do = f"aws kinesis update-max-record-size: frames of this log take {wanted:,} KiB"
            return self._finding("record size", "unhealthy", what, do)
        if kib > LAMBDA_RECORD_KIB:
            do = "a foreign record of that size stops a Lambda consumer, whose payload is smaller"
            return self._finding("record size", "noted", what, do)
        return self._finding("record size", "ok", what)

    def _encryption(self) -> Finding:
        if self.kms_key is None:
            do = f"aws kinesis start-stream-encryption --encryption-type KMS --key-id KEY, for {self.arn}"
            return self._finding("encryption", "noted", "not encrypted at rest", do)
        return self._finding("encryption", "ok", f"by {self.kms_key}")

    def good_until_ms(self, read_ms: int, seen_ms: int | None) -> int:
        """Until when one can go on from a place: while its record is there, or what came after is."""
        seen_until_ms = 0 if seen_ms is None else seen_ms + RETENTION_MIN_MS - EDGE_MS
        return max(read_ms + self.retention_ms, seen_until_ms)

    def retention(
        self, oldest_needed_ms: int | None, now_ms: int, *, seen_ms: int | None = None
    ) -> Finding:
        """``oldest_needed_ms``: arrival of what a store was last given, of the partition that is
        forgotten first; ``None`` without a store. ``seen_ms``: see `Checkpoint`.
        """  # noqa: D205
        hours = self.retention_ms // HOUR_MS
        raise_it = f"aws kinesis increase-stream-retention-period (it is {hours} h, at most 8,760)"
        if oldest_needed_ms is None:
            what = f"{hours} h"
            if hours <= _DAY_H:
                return self._finding(
                    "retention",
                    "noted",
                    f"{what}: who stands still for so long has lost its place",
                    raise_it,
                )
            return self._finding("retention", "ok", what)
        until_ms = self.good_until_ms(oldest_needed_ms, seen_ms)
        left_ms = until_ms - now_ms
        if seen_ms is not None and left_ms > 0 and until_ms > oldest_needed_ms + self.retention_ms:
            what = f"quiet, as last seen {_span(now_ms - seen_ms)} ago; to be seen again"
            state = "ok" if left_ms >= RETENTION_MIN_MS / 2 else "unhealthy"
            do = "" if state == "ok" else "binlog replicate, at least twice a day"
            return self._finding("retention", state, f"{what} within {_span(left_ms)}", do)
        since = _span(now_ms - oldest_needed_ms)
        behind = f"the store last read {since} ago in some partition"
        if left_ms <= 0:
            return self._finding(
                "retention",
                "unhealthy",
                f"{behind}, and the stream keeps {hours} h",
                "what is between is forgotten: begin from an archive or a snapshot",
            )
        what = f"{behind}; the stream forgets that place in {_span(left_ms)}"
        if left_ms < self.retention_ms / 2:
            do = f"binlog replicate, faster; or {raise_it}; to a quiet log append now and then"
            return self._finding("retention", "unhealthy", what, do)
        return self._finding("retention", "ok", what)

    def beginning(self, now_ms: int) -> Finding | None:
        """Whether the stream still has what a new replica begins with."""
        if now_ms - self.created_ms < self.retention_ms:
            return None
        return self._finding(
            "beginning",
            "noted",
            "the stream is older than its retention: it has forgotten its first records",
            "a new replica begins from an archive or a snapshot",
        )


def _span(ms: int) -> str:
    """``12 min``, ``23.5 h``, ``6.9 d``."""
    hours = max(0, ms) / HOUR_MS
    if hours < 2:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} d"


def reads_finding(reads: Sequence[float], where: str) -> Finding:
    """Whether the budgets of all readers together are within what a shard answers."""
    total, count = sum(reads), len(reads)
    shown = " + ".join(f"{each:g}" for each in reads)
    what = f"{shown} of {READS_PER_S:g} GetRecords calls a second and shard"
    if total > READS_PER_S:
        do = f"give each ?reads={READS_PER_S / count:.2g} or less: else they throttle each other"
        return Finding("reads", "unhealthy", f"{what}: {total - READS_PER_S:g} too many", where, do)
    most = READ_MIB_PER_S // WRITE_MIB_PER_S
    if count > most:
        what += f"; {count} readers of a full shard need {count} MB/s of its {READ_MIB_PER_S}"
        return Finding("reads", "noted", what, where, f"add shards, or let {most} read the stream")
    if total == READS_PER_S:
        do = "give ?reads=2.5, say, if anybody else reads the stream"
        return Finding("reads", "ok", f"{what}: nothing is left for another reader", where, do)
    return Finding("reads", "ok", what, where)


def probes(service: Service) -> Mapping[str, Probe]:
    """Harmless calls, in their order: each needs what the one before it found."""
    client, stream = service.clients.calls, service.stream
    found: dict[str, str] = {}

    def list_shards() -> None:
        page = client.list_shards(
            StreamName=stream, MaxResults=1, ShardFilter={"Type": "AT_LATEST"}
        )
        found["shard"] = page["Shards"][0]["ShardId"]

    def open_iterator() -> None:
        reply = client.get_shard_iterator(
            StreamName=stream,
            ShardId=found.get("shard", "shardId-000000000000"),
            ShardIteratorType="LATEST",
        )
        found["iterator"] = reply["ShardIterator"]

    def get_records() -> None:
        if "iterator" not in found:
            raise BinlogError("there is no iterator to ask with")
        client.get_records(ShardIterator=found["iterator"], Limit=1)

    return {
        "kinesis:DescribeStreamSummary": lambda: client.describe_stream_summary(StreamName=stream),
        "kinesis:ListTagsForStream": lambda: client.list_tags_for_stream(
            StreamName=stream, Limit=1
        ),
        "kinesis:ListShards": list_shards,
        "kinesis:GetShardIterator": open_iterator,
        "kinesis:GetRecords": get_records,
    }


def _members(service: Service) -> frozenset[str]:
    """What this SDK knows of a stream's description; the rest it drops."""
    model = service.clients.calls.meta.service_model.operation_model("DescribeStreamSummary")
    return frozenset(model.output_shape.members["StreamDescriptionSummary"].members)
