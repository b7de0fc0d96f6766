"""Where a rebuild begins: the nearest snapshot that fits, and why each other one is not taken.

A snapshot fits if what a rebuild would make of it is what it would make from the log's beginning:

* it is of this log, and everything in it, up to its highest version (N2), is at or before the target;
* the rules that made it are those that go on, for every type of event that it met;
* no exclusion, of it or of the rebuild, reaches into it, unless both have it;
* it has the tables that are wanted, each from its first event on;
* nothing in it is parked, if poison is to stop the rebuild;
* the log, its archive included, still has what follows it.

`choose` is a function of a catalogue and a question. What only the log can tell it asks `Facts`, and
only of a snapshot that fits so far. Of several that fit, the one that most events are in is nearest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from appliers.fingerprint import compare
from binlog.envelope import ITEM_TYPES
from binlog.errors import BinlogError, ConflictError, TrimmedError
from binlog.target import Target
from binlog.vector import Vector
from snapshots.snapshot_manifest import Manifest

BEGINNING = "begin"
"""By which the log's beginning is asked for."""


class Question(msgspec.Struct, frozen=True):
    """What a rebuild is to make, as far as it matters where it begins."""

    genesis: bytes
    fingerprint: str
    target: Target = Target()
    tables: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()  # tables left out of "all"
    excluded: tuple[str, ...] = ()  # RULEs in their normal form
    parks: bool = False
    transforms: bool = False  # so what types a snapshot met says little of what events were named
    start: str | None = None  # an id or `BEGINNING`: that, or an error


class Facts(Protocol):
    """What only the log can tell of a snapshot."""

    def beyond(self, manifest: Manifest, time_ms: int) -> str | None:
        """Why something in it arrived after that moment; ``None``: nothing did."""

    def unfollowed(self, manifest: Manifest) -> str | None:
        """Why the log cannot be read on from there; ``None``: it can."""


class NotTaken(msgspec.Struct, frozen=True):
    """A snapshot at which a rebuild does not begin."""

    id: str
    taken_ms: int | None  # ``None``: it cannot be read
    reason: str
    is_beyond: bool = False  # it would be, but for the target


class Plan(msgspec.Struct, frozen=True):
    """``start`` is ``None`` for the log's beginning; what is not taken comes nearest first."""

    start: Manifest | None
    not_taken: tuple[NotTaken, ...] = ()


def choose(catalogue: Iterable[Manifest], question: Question, facts: Facts) -> Plan:
    """Where the rebuild begins.

    Raises:
        ConflictError: a start that was asked for does not fit, or is not there.
    """
    candidates = sorted(catalogue, key=_nearness, reverse=True)
    start: Manifest | None = None
    not_taken: list[NotTaken] = []
    for manifest in candidates:
        reason = _why_not(manifest, question, facts, taken=start)
        if reason is None:
            start = manifest
        else:
            not_taken.append(reason)
    plan = Plan(start, tuple(not_taken))
    if question.start not in (None, BEGINNING) and start is None:
        raise _unfit_start(question, plan)
    return plan


def _nearness(manifest: Manifest) -> tuple[int, int, str]:
    return sum(manifest.vector.values()), manifest.taken_ms, manifest.id


def _why_not(
    manifest: Manifest, question: Question, facts: Facts, *, taken: Manifest | None
) -> NotTaken | None:
    reason: str | None = None
    if question.start is not None and manifest.id != question.start:
        begins = "the log's beginning" if question.start == BEGINNING else question.start
        reason = f"{begins} is asked for"
    elif taken is not None:
        reason = f"further from the target than {taken.id}"
    else:
        reason = (
            _of_another_log(manifest, question)
            or _of_other_tables(manifest, question)
            or _by_other_rules(manifest, question)
            or _without_other_events(manifest, question)
            or _parked(manifest, question)
        )
    if reason is not None:
        return NotTaken(manifest.id, manifest.taken_ms, reason)
    reason = _beyond_target(manifest, question, facts)
    if reason is not None:
        return NotTaken(manifest.id, manifest.taken_ms, reason, is_beyond=True)
    reason = facts.unfollowed(manifest)
    return None if reason is None else NotTaken(manifest.id, manifest.taken_ms, reason)


def _of_another_log(manifest: Manifest, question: Question) -> str | None:
    if manifest.genesis == question.genesis:
        return None
    try:
        return f"of another log, {manifest.log_id}, or under other parameters"
    except BinlogError as error:
        return f"of another log ({error.what})"


