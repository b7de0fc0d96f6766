"""The laws of an applier, each put to the proof on one short list of events.

=================  =============================================================================
total              no exception but a declared one (`ApplierError`), upcasters included
storable           what it returns is an item, within all limits,
                   with the item's key attributes as they were
owned              it touches items of which this key's events decide alone
input              item, event and key are as they were after the call
exact              nothing is computed with floats
pure               the same bytes in other surroundings (`binlog.testing.surroundings`), in another
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
from functools import cached_property
from typing import Self

import msgspec

from appliers.applier import Rules
from binlog.envelope import Envelope
from binlog.errors import PoisonError
from binlog.testing.comparing import Difference, compare, compare_rows, expectations
from binlog.testing.folding import (
    ARRIVAL_MS,
    PARTITIONS,
    SESSION,
    Outcome,
    Placed,
    fold_cut,
    fold_each,
    fold_whole,
    place,
)
from binlog.testing.guard import Guard
from binlog.testing.instruments import Instruments
from binlog.testing.surroundings import CLOCK, RANDOM, SURROUNDINGS, surrounded
from binlog.testing.tally import Tally
from binlog.testing.trouble import say_who
from binlog.testing.twin import Twin
from binlog.testing.watched import FloatWatch
from binlog.testing.words import differences
from binlog.testing.world.tables import Poison, Tables
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
        run = _Run(self._rules, place(events))
        self.is_suspect = False
        self._ask(run)  # they work while we do
        finding = self._alone(run) or (None if FLOATS in self._allow else self._by_floats(run))
        finding = finding or (self._elsewhere(run) if self._twins else self._here(run))
        finding = finding or self._in_turns(run) or self._in_parts(run)
        finding = finding or _expected_versions(run) or _reference(run)
        if finding is None:
            self.tally.add(run.placed, run.plain)
        return finding

    def broken_alone(self, events: Sequence[Envelope]) -> Finding | None:
        """Whether one fold of many events shows something: items grow, and then do not fit."""
        run = _Run(self._rules, place(events))
        finding = self._alone(run)
        if finding is None:
            self.tally.add(run.placed, run.plain)
        return finding

    def broken_by_order(self, events: Sequence[Envelope]) -> Finding | None:
        """Whether the order counts in which maps were made.

        Looked for last: no log and no store gives them in another, but other callers do.
        """
        run = _Run(self._rules, place(events))
        with surrounded():
            turned = fold_each(self._rules, run.placed, Instruments(reorder=True))
        found = compare(run.plain, turned)
        return None if found is None else run.impure(ORDER, found)

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
        return None if found is None else _Run(self._rules, place(events)).impure("state", found)

    def finding_of(self, events: Sequence[Envelope], kind: tuple[str, str]) -> Finding | None:
        """How ``events`` break the law of ``kind`` in its way, found by the shortest way there is."""
        run = _Run(self._rules, place(events))
        finding = self._of_law(run, *kind)
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
        return _Run(self._rules, place(events)).plain

    def _of_law(self, run: _Run, law: str, aspect: str) -> Finding | None:
        if (law, aspect) == ("pure", ORDER):
            return self.broken_by_order([event.envelope for event in run.placed])
        if law == "pure" and aspect in SURROUNDINGS:
            found = compare(run.plain, run.fold([aspect]))
            return None if found is None else run.impure(aspect, found)
        if (law, aspect) == STATE or aspect in {"hash seed", "together"}:
            self._ask(run)
            return self._elsewhere(run) if self._twins else self._here(run)
        finding = self._alone(run)
        if finding is not None:
            return finding
        match law:
            case "exact":
                return self._by_floats(run)
            case "batches":
                return self._in_turns(run) or self._in_parts(run)
            case "expected versions":
                return _expected_versions(run)
            case "reference":
                return _reference(run)
        return None

    def _ask(self, run: _Run) -> None:
        events = [event.envelope for event in run.placed]
        for twin, times in zip(self._twins, (1, 2), strict=False):
            twin.ask([events] * times, self._other if times == 1 else ())

    def _fresh(self, *lists: Sequence[Envelope]) -> list[Outcome]:
        """What comes of the lists, one after the other, in a new process."""
        self._twins[1].ask(lists)
        return self._twins[1].answers()

    # -- one law each ------------------------------------------------------------------------

    def _alone(self, run: _Run) -> Finding | None:
        """What one fold in plain surroundings shows."""
        outcome, tools = run.plain, run.tools
        if run.guard.reached:
            reach = run.guard.reached[0]
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

    def _by_floats(self, run: _Run) -> Finding | None:
        watch = FloatWatch()
        with surrounded():
            fold_each(self._rules, run.placed, Instruments(floats=watch))
        if not watch.seen:
            return None
        seen = watch.seen[0]
        what = f"{say_who(seen.who)} computes with floats"
        lines = [f"{seen.source} is the float {seen.value!r}", seen.line]
        return Finding("exact", "", seen.index, what, lines, FLOATS)

    def _here(self, run: _Run) -> Finding | None:
        """What other folds in this process show."""
        found = compare(run.plain, run.fold())
        if found is not None:
            return run.impure("state", found)
        found = compare(run.plain, run.fold(self._other))
        return None if found is None else self._which(run) or run.impure("together", found)

    def _elsewhere(self, run: _Run) -> Finding | None:
        """What new processes show, of other hash seeds than ours, which are the same at every run.

        So it makes no difference which seed this process has, nor what was folded in it before.
        """
        [changed], (plain, again) = (twin.answers() for twin in self._twins)
        found = compare(plain, again)
        if found is not None:
            return run.impure("state", found)
        self.is_suspect = compare(plain, run.plain) is not None
        found = compare(plain, changed)
        if found is None:
            return None
        one = self._which(run)
        if one is not None:
            return one
        # Nothing that can be changed here. Is it the same there, in plain surroundings?
        self._twins[0].ask([[event.envelope for event in run.placed]])
        [same] = self._twins[0].answers()
        hashed = compare(plain, same)
        return run.impure("together", found) if hashed is None else run.impure("hash seed", hashed)

    def _which(self, run: _Run) -> Finding | None:
        """The one thing around it that makes the difference."""
        for name in self._other:
            found = compare(run.plain, run.fold([name]))
            if found is not None:
                return run.impure(name, found)
        return None

    def _in_turns(self, run: _Run) -> Finding | None:
        by_partition = sorted(run.placed, key=lambda event: -event.partition)
        with surrounded():
            found = compare(run.plain, fold_each(self._rules, by_partition, Instruments()))
        return None if found is None else run.finding("batches", "turns", found)

    def _in_parts(self, run: _Run) -> Finding | None:
        placed, refused = run.placed, run.plain.refused
        rejected = {rejection[1:] for rejection in run.plain.rejections}
        try:
            with surrounded():
                for cut in _cuts(len(placed)):
                    rows, found_rejected = fold_cut(self._rules, placed, refused, cut)
                    found = compare_rows(run.plain, rows)
                    if found is None and found_rejected != rejected:
                        found = Difference(
                            len(placed) - 1,
                            [f"{len(rejected)} rejections one by one, {len(found_rejected)} not"],
                        )
                    if found is not None:
                        return run.finding("batches", "cut", found)
                found = compare_rows(run.plain, fold_whole(self._rules, placed, refused))
        except PoisonError as error:
            found = Difference(len(placed) - 1, [str(error.details.get("reason", error))])
        return None if found is None else run.finding("batches", "cut", found)


def _cuts(count: int) -> Sequence[int]:
    """Where to cut a list: everywhere, or in some places, the first and the last among them."""
    if count <= _CUTS_MAX:
        return range(count)
    return sorted({number * (count - 1) // (_CUTS_MAX - 1) for number in range(_CUTS_MAX)})


class _Run:
    """One list of events, folded in plain surroundings, and what can be said of it."""

    def __init__(self, rules: Rules, placed: list[Placed]) -> None:
        self.rules = rules
        self.placed = placed
        self.guard = Guard()
        self.tools = Instruments(mutation=True, guard=self.guard)

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


def _expected_versions(run: _Run) -> Finding | None:
    """With one more event at the end, which expects what cannot be."""
    last = msgspec.structs.replace(run.placed[-1].envelope, expect=2**40)
    placed = place([*(event.envelope for event in run.placed), last])
    with surrounded():
        outcome = fold_each(run.rules, placed, Instruments())
    found = expectations(placed, outcome, known=run.plain)
    if found is None:
        return None
    what = "an expected version is not respected"
    return Finding("expected versions", "", found.index, what, found.lines, "expected versions")


def _reference(run: _Run) -> Finding | None:
    """By the loop that shares nothing with the fold (`binlog.testing.world.tables`)."""
    tables = Tables(run.rules, PARTITIONS)
    refused: set[int] = set()
    with surrounded():
        for event in run.placed:
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
    if refused != set(run.plain.refused):
        index = min(refused ^ set(run.plain.refused))
        line = (
            f"event {index + 1} is {'refused' if index in refused else 'folded'} by the reference"
        )
        return run.finding("reference", "", Difference(index, [line]))
    expected = {
        (table, key): (version, data)
        for table in tables.names()
        for key, (version, _, data) in tables.rows(table).items()
    }
    found = compare_rows(run.plain, expected)
    return None if found is None else run.finding("reference", "", found)
