"""The proxy by itself: what boto3 sees of each kind of fault, and what the stream then holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from scripts.standins.proxy import Proxy
from scripts.standins.proxy_faults import Fault
from scripts.standins.proxy_intruder import Intruder
from scripts.standins.server import Server
from tests.faults.aws_place import client_of, hasten
from tests.integration.waiting import until

IMPATIENT_S = 0.3  # where silence is the answer
PATIENT_S = 60.0  # where there is one, on a machine that has other things to do
Make = Callable[..., tuple[Any, Intruder]]


@pytest.fixture(autouse=True)
def _hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch.setattr)


@pytest.fixture
def stream(kinesalite: Server, stream_name: Callable[[], str]) -> Iterator[str]:
    name = stream_name()
    client = client_of("kinesis", kinesalite.url, attempts=3, timeout_s=PATIENT_S)
    client.create_stream(StreamName=name, ShardCount=1)
    while client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"][
        "StreamStatus"
    ] != ("ACTIVE"):
        time.sleep(0.01)
    yield name
    client.delete_stream(StreamName=name)


@pytest.fixture
def through(kinesalite: Server) -> Iterator[Make]:
    """A client whose calls meet the faults, and the intruder."""
    proxies: list[Proxy] = []

    def make(*faults: Fault, attempts: int = 1, **options: Any) -> tuple[Any, Intruder]:
        proxies.append(Proxy(kinesalite.url, Intruder(faults, **options)))
        url = proxies[-1].url
        client = client_of("kinesis", url, attempts=attempts, timeout_s=PATIENT_S)
        return client, proxies[-1].intruder

    yield make
    for proxy in proxies:
        proxy.close()


def put(client: Any, stream: str, *names: str) -> Any:
    records = [{"PartitionKey": name, "Data": name.encode()} for name in names]
    return client.put_records(StreamName=stream, Records=records)


def impatient(client: Any) -> Any:
    """Another client at the same proxy, which gives up soon: before the call is done, maybe."""
    return client_of("kinesis", client.meta.endpoint_url, attempts=1, timeout_s=IMPATIENT_S)


def get(client: Any, stream: str, **options: Any) -> list[str]:
    """What is in the stream."""
    iterator = client.get_shard_iterator(
        StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    records = client.get_records(ShardIterator=iterator, **options)["Records"]
    return [record["Data"].decode() for record in records]


@pytest.mark.parametrize(
    ("kind", "seen", "landed"),
    [
        ("unreached", "ConnectionClosedError", False),
        ("lose request", "ConnectionClosedError", False),
        ("stall", "ReadTimeoutError", False),
        ("error", "InternalFailure", False),
        ("lose reply", "ConnectionClosedError", True),
        ("cut reply", "IncompleteReadError", True),
        ("time out", "ReadTimeoutError", True),
        ("error after", "InternalFailure", True),
    ],
)
def test_what_a_client_sees_and_what_was_done(
    kind: str, seen: str, landed: bool, stream: str, through: Make
) -> None:
    """The SDK alone would take a reply that is cut for one without fields: see `binlog.aws.replies`."""
    client, intruder = through(Fault("PutRecords", 2, kind))
    put(client, stream, "a")
    hears_nothing = seen == "ReadTimeoutError"
    with pytest.raises((BotoCoreError, ClientError)) as failed:
        put(impatient(client) if hears_nothing else client, stream, "b")
    error = failed.value
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    assert seen in {code, type(error).__name__}
    until(lambda: intruder.met, "what was to happen to the call")
    assert get(client, stream) == (["a", "b"] if landed else ["a"])
    assert intruder.met == {(kind, "PutRecords"): 1}
    put(client, stream, "c")
    assert get(client, stream)[-1] == "c"


def test_a_late_call_lands_behind_its_successors(stream: str, through: Make) -> None:
    client, intruder = through(Fault("PutRecords", 1, "late", number=2))
    with pytest.raises(BotoCoreError):
        put(impatient(client), stream, "late")
    until(lambda: intruder.held_back, "the call, which is late")
    put(client, stream, "b")
    assert get(client, stream) == ["b"]
    put(client, stream, "c")
    assert get(client, stream) == ["b", "c", "late"]
    assert intruder.met == {("late", "PutRecords"): 1}


def test_some_records_of_a_call_fail_and_the_others_are_put(stream: str, through: Make) -> None:
    client, _ = through(
        Fault("PutRecords", 1, "partial", of=(0, 2), code="KMSThrottlingException"),
        Fault("PutRecords", 2, "partial", of=(0,)),
        Fault("PutRecords", 3, "partial lie", of=(1,)),
    )
    reply = put(client, stream, "a", "b", "c")
    assert reply["FailedRecordCount"] == 2
    codes = [entry.get("ErrorCode") for entry in reply["Records"]]
    assert codes == ["KMSThrottlingException", None, "KMSThrottlingException"]
    assert put(client, stream, "d")["FailedRecordCount"] == 1
    assert "ErrorCode" in put(client, stream, "e", "f")["Records"][1]
    assert get(client, stream) == ["b", "e", "f"]


def test_pages_are_short_or_empty_and_iterators_expire(stream: str, through: Make) -> None:
    client, _ = through(
        Fault("GetRecords", 1, "short page"),
        Fault("GetRecords", 2, "empty page"),
        Fault("GetRecords", 3, "refuse", code="ExpiredIteratorException"),
    )
    put(client, stream, "a", "b")
    assert get(client, stream) == ["a"]
    assert get(client, stream) == []
    with pytest.raises(ClientError, match="ExpiredIteratorException"):
        get(client, stream)
    assert get(client, stream) == ["a", "b"]


def test_the_service_s_clock_is_another_one(stream: str, through: Make) -> None:
    """In the Date of every reply, and in what it says of records."""
    hour_s = 3_600
    client, _ = through(
        Fault("PutRecords", 2, "date", number=5_000),
        Fault("PutRecords", 3, "no date"),
        skew_ms=hour_s * 1_000,
    )
    began = time.time()

    def is_ahead(at: datetime, by_s: float) -> bool:
        """Of a time told since the beginning; Date is cut off to the second, and kept as long."""
        return began - 2 <= at.timestamp() - by_s <= time.time()

    def date(reply: Any) -> datetime:
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"])

    assert is_ahead(date(put(client, stream, "a")), hour_s)
    began = time.time()
    assert is_ahead(date(put(client, stream, "b")), hour_s + 5)
    assert "date" not in put(client, stream, "c")["ResponseMetadata"]["HTTPHeaders"]
    iterator = client.get_shard_iterator(
        StreamName=stream, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    [*_, record] = client.get_records(ShardIterator=iterator)["Records"]
    assert is_ahead(record["ApproximateArrivalTimestamp"], hour_s)


def test_the_sdk_s_own_retries_double_a_record_whose_reply_was_lost(
    stream: str, through: Make
) -> None:
    """Why puts make one attempt: with two of them boto3 reports plain success."""
    client, _ = through(Fault("PutRecords", 1, "lose reply"), attempts=2)
    assert put(client, stream, "a")["FailedRecordCount"] == 0
    assert get(client, stream) == ["a", "a"]


def test_a_service_that_is_not_there_is_a_connection_that_breaks(stream: str) -> None:
    with Proxy("http://127.0.0.1:9", Intruder()) as proxy:
        client = client_of("kinesis", proxy.url, attempts=1, timeout_s=PATIENT_S)
        with pytest.raises(BotoCoreError):
            put(client, stream, "a")
        assert proxy.unanswered == 1


def test_what_goes_wrong_in_an_action_is_not_hidden(stream: str, kinesalite: Server) -> None:
    """A fault of the test's own making must not pass for one of the network's."""
    intruder = Intruder([Fault("PutRecords", 1, "act", code="none of that name")])
    proxy = Proxy(kinesalite.url, intruder)
    with suppress(BotoCoreError):
        put(client_of("kinesis", proxy.url, attempts=1, timeout_s=PATIENT_S), stream, "a")
    with pytest.raises(BaseExceptionGroup, match="in the proxy"):
        proxy.close()


def test_calls_at_once_are_each_counted_once(stream: str, through: Make) -> None:
    client, intruder = through(*[Fault("PutRecords", at, "error") for at in range(1, 9)])

    def work() -> None:
        with suppress(ClientError):
            put(client, stream, "a")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert intruder.met == {("error", "PutRecords"): 8}
    assert not intruder.left


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no such kind of fault"):
        Intruder([Fault("PutRecords", 1, "lost reply")])