def _beyond_target(manifest: Manifest, question: Question, facts: Facts) -> str | None:
    target = question.target
    if target.vector is not None:
        for partition, offset in sorted(manifest.exact.items()):
            wanted = target.vector.get(partition, 0)
            if offset > wanted:
                return (
                    f"it reaches offset {offset} of partition {partition}, the target is {wanted}"
                )
    if target.time_ms is not None:
        return facts.beyond(manifest, target.time_ms)
    return None


def _of_other_tables(manifest: Manifest, question: Question) -> str | None:
    if manifest.adopted is not None:
        return f"what table {manifest.adopted} held before its first event"
    generation = manifest.generation
    if question.tables is None:
        if not generation.open:
            return f"only of the tables {', '.join(generation.tables)}"
        missing = sorted(set(manifest.without).difference(question.without))
    else:
        missing = sorted(set(question.tables).difference(generation.tables))
        if generation.open:  # it has every table from its first event on, but those of others
            missing = sorted(set(missing).intersection(manifest.without))
    return f"without table {missing[0]}" if missing else None


def _by_other_rules(manifest: Manifest, question: Question) -> str | None:
    generation = manifest.generation
    tables = None if question.tables is None else set(question.tables)
    # Of one moment: else its items may have met more types than were noted when it was begun.
    met = generation.types if manifest.is_exact else None
    try:
        found = compare(generation.fingerprint, question.fingerprint, met=met, tables=tables)
    except BinlogError as error:
        return f"its rules cannot be compared: {error.what}"
    different = (*found.versions, *found.sources)
    return f"made by other rules ({'; '.join(different)})" if different else None


def _without_other_events(manifest: Manifest, question: Question) -> str | None:
    made, wanted = set(manifest.generation.excluded), set(question.excluded)
    for rule in sorted(made - wanted):
        if not _comes_later(rule, manifest.exact):
            return f"made without what {rule} names, which is not left out now"
    for rule in sorted(wanted - made):
        kind, _, name = rule.partition("=")
        is_new_type = (
            kind == "type"
            and manifest.is_exact
            and not question.transforms
            and name not in ITEM_TYPES
            and name not in manifest.generation.types
        )
        if not is_new_type and not _comes_later(rule, manifest.exact):
            return f"what {rule} names may be in it"
    return None


def _comes_later(rule: str, reached: Vector) -> bool:
    """Whether a rule in its normal form names only offsets beyond ``reached``."""
    kind, _, rest = rule.partition("=")
    if kind != "offsets":
        return False
    partition, _, offsets = rest.partition(":")
    return int(offsets.partition("-")[0]) > reached.get(int(partition), 0)


def _parked(manifest: Manifest, question: Question) -> str | None:
    if question.parks:
        return None
    parked = sum(table.parked for table in manifest.tables.values())
    if not parked and not manifest.letters:
        return None
    return "events that could not be applied wait in it, and without --park they stop a rebuild"


# -- what is told --------------------------------------------------------------------------------


def _unfit_start(question: Question, plan: Plan) -> ConflictError:
    for each in plan.not_taken:
        if each.id == question.start:
            return ConflictError(
                f"snapshot {each.id} is no start of this rebuild: {each.reason}",
                do="leave --start out: the nearest that fits is taken",
                start=each.id,
            )
    return ConflictError(
        f"there is no snapshot {question.start}",
        do="binlog snapshots lists them",
        start=question.start,
    )


def out_of_reach(error: TrimmedError, plan: Plan, catalogue: Sequence[Manifest]) -> TrimmedError:
    """What is said where no snapshot fits, and the log has forgotten how it began.

    With the point in time that is nearest of those that are left: the earliest snapshot that only
    the target keeps from being taken.
    """
    beyond = {each.id for each in plan.not_taken if each.is_beyond}
    left = [m for m in catalogue if m.id in beyond]
    if not left:
        reasons = "; ".join(f"{each.id}: {each.reason}" for each in plan.not_taken)
        return TrimmedError(
            "the log has forgotten its beginning, and no snapshot can be begun at",
            error.where,
            f"name its archive (--archive), or what fits: {reasons or 'there is no snapshot'}",
        )
    nearest = min(left, key=_nearness)
    vector = msgspec.json.encode({str(p): o for p, o in nearest.exact.items()}).decode()
    taken = f"{datetime.fromtimestamp(nearest.taken_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return TrimmedError(
        "the target lies before the oldest point that is kept",
        error.where,
        f"the nearest possible is snapshot {nearest.id}, taken {taken}: --until '{vector}'; or name "
        "an archive that goes back further: --archive",
        nearest=nearest.id,
        vector=nearest.exact,
    )
