"""The figures of lazy consumers: how well a rate is kept, and what a bound on the distance is worth."""

from __future__ import annotations

import contextlib
import functools
import time

from appliers.stores.memory import MemoryStore
from binlog.address import open_log
from binlog.clock import Clock, ManualClock, SystemClock
from consumers.local import Following, replicate
from consumers.pace import Setting
from scripts.benchmarks import pace_day
from scripts.benchmarks.bench import Bench
from scripts.benchmarks.figures import Contest, Goal, Rival
from scripts.benchmarks.measure import Contender, Outcome

SECONDS = 60.0
RATE_ERROR_MAX = 0.03


def pace_contests(bench: Bench) -> list[Contest]:
    """All three."""
    return [_rate(bench), _bound(), _peak()]


def _rate(bench: Bench) -> Contest:
    """A minute of the machine's clock with ``--long``, once; else of one that waits move on."""
    wanted = 0.8 * bench.spec.events / SECONDS

    @functools.cache
    def deviation() -> float:
        clock: Clock = SystemClock() if bench.sizes.long else ManualClock()
        applied = _applied(bench, wanted, clock)
        return abs(applied / (wanted * SECONDS) - 1)

    return Contest(
        "rate",
        f"--rate {wanted:,.0f} of events, a minute of {'real' if bench.sizes.long else 'simulated'}"
        " time: off by",
        "%",
        Contender("binlog replicate", lambda: Outcome(100 * deviation())),
        [],
        goal=Goal(100 * RATE_ERROR_MAX, at_most=True),
    )


def _applied(bench: Bench, rate: float, clock: Clock) -> int:
    """Events that were applied within the minute."""
    path = bench.log  # which is made now
    began, done = clock.monotonic(), 0

    def told(events: int) -> None:
        nonlocal done
        if clock.monotonic() - began < SECONDS:
            done = events

    def sleep(seconds: float) -> None:
        if isinstance(clock, ManualClock):
            clock.advance(max(1, round(seconds * 1000)))
        else:
            time.sleep(seconds)

    with contextlib.closing(open_log(f"file:{path}")) as log:
        replicate(
            log,
            MemoryStore(),
            Following(setting=Setting(rate, "events")),
            stop=lambda: clock.monotonic() - began >= SECONDS,
            progress=told,
            clock=clock,
            sleep=sleep,
        )
    return done


@functools.cache
def _days() -> pace_day.Followed:
    return pace_day.follow()


def _bound() -> Contest:
    return Contest(
        "max-behind",
        "--max-behind 12h, three simulated days that peak twice: furthest behind, of 12 h",
        "%",
        Contender("binlog", lambda: Outcome(100 * _days().furthest_s / pace_day.BOUND_S)),
        [],
        goal=Goal(100, at_most=True),
    )


def _peak() -> Contest:
    return Contest(
        "max-behind-peak",
        "--max-behind 12h, the most that is written in ten minutes of the last day",
        "events/s",
        Contender("binlog", lambda: Outcome(_days().peak)),
        [
            Rival(
                Contender("the load's own peak", lambda: Outcome(pace_day.peak_of_load())),
                Goal(0.6, at_most=True),
            ),
            Rival(
                Contender("an oracle that knows the days", lambda: Outcome(_oracle())),
                Goal(2.0, at_most=True),
            ),
        ],
    )


@functools.cache
def _oracle() -> float:
    return pace_day.peak_of_oracle()
