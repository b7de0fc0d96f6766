"""What PutItem, DeleteItem and UpdateItem mean: DynamoDB's meaning, as data.

A PutItem's data is the whole item and a DeleteItem has none, so neither looks at what was there;
the fold takes both without decoding them. An UpdateItem is a map of sections, each a map of
top-level attributes (``Remove`` a list of their names), no attribute in two of them:

=======  ==================================================================================
Set      the attribute becomes the value
Remove   the attribute is gone; one that is not there is none the less
Add      a number is added to a number, an absent one counts as 0; a set is united with a set
         of its kind, an absent one counts as empty; anything else is refused
Delete   the members are taken from a set of their kind, and a set without members is gone; an
         absent one stays absent; anything else is refused
=======  ==================================================================================

On an absent or deleted item an UpdateItem creates it with key and attributes. Key attributes
cannot be updated. Arithmetic is exact whatever the caller's decimal context, and a result that
needs more than 38 digits is refused, not rounded.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
"""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact
from functools import lru_cache
from typing import Any

from binlog.errors import RefusedError, TooLargeError
from binlog.numbers import canonical_number
from binlog.values import ITEM_BYTES_FREE, RESERVED_ATTRIBUTE, decode_value, item_size

ACTIONS_VERSION = 1
"""Part of every fingerprint; raised when the meaning of an action changes."""

SIZE_FACTOR = 4
"""No item is larger by DynamoDB's count than this many times its canonical bytes: an element of a
list costs 1 more than its value, the smallest (an empty container) 3, in one canonical byte."""
_SHORT = 10**18
GROWTH_FACTOR = 12
"""No UpdateItem lets an item grow by more than this many times its data's canonical bytes: beside
what it carries, `SIZE_FACTOR`, a sum may have 22 bytes, in an Add of 3 bytes at least."""

# The widest sum, 9.9E+125 + 1E-130, has 256 digits: never inexact.
_EXACT = Context(prec=300, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])


def fixed_names(key: bytes) -> frozenset[str]:
    """The attributes that no UpdateItem of the item with this key may name.

    Raises:
        DamageError, RefusedError: not the bytes of a key.
    """
    global _recent  # noqa: PLW0603 (replaced as a whole: any thread may)
    # One attribute with a name below 32 bytes begins with a byte for the map and the name: the
    # many keys of a table begin alike.
    begin, names = _recent
    if key.startswith(begin):
        return names
    if len(key) > 2 and key[0] == 0x81 and 0xA0 < key[1] <= 0xBF:
        begin = key[: key[1] - 0x9E]
        names = _fixed_with(begin[2:])
        _recent = begin, names
        return names
    named = decode_value(key)
    if type(named) is not dict:
        raise RefusedError("the key is no map")
    return _FIXED.union(named)


@lru_cache(maxsize=1_024)
def _fixed_with(name: bytes) -> frozenset[str]:
    # Bytes that are no text are no attribute's name, so they keep nothing.
    return _FIXED.union({name.decode(errors="surrogateescape")})


def change_item(item: dict[str, Any] | None, change: Any, key: bytes) -> dict[str, Any]:
    """The item after an UpdateItem with the data ``change``; ``None`` where there was none.

    ``item`` is left alone; ``key`` are the canonical bytes of its key.

    Publish refuses what can be refused without the item; here it is refused again, since a log may
    have been written by other hands.

    Raises:
        RefusedError: no such sections, an attribute twice, of the key or reserved, an operand that
            does not fit what the item has, or a sum of more than 38 digits.
    """
    if type(change) is not dict:
        raise RefusedError(_NO_CHANGE)
    taken = fixed_names(key)
    left = len(change)
    after: dict[str, Any] = decode_value(key) if item is None else item
    content: Any
    for section, content in change.items():
        kind = type(content)
        if kind is not _CONTENTS.get(section):
            raise RefusedError(_NO_CHANGE)
        if section == "Remove":
            _check_removed(content)
        if not taken.isdisjoint(content):
            raise _name_taken(min(taken.intersection(content)), fixed_names(key))
        left -= 1
        if left:
            taken = taken.union(content)
        if section == "Set":
            after = {**after, **content}  # half the time of a copy and an update
            continue
        if after is item:
            after = item.copy()
        if section == "Add":
            for name, operand in content.items():
                present = after.get(name)
                if type(operand) is int and type(present) is int:
                    total = present + operand
                    after[name] = total if -_SHORT < total < _SHORT else canonical_number(total)
                else:
                    after[name] = _add(name, operand, after)
        elif section == "Remove":
            for name in content:
                after.pop(name, None)
        else:
            for name, operand in content.items():
                rest = _delete(name, operand, after)
                if rest:
                    after[name] = rest
                else:
                    after.pop(name, None)
    return after


