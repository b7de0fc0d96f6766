"""A paced consumer: settings of a store are found, the runway is watched, rows do not wait."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import msgspec
import pytest

from appliers.stores import MemoryStore
from appliers.summary import summarize
from binlog.changes import put_item
from binlog.clock import ManualClock
from binlog.errors import DamageError, RefusedError, StorageError
from binlog.log import Position
from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from consumers.local import Following, replicate
from consumers.pace import Setting
from consumers.pacer import LOOK_S, RETENTION_S, Steering, read_setting, write_setting

_DAY_S = 86_400.0


class Forgetful(DirectoryLog):
    """A directory that says it forgets."""

    kept_s = _DAY_S
    asked = 0
    refuses = False

    def seen_ms(self, place: Position) -> int | None:  # noqa: ARG002
        return None

    def note_seen(self, place: Position, seen_ms: int) -> None: ...

    def retention_s(self) -> float:
        self.asked += 1
        if self.refuses:
            raise StorageError("throttled", self.name)
        return self.kept_s


class Keeping(MemoryStore):
    """A store whose setting somebody else changes."""

    kept: bytes | None = None
    fails = False

    def pace(self) -> bytes | None:
        if self.fails:
            raise StorageError("no answer", self.name)
        return self.kept

    def set_pace(self, setting: bytes | None) -> None:
        self.kept = setting


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Forgetful:
    create_directory_log(tmp_path / "log", Params(log_id="ab" * 16, partitions=2), clock=clock)

    def pause(seconds: float) -> None:
        clock.advance(max(1, round(seconds * 1000)))

    return Forgetful(tmp_path / "log", clock=clock, pause=pause)


def fill(log: DirectoryLog, frames: int, each: int = 100) -> None:
    for frame in range(frames):
        with Producer(log) as producer:
            producer.append_many(
                [put_item("orders", {"id": f"{frame}-{n}"}, key="id") for n in range(each)]
            )


def follow(
    log: DirectoryLog, store: MemoryStore, clock: ManualClock, setting: Setting, seconds: float
) -> list[tuple[float, int]]:
    """Follow for so long, without a real wait: how many events were applied, and when."""
    start, told = clock.monotonic(), list[tuple[float, int]]()

    def sleep(waited_s: float) -> None:
        clock.advance(max(1, round(waited_s * 1000)))

    def stop() -> bool:
        clock.advance(1)
        return clock.monotonic() - start >= seconds

    replicate(
        log,
        store,
        Following(setting=setting, page_bytes=1),
        stop=stop,
        progress=lambda events: told.append((clock.monotonic() - start, events)),
        clock=clock,
        sleep=sleep,
    )
    return told


def test_what_is_set_in_the_store_takes_the_place_of_the_option(
    log: Forgetful, clock: ManualClock
) -> None:
    """While it is running, within half a minute, and until it is taken out again."""
    fill(log, 40)
    store = Keeping()
    store.kept = msgspec.json.encode(Setting(rate=10.0, unit="events"))
    told = follow(log, store, clock, Setting(rate=1_000.0), 60)
    assert told[-1][1] == pytest.approx(600, abs=150)
    store.kept = None
    assert follow(log, store, clock, Setting(), 60)[-1][1] > 2_000


def test_a_setting_is_looked_up_and_one_that_cannot_be_read_stays(
    log: Forgetful, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that does not answer for a moment is no reason to run at full speed, nor to end."""
    fill(log, 40)
    store = Keeping()

    def change(record: logging.LogRecord) -> bool:
        return "pace.unread" in record.getMessage()

    store.fails = True
    with caplog.at_level(logging.WARNING):
        told = follow(log, store, clock, Setting(rate=20.0), LOOK_S * 2 + 5)
    assert len([record for record in caplog.records if change(record)]) == 3
    assert told[-1][1] == pytest.approx(20 * (LOOK_S * 2 + 5), abs=150)
    store.fails, store.kept = False, b"no setting"
    with pytest.raises(DamageError, match="binlog pace"):
        follow(log, store, clock, Setting(rate=20.0), 60)


@pytest.mark.parametrize("kept", [b"{}", b'{"rate":0}', b"[]", b'{"max_behind_s":-1}'])
def test_a_stored_setting_is_checked(kept: bytes) -> None:
    """What is none is damage; one that asks for nothing is one."""
    store = Keeping()
    store.kept = kept
    if kept == b"{}":
        assert read_setting(store, "here") == Setting()
    else:
        with pytest.raises(DamageError, match="here"):
            read_setting(store, "here")


