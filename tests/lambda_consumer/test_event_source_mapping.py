"""The mapping of the tests does what AWS documents of theirs, failures of every kind among it."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import md5
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from binlog.clock import ManualClock
from tests.lambda_consumer.event_source_mapping import (
    PAYLOAD_BYTES_MAX,
    FailedError,
    Mapping,
    Settings,
    SourceRecord,
    SourceShard,
    batches,
    other_factor,
)
from tests.lambda_consumer.live_source import LiveSource


@dataclass
class Stream:
    arn: str = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
    all: dict[str, SourceShard] = field(default_factory=dict)
    records: dict[str, list[SourceRecord]] = field(default_factory=lambda: defaultdict(list))

    def shards(self) -> list[SourceShard]:
        return list(self.all.values())

    def read(self, shard: str, after: int) -> list[SourceRecord]:
        return [record for record in self.records[shard] if record.sequence > after]

    def open(self, shard: str, *parents: str) -> None:
        self.all[shard] = SourceShard(shard, parents, closed=False)
        for parent in parents:
            self.all[parent] = self.all[parent]._replace(closed=True)

    def put(self, shard: str, sequence: int, key: str = "p0000", size: int = 1) -> None:
        self.records[shard].append(SourceRecord(sequence, sequence, key, bytes(size)))


class Function:
    """Notes what it is invoked with; fails as it is told to."""

    def __init__(self, answer: Callable[[list[int]], Any] = lambda _: None) -> None:
        self.answer = answer
        self.batches: list[tuple[str, list[int]]] = []
        self.keys: list[set[str]] = []

    def __call__(self, event: dict[str, Any]) -> Any:
        records = event["Records"]
        numbers = [int(each["kinesis"]["sequenceNumber"]) for each in records]
        self.batches.append((records[0]["eventID"].partition(":")[0], numbers))
        self.keys.append({each["kinesis"]["partitionKey"] for each in records})
        return self.answer(numbers)


def failed(*numbers: object) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": number} for number in numbers]}


def mapping(stream: Stream, function: Function, *, seed: int = 0, **settings: Any) -> Mapping:
    clock = ManualClock(10_000)
    return Mapping(stream, function, Settings(**settings), clock=clock, random=Random(seed))


def one_shard(count: int) -> Stream:
    stream = Stream()
    stream.open("a")
    for number in range(1, count + 1):
        stream.put("a", number, f"p{number % 4:04}")
    return stream


def test_a_shard_is_delivered_in_order_by_batches() -> None:
    function = Function()
    mapping(one_shard(7), function, batch_size=3).run()
    assert function.batches == [("a", [1, 2, 3]), ("a", [4, 5, 6]), ("a", [7])]


@pytest.mark.parametrize(
    "response", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}]
)
def test_an_empty_report_is_success(response: Any) -> None:
    function = Function(lambda _: response)
    mapping(one_shard(2), function).run()
    assert function.batches == [("a", [1, 2])]


def test_the_lowest_number_reported_is_the_checkpoint() -> None:
    """Whatever the order and number of the reports."""
    answers = iter([failed("4", "2", "3"), failed("2"), None])
    function = Function(lambda _: next(answers))
    mapping(one_shard(4), function, batch_size=4).run()
    assert function.batches == [("a", [1, 2, 3, 4]), ("a", [2, 3, 4]), ("a", [2, 3, 4])]


@pytest.mark.parametrize("number", ["", None, "99"])
def test_a_report_of_nothing_known_is_of_the_whole_batch(number: Any) -> None:
    answers = iter([failed(number), None])
    function = Function(lambda _: next(answers))
    mapping(one_shard(2), function).run()
    assert function.batches == [("a", [1, 2])] * 2


def test_a_report_that_nobody_reads_is_success() -> None:
    """The trap: with it a function that reports, and does not fail, loses records."""
    function = Function(lambda numbers: failed(str(numbers[0])))
    mapping(one_shard(2), function, report_batch_item_failures=False).run()
    assert function.batches == [("a", [1, 2])]


def raise_first(times: int) -> Callable[[list[int]], Any]:
    left = [times]

    def answer(_: list[int]) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise FailedError

    return answer


def test_an_error_has_the_batch_delivered_again_for_ever() -> None:
    function = Function(raise_first(50))
    mapped = mapping(one_shard(2), function)
    mapped.run()
    assert function.batches == [("a", [1, 2])] * 51
    assert not mapped.dropped


def test_bisecting_halves_and_keeps_the_order() -> None:
    function = Function(raise_first(2))
    mapping(one_shard(4), function, bisect=True).run()
    assert [numbers for _, numbers in function.batches] == [[1, 2, 3, 4], [1, 2], [1], [2], [3, 4]]


@pytest.mark.parametrize("by", ["error", "report"])
def test_retries_that_end_drop_records(by: str) -> None:
    def answer(numbers: list[int]) -> Any:
        if 3 not in numbers:
            return None
        if by == "error":
            raise FailedError
        return failed("3")

    function = Function(answer)
    mapped = mapping(one_shard(5), function, batch_size=2, retries=2)
    mapped.run()
    assert [record.sequence for record in mapped.dropped] == [3, 4]
    assert function.batches[-1] == ("a", [5])


def test_old_records_are_dropped_undelivered() -> None:
    function = Function()
    mapped = mapping(one_shard(4), function, age_s=1)
    assert isinstance(mapped._clock, ManualClock)
    mapped._clock.advance(-(10_000 - 1_003))
    mapped.run()
    assert [record.sequence for record in mapped.dropped] == [1, 2]
    assert function.batches == [("a", [3, 4])]


def test_a_key_is_always_in_one_lane_and_in_order() -> None:
    stream = Stream()
    stream.open("a")
    for number in range(1, 201):
        stream.put("a", number, f"p{number % 16:04}")
    function = Function(raise_first(5))
    mapping(stream, function, parallelization=4, batch_size=10, seed=3).run()
    seen: dict[str, list[int]] = defaultdict(list)
    for (_, numbers), keys in zip(function.batches, function.keys, strict=True):
        lanes = {int(md5(key.encode()).hexdigest(), 16) % 4 for key in keys}
        assert len(lanes) == 1
        for number in numbers:
            seen[f"p{number % 16:04}"].append(number)
    assert len(set().union(*function.keys)) == 16
    assert max(len(keys) for keys in function.keys) < 16, "no batch holds them all"
    for numbers in seen.values():
        assert sorted(set(numbers)) == list(dict.fromkeys(numbers)), "first deliveries are in order"


@pytest.mark.parametrize("seed", range(20))
def test_children_come_after_all_of_their_parents(seed: int) -> None:
    """A merge waits for both; and with lanes for the slowest of them."""
    stream = Stream()
    for shard in "ab":
        stream.open(shard)
        for number in range(1, 6):
            stream.put(shard, number, f"p{number:04}")
    stream.open("c", "a", "b")
    stream.open("d", "c")
    stream.put("c", 1)  # a child's numbers may be lower
    stream.put("d", 1)
    function = Function(raise_first(4))
    mapping(stream, function, parallelization=3, batch_size=2, seed=seed).run()
    order = [shard for shard, _ in function.batches]
    assert set(order[: order.index("c")]) == {"a", "b"}
    assert "a" not in order[order.index("c") :]
    assert "b" not in order[order.index("c") :]
    assert order.index("d") > len(order) - 1 - order[::-1].index("c")


def test_a_window_waits_for_more() -> None:
    stream, function = one_shard(2), Function()
    mapped = mapping(stream, function, window_s=5, batch_size=3)
    assert isinstance(mapped._clock, ManualClock)
    assert not mapped.step()
    assert mapped.is_due()
    mapped._clock.advance(5_000)
    assert mapped.step()
    stream.put("a", 3)
    stream.put("a", 4)
    stream.put("a", 5)
    assert mapped.step(), "a full batch does not wait"
    assert function.batches == [("a", [1, 2]), ("a", [3, 4, 5])]


def test_a_closed_shard_waits_for_no_window() -> None:
    stream, function = one_shard(1), Function()
    stream.open("b", "a")
    mapping(stream, function, window_s=300).run()
    assert function.batches == [("a", [1])]


def test_an_event_stays_below_six_megabytes() -> None:
    stream, function = Stream(), Function()
    stream.open("a")
    for number in range(1, 11):
        stream.put("a", number, size=1024 * 1024)
    mapping(stream, function).run()
    assert [len(numbers) for _, numbers in function.batches] == [4, 4, 2]
    assert 4 * 1024 * 1024 * 4 // 3 < PAYLOAD_BYTES_MAX < 5 * 1024 * 1024 * 4 // 3


@pytest.mark.parametrize("factor", [1, 3, 10])
def test_a_restart_delivers_from_the_lowest_unfinished_on(factor: int) -> None:
    """What other lanes had finished beyond it comes again, with another factor in other batches."""
    stream = one_shard(40)
    function = Function()
    mapped = mapping(stream, function, parallelization=4, batch_size=2, seed=1)
    for _ in range(7):
        mapped.step()
    done = {number for _, numbers in function.batches for number in numbers}
    lowest = mapped.stuck()["a"]
    again = {number for number in done if number > lowest}
    assert again, "another seed is needed"
    mapped.restart(other_factor(mapped.settings, factor))
    function.batches.clear()
    mapped.run()
    assert {n for _, numbers in function.batches for n in numbers} == set(range(lowest, 41))


def test_what_is_stuck_is_said() -> None:
    mapped = mapping(one_shard(3), Function(lambda _: failed("2")))
    with pytest.raises(AssertionError, match=r"\{'a': 2\}"):
        mapped.run(10)


def test_the_same_seed_is_the_same_history() -> None:
    histories = []
    for _ in range(2):
        function = Function(raise_first(3))
        mapping(one_shard(30), function, parallelization=5, batch_size=2, seed=9).run()
        histories.append(function.batches)
    assert histories[0] == histories[1]


def test_the_plain_history_has_everything_once() -> None:
    stream = one_shard(5)
    found = [record for _, batch in batches(stream, 2) for record in batch]
    assert found == stream.read("a", -1)


def test_data_is_base64_and_arrival_a_float() -> None:
    stream = Stream()
    stream.open("a")
    stream.records["a"].append(SourceRecord(1, 1_545_084_650_987, "k", b"\xff\xfe"))
    seen: list[Any] = []
    mapped = Mapping(stream, seen.append, Settings(), clock=ManualClock(1), random=Random(0))
    mapped.run()
    kinesis = seen[0]["Records"][0]["kinesis"]
    assert base64.b64decode(kinesis["data"]) == b"\xff\xfe"
    assert kinesis["approximateArrivalTimestamp"] == 1_545_084_650.987


class Busy:
    """As much of a stream as a source asks: there is always one more record."""

    stream = "s"

    def __init__(self) -> None:
        self.clients = SimpleNamespace(calls=self)
        self.asked = 0

    def list_shards(self, **_: str) -> dict[str, Any]:
        return {"Shards": [{"ShardId": "shard-0", "SequenceNumberRange": {}}]}

    def get_shard_iterator(self, **_: str) -> dict[str, str]:
        return {"ShardIterator": "0"}

    def get_records(self, **_: str) -> dict[str, Any]:
        self.asked += 1
        assert self.asked < 1_000, "it reads, and delivers nothing"
        record = {"SequenceNumber": str(self.asked), "PartitionKey": "p0000", "Data": b""}
        return {
            "NextShardIterator": "0",
            "Records": [record | {"ApproximateArrivalTimestamp": 1.5}],
        }


def test_a_stream_that_does_not_stop_is_delivered_all_the_same() -> None:
    """On a busy machine there is no empty page: who waits for one has read for minutes."""
    given: list[int] = []

    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        given.extend(int(r["kinesis"]["sequenceNumber"]) for r in event["Records"])
        return {}

    service: Any = Busy()
    mapping = Mapping(
        LiveSource(service), invoke, Settings(), clock=ManualClock(), random=Random(1)
    )
    for _ in range(5):
        assert mapping.step()
    assert given == [1, 2, 3, 4, 5]
