"""How far a store's consumers are behind: events, bytes, seconds, runway and speed, each by itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import consumers.lag
from appliers.stores.memory import MemoryStore
from binlog.changes import put_item
from binlog.clock import ManualClock
from binlog.log import Forgets, Log, Position, ReadsAhead
from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from binlog.target import Target
from consumers.lag import ConsumerLag, Lag, measure
from consumers.local import Following, replicate
from consumers.record_sizes import RecordSizes
from snapshots.rebuild import Wanted, rebuild

_DAY = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> DirectoryLog:
    create_directory_log(tmp_path / "log", Params(log_id="ab" * 16, partitions=4), clock=clock)
    return DirectoryLog(
        tmp_path / "log", clock=clock, pause=lambda s: clock.advance(max(1, round(s * 1000)))
    )


@pytest.fixture
def keeps(monkeypatch: pytest.MonkeyPatch) -> Callable[[float | None], None]:
    """Have the log forget what is older than so many seconds."""

    def keep(retention_s: float | None) -> None:
        monkeypatch.setattr(consumers.lag, "retention_of", lambda _: retention_s)

    return keep


_NUMBER = itertools.count()


def fill(log: DirectoryLog, count: int, *, table: str = "orders") -> None:
    with Producer(log) as producer:
        producer.append_many(
            [put_item(table, {"id": f"{next(_NUMBER)}"}, key="id") for _ in range(count)]
        )


def follow(log: DirectoryLog, store: MemoryStore) -> None:
    replicate(log, store, Following(once=True))
    store.close()


def stored_bytes(log: Log, after: dict[int, int]) -> int:
    """Of all records behind these offsets' positions, counted straight from the log."""
    [shard] = log.shards()
    place, found = Position(shard.id, -1), 0
    while True:
        page = log.read(place)
        found += sum(len(r.data) for r in page.records if r.sequence > after.get(r.partition, -1))
        if page.caught_up:
            return found
        place = page.next


def only(lag: Lag) -> ConsumerLag:
    [found] = lag.consumers
    return found


# -- one look ------------------------------------------------------------------------------------


def test_bytes_are_those_of_the_records_that_are_not_applied(log: DirectoryLog) -> None:
    """As stored: what is still to be read, and paid for."""
    store = MemoryStore()
    fill(log, 300)
    follow(log, store)
    assert only(measure(log, store)).lag_bytes == 0
    [generation] = store.generations()
    places = {p: c.sequence for p, c in store.checkpoints(generation.id).items()}
    for _ in range(3):
        fill(log, 50)
    found = measure(log, store)
    wanted = stored_bytes(log, places)
    assert (
        only(found).lag_bytes == sum(p.lag_bytes or 0 for p in found.partitions) == wanted > 1_000
    )
    assert only(found).lag_events == 150
    whole = measure(log, MemoryStore())
    assert whole.consumers == []
    assert [p.lag_events for p in whole.partitions] == [p.offset for p in whole.partitions]


def test_every_generation_is_a_consumer_of_its_own(log: DirectoryLog, clock: ManualClock) -> None:
    """A store is as far as the one that is furthest behind; the others are further, and say so."""
    store = MemoryStore()
    fill(log, 40)
    fill(log, 10, table="users")
    follow(log, store)
    clock.advance(60_000)
    fill(log, 30)
    rebuild(log, store, Wanted(tables=("users",), target=Target(vector={0: 1})))
    store.close()
    clock.advance(30_000)
    found = measure(log, store)
    behind = {each.tables: each for each in found.consumers}
    assert behind["orders",].lag_events == 30
    assert behind["users",].lag_events == 79
    assert behind["orders",].lag_seconds == pytest.approx(30, abs=1)
    assert behind["users",].lag_seconds == pytest.approx(90, abs=1)
    assert 0 < behind["orders",].lag_bytes < behind["users",].lag_bytes
    assert sum(p.lag_events or 0 for p in found.partitions) == 79
    assert max(p.lag_seconds or 0 for p in found.partitions) == behind["users",].lag_seconds


def test_a_log_that_keeps_all_has_no_runway(log: DirectoryLog) -> None:
    store = MemoryStore()
    fill(log, 5)
    follow(log, store)
    found = measure(log, store)
    assert (found.retention_s, found.runway_s, found.runway) == (None, None, "unknown")
    assert only(found).runway_seconds is None
    assert {p.runway_seconds for p in found.partitions} == {None}


@pytest.mark.parametrize(
    ("hours", "runway"),
    [(0, "ample"), (11, "ample"), (13, "short"), (19, "lifted"), (30, "lifted")],
)
def test_the_runway_is_what_is_left_of_the_retention(
    log: DirectoryLog,
    clock: ManualClock,
    keeps: Callable[[float | None], None],
    hours: int,
    runway: str,
) -> None:
    """By the oldest event that is not applied, whatever came later; never below nothing."""
    keeps(_DAY)
    store = MemoryStore()
    fill(log, 5)
    follow(log, store)
    fill(log, 5)
    clock.advance(hours * 3_600_000)
    fill(log, 5)
    found = measure(log, store)
    assert found.runway == runway
    assert found.runway_s == pytest.approx(max(0.0, _DAY - hours * 3_600), abs=1)
    assert found.runway_s == min(
        p.runway_seconds for p in found.partitions if p.runway_seconds is not None
    )


def test_who_has_applied_all_has_all_of_the_runway(
    log: DirectoryLog, clock: ManualClock, keeps: Callable[[float | None], None]
) -> None:
    """A log that was quiet for a week forgets nothing that anybody needs."""
    keeps(_DAY)
    store = MemoryStore()
    fill(log, 5)
    follow(log, store)
    clock.advance(7 * 86_400_000)
    found = measure(log, store)
    assert (found.runway_s, found.runway) == (_DAY, "ample")