def check_size(item: dict[str, Any]) -> int:
    """The item's exact size in bytes, if it is within the limit.

    Raises:
        TooLargeError: above `ITEM_BYTES_FREE`.
    """
    size = item_size(item)
    if size > ITEM_BYTES_FREE:
        raise TooLargeError(
            f"the item would have {size} bytes, the limit is {ITEM_BYTES_FREE}",
            size=size,
            limit=ITEM_BYTES_FREE,
        )
    return size


_NO_CHANGE = "an UpdateItem whose data is no map of Set, Remove, Add and Delete"
_CONTENTS: dict[str, type] = {"Set": dict, "Remove": list, "Add": dict, "Delete": dict}
_FIXED = frozenset({RESERVED_ATTRIBUTE, ""})
_recent = (b"\xc1", _FIXED)  # how the last key began, and what `fixed_names` said; no key begins so
_ADDABLE = frozenset({"a number", "a string set", "a number set", "a binary set"})
_SETS = _ADDABLE - {"a number"}


def _kind(value: object) -> str:
    if type(value) is int or type(value) is Decimal:
        return "a number"
    if type(value) is frozenset:
        member = next(iter(value))  # decoding refuses empty sets and mixed ones are never encoded
        return f"a {'string' if type(member) is str else _BINARY_OR[type(member) is bytes]} set"
    return type(value).__name__


_BINARY_OR = ("number", "binary")
_NAMES = {"str": "a string", "bytes": "a binary", "bool": "a boolean", "NoneType": "null"}


def _named(value: object) -> str:
    kind = _kind(value)
    return _NAMES.get(kind, kind if kind.startswith("a ") else f"a {kind.replace('dict', 'map')}")


def _name_taken(name: str, fixed: frozenset[str]) -> RefusedError:
    if name in _FIXED:
        return RefusedError(f"the attribute name {name!r} is reserved", attribute=name)
    if name in fixed:
        return RefusedError(f"the key attribute {name!r} cannot be updated", attribute=name)
    return RefusedError(f"the attribute {name!r} is in two sections", attribute=name)


def _check_removed(content: list[Any]) -> None:
    for name in content:
        if type(name) is not str:
            raise RefusedError(f"Remove takes names, not {_named(name)}")
    if len(content) > 1 and len(set(content)) < len(content):
        raise RefusedError("Remove names an attribute twice")


def _add(name: str, operand: Any, item: dict[str, Any]) -> Any:
    kind = _kind(operand)
    if kind not in _ADDABLE:
        raise RefusedError(f"Add {name!r}: {_named(operand)} is no number and no set")
    if name not in item:
        return operand
    present = item[name]
    if kind != _kind(present):
        raise RefusedError(f"Add {name!r}: {kind} cannot be added to {_named(present)}")
    if kind in _SETS:
        return present | operand
    return canonical_number(_EXACT.add(Decimal(present), Decimal(operand)))


def _delete(name: str, operand: Any, item: dict[str, Any]) -> Any:
    """What is left of the set; nothing if it is not there."""
    kind = _kind(operand)
    if kind not in _SETS:
        raise RefusedError(f"Delete {name!r}: {_named(operand)} is no set")
    if name not in item:
        return None
    present = item[name]
    if kind != _kind(present):
        raise RefusedError(f"Delete {name!r}: {kind} cannot be taken from {_named(present)}")
    return present - operand
