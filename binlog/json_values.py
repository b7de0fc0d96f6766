"""Values to JSON and back: strict lines in, plain and DynamoDB JSON out.

Two forms, both with object members in the order of the canonical bytes where they come from them:

* *plain*, lossy, for people and scripts: numbers are JSON numbers with every digit (38 of them,
  0.1 is 0.1), binary is base64, a set is a sorted list;
* *dynamodb*, lossless: ``{"S": ..}``, ``{"N": "1.5"}``, ``{"B": base64}``, ``{"BOOL": ..}``,
  ``{"NULL": true}``, ``{"L": [..]}``, ``{"M": {..}}``, ``{"SS": [..]}``, ``{"NS": ..}``,
  ``{"BS": ..}``. An item is the attribute map alone, ``{"id": {"S": "a"}}``.

What is to be encoded is built as lists and dicts (`plain`, `typed`) for `encode_json`, so that a
value can stand inside a larger document. `typed_item_text` and `item_data` are the short way
between canonical bytes and DynamoDB JSON that the stores take for each item.

No dict that is a typed value (``{"M": {"a": {"S": "x"}}}``) is an attribute map as well, at any
depth: a typed value's payload is an attribute map or no object at all, an attribute's a typed
value. So `untyped_any` may accept either and never guesses.
"""

from __future__ import annotations

import json
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from binlog.errors import DamageError, RefusedError
from binlog.numbers import canonical_number, format_number, parse_number
from binlog.values import DEPTH_MAX, decode_value, encode_item

# A typed value takes two JSON containers a level, and an action line wraps its values in a few.
# The exact limit is kept where values are encoded; this one keeps recursion small before that.
_JSON_DEPTH_MAX = 2 * DEPTH_MAX + 8
_DIGITS_38 = 10**38
# Where a member may start: a closing quote and its colon. Text that starts with a colon or holds
# an escaped quote before one is counted too, never less than there are.
_MEMBERS = re.compile(rb'"[ \t\r\n]*:')

# An int of any size is written with all its digits.
_SAME_IN_JSON = frozenset({str, int, bool, type(None)})

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder(float_hook=parse_number).decode
_decode_plain_json = msgspec.json.Decoder().decode


# -- strict JSON in ------------------------------------------------------------------------------


def parse_line(line: bytes) -> Any:
    """The one JSON value in ``line``, with exact numbers (``int``, else ``Decimal``).

    Stricter than RFC 8259 where it leaves room: no name twice in an object, no lone surrogate, no
    number that an item cannot hold (38 significant digits, DynamoDB's range), and bounded nesting.

    Raises:
        RefusedError: with the reason; nothing about where the line came from.
    """
    try:
        value = _decode_json(line)
    except (msgspec.DecodeError, ValueError) as error:
        raise RefusedError(_why_no_json(line, error)) from error
    except RecursionError as error:
        raise _too_deep() from error
    members = _check(value, 0)
    # msgspec keeps the last of two equal names. Every member has a colon after its closing quote,
    # so if the text holds no more of these than the value has members, no name stood twice.
    if members != line.count(b":") and members != len(_MEMBERS.findall(line)):
        _refuse_duplicates(line)
    return value


def _check(value: object, depth: int) -> int:
    """Check what the parser does not, depth and digits; return how many members objects have."""
    kind = type(value)
    if kind is dict:
        children = value.values()  # type: ignore[attr-defined]
        members = len(children)
    elif kind is list:
        children = value
        members = 0
    else:
        if kind is int and not -_DIGITS_38 < value < _DIGITS_38:  # type: ignore[operator]
            canonical_number(value)  # type: ignore[arg-type]
        return 0
    if depth >= _JSON_DEPTH_MAX:
        raise _too_deep()
    for child in children:
        kind = type(child)
        if kind is dict or kind is list:
            members += _check(child, depth + 1)
        elif kind is int and not -_DIGITS_38 < child < _DIGITS_38:
            canonical_number(child)
    return members


def _too_deep() -> RefusedError:
    return RefusedError(f"nesting above {DEPTH_MAX} levels", limit=DEPTH_MAX)


