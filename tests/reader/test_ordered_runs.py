"""Runs by partition and offset, whatever fits into memory at once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.actions import build
from binlog.clock import ManualClock
from binlog.errors import ConflictError, DamageError, HaltedError
from binlog.log import Page, Position
from binlog.logs.memory import MemoryLog
from binlog.ordered import OrderedRuns
from binlog.params import Params
from binlog.producer import Producer
from binlog.reader import Reader
from binlog.run import Run
from binlog.target import END, Target

PARTITIONS = 5


def filled(events: int, *, shards: int = 1) -> MemoryLog:
    """A log of ``events``, a frame each, over all partitions."""
    log = MemoryLog(
        Params(log_id="ab" * 16, partitions=PARTITIONS), clock=ManualClock(), shards=shards
    )
    ids = (f"id-{number}" for number in count())
    with Producer(log, clock=ManualClock()) as producer:
        for number in range(events):
            action = {"Action": "PutItem", "Key": {"id": f"k{number % 11}"}, "Data": {"n": number}}
            producer.append_many(
                build(action, table="users", now_ms=number, new_id=lambda: next(ids))
            )
    return log


def places(runs: Iterator[Run] | list[Run]) -> list[tuple[int, int]]:
    return [(r.partition, o) for r in runs for o in range(r.first_offset, r.last_offset + 1)]


def everything(log: MemoryLog) -> list[tuple[int, int]]:
    """The same by the reader alone, sorted."""
    reader, found = Reader(log), []
    while (runs := reader.read()) is not None:
        found += places(runs)
    return sorted(found)


@given(st.integers(0, 60), st.integers(0, 20_000), st.integers(1, 3))
def test_the_budget_changes_the_passes_and_nothing_else(
    events: int, kept_bytes_max: int, shards: int
) -> None:
    log = filled(events, shards=shards)
    runs = OrderedRuns(log, kept_bytes_max=kept_bytes_max)
    assert places(iter(runs)) == everything(log)
    runs.finish()
    assert 1 <= runs.passes <= PARTITIONS
    assert sum(runs.vector.values()) == events


def test_a_small_log_takes_one_pass_and_no_budget_one_a_partition() -> None:
    log = filled(60)
    for kept_bytes_max, passes in ((10**9, 1), (0, PARTITIONS)):
        runs = OrderedRuns(log, kept_bytes_max=kept_bytes_max)
        assert len(list(runs)) == 60
        assert runs.passes == passes


def test_gives_the_first_partition_as_it_is_read() -> None:
    """Whoever reads one partition of a log beyond all memory must not wait for its end."""
    log = filled(60)
    reads = 0
    read = log.read

    def counted(*args: object, **options: object) -> Page:
        nonlocal reads
        reads += 1
        return read(*args, **options | {"bytes_max": 1})  # type: ignore[arg-type]

    log.read = counted  # type: ignore[method-assign]
    runs = iter(OrderedRuns(log, partitions=[3]))
    next(runs)
    assert reads <= PARTITIONS + 2  # the genesis records and one more


def test_chooses_partitions_and_ends_at_its_target() -> None:
    log = filled(60)
    target = Target(vector={1: 2, 4: 3})
    assert places(iter(OrderedRuns(log, partitions=[4, 1], target=target))) == [
        (1, 1),
        (1, 2),
        (4, 1),
        (4, 2),
        (4, 3),
    ]


def test_a_vector_beyond_the_end_is_refused_at_the_end() -> None:
    runs = OrderedRuns(filled(10), target=Target(vector={0: 1_000}))
    list(runs)
    with pytest.raises(ConflictError, match="offset 1000 of partition 0, the log ends at"):
        runs.finish()


def test_no_pass_stops_at_damage_before_the_others_gave_what_lies_before_it() -> None:
    log = filled(60)
    read = log.read

    def damaged(after: Position, **options: object) -> Page:
        if after.sequence >= 39:
            raise DamageError("bad bytes", "sequence 40")
        page = read(after, **options)  # type: ignore[arg-type]
        records = [record for record in page.records if record.sequence < 40]
        return Page(records, Position(after.shard, 39), caught_up=False)

    log.read = damaged  # type: ignore[method-assign]
    for kept_bytes_max in (10**9, 0):
        runs = OrderedRuns(log, kept_bytes_max=kept_bytes_max)
        given_places = places(iter(runs))
        assert len(given_places) == 40 - PARTITIONS  # without the genesis records
        assert given_places == sorted(given_places)
        with pytest.raises(DamageError, match="sequence 40"):
            runs.finish()


def test_a_halted_partition_does_not_keep_the_others_back() -> None:
    log = filled(30)
    log.inject(2, b"no frame")
    runs = OrderedRuns(log)
    found = places(iter(runs))
    assert len(found) == 30
    with pytest.raises(HaltedError, match="partition 2"):
        runs.finish()


def test_a_reader_goes_on_from_where_it_ended() -> None:
    log = filled(30)
    runs = OrderedRuns(log, kept_bytes_max=0)
    before = places(iter(runs))
    with Producer(log, clock=ManualClock()) as producer:
        producer.append_many(
            build(
                {"Data": {"id": "new"}, "Action": "PutItem"},
                table="users",
                key_names=["id"],
                now_ms=1,
                new_id=lambda: "new",
            )
        )
    reader, after = Reader(log, starts=runs.starts, target=END), []
    while (page := reader.read()) is not None:
        after += places(page)
    assert len(after) == 1
    assert sorted(before + after) == everything(log)
