"""The function: what it applies, what it reports, and what it refuses."""

from __future__ import annotations

import base64
import logging
import threading
from random import Random
from typing import Any

import msgspec
import pytest

from binlog.errors import BinlogError, MismatchError, RefusedError, StorageError
from binlog.partition import explicit_hash_key
from binlog.values import decode_value
from consumers.aws_lambda_function import ASLEEP_S, SEEN_S, Function
from tests.lambda_consumer.event_source_mapping import SourceRecord, event_of
from tests.lambda_consumer.function_world import (
    KEYS,
    MAPPING,
    TABLE,
    Context,
    FunctionWorld,
    HookedStore,
    key_of,
    partition_of_key,
)
from tests.log.log_frames import PARAMS

ARN = MAPPING["EventSourceArn"]
DONE: dict[str, Any] = {"batchItemFailures": []}


@pytest.fixture
def world() -> FunctionWorld:
    return FunctionWorld()


def events(world: FunctionWorld, size: int = 10_000) -> list[dict[str, Any]]:
    """All that there is, a shard after the other."""
    found: list[dict[str, Any]] = []
    mapping = world.mapping(found.append, batch_size=size)
    mapping.run()
    return found


def first(event: dict[str, Any], index: int = 0) -> str:
    return str(event["Records"][index]["kinesis"]["sequenceNumber"])


# -- applying ------------------------------------------------------------------------------------


def test_everything_published_is_in_the_store(world: FunctionWorld) -> None:
    for _ in range(5):
        world.publish(KEYS)
    world.mapping(world.environment(), batch_size=3).run()
    world.check_complete()


def test_what_comes_twice_is_applied_once(world: FunctionWorld) -> None:
    """By the same environment or another; nothing is written for it."""
    world.publish(KEYS)
    [event] = events(world)
    one, two = world.environment(), world.environment()
    for function in (one, one, two, one):
        assert function.handle(event, Context()) == DONE
    world.check_complete()
    assert [each["Writes"] for each in world.told()] == [len(KEYS), 0, 0, 0]


def test_no_thread_is_at_work_when_the_handler_has_returned(world: FunctionWorld) -> None:
    """P8: the environment is frozen then, for how long nobody knows."""
    before = set(threading.enumerate())
    world.publish(KEYS)
    world.mapping(world.environment()).run()
    assert not set(threading.enumerate()) - before


def test_nothing_is_opened_before_the_first_invocation(world: FunctionWorld) -> None:
    """A snapshot (SnapStart) holds no connection and no time, and a cold start that waits for a
    batch costs no call."""
    before = dict(world.world.double.calls)
    world.environment()
    assert dict(world.world.double.calls) == before
    assert not world.looked


def test_a_warm_environment_asks_the_stream_nothing(world: FunctionWorld) -> None:
    """The calls that find a log are few a second and account, and there may be many lanes."""
    function = world.environment()
    mapping = world.mapping(function)
    world.publish(KEYS)
    mapping.run()
    before = dict(world.world.double.calls)
    for _ in range(3):
        world.publish(KEYS)
        mapping.run()
    after = dict(world.world.double.calls)
    after["put_records"] = before["put_records"]
    assert after == before
    assert world.looked == 1
    world.check_complete()


def test_arrival_is_what_every_other_reader_gets(world: FunctionWorld) -> None:
    """A float of seconds becomes the same whole milliseconds: digests would differ otherwise."""
    for ms in (1, 7, 993, 17):
        world.world.clock.advance(ms)
        world.publish(KEYS)
    world.mapping(world.environment(), batch_size=2).run()
    world.check_complete()


# -- failing -------------------------------------------------------------------------------------


def failing_store(world: FunctionWorld, calls: int) -> HookedStore:
    """Its first ``calls`` commits raise before anything is written."""
    left = [calls]

    def hook(name: str) -> None:
        if name == "commit" and left[0]:
            left[0] -= 1
            raise StorageError("throttled for a minute", world.store.name)

    return HookedStore(world.store, hook)


def test_a_store_that_fails_has_the_batch_delivered_again(world: FunctionWorld) -> None:
    world.publish(KEYS)
    [event] = events(world)
    function = world.environment(failing_store(world, 1))
    assert function.handle(event, Context()) == {
        "batchItemFailures": [{"itemIdentifier": first(event)}]
    }
    assert world.told()[-1]["Failed"] == len(event["Records"])
    assert "throttled for a minute" in world.told()[-1]["Error"]
    world.mapping(function).run()
    world.check_complete()


