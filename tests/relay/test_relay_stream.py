"""Another stream as an inbox: resharded, trimmed, and of our own keys."""

from __future__ import annotations

import json
from typing import Any

import pytest

from binlog.clock import ManualClock
from binlog.errors import MismatchError, RefusedError, TrimmedError
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.memory import MemoryLog
from binlog.relay import ForeignInbox, LogInbox, Relay, make_convert, opening
from binlog.relay.kinesis_inbox import StreamInbox
from tests.log.kinesis_double import HOUR_MS, KinesisDouble
from tests.log.kinesis_world import KinesisWorld
from tests.relay.foreign_world import new_log
from tests.relay.test_relay_formats import log_params, read

START_MS = 1_700_000_000_000


class Inboxes:
    """A stream ``clicks`` that others write to, and a log that it is relayed to."""

    def __init__(self, shards: int = 1) -> None:
        self.clock = ManualClock(START_MS)
        self.double = KinesisDouble(self.clock)
        self.double.create_stream(StreamName="clicks", ShardCount=shards)
        self.log = new_log(self.clock)
        self.count = 0

    @property
    def stream(self) -> Any:
        return self.double.streams["clicks"]

    def pause(self, seconds: float) -> None:
        self.clock.advance(max(1, round(seconds * 1000)))

    def put(self, key: str, *, at: int = 0) -> None:
        data = json.dumps({"n": self.count, "key": key}).encode()
        record = {"PartitionKey": key, "ExplicitHashKey": str(at), "Data": data}
        self.stream.land(record, self.clock.now_ms())
        self.count += 1

    def inbox(self, *, accept_loss: bool = False) -> StreamInbox:
        service = kinesis_service(
            "clicks", connect=self.double.connect, clock=self.clock, pause=self.pause
        )
        return StreamInbox(service, reads_per_s=1000, accept_loss=accept_loss)

    def relay(self, **options: Any) -> int:
        relay = Relay(
            self.inbox(**options),
            self.log,
            make_convert(payload="json", event_type="Click"),
            monotonic=self.clock.monotonic,
            pause=self.pause,
        )
        return relay.run(once=True).events

    def numbers(self) -> list[int]:
        return [event.data["n"] for event in read(self.log)]


def test_a_stream_is_relayed_across_splits_and_merges_each_key_in_order() -> None:
    world = Inboxes()
    for key in "abab":
        world.put(key)
    one, two = world.stream.split("shardId-000000000000", 2**127, world.clock.now_ms())
    world.put("a")
    assert world.relay() == 5
    world.put("b", at=2**127)
    world.stream.merge(one, two, world.clock.now_ms())
    world.put("a")
    assert world.relay() == 2
    assert world.relay() == 0
    assert sorted(world.numbers()) == list(range(7))
    for key in "ab":
        of_key = [e.data["n"] for e in read(world.log) if e.data["key"] == key]
        assert of_key == sorted(of_key)


def test_a_record_under_a_key_of_ours_is_a_record_of_that_stream() -> None:
    """It is no log, so nothing in it is ours."""
    world = Inboxes()
    world.put("p0000", at=2**127)
    world.put("p0003")
    assert world.relay() == 2
    assert [e.key for e in read(world.log)] in (
        [{"partition_key": "p0000"}, {"partition_key": "p0003"}],
        [{"partition_key": "p0003"}, {"partition_key": "p0000"}],
    )


def test_what_was_forgotten_before_the_first_relay_is_nobodys_loss() -> None:
    """It begins with what is there, in a child shard, too."""
    world = Inboxes()
    world.put("a")
    world.stream.split("shardId-000000000000", 2**127, world.clock.now_ms())
    world.put("a")
    world.clock.advance(30 * HOUR_MS)
    world.put("a")
    assert world.relay() == 1
    assert world.numbers() == [2]


def test_what_was_forgotten_after_it_stops_the_relay_until_somebody_accepts_the_loss() -> None:
    """A relay that was down for longer than the retention must not go on in silence."""
    world = Inboxes()
    world.put("a")
    assert world.relay() == 1
    world.put("a")  # never relayed
    world.clock.advance(30 * HOUR_MS)
    world.put("a")
    with pytest.raises(TrimmedError, match="--accept-loss"):
        world.relay()
    assert world.relay(accept_loss=True) == 1
    assert world.numbers() == [0, 2]
    assert world.relay() == 0


def test_expired_iterators_empty_pages_and_throttles_change_nothing() -> None:
    world = Inboxes(shards=2)
    for number in range(40):
        world.put(f"k{number % 5}", at=(number % 2) * 2**127)
    world.double.page_records = 3
    world.double.empty_pages = 4
    world.double.throttled_reads = 3
    assert world.relay() == 40
    assert sorted(world.numbers()) == list(range(40))


# -- which inbox it is ---------------------------------------------------------------------------


def test_an_address_is_the_log_itself_another_log_or_a_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = KinesisWorld()
    log = world.open()
    other = MemoryLog(log_params(), clock=world.clock)
    monkeypatch.setattr(opening, "open_log", lambda _, **__: world.open())
    assert isinstance(opening.open_inbox("kinesis://s", log), ForeignInbox)
    assert isinstance(opening.open_inbox("kinesis://s", other), LogInbox)
    plain = Inboxes()

    def no_log(_: str, **__: object) -> KinesisLog:
        return KinesisLog("clicks", connect=plain.double.connect, clock=plain.clock)

    monkeypatch.setattr(opening, "open_log", no_log)
    monkeypatch.setattr(
        "binlog.logs.kinesis.kinesis_service", lambda *_, **__: plain.inbox()._service
    )
    assert isinstance(opening.open_inbox("kinesis://clicks", log), StreamInbox)
    log.close()


def test_a_log_made_halfway_is_no_stream_to_relay_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its frames would become events by the thousand."""

    def halfway(_: str, **__: object) -> MemoryLog:
        raise MismatchError("genesis records of different parameters", "kinesis://s")

    monkeypatch.setattr(opening, "open_log", halfway)
    with pytest.raises(MismatchError):
        opening.open_inbox("kinesis://s", new_log())


@pytest.mark.parametrize("url", ["memory:", "sqlite:x.db", "s3://b/p", "x"])
def test_what_is_no_stream_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(RefusedError, match="write"):
        opening.open_inbox(url, new_log())
