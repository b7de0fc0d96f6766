"""Consumers of a stream that is quiet for longer than it keeps anything."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from appliers.store import Checkpoint, moves_on
from appliers.stores import MemoryStore
from appliers.summary import summarize
from binlog.errors import LostError, TrimmedError
from binlog.log import Position
from binlog.logs import MemoryLog
from consumers.lag import measure
from consumers.local import Following, replicate
from consumers.rows import REFRESH_MS, Rows
from snapshots.rebuild import Wanted, rebuild
from tests.following.quiet_world import Counting, QuietWorld, settle
from tests.log.kinesis_world import HOUR_MS
from tests.log.log_frames import PARAMS

RETENTIONS = 10  # of a day each


@pytest.fixture
def world() -> QuietWorld:
    world = QuietWorld()
    world.publish(0, 3)
    world.publish(2)
    return world


@pytest.mark.parametrize("hours", [1, 12, 23.7])
@pytest.mark.parametrize("paid", [True, False])
def test_a_store_that_is_looked_at_goes_on_for_ever(
    world: QuietWorld, hours: float, paid: bool
) -> None:
    """Ten retentions without a record, a new process at each look; then one comes, and is applied."""
    store = Counting(paid=paid)
    world.look(store)
    for _ in range(round(RETENTIONS * 24 / hours)):
        world.hours(hours)
        world.look(store)
    assert world.applied(store) == {0: 3, 2: 1}
    world.publish(1)
    world.hours(hours)
    world.look(store)
    assert world.applied(store) == {0: 3, 1: 1, 2: 1}


@pytest.mark.parametrize("paid", [True, False])
def test_a_consumer_that_is_killed_left_rows_of_the_last_hour(
    world: QuietWorld, paid: bool
) -> None:
    """It followed a quiet stream for days, and wrote a row an hour and partition, not a poll."""
    store = Counting(paid=paid)
    engine = world.follower(store)
    settle(engine)
    world.hours(0.01)
    settle(engine)
    store.rows.clear()
    for _ in range(RETENTIONS * 24 * 12):
        world.hours(1 / 12)
        settle(engine)
    per_partition = Counter(row.partition for row in store.rows)
    assert set(per_partition) == set(range(PARAMS.partitions))
    # A look is dated by the service's clock as known before it, to the second: twelve of five minutes
    # may come to less than the hour, and then the thirteenth writes the row.
    least, most = RETENTIONS * 24 * 12 // 13, RETENTIONS * 24
    assert all(least <= n <= most for n in per_partition.values())
    world.hours(22.5)
    world.publish(3)
    again = world.follower(store)
    settle(again)
    assert again.reader.vector() == {0: 3, 2: 1, 3: 1}


@pytest.mark.parametrize("between", [0, 1])
def test_who_was_away_for_longer_than_the_retention_is_refused(
    world: QuietWorld, between: int
) -> None:
    """Something may have come and gone; also where nothing did, since nobody can know."""
    store = MemoryStore()
    world.look(store)
    if between:
        world.publish(0, between)
    world.hours(25)
    with pytest.raises(TrimmedError, match="retention"):
        world.look(store)


def test_what_lands_between_a_look_and_its_row_is_not_lost(world: QuietWorld) -> None:
    """The row says when the end was seen, not when it was written."""
    store = MemoryStore()
    log = world.open()
    landed: list[int] = []

    def commit(*arguments: Any, **more: Any) -> Any:
        if not arguments[1] and not landed:  # rows only
            landed.append(world.published)
            world.publish(0)
            world.hours(2)
        return MemoryStore.commit(store, *arguments, **more)

    engine = world.follower(store, log)
    settle(engine)
    world.hours(30)
    store.commit = commit  # type: ignore[method-assign]
    with pytest.raises(TrimmedError):  # it did not look meanwhile
        engine.step()
    world = QuietWorld()
    world.publish(0, 3)
    store = MemoryStore()
    engine = world.follower(store)
    settle(engine)
    world.hours(20)
    store.commit = commit  # type: ignore[method-assign]
    before_ms = world.clock.now_ms()
    assert engine.step() is None
    assert landed
    row = world.rows(store)[0]
    assert row.seen_ms is not None
    assert row.seen_ms <= before_ms
    del store.commit
    world.hours(21.5)
    again = world.follower(store)
    settle(again)
    assert again.reader.vector() == {0: 4}
    world.hours(1)
    with pytest.raises(TrimmedError):  # by that row it cannot be known
        starting_at(world, row)


def starting_at(world: QuietWorld, row: Checkpoint) -> None:
    log = world.open()
    if row.seen_ms is not None:
        log.note_seen(Position(row.shard, row.sequence), row.seen_ms)
    log.read(Position(row.shard, row.sequence))


def test_a_row_does_not_go_back_for_a_zombie(world: QuietWorld) -> None:
    """It looked earlier, was paused, and comes with what it saw then: that is no news."""
    store = MemoryStore()
    zombie = world.follower(store)
    settle(zombie)
    world.hours(5)
    zombie.reader.read()  # paused before its rows are written
    late = dict(world.rows(store))
    world.hours(3)
    other = world.follower(store)
    settle(other)
    other.checkpoint()
    rows = world.rows(store)
    seen_ms = {row.seen_ms for row in rows.values()}
    assert seen_ms == {world.clock.now_ms() // 1000 * 1000}
    zombie.checkpoint()
    assert world.rows(store) == rows
    (generation,) = store.generations()
    for row in late.values():
        with pytest.raises(LostError):
            store.commit(generation.id, [], [row])


def test_a_partition_that_others_leave_no_pause_for_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a stream where something always comes nobody is ever idle; its place moves on all the same."""
    world = QuietWorld()
    world.publish(1)
    store = Counting(paid=True)
    engine = world.follower(store)
    settle(engine)
    engine.checkpoint()
    monkeypatch.setattr(engine._thrift, "_items", 10**9)
    place = world.rows(store)[1].sequence
    store.rows.clear()
    for _ in range(60):
        world.hours(0.5)
        world.publish(0)
        assert engine.step() is not None
    assert world.rows(store)[1].sequence > place
    rows = Counter(row.partition for row in store.rows)
    assert 28 <= rows[1] <= 30
    world.hours(20)
    again = world.follower(store)  # killed: no rows since
    settle(again)
    assert again.reader.vector() == world.vector


