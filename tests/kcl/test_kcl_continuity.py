"""A worker that nothing was delivered to for a day, and what the stream has forgotten meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from binlog.log import Record
from consumers.delivery import Worker, Working
from consumers.kcl_health import Health
from consumers.kcl_records import Records
from consumers.kcl_shard import EXIT_FAILED, Applies, Delivered, Paces, ShardConsumer
from tests.kcl.kcl_doubles import Checkpoints
from tests.lambda_consumer.function_world import (
    KEYS,
    FunctionWorld,
    key_of,
    partition_of_key,
)

HOUR_MS = 3_600_000
SHARD = "shardId-000000000000"


class Away:
    """One shard's processes, one after the other; KCL hands over what the stream still has."""

    def __init__(self, *, cold: bool, retention_hours: int = 24) -> None:
        self.world = FunctionWorld()
        self.world.stream.retention_hours = retention_hours
        self.cold = cold
        self.clock = self.world.world.clock
        self.random = Random(0)
        self.given = -1
        self.process = self.started()

    def started(self) -> ShardConsumer:
        made = ShardConsumer(self, Health(None, self.clock))
        made.initialize(SHARD, "TRIM_HORIZON" if self.given < 0 else str(self.given))
        return made

    def wait(self, seconds: float) -> bool:
        self.clock.advance(round(seconds * 1000))
        return True

    def pace(self, shard: str) -> Paces | None:
        del shard
        return None

    def is_ending(self) -> bool:
        return False

    def open(
        self, shard: str, after: int
    ) -> tuple[Applies, Callable[[Sequence[Delivered]], list[Record]]]:
        log, store = self.world.open_log(), self.world.store.open()
        worker = Worker(log, store, Working(rules=self.world.settings.rules), clock=self.clock)
        worker.continuity.unbroken = True
        records = Records(log, worker.shard(shard), after)
        return worker, records

    def hours(self, hours: float) -> None:
        self.clock.advance(round(hours * HOUR_MS))
        self.world.stream.trim(self.clock.now_ms())

    def deliver(self) -> None:
        """All that is left."""
        if self.cold:
            self.process = self.started()
        found = [
            Delivered(r.sequence, 0, r.arrival_ms, r.key, r.data)
            for r in self.world.stream.shards[SHARD].records
            if r.sequence > self.given
        ]
        self.process.process(found, 0, Checkpoints())
        if found:
            self.given = found[-1].sequence

    def end(self) -> Checkpoints:
        kcl = Checkpoints()
        self.process.shard_ended(kcl)
        return kcl

    def reads(self) -> int:
        return self.world.world.double.calls["get_records"]

    def refuses(self, call: Callable[[], object]) -> None:
        before = self.world.found()
        with pytest.raises(SystemExit) as ended:
            call()
        assert ended.value.code == EXIT_FAILED
        assert self.world.found() == before
        assert "nothing was, for a day or more" in str(self.process.health.now.error)
        assert self.process.health.now.exit_status == 3


@pytest.fixture(params=[True, False], ids=["new process", "same process"])
def cold(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_what_was_forgotten_undelivered_is_not_passed_over(cold: bool) -> None:
    """KCL goes on with what is left, as if nothing had been before it."""
    away = Away(cold=cold)
    away.world.publish(KEYS)
    away.deliver()
    away.hours(1)
    away.world.publish(KEYS)
    away.hours(25)
    away.world.publish(KEYS)
    away.refuses(away.deliver)


@pytest.mark.parametrize("says", ["there is something new", "the shard has ended"])
def test_nor_where_all_of_it_was_forgotten(cold: bool, says: str) -> None:
    """The first that KCL could read then is that there is nothing."""
    away = Away(cold=cold)
    away.world.publish(KEYS)
    away.deliver()
    away.hours(1)
    away.world.publish(KEYS)
    away.hours(25)
    away.deliver()
    away.hours(1)
    away.world.publish(KEYS)
    away.refuses(away.deliver if says == "there is something new" else away.end)


def test_a_quiet_shard_goes_on_as_long_as_somebody_listens() -> None:
    """A week without a record: KCL says all along that nothing is left."""
    away = Away(cold=False)
    away.world.publish(KEYS)
    away.deliver()
    for _ in range(10):
        away.hours(17)
        away.deliver()
    before = away.reads()
    away.world.publish(KEYS)
    away.deliver()
    assert away.world.found() == away.world.counts
    for _ in range(3):
        away.hours(20)
        away.deliver()
    assert away.end().told == [(None, None)]
    assert away.reads() == before


def test_a_partition_is_as_complete_as_its_shard(cold: bool) -> None:
    """Its last record is days old, and forgotten; what was delivered beside it is not."""
    away = Away(cold=cold)
    away.world.publish(KEYS)
    away.deliver()
    for _ in range(5):
        away.hours(20)
        away.world.publish([key_of(0)])
        away.deliver()
    before = away.reads()
    away.hours(1)
    away.world.publish([key_of(1)])
    assert partition_of_key(key_of(1)) == 1
    away.deliver()
    assert away.reads() == before
    away.hours(1)
    assert away.end().told == [(None, None)]
    assert away.reads() == before


def test_a_shard_that_was_ended_before_is_ended_again() -> None:
    """The answer was lost, and the next one comes when the rows are old, and stand in its child."""
    away = Away(cold=False, retention_hours=72)
    away.world.publish(KEYS)
    away.deliver()
    away.world.stream.split(SHARD, 2**127, away.clock.now_ms())
    assert away.end().told == [(None, None)]
    away.hours(30)
    away.process = away.started()
    assert away.end().told == [(None, None)]
