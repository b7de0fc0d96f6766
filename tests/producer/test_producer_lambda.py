"""The producer inside Lambda: frozen and thawed, short of time, restored; nothing open between."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError, NotSentError, RefusedError, StorageError, UnknownOutcomeError
from binlog.frame import decode_header
from binlog.log import AsksTime
from binlog.logs.directory import DirectoryLog
from binlog.logs.directory_genesis import create_directory_log
from binlog.logs.kinesis import KinesisLog
from binlog.logs.kinesis_client import PUT_CONNECT_LAMBDA_S, PUT_TIMEOUT_LAMBDA_S
from binlog.producer import (
    Delivery,
    Invocation,
    LambdaProducer,
    Outcome,
    ProducerOptions,
    Verdict,
    resolve,
)
from binlog.producer.invocation import ASLEEP_S, ATTEMPT_S, RESERVE_S
from binlog.reader import Reader
from tests.log.kinesis_double import Fault, refusal
from tests.log.kinesis_world import KinesisWorld
from tests.log.log_frames import PARAMS
from tests.producer.desk import event, key_in

KEYS = [key_in(partition, PARAMS.partitions) for partition in range(PARAMS.partitions)]
# An invocation's time is what ends first.
OPTIONS = ProducerOptions(
    retry_first_s=0.001, retry_most_s=0.002, give_up_s=3_600.0, queue_wait_s=3_600.0
)
AGE_S = PARAMS.session_age_ms / 1000
TIME_S = 300.0  # an invocation's


class Machine:
    """A clock that runs, and that can be stopped and set like an environment's."""

    def __init__(self) -> None:
        self.wall_ms = 0
        self.steady_s = 0.0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.wall_ms

    def monotonic(self) -> float:
        return time.monotonic() + self.steady_s

    def freeze(self, seconds: float, *, steady_too: bool = False) -> None:
        self.wall_ms += round(seconds * 1000)
        self.steady_s += seconds * steady_too