def test_a_rebuild_says_when_it_saw_the_end(world: QuietWorld) -> None:
    """Right after it the log may fall silent, its last record being old already."""
    world.hours(20)
    store = MemoryStore()
    rebuild(world.open(), store, Wanted())
    (seen_ms,) = {row.seen_ms for row in world.rows(store).values()}
    assert seen_ms is not None
    assert 0 <= world.clock.now_ms() - seen_ms < 1000
    world.hours(20)
    world.look(store)
    assert world.applied(store) == {0: 3, 2: 1}


def test_a_clean_end_writes_down_an_end_that_no_page_showed(world: QuietWorld) -> None:
    """The last page was full, so its row knew of no end; the look after it did."""
    world.hours(20)
    world.double.page_records = 1
    store = MemoryStore()
    world.look(store)
    world.hours(20)
    world.look(store)
    assert world.applied(store) == {0: 3, 2: 1}


def test_status_of_a_quiet_log_tells_no_lag(world: QuietWorld) -> None:
    """It reads on from the rows as a consumer would, and writes none."""
    store = MemoryStore()
    world.look(store)
    for _ in range(3):
        world.hours(20)
        world.look(store)
    rows = world.rows(store)
    world.hours(20)
    assert {each.lag_events for each in measure(world.open(), store).partitions} == {0}
    assert world.rows(store) == rows
    world.hours(5)
    with pytest.raises(TrimmedError):
        measure(world.open(), store)


def test_what_was_seen_is_no_part_of_what_replicas_are_compared_by(world: QuietWorld) -> None:
    """Two that looked at other times are as equal as before, and the mark is the records' alone."""
    one, other = MemoryStore(), MemoryStore()
    world.look(one)
    world.hours(2)
    world.look(other)
    assert summarize(one).tables == summarize(other).tables
    states = [{p: row.state for p, row in world.rows(s).items()} for s in (one, other)]
    assert states[0] == states[1]
    assert world.rows(one)[0].seen_ms != world.rows(other)[0].seen_ms


