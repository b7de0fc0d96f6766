"""The days that `--max-behind` is measured on: its bound is kept, and its peak is worth something."""

from __future__ import annotations

import pytest

from consumers.max_behind import MaxBehind
from scripts.benchmarks import pace_day


def test_a_simulated_day_that_peaks_meets_the_bound_below_its_peak() -> None:
    """Half of the load's peak, and less than twice what an oracle needs: what the figures say."""
    followed = pace_day.follow()
    assert 0.5 * pace_day.BOUND_S < followed.furthest_s <= pace_day.BOUND_S
    assert pace_day.peak_of_oracle() < followed.peak
    assert followed.peak <= 2 * pace_day.peak_of_oracle()
    assert followed.peak <= 0.6 * pace_day.peak_of_load()


def test_a_consumer_that_follows_at_once_has_the_loads_peak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The measure can fail: without a pace it says so."""
    monkeypatch.setattr(MaxBehind, "rate", lambda *_: float("inf"))
    followed = pace_day.follow()
    assert followed.peak == pytest.approx(pace_day.peak_of_load(), rel=0.05)
    assert followed.furthest_s < 60
