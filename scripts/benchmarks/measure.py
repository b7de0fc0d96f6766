"""How a figure is measured: interleaved rounds, timed in process, checked outside the timing.

A contender prepares, runs under `timed` and then proves its result by a digest, all in one call
that returns an `Outcome`. In each round every contender of a contest runs once, one after the
other (A B C, A B C, ...), so that a noisy neighbour or a warm cache meets all of them alike. The
ratio of a round is taken within that round; what is reported is the middle one and the extremes.

The garbage collector: floors and peers run with it paused, which is the best for them. Ours runs
as it ships. What exists before (the workload) is frozen, so that nobody pays for scanning it.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

ROUNDS_MIN = 3


class WrongResultError(Exception):
    """A contender arrived at another table than the oracle: its time means nothing."""


class UnavailableError(Exception):
    """A contender that cannot run here; the text says why, and the run goes on without it."""


class Clock:
    """Seconds of one timed block, zero until it has ended."""

    seconds: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """One run of one contender."""

    amount: float
    """Events a second, or bytes, or seconds, as the contest's unit says."""
    digest: str | None = None
    """Of the final table; None where a figure has no table."""


class Contender(msgspec.Struct, frozen=True):
    """A named way of doing the work of a contest."""

    name: str
    run: Callable[[], Outcome]


class Measured(msgspec.Struct, frozen=True):
    """A contender's amounts, one a round, or why there are none."""

    name: str
    amounts: list[float]
    unavailable: str | None = None

    @property
    def median(self) -> float:
        """The middle amount."""
        return statistics.median(self.amounts)


class Spread(msgspec.Struct, frozen=True):
    """Ratio of ours to the other, taken round by round."""

    median: float
    low: float
    high: float


@contextlib.contextmanager
def timed(*, collector: bool) -> Iterator[Clock]:
    """Time the block. With `collector` false the garbage collector is paused meanwhile."""
    clock = Clock()
    gc.collect()
    was_enabled = gc.isenabled()
    if not collector:
        gc.disable()
    start = time.perf_counter()
    try:
        yield clock
    finally:
        clock.seconds = time.perf_counter() - start
        if was_enabled:
            gc.enable()


def contest(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    expected: str | None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Measured]:
    """Run every contender once a round and return their amounts, in the order given.

    Raises:
        WrongResultError: a digest differs from `expected`.
    """
    amounts: list[list[float]] = [[] for _ in contenders]
    reasons: list[str | None] = [None] * len(contenders)
    for number in range(1, rounds + 1):
        for index, contender in enumerate(contenders):
            if reasons[index] is not None:
                continue
            progress(f"round {number} of {rounds}: {contender.name}")
            try:
                outcome = contender.run()
            except UnavailableError as error:
                reasons[index] = str(error)
                continue
            if outcome.digest is not None and outcome.digest != expected:
                raise WrongResultError(
                    f"{contender.name}: table {outcome.digest[:16]}, expected {str(expected)[:16]}"
                )
            amounts[index].append(outcome.amount)
    return [
        Measured(contender.name, taken, reason)
        for contender, taken, reason in zip(contenders, amounts, reasons, strict=True)
    ]


def ratio(ours: Measured, other: Measured) -> Spread | None:
    """Ours divided by the other, pair by pair; None when one of them did not run."""
    if ours.unavailable or other.unavailable:
        return None
    pairs = [a / b for a, b in zip(ours.amounts, other.amounts, strict=True)]
    return Spread(statistics.median(pairs), min(pairs), max(pairs))
