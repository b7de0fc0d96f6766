"""An item at one version, and what an UpdateItem makes of it: the part of `tables` about one item.

Numbers are added as `Decimal`, so that nothing is shared with the code's short ways for ints.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact
from typing import Any

from binlog.envelope import Envelope
from binlog.errors import BinlogError
from binlog.values import (
    ITEM_BYTES_FREE,
    RESERVED_ATTRIBUTE,
    decode_value,
    encode_value,
    item_size,
)

# 38 digits, and a sum that needs more is an error: the bound itself does the counting.
_SUM = Context(prec=38, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])
LEADING_MIN, LEADING_MAX = -130, 125  # exponent of the first digit
_SECTIONS: dict[str, type] = {"Set": dict, "Remove": list, "Add": dict, "Delete": dict}
# By DynamoDB's count an item has at most this many times its canonical bytes, and grows by at most
# that many times the bytes of an UpdateItem. (Below the limit by these the size is not taken.)
_SIZE_FACTOR = 4
_GROWTH_MAX = 12


class Poison(Exception):  # noqa: N818  (an answer, not a failure)
    """An event that no applier can apply.

    ``declared`` says whether the user's code said so itself, with an `ApplierError`.
    """

    def __init__(self, reason: str, *, declared: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.declared = declared


class Cell:
    """An item at one version; never changed, the next version is another cell."""

    __slots__ = ("_data", "_item", "_source", "deleted", "partition", "version", "weight")

    def __init__(
        self,
        version: int,
        partition: int,
        *,
        item: dict[str, Any] | None = None,
        source: bytes | None = None,
        data: bytes | None = None,
        weight: int = 0,
    ) -> None:
        """``item``, or ``source``, bytes that it can be decoded from; neither: deleted.

        ``data`` are its canonical bytes where they are known. ``weight`` bounds its size.
        """
        self.version = version
        self.partition = partition
        self.deleted = item is None and source is None
        self.weight = weight
        self._item = item
        self._source = source
        self._data = data

    @property
    def item(self) -> Any:
        """The item, ``None`` if it is deleted. Shared: not to be changed."""
        if self._item is None and self._source is not None:
            self._item = decode_value(self._source)
        return self._item

    @property
    def data(self) -> bytes | None:
        """Canonical bytes of the item, ``None`` if it is deleted."""
        if self._data is None and not self.deleted:
            self._data = encode_value(self.item, outer=1)
        return self._data

    def __repr__(self) -> str:
        return f"Cell({self.version}, {self.partition}, {self.item!r})"


def updated(before: Cell | None, partition: int, offset: int, event: Envelope) -> Cell:
    """The item after an UpdateItem.

    Raises:
        Poison: it does not fit.
    """
    assert event.data is not None
    try:
        change = decode_value(event.data)
        key = decode_value(event.key)
        item = None if before is None else before.item
    except BinlogError as error:
        raise Poison(error.what) from error
    if type(key) is not dict or (item is not None and type(item) is not dict):
        raise Poison("no map")
    weight = _GROWTH_MAX * len(event.data)
    weight += len(event.key) if before is None or item is None else before.weight
    after = _changed(key if item is None else item, change, key)
    if weight * _SIZE_FACTOR > ITEM_BYTES_FREE:
        size = item_size(after)
        if size > ITEM_BYTES_FREE:
            raise Poison("the item would be too large")
        weight = size // _SIZE_FACTOR + 1
    return Cell(offset, partition, item=after, weight=weight)


def _changed(item: dict[str, Any], change: Any, key: dict[str, Any]) -> dict[str, Any]:
    if type(change) is not dict:
        raise Poison("no map of sections")
    taken = {*key, RESERVED_ATTRIBUTE, ""}
    for section, content in change.items():
        if type(content) is not _SECTIONS.get(section):
            raise Poison(f"no section: {section}")
        names: Any = content
        for name in names:
            if type(name) is not str or name in taken:
                raise Poison(f"{name!r} is no attribute of its own that may be updated")
            taken.add(name)
    after = dict(item)
    after.update(change.get("Set", ()))
    for name in change.get("Remove", ()):
        after.pop(name, None)
    for name, value in change.get("Add", _NONE).items():
        after[name] = _added(after[name], value) if name in after else _addable(value)
    for name, members in change.get("Delete", _NONE).items():
        if type(members) is not frozenset:
            raise Poison("what is to be deleted is no set")
        if name in after:
            left = _set_of_kind(after[name], members) - members
            if left:
                after[name] = left
            else:
                del after[name]
    return after


_NONE: dict[str, Any] = {}


def _is_number(value: object) -> bool:
    return type(value) is int or type(value) is Decimal


def _addable(value: object) -> object:
    if type(value) is not frozenset and not _is_number(value):
        raise Poison("what is to be added is no number and no set")
    return value


def _added(present: Any, value: Any) -> object:
    if type(_addable(value)) is frozenset:
        return _set_of_kind(present, value) | value
    if not _is_number(present):
        raise Poison("a number added to something else")
    try:
        total = _SUM.add(Decimal(present), Decimal(value))
    except Inexact:
        raise Poison("more than 38 digits") from None
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
