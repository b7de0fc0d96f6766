"""What tables have to hold, written from the specification: plain dicts, one event at a time.

* PutItem: the item becomes the data. DeleteItem: a tombstone, also where nothing was.
* UpdateItem: on nothing or a tombstone it begins with the key. ``Set``; ``Remove``; ``Add`` to a
  number (nothing counts as 0) or a set of the same kind (nothing counts as empty); ``Delete``
  members from a set of the same kind, a set without members is gone.
* An expected version is compared with the item's, 0 where there is none or it is deleted; where
  it differs nothing moves and it is noted once.
* Every other event that an item takes moves its version to the event's offset.
* An event that does not fit the item is poison: everything stops there.

Numbers are `Decimal` throughout, so that nothing is shared with the code's short ways for ints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any

from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.values import decode_value, encode_value

_SUM = Context(prec=400)
DIGITS = 38
LEADING_MIN, LEADING_MAX = -130, 125  # exponent of the first digit


class Poison(Exception):  # noqa: N818  (an answer, not a failure)
    """No applier can apply it."""


@dataclass(frozen=True)
class Cell:
    """An item as the specification sees it; ``item`` is None where it was deleted."""

    version: int
    partition: int
    item: dict[str, Any] | None


@dataclass(frozen=True)
class Refused:
    """An expectation that was not met."""

    partition: int
    offset: int
    table: str
    key: bytes
    id: str
    expected: int
    found: int


@dataclass
class Tables:
    """All tables of a log."""

    cells: dict[tuple[str, bytes], Cell] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    poison: tuple[int, int] | None = None  # (partition, offset)

    def apply(self, partition: int, offset: int, event: Envelope) -> None:
        """Take one event.

        Raises:
            Poison: it does not fit; nothing changed.
        """
        if event.type not in (PUT_ITEM, DELETE_ITEM, UPDATE_ITEM):
            return
        place = event.table, event.key
        before = self.cells.get(place)
        there = None if before is None else before.item
        if event.expect is not None:
            found = 0 if before is None or there is None else before.version
            if found != event.expect:
                self.refused.append(
                    Refused(
                        partition, offset, event.table, event.key, event.id, event.expect, found
                    )
                )
                return
        self.cells[place] = Cell(offset, partition, _after(there, event))

    def rows(self, table: str) -> dict[bytes, tuple[int, int, bytes | None]]:
        """By key: version, partition, canonical bytes of the item (None: a tombstone)."""
        return {
            key: (
                cell.version,
                cell.partition,
                None if cell.item is None else encode_value(cell.item),
            )
            for (name, key), cell in self.cells.items()
            if name == table
        }

    def names(self) -> set[str]:
        """Tables that any event was meant for, refused ones too."""
        return {table for table, _ in self.cells} | {r.table for r in self.refused}


def _after(item: dict[str, Any] | None, event: Envelope) -> dict[str, Any] | None:
    if event.type == DELETE_ITEM:
        return None
    assert event.data is not None
    data = decode_value(event.data)
    if event.type == PUT_ITEM:
        return dict(data)
    after = dict(decode_value(event.key)) if item is None else dict(item)
    for name, value in data.get("Set", {}).items():
        after[name] = value
    for name in data.get("Remove", ()):
        after.pop(name, None)
    for name, value in data.get("Add", {}).items():
        after[name] = _added(after.get(name), value)
    for name, members in data.get("Delete", {}).items():
        if name in after:
            left = _set_of_kind(after[name], members) - members
            if left:
                after[name] = left
            else:
                del after[name]
    return after


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _added(present: object, value: Any) -> object:
    if isinstance(value, frozenset):
        return value if present is None else _set_of_kind(present, value) | value
    if present is not None and not _is_number(present):
        raise Poison("a number added to something else")
    total = _SUM.add(Decimal(present or 0), Decimal(value))  # type: ignore[arg-type]
    if len("".join(map(str, total.as_tuple().digits)).strip("0")) > DIGITS:
        raise Poison("more than 38 digits")
    if total and not LEADING_MIN <= total.adjusted() <= LEADING_MAX:
        raise Poison("out of range")
    return total


def _set_of_kind(present: object, members: frozenset[Any]) -> frozenset[Any]:
    if not isinstance(present, frozenset) or _kind(present) != _kind(members):
        raise Poison("not a set of that kind")
    return present


def _kind(members: frozenset[Any]) -> str:
    member = next(iter(members))
    return "number" if _is_number(member) else type(member).__name__
