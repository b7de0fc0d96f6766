"""Frames into a stream: what is sent, what a reply means, and what a failure leaves open."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError, ProxyConnectionError

from binlog.aws.account import Account
from binlog.aws.clients import Clients
from binlog.aws.errors import was_refused
from binlog.clock import ManualClock
from binlog.errors import RefusedError
from binlog.frame import decode_header
from binlog.log import Appended, Failed, Put, Reply
from binlog.logs import kinesis_appender
from binlog.logs.kinesis import KinesisLog
from binlog.logs.kinesis_client import PUT_TIMEOUT_S, connector
from binlog.partition import explicit_hash_key, partition_key
from tests.log.kinesis_double import Fault, KinesisDouble, refusal
from tests.log.kinesis_world import KinesisWorld
from tests.log.log_frames import PARAMS, frame, put


@pytest.fixture
def world() -> KinesisWorld:
    made = KinesisWorld()
    made.double.sent.clear()
    return made


@pytest.fixture
def log(world: KinesisWorld) -> KinesisLog:
    return world.open()


def failed(reply: Reply) -> Failed:
    assert isinstance(reply, Failed), reply
    return reply


def test_each_record_carries_the_fixed_keys_of_its_partition(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """Else a partition would be in two shards, or Lambda would split it."""
    log.append([put(1, partition=p) for p in range(PARAMS.partitions)])
    [call] = world.double.sent
    assert [(r["PartitionKey"], r["ExplicitHashKey"]) for r in call] == [
        (partition_key(p), str(explicit_hash_key(p, PARAMS.partitions)))
        for p in range(PARAMS.partitions)
    ]


def test_a_call_carries_one_record_of_a_partition_at_most(
    world: KinesisWorld, log: KinesisLog
) -> None:
    """PutRecords keeps no order."""
    puts = [put(1), put(2), put(1, partition=1), put(3)]
    replies = log.append(puts)
    assert all(isinstance(reply, Appended) for reply in replies)
    keys = [[record["PartitionKey"] for record in call] for call in world.double.sent]
    assert keys == [["p0000", "p0001"], ["p0000"], ["p0000"]]
    firsts = [decode_header(c[0]["Data"]).first for c in world.double.sent]
    assert firsts == [1, 2, 3]


@pytest.mark.parametrize(("kind", "untouched"), [("throttle", True), ("fail", False)])
def test_behind_a_failed_record_nothing_newer_of_its_partition_is_sent(
    world: KinesisWorld, log: KinesisLog, kind: str, untouched: bool
) -> None:
    """A gap would be filled by nobody; the other partitions go on."""
    world.double.faults.append(Fault(kind, frozenset({0})))  # type: ignore[arg-type]
    replies = log.append([put(1), put(1, partition=1), put(2), put(2, partition=1)])
    assert failed(replies[0]).untouched is untouched
    assert failed(replies[2]).untouched is True
    assert not failed(replies[0]).final
    assert isinstance(replies[1], Appended)
    assert isinstance(replies[3], Appended)
    assert [len(call) for call in world.double.sent] == [2, 1]
    assert log.counters.throttled + log.counters.failed == 1


def test_every_attempt_sends_the_same_bytes(world: KinesisWorld, log: KinesisLog) -> None:
    """An unborn frame is given its birth once: with another one it would be another frame."""
    world.double.faults.extend([Fault("lose reply"), Fault("lose request")])
    sent = put(1)
    assert not failed(log.append([sent])[0]).untouched
    world.clock.advance(7_000)
    assert not failed(log.append([Put(0, sent.data, tried=True)])[0]).untouched
    world.clock.advance(7_000)
    [reply] = log.append([Put(0, sent.data, tried=True), put(1, partition=1)])[:1]
    assert isinstance(reply, Appended)
    records = [record["Data"] for call in world.double.sent for record in call]
    assert records[0] == records[1] == records[2]
    assert {decode_header(data).born_ms for data in records} == {reply.born_ms}


def test_a_lost_reply_and_a_retry_are_two_records(world: KinesisWorld, log: KinesisLog) -> None:
    """As on the service; the sequencer drops the second one. The numbers still grow."""
    world.double.faults.append(Fault("lose reply"))
    sent = put(1)
    log.append([sent])
    [reply] = log.append([Put(0, sent.data, tried=True)])
    assert isinstance(reply, Appended)
    [shard] = world.stream.shards.values()
    assert len([r for r in shard.records if r.key == "p0000"]) == 3  # with the genesis
    assert log.counters.not_growing == 0


@pytest.mark.parametrize(
    ("fault", "untouched", "final"),
    [
        (Fault("unreached"), True, False),
        (Fault("lose request"), False, False),
        (Fault("late"), False, False),
        (Fault("error", code="ProvisionedThroughputExceededException"), True, False),
        (Fault("error", code="KMSThrottlingException"), True, False),
        (Fault("error", code="ExpiredTokenException"), True, False),
        (Fault("error", code="InternalFailure"), False, False),
        (Fault("error", code="RequestTimeoutException"), False, False),
        (Fault("error", code="InvalidSignatureException"), True, True),
        (Fault("error", code="AccessDeniedException"), True, True),
        (Fault("error", code="ResourceNotFoundException"), True, True),
        (Fault("error", code="ValidationException"), True, True),
    ],
    ids=lambda value: f"{value.kind} {value.code}" if isinstance(value, Fault) else "",
)
def test_a_failed_call_says_what_it_leaves_open(
    world: KinesisWorld, log: KinesisLog, fault: Fault, untouched: bool, final: bool
) -> None:
    """Certainly nothing written, or in doubt; worth another try, or not. Never a guess."""
    world.double.faults.append(fault)
    for reply in log.append([put(1), put(1, partition=1)]):
        assert (failed(reply).untouched, failed(reply).final) == (untouched, final)
        assert world.stream.name in str(failed(reply).error)


def test_after_a_call_that_failed_the_rest_is_not_tried(
    world: KinesisWorld, log: KinesisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an outage each further call would take its whole timeout."""
    monkeypatch.setattr(kinesis_appender, "CALL_RECORDS_MAX", 2)
    world.double.faults.extend([None, Fault("lose request")])
    replies = log.append([put(1, partition=p) for p in range(4)] + [put(2), put(2, partition=3)])
    assert len(world.double.sent) == 2
    assert [type(reply) for reply in replies] == [Appended, Appended] + [Failed] * 4
    assert [failed(reply).untouched for reply in replies[2:]] == [False, True, False, True]


