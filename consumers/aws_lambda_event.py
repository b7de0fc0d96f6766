"""The event that an event source mapping of a Kinesis stream invokes a function with.

::

    {"Records": [{"eventSource": "aws:kinesis", "eventID": "SHARD:SEQUENCE", "eventSourceARN": ARN,
                  "kinesis": {"partitionKey": TEXT, "sequenceNumber": DIGITS, "data": BASE64,
                              "approximateArrivalTimestamp": SECONDS, a float}, ...}, ...]}

https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html. All records of an event are of one
shard, in its order. The whole of it is converted in one call: with the bytes decoded, a record costs a
microsecond. What is no such event is refused, never passed over: whatever returns has succeeded, and
the mapping would go on behind records that nobody has applied.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from binlog.errors import RefusedError
from consumers.aws_lambda_mapping import stream_of

_KINESIS = "aws:kinesis"
_DO = "give the function an event source mapping of the log's stream, and nothing else"


class KinesisData(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One record of the stream."""

    partition_key: str
    sequence_number: str
    data: bytes
    approximate_arrival_timestamp: float


class _Each(msgspec.Struct, frozen=True, gc=False):
    kinesis: KinesisData
    eventID: str  # noqa: N815 - theirs
    eventSource: str  # noqa: N815
    eventSourceARN: str  # noqa: N815


class _Event(msgspec.Struct, frozen=True):
    Records: list[_Each]


class Delivered(msgspec.Struct, frozen=True):
    """Records of one shard of one stream, in its order; at least one."""

    shard: str
    arn: str  # of the event source: the stream, or a consumer registered with it
    records: Sequence[KinesisData]

    @property
    def first(self) -> str:
        """Sequence number of the first one."""
        return self.records[0].sequence_number

    @property
    def stream(self) -> str:
        return stream_of(self.arn)


def decode_event(event: object) -> Delivered:
    """What ``event`` delivers.

    Raises:
        RefusedError: it is no event of a Kinesis stream; `first_of` says what to report.
    """
    try:
        records = msgspec.convert(event, _Event).Records
    except msgspec.ValidationError as error:
        raise _refused(event, error) from error
    if not records:
        raise RefusedError("an event without records", do=_DO)
    shard, arn = records[0].eventID.rpartition(":")[0], records[0].eventSourceARN
    for each in records:
        number = each.kinesis.sequence_number
        if each.eventSource != _KINESIS:
            raise RefusedError(f"a record of {each.eventSource}", each.eventID, _DO)
        if not number.isascii() or not number.isdigit() or each.eventID != f"{shard}:{number}":
            raise RefusedError(f"record {each.eventID!r} has the number {number!r}", shard, _DO)
        if each.eventSourceARN != arn:
            raise RefusedError(
                f"records of {arn} and of {each.eventSourceARN} in one event", each.eventID, _DO
            )
    return Delivered(shard, arn, [each.kinesis for each in records])


def first_of(event: object) -> str | None:
    """The sequence number of an event's first record, if it has one, whatever the event is."""
    try:
        number = event["Records"][0]["kinesis"]["sequenceNumber"]  # type: ignore[index]
    except (LookupError, TypeError):
        return None
    return number if isinstance(number, str) and number else None


def _refused(event: object, error: msgspec.ValidationError) -> RefusedError:
    """In words: another service's event is the likeliest mistake."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        kind = "an object" if isinstance(event, dict) else f"a {type(event).__name__}"
        return RefusedError(f"no event of a stream: {kind} without Records", do=_DO)
    for index, each in enumerate(records):
        source = (
            (each.get("eventSource") or each.get("EventSource")) if isinstance(each, dict) else ""
        )
        if source != _KINESIS:
            what = f"of {source}" if source else "that says no source"
            return RefusedError(f"record {index} is one {what}, and no Kinesis record", do=_DO)
    return RefusedError(f"no event of a Kinesis stream: {error}", do=_DO)
