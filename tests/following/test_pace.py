"""The pace of a lazy consumer: exact over a minute, adjustable, and lifted before data is lost."""

from __future__ import annotations

import math
from random import Random

import pytest

from binlog.errors import RefusedError
from consumers.pace import ASK_S, NO_BOUND, PAGE_S, Pace, Setting, check_distance, within

_DAY = 86_400.0


def _run(pace: Pace, seconds: float, random: Random, *, behind_s: float = 1e9) -> list[float]:
    """Apply pages of 1 to 40 events, each a little late, as the pace allows: when each was done."""
    now, done = 0.0, list[float]()
    while True:
        while wait_s := pace.wait_s(behind_s=behind_s, now=now):
            assert wait_s <= ASK_S
            now += wait_s + random.random() * 0.01
            if now >= seconds:
                return done
        count = random.randint(1, 40)
        now += random.random() * 0.02  # what a page itself takes
        pace.note(items=count, events=3 * count, through_ms=round(now * 1000))
        done += [now] * count


@pytest.mark.parametrize("rate", [150.0, 400.0, 1_000.0])
@pytest.mark.parametrize("unit", ["items", "events"])
def test_a_rate_is_kept_within_three_percent_over_a_minute(rate: float, unit: str) -> None:
    """Whatever the pages hold and however late they are."""
    of_one = 1 if unit == "items" else 3
    pace = Pace(Setting(rate=rate, unit=unit), now=0.0)  # type: ignore[arg-type]
    done = _run(pace, 60.0, Random(1))
    assert len(done) * of_one == pytest.approx(60 * rate, rel=0.03)


def test_no_second_sees_much_more_than_the_rate() -> None:
    """The first one and one after a quiet hour included: no burst at the border of a shard."""
    pace = Pace(Setting(rate=400.0), now=0.0)
    assert pace.wait_s(behind_s=0, now=0.0) == 0
    assert pace.wait_s(behind_s=0, now=3_600.0) == 0
    pace.note(items=1, events=1, through_ms=None)
    now, done = 3_600.0, list[float]()
    while now < 3_610.0:
        if wait_s := pace.wait_s(behind_s=0, now=now):
            now += wait_s
            continue
        pace.note(items=40, events=40, through_ms=None)
        done += [now] * 40
    for second in range(3_600, 3_609):
        count = sum(second <= when < second + 1 for when in done)
        assert count <= 400 * 1.1 + 40


def test_a_worker_takes_its_share() -> None:
    """Of a rate for the whole application, by the leases it holds; both can change on the way."""
    pace = Pace(Setting(rate=800.0), now=0.0, share=0.25)
    assert len(_run(pace, 30.0, Random(2))) == pytest.approx(30 * 200, rel=0.03)
    pace = Pace(Setting(rate=100.0), now=0.0)
    pace.adjust(Setting(rate=1_600.0), now=0.0)
    pace.share = 0.5
    assert len(_run(pace, 30.0, Random(3))) == pytest.approx(30 * 800, rel=0.03)


def test_without_a_setting_nothing_waits() -> None:
    """Nor is anything owed for that time by who sets a rate later."""
    pace = Pace(Setting(), now=0.0)
    for _ in range(100):
        assert pace.wait_s(behind_s=0, now=0.0) == 0
        pace.note(items=1_000, events=1_000, through_ms=0)
    pace.adjust(Setting(rate=10.0), now=1.0)
    assert pace.wait_s(behind_s=0, now=1.0) == 0


def test_the_pace_is_lifted_before_the_log_forgets() -> None:
    """With less than a quarter of the retention left nothing waits; with half somebody is told."""
    pace = Pace(Setting(rate=1.0, max_behind_s=100.0), now=0.0, retention_s=_DAY)
    pace.note(items=1_000, events=1_000, through_ms=0)
    assert pace.runway(0.4 * _DAY) == "ample"
    assert pace.runway(0.6 * _DAY) == "short"
    assert pace.wait_s(behind_s=0.6 * _DAY, now=0.0) == ASK_S
    assert pace.runway(0.76 * _DAY) == "lifted"
    assert pace.wait_s(behind_s=0.76 * _DAY, now=0.0) == 0
    assert Pace(Setting(), now=0.0).runway(10 * _DAY) == "unknown"  # a directory keeps all


