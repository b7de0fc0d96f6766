"""The reckoning of packing, latency and price: against figures that were worked out by hand."""

from __future__ import annotations

import math

import pytest

from binlog.logs import kinesis_price as price

MILLION = 1e6


def per_million(found: price.Choice, dollars: float, rate: float) -> float:
    """Of a month's bill, what a million events come to."""
    return dollars / (rate * 3600 * price.MONTH_HOURS) * MILLION


def test_one_event_a_record_costs_what_everybody_pays() -> None:
    """1,000 events of 200 B a second, one a record: a shard, and a unit each. By hand: 0.014 a
    million units and 0.015 an hour of 3.6 million events."""
    found = price.choice(256, 0.0, rate=1_000, producers=100)
    assert found.events_per_record == 1
    assert (found.records_per_s, found.shards) == (1_000, 1)
    cost = per_million(found, found.provisioned_dollars, 1_000)
    assert cost == pytest.approx(0.014 + 0.015 / 3.6, rel=1e-9)


def test_full_frames_cost_what_the_bench_counts() -> None:
    """One busy producer: scripts/bench --cost finds one unit for 583 events at full load."""
    found = price.choice(1, 5.0, rate=10_000, producers=1)
    assert found.record_bytes <= price.UNIT_BYTES
    units = found.records_per_s / 10_000
    assert 1 / units == pytest.approx(583, rel=0.05)


@pytest.mark.parametrize(
    ("events", "size"), [(1.1, 360), (3.5, 771), (12.7, 2_362), (129.6, 6_029), (460.5, 19_441)]
)
def test_a_record_has_the_size_that_was_measured(events: float, size: int) -> None:
    """By scripts/bench --cost --only packing; what comes out here is what people are told."""
    assert price.record_bytes(events) == pytest.approx(size, rel=0.05)


def test_no_event_waits_longer_than_the_linger_and_a_put() -> None:
    for each in price.choices(rate=500, producers=7):
        assert price.PUT_S < each.latency_s <= each.linger_s + price.PUT_S + 1e-9


def test_more_partitions_never_cost_less() -> None:
    found = price.choices(rate=2_000, producers=5)
    for linger in price.LINGERS_S:
        dollars = [each.provisioned_dollars for each in found if each.linger_s == linger]
        assert dollars == sorted(dollars)


def test_retention_has_its_price() -> None:
    day = price.choice(4, 1.0, rate=100, producers=1)
    week = price.choice(4, 1.0, rate=100, producers=1, retention_hours=168)
    more = week.provisioned_dollars - day.provisioned_dollars
    assert more == pytest.approx(0.020 * price.MONTH_HOURS * day.shards)
    assert week.on_demand_dollars > day.on_demand_dollars


@pytest.mark.parametrize(
    ("rate", "producers", "least", "most"),
    [(1, 1, 1, 256), (1_000, 10, 1, 16), (100_000, 4, 64, 256)],
)
def test_what_is_recommended_is_cheap_and_wide_enough(
    rate: float, producers: int, least: int, most: int
) -> None:
    found = price.choices(rate=rate, producers=producers)
    best = price.recommended(found)
    assert least <= best <= most
    [chosen] = [each for each in found if each.partitions == best and each.linger_s == 1.0]
    needed = max(
        chosen.records_per_s / price.SHARD_RECORDS_S,
        chosen.records_per_s * chosen.record_bytes / price.SHARD_BYTES_S,
    )
    assert math.ceil(needed) <= best
