"""How the steps of a recovery that are no commands which end are written down, and read again.

They are notes of a record, on its time line; a runbook makes of them what is to be typed or done.
"""

from __future__ import annotations

import shlex
from string import Formatter
from typing import Literal, TypeAlias

from binlog.drills.record import Record

StepKind: TypeAlias = Literal["started", "ended", "killed", "by hand"]
KINDS: tuple[StepKind, ...] = ("started", "ended", "killed", "by hand")


def said(kind: StepKind, what: str) -> str:
    """The text of a note: a command that goes on was started, ended or killed; or something else done."""
    return f"{kind}: {what}"


def heard(text: str) -> tuple[StepKind, str] | None:
    """What `said` made the text of; ``None`` of any other note."""
    kind, colon, what = text.partition(": ")
    for each in KINDS:
        if colon and kind == each:
            return each, what
    return None


class Steps:
    """The verbs of a `Drill` for names in commands, and for what is no command that ends."""

    _record: Record
    _names: dict[str, str]

    def __getitem__(self, name: str) -> str:
        if name not in self._names:
            known = ", ".join(self._names)
            raise LookupError(f"there is no name {{{name}}}: there are {known}; see Drill.name")
        return self._names[name]

    def name(self, **names: str) -> None:
        """More names for commands, such as a session that is to be left out."""
        self._names |= names

    def note(self, text: str) -> None:
        """On the timeline."""
        now = self._record.now_s()
        self._record.mark("note", text, now, now)

    def by_hand(self, text: str) -> None:
        """What an operator does here and no command does, as a runbook says it: "mend the applier".

        The drill's own lines do it, or there is nothing to be done in a drill.
        """
        self.note(said("by hand", self._shown(text)))

    def _over(self, what: str, kind: StepKind) -> None:
        """A command that went on was ended or killed: in a phase a step of the recovery, else not."""
        if self._record.phase is not None:
            self.note(said(kind, what))

    def _shown(self, typed: str) -> str:
        used = [name for _, name, _, _ in Formatter().parse(typed) if name]
        return typed.format(**{name: shlex.quote(self[name]) for name in used})
