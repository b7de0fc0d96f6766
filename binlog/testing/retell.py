"""The story of a failure: its steps again, the fewest and simplest, told on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hypothesis import Phase, given
from hypothesis import strategies as st

from binlog.envelope import Envelope
from binlog.testing.choice import kit_settings, search, shrinks
from binlog.testing.finding import as_violation, same_finding
from binlog.testing.recorder import Step, happen
from binlog.testing.shrink import shortest
from binlog.testing.violation import Violation
from binlog.testing.world.world import World


class NewWorld(Protocol):
    """Makes a world where nothing has happened yet."""

    def __call__(self, *, tell: bool) -> World: ...


SETTLE: Step = ("settle", (), ())
CALLS_MAX = 1_500  # runs of a world that making one story short may cost, twice
FLAKY = (
    "the same steps did not fail again: look for what the applier reads beside item and event (a "
    "clock, random numbers, a global that it changes, the order of a set)"
)


def retold(
    error: Exception,
    steps: Sequence[Step],
    new_world: NewWorld,
    *,
    event: st.SearchStrategy[Envelope] | None = None,
    calls_max: int = CALLS_MAX,
) -> tuple[Violation, World]:
    """The violation that ``steps`` end in, with its story, and the world that was told.

    ``error`` is what they raised. ``event``: the events that could have been published; simpler
    ones of them take the place of those that were. Nothing is made shorter where Hypothesis'
    profile says so.
    """

    def fails(tried: Sequence[Step]) -> bool:
        return is_found(error, tried, new_world)

    steps = list(steps)
    # What any look would find is told as found at rest.
    if fails(at_rest := [*steps[:-1], SETTLE]):
        steps = at_rest
    if shrinks() and fails(steps):
        steps = shortest(steps, fails, calls_max=calls_max)
        if event is not None and (simpler := _with_simpler_events(steps, event, fails, calls_max)):
            steps = shortest(simpler, fails, calls_max=calls_max)
    world = new_world(tell=True)
    again = _outcome(world, steps)
    violation = as_violation(again or error)
    if again is None:
        violation.do = FLAKY
    return violation, world


def is_found(error: Exception, steps: Sequence[Step], new_world: NewWorld) -> bool:
    """Whether the steps end in what ``error`` is."""
    return same_finding(_outcome(new_world(tell=False), steps), error)


def _outcome(world: World, steps: Sequence[Step]) -> Exception | None:
    try:
        happen(world, steps)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is what we look for)
        return error
    return None


def _with_simpler_events(
    steps: Sequence[Step],
    event: st.SearchStrategy[Envelope],
    fails: Callable[[Sequence[Step]], bool],
    calls_max: int,
) -> list[Step] | None:
    """The same steps with events that Hypothesis made simple; ``None`` if it found none that fail.

    Another search than the first one: short steps are run quickly, and simple events are looked
    for before others.
    """
    best: list[list[Step]] = []
    calls = 0

    class Fails(Exception):  # noqa: N818  (an answer)
        pass

    @kit_settings(100, max_examples=100, phases=[Phase.generate, Phase.shrink])
    @given(st.data())
    def look(data: st.DataObject) -> None:
        nonlocal calls
        calls += 1
        tried = [_redrawn(step, data, event) for step in steps]
        if calls <= calls_max and fails(tried):
            best[:] = [tried]
            raise Fails

    try:
        search(look)
    except Fails:
        return best[0]
    except Exception:  # noqa: BLE001  (an applier that is not pure: what was found is told as it is)
        return None
    return None


def _redrawn(step: Step, data: st.DataObject, event: st.SearchStrategy[Envelope]) -> Step:
    name, args, named = step
    if name != "publish":
        return step
    process, events = args
    return name, (process, [data.draw(event) for _ in events]), named
