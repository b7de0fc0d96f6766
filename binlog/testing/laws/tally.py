"""What a check has seen: a check that saw nothing must not pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from appliers.applier import Rules
from binlog.envelope import ITEM_TYPES
from binlog.errors import RefusedError
from binlog.testing.laws.folding import Outcome, Placed


class Report(msgspec.Struct, frozen=True):
    """What `check_applier` saw; its text is one line."""

    examples: int
    events: dict[str, int]  # folded, by type
    refused: dict[str, int]  # by a declared error, by type
    rejected: int  # for their expected version
    items: int
    laws: tuple[str, ...]
    not_varied: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = (
            f"{sum(self.events.values())} events of {len(self.events)} types in {self.examples} "
            f"lists, {sum(self.refused.values())} refused, {self.rejected} rejected, "
            f"{self.items} items, {len(self.laws)} laws"
        )
        return f"{text}; not varied: {', '.join(self.not_varied)}" if self.not_varied else text


class Tally:
    """Counts of what was folded in plain surroundings."""

    def __init__(self) -> None:
        self.examples = 0
        self.folded: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self.unrouted: Counter[str] = Counter()
        self.rejected = 0
        self.items = 0

    def add(self, placed: Sequence[Placed], outcome: Outcome) -> None:
        """One list that went through."""
        self.examples += 1
        self.rejected += len(outcome.rejections)
        self.items += len(outcome.rows)
        moved = {written.index for written in outcome.written}
        for event in placed:
            name = event.envelope.type
            if event.index in outcome.refused:
                self.refused[name] += 1
                self.reasons[name] = outcome.refused[event.index]
            elif event.index in outcome.unrouted:
                self.unrouted[name] += 1
            elif event.index in moved:
                self.folded[name] += 1

    def report(self, laws: Sequence[str], not_varied: Sequence[str]) -> Report:
        """All of it."""
        return Report(
            self.examples,
            dict(sorted(self.folded.items())),
            dict(sorted(self.refused.items())),
            self.rejected,
            self.items,
            tuple(laws),
            tuple(not_varied),
        )

    def check(self, rules: Rules, wanted: Iterable[str] | None) -> None:
        """Nothing, if the check saw enough; ``wanted`` types must all have been folded.

        Raises:
            RefusedError: it saw too little to pass.
        """
        folded = {name: n for name, n in self.folded.items() if name not in ITEM_TYPES}
        if not folded and self.refused:
            name = next(iter(self.refused))
            raise RefusedError(
                f"nothing was checked: all {self.refused.total()} events were refused, "
                f"{name} because: {self.reasons[name]}",
                do="give events that lead somewhere: another key=, other fields=, or a strategy",
            )
        if not folded and self.unrouted:
            raise RefusedError(
                f"nothing was checked: no applier takes {', '.join(sorted(self.unrouted))}",
                do=f"the appliers take {', '.join(sorted(rules.by_type)) or 'nothing at all'}",
            )
        if not folded:
            raise RefusedError("nothing was checked: there were no events", do="give events=")
        if wanted is not None and (left := sorted(set(wanted) - set(folded))):
            refused = self.refused[left[0]]
            why = (
                f"all {refused} events refused: {self.reasons[left[0]]}" if refused else "no event"
            )
            raise RefusedError(
                f"the applier of {left[0]} was not checked ({why})",
                do="give events that it takes: another key=, other fields=, or a strategy",
            )
