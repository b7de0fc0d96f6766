"""The budget of frames: events wait only as long as they have to, and then share what there is."""

from __future__ import annotations

import pytest

from binlog.log import Appended, Position
from binlog.logs.kinesis import FRAMES_PER_S
from binlog.producer import ProducerOptions
from binlog.producer.budget import BURST_S, KEPT, Budget
from tests.producer.desk import (
    BORN,
    LOST,
    PARAMS,
    REFUSED,
    THROTTLED,
    Desk,
    events,
    header_of,
    key_in,
)

KEYS = [key_in(partition) for partition in range(PARAMS.partitions)]
RATE = 10.0
BURST = round(RATE * BURST_S)


def desk_of(**options: object) -> Desk:
    return Desk(birth_ms=lambda: BORN, frames_per_s=RATE, calls_max=10, **options)  # type: ignore[arg-type]


def run(desk: Desk, rate: float, seconds: float, *, shards: int = 1) -> tuple[int, int, float]:
    """Frames and events sent, and the longest wait; events come evenly, and replies at once."""
    came: list[float] = []
    frames = sent = 0
    longest, end, number = 0.0, desk.now + seconds, 0
    next_at = desk.now
    while desk.now < end:
        while next_at <= desk.now:
            key = KEYS[number % len(KEYS)]
            came.append(next_at)
            desk.offer(events(key, 1, start=number))
            number += 1
            next_at += 1 / rate
        while (send := desk.poll()) is not None:
            frames += len(send.puts)
            for put in send.puts:
                sent += header_of(put.data).count
            replies = [
                Appended(BORN, Position(f"shard{put.partition % shards}", frames), BORN)
                for put in send.puts
            ]
            desk.reply(send, *replies)
        waiting = desk.core.pending_events
        oldest = came[number - waiting] if waiting else desk.now
        longest = max(longest, desk.now - oldest)
        wakeup = desk.core.wakeup()
        step = min(time for time in (wakeup, next_at) if time is not None)
        assert step > desk.now, "it would spin"
        desk.now = step
    return frames, sent, longest


def test_below_the_budget_nothing_waits() -> None:
    frames, sent, longest = run(desk_of(), RATE * 0.9, 60.0)
    assert frames == sent
    assert longest == 0.0


def test_above_it_frames_keep_to_the_budget_and_events_share_them() -> None:
    frames, sent, longest = run(desk_of(), RATE * 20, 60.0)
    first = len(KEYS)  # before it is known which shard they are in
    assert RATE * 60 <= frames <= RATE * 60 + BURST + 1 + first
    assert sent >= RATE * 20 * 60 - 100
    assert longest <= len(KEYS) / RATE + 0.2  # each lane has its turn


@pytest.mark.parametrize("rate", [10, 100, 1_000, 10_000])
def test_at_any_rate_records_stay_within_the_default_and_events_wait_as_long_as_stated(
    rate: int,
) -> None:
    """A shard's share of 100 records a second: below it no event waits, above it k / rate at most,
    of k partitions, and 10,000 events a second are no more records than 1,000."""
    share, seconds = FRAMES_PER_S, 20.0 if rate < 1_000 else 4.0
    desk = Desk(birth_ms=lambda: BORN, frames_per_s=share, calls_max=10)
    frames, sent, longest = run(desk, rate, seconds)
    assert frames <= min(rate, share) * seconds + share * BURST_S + len(KEYS) + 1
    assert sent >= rate * (seconds - 0.2)
    assert longest <= (0.0 if rate < share else len(KEYS) / share + 1e-6)


def test_each_shard_has_its_own_budget() -> None:
    """As replies tell where a partition is; after a split there is more."""
    frames, _, _ = run(desk_of(), RATE * 20, 60.0, shards=2)
    assert 2 * RATE * 60 - BURST <= frames <= 2 * RATE * 60 + 3 * BURST


def test_a_flush_does_not_break_it() -> None:
    desk = desk_of(linger_s=5.0)
    for _ in range(BURST * 3):
        desk.offer([event for key in KEYS for event in events(key, 1)])
        desk.core.flush(desk.now)
        while (send := desk.poll()) is not None:
            desk.reply(send, Appended(BORN, Position("one", 1), BORN))
        desk.now += 0.001
    wakeup = desk.core.wakeup()
    assert wakeup is not None
    assert 0 < wakeup - desk.now <= 1 / RATE


def used_up() -> Desk:
    """A desk whose budget gives one frame now, and the next after 1 / RATE."""
    desk = desk_of()
    for _ in range(BURST):
        desk.offer(events(KEYS[0], 1), is_urgent=True)
        desk.reply(desk.send(), Appended(BORN, Position("", 1), BORN))
    desk.now += 1 / RATE
    desk.offer(events(KEYS[0], 1), is_urgent=True)
    return desk


