"""The shortest story: steps are left out, then made simpler, as long as it still fails.

For runs that Hypothesis did not generate, and therefore cannot make small: those of a seed. Nothing
here is random, so that the same failure always ends in the same story; what bounds it is a number
of calls and not a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


def simpler(value: Any) -> Iterator[Any]:
    """Values to try in the place of ``value``, the simplest first; none for what is simple.

    Numbers go towards 0, lists lose members, and members are made simpler in their place. A tuple
    keeps its length (it is a step: a name and its arguments), and a text is kept as it is.
    """
    match value:
        case bool():
            if value:
                yield False
        case int():
            tried = {value}
            for candidate in (0, abs(value) // 2, abs(value) - 1):
                if candidate not in tried and 0 <= candidate < abs(value):
                    tried.add(candidate)
                    yield candidate
        case list():
            if len(value) > 2:
                yield value[: len(value) // 2]
                yield value[len(value) // 2 :]
            for index in reversed(range(len(value))):
                yield value[:index] + value[index + 1 :]
            yield from _in_place(value)
        case tuple():
            yield from (tuple(changed) for changed in _in_place(value))
        case _:
            pass


def _in_place(values: Sequence[Any]) -> Iterator[list[Any]]:
    for index, value in enumerate(values):
        for candidate in simpler(value):
            yield [*values[:index], candidate, *values[index + 1 :]]


def shortest(
    steps: Sequence[_T],
    fails: Callable[[list[_T]], bool],
    *,
    calls_max: int = 2_000,
    simplify: Callable[[_T], Iterator[_T]] = simpler,
) -> list[_T]:
    """The fewest of ``steps``, in their order, that still fail; each as simple as it can be.

    ``fails`` is asked at most ``calls_max`` times; what is left when they are used up is returned.
    With calls to spare, no step of the result can be left out, and none replaced by what
    ``simplify`` makes of it.

    Raises:
        ValueError: the steps as they are do not fail.
    """
    search = _Search(list(steps), fails, calls_max)
    if not search.asks(search.steps):
        raise ValueError(f"these {len(steps)} steps do not fail: there is nothing to make shorter")
    while search.leave_out() | search.simplify(simplify):
        pass
    return search.steps


class _Search(Generic[_T]):
    """The best steps so far. Methods say whether they made them better."""

    def __init__(self, steps: list[_T], fails: Callable[[list[_T]], bool], calls_max: int) -> None:
        self.steps = steps
        self.fails = fails
        self.calls_left = max(1, calls_max)

    def asks(self, steps: list[_T]) -> bool:
        if self.calls_left <= 0:
            return False
        self.calls_left -= 1
        return self.fails(steps)

    def takes(self, steps: list[_T]) -> bool:
        if not self.asks(steps):
            return False
        self.steps = steps
        return True

    def leave_out(self) -> bool:
        """Runs of half of the steps, then of a quarter, ... of one; as often as any goes.

        From the end, because what follows the failure goes at once, and what stands at the
        beginning is what the rest is about.
        """
        better = False
        size = len(self.steps)
        while size and self.calls_left > 0:
            start, removed = len(self.steps) - size, False
            while start > -size:
                first = max(start, 0)
                if self.takes(self.steps[:first] + self.steps[start + size :]):
                    better = removed = True
                start -= size
            # One step may have been needed only by one that went after it.
            if not removed or size > 1:
                size //= 2
        return better

    def simplify(self, simplify: Callable[[_T], Iterator[_T]]) -> bool:
        better = False
        for index in range(len(self.steps)):
            while self.calls_left > 0 and any(
                self.takes([*self.steps[:index], candidate, *self.steps[index + 1 :]])
                for candidate in simplify(self.steps[index])
            ):
                better = True
        return better
