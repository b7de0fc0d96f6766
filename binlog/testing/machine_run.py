"""Runs of a `ReplayMachine`: by our seed, told by us, and only believed if the rare was met."""

from __future__ import annotations

import re
import types
import unittest
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from binlog.envelope import Envelope
from binlog.pytest_plugin import SEED_BELOW
from binlog.testing.choice import examples, kit_settings, repeat_command, seed
from binlog.testing.finding import as_test
from binlog.testing.invariants import check_written
from binlog.testing.laws.constants import constants_of
from binlog.testing.recorder import Found, Recorder
from binlog.testing.retell import is_found, retold
from binlog.testing.subject import rules_of
from binlog.testing.violation import Violation

if TYPE_CHECKING:
    from binlog.testing.machine import ReplayMachine

EXAMPLES, STEPS = 100, 40
RARE = (
    "ACKNOWLEDGED",
    "UNKNOWN",
    "killed",
    "emitted again",
    "ghost landed",
    "resharded",
    "held",
    "expired",
    "closed",
    "copies",
    "damaged",
    "resolved",
    "consumer crashed",
    "commit timed out",
    "condition failed",
    "zombie write",
    "rebuilt",
)
NEW = 10
"""Examples of one run of Hypothesis: to each one more it would make five variants of it."""
OF_WRITES = ("condition failed",)
"""Cannot be met where no event ever makes an item: none is routed, or all are refused."""
ROUNDS_MAX = 3
EXAMPLES_FOR_RARE = 100
"""Runs of fewer examples prove what they prove, and are not held to have met everything."""


def check_machine(machine: type[ReplayMachine], base: int | None, steps: int | None) -> None:
    """See `ReplayMachine.check`."""
    __tracebackhide__ = True
    check_written(machine)
    violation = _violation_of(machine, base or EXAMPLES, steps or STEPS)
    if violation is not None:
        raise violation


def _violation_of(machine: type[ReplayMachine], base: int, steps: int) -> Violation | None:
    event = machine.events_to_publish()
    met: Counter[str] = Counter()
    # The rare is rarer with some events than with others; what was not met gets more chances.
    for round_ in range(ROUNDS_MAX):
        recorder = _searched(machine, event, met, seed=seed() + round_, base=base, steps=steps)
        if recorder is not None:
            return _told(machine, event, recorder)
        if not _missing(met) or examples(base) < EXAMPLES_FOR_RARE:
            return None
    return Violation(
        f"never happened in {ROUNDS_MAX * examples(base)} examples: {', '.join(_missing(met))}",
        law="the rare is met",
        do="a run that never met it proves nothing of it: run more examples (--binlog-times 3), "
        "and see that the events have few keys, so that they meet in the same items",
        repeat=repeat_command(),
    )


def _searched(
    machine: type[ReplayMachine],
    event: st.SearchStrategy[Envelope],
    met: Counter[str],
    *,
    seed: int,
    base: int,
    steps: int,
) -> Recorder | None:
    """What was going on when something was found; ``None`` if nothing was."""
    # A class for this search alone: what it met is its own.
    running: type[ReplayMachine] = types.new_class(machine.__name__, (machine,))
    running.event, running.met = event, met
    left = examples(base)
    for number in range(-(-left // NEW)):
        hypothesis.seed(seed + number * SEED_BELOW)(running)
        chosen = kit_settings(base, max_examples=min(NEW, left), stateful_step_count=steps)
        left -= NEW
        try:
            with constants_of(rules_of(machine.applier)):
                run_state_machine_as_test(running, settings=chosen)
        except Found as found:
            return found.recorder
    return None


def _told(
    machine: type[ReplayMachine], event: st.SearchStrategy[Envelope], recorder: Recorder
) -> Violation:
    error, steps = recorder.error, recorder.steps
    assert error is not None
    # A story on Kinesis, where it is one on both: that is what a world is by default.
    kinesis = recorder.kinesis or is_found(error, steps, machine.new_world)
    violation, world = retold(
        error, steps, lambda tell: machine.new_world(kinesis=kinesis, tell=tell), event=event
    )
    violation.story = violation.story or tuple(world.story)
    violation.repeat = repeat_command()
    name = machine.__qualname__.rpartition("<locals>.")[2]
    new_world = f"{name}.new_world({'' if kinesis else 'kinesis=False'})"
    violation.test = as_test(f"{_words(machine.__name__)}_again", new_world, world.code)
    return violation


def _missing(met: Counter[str]) -> list[str]:
    cannot = () if met["version of an item"] else OF_WRITES
    return [name for name in RARE if not met[name] and name not in cannot]


def _words(name: str) -> str:
    """``TestTheShop`` is ``the_shop``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().removeprefix("test_")


class MachineTestCase:
    """The machine as a `unittest.TestCase`, as Hypothesis' machines have it.

    Its ``settings`` may be replaced; of them ``max_examples`` and ``stateful_step_count`` count.
    """

    def __get__(self, obj: object, machine: type[ReplayMachine]) -> Any:
        return _test_case(machine)


@cache
def _test_case(machine: type[ReplayMachine]) -> type[unittest.TestCase]:
    class TestCase(unittest.TestCase):
        settings: hypothesis.settings | None = None

        def runTest(self) -> None:  # noqa: N802  (unittest's name)
            __tracebackhide__ = True
            chosen = self.settings
            if chosen is None:
                machine.check()
            else:
                machine.check(chosen.max_examples, steps=chosen.stateful_step_count)

    TestCase.__name__ = f"{machine.__name__}.TestCase"
    TestCase.__qualname__ = f"{machine.__qualname__}.TestCase"
    TestCase.__module__ = machine.__module__
    TestCase.__doc__ = machine.__doc__
    return TestCase
