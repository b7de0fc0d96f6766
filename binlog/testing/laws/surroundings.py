"""All that is around an applier and must not count: each in two states, *plain* and *other*.

A check folds in plain surroundings, folds again in other ones, and compares. Both are fixed, so
that what is found is found at every run: the moment stands still, random numbers and identifiers
come from a seed.
"""

from __future__ import annotations

import decimal
import os
import random
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import time_machine

from binlog.testing.laws.foreign_locale import foreign_locale, plain_locale

CLOCK = "clock"
ZONE = "time zone"
RANDOM = "random numbers"
DECIMAL = "decimal context"
LOCALE = "locale"
ENVIRONMENT = "environment"
DIRECTORY = "directory"

# 1970-01-01 04:05:06 UTC, a Thursday, and 2036-07-19 18:36:49, a Saturday: events of today lie
# between them, and whatever is read off a calendar or a clock differs.
_MOMENTS = (4 * 3600 + 5 * 60 + 6.789, 2_100_105_409.123)
_ZONES = ("UTC0", "BBB-9:30CCC,M3.2.0,M11.1.0")
_SEEDS = (1, 2)
# 16 digits hold any sum of money, and no hostile number; no trap is set.
_CONTEXTS = (
    decimal.Context(
        prec=28,
        rounding=decimal.ROUND_HALF_EVEN,
        traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
    ),
    decimal.Context(prec=16, rounding=decimal.ROUND_UP, traps=[]),
)
_KEPT = ("PYTHON", "LC_", "LANG", "LOCPATH", "TZ", "PATH", "HOME", "TMP", "TEMP", "LD_", "BINLOG_")


def surrounded(other: Collection[str] = ()) -> AbstractContextManager[None]:
    """Plain surroundings, but for those named: these are the other ones."""
    return _surrounded(frozenset(other))


@contextmanager
def _surrounded(other: frozenset[str]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, enter in _ENTER.items():
            stack.enter_context(enter(name in other))
        yield


@contextmanager
def _environment(other: bool) -> Iterator[None]:  # noqa: FBT001
    if not other:
        yield
        return
    kind: Any = type(os.environ)
    get = kind.__getitem__

    def changed(self: Any, name: str) -> str:
        return str(get(self, name)) if name.startswith(_KEPT) else "other"

    with patch.object(kind, "__getitem__", changed):
        yield


@contextmanager
def _zone(other: bool) -> Iterator[None]:  # noqa: FBT001
    before = os.environ.get("TZ")
    os.environ["TZ"] = _ZONES[other]
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = before
        time.tzset()


def _clock(other: bool) -> AbstractContextManager[Any]:  # noqa: FBT001
    return time_machine.travel(_MOMENTS[other], tick=False)


@contextmanager
def _random(other: bool) -> Iterator[None]:  # noqa: FBT001
    stream = random.Random(_SEEDS[other])
    state = random.getstate()
    random.seed(_SEEDS[other])
    with (
        patch.object(os, "urandom", stream.randbytes),
        patch.object(random, "_urandom", stream.randbytes),
    ):
        try:
            yield
        finally:
            random.setstate(state)


def _decimal(other: bool) -> AbstractContextManager[Any]:  # noqa: FBT001
    return decimal.localcontext(_CONTEXTS[other])


def _locale(other: bool) -> AbstractContextManager[Any]:  # noqa: FBT001
    return foreign_locale() if other else plain_locale()


@contextmanager
def _directory(other: bool) -> Iterator[None]:  # noqa: FBT001
    if not other:
        yield
        return
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tempfile.gettempdir())
        yield
    finally:
        os.fchdir(before)
        os.close(before)


_ENTER: dict[str, Callable[[bool], AbstractContextManager[Any]]] = {
    ENVIRONMENT: _environment,
    DIRECTORY: _directory,
    LOCALE: _locale,
    ZONE: _zone,
    CLOCK: _clock,
    DECIMAL: _decimal,
    RANDOM: _random,
}
SURROUNDINGS = (CLOCK, RANDOM, ZONE, DECIMAL, LOCALE, ENVIRONMENT, DIRECTORY)
"""In the order in which the reason of a difference is looked for: now() is of a zone too."""
