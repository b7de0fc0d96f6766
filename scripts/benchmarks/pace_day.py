"""Three days of a shop, simulated: a consumer that is behind on purpose, and one that knows the days.

The clock is injected; the pace is the consumers' own (`consumers.pace.Pace`), asked before each page of
`PAGE` events and told afterwards. It learns what a day is before the last, which counts.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec

from consumers.pace import Pace, Setting

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
DAYS = 3
PAGE = 2_000  # events
PAGE_S = 0.25  # that the consumer takes for one: it could do four times the peak of the load
BOUND_S = 12.0 * HOUR_S
RETENTION_S = 7.0 * DAY_S
_STEP_S = 600  # of the oracle, and what a peak is averaged over


class Followed(msgspec.Struct, frozen=True):
    """What became of the days: how far behind at most, and the peak of the last day, events/s."""

    furthest_s: float
    peak: float


def load(now_s: float) -> float:
    """Events a second: a broad peak before noon, a sharp one at eight in the evening."""
    hour = now_s / HOUR_S % 24
    noon = 600 * math.exp(-(((hour - 11) / 2.5) ** 2))
    return 200 + noon + 1_000 * math.exp(-(((hour - 20) / 1.2) ** 2))


def follow(bound_s: float = BOUND_S) -> Followed:
    """A consumer at ``--max-behind``."""
    pace = Pace(Setting(max_behind_s=bound_s), now=0.0, retention_s=RETENTION_S)
    waiting: deque[tuple[int, float]] = deque()  # second of arrival, events left
    written = [0.0] * (DAYS * DAY_S // _STEP_S + 1)
    now_s, filled, furthest_s = 0.0, 0, 0.0
    while now_s < DAYS * DAY_S:
        while filled <= now_s:
            waiting.append((filled, load(filled)))
            filled += 1
        behind_s = now_s - waiting[0][0] if waiting else 0.0
        furthest_s = max(furthest_s, behind_s)
        if not waiting or (wait_s := pace.wait_s(behind_s=behind_s, now=now_s)):
            now_s += wait_s if waiting else 1.0
            continue
        left, through = float(PAGE), 0
        while left > 0 and waiting:
            through, events = waiting.popleft()
            taken = min(left, events)
            left -= taken
            if taken < events:
                waiting.appendleft((through, events - taken))
        now_s += PAGE_S
        written[int(now_s) // _STEP_S] += PAGE - left
        count = round(PAGE - left)
        pace.note(items=count, events=count, through_ms=through * 1000)
    last_day = written[(DAYS - 1) * DAY_S // _STEP_S : -1]
    return Followed(furthest_s, max(last_day) / _STEP_S)


def peak_of_load() -> float:
    """The most that comes, averaged alike."""
    steps = range(0, DAY_S, _STEP_S)
    return max(sum(load(at + s) for s in range(_STEP_S)) / _STEP_S for at in steps)


def peak_of_oracle(bound_s: float = BOUND_S) -> float:
    """The lowest peak of who knows the days: the events of no stretch fit into less."""
    sums = [0.0]
    for step in range(2 * DAY_S // _STEP_S):
        sums.append(sums[-1] + load(step * _STEP_S) * _STEP_S)
    return max(
        (sums[end] - sums[begin]) / ((end - begin) * _STEP_S + bound_s)
        for begin in range(len(sums))
        for end in range(begin + 1, len(sums))
    )
