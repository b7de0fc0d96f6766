"""The events that made one item what it is, and those that did not get to it.

The log is read for the one partition whose events may touch the item, and each event that is routed
to it is folded by itself, onto what the events before it made (`appliers.refold`): so it is known
what each of them did. What the reader drops on the way, a frame sent again say, is decoded a second
time, for events that would have been the item's.

============  ====================================================================================
applied       folded into the item, whether it changed anything or not
snapshot      what the item was in the snapshot at which this begins: the log has forgotten the rest
adopted       the item was in the base that its table began with
excluded      left out by a rule, which is named
rejected      expected another version than the item had (I5)
parked        could not be applied: the item waits from here on
waits         came behind one that is parked
alone         could not be applied, and parked nothing
duplicate     the same events came again, by number or by id, and were dropped
expired       came too late: its session was forgotten (S1)
closed        of a generation that a later one had closed before it came (P7)
held          waits for a frame before it that has not come yet (S3)
skipped       a RESOLVE decided against it
============  ====================================================================================

Of an attribute two events are named. ``since`` is the one that gave it the value that it has;
``writer`` the last one that wrote it, the same value perhaps: without both of them it would not be
what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from appliers.adoption import adoption_at
from appliers.entries import content_of
from appliers.exclusion import Exclusions
from appliers.fold import Fold
from appliers.item import Row
from appliers.letters import letter_of
from appliers.poison import reason_of
from appliers.refold import fold_letter
from appliers.routing import Op, Routing
from appliers.starts import starts_of
from appliers.transform import UntellableError
from appliers.transforming import failures_of
from binlog.envelope import PUT_ITEM, UPDATE_ITEM
from binlog.errors import RefusedError
from binlog.horizon import horizon_of
from binlog.log import Log
from binlog.reader import Start
from binlog.run import Run
from binlog.values import decode_value, encode_value
from binlog.vector import offset_of, version_of
from snapshots.adopt_base import KeptBases
from snapshots.base import Base
from snapshots.dropped import WHY, Drop, DroppingReader
from snapshots.rebuild import OnProgress, Progress, Wanted
from snapshots.touches import Cause, cause_of, touches

Outcome: TypeAlias = (
    Literal["applied", "snapshot", "adopted", "excluded", "rejected", "parked", "waits", "alone"]
    | Drop
)


class Told(msgspec.Struct, frozen=True):
    """One event and what came of it; of one that was dropped the cause's offset is 0.

    ``values`` are the attributes that it changed, as canonical bytes, ``None`` for those that are
    gone; ``deleted``: no item is left. ``detail`` says why, where nothing was changed.
    """

    cause: Cause
    outcome: Outcome
    detail: str = ""
    values: dict[str, bytes | None] = {}
    written: frozenset[str] = frozenset()  # the attributes that a built-in action names
    deleted: bool = False


class Origin(msgspec.Struct):
    """Where the value of an attribute comes from: see the module."""

    value: bytes
    since: Cause
    writer: Cause


class Blame:
    """What made the item of ``key`` in ``table``, up to ``wanted.target``, by its rules and exclusions.

    Take `events` to their end; then `item` and `attributes` say how it is. ``base`` is where it begins,
    if the log no longer has its own beginning.

    Raises:
        HaltedError, DamageError, TrimmedError, UpgradeError: the log cannot be read that far.
        PoisonError: an event that cannot be applied, and of which nobody can tell whether it is its fault.
    """

    def __init__(
        self,
        log: Log,
        table: str,
        key: bytes,
        wanted: Wanted,
        *,
        base: Base | None = None,
        progress: OnProgress | None = None,
    ) -> None:
        self._log = log
        self.table, self.key = table, key
        self._target = wanted.target
        self._bases = wanted.bases or KeptBases(log.genesis)
        self._base = base
        self.progress = progress
        # Without the exclusions, which are laid on event by event: what they leave out is told.
        self._routing = Routing(log.params, rules=wanted.rules, tables=wanted.tables)
        self._excluded = [(rule, Exclusions([rule])) for rule in wanted.excluded]
        self._fold = Fold(self._routing, after=None, parks=True)
        self._parked_at = 0
        self.attributes: dict[str, Origin] = {}
        """Of the item as it is, by name in the order of the item."""
        self.partitions = self._find_partitions()
        self._begun_at = 0  # offset up to which a snapshot's item has its events
        for partition in self.partitions:
            self._fold.preload(partition, table, {key: None})

    def _find_partitions(self) -> list[int]:
        """The one whose events may touch the item; all of them where only an event can tell."""
        try:
            return [self._routing.ownership.partition_of(self.table, self.key)]
        except UntellableError:
            return list(range(self._log.params.partitions))
        except MemoryError:
            raise
        except Exception as error:
            raise RefusedError(
                f"the owner of table {self.table!r} cannot be told ({reason_of(error)})",
                do="is that a key of the table?",
            ) from error

    @property
    def item(self) -> Row | None:
        """As the events so far made it; ``None``: none of them touched it."""
        rows = [
            row for key, row in self._fold.rows(self.table) if key == self.key and _is_there(row)
        ]
        return rows[0] if rows else None

    def events(self) -> Iterator[Told]:
        """All that there is to tell, in the order of the log; what is held still comes last."""
        starts: Mapping[int, Start] = {}
        if self._base is not None:
            yield from self._begin(self._base)
            checkpoints = {p: c for p, c in self._base.checkpoints.items() if p in self.partitions}
            starts = starts_of(self._log, self._base.name, checkpoints, what="base")
        reader = DroppingReader(
            self._log,
            partitions=self.partitions,
            starts=starts,
            target=self._target,
            horizon=horizon_of(self._log),
        )
        while (runs := reader.read()) is not None:
            dropped = reader.take_dropped()
            for run in runs:
                # What of a record was dropped is told before what of it is new, and all later ones.
                while dropped and dropped[0][1].sequence <= run.sequence:
                    yield from self._told_dropped(*dropped.pop(0))
                yield from self._told(run)
            for outcome, each in dropped:
                yield from self._told_dropped(outcome, each)
            if self.progress is not None:
                accepted = sum(s.counters.accepted for s in reader.sequencers.values())
                self.progress(Progress(accepted, reader.bytes_read))
        reader.raise_halts()
        reader.check_reached()
        for outcome, run in reader.left_over():
            yield from self._told_dropped(outcome, run)

    def _begin(self, base: Base) -> Iterator[Told]:
        """The item as a snapshot has it, if it does."""
        if self.table not in base.tables:
            return
        for key, row in base.rows(self.table, self.partitions):
            if key == self.key:
                self._fold.preload(row.partition, self.table, {key: row})
                self._begun_at = offset_of(row.version)
                cause = Cause(row.partition, self._begun_at, "", "", 0, 0, "", 0)
                values = self._note(cause, None, row.data, frozenset())
                detail = f"as {base.name} has it"
                yield Told(cause, "snapshot", detail, values, deleted=row.data is None)

    # -- what was numbered -----------------------------------------------------------------------

    def _told(self, run: Run) -> Iterator[Told]:
        yield from self._told_adoptions(run)
        prepared = self._routing.transformed(run)
        item = self.table, self.key
        for index in [i for i, _, _ in touches(self._routing, prepared, item=item)]:
            rule = self._rule_of(run, index)
            if rule is not None:
                yield Told(cause_of(run, index), "excluded", f"by {rule}")
            elif run.first_offset + index > self._begun_at:
                yield self._step(run, prepared, index)

    def _rule_of(self, run: Run, index: int) -> str | None:
        """The exclusion that leaves the event out: they name events as they are in the log."""
        for rule, exclusions in self._excluded:
            if index in (exclusions.matches(run) or ()):
                return rule
        return None

    def _told_adoptions(self, run: Run) -> Iterator[Told]:
        plan = self._routing.plan(run.columns.kinds)
        if Op.ADOPT not in plan.ops:
            return
        for index, kind in enumerate(run.columns.index):
            adoption = adoption_at(run, index) if plan.ops[kind] is Op.ADOPT else None
            if adoption is None or adoption.table != self.table:
                continue
            version = version_of(self._routing.params.timeline, run.first_offset + index)
            for key, data in self._bases.rows(adoption, run.partition):
                if key == self.key:
                    row = Row(version, run.partition, data)
                    self._fold.preload(run.partition, self.table, {key: row})
                    cause = cause_of(run, index)
                    values = self._note(cause, None, data, frozenset())
                    yield Told(cause, "adopted", f"from base {adoption.base}", values)

    def _step(self, run: Run, prepared: Run, index: int) -> Told:
        """Fold one event, and see what it did."""
        fold, cause = self._fold, cause_of(run, index)
        version = version_of(self._routing.params.timeline, cause.offset)
        before = self._row(run.partition)
        letters, rejections = fold.parking.letters, fold.rejections
        letters.clear()
        rejections.clear()
        alone = index in failures_of(prepared) and failures_of(prepared)[index].alone
        letter = letter_of(
            prepared, index, version, table=self.table, key=self.key, reason="", alone=alone
        )
        fold_letter(fold, letter)
        if rejections:
            expected, found = rejections[0].expected, rejections[0].found
            detail = f"expected version {expected}, the item's was {found}"
            return Told(cause, "rejected", detail)
        if letters:
            if letters[0].alone:
                return Told(cause, "alone", letters[0].reason)
            if letters[0].reason:
                self._parked_at = cause.offset
                return Told(cause, "parked", letters[0].reason)
            behind = f"offset {self._parked_at}" if self._parked_at else "one that the snapshot has"
            return Told(cause, "waits", f"behind {behind}")
        after = self._row(run.partition)
        data = None if after is None else after.data
        written = _written(prepared, index)
        values = self._note(cause, None if before is None else before.data, data, written)
        return Told(cause, "applied", "", values, written, data is None)

    def _row(self, partition: int) -> Row | None:
        for owner, table, items, _ in self._fold.entries():
            if (owner, table) == (partition, self.table) and self.key in items:
                entry = items[self.key]
                content = content_of(table, self.key, entry)
                return Row(entry[0], partition, content) if entry[0] else None
        return None

    def _note(
        self, cause: Cause, before: bytes | None, after: bytes | None, written: frozenset[str]
    ) -> dict[str, bytes | None]:
        """What changed, and from now on is this event's."""
        was, now = _values_of(before), _values_of(after)
        origins = {}
        for name, value in now.items():
            origin = self.attributes.get(name)
            if origin is None or was.get(name) != value:
                origins[name] = Origin(value, cause, cause)
            else:
                origins[name] = origin
                if name in written:
                    origin.writer = cause
        self.attributes = origins
        return {name: now.get(name) for name in [*now, *was] if was.get(name) != now.get(name)}

    # -- what was not ----------------------------------------------------------------------------

    def _told_dropped(self, outcome: Drop, run: Run) -> Iterator[Told]:
        prepared = self._routing.transformed(run)
        for index in [
            i for i, _, _ in touches(self._routing, prepared, item=(self.table, self.key))
        ]:
            cause = msgspec.structs.replace(cause_of(run, index), offset=0)
            yield Told(cause, outcome, WHY[outcome])


def _is_there(row: Row) -> bool:
    return bool(row.version) or row.parked


def _values_of(data: bytes | None) -> dict[str, bytes]:
    """By attribute the canonical bytes of its value."""
    item: dict[str, Any] = {} if data is None else decode_value(data)
    return {name: encode_value(value) for name, value in item.items()}


def _written(run: Run, index: int) -> frozenset[str]:
    """The attributes that a built-in action names; of a domain event only its effect is known."""
    columns = run.columns
    event_type, data = columns.kinds[columns.index[index]][0], columns.datas[index]
    if data is None or event_type not in {PUT_ITEM, UPDATE_ITEM}:
        return frozenset()
    decoded: dict[str, Any] = decode_value(data)
    if event_type == PUT_ITEM:
        return frozenset(decoded)
    return frozenset(name for section in decoded.values() for name in section)