def test_without_credentials_nothing_was_sent() -> None:
    assert was_refused(NoCredentialsError())
    assert not was_refused(refusal("Odd", status=503))
    assert not was_refused(OSError("connection reset"))
    assert not was_refused(refusal("", status=408))
    # urllib3 1.26 calls it so when a connection through a proxy breaks after the request was sent.
    assert not was_refused(ProxyConnectionError(proxy_url="http://p", error="reset"))


def test_an_odd_entry_leaves_its_record_in_doubt_and_no_other(
    world: KinesisWorld, log: KinesisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither written nor refused, as far as anybody can tell."""
    put_records = world.double.put_records

    def odd(**request: Any) -> dict[str, Any]:
        reply = put_records(**request)
        reply["Records"][0] = {"SequenceNumber": "many"}
        return reply

    monkeypatch.setattr(world.double, "put_records", odd)
    one, two = log.append([put(1), put(1, partition=1)])
    assert not failed(one).untouched
    assert not failed(one).final
    assert isinstance(two, Appended)


def test_P8_in_a_lambda_calls_go_one_by_one(
    world: KinesisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread may be at work between two invocations."""
    assert world.open().calls_max > 1
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    assert world.open().calls_max == 1


def test_a_call_keeps_the_services_bounds(
    world: KinesisWorld, log: KinesisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Smaller ones here; theirs are 500 records and 5 or 10 MiB."""
    assert kinesis_appender.CALL_RECORDS_MAX == 500
    assert PARAMS.frame_bytes_max < kinesis_appender.CALL_BYTES_MAX < 5 * 1024 * 1024
    monkeypatch.setattr(kinesis_appender, "CALL_BYTES_MAX", 2_000)
    monkeypatch.setattr(kinesis_appender, "CALL_RECORDS_MAX", 3)
    large = [Put(p, frame(partition=p) + bytes(900)) for p in range(4)]
    assert all(isinstance(reply, Appended) for reply in log.append(large))
    assert [len(call) for call in world.double.sent] == [1, 1, 1, 1]
    world.double.sent.clear()
    log.append([put(2, partition=p) for p in range(4)])
    assert [len(call) for call in world.double.sent] == [3, 1]


def test_a_sequence_number_that_does_not_grow_is_counted(
    world: KinesisWorld, log: KinesisLog, caplog: pytest.LogCaptureFixture
) -> None:
    """The service promises growth only loosely; if it breaks it, somebody should know."""
    log.append([put(1)])
    log.append([put(2)])
    assert log.counters.not_growing == 0
    world.stream.step = -world.stream.step
    [reply] = log.append([put(3)])
    assert isinstance(reply, Appended)
    assert log.counters.not_growing == 1
    assert "sequence.not_growing" in caplog.text


# -- time (P2, P4) -------------------------------------------------------------------------------


class WrongClock(ManualClock):
    """A machine whose wall clock is a day ahead."""

    def now_ms(self) -> int:
        return super().now_ms() + 86_400_000


def test_births_and_acknowledgements_are_by_the_services_date(world: KinesisWorld) -> None:
    clock = WrongClock(world.clock.now_ms())
    log = KinesisLog("s", connect=world.double.connect, clock=clock, pause=world.pause)
    world.clock.advance(90_400)
    clock.advance(90_400)
    [reply] = log.append([put(1)])
    assert isinstance(reply, Appended)
    assert 0 <= world.clock.now_ms() - reply.born_ms < 2_000
    assert 0 <= reply.arrival_ms - world.clock.now_ms() < 1_000
    assert 0 <= log.now_ms() - world.clock.now_ms() < 1_000
    assert 0 <= world.clock.now_ms() - log.birth_ms() < 1_000


def test_an_acknowledgement_is_by_its_own_reply(world: KinesisWorld) -> None:
    """The machine slept, and its clocks stood still: the reply knows better (P4)."""
    asleep = ManualClock(5)
    log = KinesisLog("s", connect=world.double.connect, clock=asleep, pause=world.pause)
    born = log.birth_ms()
    world.clock.advance(PARAMS.session_life_ms)
    [reply] = log.append([put(1, born_ms=born)])
    assert isinstance(reply, Appended)
    assert reply.arrival_ms - reply.born_ms >= PARAMS.session_life_ms
    log.append([put(1, born_ms=born)])  # of a birth two replies have to agree
    assert log.birth_ms() - born >= PARAMS.session_life_ms - 1_000


def test_without_a_date_what_came_too_late_does_not_pass_for_in_time(world: KinesisWorld) -> None:
    """The machine slept, and a proxy takes the Date away: only our wall clock knows (P4)."""

    class Asleep(ManualClock):
        def monotonic(self) -> float:
            return 5.0

    asleep = Asleep(world.clock.now_ms() + 86_400_000)
    log = KinesisLog("s", connect=world.double.connect, clock=asleep, pause=world.pause)
    born = log.birth_ms()
    for clock in (world.clock, asleep):
        clock.advance(PARAMS.session_life_ms)
    world.double.has_dates = False
    [reply] = log.append([put(1, born_ms=born)])
    assert isinstance(reply, Appended)
    assert reply.arrival_ms - reply.born_ms >= PARAMS.session_life_ms
    assert log.birth_ms() == born  # of births it has no say


def test_a_date_that_a_proxy_took_away_is_reckoned(world: KinesisWorld, log: KinesisLog) -> None:
    world.double.has_dates = False
    world.clock.advance(60_000)
    [reply] = log.append([put(1)])
    assert isinstance(reply, Appended)
    assert abs(reply.arrival_ms - world.clock.now_ms()) < 1_000


# -- clients -------------------------------------------------------------------------------------


def test_a_put_is_one_attempt_and_a_read_is_several() -> None:
    """The SDK's own retry of a put writes it twice, and says that all is well."""
    connect = connector(Account(region="us-east-1", endpoint="http://127.0.0.1:1"))
    puts, calls = connect(True), connect(False)
    assert puts.meta.config.retries["total_max_attempts"] == 1
    assert puts.meta.config.read_timeout == PUT_TIMEOUT_S
    assert calls.meta.config.retries["total_max_attempts"] > 1


def test_the_region_is_the_addresss_or_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """By either of its two names; boto3 knows only one."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RefusedError, match="AWS_REGION"):
        connector(Account())(True)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert connector(Account())(True).meta.region_name == "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert connector(Account())(True).meta.region_name == "eu-west-2"
    assert connector(Account(region="eu-west-3"))(True).meta.region_name == "eu-west-3"


def test_a_profile_that_is_not_there_is_refused() -> None:
    with pytest.raises(RefusedError, match="no-such-profile"):
        connector(Account(region="us-east-1", profile="no-such-profile"))(True)


def test_a_forked_child_makes_clients_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one connection would read each other's replies."""
    made: list[bool] = []

    def connect(puts: bool) -> KinesisDouble:
        made.append(puts)
        return KinesisDouble(ManualClock())

    clients = Clients(connect)
    mine = clients.puts
    assert clients.puts is mine
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    assert clients.puts is not mine
    assert made == [True, True]


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """No test here may find a developer's account."""
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return lambda: None
