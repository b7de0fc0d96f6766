"""Many producers on one shard: what they try stays near what it takes, and all it takes is used."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from itertools import count
from random import Random

import pytest

from binlog.log import Appended, Position, Put, Reply
from binlog.logs.kinesis import FRAMES_PER_S
from binlog.producer import Send
from binlog.producer.budget import CUT, CUT_S, GROWTH, GROWTH_FRAMES, RATE_MIN, Budget
from tests.producer.desk import BORN, PARAMS, REFUSED, Desk, events, key_in

SHARD_RECORDS_PER_S = 1_000  # (service limit)
REPLY_S = 0.005
KEYS = [key_in(partition) for partition in range(PARAMS.partitions)]
TAKEN = Appended(BORN, Position("s", 1), BORN)


class Shard:
    """Takes so many records a second, whoever sends them, and refuses what is more."""

    def begin(self) -> None:
        self.tried: Counter[int] = Counter()
        self.taken: Counter[int] = Counter()

    def put(self, now: float) -> Reply:
        self.tried[int(now)] += 1
        if not self.has_room(now):
            return REFUSED
        self.taken[int(now)] += 1
        return TAKEN

    def has_room(self, now: float) -> bool:
        raise NotImplementedError

    def rates(self, start: int, end: int) -> tuple[float, float]:
        """Records tried and taken a second."""
        tried, taken = (
            sum(counts[second] for second in range(start, end)) / (end - start)
            for counts in (self.tried, self.taken)
        )
        return tried, taken


class Second(Shard):
    """Counts in each second by itself: all of it may be used up in its beginning."""

    def has_room(self, now: float) -> bool:
        return self.taken[int(now)] < SHARD_RECORDS_PER_S


class Bucket(Shard):
    """What was not used is there a second longer."""

    def begin(self) -> None:
        super().begin()
        self._level, self._at = float(SHARD_RECORDS_PER_S), 0.0

    def has_room(self, now: float) -> bool:
        gained = (now - self._at) * SHARD_RECORDS_PER_S
        self._level, self._at = min(SHARD_RECORDS_PER_S, self._level + gained), now
        if self._level < 1:
            return False
        self._level -= 1
        return True


@pytest.mark.parametrize("shard", [Second(), Bucket()], ids=["by the second", "bucket"])
@pytest.mark.parametrize("producers", [10, 100, 1_000, 10_000])
def test_producers_that_share_a_shard_keep_to_what_it_takes(producers: int, shard: Shard) -> None:
    """They know nothing of each other, and always have something to send. 10,000 of them take a
    minute to learn how many they are; that begins here, when each has halved its rate a few times.
    """
    shard.begin()
    budgets = [Budget(FRAMES_PER_S) for _ in range(producers)]
    now, settled, end = 0.0, 20, 30
    for number, budget in enumerate(budgets if producers > 1_000 else ()):
        for second in range(-1_000, -971 + number % 3):
            budget.hear([("s", TAKEN), ("s", REFUSED)], second)
    turns = [(10 * index / producers, index) for index in range(producers)]
    heapq.heapify(turns)
    while now < end:
        now, index = heapq.heappop(turns)
        budget = budgets[index]
        if budget.ready_at("s") > now:
            heapq.heappush(turns, (budget.ready_at("s"), index))
            continue
        budget.spend("s", now)
        budget.hear([("s", shard.put(now))], now + REPLY_S)
        heapq.heappush(turns, (now + REPLY_S, index))
    tried, taken = shard.rates(settled, end)
    assert taken >= 0.85 * SHARD_RECORDS_PER_S
    assert tried <= 1.35 * SHARD_RECORDS_PER_S
    if producers <= 100:  # above that some are refused by chance alone
        rates = [budget.rate("s") for budget in budgets]
        assert min(rates) >= 0.02 * SHARD_RECORDS_PER_S / producers


def test_a_shard_that_is_left_to_one_is_its_again() -> None:
    """Within a minute, or the others' load would be felt long after it is gone."""
    budget, now = Budget(FRAMES_PER_S), 0.0
    while budget.rate("s") > 1.0:
        now += 1.0
        budget.hear([("s", TAKEN), ("s", REFUSED)], now)
    left_at = now
    while budget.rate("s") < FRAMES_PER_S:
        now = max(now, budget.ready_at("s")) + REPLY_S
        budget.spend("s", now)
        budget.hear([("s", TAKEN)], now)
    assert now - left_at < 60.0


