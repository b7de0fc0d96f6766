"""`doctor` on a quiet stream: how long a place can still be gone on from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from appliers.address import open_store
from appliers.store import Checkpoint
from binlog.aws.account import Account
from binlog.clock import SystemClock
from binlog.logs.kinesis_health import StreamHealth, questions
from consumers.health import Doctor
from consumers.local import Following, replicate
from tests.aws.aws_double import Wire
from tests.aws.test_doctor import summary
from tests.following.quiet_world import QuietWorld

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def stream(wire: Wire, hours: int) -> StreamHealth:
    wire.answers["kinesis.DescribeStreamSummary"] = summary(RetentionPeriodHours=hours)
    return StreamHealth(questions("orders", Account(), SystemClock()), SystemClock())


@pytest.mark.parametrize(
    ("hours", "read_h_ago", "seen_h_ago", "state", "what"),
    [
        (24, 500, 1, "ok", "last seen 60 min ago; to be seen again within 22.8 h"),
        (168, 500, 1, "ok", "within 22.8 h"),
        (24, 500, 13, "unhealthy", "within 10.8 h"),
        (24, 500, 24, "unhealthy", "and the stream keeps 24 h"),
        (24, 500, None, "unhealthy", "and the stream keeps 24 h"),
        (168, 30, 29, "ok", "the stream forgets that place in 5.8 d"),  # its record is still there
    ],
)
def test_a_place_is_good_while_its_record_is_there_or_its_end_was_seen(
    wire: Wire, hours: int, read_h_ago: int, seen_h_ago: int | None, state: str, what: str
) -> None:
    """A quiet log is no store that fell behind."""
    seen_ms = None if seen_h_ago is None else NOW_MS - seen_h_ago * HOUR_MS
    found = stream(wire, hours).retention(NOW_MS - read_h_ago * HOUR_MS, NOW_MS, seen_ms=seen_ms)
    assert found.state == state
    assert what in found.what
    assert bool(found.do) == (state != "ok")


def test_the_partition_that_is_forgotten_first_is_told(wire: Wire, tmp_path: Path) -> None:
    """Not the one whose last record is oldest, if its end was seen."""
    world, url = QuietWorld(), f"sqlite:{tmp_path / 'store.db'}"
    world.publish(0)
    store = open_store(url)
    replicate(world.open(), store, Following(once=True))
    (generation,) = store.generations()
    rows = store.checkpoints(generation.id)
    seen_ms = rows[0].seen_ms
    assert seen_ms is not None
    later: list[Checkpoint] = [
        msgspec.structs.replace(rows[p], seen_ms=seen_ms + (p + 1) * HOUR_MS) for p in (0, 2, 3)
    ]
    store.commit(generation.id, [], later)
    store.close()
    doctor = Doctor("kinesis://s", store=url)
    found = doctor._oldest_needed(world.open(), stream(wire, 24))
    assert found is not None
    assert found[1] == seen_ms