def test_the_runway_is_told_and_the_pace_lifted_in_time(
    log: Forgetful, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A rate that the load has outgrown: a warning at half of the retention, an alarm at a quarter.

    Then everything is as fast as can be, and the paced consumer loses nothing.
    """
    fill(log, 100)
    log.kept_s = 1_000.0
    store = MemoryStore()
    with caplog.at_level(logging.WARNING):
        told = follow(log, store, clock, Setting(rate=2.0), 1_000)
    words = [record.getMessage().split("'")[1] for record in caplog.records]
    assert words[:2] == ["runway.shortened", "pace.lifted"]
    by_700 = max(events for at, events in told if at < 700)
    assert by_700 < 2 * 700 + 200
    assert told[-1][1] == 100 * 100
    assert summarize(store).tables["orders"].items == 100 * 100


def test_the_retention_is_asked_for_now_and_then(log: Forgetful, clock: ManualClock) -> None:
    """Somebody may change it; each look is a call."""
    fill(log, 1)
    follow(log, MemoryStore(), clock, Setting(rate=1.0), RETENTION_S * 2 + 10)
    assert log.asked == 3


def test_a_log_that_does_not_answer_for_a_moment_is_asked_again(
    log: Forgetful, clock: ManualClock
) -> None:
    """Many shards begin at once, and what tells the retention is throttled: no reason to end."""
    steering = Steering(log, MemoryStore(), Setting(rate=5.0), clock=clock)
    log.refuses = True
    steering.wait_s(0.9 * _DAY_S)
    assert steering.pace.runway(0.9 * _DAY_S) == "unknown"
    assert steering.pace.setting == Setting(rate=5.0)
    log.refuses = False
    clock.advance(round(LOOK_S * 1000))
    steering.wait_s(0.9 * _DAY_S)
    assert steering.pace.runway(0.9 * _DAY_S) == "lifted"
    assert log.asked == 2


def test_a_consumer_that_is_behind_on_purpose_comes_no_nearer_than_it_must(
    log: Forgetful, clock: ManualClock
) -> None:
    """And no further away than the bound, while a producer goes on."""
    bound_s, start = 600.0, clock.monotonic()
    written = list[float]()  # when, an event a second
    lags = list[tuple[float, float]]()
    done = 0

    def produce() -> None:
        nonlocal done
        now = clock.monotonic() - start
        if now >= len(written) + 20:
            fill(log, 1, each=20)
            written.extend([now] * 20)
        lags.append((now, now - written[done] if done < len(written) else 0.0))

    def applied(events: int) -> None:
        nonlocal done
        done = events

    def sleep(waited_s: float) -> None:
        clock.advance(max(1, round(waited_s * 1000)))

    def stop() -> bool:
        produce()
        return clock.monotonic() - start >= 3_000

    how = Following(setting=Setting(max_behind_s=bound_s), page_bytes=1)
    replicate(log, MemoryStore(), how, stop=stop, progress=applied, clock=clock, sleep=sleep)
    assert max(lag for _, lag in lags) <= bound_s
    assert min(lag for at, lag in lags if at > 1_500) >= 0.1 * bound_s


def test_a_bound_beyond_half_of_what_the_log_keeps_is_refused(
    log: Forgetful, clock: ManualClock
) -> None:
    """Before anything is written."""
    store = MemoryStore()
    with pytest.raises(RefusedError, match="at most 12 hours"):
        follow(log, store, clock, Setting(max_behind_s=13 * 3_600.0), 1)


def test_a_setting_beyond_half_of_what_the_log_keeps_is_gone_by_as_the_half(
    log: Forgetful, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It was set without the log, or the log was made to keep less since: told, and not refused."""
    store = MemoryStore()
    write_setting(store, Setting(max_behind_s=20 * 3_600.0))
    with caplog.at_level(logging.WARNING):
        steering = Steering(log, store, Setting(), clock=clock)
        steering.wait_s(0.0)
        assert steering.pace.setting == Setting(max_behind_s=_DAY_S / 2)
        log.kept_s = 3_600.0
        clock.advance(round(RETENTION_S * 1000))
        steering.wait_s(0.0)
        assert steering.pace.setting == Setting(max_behind_s=1_800.0)
        clock.advance(round(LOOK_S * 1000))
        steering.wait_s(0.0)
    capped = [r for r in caplog.records if "pace.capped" in r.getMessage()]
    assert len(capped) == 2  # once each, not at every look


def test_who_goes_to_the_logs_end_is_not_kept_away_from_it(
    log: Forgetful, clock: ManualClock
) -> None:
    """A rate holds all the same."""
    store = MemoryStore()
    write_setting(store, Setting(rate=7.0, max_behind_s=3_600.0))
    once = Steering(log, store, Setting(), clock=clock, once=True)
    once.wait_s(0.0)
    assert once.pace.setting == Setting(rate=7.0)


def test_pages_are_short_from_when_a_pace_is_set(log: Forgetful, clock: ManualClock) -> None:
    """While it runs, too: a page of before would be minutes of the new pace at once."""
    fill(log, 200)
    store, told = MemoryStore(), list[tuple[float, int]]()
    write_setting(store, Setting(rate=50.0, unit="events"))
    start = clock.monotonic()

    def sleep(waited_s: float) -> None:
        clock.advance(max(1, round(waited_s * 1000)))

    def stop() -> bool:
        clock.advance(1)
        return clock.monotonic() - start >= 60

    replicate(
        log,
        store,
        Following(),
        stop=stop,
        progress=lambda events: told.append((clock.monotonic() - start, events)),
        clock=clock,
        sleep=sleep,
    )
    assert told[-1][1] == pytest.approx(60 * 50, rel=0.05)
    steps = [events - before for (_, before), (_, events) in itertools.pairwise(told)]
    assert max(steps) <= 100  # a frame; the log's one page has 20,000