def _refuse_duplicates(line: bytes) -> None:
    """Look at each object's names: the slow and exact way."""

    def names(pairs: list[tuple[str, object]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise RefusedError(f"the name {name[:60]!r} stands twice in an object", name=name)
            seen.add(name)

    json.loads(line, object_pairs_hook=names, parse_int=len, parse_float=len)


def _why_no_json(line: bytes, error: Exception) -> str:
    """A reason that a person can act on; msgspec's own says little about these."""
    try:
        text = line.decode()
    except UnicodeDecodeError as found:
        return f"invalid UTF-8 at byte {found.start} of the line"
    if not text.strip():
        return "no JSON: the line is empty"
    if text.startswith("\ufeff"):
        return "no JSON: a byte order mark; write the file as UTF-8 without one"

    def constant(name: str) -> None:
        raise RefusedError(f"{name} is no number of JSON, nor of an item")

    try:
        value = json.loads(text, parse_constant=constant, parse_int=len, parse_float=len)
        json.dumps(value, ensure_ascii=False).encode()
    except RefusedError as found:
        return found.what
    except UnicodeEncodeError:
        return "text holds a lone surrogate, which no UTF-8 can"
    except json.JSONDecodeError as found:
        return f"no JSON: {found.msg[0].lower()}{found.msg[1:]} (character {found.pos + 1})"
    except (ValueError, RecursionError):
        pass
    return f"no JSON: {error}"


# -- plain ---------------------------------------------------------------------------------------


def encode_json(document: object) -> bytes:
    """One line of JSON, without its end, of what `plain` and `typed` build."""
    return _encode_json(document)


def plain(value: object) -> Any:
    """``value`` as `encode_json` takes it: numbers exact, binary base64, sets as sorted lists."""
    kind = type(value)
    if kind in _SAME_IN_JSON:
        return value
    if kind is dict:
        if _SAME_IN_JSON.issuperset(map(type, value.values())):  # type: ignore[attr-defined]
            return value
        return {name: plain(element) for name, element in value.items()}  # type: ignore[attr-defined]
    if kind is list:
        return [plain(element) for element in value]  # type: ignore[attr-defined]
    if kind is Decimal:
        return msgspec.Raw(format_number(value).encode())  # type: ignore[arg-type]
    if kind is bytes:
        return _base64(value)  # type: ignore[arg-type]
    if isinstance(value, set | frozenset):
        return [plain(member) for member in sorted(value)]
    raise TypeError(f"{value!r} is no value of an item")


# -- DynamoDB JSON out ---------------------------------------------------------------------------


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode("ascii")


_Binary: TypeAlias = Callable[[bytes], str | bytes]


def typed(value: object, binary: _Binary = _base64) -> dict[str, Any]:
    """``value`` as DynamoDB JSON, ``{"S": "a"}``, as `encode_json` takes it.

    ``binary`` gives the form of bytes: base64 in JSON, and as they are for the AWS SDK.
    """
    kind = type(value)
    if kind is str:
        return {"S": value}
    if kind is int or kind is Decimal:
        return {"N": format_number(value)}  # type: ignore[arg-type]
    if kind is bool:
        return {"BOOL": value}
    if value is None:
        return {"NULL": True}
    if kind is dict:
        return {"M": typed_item(value, binary)}  # type: ignore[arg-type]
    if kind is list:
        return {"L": [typed(element, binary) for element in value]}  # type: ignore[attr-defined]
    if kind is bytes:
        return {"B": binary(value)}  # type: ignore[arg-type]
    if isinstance(value, set | frozenset) and value:
        members = sorted(value)
        if type(members[0]) is str:
            return {"SS": members}
        if type(members[0]) is bytes:
            return {"BS": [binary(member) for member in members]}
        return {"NS": [format_number(member) for member in members]}
    raise TypeError(f"{value!r} is no value of an item")


def typed_item(item: dict[str, Any], binary: _Binary = _base64) -> dict[str, Any]:
    """The attribute map ``{"id": {"S": "a"}}``; see `typed`."""
    return {
        # The first two spelt out: nearly all attributes are one of them.
        name: {"S": value}
        if (kind := type(value)) is str
        else {"N": str(value)}
        if kind is int and -_DIGITS_38 < value < _DIGITS_38
        else typed(value, binary)
        for name, value in item.items()
    }


def typed_any(value: object) -> dict[str, Any]:
    """An attribute map where ``value`` is a map, else a typed value: what `untyped_any` reads."""
    return typed_item(value) if type(value) is dict else typed(value)


def typed_item_text(data: bytes) -> bytes:
    """DynamoDB JSON, UTF-8, of the item whose canonical bytes are ``data``.

    Raises:
        DamageError: not the canonical bytes of a map.
    """
    item = decode_value(data)
    try:
        return _encode_json(typed_item(item))
    except (AttributeError, TypeError) as error:
        raise DamageError(f"bytes that are no item: {error}") from error


# -- DynamoDB JSON in ----------------------------------------------------------------------------


def item_data(text: bytes | str) -> bytes:
    """Canonical bytes of the item that ``text`` holds as DynamoDB JSON.

    For text that `typed_item_text` wrote: of two equal names the last counts. Input from outside
    goes through `parse_line` and `untyped_item`.

    Raises:
        RefusedError: no DynamoDB JSON, or an item that `encode_item` refuses.
    """
    try:
        document = _decode_plain_json(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RefusedError(f"no DynamoDB JSON: {error}") from error
    return encode_item(untyped_item(document))


def untyped_item(document: object) -> dict[str, Any]:
    """The item of an attribute map ``{"id": {"S": "a"}}`` that a JSON parser gave.

    Raises:
        RefusedError: with the attribute's name and what is wrong with it.
    """
    if type(document) is not dict:
        raise RefusedError(f"{_shown(document)} is no map of typed attributes")
    item = {}
    for name, value in document.items():
        try:
            # ``S`` spelt out, the rest by a table: this runs for each attribute that a store reads.
            ((kind, payload),) = value.items()
            item[name] = (
                payload if kind == "S" and type(payload) is str else _READERS[kind](payload)
            )
        except _UNTYPED as error:
            raise RefusedError(f"attribute {name[:60]!r}: {_why_untyped(value, error)}") from error
    return item


def untyped(document: object) -> Any:
    """The value of a typed value ``{"S": "a"}`` that a JSON parser gave.

    Raises:
        RefusedError: with what is wrong with it.
    """
    try:
        ((kind, payload),) = document.items()  # type: ignore[attr-defined]
        return _READERS[kind](payload)
    except _UNTYPED as error:
        raise RefusedError(_why_untyped(document, error)) from error


def untyped_any(document: object) -> Any:
    """The value of a typed value or of an attribute map; no document is both.

    Raises:
        RefusedError: it is neither; the reason is the attribute map's where it looks like one.
    """
    if type(document) is dict and len(document) == 1 and next(iter(document)) in _READERS:
        try:
            return untyped(document)
        except RefusedError:
            try:
                return untyped_item(document)
            except RefusedError:
                pass
            raise
    return untyped_item(document)


# What goes wrong when a document is not of the form: no `items`, not one entry, no such type.
_UNTYPED = (AttributeError, KeyError, RefusedError, TypeError, ValueError, RecursionError)


def _why_untyped(document: object, error: Exception) -> str:
    if isinstance(error, RefusedError):
        return error.what
    if isinstance(error, RecursionError):
        return _too_deep().what
    return f"""{_shown(document)} is no typed value, such as {{"S": "text"}} or {{"N": "1.5"}}"""


def _shown(document: object) -> str:
    try:
        text = _encode_json(document).decode()
    except (TypeError, RecursionError):
        return f"a {type(document).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(payload: object) -> str:
    if type(payload) is not str:
        raise RefusedError(f"S holds {_shown(payload)}, not a string")
    return payload


def _number(payload: object) -> int | Decimal:
    if type(payload) is not str:
        raise RefusedError(
            f"""N holds {_shown(payload)}, not a string: write a number as {{"N": "1.5"}}"""
        )
    return parse_number(payload)


def _binary(payload: object) -> bytes:
    if type(payload) is not str:
        raise RefusedError(f"B holds {_shown(payload)}, not a string of base64")
    try:
        return a2b_base64(payload, strict_mode=True) if payload else b""
    except (Base64Error, ValueError) as error:
        raise RefusedError(f"B holds {_shown(payload)}, no base64: {error}") from error


def _boolean(payload: object) -> bool:
    if type(payload) is not bool:
        raise RefusedError(f"BOOL holds {_shown(payload)}, not true or false")
    return payload


def _null(payload: object) -> None:
    if payload is not True:
        raise RefusedError(f"NULL holds {_shown(payload)}, not true")


def _list(payload: object) -> list[Any]:
    if type(payload) is not list:
        raise RefusedError(f"L holds {_shown(payload)}, not an array")
    return [untyped(element) for element in payload]


def _set(read: Callable[[object], Any]) -> Callable[[object], frozenset[Any]]:
    def read_set(payload: object) -> frozenset[Any]:
        if type(payload) is not list or not payload:
            raise RefusedError(f"a set holds {_shown(payload)}, not an array with members")
        members = frozenset(map(read, payload))
        if len(members) != len(payload):
            raise RefusedError(f"the set {_shown(payload)} holds a member twice")
        return members

    return read_set


_READERS: dict[str, Callable[[Any], Any]] = {
    "S": _text,
    "N": _number,
    "B": _binary,
    "BOOL": _boolean,
    "NULL": _null,
    "M": untyped_item,
    "L": _list,
    "SS": _set(_text),
    "NS": _set(_number),
    "BS": _set(_binary),
}
