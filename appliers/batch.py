"""A batch of runs folded onto what a store holds: at most one write an item (I3).

An item whose first event in the batch is a whole-item put or a delete needs nothing of the store
and becomes a blind write (I1). One whose first event is a fold (an update, an expected version, a
user's applier) is read first, with all others of its table at once, and becomes a write on the
condition of the version read (I2). Which is which follows from the events alone. But an expected
version that is not met after a whole-item put has the item read after all: it is noted before the item
is written, and of one that is parked it is not to be noted (the event waits).

Of a parked item every event becomes a dead letter, and the write moves its tail. That an item is
parked a blind write finds out by its failed condition: then all is read and folded again. Who
remembers such items (``parked``) has them read at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from appliers.entries import content_of
from appliers.fold import Counts, Fold
from appliers.item import Rejection, Row, Write
from appliers.letters import DeadLetter
from appliers.routing import Op, Routing
from appliers.transforming import failures_of, left_out_of
from appliers.user_rules import keys_of
from binlog.errors import BinlogError, MismatchError, PoisonError
from binlog.run import Run

Read: TypeAlias = Callable[[str, Sequence[bytes]], Mapping[bytes, Row]]
_Keys: TypeAlias = dict[int, dict[str, dict[bytes, None]]]  # partition, table, keys in order met
_UPDATE, _APPLY = Op.UPDATE, Op.APPLY  # names of a module are found faster than an enumeration's


class Batch(msgspec.Struct, frozen=True):
    """What a batch asks of a store.

    One that cannot do it all in one transaction makes rejections and letters durable first, then
    the writes, then the checkpoint: after a later write of its item a rejected event is below the
    item's version, and a letter is below its tail, and is not looked at again.
    """

    writes: list[Write]
    rejections: list[Rejection]
    letters: list[DeadLetter]
    parked: dict[str, set[bytes]]
    """The items that are parked now, of those met: by table their keys."""
    tables: frozenset[str]
    """All that an event was routed to, those without a write too."""
    types: frozenset[str]
    """Of the domain events met."""
    counts: Counts


def fold_batch(
    routing: Routing,
    runs: Sequence[Run],
    read: Read,
    *,
    read_all: bool = False,
    parks: bool = False,
    parked: Mapping[str, Collection[bytes]] = MappingProxyType({}),
) -> Batch:
    """Fold ``runs``, those of a partition in offset order and without a gap.

    ``read`` gives the rows that exist of the keys asked for, strongly consistent; it is called
    once a table, before anything is folded. ``read_all`` reads every item, blind writes' too:
    for the next try after a condition failed, when some writes may have been applied and some
    not. What is applied already then asks for no write. Items in ``parked`` are read, too.

    Raises:
        PoisonError: an event that cannot be applied, of each partition the first; nothing was
            written. What lies before it can be folded and committed by itself. With ``parks`` only
            one that parks no item, see `appliers.poison`.
        MismatchError, UpgradeError: see `Fold.preload` and `Fold.add`.
    """
    runs = [routing.transformed(run) for run in runs]
    fold = Fold(routing, after=None, parks=parks)
    failures: list[BinlogError] = []
    needed = _needed(routing, runs, failures, read_all=read_all, parks=parks, parked=parked)
    _preload(fold, needed, read)
    for run in runs:
        fold.add(run)
    if failures:
        # A user's key function that failed and then did not: the items behind it were not read,
        # and are folded from nothing.
        raise failures[0]
    if blind := _refused_blindly(fold):
        known = {
            table: {*parked.get(table, ()), *blind.get(table, ())} for table in {*parked, *blind}
        }
        return fold_batch(routing, runs, read, read_all=read_all, parks=parks, parked=known)
    writes = [
        Write(table, key, Row(entry[0], partition, data), bases.get(key))
        for partition, table, items, bases in fold.entries()
        if not fold.parking.tails(partition)
        for key, entry in items.items()
        if entry[0] != bases.get(key)
        for data in (content_of(table, key, entry),)
    ]
    still_parked: dict[str, set[bytes]] = {}
    if fold.parking.waiting:
        writes += _writes_with_parked(fold, still_parked)
    return Batch(
        writes,
        fold.rejections,
        fold.parking.letters,
        still_parked,
        fold.tables,
        frozenset(fold.types),
        fold.counts,
    )


def _refused_blindly(fold: Fold) -> dict[str, set[bytes]]:
    """By table the items that an event found other than expected, and that were not read."""
    if not fold.rejections:
        return {}
    read = {(table, key) for _, table, _, bases in fold.entries() for key in bases}
    found: dict[str, set[bytes]] = {}
    for each in fold.rejections:
        if (each.table, each.key) not in read:
            found.setdefault(each.table, set()).add(each.key)
    return found


def _writes_with_parked(fold: Fold, parked: dict[str, set[bytes]]) -> Iterator[Write]:
    """The writes of partitions in which some item is parked; those are noted in ``parked``."""
    for partition, table, items, bases in fold.entries():
        tails, found = fold.parking.tails(partition), fold.parking.found(partition)
        for key, entry in items.items() if tails else ():
            base, tail = bases.get(key), tails.get((table, key))
            if tail is not None:
                parked.setdefault(table, set()).add(key)
            before = found.get((table, key))
            if entry[0] == base and tail == before:
                continue
            data = content_of(table, key, entry)
            row = Row(entry[0], partition, data, parked=tail is not None, tail=tail or 0)
            yield Write(table, key, row, base, before)


def _preload(fold: Fold, needed: _Keys, read: Read) -> None:
    by_table: dict[str, dict[bytes, int]] = {}
    for partition, tables in needed.items():
        for table, keys in tables.items():
            by_table.setdefault(table, {}).update(dict.fromkeys(keys, partition))
    for table, owners in by_table.items():
        if not owners:
            continue
        found = read(table, list(owners))
        of_partition: dict[int, dict[bytes, Row | None]] = {}
        for key, partition in owners.items():
            row = found.get(key)
            if row is not None and row.partition != partition:
                raise MismatchError(
                    f"an item of table {table} was made by partition {row.partition}, and an event "
                    f"of partition {partition} may touch it",
                    do="the owner declared for the table has changed: rebuild it",
                    table=table,
                    key=key,
                )
            of_partition.setdefault(partition, {})[key] = row
        for partition, rows in of_partition.items():
            fold.preload(partition, table, rows)


def _needed(
    routing: Routing,
    runs: Sequence[Run],
    failures: list[BinlogError],
    *,
    read_all: bool,
    parks: bool,
    parked: Mapping[str, Collection[bytes]],
) -> _Keys:
    """The keys whose fold begins at what the store holds.

    Ends, in a partition, at an event that cannot be routed, and adds its error to ``failures``.
    """
    plans = [routing.plan(run.columns.kinds) for run in runs]
    if not (read_all or parked) and all(
        run.columns.expects is None
        and all(
            op not in (Op.UPDATE, Op.APPLY) or kind not in run.columns.index
            for kind, op in enumerate(plan.ops)
        )
        for run, plan in zip(runs, plans, strict=True)
    ):
        return {}
    needed: _Keys = {}
    blind: dict[int, dict[str, set[bytes]]] = {}
    failed: set[int] = set()
    for run in runs:
        if run.partition in failed:
            continue
        try:
            _needed_of(
                routing,
                run,
                needed.setdefault(run.partition, {}),
                blind.setdefault(run.partition, {}),
                read_all=read_all,
                parks=parks,
                parked=parked,
            )
        except BinlogError as error:
            # The event that cannot be routed is met again by the fold, which tells; nothing after
            # it will be folded.
            failed.add(run.partition)
            failures.append(error)
    return needed


def _needed_of(
    routing: Routing,
    run: Run,
    needed: dict[str, dict[bytes, None]],
    blind: dict[str, set[bytes]],
    *,
    read_all: bool,
    parks: bool,
    parked: Mapping[str, Collection[bytes]],
) -> None:
    """Add the keys that ``run`` needs; those in ``blind`` were put whole before."""
    columns = run.columns
    plan = routing.plan(columns.kinds)
    skipped = routing.skipped(run) or frozenset()
    failures = failures_of(run)
    skipped |= left_out_of(run) | {i for i, failure in failures.items() if failure.alone}
    expects = columns.expects
    owns = routing.ownership.owns

    may_act = routing.may_act
    is_usual = expects is None and not (skipped or failures or read_all or parked)
    if plan.actions_only and is_usual:
        # The common frame: a decision for each update, and next to nothing for the others.
        folding = [
            needed.setdefault(t, {}) if op is Op.UPDATE else None
            for op, t in zip(plan.ops, plan.tables, strict=True)
        ]
        put = [blind.setdefault(table, set()) for table in plan.tables]
        for kind, key in zip(columns.index, columns.keys, strict=True):
            wanted = folding[kind]
            if wanted is None:
                put[kind].add(key)
            elif (
                key not in put[kind]
                and key not in wanted
                and may_act(run.partition, plan.tables[kind], key)
            ):
                wanted[key] = None
        return
    keys, ops, tables = columns.keys, plan.ops, plan.tables
    for i, kind in enumerate(columns.index):
        op = ops[kind]
        if op > _APPLY or i in skipped:
            continue
        if op is _APPLY:
            for rule in plan.rules[kind]:
                table = rule.table or tables[kind]
                before = blind.get(table, ())
                try:
                    named = keys_of(routing, run, i, rule)
                except PoisonError as error:
                    if parks and error.details["parks"]:
                        continue  # no item is parked for it, and the fold goes on behind it
                    raise
                for key in named:
                    if key not in before and owns(run.partition, table, key):
                        needed.setdefault(table, {})[key] = None
            continue
        table, key = tables[kind], keys[i]
        if (
            op is not _UPDATE
            and not read_all
            and (expects is None or expects[i] is None)
            and i not in failures
            and key not in parked.get(table, ())
        ):
            blind.setdefault(table, set()).add(key)
        # Nothing is read for an event that may not touch it; the fold refuses that.
        elif key not in blind.get(table, ()) and may_act(run.partition, table, key):
            needed.setdefault(table, {})[key] = None
