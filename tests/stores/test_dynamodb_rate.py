"""A rebuild loads as many write units a second as it may, over any stretch of time, and no fewer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliers.stores.dynamodb_rate import WriteRate
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, checkpoint, key, row
from tests.stores.dynamodb_double import DynamoDBDouble

RATE = 100.0


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 400)), max_size=40))
def test_each_write_waits_until_those_before_it_are_paid_for(
    steps: list[tuple[float, int]],
) -> None:
    """Against the sum over every stretch that ends with a write: what it consumed but for its last
    write is at most the rate times its time. Time without writes is not saved up for a burst."""
    rate = WriteRate()
    rate.units_per_s = RATE
    now, units = 0.0, 0.0
    done: list[tuple[float, int]] = []
    for idle_s, size in steps:
        now += idle_s
        now += rate.wait_s(units, now)
        assert rate.wait_s(units, now) < 1e-6
        done.append((now, size))
        units += size
    for first in range(len(done)):
        for last in range(first + 1, len(done)):
            spent = sum(size for _, size in done[first:last])
            assert spent <= RATE * (done[last][0] - done[first][0]) + 1e-6


def test_without_a_rate_nobody_waits() -> None:
    assert WriteRate().wait_s(1e9, 0.0) == 0.0


def load_s(width: int) -> float:
    """How long it takes to load 500 items of a unit each, with so many calls under way."""
    double = DynamoDBDouble()
    store = store_on(double, width=width)
    store.bind(GENESIS)
    store.load_rate = RATE
    build = store.build(tables=None, fingerprint="f", excluded=())
    before = double.clock.monotonic()
    build.load("orders", [(key(f"k{n}"), row(f"k{n}", n + 1)) for n in range(500)])
    took_s = double.clock.monotonic() - before
    build.finish({0: checkpoint(0, 5)}, tables=())
    assert len(list(store.scan("orders"))) == 500
    return took_s


def test_a_build_takes_the_time_that_its_rate_asks_for() -> None:
    """By the units that the service says it consumed; checkpoints and the switch do not wait."""
    assert (500 - 25) / RATE <= load_s(1) <= 510 / RATE


def test_calls_at_the_same_time_are_no_way_around_the_rate() -> None:
    """What is under way at the same time is not waited for. On a clock that each wait moves, waits at
    the same time follow each other, so nothing is said of how long it takes at most."""
    width = 4
    assert (500 - 25 * width) / RATE <= load_s(width)