class Context:
    """Of an invocation that has so much time, by the environment's own clock if there is one."""

    def __init__(self, seconds: float = TIME_S, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._end = self._clock.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return round((self._end - self._clock.monotonic()) * 1000)


class Function:
    """A function's environment: its log, its producer, and its service."""

    def __init__(self, **options: Any) -> None:
        self.world = KinesisWorld()
        self.machine = Machine()
        # Its clock stands while the service's goes on.
        self.log = KinesisLog("s", connect=self.world.double.connect, clock=self.machine)
        self.producer = LambdaProducer(
            self.log, options=OPTIONS, clock=self.machine, attempt_s=0.0, **options
        )

    def freeze(self, seconds: float) -> None:
        self.machine.freeze(seconds)
        self.world.clock.advance(round(seconds * 1000))

    def end_after(self, attempts: int) -> None:
        """With so many attempts to come the time of an invocation is over: however fast they are."""
        put, left = self.world.double.put_records, [attempts]

        def put_records(**request: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                self.machine.freeze(TIME_S, steady_too=True)
                self.world.clock.advance(round(TIME_S * 1000))
            return put(**request)

        self.world.double.put_records = put_records  # type: ignore[method-assign]

    def context(self) -> Context:
        return Context(clock=self.machine)

    def handle(self, *ids: str, seconds: float = TIME_S) -> list[Outcome]:
        with self.producer.invocation(Context(seconds, self.machine)) as batch:
            for number, name in enumerate(ids):
                batch.publish(event(KEYS[number % len(KEYS)], name))
        return [delivery.outcome for delivery in batch.deliveries]

    def sessions(self) -> list[tuple[bytes, int]]:
        """Of all frames in the log, in order."""
        found = []
        for shard in self.world.stream.shards.values():
            for record in shard.records:
                header = decode_header(record.data)
                if not header.genesis:
                    found.append((header.session.family, header.session.generation))
        return found

    def counts(self) -> Counter[str]:
        """How often each event counts."""
        reader, found = Reader(self.world.open()), Counter[str]()
        while (runs := reader.read()) is not None:
            for run in runs:
                found.update(run.columns.ids)
        return found


def deliveries_of(error: BinlogError) -> tuple[Delivery, ...]:
    return cast("tuple[Delivery, ...]", error.deliveries)


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Function:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    return Function()


def test_all_is_acknowledged_when_the_handler_returns_and_no_thread_is_left(
    function: Function,
) -> None:
    before = set(threading.enumerate())
    assert set(function.handle("a", "b", "c", "d")) == {Outcome.ACKNOWLEDGED}
    assert not set(threading.enumerate()) - before
    assert function.counts() == Counter("abcd")


def test_nothing_goes_between_two_invocations(function: Function) -> None:
    """Published and flushed; what is published outside is refused, or it would wait for a thaw."""
    with function.producer.invocation(Context()) as batch:
        batch.publish(event(KEYS[0], "a"))
        assert not function.sessions()
        [delivery] = batch.flush()
        assert delivery.outcome is Outcome.ACKNOWLEDGED
        assert function.sessions()
    with pytest.raises(RefusedError, match="over"):
        batch.publish(event(KEYS[0], "b"))
    assert function.counts() == Counter("a")


def test_a_short_freeze_goes_on_with_the_session(function: Function) -> None:
    """A session an invocation would be state for every reader, 60 minutes long."""
    for name in "abc":
        function.handle(name)
        function.freeze(10.0)
    assert len(set(function.sessions())) == 1
    assert function.counts() == Counter("abc")


@pytest.mark.parametrize("steady_too", [False, True])
def test_a_session_that_aged_while_frozen_ends(function: Function, steady_too: bool) -> None:
    """Whether or not the monotonic clock went on: nobody would acknowledge what it sends (P4)."""
    function.handle("a")
    function.machine.freeze(AGE_S, steady_too=steady_too)
    function.world.clock.advance(round(AGE_S * 1000))
    assert function.handle("b") == [Outcome.ACKNOWLEDGED]
    [first, second] = function.sessions()
    assert (first[0], first[1] + 1) == second
    assert function.counts() == Counter("ab")


def test_a_session_after_a_sleep_is_born_by_the_services_time_after_it(function: Function) -> None:
    """Reckoned on by a clock that stood still it would be dead at its birth: acknowledged by the
    service, and dropped by every reader."""
    function.handle("a")
    function.freeze(3 * PARAMS.session_life_ms / 1000)
    assert function.handle("b") == [Outcome.ACKNOWLEDGED]
    assert function.counts() == Counter("ab")


def test_the_first_invocation_may_come_long_after_the_initialisation(function: Function) -> None:
    """As where a function is kept warm, or restored from a snapshot."""
    function.freeze(3 * PARAMS.session_life_ms / 1000)
    assert function.handle("a") == [Outcome.ACKNOWLEDGED]
    assert function.counts() == Counter("a")


def test_the_services_time_is_asked_for_only_after_a_sleep(function: Function) -> None:
    """The call that tells it is one of 20 a second, of an account."""
    before = function.world.double.calls["describe_stream_summary"]
    for name in "abcd":
        function.handle(name)
        function.freeze(ASLEEP_S / 2)
    assert function.world.double.calls["describe_stream_summary"] == before
    function.freeze(ASLEEP_S)
    function.handle("e")
    assert function.world.double.calls["describe_stream_summary"] == before + 1


def test_a_wall_clock_that_went_back_ends_the_session(function: Function) -> None:
    """Nobody knows how long it slept."""
    function.handle("a")
    function.world.clock.advance(round(AGE_S * 1000))  # longer than the session has
    function.machine.freeze(-3_600.0)
    assert function.handle("b") == [Outcome.ACKNOWLEDGED]
    assert len(set(function.sessions())) == 2
    assert function.counts() == Counter("ab")


def test_without_the_services_time_nothing_is_published(function: Function) -> None:
    function.handle("a")
    function.freeze(AGE_S)
    function.world.double.refuse["describe_stream_summary"] = refusal("InternalFailure", "no", 500)
    with pytest.raises(StorageError):
        function.handle("b")
    del function.world.double.refuse["describe_stream_summary"]
    assert function.handle("c") == [Outcome.ACKNOWLEDGED]
    assert function.counts() == Counter("ac")


# -- time ----------------------------------------------------------------------------------------


def test_no_attempt_is_begun_that_could_outlast_the_invocation() -> None:
    """What was never tried has failed, for certain, and may be published again."""
    function = Function()
    function.producer = LambdaProducer(function.log, options=OPTIONS, attempt_s=5.0)
    with pytest.raises(NotSentError, match="time is over") as caught:
        function.handle("a", "b", seconds=5.0 + RESERVE_S - 0.1)
    assert {d.outcome for d in deliveries_of(caught.value)} == {Outcome.FAILED}
    assert not function.sessions()
    assert function.handle("a", "b") == [Outcome.ACKNOWLEDGED] * 2
    assert function.counts() == Counter("ab")


def test_what_is_not_known_when_the_time_is_over_is_given_back(function: Function) -> None:
    """Unknown, with the frame to resolve; its session is over, so that the next is not behind it."""
    function.world.double.faults.extend([Fault("late")] + [Fault("lose request")] * 100_000)
    function.end_after(3)
    with pytest.raises(UnknownOutcomeError) as caught:
        function.handle("a")
    assert len(function.world.double.faults) == 100_001 - 3, "it came back, and not at the last one"
    [delivery] = deliveries_of(caught.value)
    assert delivery.outcome is Outcome.UNKNOWN
    function.world.double.faults.clear()
    function.freeze(5.0)
    function.handle("b")
    function.world.double.under_way.pop()()  # it lands after all: its session is closed
    assert delivery.frame is not None
    function.freeze(2 * PARAMS.session_life_ms / 1000)
    found = resolve(function.world.open(), [delivery.frame])
    assert found[delivery.frame].verdict is Verdict.NEVER
    assert function.counts() == Counter("b")


def test_what_waits_behind_an_unknown_has_failed(function: Function) -> None:
    """Two frames of a partition: the second one was never sent."""
    function.world.double.faults.extend([Fault("lose reply")] * 100_000)
    function.end_after(3)
    batches: list[Invocation] = []

    def handler() -> None:
        with function.producer.invocation(function.context()) as batch:
            batches.append(batch)
            batch.publish(event(KEYS[0], "a"))
            with pytest.raises(UnknownOutcomeError):
                batch.flush()
            batch.publish(event(KEYS[0], "b"))
            batch.publish(event(KEYS[1], "c"))

    with pytest.raises(NotSentError, match="2 of 2 events not sent"):
        handler()
    outcomes = {i: d.outcome for d in batches[0].deliveries for i in d.indexes}
    assert outcomes == {0: Outcome.UNKNOWN, 1: Outcome.FAILED, 2: Outcome.FAILED}


def test_a_retry_in_time_sends_the_same_bytes(function: Function) -> None:
    function.world.double.faults.extend([Fault("lose reply"), Fault("lose request"), None])
    assert function.handle("a") == [Outcome.ACKNOWLEDGED]
    sent = [records[0]["Data"] for records in function.world.double.sent[-3:]]
    assert len(set(sent)) == 1
    assert function.counts() == Counter("a")


def test_an_attempt_ends_within_what_is_kept_free_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time-outs of the client itself."""
    from binlog.aws.account import Account
    from binlog.logs.kinesis_client import connector

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    config = connector(Account(region="us-east-1"))(True).meta.config
    assert config.connect_timeout == PUT_CONNECT_LAMBDA_S
    assert config.read_timeout == PUT_TIMEOUT_LAMBDA_S
    assert config.connect_timeout + config.read_timeout <= ATTEMPT_S


# -- the handler ---------------------------------------------------------------------------------


def test_what_the_handler_raises_comes_first_and_what_it_published_is_there(
    function: Function,
) -> None:

    def handler(name: str) -> None:
        with function.producer.invocation(function.context()) as batch:
            batch.publish(event(KEYS[0], name))
            raise KeyError("hers")

    with pytest.raises(KeyError, match="hers"):
        handler("a")
    assert function.counts() == Counter("a")
    function.world.double.faults.extend([Fault("lose request")] * 100_000)
    function.end_after(3)
    with pytest.raises(KeyError, match="hers") as caught:
        handler("b")
    assert "may or may not be in the log" in caught.value.__notes__[0]


def test_the_places_are_counted_through_the_invocation(function: Function) -> None:
    with function.producer.invocation(Context()) as batch:
        batch.publish(event(KEYS[0], "a"))
        batch.publish_many([event(KEYS[1], "b"), event(KEYS[0], "c")])
        batch.flush()
        batch.publish(event(KEYS[2], "d"))
    places = sorted(index for delivery in batch.deliveries for index in delivery.indexes)
    assert places == [0, 1, 2, 3]


def test_one_invocation_at_a_time(function: Function) -> None:
    with (
        function.producer.invocation(Context()),
        pytest.raises(RuntimeError, match="under way"),
        function.producer.invocation(Context()),
    ):
        pass


def test_a_restored_snapshot_has_no_family(function: Function) -> None:
    """Everything that tells two environments apart is taken in the first invocation."""
    assert function.producer._producer is None
    others = [LambdaProducer(function.log, options=OPTIONS, attempt_s=0.0) for _ in range(2)]
    for number, producer in enumerate(others):
        with producer.invocation(Context()) as batch:
            batch.publish(event(KEYS[0], f"e{number}"))
    assert len({family for family, _ in function.sessions()}) == 2


def test_it_works_on_any_log(tmp_path: Path) -> None:
    """To try a handler on a directory."""
    create_directory_log(tmp_path / "log", PARAMS)
    log = DirectoryLog(tmp_path / "log")
    assert not isinstance(log, AsksTime)
    producer = LambdaProducer(log)
    with producer.invocation(Context()) as batch:
        batch.publish_many([event(KEYS[0], "a"), event(KEYS[1], "b")])
    assert {d.outcome for d in batch.deliveries} == {Outcome.ACKNOWLEDGED}
