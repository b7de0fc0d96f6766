"""Events, items and differences in words, and as source code that makes them again.

Two forms, for two readers. What is *said* is short, for a story: texts lose their quotes where
nothing else could be meant, and long ones their middle. *Code* is exact, for a test to paste: it
makes the same envelope, byte for byte, with the functions of `binlog.changes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from binlog.changes import delete_item, event, put_item, update_item
from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.errors import BinlogError, DamageError
from binlog.values import decode_value, encode_value

_TEXT_MAX = 60  # characters of a text that a story shows
_VALUE_MAX = 400  # characters of a whole value
_DIFFERENCES_MAX = 20  # lines
# Shown without quotes: nobody takes it for a number, a constant or a container.
_BARE = re.compile(r"[^\W\d][\w.@/-]*", re.ASCII)
_CONSTANTS = frozenset({"None", "True", "False"})
_MISSING = object()


def say_event(envelope: Envelope) -> str:
    """One line: ``OrderPaid of orders {id: a}: {by: card}``."""
    schema = f" (schema {envelope.schema})" if envelope.schema != 1 else ""
    table = f" of {envelope.table}" if envelope.table else ""
    parts = [f"{envelope.type}{schema}{table} {say_key(envelope.key)}"]
    if envelope.data is not None:
        parts.append(f": {_say_bytes(envelope.data)}")
    if envelope.expect is not None:
        parts.append(f", expecting version {envelope.expect}")
    if envelope.meta is not None:
        parts.append(f", meta {_say_bytes(envelope.meta)}")
    return "".join(parts)


def say_key(key: bytes) -> str:
    """A key from its canonical bytes: ``{id: a}``."""
    return _say_bytes(key)


def say_item(item: Mapping[str, Any] | None) -> str:
    """An item, or that there is none."""
    return "no item" if item is None else say_value(item)


def say_value(value: object) -> str:
    """Any value of the model, short enough for a line."""
    text = _said(value)
    if len(text) <= _VALUE_MAX:
        return text
    return f"{text[: _VALUE_MAX - 40]} ... ({len(text)} characters in all)"


def event_code(envelope: Envelope) -> str:
    """Python source that makes ``envelope`` again, byte for byte, id and time included.

    It needs what `imports_of_code` names.
    """
    try:
        code, made = _build(envelope)
    except (BinlogError, KeyError, TypeError):
        return _by_hand(envelope)
    return code if made == envelope else _by_hand(envelope)


def value_code(value: object) -> str:
    """A Python literal of a value of the model, the same for equal values."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Decimal):
        return f'Decimal("{value}")'
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_quoted(name)}: {value_code(v)}" for name, v in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_code, value))}]"
    if isinstance(value, set | frozenset):
        return f"frozenset({{{', '.join(map(value_code, _in_order(value)))}}})"
    return repr(value)


def imports_of_code(code: str) -> list[str]:
    """The import lines that ``code`` of this module needs, sorted."""
    changes = [name for name in _CHANGES if re.search(rf"(?<![\w.\"']){name}\(", code)]
    lines = []
    if re.search(r"\bDecimal\(", code):
        lines.append("from decimal import Decimal")
    if changes:
        lines.append(f"from binlog.changes import {', '.join(changes)}")
    if re.search(r"\bEnvelope\(", code):
        lines.append("from binlog.envelope import Envelope")
    return sorted(lines)


def differences(expected: object, found: object) -> list[str]:
    """What differs, one line an attribute: ``lines[2].price: expected 3, found 4``.

    Numbers are compared by value; maps by name, lists by place, sets by member. Nothing if both
    are the same value. At most `_DIFFERENCES_MAX` lines, and one that says how many more.
    """
    lines = list(_differences("", expected, found))
    if len(lines) > _DIFFERENCES_MAX:
        more = len(lines) - _DIFFERENCES_MAX
        lines[_DIFFERENCES_MAX:] = [f"and {more} more differences"]
    return lines


# -- said ----------------------------------------------------------------------------------------


def _said(value: object) -> str:
    if isinstance(value, str):
        if len(value) > _TEXT_MAX:
            half = _TEXT_MAX // 2
            return f"{_quoted(value[:half])}...{_quoted(value[-10:])} ({len(value)} characters)"
        bare = _BARE.fullmatch(value) and value not in _CONSTANTS
        return value if bare else _quoted(value)
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, int | Decimal):
        return f"{value}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_said(name)}: {_said(v)}' for name, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_said, value))}]"
    if isinstance(value, set | frozenset):
        return f"set({', '.join(map(_said, _in_order(value)))})"
    if isinstance(value, bytes) and len(value) > _TEXT_MAX:
        return f"{value[:20]!r}... ({len(value)} bytes)"
    return repr(value)


def _say_bytes(data: bytes) -> str:
    try:
        return say_value(decode_value(data))
    except DamageError:
        return f"bytes that are no value ({data[:20]!r})"


def _quoted(text: str) -> str:
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown else shown


def _in_order(members: Iterable[object]) -> list[object]:
    """Members of a set in an order that the hash seed does not decide."""
    try:
        return sorted(members, key=encode_value)
    except BinlogError:  # what no item can hold; shown all the same
        return sorted(members, key=repr)


# -- code ----------------------------------------------------------------------------------------

_CHANGES = ("delete_item", "event", "put_item", "update_item")


