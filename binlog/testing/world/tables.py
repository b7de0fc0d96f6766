"""What tables have to hold, written from the specification: one event at a time, each by itself.

* PutItem: the item becomes the data. DeleteItem: a tombstone, also where nothing was.
* UpdateItem: on nothing or a tombstone it begins with the key. ``Set``; ``Remove``; ``Add`` to a
  number (nothing counts as 0) or a set of the same kind (nothing counts as empty); ``Delete``
  members from a set of the same kind, a set without members is gone. No attribute in two of them,
  none of the key.
* An event of the user's goes, by each rule for its type, to the items that the rule's ``key`` or
  ``keys`` name, or to the one of its own key. Its data are brought up to date by the upcasters of
  all versions from its own. The item becomes what the applier returns, a tombstone for None.
* Transforms are laid on an event first, and what they cannot be laid on is poison (`transformed`).
* An item may be touched by events of its owner's partition only.
* An expected version is compared with the item's, 0 where there is none or it is deleted; where
  it differs nothing moves and it is noted once.
* Every other event that an item takes moves its version to the event's offset.
* An event that does not fit an item is poison: nothing of it is applied, and nothing behind it in
  its partition may be. Where tables ``park``, that item is as it was from then on, and every later
  event for it waits, whatever it expects; other items, of the same event too, take it as ever. An
  event that has no item of its own (it names no table, its keys cannot be told, the item is another
  partition's) stands alone, and nothing waits behind it.

Nothing is shared with `appliers.fold` and what it calls but the canonical bytes of values: no
batches, no runs, no plans, no short ways; numbers are added as `Decimal`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

from appliers.applier import NO_RULES, Rule, Rules
from appliers.transform import TableTransform
from binlog.envelope import CONTROL_PREFIX, DELETE_ITEM, ITEM_TYPES, PUT_ITEM, Envelope
from binlog.fields import check_table, encode_key
from binlog.partition import ordering_key, partition_of
from binlog.testing.world.cell import Cell, Poison, updated
from binlog.testing.world.transformed import (
    declared_for,
    key_back,
    new_action,
    new_delivery,
    new_key,
    source_of,
)
from binlog.testing.world.user_code import Asked, Delivery
from binlog.values import decode_value

__all__ = ["Cell", "Place", "Poison", "Refused", "Tables"]

Place: TypeAlias = tuple[str, bytes]  # table and canonical key


class Refused(msgspec.Struct, frozen=True):
    """An expectation that was not met."""

    partition: int
    offset: int
    table: str
    key: bytes
    id: str
    expected: int
    found: int


class Homeless(Poison):
    """Poison that has no item of its own."""


class Tables:
    """All tables of a log, by the user's rules; built-in actions need none."""

    def __init__(
        self, rules: Rules = NO_RULES, partitions: int = 1, *, parks: bool = False
    ) -> None:
        self.rules = rules
        self.parks = parks
        self.waiting: dict[Place, list[tuple[int, int]]] = {}
        """Of each item that is parked the events that wait: partition and offset, in order."""
        self.alone: list[tuple[str, int, int]] = []
        """Events that stand alone: table, partition and offset."""
        self.partitions = partitions
        self.cells: dict[str, dict[bytes, Cell]] = {}
        """By table and key: every item that was ever touched."""
        self.refused: list[Refused] = []
        self.vector: dict[int, int] = {}
        """The last offset of each partition that was applied."""

    # -- in ----------------------------------------------------------------------------------

    def apply(
        self,
        partition: int,
        offset: int,
        event: Envelope,
        arrival_ms: int = 0,
        session: object = "",
        number: int = 0,
    ) -> tuple[Place, ...]:
        """Take one event; the items whose version it moved, in the order of rules and keys.

        ``arrival_ms``, ``session`` and ``number`` are what the user's functions see of the record.

        Raises:
            Poison: it does not fit; nothing changed.
            ValueError: it was applied before, or a later one of its partition.
        """
        if offset <= self.vector.get(partition, 0):
            raise ValueError(f"partition {partition}: {offset} after {self.vector[partition]}")
        kind = event.type
        if kind in ITEM_TYPES:
            moved = self._action(partition, offset, event)
        elif kind.startswith(CONTROL_PREFIX) or kind not in self.rules.by_type:
            moved = ()
        else:
            whole = Delivery(self.rules, partition, offset, event, arrival_ms, session, number)
            moved = self._rules(whole)
        self.vector[partition] = offset
        return moved

    def _action(self, partition: int, offset: int, event: Envelope) -> tuple[Place, ...]:
        declared = declared_for(self.rules, event.table)
        if declared is not None:
            try:
                event = self._placed(declared, partition, event)
            except Poison as error:
                if not self.parks:
                    raise Homeless(str(error), declared=error.declared) from error
                self._leave_alone(declared.to, partition, offset)
                return ()
        if not self.parks:
            return self._act(partition, offset, event, declared)
        where = event.table, event.key, partition, offset
        return self._park(*where, self._act, event, declared)

    def _placed(self, declared: TableTransform, partition: int, event: Envelope) -> Envelope:
        """The action with the table and key of its item, which has to be its own."""
        if partition_of(ordering_key(event.table, event.key), self.partitions) != partition:
            raise Poison("its key belongs to another partition")
        key = new_key(declared, event.key)
        source = source_of(self.rules, declared.to)
        if source is not None:
            if source.table != event.table:
                raise Poison("the table is made of another one")
        elif self._owner(declared.to, key) != (event.table, event.key):
            raise Poison("the item belongs to other events")
        return msgspec.structs.replace(event, table=declared.to, key=key)

    def _act(
        self, partition: int, offset: int, event: Envelope, declared: TableTransform | None
    ) -> tuple[Place, ...]:
        table, key = event.table, event.key
        if not table:
            raise Homeless("it names no table")
        if event.schema > 1:
            raise Poison(f"{event.type} of schema version {event.schema}")
        if declared is None:
            before = self._before(partition, table, key)
        else:
            before = self.cells.get(table, {}).get(key)
        if event.expect is not None and self._refuses(partition, offset, event, table, key, before):
            return ()
        if declared is not None:
            event = new_action(declared, event)
        data = event.data
        if event.type == DELETE_ITEM:
            if data is not None:
                raise Poison("a DeleteItem with data")
            cell = Cell(offset, partition)
        elif not data:
            raise Poison("it has no data")
        elif event.type == PUT_ITEM:
            cell = Cell(offset, partition, source=data, weight=len(data))
        else:
            cell = updated(before, partition, offset, event)
        self._set(table, key, cell)
        return ((table, key),)

    def _rules(self, event: Delivery) -> tuple[Place, ...]:
        try:
            changed = new_delivery(event)
        except Poison as error:
            if not self.parks:
                raise Homeless(str(error), declared=error.declared) from error
            self._leave_alone(event.envelope.table, event.partition, event.offset)
            return ()
        if changed is None:
            return ()
        apply = self._apply_and_park if self.parks else self._apply_rules
        return apply(self.rules.by_type[event.envelope.type], changed)

    def _apply_rules(self, rules: Iterable[Rule], event: Delivery) -> tuple[Place, ...]:
        envelope, partition, offset = event.envelope, event.partition, event.offset
        refused = len(self.refused)
        cells: dict[Place, Cell] = {}
        try:
            for rule in rules:
                table = event.table(rule)
                for key in event.keys(rule):
                    before = self._before(partition, table, key)
                    if envelope.expect is None or not self._refuses(
                        partition, offset, envelope, table, key, before
                    ):
                        cells[table, key] = event.applied(rule, key, before)
        except Poison:
            del self.refused[refused:]
            raise
        for (table, key), cell in cells.items():
            self._set(table, key, cell)
        return tuple(cells)

    def _park(
        self,
        table: str,
        key: bytes,
        partition: int,
        offset: int,
        take: Callable[..., tuple[Place, ...]],
        event: Any,
        *more: Any,
    ) -> tuple[Place, ...]:
        """One item and one event: taken, or waiting."""
        waiting = self.waiting.get((table, key))
        try:
            if waiting is None:
                return take(partition, offset, event, *more)
        except Homeless:
            self._leave_alone(table, partition, offset)
            return ()
        except Poison:
            pass
        if waiting is None:
            waiting = self.waiting[table, key] = []
        waiting.append((partition, offset))
        return ()

    def _leave_alone(self, table: str, partition: int, offset: int) -> None:
        if (table, partition, offset) not in self.alone:
            self.alone.append((table, partition, offset))

    def _apply_and_park(self, rules: Iterable[Rule], event: Delivery) -> tuple[Place, ...]:
        moved: list[Place] = []
        for rule in rules:
            table = rule.table or event.envelope.table
            try:
                keys = event.keys(rule) if table else None
            except Poison:
                keys = None
            if keys is None:
                self._leave_alone(table, event.partition, event.offset)
            for key in keys or ():
                more = (event.partition, event.offset, self._apply_rule, event, rule, table, key)
                moved += self._park(table, key, *more)
        return tuple(moved)

    def _apply_rule(
        self, partition: int, offset: int, event: Delivery, rule: Rule, table: str, key: bytes
    ) -> tuple[Place, ...]:
        before = self._before(partition, table, key)
        if event.envelope.expect is not None and self._refuses(
            partition, offset, event.envelope, table, key, before
        ):
            return ()
        self._set(table, key, event.applied(rule, key, before))
        return ((table, key),)

    def _set(self, table: str, key: bytes, cell: Cell) -> None:
        cells = self.cells.get(table)
        if cells is None:
            cells = self.cells[table] = {}
        cells[key] = cell

    def _before(self, partition: int, table: str, key: bytes) -> Cell | None:
        """The item, which belongs to events of ``partition``."""
        cells = self.cells.get(table)
        before = None if cells is None else cells.get(key)
        if before is not None and before.partition == partition:
            return before
        owner_table, owner_key = self._owner(table, key)
        if partition_of(ordering_key(owner_table, owner_key), self.partitions) != partition:
            raise Homeless("the item belongs to events of another partition")
        return before

    def _owner(self, table: str, key: bytes) -> tuple[str, bytes]:
        """Table and key of the events of an item."""
        source = source_of(self.rules, table)
        if source is not None:
            back = key_back(source, key)
            if back is None:
                raise Homeless("whose the item is cannot be told")
            return source.table, back
        if table not in self.rules.owners:
            return table, key
        with Asked(f"the owner of table {table!r}"):
            owner: object = self.rules.owners[table].owner(decode_value(key))
            if not isinstance(owner, tuple):
                raise Poison(f"the owner of table {table!r} is no pair")
            owner_table, named = owner
            if owner_table:
                check_table(owner_table)
            return owner_table, encode_key(named, None)

    def _refuses(
        self,
        partition: int,
        offset: int,
        event: Envelope,
        table: str,
        key: bytes,
        before: Cell | None,
    ) -> bool:
        """Whether the item is not as the event expects it; noted."""
        assert event.expect is not None
        found = 0 if before is None or before.deleted else before.version
        if found == event.expect:
            return False
        self.refused.append(Refused(partition, offset, table, key, event.id, event.expect, found))
        return True

    # -- out ---------------------------------------------------------------------------------

    def cell(self, table: str, key: bytes) -> Cell | None:
        """The item as it is now, tombstones too; ``None`` where nothing ever was."""
        return self.cells.get(table, {}).get(key)

    def rows(self, table: str) -> dict[bytes, tuple[int, int, bytes | None]]:
        """By key: version, partition, canonical bytes of the item (None: a tombstone)."""
        return {
            key: (cell.version, cell.partition, cell.data)
            for key, cell in self.cells.get(table, {}).items()
        }

    def marked_rows(self, table: str) -> dict[bytes, tuple[int, int, bytes | None, bool, int]]:
        """By key: the same, whether it is parked, and the last offset that waits."""
        found = {key: (*row, False, 0) for key, row in self.rows(table).items()}
        for (name, key), waiting in self.waiting.items():
            if name == table:
                version, _, data = found.get(key, (0, 0, None, False, 0))[:3]
                found[key] = (version, waiting[0][0], data, True, waiting[-1][1])
        return found

    def names(self) -> set[str]:
        """Tables that any event was meant for, refused ones too."""
        named = {refused.table for refused in self.refused} | {table for table, _ in self.waiting}
        return {*self.cells, *named, *(table for table, _, _ in self.alone if table)}

    def __iter__(self) -> Iterator[tuple[str, bytes, Cell]]:
        """Every item of every table, tombstones too."""
        for table, cells in self.cells.items():
            for key, cell in cells.items():
                yield table, key, cell