# -- two looks -----------------------------------------------------------------------------------


def twice(
    log: DirectoryLog, store: MemoryStore, clock: ManualClock, meanwhile: Callable[[], None]
) -> ConsumerLag:
    """Two looks, ten seconds apart."""

    def sleep(seconds: float) -> None:
        clock.advance(round(seconds * 1000))
        meanwhile()

    return only(measure(log, store, over_s=10.0, clock=clock, sleep=sleep))


def apply_some(log: DirectoryLog, store: MemoryStore, events: int) -> None:
    """As a consumer would, and no more than that."""
    left = [events]
    replicate(
        log,
        store,
        Following(page_bytes=1),
        stop=lambda: left[0] <= 0,
        progress=lambda done: left.__setitem__(0, events - done),
        sleep=lambda _: None,
    )
    store.close()


def test_two_looks_tell_when_it_has_all(log: DirectoryLog, clock: ManualClock) -> None:
    """What was applied against what came: the difference works the lag off."""
    store = MemoryStore()
    fill(log, 4)
    follow(log, store)
    for _ in range(100):
        fill(log, 10)

    def meanwhile() -> None:
        fill(log, 20)
        apply_some(log, store, 100)

    found = twice(log, store, clock, meanwhile)
    assert found.lag_events == 1_000
    assert found.events_per_second == pytest.approx(10, rel=0.1)
    assert found.arriving_per_second == pytest.approx(2, rel=0.05)
    assert found.eta_seconds == pytest.approx(1_000 / 8, rel=0.15)
    assert not found.never
    # Of each partition by itself: what was applied of one does not bring another to its end.
    assert sum(each.lag_events for each in found.partitions) == 1_000
    etas = [(each.lag_events, each.eta_seconds) for each in found.partitions]
    assert all(eta == 0 for behind, eta in etas if not behind)
    assert any(eta is None or eta > (found.eta_seconds or 0) for behind, eta in etas if behind)


def test_a_partition_has_all_when_the_last_consumer_has_it(
    log: DirectoryLog, clock: ManualClock
) -> None:
    """One that stands still is behind for ever, however fast another goes."""
    store = MemoryStore()
    fill(log, 40)
    fill(log, 10, table="users")
    follow(log, store)
    rebuild(log, store, Wanted(tables=("users",), target=Target(vector={0: 1})))
    store.close()

    def sleep(seconds: float) -> None:
        clock.advance(round(seconds * 1000))

    found = measure(log, store, over_s=10.0, clock=clock, sleep=sleep)
    behind = {each.tables: each for each in found.consumers}
    assert {p.eta_seconds for p in behind["orders",].partitions} == {0.0}
    late = [p.partition for p in behind["users",].partitions if p.lag_events]
    assert late
    assert [p.partition for p in found.partitions if p.eta_seconds is None] == late
    assert {p.eta_seconds for p in measure(log, store).partitions} == {None}


def test_who_is_slower_than_the_load_never_has_all(log: DirectoryLog, clock: ManualClock) -> None:
    store = MemoryStore()
    fill(log, 4)
    follow(log, store)
    fill(log, 50)
    found = twice(log, store, clock, lambda: fill(log, 5))
    assert (found.events_per_second, found.eta_seconds, found.never) == (0.0, None, True)


def test_who_has_all_has_it_now_and_one_look_tells_no_speed(
    log: DirectoryLog, clock: ManualClock
) -> None:
    store = MemoryStore()
    fill(log, 4)
    follow(log, store)
    assert twice(log, store, clock, lambda: None).eta_seconds == 0
    fill(log, 4)
    found = only(measure(log, store))
    assert (found.events_per_second, found.eta_seconds, found.never) == (None, None, False)


def test_reading_through_sizes_is_reading_the_log(log: DirectoryLog) -> None:
    """A record's size is told once, and what the log can do beyond reading it still can."""
    fill(log, 10)
    sizes = RecordSizes(log)
    [shard] = sizes.log.shards()
    page = sizes.log.read(Position(shard.id, -1))
    assert page.records == log.read(Position(shard.id, -1)).records
    first = page.records[0]
    assert sizes.take(first.partition, first.sequence) == len(first.data)
    assert sizes.take(first.partition, first.sequence) == 0
    last = page.records[-1]
    sizes.clear()
    assert sizes.take(last.partition, last.sequence) == 0
    assert sizes.log.now_ms() == log.now_ms()
    fill(log, 1)
    assert sizes.log.read(last_place := page.next).records == log.read(last_place).records != []


def test_what_a_log_can_do_beyond_reading_it_can_through_sizes(tmp_path: Path) -> None:
    """A stream fetches ahead and forgets: a wrapper that cannot would be slow, or refuse its places."""

    class Stream(DirectoryLog):
        def seen_ms(self, place: Position) -> int | None:
            del place
            return 7

        def note_seen(self, place: Position, seen_ms: int) -> None: ...

        def retention_s(self) -> float:
            return 1.0

        def expect(self, places: Sequence[Position]) -> None: ...

    create_directory_log(tmp_path / "log", Params(log_id="ab" * 16, partitions=4))
    plain, stream = (kind(tmp_path / "log") for kind in (DirectoryLog, Stream))
    for log, can in ((plain, False), (stream, True)):
        through = RecordSizes(log).log
        assert isinstance(through, Forgets) is isinstance(through, ReadsAhead) is can