def _build(envelope: Envelope) -> tuple[str, Envelope]:
    """The code, and the envelope that the same call makes."""
    key = decode_value(envelope.key)
    data = None if envelope.data is None else decode_value(envelope.data)
    options: dict[str, Any] = {"event_id": envelope.id}
    if envelope.expect is not None:
        options["expect"] = envelope.expect
    if envelope.meta is not None:
        options["meta"] = decode_value(envelope.meta)
    options["now_ms"] = envelope.time_ms
    args: list[Any]
    if envelope.type == PUT_ITEM:
        # Canonical bytes do not tell which attribute is the first: the longer one is given the
        # room.
        names = sorted(key, key=lambda name: -len(encode_value(key[name])))
        args = [envelope.table, data]
        options = {"key": names[0] if len(names) == 1 else names, **options}
        return _call("put_item", args, options), put_item(*args, **options)
    if envelope.type == DELETE_ITEM:
        args = [envelope.table, key]
        return _call("delete_item", args, options), delete_item(*args, **options)
    if envelope.type == UPDATE_ITEM:
        args = [envelope.table, key, data]
        return _call("update_item", args, options), update_item(*args, **options)
    args = [envelope.type, key] if data is None else [envelope.type, key, data]
    if envelope.table:
        options = {"table": envelope.table, **options}
    if envelope.schema != 1:
        options = {"schema": envelope.schema, **options}
    return _call("event", args, options), event(*args, **options)


def _call(name: str, args: Iterable[object], options: Mapping[str, object]) -> str:
    parts = [value_code(arg) for arg in args]
    parts += [f"{option}={value_code(value)}" for option, value in options.items()]
    return f"{name}({', '.join(parts)})"


def _by_hand(envelope: Envelope) -> str:
    """For what `binlog.changes` does not make: a control event, bytes of other hands."""
    fields = ((name, getattr(envelope, name)) for name in Envelope.__struct_fields__)
    return f"Envelope({', '.join(f'{name}={value!r}' for name, value in fields)})"


# -- differences ---------------------------------------------------------------------------------


def _differences(path: str, expected: object, found: object) -> Iterable[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name in dict.fromkeys([*expected, *found]):
            inner = _joined(path, name)
            yield from _differences(inner, expected.get(name, _MISSING), found.get(name, _MISSING))
    elif isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        for place in range(max(len(expected), len(found))):
            yield from _differences(
                f"{path}[{place}]",
                expected[place] if place < len(expected) else _MISSING,
                found[place] if place < len(found) else _MISSING,
            )
    elif isinstance(expected, set | frozenset) and isinstance(found, set | frozenset):
        for member in _in_order(expected - found):
            yield f"{_place(path)}: {say_value(member)} is missing"
        for member in _in_order(found - expected):
            yield f"{_place(path)}: {say_value(member)} should not be there"
    elif expected is _MISSING:
        yield f"{_place(path)}: should not be there, found {say_value(found)}"
    elif found is _MISSING:
        yield f"{_place(path)}: missing, expected {say_value(expected)}"
    elif not _same(expected, found):
        said, met = _pair(expected, found, whole=not path)
        yield f"{_place(path)}: expected {said}, found {met}"


def _joined(path: str, name: object) -> str:
    text = _said(name)
    return f"{path}.{text}" if path else text


def _place(path: str) -> str:
    return path or "the item"


def _pair(expected: object, found: object, *, whole: bool) -> tuple[str, str]:
    """Both in words that differ: with their types where their texts are alike."""
    if whole:
        sides = ["no item" if side is None else say_value(side) for side in (expected, found)]
    else:
        sides = [say_value(expected), say_value(found)]
    if sides[0] != sides[1] and _family(expected) is _family(found):
        return _around(expected, found) or (sides[0], sides[1])
    if sides[0] != sides[1] and None in (expected, found):
        return sides[0], sides[1]
    return f"{sides[0]} ({_type_named(expected)})", f"{sides[1]} ({_type_named(found)})"


def _around(expected: object, found: object) -> tuple[str, str] | None:
    """Two long texts from shortly before the place where they part."""
    if not (isinstance(expected, str) and isinstance(found, str)):
        return None
    if max(len(expected), len(found)) <= _TEXT_MAX:
        return None
    length = min(len(expected), len(found))
    at = next((i for i in range(length) if expected[i] != found[i]), length)
    first = max(0, at - 10)
    shown = [_quoted(side[first : first + _TEXT_MAX]) for side in (expected, found)]
    return f"{shown[0]} (from character {first})", shown[1]


def _same(expected: object, found: object) -> bool:
    return _family(expected) is _family(found) and expected == found


def _family(value: object) -> object:
    """Values of two families are never the same: ``True == 1`` in Python, not in an item."""
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | Decimal):
        return Decimal
    return next((family for family, kinds in _FAMILIES if isinstance(value, kinds)), type(value))


_FAMILIES: tuple[tuple[object, tuple[type, ...]], ...] = (
    (str, (str,)),
    (bytes, (bytes,)),
    (Mapping, (Mapping,)),
    (list, (list, tuple)),
    (frozenset, (set, frozenset)),
)
_NAMES: dict[object, str] = {
    Decimal: "a number",
    bool: "a boolean",
    str: "text",
    bytes: "binary",
    list: "a list",
    Mapping: "a map",
    frozenset: "a set",
    float: "a float",
    type(None): "null",
}


def _type_named(value: object) -> str:
    family = _family(value)
    return _NAMES.get(family) or f"of type {type(value).__name__}"
