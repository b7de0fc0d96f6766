"""The sabotages: named changes of the code, each of which some test has to notice.

They stand in `mutations/*.toml`, a file a part of the code::

    [[mutation]]
    name = "no dedupe"  # the design's word for it
    killer = "tests/...::test_..."  # fails with it; run first and alone
    expect = "survives"  # only for controls that change nothing
    [[mutation.edit]]
    file = "binlog/sequencer.py"
    old = '''...'''  # stands in the file exactly once
    new = '''...'''
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MUTATIONS = Path(__file__).parent / "mutations"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Edit:
    """One place of one file."""

    file: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """The changed text.

        Raises:
            ValueError: the place is not there, or not the only one.
        """
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"{self.file}: found {count} times: {self.old.strip()[:70]!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutation:
    """One sabotage."""

    part: str  # the file it stands in
    name: str
    killer: str
    edits: tuple[Edit, ...]
    must_survive: bool = False

    @property
    def title(self) -> str:
        return f"{self.part}: {self.name}"

    def texts(self, root: Path) -> dict[str, str]:
        """The changed files, by name.

        Raises:
            ValueError: it no longer applies.
        """
        changed: dict[str, str] = {}
        for edit in self.edits:
            text = changed.get(edit.file)
            if text is None:
                text = (root / edit.file).read_text(encoding="utf-8")
            changed[edit.file] = edit.apply(text)
        for file, text in changed.items():
            compile(text, file, "exec")  # a mutation that is no Python proves nothing
        return changed


def load(folder: Path = MUTATIONS) -> list[Mutation]:
    """All of them, by file, in the order in which they stand there."""
    return [mutation for path in sorted(folder.glob("*.toml")) for mutation in _of(path)]


def _of(path: Path) -> Iterator[Mutation]:
    for raw in tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]:
        edits = tuple(Edit(**edit) for edit in raw.pop("edit"))
        expect = raw.pop("expect", "killed")
        if expect not in ("killed", "survives"):
            raise ValueError(f"{path.name}: expect {expect!r}")
        yield Mutation(part=path.stem, edits=edits, must_survive=expect == "survives", **raw)
