"""One shard's process: what it does with each message, and that nothing returns after a failure."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from binlog.errors import (
    BinlogError,
    DamageError,
    HaltedError,
    MismatchError,
    PoisonError,
    StorageError,
)
from consumers import kcl_shard
from consumers.delivery import Outcome
from consumers.kcl_shard import EXIT_FAILED, EXIT_ORPHANED, PATIENCE_S, ShardConsumer
from tests.kcl.kcl_doubles import Checkpoints, ScriptedWays, delivered, sequences, started


@pytest.fixture
def ways() -> ScriptedWays:
    return ScriptedWays()


@pytest.fixture
def shard(ways: ScriptedWays) -> ShardConsumer:
    return started(ways)


def later(ways: ScriptedWays) -> None:
    ways.clock.advance(round(kcl_shard.CHECKPOINT_EVERY_S * 1000))


def fails(call: Callable[[], object], status: int = EXIT_FAILED) -> None:
    """It ends the process: amazon_kclpy swallows everything else."""
    with pytest.raises(SystemExit) as ended:
        call()
    assert ended.value.code == status


# -- batches -------------------------------------------------------------------------------------


def test_tells_kcl_only_what_is_durable_and_not_at_every_batch(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    """Each checkpoint costs a write to the lease table; one that is behind costs nothing."""
    kcl = Checkpoints()
    shard.process(delivered(1, 2), 0, kcl)
    assert kcl.told == []
    later(ways)
    shard.process(delivered(3, 4), 0, kcl)
    shard.process(delivered(5), 0, kcl)
    assert kcl.told == [(4, 0)]
    assert ways.worker.durable == [1, 2, 3, 4, 5]


def test_an_empty_batch_is_nothing(ways: ScriptedWays, shard: ShardConsumer) -> None:
    shard.process([], None, Checkpoints())
    assert ways.worker.calls == []


def test_a_huge_batch_is_applied_in_parts(
    monkeypatch: pytest.MonkeyPatch, ways: ScriptedWays, shard: ShardConsumer
) -> None:
    """Memory and time of one call are bounded, whatever maxRecords is; parts of one record stay."""
    monkeypatch.setattr(kcl_shard, "SLICE_BYTES", 100)
    batch = delivered(1, 2, 3, 3, 3, 4, size=50)
    shard.process(batch, 0, Checkpoints())
    assert sequences(ways.worker.calls) == [[1, 2], [3, 3, 3], [4]]


def test_goes_on_at_what_failed_and_never_behind_it(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    ways.worker.script = [Outcome(2, StorageError("no reply")), Outcome(3, StorageError("no"))]
    kcl = Checkpoints()
    later(ways)
    shard.process(delivered(1, 2, 3), 0, kcl)
    assert sequences(ways.worker.calls) == [[1, 2, 3], [2, 3], [3]]
    assert kcl.told == [(3, 0)]
    assert shard.health.now.state == "working"
    assert shard.health.now.error is None


def test_an_outcome_that_says_nothing_is_a_failure(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    """What is not known to be durable is not: whoever forgets to say why changes nothing."""
    ways.worker.script = [Outcome(1, None)]
    shard.process(delivered(1), 0, Checkpoints())
    assert sequences(ways.worker.calls) == [[1], [1]]


def test_what_may_pass_is_tried_again_in_place_ever_more_slowly(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    """A throttled table must not end the daemon, and with it every other shard."""
    ways.worker.script += [Outcome(1, StorageError("throttled"))] * 9
    shard.process(delivered(1), 0, Checkpoints())
    assert len(ways.waits) == 9
    assert ways.waits[0] <= kcl_shard.RETRY_FIRST_S < ways.waits[3]
    assert max(ways.waits) <= kcl_shard.RETRY_MAX_S


def test_patience_has_an_end_unless_something_is_done(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    stuck = [Outcome(2, StorageError("throttled"))]
    ways.worker.script += [Outcome(1, StorageError("throttled"))] * 20 + stuck * 1_000
    fails(lambda: shard.process(delivered(1, 2), 0, Checkpoints()))
    done_at = next(n for n, (numbers, _) in enumerate(ways.worker.calls) if numbers == [2])
    assert sum(ways.waits[done_at - 1 :]) >= PATIENCE_S
    assert sum(ways.waits) < 3 * PATIENCE_S
    assert shard.health.now.exit_status is None  # a new process may have better luck


@pytest.mark.parametrize("error", [HaltedError("rule S3", "p0"), PoisonError("no number", "p0")])
def test_what_a_person_decides_on_is_waited_for(
    ways: ScriptedWays, shard: ShardConsumer, error: BinlogError
) -> None:
    """Ending would stop the worker's other shards, again and again; the health file says it."""
    ways.worker.script = [Outcome(1, error)] * 1_000
    states = []
    wait = ways.wait

    def watched(seconds: float) -> bool:
        states.append(shard.health.now.state)
        return wait(seconds)

    ways.wait = watched  # type: ignore[method-assign]
    kcl = Checkpoints()
    shard.process(delivered(1), 0, kcl)
    assert set(states) == {"halted"}
    assert sum(ways.waits) > PATIENCE_S
    assert shard.health.now.state == "working"


@pytest.mark.parametrize("error", [DamageError("bad bytes", "s"), MismatchError("other log", "s")])
def test_what_no_retry_mends_ends_the_process_at_once(
    ways: ScriptedWays, shard: ShardConsumer, error: BinlogError
) -> None:
    ways.worker.script = [Outcome(1, error)]
    fails(lambda: shard.process(delivered(1), 0, Checkpoints()))
    assert ways.waits == []
    assert shard.health.now.state == "failed"
    assert shard.health.now.exit_status == error.exit_status


