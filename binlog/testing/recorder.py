"""What happened in a world, as steps that can be left out, changed and made to happen again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

from binlog.testing.world.world import World

Step: TypeAlias = tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]
"""Name of a method of `World`, its arguments, its arguments by name."""


class Found(BaseException):
    """A step failed, for the reason that is the cause.

    No `Exception`, because whoever generates the steps is to end at once, and not to make them
    small in its own way: `binlog.testing.retell` does it better, which knows what a step is.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__("a step failed")
        self.recorder = recorder


class Recorder:
    """Everything that is called on the world, passed on to it and noted in ``steps``."""

    def __init__(self, world: World, *, kinesis: bool) -> None:
        self.kinesis = kinesis
        self.steps: list[Step] = []
        self.error: Exception | None = None
        self._of_the_world = world

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of_the_world, name)
        if name.startswith("_") or not callable(found):
            return found
        call = cast("Callable[..., object]", found)

        def noted(*args: Any, **named: Any) -> object:
            # First: a step that fails belongs to the story more than any other.
            self.steps.append((name, args, tuple(named.items())))
            try:
                return call(*args, **named)
            except Exception as error:
                self.error = error
                raise Found(self) from error

        # Found at once the next time: this is asked for each step of each example.
        self.__dict__[name] = noted
        return noted


def happen(world: World, steps: Iterable[Step]) -> None:
    """The same again, in another world.

    Raises:
        Violation: as the world does.
    """
    for name, args, named in steps:
        getattr(world, name)(*args, **dict(named))