def test_a_report_that_nobody_reads_is_an_error_instead(world: FunctionWorld) -> None:
    """Behind a mapping without ReportBatchItemFailures whatever returns has succeeded."""
    world.mappings = [MAPPING | {"FunctionResponseTypes": []}]
    world.publish(KEYS)
    [event] = events(world)
    function = world.environment(failing_store(world, 1))
    with pytest.raises(StorageError, match="throttled"):
        function.handle(event, Context())
    world.mapping(function, report_batch_item_failures=False).run()
    world.check_complete()


@pytest.mark.parametrize("mappings", [[], RefusedError("lambda:ListEventSourceMappings is denied")])
def test_without_a_mapping_to_look_at_failures_are_errors(
    world: FunctionWorld, mappings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A pipe, a test event, or a permission that is missing: it works, and never reports."""
    world.mappings = mappings
    world.publish(KEYS)
    [event] = events(world)
    function = world.environment(failing_store(world, 1))
    with pytest.raises(StorageError):
        function.handle(event, Context())
    assert function.handle(event, Context()) == DONE
    world.check_complete()
    told = [record for record in caplog.records if "mapping." in record.getMessage()]
    assert [record.levelno for record in told][:1] == [logging.WARNING]


class Standing:
    """An environment's clocks: the monotonic one stands still while it is frozen."""

    def __init__(self, world: FunctionWorld) -> None:
        self._clock = world.world.clock

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def monotonic(self) -> float:
        return 7.0


@pytest.mark.parametrize("passed_s", [SEEN_S + 1, -1.0])
def test_a_mapping_that_was_changed_is_noticed_before_a_report(
    world: FunctionWorld, passed_s: float
) -> None:
    """What was true before a freeze, or a minute ago, is not what a report may rest on."""
    world.publish(KEYS)
    [event] = events(world)
    left = [0]

    def hook(name: str) -> None:
        if name == "commit" and left[0]:
            left[0] -= 1
            raise StorageError("gone")

    function = world.environment(HookedStore(world.store, hook), clock=Standing(world))
    assert function.handle(event, Context()) == DONE
    world.mappings = [MAPPING | {"FunctionResponseTypes": []}]
    world.publish(KEYS)
    [event] = events(world)
    world.world.clock.advance(round(passed_s * 1000))
    left[0] = 1
    with pytest.raises(StorageError, match="gone"):
        function.handle(event, Context())
    assert world.looked == 2


def test_a_trusted_mapping_is_not_asked() -> None:
    world = FunctionWorld(mapping="trust")
    world.publish(KEYS)
    [event] = events(world)
    function = world.environment(failing_store(world, 1))
    assert function.handle(event, Context())["batchItemFailures"]
    assert function.handle(event, Context()) == DONE
    assert not world.looked


def test_an_error_of_our_own_fails_the_invocation_and_is_not_gone_on_with(
    world: FunctionWorld,
) -> None:
    world.publish(KEYS)
    [event] = events(world)
    left = [1]

    def hook(name: str) -> None:
        if name == "commit done" and left[0]:
            left[0] -= 1
            raise ZeroDivisionError

    function = world.environment(HookedStore(world.store, hook))
    with pytest.raises(ZeroDivisionError):
        function.handle(event, Context())
    assert function._opened is None
    assert function.handle(event, Context()) == DONE
    world.check_complete()


# -- time ----------------------------------------------------------------------------------------


def test_it_comes_back_in_time_and_reports_the_rest(world: FunctionWorld) -> None:
    """A commit takes a second by the clock, and there is more than three; what is done is done."""
    random = Random(1)
    for number in range(80):
        blob = base64.b64encode(random.randbytes(24_000)).decode()
        item = {"id": f"k{number}", "blob": blob}
        world.publish_actions(
            [{"Action": "PutItem", "Table": "blobs", "Key": {"id": f"k{number}"}, "Data": item}]
        )

    def hook(name: str) -> None:
        if name == "commit":
            world.world.clock.advance(1_000)

    function = world.environment(HookedStore(world.store, hook))
    seconds, firsts = 3.0 + world.settings.reserve_s, []

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        began = world.clock.monotonic()
        response = function.handle(event, Context(seconds))
        assert world.clock.monotonic() - began <= seconds - world.settings.reserve_s
        for failure in response["batchItemFailures"]:
            numbers = [each["kinesis"]["sequenceNumber"] for each in event["Records"]]
            firsts.append(numbers.index(failure["itemIdentifier"]))
        return response

    world.mapping(invoke).run()
    assert len(firsts) >= 2
    assert all(index > 0 for index in firsts), "every invocation gets on"
    world.check_complete()


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0])
def test_a_timeout_that_leaves_no_time_is_said(world: FunctionWorld, seconds: float) -> None:
    world.publish(KEYS)
    [event] = events(world)
    with pytest.raises(RefusedError, match="function's timeout: make it longer"):
        world.environment().handle(event, Context(seconds))


