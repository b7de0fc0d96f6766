"""The values an item can hold, and their canonical bytes.

The model is DynamoDB's: string, number, binary, boolean, null, list, map and three kinds of set.
In Python they are ``str``, ``int`` or ``Decimal``, ``bytes``, ``bool``, ``None``, ``list``,
``dict`` and ``frozenset`` (a ``set`` is accepted). A number that is whole comes back as ``int``
whatever its size, any other as ``Decimal``; floats are refused, since 0.1 is not one tenth.

Canonical bytes are msgpack with every choice taken away, so that equal values have equal bytes
and different values have different bytes, on every engine::

    null, boolean, string, binary   the shortest msgpack form
    map                             keys sorted by their UTF-8 bytes, no key twice
    list                            in order
    whole number in -2^63 .. 2^64-1 the shortest msgpack integer
    any other number                ext 1: the text of `numbers.format_number`, ASCII
    string set, number set, binary set
                                    ext 2, 3, 4: msgpack array of the members' canonical bytes,
                                    sorted by those bytes

Limits (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html and
.../HowItWorks.NamingRulesDataTypes.html): number 38 significant digits, 1E-130 to
9.9999999999999999999999999999999999999E+125; nesting 32 levels, of which the item itself is one (31
containers below an attribute are taken, and not 32: measured); item 400 KB including names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from binlog.errors import DamageError, RefusedError, TooLargeError
from binlog.numbers import canonical_number, format_number, parse_number

Value: TypeAlias = (
    "bool | int | Decimal | str | bytes | list[Any] | dict[str, Any] | frozenset[Any] | None"
)
Item: TypeAlias = dict[str, Any]

DEPTH_MAX = 32
ITEM_BYTES_MAX = 400 * 1024
RESERVED_ATTRIBUTE = "_binlog"
# `_binlog` is a map of version, partition, tombstone, parked and tail: below 100 bytes by
# `item_size`; the rest is room for marks to come. Kept free on every engine alike.
RESERVED_BYTES = 512
ITEM_BYTES_FREE = ITEM_BYTES_MAX - RESERVED_BYTES
# No value is larger in DynamoDB's count than this many times its canonical bytes (an element of
# a list costs 1 + its size, and the smallest canonical element has 1 byte, an empty container 1
# against 3 + 1): below it the exact size need not be taken.
_BYTES_IN_BOUND = ITEM_BYTES_FREE // 4

EXT_NUMBER = 1
EXT_STRING_SET = 2
EXT_NUMBER_SET = 3
EXT_BINARY_SET = 4

_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_encode = _encoder.encode


def encode_value(value: object, *, outer: int = 0) -> bytes:
    """Canonical bytes of ``value``.

    ``outer`` levels of nesting around it are not counted: 1 for the sections of an UpdateItem,
    whose values may be as deep as an item's.

    Raises:
        RefusedError: a float, NaN, an empty or mixed set, a number beyond 38 digits or out of
            range, a lone surrogate, a map key that is no string or empty, nesting above
            `DEPTH_MAX`, or a type outside the model.
    """
    data = _encode_plain((value,), value, -outer)
    return _encode_walked(value, -outer) if data is None else data


def encode_item(item: Mapping[str, Any]) -> bytes:
    """Canonical bytes of an item, a map of attributes, which is the first level of nesting.

    Raises:
        RefusedError: as `encode_value`, and the reserved attribute.
        TooLargeError: above `ITEM_BYTES_FREE` by DynamoDB's count.
    """
    if type(item) is not dict:
        item = dict(item)
    # `encode_value` spelt out: this is most of what a publish costs.
    try:
        is_plain = "" not in item and _is_plain(item.values(), 1)
        data = _encode(item) if is_plain else _encode_walked(item, 0)
    except (OverflowError, TypeError, UnicodeEncodeError):
        data = _encode_walked(item, 0)
    if RESERVED_ATTRIBUTE in item:
        raise RefusedError(f"the attribute {RESERVED_ATTRIBUTE!r} is reserved")
    if len(data) > _BYTES_IN_BOUND:
        size = item_size(item)
        if size > ITEM_BYTES_FREE:
            raise TooLargeError(
                f"the item has {size} bytes, the limit is {ITEM_BYTES_FREE}"
                f" (400 KB less {RESERVED_BYTES} reserved)",
                size=size,
                limit=ITEM_BYTES_FREE,
            )
    return data


def decode_value(data: bytes | memoryview) -> Any:
    """The value whose canonical bytes are ``data``.

    Raises:
        DamageError: not the bytes of a value. (That they are the canonical ones is not checked
            here; `is_canonical` does.)
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError, RefusedError, UnicodeDecodeError) as error:
        raise DamageError(f"bytes that are no value: {error}") from error


def is_canonical(data: bytes) -> bool:
    """Whether ``data`` is what `encode_value` makes of the value it decodes to."""
    try:
        return encode_value(decode_value(data)) == data
    except (DamageError, RefusedError):
        return False


def _encode_plain(values: Iterable[object], whole: object, depth: int) -> bytes | None:
    """Bytes of ``whole`` by msgspec alone, where those are canonical: the common case.

    A quarter of the time that the walk takes. What msgspec refuses gets its words there.
    """
    try:
        return _encode(whole) if _is_plain(values, depth) else None
    except (OverflowError, TypeError, UnicodeEncodeError):
        return None


