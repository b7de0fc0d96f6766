"""PutRecords requests: what our encoder makes of them is what the SDK makes of them."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ParamValidationError
from hypothesis import given
from hypothesis import strategies as st

from binlog.aws.account import Account
from binlog.aws.clients import Connect
from binlog.logs import kinesis_serializing
from binlog.logs.kinesis_client import connector
from binlog.logs.kinesis_serializing import with_quick_requests

ACCOUNT = Account(region="us-east-1", endpoint="http://127.0.0.1:1")


class Body(BytesIO):
    """A reply's body, as urllib3 gives it."""

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.read()


class Wire:
    """A client that is answered at once, and what it sent."""

    def __init__(self, connect: Connect) -> None:
        self.client = connect(True)
        self.sent: list[Any] = []
        self.client.meta.events.register_first("before-send.kinesis.PutRecords", self._answer)

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        self.sent.append(request)
        return AWSResponse(request.url, 200, {"date": "x"}, Body(b'{"Records": []}'))

    def put(self, records: list[dict[str, Any]]) -> Any:
        self.client.put_records(StreamName="orders", Records=records)
        return self.sent[-1]


@pytest.fixture(scope="module")
def wires() -> Any:
    """Ours and the SDK's."""
    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "test")
    yield Wire(with_quick_requests(connector(ACCOUNT))), Wire(connector(ACCOUNT))
    patch.undo()


records = st.fixed_dictionaries(
    {
        "Data": st.binary(max_size=80),
        "PartitionKey": st.text(min_size=1, max_size=5).filter(
            lambda text: text.isprintable() and "\ud800" not in text
        ),
    },
    optional={"ExplicitHashKey": st.integers(0, 2**128 - 1).map(str)},
)


@given(st.lists(records, min_size=1, max_size=5))
def test_it_sends_what_the_sdk_sends(wires: tuple[Wire, Wire], put: list[dict[str, Any]]) -> None:
    """Every byte of every record: a frame has the same bytes in every attempt (P3)."""
    given_records = [dict(record) for record in put]
    ours, theirs = (wire.put(put) for wire in wires)
    assert put == given_records, "the caller's own list is left alone"
    assert json.loads(ours.body) == json.loads(theirs.body)
    assert ours.url == theirs.url
    volatile = {"Authorization", "X-Amz-Date", "amz-sdk-invocation-id", "Content-Length"}
    volatile.add("User-Agent")  # says where the first of them found its credentials
    named = [
        {name: value for name, value in request.headers.items() if name not in volatile}
        for request in (ours, theirs)
    ]
    assert named[0] == named[1]
    assert int(ours.headers["Content-Length"]) == len(ours.body)


def test_it_is_what_writes(wires: tuple[Wire, Wire], monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the SDK after all."""
    written: list[Any] = []
    encode = kinesis_serializing._encode

    def encode_noted(given: Any) -> bytes:
        written.append(given)
        return encode(given)

    monkeypatch.setattr(kinesis_serializing, "_encode", encode_noted)
    record = {"Data": b"x", "PartitionKey": "p"}
    wires[0].put([record, record])
    assert [len(given["Records"]) for given in written] == [2]


def test_a_body_is_signed_as_it_is_sent(wires: tuple[Wire, Wire]) -> None:
    """The signature covers the body's hash; replaced any later, the service would refuse it."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    sent = wires[0].put([{"Data": bytes([i]), "PartitionKey": "p"} for i in range(3)])
    wanted = sent.headers["Authorization"]
    signed = wanted.decode() if isinstance(wanted, bytes) else wanted
    names = signed.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    again = AWSRequest("POST", sent.url, data=sent.body)
    for name in names:
        if name != "host":
            again.headers[name] = _text(sent.headers[name])
    again.context["timestamp"] = _text(sent.headers["X-Amz-Date"])
    credentials = wires[0].client._request_signer._credentials
    signer = SigV4Auth(credentials, "kinesis", "us-east-1")
    text = signer.string_to_sign(again, signer.canonical_request(again))
    assert signed.endswith(f"Signature={signer.signature(text, again)}")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_an_sdk_that_speaks_another_protocol_writes_by_itself(wires: tuple[Wire, Wire]) -> None:
    """JSON in a request that says CBOR is refused, every time: an upgrade would end all writing."""
    with pytest.MonkeyPatch.context() as patch:
        model = type(wires[0].client.meta.service_model)
        patch.setattr(model, "resolved_protocol", "smithy-rpc-v2-cbor", raising=False)
        wire = Wire(with_quick_requests(connector(ACCOUNT)))
    record = {"Data": b"x", "PartitionKey": "p"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinesis_serializing, "_encode", lambda _: b"ours")
        assert wire.put([record, record]).body != b"ours"
        assert wires[0].put([record, record]).body == b"ours"


@pytest.mark.parametrize(
    "odd",
    [
        {"PartitionKey": "p"},
        {"Data": 1, "PartitionKey": "p"},
        {"Data": b"", "PartitionKey": "p", "X": 1},
    ],
)
def test_odd_records_are_left_to_the_sdk(wires: tuple[Wire, Wire], odd: dict[str, Any]) -> None:
    plain = {"Data": b"x", "PartitionKey": "p"}
    for wire in wires:
        with pytest.raises(ParamValidationError):
            wire.client.put_records(StreamName="orders", Records=[plain, odd])