def test_a_distance_keeps_a_consumer_back() -> None:
    """It waits for the log's time to pass, and goes on as it comes nearer to the bound."""
    pace, other = (Pace(Setting(max_behind_s=3_600.0), now=0.0) for _ in range(2))
    for second in range(100):
        pace.note(items=1, events=50, through_ms=second * 1_000)
        other.note(items=1, events=50, through_ms=second * 1_000)
    assert pace.wait_s(behind_s=0.0, now=0.0) == ASK_S
    near = _run(pace, 200.0, Random(4), behind_s=3_400.0)
    far = _run(other, 200.0, Random(4), behind_s=1_000.0)
    assert len(near) > len(far) > 0


def test_pages_follow_the_pace() -> None:
    """What comes in one piece comes in a burst: a page is about half a second of the rate."""
    pace = Pace(Setting(), now=0.0, retention_s=_DAY)
    pace.wait_s(behind_s=0.0, now=0.0)
    assert pace.page_bytes() == NO_BOUND
    pace.adjust(Setting(rate=400.0), now=0.0)
    pace.wait_s(behind_s=0.0, now=0.0)
    assert pace.page_bytes() == 1  # a record: nobody knows yet what so many bytes come to
    for _ in range(30):
        pace.note(items=10, events=40, through_ms=0, size=5_000)
    pace.wait_s(behind_s=0.0, now=0.0)
    assert pace.page_bytes() == pytest.approx(400 * PAGE_S / 10 * 5_000, rel=0.01)
    pace.adjust(Setting(rate=400.0, unit="events"), now=0.0)
    pace.wait_s(behind_s=0.0, now=0.0)
    assert pace.page_bytes() == 1  # of another kind
    for _ in range(30):
        pace.note(items=10, events=40, through_ms=0, size=5_000)
    pace.wait_s(behind_s=0.0, now=0.0)
    assert pace.page_bytes() == pytest.approx(400 * PAGE_S / 40 * 5_000, rel=0.01)
    pace.wait_s(behind_s=0.9 * _DAY, now=0.0)
    assert pace.page_bytes() == NO_BOUND  # lifted: as fast as can be


def test_a_share_has_its_share_of_a_page() -> None:
    pace = Pace(Setting(rate=400.0), now=0.0, share=0.25)
    pace.note(items=10, events=10, through_ms=0, size=1_000)
    pace.wait_s(behind_s=0.0, now=0.0)
    assert pace.page_bytes() == pytest.approx(100 * PAGE_S / 10 * 1_000, rel=0.01)


def test_a_distance_is_taken_for_half_of_what_the_log_keeps_now() -> None:
    """Who set it was told so; the log may keep less later."""
    wide, near = (Setting(rate=5.0, max_behind_s=s) for s in (20 * 3_600.0, 3_600.0))
    assert within(wide, _DAY) == Setting(rate=5.0, max_behind_s=_DAY / 2)
    assert within(near, _DAY) == near
    assert within(wide, None) == wide
    assert within(Setting(rate=5.0), 10.0) == Setting(rate=5.0)


def test_a_distance_beyond_half_of_the_retention_is_refused() -> None:
    """Who is that far behind on purpose has no time left for an accident."""
    check_distance(_DAY / 2, _DAY, "kinesis://orders")
    check_distance(10 * _DAY, None, "file:log")
    with pytest.raises(RefusedError, match="at most 12 hours"):
        check_distance(_DAY / 2 + 1, _DAY, "kinesis://orders")


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_refuses_a_setting_that_is_none(value: float) -> None:
    """Nothing a second is to stop the consumer, which is done otherwise."""
    with pytest.raises(ValueError, match="rate"):
        Setting(rate=value)
    with pytest.raises(ValueError, match="max_behind_s"):
        Setting(max_behind_s=value)
