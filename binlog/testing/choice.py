"""How random choices are made: one seed for everything, the same for everybody unless they choose.

``pytest --binlog-seed N|random --binlog-times N`` set them, or the environment variables
``BINLOG_SEED`` and ``BINLOG_TIMES``. Hypothesis' profiles change neither: a failure of the kit is
repeated by the command that it prints, in any project.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import FlakyFailure

from binlog.errors import RefusedError
from binlog.pytest_plugin import (
    DEFAULT_SEED,
    DEFAULT_TIMES,
    SEED,
    SEED_OPTION,
    TIMES,
    TIMES_OPTION,
    parse_seed,
    parse_times,
)
from binlog.testing.violation import Violation

_T = TypeVar("_T")


def seed() -> int:
    """The seed of this run.

    Raises:
        RefusedError: ``BINLOG_SEED`` is no seed.
    """
    chosen = _parsed(SEED, DEFAULT_SEED, parse_seed)
    # Where no pytest did it: what `random` became holds for the run, and for what it starts.
    os.environ[SEED] = str(chosen)
    return chosen


def times() -> float:
    """So many times the usual examples.

    Raises:
        RefusedError: ``BINLOG_TIMES`` is no factor.
    """
    return _parsed(TIMES, DEFAULT_TIMES, parse_times)


def examples(base: int) -> int:
    """How many examples a check runs that usually runs ``base``; at least 1."""
    return max(1, round(base * times()))


def kit_settings(base: int, **more: Any) -> settings:
    """Settings of a search over ``examples(base)`` examples; ``more`` goes to Hypothesis as it is.

    Nothing is remembered between runs, and no time is measured: a run is a function of its seed.
    Of the profile in force only this is kept: whether failures are made small, and how much is
    said.
    """
    wanted = (Phase.explicit, Phase.generate, Phase.shrink)
    chosen: dict[str, Any] = {
        "max_examples": examples(base),
        "database": None,
        "deadline": None,
        "derandomize": False,
        "print_blob": False,
        "report_multiple_bugs": False,
        "phases": tuple(phase for phase in wanted if phase in settings().phases),
        "suppress_health_check": list(HealthCheck),
    }
    return settings(**{**chosen, **more})


def shrinks() -> bool:
    """Whether failures are made small; Hypothesis' profile may say that they are not."""
    return Phase.shrink in settings().phases


def search(test: Callable[[], None]) -> None:
    """Run a Hypothesis test by our seed; what it finds comes out as the `Violation` alone.

    ``test`` is what ``@given`` made, with settings of its own. Hypothesis' notes and frames are
    left out: a violation's story says it all. A violation that does not come again for the same
    input is reported as just that.

    Raises:
        Violation: as the smallest failing example raised it.
    """
    __tracebackhide__ = True
    violation = _violation_of(hypothesis.seed(seed())(test))
    if violation is not None:
        raise violation


def _violation_of(test: Callable[[], None]) -> Violation | None:
    try:
        test()
    except Violation as found:
        violation = found
    except FlakyFailure as group:
        matching = [error for error in group.exceptions if isinstance(error, Violation)]
        if not matching:
            raise
        violation = matching[0]
        violation.do = (
            "the same input gave another result when it was tried again: look for what the "
            "applier reads beside item and event (a clock, random numbers, a global that it "
            "changes, the order of a set)"
        )
    else:
        return None
    cause = violation.__cause__
    if hasattr(violation, "__notes__"):
        del violation.__notes__
    violation = violation.with_traceback(None)
    violation.__context__ = None
    violation.__cause__ = cause
    return violation


def repeat_command() -> str:
    """The one command that does again what runs now."""
    chosen, factor = seed(), times()
    running = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
    if not running:
        settings_ = f"{SEED}={chosen}" + (f" {TIMES}={factor:g}" if factor != 1 else "")
        return f"{settings_} {shlex.join(sys.orig_argv)}"
    more = f" {TIMES_OPTION}={factor:g}" if factor != 1 else ""
    return f"pytest {shlex.quote(running)} {SEED_OPTION}={chosen}{more}"


def _parsed(variable: str, default: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(os.environ.get(variable, default))
    except ValueError as error:
        raise RefusedError(str(error), variable) from None
