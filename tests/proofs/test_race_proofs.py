"""Two consumers on one store without a lock, in the orders that hurt: a write of the slower one
arrives after, before or amid those of the other, on what was read at another time."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.testing.world.store import WorldStore
from tests.proofs.budget import assert_met, examples
from tests.proofs.whole import PAGE_BYTES, Whole

MODES = ("wakes up late", "writes in the middle", "is overtaken in the middle")
ALL = PAGE_BYTES[-1]
seeds = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 31)), min_size=1, max_size=6)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What a consumer reports when it loses a race is what is wanted here."""
    logger = logging.getLogger("consumers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def publish(whole: Whole, events: list[tuple[int, int]], items: int) -> None:
    """A record an event, of one item or two."""
    producers = whole.producers
    for number, (b, c) in enumerate(events):
        producers.publish(0, [producers.make_event(1 + 8 * (number % items), b, c)])
        producers.tick(5)
        producers.work(0, (0, 0), reply_at_once=True)


def race(whole: Whole, mode: str, woken: int, crash_after: int | None) -> None:
    """The zombie stands behind the other consumer, which is about to write ``woken`` records on."""
    store = whole.store
    assert isinstance(store, WorldStore)
    if mode == "is overtaken in the middle":
        store.between = lambda: whole.replicate(1_000, ALL)
        whole.zombie_step(woken)
    elif mode == "writes in the middle":
        store.between = lambda: whole.zombie_step(woken)
    store.crash_after, store.time_out = crash_after, True
    whole.replicate(1_000, ALL)
    store.between = store.crash_after = None
    whole.zombie_step(woken)


def test_no_order_of_two_consumers_loses_or_repeats_anything() -> None:
    """I1, I2, C2 and C3: conditions, and not luck, keep the items right."""
    met: Counter[str] = Counter()

    @examples(4)
    @given(
        before=seeds,
        raced=seeds,
        after=seeds,
        items=st.integers(1, 2),
        mode=st.sampled_from(MODES),
        woken=st.integers(1, 5),
        crash_after=st.one_of(st.none(), st.integers(0, 6)),
    )
    def holds(
        before: list[tuple[int, int]],
        raced: list[tuple[int, int]],
        after: list[tuple[int, int]],
        items: int,
        mode: str,
        woken: int,
        crash_after: int | None,
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="binlog-proofs-"))
        whole = Whole(kind="loose", kinesis=False, folder=folder)
        publish(whole, before, items)
        whole.replicate(1_000, ALL)
        whole.start_zombie(PAGE_BYTES[0])
        publish(whole, raced, items)
        race(whole, mode, woken, crash_after)
        whole.check_store()
        publish(whole, after, items)
        whole.replicate(1_000, ALL)
        whole.zombie_step(1_000)
        whole.settle()
        met.update(whole.met)
        met[mode] += 1
        shutil.rmtree(folder)

    holds()
    assert_met(met, [*MODES, "condition failed", "commit timed out", "zombie stepped"])