def test_the_rate_never_falls_so_far_that_nothing_is_tried() -> None:
    budget = Budget(FRAMES_PER_S)
    for second in range(1_000):
        budget.hear([("s", REFUSED)], second)
    budget.spend("s", 1_000.0)
    assert budget.rate("s") == RATE_MIN
    assert budget.ready_at("s") <= 1_000.0 + 1 / RATE_MIN
    slow = Budget(RATE_MIN / 2)
    slow.hear([("s", REFUSED)], 5.0)
    assert slow.rate("s") == RATE_MIN / 2


def test_one_refusal_is_one_reason_whatever_was_under_way() -> None:
    """Eight calls that were out together meet the same full shard."""
    budget = Budget(FRAMES_PER_S)
    for number in range(8):
        budget.hear([("s", REFUSED)] * 3 + [("s", TAKEN)], 5.0 + number * CUT_S / 8)
    assert budget.rate("s") == FRAMES_PER_S * CUT
    assert budget.rate("another") == FRAMES_PER_S
    assert budget.ready_at("s") >= 5.0, "the burst is gone"
    budget.hear([("s", REFUSED)], 5.0 + CUT_S)
    assert budget.rate("s") == pytest.approx(FRAMES_PER_S * CUT**2)


def test_the_rate_grows_by_frames_that_were_taken_and_not_sooner_than_once_a_second() -> None:
    budget = Budget(FRAMES_PER_S)
    budget.hear([("s", REFUSED)], 5.0)
    budget.hear([("s", TAKEN)] * 50, 5.9)
    assert budget.rate("s") == FRAMES_PER_S * CUT
    budget.hear([("s", TAKEN)], 6.0)
    assert budget.rate("s") == pytest.approx(FRAMES_PER_S * CUT * GROWTH)
    for _ in range(3):
        budget.hear([("s", REFUSED)], 10.0)
    budget.hear([("s", TAKEN)] * (GROWTH_FRAMES - 1), 20.0)
    assert budget.rate("s") == pytest.approx(FRAMES_PER_S * CUT)


def test_whole_producers_share_too_and_nobody_is_starved() -> None:
    """40 of them, that could use four times what there is: events go with others of their
    partition, and wait about N k / R."""
    count_of, shard = 40, Bucket()
    shard.begin()
    desks = [
        Desk(birth_ms=lambda: BORN, frames_per_s=FRAMES_PER_S, calls_max=8, families=[family])
        for family in _families(count_of)
    ]
    replies: list[tuple[float, int, Desk, Send, list[Reply]]] = []
    random = Random(3)
    order, now, step, waits = count(), 1_000.0, 0.02, []
    offered: dict[str, float] = {}
    while now < 1_008.0:
        now += step
        while replies and replies[0][0] <= now:
            _, _, desk, send, told = heapq.heappop(replies)
            desk.now = now
            desk.reply(send, *told)
            for ticket, _ in desk.told:
                waits.append((now, now - offered.pop(str(ticket))))
            desk.told.clear()
        random.shuffle(desks)  # none is always the last to ask
        for desk in desks:
            desk.now = now
            for key in KEYS:
                ticket = str(next(order))
                offered[ticket] = now
                desk.offer(events(key, 1), ticket)
            while (call := desk.poll()) is not None:
                answer = [_answer(shard, put, now) for put in call.puts]
                heapq.heappush(replies, (now + REPLY_S, next(order), desk, call, answer))
    tried, taken = shard.rates(1_004, 1_008)
    assert taken >= 0.95 * SHARD_RECORDS_PER_S
    assert tried <= 1.35 * SHARD_RECORDS_PER_S
    late = sorted(wait for at, wait in waits if at > 1_004.0)
    bound = count_of * len(KEYS) / SHARD_RECORDS_PER_S
    assert late[len(late) // 2] <= 2 * bound
    assert late[-1] <= 30 * bound
    oldest = min(offered.values())
    assert now - oldest <= 30 * bound


def _answer(shard: Shard, put: Put, now: float) -> Reply:
    assert put.data
    return shard.put(now)


def _families(count_of: int) -> Iterator[bytes]:
    return (f"family {number:9d}".encode() for number in range(count_of))