# -- bad input -----------------------------------------------------------------------------------


def refused(function: Function, event: Any) -> BinlogError:
    with pytest.raises(BinlogError) as caught:
        function.handle(event, Context())
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "event", [{"key1": "value1"}, [], {"Records": []}, {"Records": [{"eventSource": "aws:sqs"}]}]
)
def test_what_is_no_event_of_a_stream_is_an_error(world: FunctionWorld, event: Any) -> None:
    """Returning would be success. One line, and its remedy."""
    error = refused(world.environment(), event)
    assert error.do.startswith("give the function an event source mapping")
    assert world.told()[-1]["Failed"] == 1


def test_another_streams_batch_has_failed_at_its_first_record(world: FunctionWorld) -> None:
    record = SourceRecord(7, 1_700_000_000_000, "p0000", b"")
    event = event_of("shardId-000000000000", [record], ARN.replace("stream/s", "stream/t"))
    error = refused(world.environment(), event)
    assert "records of the stream t: BINLOG_LOG=kinesis://s" in str(error)
    assert isinstance(error, MismatchError)


def test_a_trusted_mapping_is_told_the_first_record_of_another_streams_batch() -> None:
    world = FunctionWorld(mapping="trust")
    records = [SourceRecord(7 + i, 1_700_000_000_000, "p0000", b"") for i in range(2)]
    event = event_of("shardId-000000000000", records, ARN.replace("stream/s", "stream/t"))
    assert world.environment().handle(event, Context()) == {
        "batchItemFailures": [{"itemIdentifier": "7"}]
    }


def test_a_stream_of_that_name_in_another_region_is_another(world: FunctionWorld) -> None:
    log = "kinesis://s?region=eu-west-1"
    world.settings = msgspec.structs.replace(world.settings, log=log)
    world.publish(KEYS)
    [event] = events(world)
    response = world.environment().handle(event, Context())
    assert response == {"batchItemFailures": [{"itemIdentifier": first(event)}]}
    assert "records of region us-east-1" in world.told()[-1]["Error"]


def test_a_shard_that_the_stream_does_not_have_is_said(world: FunctionWorld) -> None:
    record = SourceRecord(7, 1_700_000_000_000, "p0000", b"")
    event = event_of("shardId-000000000099", [record], ARN)
    function = world.environment()
    response = function.handle(event, Context())
    assert response == {"batchItemFailures": [{"itemIdentifier": "7"}]}
    assert "shardId-000000000099" in world.told()[-1]["Error"]


def test_a_store_of_another_log_is_said(world: FunctionWorld) -> None:
    other = FunctionWorld()
    world.store.bind(b"another log's genesis")
    world.publish(KEYS)
    [event] = events(world)
    response = world.environment().handle(event, Context())
    assert response["batchItemFailures"]
    assert "log" in world.told()[-1]["Error"]
    assert other.store.generations() == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"StartingPosition": "LATEST"}, "StartingPosition LATEST"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}}, "FilterCriteria"),
        ({"MaximumRetryAttempts": 3}, "MaximumRetryAttempts 3"),
        ({"MaximumRecordAgeInSeconds": 600}, "MaximumRecordAgeInSeconds 600"),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:eu-west-1:1:q"}}},
            "on-failure destination",
        ),
    ],
)
def test_refuses_to_begin_behind_a_mapping_that_drops_records(
    world: FunctionWorld, change: dict[str, Any], says: str
) -> None:
    world.mappings = [MAPPING | change]
    world.publish(KEYS)
    [event] = events(world)
    function = world.environment()
    for _ in range(2):
        response = function.handle(event, Context())
        assert response == {"batchItemFailures": [{"itemIdentifier": first(event)}]}
        assert says in world.told()[-1]["Error"]
    assert not world.store.generations() or not world.found()
    world.mappings = [dict(MAPPING)]
    assert function.handle(event, Context()) == DONE, "it is looked at again"
    world.check_complete()


