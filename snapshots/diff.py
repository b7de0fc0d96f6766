"""What changed between two moments: two stores, or a log at two vectors or times; per key.

Of two stores the rows are merged by key, each as it is at one moment, with a row or two in memory.
They may be at any vectors, and made without different events or by other rules: that is what a
difference is asked for. Versions say how far each item is.

Of a log the partitions are folded group by group (`snapshots.grouping`) up to the first moment, and
on to the second. Before an event in between touches an item, what the item was is put aside; so only
items that were touched are ever compared, and what touched them is known. The answers are sorted by
table and key on the disk.

Items are compared by their content. One that was touched, and holds what it held, has not changed;
a tombstone and nothing at all are alike. That it is parked now, or is no longer, is a change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from itertools import groupby
from typing import Any, Literal, TypeAlias

import msgspec

from appliers.adoption import adoption_at
from appliers.entries import Items, content_of
from appliers.exclusion_matching import Met, check_matched
from appliers.fold import Fold
from appliers.item import Row
from appliers.routing import Op
from appliers.store import Reader as StoreReader
from appliers.stores.sorted_runs import SortedRuns
from binlog.errors import ConflictError, DamageError
from binlog.horizon import horizon_of
from binlog.log import Log
from binlog.reader import Reader, Start
from binlog.run import Run
from binlog.target import Target
from binlog.values import decode_value, encode_value
from binlog.vector import Vector, version_of
from snapshots.base import Base
from snapshots.folding import (
    OnProgress,
    Progress,
    Wanted,
    fold_partitions,
    met_by,
    without_collector,
)
from snapshots.grouping import groups_of
from snapshots.touches import Cause, cause_of, touches
from snapshots.verify import merge_rows, rows_of

Kind: TypeAlias = Literal["added", "removed", "changed", "parked", "unparked", "touched"]

# How the sort keys of an item's records end: what it was and is, then the events between by offset.
_ROWS, _EVENT = bytes(9), b"\1"


class Attribute(msgspec.Struct, frozen=True):
    """An attribute that differs: canonical bytes of its values, ``None`` where it has none."""

    name: str
    left: bytes | None
    right: bytes | None


class Change(msgspec.Struct, frozen=True):
    """What became of one item. ``events`` are those in between, where a log was asked."""

    table: str
    key: bytes
    left: Row | None
    right: Row | None
    events: tuple[Cause, ...] = ()

    @property
    def partition(self) -> int:
        """Whose events may touch the item."""
        row = self.right or self.left
        return -1 if row is None else row.partition

    @property
    def kind(self) -> Kind:
        """In a word; `touched` if it is what it was."""
        before, after = _content(self.left), _content(self.right)
        if before != after:
            return "added" if before is None else "removed" if after is None else "changed"
        parked = [row is not None and row.parked for row in (self.left, self.right)]
        if parked[0] != parked[1]:
            return "parked" if parked[1] else "unparked"
        return "touched"

    @property
    def attributes(self) -> list[Attribute]:
        """Those that differ, in the order of their names; key attributes only of a new or lost item."""
        before, after = (_attributes(_content(row)) for row in (self.left, self.right))
        return [
            Attribute(name, before.get(name), after.get(name))
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]


def _content(row: Row | None) -> bytes | None:
    return None if row is None else row.data


def _attributes(data: bytes | None) -> dict[str, bytes]:
    """By name the canonical bytes of the values: 1 and true are two things."""
    item: Mapping[str, Any] = {} if data is None else decode_value(data)
    return {name: encode_value(value) for name, value in item.items()}


# -- two stores ------------------------------------------------------------------------------------


def diff_stores(
    left: StoreReader, right: StoreReader, *, tables: Collection[str] | None = None
) -> Iterator[Change]:
    """What differs between two stores of one log, by table and key; `touched` ones too.

    ``tables`` are those wanted, of those that either has; ``None``: all.

    Raises:
        ConflictError: they belong to different logs; neither has a table that is wanted.
        DamageError: a row cannot be read.
    """
    if left.genesis() != right.genesis():
        raise ConflictError(
            "stores of different logs have no moment in common",
            f"{left.name} and {right.name}",
            "name two stores made from the same log",
        )
    has = {table for each in (left, right) for g in each.generations() for table in g.tables}
    for table in sorted(has if tables is None else tables):
        if table not in has:
            raise ConflictError(
                f"neither store has a table {table}",
                f"{left.name} and {right.name}",
                f"they have {', '.join(sorted(has)) or 'none'}",
            )
        for key, before, after in merge_rows(rows_of(left, table), rows_of(right, table)):
            for side in (before, after):
                if isinstance(side, DamageError):
                    raise side
            if before != after:
                yield Change(table, key, before, after)  # type: ignore[arg-type]  # no damage


# -- two moments of a log --------------------------------------------------------------------------


class LogDiff:
    """What changed in a log from ``first``, exclusive, to ``second``, inclusive: iterate once.

    ``wanted`` says which tables, by which rules and without which events; its target is not looked
    at. ``base`` is a snapshot at or before the first moment. ``first_vector`` and ``second_vector`` say afterwards what the moments are.

    Raises:
        ConflictError: a moment beyond the log's end, or the second before the first.
        RefusedError: an exclusion that matches no event up to the second.
        HaltedError, PoisonError, DamageError, TrimmedError: the log cannot be read that far.
    """

    def __init__(
        self,
        log: Log,
        first: Target,
        second: Target,
        wanted: Wanted,
        *,
        base: Base | None = None,
        progress: OnProgress | None = None,
        sorting: Callable[[], SortedRuns] = SortedRuns,
    ) -> None:
        self._log = log
        self._first, self._second = first, second
        self._wanted = msgspec.structs.replace(wanted, target=first, poison="park")
        self._base = base
        self._progress = progress
        self._met: list[Met] = []
        self._sorting = sorting
        self.first_vector: Vector = {}
        self.second_vector: Vector = {}
        self.events = 0
        """Between the two."""

    def __iter__(self) -> Iterator[Change]:
        with closing(self._sorting()) as found:
            done = Progress(0, 0)
            for partitions in groups_of(self._log, 1):
                done = self._group(partitions, found, done)
            known = () if self._base is None else self._base.excluded
            check_matched(self._met, self.second_vector, known=known, where=self._log.name)
            by_item = groupby(found.sorted(), key=lambda record: record[0][: -len(_ROWS)])
            for place, records in by_item:
                table, _, key = place.partition(b"\0")
                _, packed = next(records)
                left, right = _decode_rows(packed)
                events = tuple(_decode_cause(value) for _, value in records)
                yield Change(table.decode(), key, left, right, events)

    def _group(self, partitions: list[int], found: SortedRuns, done: Progress) -> Progress:
        def tick(now: Progress) -> None:
            if self._progress is not None:
                total = done.events + now.events, done.log_bytes + now.log_bytes
                self._progress(Progress(*total))

        fold, reader = fold_partitions(
            self._log, partitions, self._wanted, base=self._base, tick=tick
        )
        self.first_vector.update(reader.vector())
        starts = {}
        for partition in partitions:
            at = reader.checkpoint(partition)
            starts[partition] = Start(at.position, at.state, at.applied, at.seen_ms)
        _check_order(self._log, reader, self._second)
        between = Reader(
            self._log,
            partitions=partitions,
            starts=starts,
            target=self._second,
            horizon=horizon_of(self._log),
        )
        noted = _Noted(fold)
        with without_collector():
            while (runs := between.read()) is not None:
                for run in runs:
                    self.events += len(run.columns)
                    for cause, table, key in noted.before(run):
                        place = _place(table, key) + _EVENT + cause.offset.to_bytes(8, "big")
                        found.add(place, _encode(cause))
                    fold.add(run)
                tick(Progress(fold.counts.events, reader.bytes_read + between.bytes_read))
        between.raise_halts()
        between.check_reached()
        if (met := met_by(fold)) is not None:
            self._met.append(met)
        self.second_vector.update(between.vector())
        for table, key, left, right in noted.changes():
            found.add(_place(table, key) + _ROWS, _encode((left, right)))
        return Progress(
            done.events + fold.counts.events,
            done.log_bytes + reader.bytes_read + between.bytes_read,
        )


class _Noted:
    """What the items of a fold were when they were first touched, from now on."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._items: dict[tuple[int, str], Items] = {}
        self._before: dict[tuple[str, bytes], tuple[int, Row | None]] = {}
        self._adopted: dict[tuple[int, str], int] = {}  # the version at which a base came in

    def before(self, run: Run) -> Iterator[tuple[Cause, str, bytes]]:
        """Note the items that ``run`` is about to touch; each of its events with each of them."""
        routing = self._fold.routing
        prepared = routing.transformed(run)
        skipped = routing.skipped(prepared) or frozenset()
        if Op.ADOPT in routing.plan(run.columns.kinds).ops:
            self._note_adoptions(run)
        for index, table, key in touches(routing, prepared):
            if index in skipped:
                continue
            if (table, key) not in self._before:
                row = self._row(run.partition, table, key)
                self._before[table, key] = run.partition, row
            yield cause_of(prepared, index), table, key

    def _note_adoptions(self, run: Run) -> None:
        plan = self._fold.routing.plan(run.columns.kinds)
        for index, kind in enumerate(run.columns.index):
            if plan.ops[kind] is Op.ADOPT and (adoption := adoption_at(run, index)) is not None:
                timeline = self._fold.routing.params.timeline
                version = version_of(timeline, run.first_offset + index)
                self._adopted[run.partition, adoption.table] = version

    def changes(self) -> Iterator[tuple[str, bytes, Row | None, Row | None]]:
        """What each of them was and is; of a table adopted in between all that its base brought."""
        for (table, key), (partition, before) in self._before.items():
            version = self._adopted.get((partition, table))
            came = before is not None and before.version == version
            yield table, key, None if came else before, self._row(partition, table, key)
        for (partition, table), version in self._adopted.items():
            for key, row in self._fold.rows(table):
                is_new = row.partition == partition and row.version == version
                if is_new and (table, key) not in self._before:
                    yield table, key, None, row

    def _row(self, partition: int, table: str, key: bytes) -> Row | None:
        items = self._items.get((partition, table))
        if items is None:
            self._items = {(p, t): items for p, t, items, _ in self._fold.entries()}
            items = self._items.get((partition, table), {})
        entry = items.get(key)
        if entry is None:
            return None
        tail = self._fold.parking.tails(partition).get((table, key))
        content = content_of(table, key, entry)
        return Row(entry[0], partition, content, parked=tail is not None, tail=tail or 0)


def _check_order(log: Log, reader: Reader, second: Target) -> None:
    """That ``reader``, at the first moment, is nowhere beyond the second."""
    for partition in reader.partitions:
        applied = reader.place(partition)[2]
        if second.vector is not None:
            is_beyond = applied > second.vector.get(partition, 0)
        else:
            mark = reader.sequencers[partition].mark
            is_beyond = second.time_ms is not None and applied > 0 and mark > second.time_ms
        if is_beyond:
            raise ConflictError(
                f"the second moment is before the first in partition {partition}",
                log.name,
                "name the earlier one first",
                partition=partition,
            )


# -- on the disk -----------------------------------------------------------------------------------

_encode = msgspec.msgpack.Encoder().encode
_decode_rows = msgspec.msgpack.Decoder(tuple[Row | None, Row | None]).decode
_decode_cause = msgspec.msgpack.Decoder(Cause).decode


def _place(table: str, key: bytes) -> bytes:
    """Sorts by table, then key. No table's name holds a zero byte, no key begins another one."""
    return table.encode() + b"\0" + key