def test_an_error_that_is_raised_is_a_failure_like_one_that_is_told(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    ways.worker.script = [StorageError("no reply"), DamageError("bad bytes", "s")]
    fails(lambda: shard.process(delivered(1), 0, Checkpoints()))
    assert len(ways.worker.calls) == 2


def test_after_a_failure_no_message_returns_and_nothing_is_checkpointed(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    """Whoever catches the SystemExit gets no further: the next checkpoint would skip the batch."""
    kcl = Checkpoints()
    shard.process(delivered(1), 0, kcl)
    ways.worker.script = [Outcome(2, DamageError("bad bytes", "s"))]
    fails(lambda: shard.process(delivered(2), 0, kcl))
    later(ways)
    for call in (
        lambda: shard.process(delivered(3), 0, kcl),
        lambda: shard.process([], 0, kcl),
        lambda: shard.shard_ended(kcl),
        lambda: shard.shutdown_requested(kcl),
        shard.lease_lost,
    ):
        fails(call)
    assert kcl.asked == 0
    assert len(ways.worker.calls) == 2


def test_ends_when_the_daemon_has_gone(ways: ScriptedWays, shard: ShardConsumer) -> None:
    """Nobody would ever hear of what it waits for; a zombie is harmless, and of no use."""
    ways.worker.script = [Outcome(1, HaltedError("rule S3", "p0"))] * 1_000
    ways.daemon_leaves_after = 3
    fails(lambda: shard.process(delivered(1), 0, Checkpoints()), EXIT_ORPHANED)
    assert shard.health.now.state == "orphaned"
    assert len(ways.waits) == 4


def test_a_store_that_does_not_open_ends_the_process(ways: ScriptedWays) -> None:
    ways.opening = MismatchError("another log's", "dynamodb://x", "name another")
    fails(lambda: started(ways))


def test_whatever_else_happens_ends_the_process(shard: ShardConsumer) -> None:
    fails(lambda: shard.guard(ZeroDivisionError("a bug")))
    fails(lambda: shard.process(delivered(1), 0, Checkpoints()))


# -- checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ThrottlingException", "KinesisClientLibDependencyException"])
def test_a_checkpoint_that_is_put_off_is_no_failure(
    ways: ScriptedWays, shard: ShardConsumer, name: str
) -> None:
    kcl = Checkpoints(*[name] * 100)
    later(ways)
    shard.process(delivered(1), 0, kcl)
    assert kcl.told == []
    kcl.refusals = []
    shard.shutdown_requested(kcl)
    assert kcl.told == [(1, 0)]


def test_a_checkpoint_that_is_throttled_is_tried_again(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    kcl = Checkpoints("ThrottlingException", "ThrottlingException")
    later(ways)
    shard.process(delivered(1), 0, kcl)
    assert kcl.told == [(1, 0)]
    assert len(ways.waits) == 2


@pytest.mark.parametrize("name", ["InvalidStateException", "IllegalArgumentException", "NewName"])
def test_any_other_answer_ends_the_process(
    ways: ScriptedWays, shard: ShardConsumer, name: str
) -> None:
    """The pipe's two ends do not agree any more: what comes next may be an answer to something."""
    later(ways)
    fails(lambda: shard.process(delivered(1), 0, Checkpoints(name)))


def test_a_lost_lease_is_no_failure_and_ends_all_checkpoints(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    kcl = Checkpoints("ShutdownException")
    later(ways)
    shard.process(delivered(1), 0, kcl)
    later(ways)
    shard.process(delivered(2), 0, kcl)
    shard.shutdown_requested(kcl)
    shard.lease_lost()
    assert kcl.asked == 1
    assert ways.worker.durable == [1, 2]


def test_a_clean_end_leaves_its_own_word(ways: ScriptedWays, shard: ShardConsumer) -> None:
    """The daemon says `leaseLost` after every `shutdownRequested`."""
    shard.process(delivered(1), 0, Checkpoints())
    kcl = Checkpoints()
    shard.shutdown_requested(kcl)
    shard.lease_lost()
    assert kcl.told == [(1, 0)]
    assert shard.health.now.state == "stopped"


# -- the end of a shard ----------------------------------------------------------------------------


def test_the_end_is_told_without_a_number_once_the_rows_have_reached_it(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    shard.process(delivered(1), 0, Checkpoints())
    kcl = Checkpoints()
    shard.shard_ended(kcl)
    assert ways.worker.calls[-1] == ([], True)
    assert kcl.told == [(None, None)]
    assert shard.health.now.state == "ended"


def test_the_end_waits_for_a_row_that_has_not_reached_it(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    """A child that starts earlier is applied before the rest of its parent."""
    ways.worker.script = [
        Outcome(None, HaltedError("rule S3", "p0")),
        Outcome(None, StorageError("throttled")),
    ]
    kcl = Checkpoints()
    shard.shard_ended(kcl)
    assert len(ways.worker.calls) == 3
    assert kcl.told == [(None, None)]


def test_the_end_is_never_told_after_a_failure(ways: ScriptedWays, shard: ShardConsumer) -> None:
    ways.worker.script = [Outcome(None, DamageError("bad bytes", "s"))]
    kcl = Checkpoints()
    fails(lambda: shard.shard_ended(kcl))
    assert kcl.asked == 0


def test_an_end_that_could_not_be_told_is_a_failure(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    """Returning would end the shard for KCL without its children: it would be asked for for ever."""
    fails(lambda: shard.shard_ended(Checkpoints(*["ThrottlingException"] * 100)))


def test_an_end_whose_lease_was_lost_is_told_by_who_has_it(
    ways: ScriptedWays, shard: ShardConsumer
) -> None:
    shard.shard_ended(Checkpoints("ShutdownException"))
    assert shard.health.now.state == "ended"
