"""KCL archives: what it hands over is gathered for T, and it is told only what is in the chains."""

from __future__ import annotations

from pathlib import Path

import pytest

from binlog.errors import RefusedError, StorageError
from consumers.kcl_gathering import GatheringConsumer
from consumers.kcl_health import Health
from consumers.kcl_plan import Plan, default_application
from consumers.kcl_settings import Settings, settings_of
from consumers.kcl_shard import SLICE_BYTES
from consumers.working import Outcome
from tests.cli.running import binlog
from tests.kcl.kcl_doubles import Checkpoints, ScriptedWays, delivered, sequences

ARCHIVE = {"BINLOG_LOG": "kinesis://orders", "BINLOG_ARCHIVE": "s3://kept/orders"}


def started(ways: ScriptedWays, *, every_s: float = 60.0) -> GatheringConsumer:
    shard = GatheringConsumer(ways, Health(None, ways.clock), every_s=every_s)
    shard.initialize("shardId-0", "TRIM_HORIZON")
    return shard


def test_batches_are_gathered_until_the_oldest_has_waited_long_enough() -> None:
    """And KCL is told nothing of them before."""
    ways, kcl = ScriptedWays(), Checkpoints()
    shard = started(ways)
    for second in range(60):
        shard.process(delivered(second), 0, kcl)
        ways.clock.advance(1_000)
    assert (ways.worker.calls, kcl.told) == ([], [])
    shard.process([], 0, kcl)  # KCL says that there is nothing
    assert sequences(ways.worker.calls) == [list(range(60))]
    assert kcl.told == [(59, 0)]
    shard.process(delivered(60), 0, kcl)
    assert len(ways.worker.calls) == 1


def test_a_large_batch_does_not_wait() -> None:
    """Memory is bounded, and a busy shard's segments are large enough."""
    ways, kcl = ScriptedWays(), Checkpoints()
    shard = started(ways)
    shard.process(delivered(1, size=SLICE_BYTES // 2), 0, kcl)
    assert ways.worker.calls == []
    shard.process(delivered(2, size=SLICE_BYTES // 2), 0, kcl)
    assert ways.worker.durable == [1, 2]


def test_what_waits_is_archived_before_a_shard_or_a_worker_ends() -> None:
    """A shard's children begin when all of it is archived."""
    ways, kcl = ScriptedWays(), Checkpoints()
    shard = started(ways)
    shard.process(delivered(1), 0, kcl)
    shard.shard_ended(kcl)
    assert ways.worker.calls == [([1], False), ([], True)]
    assert kcl.told[-1] == (None, None)
    ways, kcl = ScriptedWays(), Checkpoints()
    shard = started(ways)
    shard.process(delivered(1, 2), 0, kcl)
    shard.shutdown_requested(kcl)
    assert ways.worker.durable == [1, 2]
    assert kcl.told == [(2, 0)]


def test_what_waits_when_a_lease_is_lost_is_anothers() -> None:
    """It is handed over again; nothing of it was told to KCL."""
    ways, kcl = ScriptedWays(), Checkpoints()
    shard = started(ways)
    shard.process(delivered(1, 2), 0, kcl)
    shard.lease_lost()
    assert (ways.worker.calls, kcl.told) == ([], [])


def test_a_write_that_fails_is_not_told() -> None:
    """It is tried again in place; where that is in vain the process ends, and all comes again."""
    ways, kcl = ScriptedWays(), Checkpoints()
    ways.worker.script = [Outcome(2, StorageError("no reply"))]
    shard = started(ways, every_s=0.0)
    shard.process(delivered(1, 2, 3), 0, kcl)
    assert sequences(ways.worker.calls) == [[1, 2, 3], [2, 3]]
    ways.worker.script = [Outcome(4, RefusedError("not permitted"))]
    with pytest.raises(SystemExit):
        shard.process(delivered(4), 0, kcl)
    assert (4, 0) not in kcl.told


def test_an_archive_is_named_in_place_of_a_store() -> None:
    """Both are two consumers, and what is of no effect is refused."""
    settings = settings_of(ARCHIVE | {"BINLOG_SEGMENT_EVERY": "300"})
    assert (settings.archive, settings.store) == ("s3://kept/orders", "")
    assert (settings.target, settings.segment_every_s) == ("s3://kept/orders", 300.0)
    assert settings_of(settings.environment()) == settings
    assert default_application(settings) == "binlog.orders.kept-orders"
    assert "BINLOG_STORE" not in settings.environment()
    for more, match in (
        ({"BINLOG_APPLIERS": "a:b"}, "keeps records"),
        ({"BINLOG_RATE": "5"}, "as fast as the stream"),
        ({"BINLOG_ARCHIVE": "dynamodb://x"}, "s3://BUCKET/PREFIX or file:DIR"),
        ({"BINLOG_SEGMENT_EVERY": "0"}, "above 0"),
    ):
        with pytest.raises(RefusedError, match=match):
            settings_of(ARCHIVE | more)


def test_a_plan_of_an_archive_has_the_daemons_properties(tmp_path: Path) -> None:
    """The daemon is the same; its children are told what they fill."""
    settings = Settings(log="kinesis://orders?region=us-east-1", archive="s3://kept/orders")
    plan = Plan(settings=settings, worker="w1", folder=tmp_path)
    made = plan.properties()
    assert made["applicationName"] == "binlog.orders.kept-orders"
    assert made["callProcessRecordsEvenForEmptyRecordList"] == "true"


def test_beside_a_store_an_archive_is_read_for_what_the_stream_has_forgotten() -> None:
    """And each process of the daemon is told of it, wherever it stands."""
    beside = settings_of(ARCHIVE | {"BINLOG_STORE": "dynamodb://replica"})
    assert (beside.archive, beside.older) == (None, "s3://kept/orders")
    assert beside.target == "dynamodb://replica"
    assert settings_of(beside.environment()) == beside
    done = binlog(
        "kcl",
        "properties",
        "kinesis://s?region=us-east-1",
        "dynamodb://p?region=us-east-1",
        "--archive",
        "file:kept",
    )
    assert f"BINLOG_ARCHIVE='file:{Path('kept').absolute()}'" in done.out
