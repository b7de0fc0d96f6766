"""A law that does not hold, told as a story: what every check of the kit fails with."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent
from typing import Any


class Violation(AssertionError):  # noqa: N818  (a finding, not an error of the kit)
    """One broken law. Its text is the whole report, made to be read without the code at hand."""

    def __init__(
        self,
        what: str,
        *,
        law: str,
        story: Sequence[str] = (),
        differences: Sequence[str] = (),
        do: str = "",
        repeat: str = "",
        test: str = "",
    ) -> None:
        """``what`` is one sentence; ``law`` the check's name (pure, total, ...).

        ``story`` are the steps that lead there, in order and in the domain's words;
        ``differences`` lines of expected and found; ``repeat`` the one command that finds it
        again; ``test`` the source of a test that fails with it.
        """
        super().__init__(what)
        self.what = what
        self.law = law
        self.story = tuple(story)
        self.differences = tuple(differences)
        self.do = do
        self.repeat = repeat
        self.test = test

    def __reduce__(self) -> tuple[object, ...]:
        # By what it was made of: pytest-xdist and worker processes pickle exceptions.
        made = {
            name: value for name, value in vars(self).items() if name not in ("what", "__notes__")
        }
        return _remade, (self.what, made)

    def __str__(self) -> str:
        parts = [f"{self.what} (law: {self.law})"]
        if self.story:
            numbered = (f"{n:3}. {line}" for n, line in enumerate(self.story, 1))
            parts.append("What happened:\n" + "\n".join(numbered))
        if self.differences:
            parts.append("The difference:\n" + indent("\n".join(self.differences), "  "))
        if self.do:
            parts.append(f"What to do: {self.do}")
        if self.repeat:
            parts.append(f"Repeat it: {self.repeat}")
        if self.test:
            parts.append("As a test of its own:\n\n" + indent(self.test.strip("\n"), "    "))
        return "\n\n".join(parts)


def _remade(what: str, made: dict[str, Any]) -> Violation:
    return Violation(what, **made)