def test_a_part_of_the_burst_is_left_to_those_who_wait() -> None:
    """Who publishes all the time uses up the rest, and a flush after it would wait for each frame."""
    desk = desk_of()
    published = 0
    desk.offer(events(KEYS[0], 1))
    while (send := desk.poll()) is not None:
        published += 1
        desk.reply(send, Appended(BORN, Position("", 1), BORN))
        desk.offer(events(KEYS[0], 1))
    assert BURST * (1 - KEPT) <= published <= BURST * (1 - KEPT) + 1
    wakeup = desk.core.wakeup()
    assert wakeup is not None
    assert 0 < wakeup - desk.now <= 1 / RATE
    desk.core.flush(desk.now)
    assert desk.core.wakeup() == desk.now
    desk.reply(desk.send(), Appended(BORN, Position("", 1), BORN))
    desk.offer(events(KEYS[0], 1))
    assert desk.poll() is None, "nobody waits for this one"
    desk.offer(events(KEYS[0], 1), is_urgent=True)
    assert len(desk.send().puts) == 1


def test_a_second_attempt_is_not_kept_waiting() -> None:
    """What waits behind it is: its partition has one frame at a time."""
    desk = used_up()
    desk.reply(desk.send(), LOST)
    desk.now += ProducerOptions().retry_first_s
    assert [put.tried for put in desk.send().puts] == [True]


def test_a_throttled_frame_waits_for_its_turn() -> None:
    """Refused for being one too many, it is not sent again until there is room for one."""
    desk = used_up()
    desk.offer(events(KEYS[1], 1), is_urgent=True)
    desk.reply(desk.send(), REFUSED)  # both are in the shard that is not known yet
    began = desk.now
    for _ in range(2):
        wakeup = desk.core.wakeup()
        assert wakeup is not None
        desk.now = wakeup
        [again] = desk.send().puts
        assert not again.tried
    assert desk.now - began >= 1 / RATE


def test_a_burst_is_what_was_not_used() -> None:
    budget, count = Budget(RATE), 0
    while budget.ready_at("a") <= 50.0:
        budget.spend("a", 50.0)
        count += 1
    assert BURST <= count <= BURST + 1
    assert 50.0 < budget.ready_at("a") <= 50.0 + 1 / RATE
    assert budget.ready_at("b") <= 50.0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_budget_of_nothing_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="frames_per_s"):
        ProducerOptions(frames_per_s=rate)


# -- calls ---------------------------------------------------------------------------------------

SPACING_S = 0.01


def test_a_call_begins_at_once_while_none_is_out() -> None:
    """However soon after the last one: who sends one by one is not slowed down."""
    desk = Desk(birth_ms=lambda: BORN, calls_max=10, call_spacing_s=SPACING_S)
    for number in range(20):
        desk.offer(events(KEYS[0], 1, start=number))
        desk.reply(desk.send(), Appended(BORN, Position("", number), BORN))


def test_while_one_is_out_calls_begin_apart_and_carry_what_came() -> None:
    """One that hangs holds the others for that long and no longer."""
    desk = Desk(birth_ms=lambda: BORN, calls_max=10, call_spacing_s=SPACING_S)
    desk.offer(events(KEYS[0], 1))
    hanging = desk.send()
    desk.now += SPACING_S / 2
    for key in KEYS[1:]:
        desk.offer(events(key, 1))
        assert desk.poll() is None
    wakeup = desk.core.wakeup()
    assert wakeup is not None
    assert wakeup == pytest.approx(desk.now + SPACING_S / 2)
    desk.now = wakeup
    assert [put.partition for put in desk.send().puts] == [1, 2, 3]
    assert hanging.puts[0].partition == 0


def test_an_attempt_after_a_throttle_keeps_to_it_too() -> None:
    desk = Desk(birth_ms=lambda: BORN, calls_max=10, call_spacing_s=SPACING_S, retry_first_s=1e-6)
    desk.offer(events(KEYS[0], 1))
    throttled = desk.send()
    desk.now += SPACING_S
    desk.offer(events(KEYS[1], 1))
    desk.send()
    desk.reply(throttled, THROTTLED)
    desk.now += SPACING_S / 2
    assert desk.poll() is None
    wakeup = desk.core.wakeup()
    assert wakeup is not None
    assert wakeup == pytest.approx(desk.now + SPACING_S / 2)
    desk.now = wakeup
    assert [put.tried for put in desk.send().puts] == [False]
