"""One list of events on trial: folded in plain surroundings, and what can be said of it.

`binlog.testing.laws.laws` has the laws; those that need no more than the list are here.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import msgspec

from appliers.applier import Rules
from binlog.envelope import Envelope
from binlog.testing.laws.comparing import Difference, compare_rows, expectations
from binlog.testing.laws.folding import (
    ARRIVAL_MS,
    PARTITIONS,
    SESSION,
    Outcome,
    Placed,
    fold_each,
    place,
)
from binlog.testing.laws.guard import Guard
from binlog.testing.laws.instruments import Instruments
from binlog.testing.laws.surroundings import surrounded
from binlog.testing.laws.trouble import say_who
from binlog.testing.world.tables import Poison, Tables


class Finding(msgspec.Struct, frozen=True):
    """A broken law, before it is told."""

    law: str
    aspect: str  # of the law: which surroundings
    index: int  # of the event at which it shows
    what: str
    differences: list[str]
    advice: str  # what to do, or the name of one in `explain.ADVICE`

    @property
    def kind(self) -> tuple[str, str]:
        """Findings of one kind are shrunk towards each other."""
        return self.law, self.aspect


class Trial:
    """One list of events, folded in plain surroundings, and what can be said of it."""

    def __init__(self, rules: Rules, placed: list[Placed]) -> None:
        self.rules = rules
        self.placed = placed
        self.guard = Guard()
        self.tools = Instruments(mutation=True, guard=self.guard)

    @property
    def events(self) -> list[Envelope]:
        return [event.envelope for event in self.placed]

    @cached_property
    def plain(self) -> Outcome:
        with surrounded():
            return fold_each(self.rules, self.placed, self.tools)

    def fold(self, other: Collection[str] = ()) -> Outcome:
        with surrounded(other):
            return fold_each(self.rules, self.placed, Instruments())

    def who(self, index: int) -> str:
        _ = self.plain  # with the tools
        callers = self.tools.callers.get(index)
        if callers:
            return say_who(callers[0])
        return f"what is done with {self.placed[index].envelope.type}"

    def impure(self, aspect: str, found: Difference) -> Finding:
        return self.finding("pure", aspect, found)

    def finding(self, law: str, aspect: str, found: Difference) -> Finding:
        return Finding(law, aspect, found.index, self.who(found.index), found.lines, aspect)


def expected_versions(trial: Trial) -> Finding | None:
    """With one more event at the end, which expects what cannot be."""
    last = msgspec.structs.replace(trial.placed[-1].envelope, expect=2**40)
    placed = place([*(event.envelope for event in trial.placed), last])
    with surrounded():
        outcome = fold_each(trial.rules, placed, Instruments())
    found = expectations(placed, outcome, known=trial.plain)
    if found is None:
        return None
    what = "an expected version is not respected"
    return Finding("expected versions", "", found.index, what, found.lines, "expected versions")


def reference(trial: Trial) -> Finding | None:
    """By the loop that shares nothing with the fold (`binlog.testing.world.tables`)."""
    tables = Tables(trial.rules, PARTITIONS)
    refused: set[int] = set()
    with surrounded():
        for event in trial.placed:
            try:
                tables.apply(
                    event.partition,
                    event.offset,
                    event.envelope,
                    ARRIVAL_MS,
                    str(SESSION),
                    event.offset,
                )
            except Poison:
                refused.add(event.index)
    if refused != set(trial.plain.refused):
        index = min(refused ^ set(trial.plain.refused))
        line = (
            f"event {index + 1} is {'refused' if index in refused else 'folded'} by the reference"
        )
        return trial.finding("reference", "", Difference(index, [line]))
    expected = {
        (table, key): (version, data)
        for table in tables.names()
        for key, (version, _, data) in tables.rows(table).items()
    }
    found = compare_rows(trial.plain, expected)
    return None if found is None else trial.finding("reference", "", found)