def test_a_running_store_goes_on_where_to_refuse_would_be_to_lose(
    world: FunctionWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a limit of retries a refusal is three attempts away from a gap; so it is shouted."""
    world.publish(KEYS)
    world.mapping(world.environment()).run()
    world.mappings = [MAPPING | {"MaximumRetryAttempts": 3}]
    world.publish(KEYS)
    assert world.environment().handle(events(world)[-1], Context()) == DONE
    assert any("mapping.unsafe" in record.getMessage() for record in caplog.records)
    world.check_complete()


# -- what people have to know of -------------------------------------------------------------------


def test_a_halted_partition_is_told_and_the_others_go_on(world: FunctionWorld) -> None:
    """An alarm rests on the figure: the shard does not get beyond that record until it is decided."""
    world.publish(KEYS)
    hash_key = int(explicit_hash_key(1, PARAMS.partitions))
    world.world.foreign("p0001", b"no frame", hash_key=hash_key)
    halted = world.stream.shards["shardId-000000000000"].records[-1].sequence
    world.publish(KEYS)
    [event] = events(world)
    response = world.environment().handle(event, Context())
    assert response == {"batchItemFailures": [{"itemIdentifier": str(halted)}]}
    told = world.told()[-1]
    assert told["Halted"] == 1
    assert "resolve" in told["Error"]
    found = world.found()
    for key in KEYS:
        assert found[key] == (1 if partition_of_key(key) == 1 else 2), key


def test_a_foreign_record_is_kept_and_told(world: FunctionWorld) -> None:
    world.publish(KEYS)
    world.world.foreign("me", b"hello")
    [event] = events(world)
    assert world.environment().handle(event, Context()) == DONE
    assert world.told()[-1]["Foreign"] == 1
    assert [record.data for record in world.store.foreign()] == [b"hello"]


@pytest.mark.parametrize("poison", ["park", "stop"])
def test_poison_waits_as_it_is_configured(poison: str) -> None:
    """Parked with its key, or the shard waits; either way everything else is applied, and it is told."""
    world = FunctionWorld(poison=poison)
    add = {"Action": "UpdateItem", "Table": TABLE, "Key": {"id": "bad"}}
    world.publish(KEYS)
    world.publish_actions(
        [add | {"Data": {"Set": {"n": "text"}}}, add | {"Data": {"Add": {"n": 1}}}]
    )
    [event] = events(world)
    response = world.environment().handle(event, Context())
    told = world.told()[-1]
    assert (response == DONE) == (poison == "park")
    assert (told["Parked"] == 1) == (poison == "park")
    assert (told["Failed"] > 0) == (poison == "stop")
    rows = (decode_value(row.data) for _, row in world.store.scan(TABLE) if row.data is not None)
    assert {item["id"] for item in rows} >= {
        k for k in KEYS if partition_of_key(k) != partition_of_key("bad")
    }


# -- freezing ------------------------------------------------------------------------------------


def test_after_a_sleep_all_is_opened_anew(world: FunctionWorld) -> None:
    """A connection that died while the environment was frozen hangs until its time-out. By the wall
    clock: the monotonic one may have stood still. Nobody knows how long it was if that went back."""
    opened: list[str] = []

    def open_log(url: str) -> Any:
        opened.append(url)
        return world.open_log()

    mapping = world.mapping(world.environment(open_log=open_log))
    for seconds, count in ((0.0, 1), (ASLEEP_S - 1, 1), (ASLEEP_S, 2), (3_600.0, 3), (-5.0, 4)):
        world.world.clock.advance(round(seconds * 1000))
        world.publish([key_of(0)])
        mapping.run()
        assert len(opened) == count, seconds
    world.check_complete()
