"""pytest's entry to `binlog.testing`; light, because every run of pytest imports it.

It adds two options, says in the header what they are, and shows a `Violation` as what it is: the
line of the test that found it, then the story, instead of the frames of the search. Of input that
the kit refuses it shows the user's line and the one sentence that says what to do.

The options are handed on in the environment (``BINLOG_SEED``, ``BINLOG_TIMES``), so that they
reach every process that a run starts. Nothing of `binlog.testing` and no Hypothesis is imported
here: who does not use the kit does not pay for it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection, Generator
from random import SystemRandom
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from binlog.testing.violation import Violation

pytest_plugins = ("binlog.pytest_drills",)

SEED, TIMES = "BINLOG_SEED", "BINLOG_TIMES"
SEED_OPTION, TIMES_OPTION = "--binlog-seed", "--binlog-times"
DEFAULT_SEED, DEFAULT_TIMES = "0", "1"
SEED_BELOW = 1 << 64
TIMES_MAX = 1_000_000

_TOOLS = frozenset({"_pytest", "hypothesis", "pluggy", "unittest"})
_TEMPORARY = "hypothesis_temporary_module"  # where it makes a function in the likeness of a test
_OURS = frozenset({"binlog", "appliers", "snapshots", "consumers", "importlib", "msgspec"})

# What was in the environment before; `pytest.main` may be called inside a longer life.
_BEFORE = pytest.StashKey[dict[str, str | None]]()


def parse_seed(text: str) -> int:
    """The seed that ``text`` names; ``random`` is a new one at each call.

    Raises:
        ValueError: neither ``random`` nor a whole number from 0 to 2^64 - 1; says so.
    """
    if text == "random":
        return SystemRandom().getrandbits(32)
    # isdecimal() alone takes digits of every script; int() alone takes "1_0", "+1" and " 1".
    if text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) < SEED_BELOW:
        return int(text)
    raise ValueError(f"{text!r} is no seed: give a whole number from 0 to 2^64 - 1, or random")


def parse_times(text: str) -> float:
    """The factor that ``text`` names.

    Raises:
        ValueError: no number above 0 and at most `TIMES_MAX`; says so.
    """
    try:
        times = float(text)
    except ValueError:
        times = math.nan
    if 0 < times <= TIMES_MAX:
        return times
    raise ValueError(
        f"{text!r} is no factor: give a number above 0, as 10 or 0.5 (at most {TIMES_MAX})"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """The two options; those of drills are in `binlog.pytest_drills`."""
    group = parser.getgroup("binlog", "binlog.testing")
    group.addoption(
        SEED_OPTION,
        metavar="N",
        help="seed of everything random in binlog.testing: a whole number, or random "
        f"(default: ${SEED}, else {DEFAULT_SEED}: the same examples at every run)",
    )
    group.addoption(
        TIMES_OPTION,
        metavar="N",
        help="so many times the examples of each check of binlog.testing, 0.1 and 100 too "
        f"(default: ${TIMES}, else {DEFAULT_TIMES})",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Settle the options, and hand them on in the environment."""
    if "binlog.testing" not in sys.modules:
        pytest.register_assert_rewrite("binlog.testing")
    config.stash[_BEFORE] = {name: os.environ.get(name) for name in (SEED, TIMES)}
    # A worker of pytest-xdist parses the command line again: `random` would be another number.
    for name, value in getattr(config, "workerinput", {}).get("binlog", {}).items():
        setattr(config.option, name, value)
    seed = _option(config, SEED_OPTION, SEED, DEFAULT_SEED, parse_seed)
    times = _option(config, TIMES_OPTION, TIMES, DEFAULT_TIMES, parse_times)
    os.environ[SEED] = config.option.binlog_seed = str(seed)
    os.environ[TIMES] = config.option.binlog_times = str(times).removesuffix(".0")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the options to a worker of pytest-xdist."""
    option = node.config.option
    node.workerinput["binlog"] = {
        "binlog_seed": option.binlog_seed,
        "binlog_times": option.binlog_times,
    }


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the environment as it was found."""
    for name, value in config.stash.get(_BEFORE, {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _option(config: pytest.Config, option: str, variable: str, default: str, parse: Any) -> Any:
    """The option, or else the variable, or else the default; all are parsed alike.

    Raises:
        pytest.UsageError: it is none; one line that names which of the two.
    """
    given = config.getoption(option)
    where, text = (option, given) if given is not None else (variable, os.environ.get(variable))
    try:
        return parse(default if text is None else text)
    except ValueError as error:
        raise pytest.UsageError(f"{where}: {error}") from None


def pytest_report_header(config: pytest.Config) -> str:
    """What repeats this run."""
    seed, times = config.getoption(SEED_OPTION), config.getoption(TIMES_OPTION)
    return f"binlog: {SEED_OPTION}={seed} {TIMES_OPTION}={times}"


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> Generator[None, Any, Any]:
    """``class TestShop(ReplayMachine)`` is the test that its name says.

    pytest would leave it out with a warning, as any class that takes arguments: a proof that never
    ran.
    """
    made = yield
    kit = sys.modules.get("binlog.testing.machine")
    if made is None or kit is None:
        return made
    if isinstance(obj, type) and issubclass(obj, kit.ReplayMachine):
        case = getattr(obj, "TestCase")  # noqa: B009  (mypy knows no more than that it is a class)
        made = collector.ihook.pytest_pycollect_makeitem(collector=collector, name=name, obj=case)
        made.obj = case
    return made


# -- how a violation looks -----------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a violation without the search that found it; ``--full-trace`` shows that too."""
    report = yield
    # Without the kit there is no violation; and this is no place to import it.
    kit = sys.modules.get("binlog.testing.violation")
    if (
        kit is None
        or not report.failed
        or call.excinfo is None
        or item.config.getoption("fulltrace")
    ):
        return report
    error = call.excinfo.value
    if isinstance(error, kit.Violation):
        report.longrepr = _shown(item, error)
    elif isinstance(error, sys.modules["binlog.errors"].RefusedError) and _is_kits(error):
        report.longrepr = _shown_refusal(item, error)
    return report


def _is_kits(error: BaseException) -> bool:
    """Whether the kit was asked for what it refuses, or what it called was."""
    frames = error.__traceback__
    while frames is not None:
        if str(frames.tb_frame.f_globals.get("__name__", "")).startswith("binlog.testing."):
            return True
        frames = frames.tb_next
    return False


def _shown_refusal(item: pytest.Item, error: BaseException) -> Any:
    """The user's own lines, and what is wrong with them."""
    kind = type("RefusedError", (Exception,), {"__module__": "builtins"})
    short: BaseException = kind(str(error))
    short.__suppress_context__ = True
    frames = _users(error.__traceback__, {*_TOOLS, *_OURS})
    excinfo = pytest.ExceptionInfo.from_exception(
        short.with_traceback(frames or error.__traceback__)
    )
    return item.repr_failure(excinfo) if frames else excinfo.getrepr(style="value")


def _shown(item: pytest.Item, violation: Violation) -> Any:
    """The user's own frames and the finding, then the rest of the report in sections.

    In sections, because pytest sets an E before each line of an exception's text, and the test
    that is part of the report is there to be copied.
    """
    excinfo = pytest.ExceptionInfo.from_exception(_without_kit(violation))
    # Where the kit made the test (`ReplayMachine.TestCase`) all frames are its own.
    is_bare = _users(excinfo.value.__traceback__) is None
    shown: Any = excinfo.getrepr(style="value") if is_bare else item.repr_failure(excinfo)
    addsection = getattr(shown, "addsection", None)
    if addsection is None:  # a plugin's own item, which shows failures as plain text
        return f"{shown}\n{violation}"
    for title, text in sections(violation):
        addsection(title, text)
    return shown


def sections(violation: Violation) -> list[tuple[str, str]]:
    """Titles and texts of a report, in the order in which it is read."""
    numbered = (f"{n:3}. {line}" for n, line in enumerate(violation.story, 1))
    found = [
        ("what happened", "\n".join(numbered)),
        ("the difference", "\n".join(violation.differences)),
        ("what to do", violation.do),
        ("repeat it", violation.repeat),
        ("as a test of its own", violation.test.strip("\n")),
    ]
    return [(title, text) for title, text in found if text]


def _without_kit(violation: Violation) -> BaseException:
    """An exception like the violation that says only what is wrong, without the kit's frames."""
    # Named so that pytest shows a plain `Violation`, without the module that nobody imports from.
    kind = type("Violation", (AssertionError,), {"__module__": "builtins"})
    short: BaseException = kind(f"{violation.what} (law: {violation.law})")
    for note in getattr(violation, "__notes__", ()):
        short.add_note(note)
    frames, cause = _users(violation.__traceback__), violation.__cause__
    # What the user's own code raised is worth its frames there; what the kit caught is not.
    raised = None if cause is None else _users(cause.__traceback__)
    if cause is not None and raised is not None and frames is not None:
        cause.__traceback__ = raised
        short.__cause__ = cause
    short.__suppress_context__ = True
    return short.with_traceback(frames or raised or violation.__traceback__)


def _users(frames: TracebackType | None, others: Collection[str] = _TOOLS) -> TracebackType | None:
    """The frames that are neither the kit's nor of the packages ``others``; ``None`` for none."""
    kept = []
    while frames is not None:
        module = frames.tb_frame.f_globals.get("__name__", "")
        if not (
            module.partition(".")[0] in others
            or module.startswith(_TEMPORARY)
            or f"{module}.".startswith("binlog.testing.")
        ):
            kept.append(frames)
        frames = frames.tb_next
    chained: TracebackType | None = None
    for frame in reversed(kept):
        chained = TracebackType(chained, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return chained
