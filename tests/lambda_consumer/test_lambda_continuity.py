"""A function that nothing was delivered to for a day, and what the stream has forgotten meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from binlog.errors import TrimmedError
from tests.lambda_consumer.event_source_mapping import Mapping
from tests.lambda_consumer.function_world import (
    KEYS,
    Context,
    FunctionWorld,
    key_of,
    partition_of_key,
)

HOUR_MS = 3_600_000


class Away:
    """A mapping that is disabled for a while, and the function behind it."""

    def __init__(self, *, cold: bool, retention_hours: int = 24) -> None:
        self.world = FunctionWorld(mapping="trust")
        self.world.stream.retention_hours = retention_hours
        self.cold = cold
        self.function = self.world.environment()
        self.mapping: Mapping = self.world.mapping(self.invoke)
        self.errors: list[Exception] = []

    def invoke(self, event: dict[str, Any]) -> Any:
        if self.cold:
            self.function = self.world.environment()
        return self.function.handle(event, Context())

    def hours(self, hours: float) -> None:
        self.world.world.clock.advance(round(hours * HOUR_MS))
        self.world.stream.trim(self.world.clock.now_ms())

    def reads(self) -> int:
        return self.world.world.double.calls["get_records"]

    def refusal(self) -> str:
        """Why the next batch has failed; nothing of it is applied."""
        before = self.world.found()
        assert self.mapping.step()
        assert self.mapping.stuck()
        assert self.world.found() == before
        return str(self.world.told()[-1]["Error"])


@pytest.fixture(params=[True, False], ids=["cold", "warm"])
def cold(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_what_was_forgotten_undelivered_is_not_passed_over(cold: bool) -> None:
    """The mapping goes on with what is left, as if nothing had been before it."""
    away = Away(cold=cold)
    away.world.publish(KEYS)
    away.mapping.run()
    away.hours(1)
    away.world.publish(KEYS)
    away.hours(25)
    away.world.publish(KEYS)
    error = away.refusal()
    assert "records may be missing between the store's place and what is delivered" in error
    assert "\n" not in error


@pytest.mark.parametrize("hours", [1, 22.5])
def test_a_shorter_pause_asks_nothing(cold: bool, hours: float) -> None:
    away = Away(cold=cold)
    away.world.publish(KEYS)
    away.mapping.run()
    away.hours(hours)
    away.world.publish(KEYS)
    before = away.reads()
    away.mapping.run()
    assert away.reads() == before
    away.world.check_complete()


def test_a_quiet_stream_goes_on_as_long_as_it_keeps_the_place(cold: bool) -> None:
    """Two days without a record, of a stream that keeps three."""
    away = Away(cold=cold, retention_hours=72)
    away.world.publish(KEYS)
    away.mapping.run()
    away.hours(48)
    away.world.publish(KEYS)
    away.mapping.run()
    away.world.check_complete()


def test_what_was_passed_over_and_is_still_there_is_found(cold: bool) -> None:
    """As by a mapping that was made anew with LATEST, where nobody looked at it."""
    away = Away(cold=cold, retention_hours=72)
    away.world.publish(KEYS)
    away.mapping.run()
    away.hours(1)
    away.world.publish(KEYS)
    away.hours(25)
    away.mapping._poll()
    for poll in away.mapping._polls.values():
        for lane in poll.lanes:
            lane.waiting.clear()
    away.world.publish(KEYS)
    assert "records were passed over" in away.refusal()


def test_a_quiet_partition_of_a_lane_that_lives_asks_nothing() -> None:
    """Its last record is days old, and what was delivered beside it is not: nothing can be missing."""
    away = Away(cold=False)
    away.world.publish(KEYS)
    away.mapping.run()
    before = away.reads()
    for _ in range(5):
        away.hours(20)
        away.world.publish([key_of(0)])
        away.mapping.run()
    away.world.publish([key_of(0), key_of(1)])
    assert partition_of_key(key_of(1)) == 1
    away.mapping.run()
    assert away.reads() == before
    assert away.world.found() == away.world.counts


def test_a_child_shard_that_was_forgotten_in_part_is_noticed(cold: bool) -> None:
    """The rows stand in its parent; what was first in the child is gone."""
    away = Away(cold=cold)
    away.world.publish(KEYS)
    away.mapping.run()
    away.hours(1)
    away.world.stream.split("shardId-000000000000", 2**127, away.world.clock.now_ms())
    away.world.publish(KEYS)
    away.hours(25)
    away.world.publish(KEYS)
    before = away.world.found()
    with pytest.raises(AssertionError, match="still something left"):
        away.mapping.run(20)
    assert away.world.found() == before


def test_a_store_that_begins_is_asked_for_its_genesis_by_the_sequencer() -> None:
    """There are no rows to look at, and the log is old: it is read from its beginning or not at all."""
    away = Away(cold=True, retention_hours=72)
    away.world.publish(KEYS)
    away.hours(48)
    away.world.publish(KEYS)
    away.mapping.run()
    away.world.check_complete()


def test_a_store_that_begins_behind_the_genesis_is_refused() -> None:
    away = Away(cold=True)
    away.world.publish(KEYS)
    away.hours(30)
    away.world.publish(KEYS)
    with pytest.raises(AssertionError, match="still something left"):
        away.mapping.run(10)
    assert not away.world.store.generations() or not away.world.found()
    assert TrimmedError.exit_status == 3
