"""Kinesis's control calls on one stream, in our words: what it is, how it is, its shards and tags."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from binlog.aws.clients import Clients
from binlog.aws.errors import error_code, trouble
from binlog.clock import Clock
from binlog.errors import BinlogError, RefusedError, StorageError
from binlog.log import Shard
from binlog.logs.kinesis_client import ServiceTime
from binlog.logs.kinesis_shards import list_shards, shards_of

_ACTIVE_S, _RETRY_S = 300.0, 60.0
_POLL_FIRST_S, _POLL_MOST_S = 0.1, 2.0
_SURVEY_CALLS = 4  # GetRecords on a shard that seems to be empty


class Summary(msgspec.Struct, frozen=True):
    """A stream as it is described."""

    arn: str
    status: str
    created_ms: int
    retention_hours: int
    kms_key: str | None
    distribution: str | None

    @property
    def log_id(self) -> str:
        """The id of the log in this stream: of this one, not of a later one of the same name."""
        return sha256(f"binlog log\n{self.arn}\n{self.created_ms}".encode()).hexdigest()[:32]


class Service:
    """The control calls on one stream."""

    def __init__(
        self,
        name: str,
        stream: str,
        clients: Clients,
        time: ServiceTime,
        clock: Clock,
        pause: Callable[[float], None],
    ) -> None:
        self.name = name
        self.stream = stream
        self.clients = clients
        self.time = time
        self.clock = clock
        self.pause = pause

    def call(self, operation: str, **request: Any) -> Any:
        """One call.

        Raises:
            BinlogError: as `trouble` says; the SDK's error is its cause.
        """
        try:
            reply = getattr(self.clients.calls, operation)(**request)
        except BinlogError:
            raise
        except Exception as error:
            raise trouble(error, self.name) from error
        self.time.hear(reply)
        return reply

    def describe(self) -> Summary:
        """The stream, if a log can be in it.

        Raises:
            RefusedError: no such stream, one that ignores our hash keys, or replies without a Date.
        """
        reply = self.call("describe_stream_summary", StreamName=self.stream)
        if not self.time.now_ms():
            # A session without a birth is expired to every reader, whatever was acknowledged.
            raise RefusedError(
                "the service's replies have no Date, by which births and acknowledgements go",
                self.name,
                "does a proxy take it away?",
            )
        found = reply["StreamDescriptionSummary"]
        summary = Summary(
            arn=found["StreamARN"],
            status=found["StreamStatus"],
            created_ms=round(found["StreamCreationTimestamp"].timestamp() * 1000),
            retention_hours=found["RetentionPeriodHours"],
            kms_key=found.get("KeyId") if found.get("EncryptionType") == "KMS" else None,
            distribution=found.get("RecordDistributionStrategy"),
        )
        if summary.status == "DELETING":
            raise RefusedError("the stream is being deleted", self.name, "wait, and make it again")
        if summary.distribution == "AUTO":
            raise RefusedError(
                "the stream distributes records by itself (RecordDistributionStrategy AUTO)",
                self.name,
                "it keeps no order: set it to the explicit strategy, or take another stream",
            )
        return summary

    def wait(self, until: Callable[[Summary], bool]) -> Summary:
        """The stream's description when it is so.

        Raises:
            StorageError: it was not in time.
        """
        deadline, pause_s = self.clock.monotonic() + _ACTIVE_S, _POLL_FIRST_S
        while True:
            try:
                summary = self.describe()
                if summary.status == "ACTIVE" and until(summary):
                    return summary
            except RefusedError as error:  # just made, and not known everywhere
                if error.__cause__ is None or not is_missing(error):
                    raise
            if self.clock.monotonic() > deadline:
                raise StorageError(f"not ready in {_ACTIVE_S:g} s", self.name, "try again")
            self.pause(pause_s)
            pause_s = min(pause_s * 1.5, _POLL_MOST_S)

    def retry(self, attempt: Callable[[], BinlogError | None]) -> None:
        """Repeat an attempt until it leaves no error, for a while.

        Raises:
            BinlogError: what the last attempt left.
        """
        deadline, pause_s = self.clock.monotonic() + _RETRY_S, _POLL_FIRST_S
        while (error := attempt()) is not None:
            if not error.retriable or self.clock.monotonic() > deadline:
                raise error
            self.pause(pause_s)
            pause_s = min(pause_s * 1.5, _POLL_MOST_S)

    def tags(self) -> dict[str, str]:
        found: dict[str, str] = {}
        more: dict[str, str] = {}
        while True:
            reply = self.call("list_tags_for_stream", StreamName=self.stream, **more)
            found |= {tag["Key"]: tag.get("Value", "") for tag in reply["Tags"]}
            if not reply.get("HasMoreTags") or not reply["Tags"]:
                return found
            more = {"ExclusiveStartTagKey": reply["Tags"][-1]["Key"]}

    def first_records(self, shard: str) -> list[tuple[str, bytes]]:
        """What stands at the beginning of a shard now: partition key and data, 10,000 at most."""
        place = {"ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
        reply = self.call("get_shard_iterator", StreamName=self.stream, **place)
        iterator: str | None = reply["ShardIterator"]
        for _ in range(_SURVEY_CALLS):
            if iterator is None:
                break
            page = self.call("get_records", ShardIterator=iterator, Limit=10_000)
            if page["Records"]:
                return [(each["PartitionKey"], bytes(each["Data"])) for each in page["Records"]]
            if not page.get("MillisBehindLatest"):
                break
            iterator = page.get("NextShardIterator")
        return []

    def shard_ids(self) -> list[str]:
        return [each["ShardId"] for each in self._listed()]

    def shards(self, partitions: int, **options: Any) -> list[Shard]:
        """All of them, parents first; see `binlog.logs.kinesis_shards`."""
        return shards_of(self._listed(**options), partitions, self.name)

    def _listed(self, **options: Any) -> list[Any]:
        try:
            return list(list_shards(self.clients.calls, self.stream, **options))
        except BinlogError:
            raise
        except Exception as error:
            raise trouble(error, self.name) from error


def is_missing(error: BinlogError) -> bool:
    """Whether an error of `Service.call` says that there is no such stream."""
    cause = error.__cause__
    return cause is not None and error_code(cause) == "ResourceNotFoundException"
