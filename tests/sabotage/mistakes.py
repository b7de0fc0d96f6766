"""Mistakes that users make in appliers, each of which the kit has to find and to name.

`users/correct/` holds appliers as they should be, each with the test of it that the README shows,
`users/mistakes/*.toml` the mistakes, a file a kind::

    [[mistake]]
    name = "today(): the same all day, another day another item"
    sample = "shop"  # users/correct/shop.py, proved by prove_shop.py
    check = "check_applier"  # or check_schema, ReplayMachine; this one if left out
    law = "pure"  # that has to name it
    words = ["Placed", "day"]  # that the message has to hold, in any case
    [[mistake.edit]]
    old = '''...'''  # stands in the sample exactly once
    new = '''...'''
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.sabotage.catalogue import Edit

USERS = Path(__file__).parent / "users"
CORRECT, MISTAKES = USERS / "correct", USERS / "mistakes"
TESTS = {
    "check_applier": "test_replays_alike",
    "check_schema": "test_keeps_its_schema",
    "ReplayMachine": "TestMachine",
}
"""Of each check, the test in `prove_SAMPLE.py` that makes it."""


@dataclass(frozen=True)
class Mistake:
    """One mistake in one sample."""

    kind: str  # the file it stands in
    name: str
    sample: str
    law: str
    words: tuple[str, ...]
    edits: tuple[Edit, ...]
    check: str = "check_applier"

    @property
    def title(self) -> str:
        return f"{self.kind}: {self.name}"

    @property
    def test(self) -> str:
        """The pytest node that has to fail with it."""
        return f"prove_{self.sample}.py::{TESTS[self.check]}"

    def text(self) -> str:
        """The sample with the mistake in it.

        Raises:
            ValueError, SyntaxError: it no longer applies.
        """
        text = (CORRECT / f"{self.sample}.py").read_text(encoding="utf-8")
        for edit in self.edits:
            text = edit.apply(text)
        compile(text, f"{self.sample}.py", "exec")
        return text


def load(folder: Path = MISTAKES) -> list[Mistake]:
    """All of them, by file, in the order in which they stand there."""
    return [mistake for path in sorted(folder.glob("*.toml")) for mistake in _of(path)]


def samples() -> list[str]:
    """The names of the correct modules."""
    proofs = CORRECT.glob("prove_*.py")
    return sorted(path.stem.removeprefix("prove_") for path in proofs)


def _of(path: Path) -> Iterator[Mistake]:
    for raw in tomllib.loads(path.read_text(encoding="utf-8"))["mistake"]:
        file = f"{raw['sample']}.py"
        edits = tuple(Edit(file, **edit) for edit in raw.pop("edit"))
        yield Mistake(kind=path.stem, edits=edits, words=tuple(raw.pop("words")), **raw)
