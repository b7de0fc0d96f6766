"""``--max-behind``: the bound is met over days of changing load, as slowly as can be without an oracle."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from consumers.max_behind import MaxBehind

_HOUR = 3_600
_STEP_S = 20
_FULL = 5_000.0  # events a second that the consumer could do at most


def _two_peaks(now_s: float) -> float:
    """Events a second of a shop: a broad peak before noon, a sharp one at eight in the evening."""
    hour = now_s / _HOUR % 24
    noon = 600 * math.exp(-(((hour - 11) / 2.5) ** 2))
    return 200 + noon + 1_000 * math.exp(-(((hour - 20) / 1.2) ** 2))


def _week_end(now_s: float) -> float:
    """Hardly anything for two days, then the days of a shop again: the average knows of no load."""
    return 5.0 if now_s < 48 * _HOUR else _two_peaks(now_s)


def _launch(now_s: float) -> float:
    """Ten times the load, from one second to the next, for ever."""
    return 80.0 if now_s < 30 * _HOUR else 800.0


def _follow(load: Callable[[float], float], bound_s: float, days: int) -> tuple[float, float]:
    """The furthest behind, as a part of the bound, and the peak of what is written a second."""
    pace = MaxBehind(bound_s)
    waiting: list[float] = []  # events by step of arrival; one that is done is 0
    head = 0
    furthest = peak = 0.0
    for step in range(days * 86_400 // _STEP_S):
        now_s = step * _STEP_S
        waiting.append(load(now_s) * _STEP_S)
        behind_s = now_s - head * _STEP_S if head < len(waiting) else 0
        budget = done = min(pace.rate(behind_s), _FULL) * _STEP_S
        while budget > 0 and head < len(waiting):
            taken = min(budget, waiting[head])
            waiting[head] -= taken
            budget -= taken
            if waiting[head] <= 0:
                events = round(load(head * _STEP_S) * _STEP_S)
                head += 1
                pace.note(events=events, through_ms=head * _STEP_S * 1000)
        furthest = max(furthest, behind_s / bound_s)
        if now_s > 1.5 * 86_400:  # the first day tells what a day is
            peak = max(peak, (done - budget) / _STEP_S)
    return furthest, peak


def _oracle(load: Callable[[float], float], bound_s: float, days: int) -> float:
    """The lowest peak of who knows all: no stretch's events have more than it and the bound."""
    step_s = 600
    sums = [0.0]
    for step in range(days * 86_400 // step_s):
        sums.append(sums[-1] + load(step * step_s) * step_s)
    return max(
        (sums[end] - sums[begin]) / ((end - begin) * step_s + bound_s)
        for begin in range(len(sums))
        for end in range(begin + 1, min(len(sums), begin + 2 * 86_400 // step_s))
    )


@pytest.mark.parametrize("hours", [1, 6, 12])
@pytest.mark.parametrize("load", [_two_peaks, _week_end, _launch])
def test_is_never_further_behind_than_the_bound(load: Callable[[float], float], hours: int) -> None:
    """Whatever the load does, as long as the consumer could follow it at all."""
    furthest, _ = _follow(load, hours * _HOUR, days=4)
    assert furthest <= 1.0


@pytest.mark.parametrize("hours", [1, 6, 12])
def test_is_at_most_twice_as_quick_as_who_knows_the_day(hours: int) -> None:
    """And a bound of many hours halves the peak: the reason why anybody is behind on purpose."""
    _, peak = _follow(_two_peaks, hours * _HOUR, days=4)
    assert peak <= 2 * _oracle(_two_peaks, hours * _HOUR, days=2)
    if hours >= 6:
        highest = max(_two_peaks(now_s) for now_s in range(0, 86_400, 60))
        assert peak <= 0.6 * highest


def test_goes_on_at_full_speed_until_a_density_is_known() -> None:
    """Nothing may be slowed down for ever by a guess."""
    pace = MaxBehind(_HOUR)
    assert pace.rate(behind_s=10) == math.inf
    pace.note(events=100, through_ms=1_000)
    assert pace.rate(behind_s=10) == math.inf
    pace.note(events=100, through_ms=1_500)  # half a second: too short to tell
    assert pace.rate(behind_s=10) == math.inf
    pace.note(events=100, through_ms=2_000)
    assert 0 < pace.rate(behind_s=0.4 * _HOUR) == pytest.approx(200)


def test_nothing_is_kept_beyond_the_bound_by_a_density_of_nothing() -> None:
    """Records that held no events, or a month with one, are no reason to wait for ever."""
    pace = MaxBehind(_HOUR)
    for second in range(3):
        pace.note(events=0, through_ms=second * 1_000)
    assert pace.rate(0.0) == pace.rate(0.5 * _HOUR) == math.inf
    pace.note(events=1, through_ms=30 * 86_400_000)
    assert 0 < pace.rate(0.5 * _HOUR) < 1e-3
    assert pace.rate(0.99 * _HOUR) == math.inf


def test_stands_still_at_the_end_of_the_log() -> None:
    """What has just come can wait: the backlog is what lets a peak in."""
    pace = MaxBehind(_HOUR)
    for second in range(10):
        pace.note(events=100, through_ms=second * 1_000)
    rates = [pace.rate(part * _HOUR) for part in (0.0, 0.1, 0.4, 0.8, 1.0, 2.0)]
    assert rates[0] == 0
    assert rates == sorted(rates)
    assert rates[-1] > 10 * rates[2]


def test_events_of_one_moment_are_no_infinite_density() -> None:
    """A directory log whose clock stands, or a frame of many events, has no length in time."""
    pace = MaxBehind(_HOUR)
    pace.note(events=1, through_ms=0)
    for _ in range(1_000):
        pace.note(events=50, through_ms=0)
    pace.note(events=0, through_ms=10_000)
    assert pace.rate(0.4 * _HOUR) == pytest.approx(5_000)


@pytest.mark.parametrize("bound_s", [0, -1, math.inf, math.nan])
def test_refuses_a_bound_that_is_none(bound_s: float) -> None:
    """A consumer without a bound is another option."""
    with pytest.raises(ValueError, match="bound_s"):
        MaxBehind(bound_s)
