"""A storm of throttling is over when it is over: what was taken before is taken again, and no more."""

from __future__ import annotations

import heapq
from collections import Counter
from random import Random

import msgspec
import pytest

from binlog.logs.kinesis import FRAMES_PER_S
from binlog.producer.budget import CLIMB_S, Budget
from tests.producer.desk import REFUSED
from tests.producer.test_producer_sharing import REPLY_S, SHARD_RECORDS_PER_S, TAKEN, Bucket

CALM_S, AFTER_S = 10.0, 12.0
TENTHS = 10


class Told(msgspec.Struct):
    """What came of a storm."""

    before: float  # frames taken a second
    back_s: float  # from its end until nine tenths of that are taken in a second, or infinite
    tried_in_it: float  # a second
    tried_after: int  # at most, in any second


def storm(
    producers: int, rate: float, lasts_s: float, *, refused: float, calm_s: float = CALM_S
) -> Told:
    """``producers`` have ``rate`` frames a second each; ``refused`` of those in the storm are."""
    random, shard = Random(1), Bucket()
    shard.begin()
    budgets = [Budget(FRAMES_PER_S) for _ in range(producers)]
    due = [random.random() / rate for _ in range(producers)]  # each one's next new frame
    turns = [(at, index) for index, at in enumerate(due)]
    heapq.heapify(turns)
    tried, taken = Counter[int](), Counter[int]()
    end = calm_s + lasts_s
    while turns[0][0] < end + AFTER_S:
        now, index = heapq.heappop(turns)
        budget = budgets[index]
        if budget.ready_at("s") > now:
            heapq.heappush(turns, (budget.ready_at("s"), index))
            continue
        budget.spend("s", now)
        tried[int(now * TENTHS)] += 1
        is_hit = calm_s <= now < end and random.random() < refused
        reply = REFUSED if is_hit else shard.put(now)
        budget.hear([("s", reply)], now + REPLY_S)
        if reply is TAKEN:
            taken[int(now * TENTHS)] += 1
            due[index] = max(due[index] + 1 / rate, now)  # what waited goes with one frame
        heapq.heappush(turns, (max(now + REPLY_S, due[index] if reply is TAKEN else 0.0), index))

    def second(counts: Counter[int], at: int) -> int:
        return sum(counts[at + tenth] for tenth in range(TENTHS))

    calm, after = int((calm_s - 5) * TENTHS), int(end * TENTHS)
    before = sum(taken[t] for t in range(calm, calm + 5 * TENTHS)) / 5
    starts = range(after, after + int((AFTER_S - 1) * TENTHS))
    back = next((at for at in starts if second(taken, at) >= 0.9 * before), None)
    return Told(
        before,
        float("inf") if back is None else (back - after) / TENTHS,
        sum(tried[t] for t in range(int(calm_s * TENTHS), after)) / lasts_s,
        max(second(tried, at) for at in starts),
    )


@pytest.mark.parametrize("lasts_s", [0.5, 5.0, 60.0])
@pytest.mark.parametrize(("producers", "rate"), [(1, 80.0), (10, 90.0), (100, 9.0)])
def test_after_a_storm_all_is_taken_again_within_a_second(
    producers: int, rate: float, lasts_s: float
) -> None:
    """However long it was; and neither in it nor after it more is tried than before."""
    told = storm(producers, rate, lasts_s, refused=1.0)
    assert told.before >= 0.95 * producers * rate
    assert told.back_s <= 1.0
    assert told.tried_after <= 1.1 * SHARD_RECORDS_PER_S
    if lasts_s >= 5.0:
        assert told.tried_in_it <= 1.3 * told.before


@pytest.mark.parametrize(("producers", "rate"), [(1, 80.0), (10, 90.0), (100, 9.0)])
def test_after_a_storm_that_let_a_third_through_it_takes_two(producers: int, rate: float) -> None:
    told = storm(producers, rate, 5.0, refused=0.7)
    assert told.back_s <= 2.0
    assert told.tried_after <= 1.1 * SHARD_RECORDS_PER_S


def test_producers_that_had_too_few_shards_before_are_back_to_that() -> None:
    """Each has twice what there is for it, and is refused all the time."""
    told = storm(100, 20.0, 60.0, refused=1.0, calm_s=40.0)
    assert told.before >= 0.95 * SHARD_RECORDS_PER_S
    assert told.back_s <= 1.5
    assert told.tried_after <= 2 * SHARD_RECORDS_PER_S


def test_what_was_learnt_before_is_not_believed_for_ever() -> None:
    """Others may have come meanwhile: where the shard goes on to refuse some, it is shared."""
    budget, now = Budget(FRAMES_PER_S), 1.0
    while now < 20.0:
        now += 1 / 80
        budget.hear([("s", TAKEN)], now)
    for _ in range(600):
        now += 0.1
        budget.hear([("s", REFUSED)], now)
        now += 2 * CLIMB_S
        budget.hear([("s", TAKEN)], now)
    assert budget.rate("s") < 80 / 8


def test_a_storm_tells_nothing_of_what_the_shard_takes() -> None:
    """Nothing came through, for an hour: the first frame that does brings all of it back."""
    budget, now = Budget(FRAMES_PER_S), 1.0
    while now < 20.0:
        now += 1 / 80
        budget.hear([("s", TAKEN)], now)
    for _ in range(36_000):
        now += 0.1
        budget.hear([("s", REFUSED)], now)
    assert budget.rate("s") == pytest.approx(80 / 32, rel=0.1)
    budget.spend("s", now)
    for _ in range(6):
        now += CLIMB_S
        budget.hear([("s", TAKEN)], now)
        assert budget.ready_at("s") <= now, "what was begun in the storm is paid for"
    assert budget.rate("s") == pytest.approx(80, rel=0.05)