def _encode_walked(value: object, depth: int) -> bytes:
    try:
        return _encode(_canonical(value, depth))
    except UnicodeEncodeError as error:
        raise RefusedError(f"text holds a lone surrogate ({error.reason})") from error


def _is_plain(values: Iterable[object], depth: int) -> bool:
    """Whether msgspec's own bytes of all ``values`` are canonical, but for integers out of range.

    Most of what a publish costs is spent here, so the commonest types are asked for first. (Tried:
    sets and tuples of the types, level by level, comprehensions; all slower than this ladder.)
    """
    for value in values:
        kind = type(value)
        if kind is str or kind is int or kind is bool or value is None or kind is bytes:
            continue
        if depth == DEPTH_MAX:
            return False
        if kind is list:
            if not _is_plain(value, depth + 1):  # type: ignore[arg-type]
                return False
        elif kind is not dict or "" in value or not _is_plain(value.values(), depth + 1):  # type: ignore[operator, attr-defined]
            return False
    return True


def _canonical(value: object, depth: int) -> object:
    kind = type(value)
    if kind in (str, bytes, bool) or value is None:
        return value
    if kind is int or kind is Decimal:
        return _number(value)  # type: ignore[arg-type]
    if isinstance(value, dict):
        return _canonical_map(value, depth)
    if isinstance(value, list | tuple):
        if depth >= DEPTH_MAX:
            raise RefusedError(f"nesting above {DEPTH_MAX} levels", limit=DEPTH_MAX)
        return [_canonical(element, depth + 1) for element in value]
    if isinstance(value, set | frozenset):
        if depth >= DEPTH_MAX:
            raise RefusedError(f"nesting above {DEPTH_MAX} levels", limit=DEPTH_MAX)
        return _canonical_set(value)
    if isinstance(value, float):
        raise RefusedError(f"the float {value!r}: give an int, a Decimal or text", value=value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str | int):  # subclasses, such as enumerations
        # `str(value)` of an enumeration would be its name.
        return _canonical(str.__str__(value) if isinstance(value, str) else int(value), depth)
    raise RefusedError(f"a value of type {kind.__name__} is none of DynamoDB's", type=kind.__name__)


def _canonical_map(value: Mapping[Any, object], depth: int) -> dict[str, object]:
    if depth >= DEPTH_MAX:
        raise RefusedError(f"nesting above {DEPTH_MAX} levels", limit=DEPTH_MAX)
    for name in value:
        if not isinstance(name, str) or not name:
            raise RefusedError(f"the attribute name {name!r}: names are text and not empty")
    return {name: _canonical(element, depth + 1) for name, element in value.items()}


def _number(value: int | Decimal) -> object:
    if type(value) is int and -(10**18) < value < 10**18:
        return value
    number = canonical_number(value)
    if type(number) is int and _INT_MIN <= number <= _INT_MAX:
        return number
    return msgspec.msgpack.Ext(EXT_NUMBER, format_number(number).encode())


def _canonical_set(members: set[Any] | frozenset[Any]) -> msgspec.msgpack.Ext:
    if not members:
        raise RefusedError("an empty set: DynamoDB has none, leave the attribute out")
    kinds = {int if t is Decimal else t for t in map(type, members)}
    code = {str: EXT_STRING_SET, int: EXT_NUMBER_SET, bytes: EXT_BINARY_SET}.get(next(iter(kinds)))
    if len(kinds) != 1 or code is None:
        names = ", ".join(sorted(t.__name__ for t in kinds))
        raise RefusedError(f"a set of {names}: all strings, all numbers or all bytes")
    parts = sorted(_encode(_canonical(member, 0)) for member in members)
    return msgspec.msgpack.Ext(code, _array_header(len(parts)) + b"".join(parts))


def _array_header(count: int) -> bytes:
    if count < 16:
        return bytes([0x90 | count])
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def _ext(code: int, data: memoryview) -> object:
    if code == EXT_NUMBER:
        return parse_number(str(data, "ascii"))
    if code in (EXT_STRING_SET, EXT_NUMBER_SET, EXT_BINARY_SET):
        members = _decode(data)
        if not isinstance(members, list) or not members:
            raise RefusedError("a set that is empty or no array")
        try:
            result = frozenset(members)
        except TypeError as error:
            raise RefusedError("a set of containers") from error
        if len(result) != len(members):
            raise RefusedError("a set with a member twice")
        return result
    raise RefusedError(f"extension type {code} is unknown")


_decode = msgspec.msgpack.Decoder(ext_hook=_ext).decode


def item_size(item: Mapping[str, Any]) -> int:
    """Bytes of an item by DynamoDB's count, names included.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
    """
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: object) -> int:
    """Bytes of one value by DynamoDB's count (same source as `item_size`)."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int | Decimal):
        return _number_size(value)
    if isinstance(value, Mapping):
        return 3 + sum(len(k.encode()) + value_size(v) + 1 for k, v in value.items())
    if isinstance(value, list | tuple):
        return 3 + sum(value_size(element) + 1 for element in value)
    if isinstance(value, set | frozenset):
        return sum(value_size(element) for element in value)
    raise RefusedError(f"a value of type {type(value).__name__} is none of DynamoDB's")


def _number_size(value: int | Decimal) -> int:
    """About one byte for two significant digits, plus one, plus one for a sign."""
    text = format_number(canonical_number(value))
    digits = text.lstrip("-").split("E", maxsplit=1)[0].replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + text.startswith("-")
