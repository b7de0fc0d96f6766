"""Events become records, or are refused with what they are."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from binlog.errors import RefusedError
from consumers.aws_lambda_event import decode_event, first_of
from tests.lambda_consumer.event_source_mapping import SourceRecord, event_of

ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/orders"
SIMPLEJSON = pytest.importorskip("simplejson")  # what awslambdaric reads events with
NUMBER = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898
RECORDS = [
    SourceRecord(NUMBER + i, 1_545_084_650_987 + i, f"p000{i}", bytes(range(256)) * i)
    for i in range(3)
]


def event() -> dict[str, Any]:
    return event_of("shardId-000000000006", RECORDS, ARN)


@pytest.mark.parametrize("loads", [json.loads, SIMPLEJSON.loads])
def test_records_come_out_as_they_went_in(loads: Any) -> None:
    """Through either of the decoders that runtimes have used; numbers of 56 digits are text."""
    delivered = decode_event(loads(json.dumps(event())))
    assert (delivered.shard, delivered.stream) == ("shardId-000000000006", "orders")
    assert delivered.first == str(NUMBER)
    found = [
        (
            int(r.sequence_number),
            round(r.approximate_arrival_timestamp * 1000),
            r.partition_key,
            r.data,
        )
        for r in delivered.records
    ]
    assert found == RECORDS


@pytest.mark.parametrize("ms", [0, 1, 999, 1_545_084_650_987, 2**41 - 1, 4_102_444_799_999])
def test_arrival_is_the_same_integer_from_a_float(ms: int) -> None:
    """Every millisecond until 2100 survives being seconds in a double."""
    whole = event_of("s", [SourceRecord(1, ms, "p0000", b"")], ARN)
    [record] = decode_event(json.loads(json.dumps(whole))).records
    assert round(record.approximate_arrival_timestamp * 1000) == ms


def test_arrival_may_be_a_whole_number() -> None:
    """Of a record that arrived on the second JSON may say no fraction."""
    whole = event()
    whole["Records"][0]["kinesis"]["approximateArrivalTimestamp"] = 1_545_084_650
    assert decode_event(whole).records[0].approximate_arrival_timestamp == 1_545_084_650.0


def test_a_fan_out_consumers_event_is_its_streams() -> None:
    whole = event_of("s", RECORDS, f"{ARN}/consumer/fast:1545084711")
    assert decode_event(whole).stream == "orders"


def changed(path: tuple[Any, ...], value: Any) -> Any:
    whole = copy.deepcopy(event())
    place: Any = whole
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return whole


R1 = ("Records", 1)
SQS = {"messageId": "m", "body": "{}", "eventSource": "aws:sqs"}
DYNAMODB = {"eventID": "1", "eventSource": "aws:dynamodb", "dynamodb": {"SequenceNumber": "1"}}


@pytest.mark.parametrize(
    ("whole", "says"),
    [
        ({"key1": "value1"}, "an object without Records"),
        ([], "a list without Records"),
        ("text", "a str without Records"),
        (None, "a NoneType without Records"),
        ({"Records": []}, "without records"),
        ({"Records": [SQS]}, "record 0 is one of aws:sqs"),
        ({"Records": [DYNAMODB]}, "record 0 is one of aws:dynamodb"),
        ({"Records": [{"EventSource": "aws:sns"}]}, "record 0 is one of aws:sns"),
        ({"Records": [7]}, "record 0 is one that says no source"),
        (changed(R1, SQS), "record 1 is one of aws:sqs"),
        (changed((*R1, "eventSource"), "aws:kafka"), "record of aws:kafka"),
        (changed((*R1, "kinesis", "data"), "no base64!"), "Records[1].kinesis.data"),
        (changed((*R1, "kinesis", "data"), None), "Records[1].kinesis.data"),
        (changed((*R1, "kinesis", "sequenceNumber"), 7), "sequenceNumber"),
        (changed((*R1, "kinesis", "sequenceNumber"), "-7"), "has the number '-7'"),
        (changed((*R1, "kinesis", "sequenceNumber"), "٣"), "has the number '٣'"),
        (changed((*R1, "kinesis"), {}), "partitionKey"),
        (changed((*R1, "eventID"), f"shardId-9:{NUMBER + 1}"), "record 'shardId-9:"),
        (changed((*R1, "eventSourceARN"), ARN + "2"), "stream/orders2 in one event"),
    ],
)
def test_refuses_what_is_no_event_of_a_shard(whole: Any, says: str) -> None:
    """Passing over it would be success, and the mapping would go on behind it."""
    with pytest.raises(RefusedError) as caught:
        decode_event(whole)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.do


@pytest.mark.parametrize(
    ("whole", "number"),
    [
        (event(), str(NUMBER)),
        (changed(R1, SQS), str(NUMBER)),
        ({"Records": [SQS]}, None),
        ({"Records": [{"kinesis": {"sequenceNumber": 7}}]}, None),
        ({"Records": [{"kinesis": {"sequenceNumber": ""}}]}, None),
        ({"Records": []}, None),
        ({"Records": {}}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_first_number_of_anything_is_found_or_is_not(whole: Any, number: str | None) -> None:
    assert first_of(whole) == number
