"""The fold: runs of events in, at most one row or write an item out (I3).

Invariants:

* an item's entry is ``(version, content)``, the canonical fold of its events up to the version;
* every event routed to an item, and neither rejected nor excluded, moves its version, whatever
  else it changes; a delete, or a fold to None, leaves a tombstone, also where nothing was;
* an event at or below the entry's version is in it already, and changes nothing;
* an item's events come from one partition (`appliers.ownership`), so entries are kept by
  partition, and partitions may be folded in any order or by different folds.

The content is canonical bytes, or, after an UpdateItem, the decoded item with a bound of its size,
``(version, item, size)``: encoded when somebody asks for it, which for most never happens because
a later event replaces it. PutItem and DeleteItem are not decoded at all. Per event of a frame that
holds nothing else there is one tuple and one insertion into a dict; everything that can be is
decided once a frame.

Nothing here reads or writes a store: `appliers.batch` folds onto one, a rebuild onto nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, TypeAlias

import msgspec

from appliers.actions import GROWTH_FACTOR, SIZE_FACTOR, change_item, check_size
from appliers.applier import Rule
from appliers.item import Rejection, Row
from appliers.poison import poison, readable_key, reason_of
from appliers.routing import Op, Plan, Routing
from appliers.user_rules import apply_rule, check_owner, keys_of
from binlog.errors import DamageError, RefusedError, UpgradeError
from binlog.run import Run
from binlog.values import ITEM_BYTES_FREE, decode_value, encode_item
from binlog.vector import version_of

Entry: TypeAlias = "tuple[int, bytes | None] | tuple[int, dict[str, Any], int]"
Items: TypeAlias = "dict[bytes, Entry]"

_ABSENT: Entry = (0, None)
_PUT, _DELETE, _UPDATE, _APPLY = Op.PUT, Op.DELETE, Op.UPDATE, Op.APPLY
_ONLY_PUTS = (_PUT,)


class Counts(msgspec.Struct):
    """Of events. ``events`` are all but control events, and the sum of the three after it."""

    events: int = 0
    routed: int = 0  # to one item or several; rejected ones are among them
    unrouted: int = 0  # no applier takes them, or their table is not wanted
    excluded: int = 0
    rejected: int = 0  # their expected version was not the item's
    control: int = 0


class Fold:
    """Items being folded. After an error it is incomplete: throw it away.

    ``after`` says where each partition's runs begin, a partition left out at 0; ``None`` lets the
    first run of each say it. From there on runs have to follow each other without a gap.
    """

    def __init__(self, routing: Routing, *, after: Mapping[int, int] | None = {}) -> None:
        self.routing = routing
        self.counts = Counts()
        self.rejections: list[Rejection] = []
        """Found so far; whoever takes them away may clear the list."""
        self.types: set[str] = set()
        """Of the domain events met, whether an applier took them or not."""
        self._met: set[str] = set()
        self._after = after
        self._reached: dict[int, int] = dict(after or {})
        self._items: dict[int, dict[str, Items]] = {}
        self._bases: dict[int, dict[str, dict[bytes, int]]] = {}
        self._base_max: dict[int, int] = {}

    # -- in ----------------------------------------------------------------------------------

    def preload(self, partition: int, table: str, rows: Mapping[bytes, Row | None]) -> None:
        """Begin these items at what a store holds, ``None``: nothing. Before their first event.

        Raises:
            MismatchError: a row that events of another partition made.
            UpgradeError: a parked row; this version cannot continue it.
        """
        items = self._items_of(partition, table)
        bases = self._bases.setdefault(partition, {}).setdefault(table, {})
        for key, row in rows.items():
            if row is None:
                items[key] = _ABSENT
                bases[key] = 0
                continue
            if row.parked:
                raise UpgradeError(
                    f"the item {readable_key(key)[1]} of {table} is parked",
                    f"partition {partition}",
                    "upgrade binlog: this version cannot continue parked items",
                )
            items[key] = (row.version, row.data)
            bases[key] = row.version
            if row.version > self._base_max.get(partition, 0):
                self._base_max[partition] = row.version

    def add(self, run: Run) -> None:
        """Fold the events of ``run``.

        Raises:
            PoisonError: an event that cannot be applied, the first of the run.
            UpgradeError: a schema version that the rules do not know.
            ValueError: the run does not follow the one before it.
        """
        columns = run.columns
        partition = run.partition
        reached = self._reached.get(partition)
        if reached is None:
            reached = run.first_offset - 1 if self._after is None else 0
        if run.first_offset != reached + 1:
            raise ValueError(
                f"partition {partition}: offset {run.first_offset} cannot follow {reached}"
            )
        self._reached[partition] = reached + len(columns.index)
        routing = self.routing
        plan = routing.plan(columns.kinds)
        skipped = None if routing.exclusions is None else routing.exclusions.matches(run)
        first = version_of(routing.params.timeline, run.first_offset)
        if (
            plan.actions_only
            and columns.expects is None
            and skipped is None
            and first > self._base_max.get(partition, 0)
        ):
            self._add_actions(run, plan, first)
        else:
            self._add_each(run, plan, first, skipped or frozenset())

    def _add_actions(self, run: Run, plan: Plan, first: int) -> None:
        """The common frame: puts, deletes and updates, none conditional or applied before."""
        columns = run.columns
        index, keys, datas, ops = columns.index, columns.keys, columns.datas, plan.ops
        count = len(index)
        touched: list[tuple[str, Items, int]] = []  # with the number of items before
        of_kind: list[Items] = []
        if plan.table is not None:
            items = self._items_of(run.partition, plan.table)
            touched.append((plan.table, items, len(items)))
            of_kind = [items] * len(ops)
            self._met.add(plan.table)
        else:
            for kind, table in enumerate(plan.tables):
                items = self._items_of(run.partition, table)
                # A frame's table may name kinds of which nothing was accepted.
                if kind in index and all(table != other for other, _, _ in touched):
                    touched.append((table, items, len(items)))
                    self._met.add(table)
                of_kind.append(items)
        versions = range(first, first + count)
        version = first
        try:
            if ops == _ONLY_PUTS and all(datas):
                of_kind[0].update(zip(keys, zip(versions, datas, strict=True), strict=True))
            else:
                # The one loop over every event.
                for version, kind, key, data in zip(versions, index, keys, datas, strict=True):
                    op = ops[kind]
                    if op is _PUT and data:
                        of_kind[kind][key] = (version, data)
                    elif op is _DELETE and data is None:
                        of_kind[kind][key] = (version, None)
                    else:
                        self._act(op, of_kind[kind], key, version, data)
        except (RefusedError, DamageError) as error:
            failed = version - first
            self._check_owners(run, plan, touched, failed)
            raise poison(run, failed, reason_of(error)) from error
        self._check_owners(run, plan, touched, count)
        self.counts.events += count
        self.counts.routed += count

    def _check_owners(
        self, run: Run, plan: Plan, touched: Sequence[tuple[str, Items, int]], stop: int
    ) -> None:
        """Check the keys that are new since ``touched`` was noted: the last ones of each dict.

        Raises:
            PoisonError: for the first event before ``stop`` whose item another partition owns.
        """
        ownership = self.routing.ownership
        wrong: dict[str, set[bytes]] = {}
        for table, items, before in touched:
            count = len(items) - before
            if count and (
                foreign := ownership.foreign(run.partition, table, islice(reversed(items), count))
            ):
                wrong[table] = set(foreign)
        if wrong:
            columns = run.columns
            for i in range(stop):
                table, key = plan.tables[columns.index[i]], columns.keys[i]
                if key in wrong.get(table, ()):
                    check_owner(self.routing, run, i, table=table, key=key)

    def _add_each(self, run: Run, plan: Plan, first: int, skipped: frozenset[int]) -> None:
        """Any frame, event by event."""
        counts = self.counts
        columns = run.columns
        for i, kind in enumerate(columns.index):
            op = plan.ops[kind]
            if op is Op.CONTROL:
                counts.control += 1
                continue
            counts.events += 1
            if i in skipped:
                counts.excluded += 1
                continue
            if op >= _APPLY and plan.types[kind] not in self.types:
                self.types.add(plan.types[kind])
            if op <= _UPDATE:
                counts.routed += 1
                self._fold_action(run, i, op, plan.tables[kind], first + i)
            elif op is _APPLY:
                if self._apply_rules(run, i, plan.rules[kind], first + i):
                    counts.routed += 1
                else:
                    counts.unrouted += 1
            elif op is Op.NOTHING:
                counts.unrouted += 1
            else:
                self._refuse_kind(run, i, op)

    def _refuse_kind(self, run: Run, i: int, op: Op) -> NoReturn:
        event_type, schema, _ = run.columns.kinds[run.columns.index[i]]
        if op is Op.NEWER:
            raise UpgradeError(
                f"{event_type} of schema version {schema}",
                f"partition {run.partition}, offset {run.first_offset + i}",
                "upgrade binlog",
            )
        raise poison(run, i, "it names no table")

    # -- one event ---------------------------------------------------------------------------

    def _fold_action(self, run: Run, i: int, op: Op, table: str, version: int) -> None:
        self._met.add(table)
        key = run.columns.keys[i]
        items = self._items_of(run.partition, table)
        if self._moves(run, i, items, table, key, version):
            try:
                self._act(op, items, key, version, run.columns.datas[i])
            except (RefusedError, DamageError) as error:
                raise poison(run, i, reason_of(error)) from error

    def _moves(self, run: Run, i: int, items: Items, table: str, key: bytes, version: int) -> bool:
        """Whether the event is new to an item that it may touch and that is as it expects (I5)."""
        entry = items.get(key)
        if entry is None:
            check_owner(self.routing, run, i, table=table, key=key)
            entry = _ABSENT
        if version <= entry[0]:
            return False
        expects = run.columns.expects
        expected = None if expects is None else expects[i]
        if expected is None:
            return True
        found = 0 if entry[1] is None else entry[0]
        if found == expected:
            return True
        self.counts.rejected += 1
        self.rejections.append(
            Rejection(
                run.partition, run.first_offset + i, table, key, run.columns.ids[i], expected, found
            )
        )
        return False

    def _act(self, op: Op, items: Items, key: bytes, version: int, data: bytes | None) -> None:
        """One built-in action on one item.

        Raises:
            RefusedError: the action does not fit the item, or is none.
            DamageError: the bytes are no value.
        """
        if op is _DELETE:
            if data is not None:
                raise RefusedError("a DeleteItem with data")
            items[key] = (version, None)
            return
        if not data:
            raise RefusedError("it has no data")
        if op is _PUT:
            items[key] = (version, data)
            return
        entry = items.get(key, _ABSENT)
        content = entry[1]
        if len(entry) == 3:
            item, size = content, entry[2]
        elif content is None:
            item, size = None, SIZE_FACTOR * len(key)
        else:
            item, size = decode_value(content), SIZE_FACTOR * len(content)  # type: ignore[arg-type]
            if type(item) is not dict:
                raise RefusedError("the item is no map")
        item = change_item(item, decode_value(data), key)  # type: ignore[arg-type]
        size += GROWTH_FACTOR * len(data)
        if size > ITEM_BYTES_FREE:
            size = check_size(item)
        items[key] = (version, item, size)

    def _apply_rules(self, run: Run, i: int, rules: tuple[Rule, ...], version: int) -> bool:
        """Apply the user's appliers; whether the event was routed to any item."""
        routed = False
        for rule in rules:
            table = rule.table or run.columns.kinds[run.columns.index[i]][2]
            if not table:
                raise poison(run, i, f"{rule.event_type} names no table, and its applier none")
            for key in keys_of(self.routing, run, i, rule):
                routed = True
                self._met.add(table)
                items = self._items_of(run.partition, table)
                if self._after is None and key not in items:
                    check_owner(self.routing, run, i, table=table, key=key)  # else it was read
                    # Folded from nothing it would replace what the store has.
                    reason = "its applier's key or keys are not the same each time they are asked"
                    raise poison(run, i, reason, table=table, key=key)
                if self._moves(run, i, items, table, key, version):
                    data = self.content(table, key, items.get(key, _ABSENT))
                    data = apply_rule(self.routing, run, i, rule, table=table, key=key, data=data)
                    items[key] = (version, data)
        return routed

    # -- out ---------------------------------------------------------------------------------

    @property
    def tables(self) -> frozenset[str]:
        """Every table that an event was routed to, even if it was rejected."""
        return frozenset(self._met)

    def rows(self, table: str) -> Iterator[tuple[bytes, Row]]:
        """Every item of ``table`` met, tombstones too, in no order."""
        for partition, tables in self._items.items():
            for key, entry in tables.get(table, {}).items():
                yield key, Row(entry[0], partition, self.content(table, key, entry))

    def entries(self) -> Iterator[tuple[int, str, Items, Mapping[bytes, int]]]:
        """Partition, table, its items, and the versions at which preloaded ones began."""
        for partition, tables in self._items.items():
            bases = self._bases.get(partition, {})
            for table, items in tables.items():
                yield partition, table, items, bases.get(table, {})

    def _items_of(self, partition: int, table: str) -> Items:
        try:
            return self._items[partition][table]
        except KeyError:
            return self._items.setdefault(partition, {}).setdefault(table, {})

    def content(self, table: str, key: bytes, entry: Entry) -> bytes | None:
        content = entry[1]
        if type(content) is not dict:
            return content  # type: ignore[return-value]  # the other two
        try:
            return encode_item(content)
        except RefusedError as error:
            raise DamageError(
                f"values that no producer writes ({error.what})",
                f"item {readable_key(key)[1]} of {table}, version {entry[0]}",
            ) from error