def test_a_row_of_before_the_field_is_gone_on_from(world: QuietWorld) -> None:
    """An older release wrote it; the first look adds what it lacks."""
    store = MemoryStore()
    world.look(store)
    (generation,) = store.generations()
    bare = {p: msgspec.structs.replace(r, seen_ms=None) for p, r in world.rows(store).items()}
    store._content.checkpoints[generation.id] = bare
    world.hours(20)
    world.look(store)
    assert all(row.seen_ms for row in world.rows(store).values())
    world.hours(20)
    world.look(store)


def test_a_log_that_forgets_nothing_gets_no_row_for_looking() -> None:
    """And its rows say nothing of it."""
    log, store = MemoryLog(PARAMS), Counting(paid=False)
    replicate(log, store, Following(once=True))
    store.rows.clear()
    replicate(log, store, Following(once=True))
    assert store.rows == []
    (generation,) = store.generations()
    assert {row.seen_ms for row in store.checkpoints(generation.id).values()} == {None}


# -- which rows are news -------------------------------------------------------------------------


class Forgetting(MemoryLog):
    """Of a time that is set by hand."""

    at_ms = 10 * HOUR_MS

    def now_ms(self) -> int:
        return self.at_ms

    def seen_ms(self, place: Position) -> int | None:  # noqa: ARG002
        return None

    def note_seen(self, place: Position, seen_ms: int) -> None:
        pass

    def retention_s(self) -> float:
        return 86_400.0


def row(seen_ms: int | None, *, sequence: int = 5, partition: int = 0) -> Checkpoint:
    return Checkpoint(partition, "s", sequence, 3, 3, b"", b"", seen_ms)


def rows_of(log: MemoryLog, *stored: Checkpoint) -> Rows:
    rows = Rows(log)
    rows.start({r.partition: place_of(r) for r in stored}, {r.partition: r for r in stored})
    return rows


def place_of(row: Checkpoint) -> tuple[str, int, int]:
    return row.shard, row.sequence, row.applied


def test_a_place_that_stays_is_news_once_an_hour() -> None:
    """Or where nothing was known of its end; never for less than was known."""
    rows = rows_of(Forgetting(PARAMS), row(HOUR_MS))
    place = place_of(row(None))
    assert not rows.is_news(0, place, None)
    assert not rows.is_news(0, place, HOUR_MS - 1)
    assert not rows.is_news(0, place, HOUR_MS + REFRESH_MS - 1)
    assert rows.is_news(0, place, HOUR_MS + REFRESH_MS)
    assert rows.is_news(0, place_of(row(None, sequence=6)), None)
    assert rows.is_news(0, place, None, joined=True)
    rows.note([row(HOUR_MS + REFRESH_MS)])
    assert not rows.is_news(0, place, HOUR_MS + REFRESH_MS)
    assert rows_of(Forgetting(PARAMS), row(None)).is_news(0, place, 1)


def test_a_row_of_a_place_that_stays_says_no_less() -> None:
    """It may be written for another reason, by who did not look; a store would refuse it."""
    rows = rows_of(Forgetting(PARAMS), row(HOUR_MS))
    assert rows.kept(row(None)) == row(HOUR_MS)
    assert rows.kept(row(HOUR_MS - 1)) == row(HOUR_MS)
    assert rows.kept(row(HOUR_MS + 1)) == row(HOUR_MS + 1)
    assert rows.kept(row(None, sequence=6)) == row(None, sequence=6)
    joined = msgspec.structs.replace(row(None), joined=True)
    assert moves_on(rows.kept(joined), row(HOUR_MS))
    assert not moves_on(joined, row(HOUR_MS))


def test_rows_grow_old_by_the_logs_own_time() -> None:
    """Each by when it was last written, or its end seen."""
    log = Forgetting(PARAMS)
    rows = rows_of(log, row(log.at_ms - REFRESH_MS // 2), row(None, partition=1))
    assert rows.old() == []
    log.at_ms += REFRESH_MS // 2
    assert rows.old() == [0]
    rows.note([row(None)])
    log.at_ms += REFRESH_MS // 2
    assert rows.old() == [1]
    assert rows_of(MemoryLog(PARAMS), row(None)).old() == []
