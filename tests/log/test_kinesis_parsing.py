"""GetRecords replies: what our decoder makes of them is what the SDK makes of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from binlog.aws.account import Account
from binlog.logs import kinesis_parsing
from binlog.logs.kinesis_client import connector
from binlog.logs.kinesis_parsing import with_quick_replies

Reply = Callable[[dict[str, Any] | bytes], Any]


class Body(BytesIO):
    """A reply's body, as urllib3 gives it."""

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.read()


@pytest.fixture(scope="module")
def client() -> Any:
    """One that reads quickly; what it is answered is put beside it."""
    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "test")
    account = Account(region="us-east-1", endpoint="http://127.0.0.1:1")
    made = with_quick_replies(connector(account))(False)
    yield made
    patch.undo()


def ask(client: Any, body: bytes, status: int = 200) -> Any:
    """What a call gives that is answered so."""

    def answer(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, status, {"date": "x"}, Body(body))

    client.meta.events.register_first("before-send.kinesis.GetRecords", answer)
    try:
        return client.get_records(ShardIterator="i", Limit=1)
    finally:
        client.meta.events.unregister("before-send.kinesis.GetRecords", answer)


def by_sdk(client: Any, body: bytes) -> Any:
    client.meta.events.unregister("before-parse.kinesis.GetRecords", kinesis_parsing._parse)
    try:
        return ask(client, body)
    finally:
        client.meta.events.register("before-parse.kinesis.GetRecords", kinesis_parsing._parse)


records = st.fixed_dictionaries(
    {
        "SequenceNumber": st.integers(49 * 10**54, 50 * 10**54).map(str),
        "ApproximateArrivalTimestamp": st.integers(1, 4 * 10**12).map(lambda ms: ms / 1000),
        "Data": st.binary(max_size=50).map(lambda data: base64.b64encode(data).decode()),
        "PartitionKey": st.text(min_size=1, max_size=5).filter(lambda t: t.isprintable()),
    },
    optional={"EncryptionType": st.just("NONE")},
)


@given(
    st.lists(records, max_size=4),
    st.none() | st.just("next"),
    st.integers(0, 10**9),
)
def test_it_reads_what_the_sdk_reads(
    client: Any, listed: list[dict[str, Any]], iterator: str | None, behind: int
) -> None:
    """To the last digit and millisecond: the arrival is the same integer from every reader (S8)."""
    body = json.dumps(
        {
            "Records": listed,
            "NextShardIterator": iterator,
            "MillisBehindLatest": behind,
            "ChildShards": [],
        }
    ).encode()
    ours, theirs = ask(client, body), by_sdk(client, body)
    assert ours.get("NextShardIterator") == theirs.get("NextShardIterator") == iterator
    assert ours["MillisBehindLatest"] == theirs["MillisBehindLatest"] == behind
    assert ours["ResponseMetadata"] == theirs["ResponseMetadata"]
    for one, other in zip(ours["Records"], theirs["Records"], strict=True):
        assert type(one["Data"]) is bytes
        for name in ("SequenceNumber", "Data", "PartitionKey"):
            assert one[name] == other[name]
        arrival = other["ApproximateArrivalTimestamp"].timestamp()
        assert round(one["ApproximateArrivalTimestamp"] * 1000) == round(arrival * 1000)


def test_it_is_what_reads(client: Any) -> None:
    """And not the SDK after all."""
    record = {
        "SequenceNumber": "1",
        "ApproximateArrivalTimestamp": 1.7e9,
        "Data": "AA==",
        "PartitionKey": "p",
    }
    found = ask(client, json.dumps({"Records": [record]}).encode())
    assert found["Records"][0]["ApproximateArrivalTimestamp"] == 1.7e9


@pytest.mark.parametrize("status", [400, 500])
def test_a_refusal_is_the_sdks(client: Any, status: int) -> None:
    body = json.dumps({"__type": "ExpiredIteratorException", "message": "old"}).encode()
    client.meta.config.retries["total_max_attempts"] = 1
    with pytest.raises(ClientError, match="old") as caught:
        ask(client, body, status)
    assert caught.value.response["Error"]["Code"] == "ExpiredIteratorException"


@pytest.mark.parametrize("records", ['{"no": "list"}', "null", '[{"Data": "not base64!"}]'])
def test_an_odd_reply_is_left_to_the_sdk(client: Any, records: str) -> None:
    """It says what is wrong, or makes the best of it, as it would without us."""
    body = f'{{"Records": {records}}}'.encode()
    outcomes = []
    for parse in (ask, by_sdk):
        try:
            outcomes.append(repr(parse(client, body).get("Records")))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the same
            outcomes.append(type(error).__name__)
    assert outcomes[0] == outcomes[1]
