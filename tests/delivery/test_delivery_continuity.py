"""Whether what is delivered goes on where the rows stand, of a stream that forgets."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from binlog.errors import BinlogError, TrimmedError
from binlog.log import Record
from binlog.partition import partition_key
from consumers.delivery import Outcome, Worker, Working, record_of
from tests.lambda_consumer.function_world import KEYS, FunctionWorld, key_of

SHARD = "shardId-000000000000"
HOUR_MS = 3_600_000


class Lease:
    """Whoever delivers a shard: goes on behind what was done, with the oldest that is left."""

    def __init__(self, *, hours: int = 24) -> None:
        self.world = FunctionWorld(mapping="trust")
        self.world.stream.retention_hours = hours
        self.after = -1
        self.begin()

    def begin(self) -> None:
        """A new process."""
        self.log = self.world.open_log()
        self.store = self.world.store.open()
        self.worker = Worker(self.log, self.store, Working(), clock=self.world.clock)

    def hours(self, hours: float) -> None:
        self.world.world.clock.advance(round(hours * HOUR_MS))
        self.world.stream.trim(self.world.clock.now_ms())

    def records(self) -> list[Record]:
        shard = self.worker.shard(SHARD)
        return [
            record_of(
                shard,
                sequence=each.sequence,
                arrival_s=each.arrival_ms / 1000,
                partition_key=each.key,
                data=each.data,
                partitions=self.log.params.partitions,
            )
            for each in self.world.stream.shards[SHARD].records
            if each.sequence > self.after
        ]

    def deliver(self, records: Iterable[Record] | None = None, *, closed: bool = False) -> Outcome:
        given = self.records() if records is None else list(records)
        outcome = self.worker.apply(SHARD, given, closed=closed)
        if outcome.first_failed is None and given:
            self.after = given[-1].sequence
        return outcome

    def refusal(self, *, closed: bool = False) -> BinlogError:
        before = self.world.found()
        outcome = self.deliver(closed=closed)
        assert isinstance(outcome.error, TrimmedError)
        assert closed or outcome.first_failed is not None
        assert self.world.found() == before
        return outcome.error


def done(outcome: Outcome) -> None:
    assert (outcome.first_failed, outcome.error) == (None, None)


@pytest.mark.parametrize("again", [True, False], ids=["new process", "same process"])
def test_what_was_forgotten_undelivered_is_not_passed_over(again: bool) -> None:
    """Whoever delivers goes on with what is left, as if nothing had been before it."""
    lease = Lease()
    lease.world.publish(KEYS)
    done(lease.deliver())
    lease.hours(1)
    lease.world.publish(KEYS)
    lease.hours(25)
    lease.world.publish(KEYS)
    if again:
        lease.begin()
    assert "records may be missing" in str(lease.refusal())


def test_one_that_falls_behind_the_edge_of_the_stream_is_told() -> None:
    """It was never away: each batch is a day old, and the stream forgets faster than it applies."""
    lease = Lease()
    lease.worker.continuity.unbroken = True
    lease.world.publish(KEYS)
    done(lease.deliver())
    lease.world.publish(KEYS)
    lease.hours(12)
    lease.world.publish(KEYS)
    lease.hours(11.5)
    done(lease.deliver([*lease.records()][:1]))
    lease.hours(12)
    lease.refusal()


def test_a_quiet_partition_of_a_shard_that_lives_is_delivered_alone() -> None:
    """Its row is days old, and what it stood at forgotten; the shard's other rows are not old."""
    lease = Lease()
    lease.world.publish(KEYS)
    done(lease.deliver())
    for _ in range(5):
        lease.hours(20)
        lease.world.publish([key_of(0)])
        done(lease.deliver())
    lease.world.publish([key_of(1)])
    lease.begin()
    done(lease.deliver())
    lease.world.publish([key_of(1), key_of(2)])
    done(lease.deliver())
    assert lease.world.found() == lease.world.counts


def test_of_lanes_the_others_rows_say_nothing() -> None:
    """One that failed for a day is overtaken by the others."""
    lease = Lease()
    lease.worker.continuity.lanes = True
    lease.world.publish(KEYS)
    done(lease.deliver())
    lease.world.publish([key_of(1)])  # fails, for a day
    for _ in range(5):
        lease.hours(6)
        lease.world.publish([key_of(0)])
        done(lease.deliver([r for r in lease.records() if r.partition == 0]))
    lease.world.publish([key_of(1)])
    lease.refusal()


def test_a_batch_that_fails_says_nothing_of_what_was_before_it() -> None:
    """What came behind a record that fails is carried; when that one is forgotten, its row is not."""
    lease = Lease()
    lease.world.publish(KEYS)
    done(lease.deliver())
    lease.world.publish([key_of(1)])
    shard = lease.world.stream.shards[SHARD]
    broken = shard.records[-1]
    assert broken.key == partition_key(1)
    whole, broken_data = broken.data, broken.data[:-1] + bytes([broken.data[-1] ^ 1])
    shard.records[-1] = type(broken)(**{**vars(broken), "data": broken_data})
    lease.hours(0.2)
    lease.world.publish([key_of(0)])
    halted = lease.deliver()
    assert halted.halted
    assert halted.first_failed == broken.sequence
    assert whole != broken_data
    lease.hours(23.9)
    assert broken.sequence not in {r.sequence for r in shard.records}
    lease.world.publish([key_of(1)])
    before = lease.world.found()
    outcome = lease.deliver()
    assert isinstance(outcome.error, TrimmedError)
    assert lease.world.found() == before


def test_a_shard_whose_end_was_forgotten_is_not_left() -> None:
    """Nobody was there for a day: of a shard that ended meanwhile no record comes, but its end."""
    lease = Lease()
    lease.world.publish(KEYS)
    done(lease.deliver())
    lease.hours(1)
    lease.world.publish(KEYS)
    lease.hours(1)
    lease.world.stream.split(SHARD, 2**127, lease.world.clock.now_ms())
    lease.hours(23.5)
    lease.begin()
    lease.refusal(closed=True)


def test_a_quiet_shard_that_splits_goes_on_where_nobody_was_away() -> None:
    lease = Lease()
    lease.worker.continuity.unbroken = True
    lease.world.publish(KEYS)
    done(lease.deliver())
    lease.hours(15)
    lease.worker.heard(SHARD)
    lease.hours(15)
    lease.world.stream.split(SHARD, 2**127, lease.world.clock.now_ms())
    assert lease.deliver(closed=True).error is None


@pytest.mark.parametrize("hours", [1, 22.5])
def test_a_shorter_pause_asks_nothing(hours: float) -> None:
    lease = Lease()
    lease.world.publish(KEYS)
    done(lease.deliver())
    lease.hours(hours)
    lease.world.publish(KEYS)
    before = lease.world.world.double.calls["get_records"]
    done(lease.deliver())
    assert lease.world.world.double.calls["get_records"] == before
