"""What a run makes in the account, how that is known again, and how it goes.

Invariants:

* Every stream and table of a run has a name that begins with ``binlog-acceptance-RUN-`` and, from
  the call on that makes it, the tag ``binlog-acceptance`` with the same RUN.
* Nothing is deleted but what has both. RUN holds 32 random bits, so that nobody else's name does.
* A run removes what it made however it ends; what it cannot (SIGKILL, a network that is gone) a
  later run removes at its start, once it is `STALE_H` hours old: until then another may be at work.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from random import Random
from typing import Any, Literal, NamedTuple

from botocore.exceptions import ClientError

TAG = "binlog-acceptance"
STALE_H = 6
GONE_S = 300.0
TAGS_SHOWN_S = 10.0
_NAME = re.compile(r"binlog-acceptance-(\d{8}t\d{6}-[0-9a-f]{8})-[a-zA-Z0-9_.-]+")
_MISSING = frozenset({"ResourceNotFoundException"})
_IN_USE = frozenset({"ResourceInUseException"})
# Five streams may be in the making at a time (API_CreateStream.html), 500 tables.
_LATER = frozenset({"LimitExceededException", "ThrottlingException"})


class Run(NamedTuple):
    """One run: what its resources are called and tagged with."""

    id: str

    @classmethod
    def begin(cls, random: Random, now: datetime) -> Run:
        return cls(f"{now:%Y%m%dt%H%M%S}-{random.getrandbits(32):08x}")

    @property
    def prefix(self) -> str:
        return f"binlog-acceptance-{self.id}"

    @property
    def tags(self) -> dict[str, str]:
        return {TAG: self.id}

    def age_h(self, now: datetime) -> float:
        begun = datetime.strptime(self.id[:15], "%Y%m%dt%H%M%S").replace(tzinfo=UTC)
        return (now - begun).total_seconds() / 3600


class Resource(NamedTuple):
    """A stream or table of some run."""

    kind: Literal["stream", "table"]
    name: str
    run: Run


class Account:
    """The resources of runs in one account and region."""

    def __init__(
        self, kinesis: Any, dynamodb: Any, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.kinesis = kinesis
        self.dynamodb = dynamodb
        self._pause = pause

    # -- streams -------------------------------------------------------------------------------

    def make_stream(self, run: Run, name: str, shards: int) -> str:
        """An active stream of the run; its whole name."""
        stream = f"{run.prefix}-{name}"
        self._patiently(
            lambda: self.kinesis.create_stream(
                StreamName=stream, ShardCount=shards, Tags=dict(run.tags)
            ),
            _IN_USE,  # by a call of ours whose reply was lost
        )
        self.wait_for(stream)
        return stream

    def wait_for(self, stream: str) -> None:
        """Until the stream is active.

        Raises:
            TimeoutError: it was not in time.
        """
        until = time.monotonic() + GONE_S
        while self._status(stream) != "ACTIVE":
            if time.monotonic() > until:
                raise TimeoutError(f"{stream} is not active after {GONE_S:g} s")
            self._pause(0.2)

    def _status(self, stream: str) -> str:
        try:
            reply = self.kinesis.describe_stream_summary(StreamName=stream)
        except ClientError as error:
            if _code(error) in _MISSING:  # just made, and not known everywhere
                return "CREATING"
            raise
        return str(reply["StreamDescriptionSummary"]["StreamStatus"])

    # -- all of them ---------------------------------------------------------------------------

    def find(self, *kinds: Literal["stream", "table"]) -> list[Resource]:
        """Those that have the names of runs; whether they are of one, their tags say."""
        named: list[Resource] = []
        if "stream" in kinds or not kinds:
            for page in self.kinesis.get_paginator("list_streams").paginate():
                named += _named("stream", page["StreamNames"])
        if "table" in kinds or not kinds:
            for page in self.dynamodb.get_paginator("list_tables").paginate():
                named += _named("table", page["TableNames"])
        return named

    def is_ours(self, resource: Resource) -> bool:
        """Whether it has the tag of the run that its name is of."""
        try:
            return self._tags(resource).get(TAG) == resource.run.id
        except ClientError as error:
            if _code(error) in _MISSING:
                return False
            raise

    def _tags(self, resource: Resource) -> dict[str, str]:
        if resource.kind == "stream":
            reply = self.kinesis.list_tags_for_stream(StreamName=resource.name, Limit=50)
        else:
            described = self.dynamodb.describe_table(TableName=resource.name)["Table"]
            reply = self.dynamodb.list_tags_of_resource(ResourceArn=described["TableArn"])
        return {tag["Key"]: tag.get("Value", "") for tag in reply["Tags"]}

    def remove(self, resource: Resource) -> None:
        """Begin to delete it, if it has its tag; one that is gone, or going, is no error."""
        if not self.is_ours(resource):
            return
        if resource.kind == "stream":
            self._patiently(
                lambda: self.kinesis.delete_stream(
                    StreamName=resource.name, EnforceConsumerDeletion=True
                ),
                _MISSING | _IN_USE,
            )
        else:
            self._patiently(
                lambda: self.dynamodb.delete_table(TableName=resource.name), _MISSING | _IN_USE
            )

    def clean(self, which: Callable[[Resource], bool]) -> list[str]:
        """Remove all of them, and wait until none is shown; a line of each that could not be.

        Each goes whatever becomes of the others. Tags may be shown late (DynamoDB's are not of one
        moment), so one without is looked at again.
        """
        until = time.monotonic() + GONE_S
        while found := [each for each in self.find() if which(each)]:
            left = dict.fromkeys(found, "has not its tag")
            for each in found:
                try:
                    if self.is_ours(each):
                        left[each] = "is not gone yet"
                        self.remove(each)
                except Exception as error:  # noqa: BLE001 - the others must go, too
                    left[each] = str(error)
            is_strange = all(why == "has not its tag" for why in left.values())
            if time.monotonic() > (until - GONE_S + TAGS_SHOWN_S if is_strange else until):
                return [f"{each.kind} {each.name} {why}" for each, why in left.items()]
            self._pause(0.5)
        return []

    def _patiently(self, call: Callable[[], object], done: frozenset[str]) -> None:
        """Make a call, again while the service has too much to do."""
        until = time.monotonic() + GONE_S
        while True:
            try:
                call()
            except ClientError as error:
                if _code(error) in done:
                    return
                if _code(error) not in _LATER or time.monotonic() > until:
                    raise
                self._pause(1.0)
            else:
                return


def _named(kind: Literal["stream", "table"], names: Iterable[str]) -> list[Resource]:
    return [
        Resource(kind, name, Run(match[1])) for name in names if (match := _NAME.fullmatch(name))
    ]


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
