"""The laws of an applier, each put to the proof on one short list of events.

=================  =============================================================================
total              no exception but a declared one (`ApplierError`), upcasters included
storable           what it returns is an item, within all limits,
                   with the item's key attributes as they were
owned              it touches items of which this key's events decide alone
input              item, event and key are as they were after the call
exact              nothing is computed with floats
pure               the same bytes in other surroundings (`binlog.testing.laws.surroundings`), in another
                   process with another hash seed, called again, with maps in another order; and
                   no network, no process, no file
batches            the fold is the fold of its parts, wherever it is cut, and however partitions
                   take turns
expected versions  an event that expects another version moves nothing, and is noted once
reference          every item is what a plain loop makes of the events
=================  =============================================================================

The first broken law ends it; what comes later builds on what came before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Self

from appliers.applier import Rules
from binlog.envelope import Envelope
from binlog.errors import PoisonError
from binlog.testing.laws.comparing import Difference, compare, compare_rows
from binlog.testing.laws.folding import (
    Outcome,
    fold_cut,
    fold_each,
    fold_whole,
    place,
)
from binlog.testing.laws.instruments import Instruments
from binlog.testing.laws.surroundings import CLOCK, RANDOM, SURROUNDINGS, surrounded
from binlog.testing.laws.tally import Tally
from binlog.testing.laws.trial import Finding, Trial, expected_versions, reference
from binlog.testing.laws.trouble import say_who
from binlog.testing.laws.twin import Twin
from binlog.testing.laws.watched import FloatWatch
from binlog.testing.words import differences
from binlog.values import decode_value

FLOATS = "floats"
MUTATION = "mutation"
ORDER = "map order"
PROCESS = "process"
ALLOWABLE = (
    *(FLOATS, MUTATION, ORDER, PROCESS),
    *(name for name in SURROUNDINGS if name not in (CLOCK, RANDOM)),
)
"""What a user may say no to; a clock and random numbers never replay."""

STATE = ("pure", "state")
"""The kind of finding that something is remembered between calls."""
HASH_SEEDS = (1, 4)
_CUTS_MAX = 6  # of one list; the fold of each part counts


class Laws:
    """All laws for one set of rules; a context manager that ends its two processes."""

    def __init__(self, rules: Rules, *, allow: Collection[str] = ()) -> None:
        """Start the processes.

        Raises:
            RefusedError: the rules cannot be sent there.
        """
        self._rules = rules
        self._allow = frozenset(allow)
        self._other = [name for name in SURROUNDINGS if name not in self._allow]
        self.tally = Tally()
        self.is_suspect = False
        """Whether the last list became something else here than in a new process.

        A reason to ask `broken_by_memory`, and no more: it may be the order of a set alone."""
        self._twins: list[Twin] = []
        if PROCESS not in self._allow:
            self._twins += (Twin(rules, hash_seed=seed) for seed in HASH_SEEDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for twin in self._twins:
            twin.close()

    def broken(self, events: Sequence[Envelope]) -> Finding | None:
        """The first law that does not hold for ``events``, in the order of the table above.

        That of the order of maps is not among them: see `broken_by_order`; and see `is_suspect`.
        """
        trial = Trial(self._rules, place(events))
        self.is_suspect = False
        self._ask(trial)  # they work while we do
        finding = self._alone(trial) or (None if FLOATS in self._allow else self._by_floats(trial))
        finding = finding or (self._elsewhere(trial) if self._twins else self._here(trial))
        finding = finding or self._in_turns(trial) or self._in_parts(trial)
        finding = finding or expected_versions(trial) or reference(trial)
        if finding is None:
            self.tally.add(trial.placed, trial.plain)
        return finding

    def broken_alone(self, events: Sequence[Envelope]) -> Finding | None:
        """Whether one fold of many events shows something: items grow, and then do not fit."""
        trial = Trial(self._rules, place(events))
        finding = self._alone(trial)
        if finding is None:
            self.tally.add(trial.placed, trial.plain)
        return finding

    def broken_by_order(self, events: Sequence[Envelope]) -> Finding | None:
        """Whether the order counts in which maps were made.

        Looked for last: no log and no store gives them in another, but other callers do.
        """
        trial = Trial(self._rules, place(events))
        with surrounded():
            turned = fold_each(self._rules, trial.placed, Instruments(reorder=True))
        found = compare(trial.plain, turned)
        return None if found is None else trial.impure(ORDER, found)

    def broken_by_memory(
        self, before: Sequence[Sequence[Envelope]], events: Sequence[Envelope]
    ) -> Finding | None:
        """Whether ``events`` become something else where ``before`` was folded, from nothing, too.

        Each list in a process that knows of nothing else; without processes nothing is broken.
        """
        if not self._twins:
            return None
        [fresh], (*_, after) = self._fresh(events), self._fresh(*before, events)
        found = compare(fresh, after)
        return None if found is None else Trial(self._rules, place(events)).impure("state", found)

    def finding_of(self, events: Sequence[Envelope], kind: tuple[str, str]) -> Finding | None:
        """How ``events`` break the law of ``kind`` in its way, found by the shortest way there is."""
        trial = Trial(self._rules, place(events))
        finding = self._of_law(trial, *kind)
        return finding if finding is not None and finding.kind == kind else None

    def is_remembered(self, finding: Finding, events: Sequence[Envelope]) -> bool:
        """Whether the trouble is only here, and not in a new process: because of what was before."""
        if finding.law not in {"total", "storable", "owned"} or not self._twins:
            return False
        return self._fresh(events)[0].trouble is None

    def outcome(self, events: Sequence[Envelope]) -> Outcome:
        """What comes of ``events`` in plain surroundings, if possible where nothing is remembered."""
        if self._twins:
            return self._fresh(events)[0]
        return Trial(self._rules, place(events)).plain

    def _of_law(self, trial: Trial, law: str, aspect: str) -> Finding | None:
        if (law, aspect) == ("pure", ORDER):
            return self.broken_by_order(trial.events)
        if law == "pure" and aspect in SURROUNDINGS:
            found = compare(trial.plain, trial.fold([aspect]))
            return None if found is None else trial.impure(aspect, found)
        if (law, aspect) == STATE or aspect in {"hash seed", "together"}:
            return self._between_processes(trial, aspect)
        finding = self._alone(trial)
        if finding is not None:
            return finding
        match law:
            case "exact":
                return self._by_floats(trial)
            case "batches":
                return self._in_turns(trial) or self._in_parts(trial)
            case "expected versions":
                return expected_versions(trial)
            case "reference":
                return reference(trial)
        return None

    def _between_processes(self, trial: Trial, aspect: str) -> Finding | None:
        if not self._twins:
            return self._here(trial)
        events, other = trial.events, self._other if aspect == "together" else ()
        if aspect == "state":
            found = compare(*self._fresh(events, events))
        else:
            self._twins[0].ask([events], other)
            [plain], [changed] = self._fresh(events), self._twins[0].answers()
            found = compare(plain, changed)
        return None if found is None else trial.impure(aspect, found)

    def _ask(self, trial: Trial) -> None:
        events = trial.events
        for twin, times in zip(self._twins, (1, 2), strict=False):
            twin.ask([events] * times, self._other if times == 1 else ())

    def _fresh(self, *lists: Sequence[Envelope]) -> list[Outcome]:
        """What comes of the lists, one after the other, in a new process."""
        self._twins[1].ask(lists)
        return self._twins[1].answers()

    # -- one law each ------------------------------------------------------------------------

    def _alone(self, trial: Trial) -> Finding | None:
        """What one fold in plain surroundings shows."""
        outcome, tools = trial.plain, trial.tools
        if trial.guard.reached:
            reach = trial.guard.reached[0]
            what = f"{say_who(reach.who)} reached for {reach.what}"
            lines = [line for line in (reach.detail, reach.line) if line]
            return Finding("pure", reach.what, reach.index, what, lines, "outside")
        if tools.mutations and MUTATION not in self._allow:
            found = tools.mutations[0]
            what = f"{say_who(found.who)} changed the {found.argument} that it was given"
            lines = differences(decode_value(found.before), found.after)
            return Finding("input", "", found.index, what, lines, MUTATION)
        if outcome.trouble is not None:
            found_ = outcome.trouble
            return Finding(
                found_.law, found_.what, found_.index, found_.what, found_.differences, found_.do
            )
        return None

    def _by_floats(self, trial: Trial) -> Finding | None:
        watch = FloatWatch()
        with surrounded():
            fold_each(self._rules, trial.placed, Instruments(floats=watch))
        if not watch.seen:
            return None
        seen = watch.seen[0]
        what = f"{say_who(seen.who)} computes with floats"
        lines = [f"{seen.source} is the float {seen.value!r}", seen.line]
        return Finding("exact", "", seen.index, what, lines, FLOATS)

    def _here(self, trial: Trial) -> Finding | None:
        """What other folds in this process show."""
        found = compare(trial.plain, trial.fold())
        if found is not None:
            return trial.impure("state", found)
        found = compare(trial.plain, trial.fold(self._other))
        return None if found is None else self._which(trial) or trial.impure("together", found)

    def _elsewhere(self, trial: Trial) -> Finding | None:
        """What new processes show, of other hash seeds than ours, which are the same at every run.

        So it makes no difference which seed this process has, nor what was folded in it before.
        """
        [changed], (plain, again) = (twin.answers() for twin in self._twins)
        found = compare(plain, again)
        if found is not None:
            return trial.impure("state", found)
        self.is_suspect = compare(plain, trial.plain) is not None
        found = compare(plain, changed)
        if found is None:
            return None
        one = self._which(trial)
        if one is not None:
            return one
        # Nothing that can be changed here. Is it the same there, in plain surroundings?
        self._twins[0].ask([trial.events])
        [same] = self._twins[0].answers()
        hashed = compare(plain, same)
        return (
            trial.impure("together", found) if hashed is None else trial.impure("hash seed", hashed)
        )

    def _which(self, trial: Trial) -> Finding | None:
        """The one thing around it that makes the difference, each time it is there."""
        for name in self._other:
            changed = trial.fold([name])
            found = compare(trial.plain, changed)
            if found is None:
                continue
            # What differs by chance (an address, a thread's number) is laid to nobody's charge.
            if compare(trial.plain, trial.fold()) or compare(changed, trial.fold([name])):
                return None
            return trial.impure(name, found)
        return None

    def _in_turns(self, trial: Trial) -> Finding | None:
        by_partition = sorted(trial.placed, key=lambda event: -event.partition)
        with surrounded():
            found = compare(trial.plain, fold_each(self._rules, by_partition, Instruments()))
        return None if found is None else trial.finding("batches", "turns", found)

    def _in_parts(self, trial: Trial) -> Finding | None:
        placed, refused = trial.placed, trial.plain.refused
        rejected = {rejection[1:] for rejection in trial.plain.rejections}
        try:
            with surrounded():
                for cut in _cuts(len(placed)):
                    rows, found_rejected = fold_cut(self._rules, placed, refused, cut)
                    found = compare_rows(trial.plain, rows)
                    if found is None and found_rejected != rejected:
                        found = Difference(
                            len(placed) - 1,
                            [f"{len(rejected)} rejections one by one, {len(found_rejected)} not"],
                        )
                    if found is not None:
                        return trial.finding("batches", "cut", found)
                found = compare_rows(trial.plain, fold_whole(self._rules, placed, refused))
        except PoisonError as error:
            found = Difference(len(placed) - 1, [str(error.details.get("reason", error))])
        return None if found is None else trial.finding("batches", "cut", found)


def _cuts(count: int) -> Sequence[int]:
    """Where to cut a list: everywhere, or in some places, the first and the last among them."""
    if count <= _CUTS_MAX:
        return range(count)
    return sorted({number * (count - 1) // (_CUTS_MAX - 1) for number in range(_CUTS_MAX)})
