"""Rows to DynamoDB's attributes and back, and keys that a table can hold.

An item is stored as it is, its own attributes with DynamoDB's own types, and one more::

    _binlog  M   v N     version of the last event folded into it
                 p N     partition whose events may touch it
                 d BOOL  true: a tombstone, which has the key's attributes and this one only
                 k BOOL  true: parked
                 t N     version of the last event that waits

``d``, ``k`` and ``t`` are left out where they say nothing. An item without ``_binlog`` was put by
somebody else, or before the table was adopted (`dynamodb_adopted`). Numbers go by their text, never through a float or a decimal context, and so all 38
digits of them come back.

Limits of a key (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html):
text, number or binary, not empty; hash key 2,048 bytes, range key 1,024; their names 255 bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from appliers.item import Row
from appliers.poison import readable_key
from appliers.stores.dynamodb_adopted import Adopted
from appliers.stores.dynamodb_tables_spec import KeySchema
from binlog.errors import ConflictError, DamageError, PoisonError, RefusedError
from binlog.fields import FIRST_KEY_BYTES_MAX, SECOND_KEY_BYTES_MAX
from binlog.json_values import typed_item
from binlog.numbers import parse_number
from binlog.values import RESERVED_ATTRIBUTE, decode_value, encode_item, encode_value
from binlog.vector import offset_of

Attributes = dict[str, Any]

_NAME_BYTES_MAX = 255  # of a key attribute


class Keys(msgspec.Struct, frozen=True):
    """A physical table that is read and written."""

    table: str  # the log's
    physical: str
    schema: KeySchema
    adopted: Adopted | None = None  # what it was before its first event

    def key_of(self, item: Mapping[str, Any]) -> bytes:
        """Canonical bytes of a stored item's key."""
        return encode_value({name: value_of(item[name]) for name, _ in self.schema.attributes})


# -- out -----------------------------------------------------------------------------------------


def attributes_of(item: dict[str, Any]) -> Attributes:
    """What boto3's client takes for an item: ``{"id": {"S": "a"}}``, binary as bytes."""
    return typed_item(item, bytes)


def stored_item(key: bytes, row: Row) -> Attributes:
    """The whole item that stands for a row.

    Raises:
        DamageError: its data is no item, or not of that key.
    """
    marks: Attributes = {"v": {"N": str(row.version)}, "p": {"N": str(row.partition)}}
    if row.data is None:
        marks["d"] = {"BOOL": True}
    if row.parked:
        marks["k"] = {"BOOL": True}
    if row.tail:
        marks["t"] = {"N": str(row.tail)}
    named = decode_value(key)
    if row.data is None:
        item = named
    else:
        item = decode_value(row.data)
        if type(item) is not dict or any(
            name not in item or item[name] != value or type(item[name]) is not type(value)
            for name, value in named.items()
        ):
            raise DamageError(f"an item that is not of its key {readable_key(key)[1]}")
    stored = attributes_of(item)
    stored[RESERVED_ATTRIBUTE] = {"M": marks}
    return stored


# -- in ------------------------------------------------------------------------------------------


def row_of(item: Mapping[str, Any], keys: Keys, where: str) -> Row:
    """The row that a stored item stands for.

    Raises:
        ConflictError: an item without `_binlog`, in a table that was not adopted.
        DamageError: with ``table`` and ``key``: one that cannot be what was written.
    """
    try:
        if keys.adopted is not None and RESERVED_ATTRIBUTE not in item:
            return keys.adopted.row(keys.key_of(item), _data_of(item))
        marks = item[RESERVED_ATTRIBUTE]["M"]
        version, partition = int(marks["v"]["N"]), int(marks["p"]["N"])
        is_tombstone, parked = _mark(marks, "d"), _mark(marks, "k")
        tail = int(marks["t"]["N"]) if "t" in marks else 0
        data = None if is_tombstone else _data_of(item)
    except (RefusedError, KeyError, TypeError, ValueError, AttributeError) as error:
        key = keys.key_of(item)
        shown = readable_key(key)[1]
        if RESERVED_ATTRIBUTE not in item and keys.adopted is None:
            raise foreign_item(keys, key, where) from None
        raise DamageError(
            f"table {keys.table} holds a damaged item, key {shown} ({_why(error)})",
            f"{where}: {keys.physical}",
            "was it changed by hand? rebuild the store",
            table=keys.table,
            key=key,
        ) from error
    return Row(version, partition, data, parked, tail)


def _data_of(item: Mapping[str, Any]) -> bytes:
    return encode_item({n: value_of(v) for n, v in item.items() if n != RESERVED_ATTRIBUTE})


def _mark(marks: Mapping[str, Any], name: str) -> bool:
    if name not in marks:
        return False
    mark = marks[name]["BOOL"]
    if type(mark) is not bool:
        raise TypeError(f"{name} is {mark!r}")
    return mark


def _why(error: Exception) -> str:
    return error.what if isinstance(error, RefusedError) else f"{type(error).__name__}: {error}"


def foreign_item(keys: Keys, key: bytes, where: str) -> ConflictError:
    """The refusal to touch an item that no applier made."""
    return ConflictError(
        f"table {keys.table} has an item that is not the log's (no {RESERVED_ATTRIBUTE}), "
        f"key {readable_key(key)[1]}",
        f"{where}: {keys.physical}",
        "nothing is written over it: take an empty table, or adopt this one with what is in it "
        "(binlog adopt)",
        table=keys.table,
        key=key,
    )


def value_of(attribute: Mapping[str, Any]) -> Any:
    """A value as the service has it, ``{"S": "a"}``; binary as bytes."""
    ((kind, value),) = attribute.items()
    return value if kind == "S" else _READERS[kind](value)


def _set_of_numbers(members: list[str]) -> frozenset[Any]:
    return frozenset(map(parse_number, members))


_READERS: dict[str, Callable[[Any], Any]] = {
    "S": str,
    "N": parse_number,
    "B": bytes,
    "BOOL": bool,
    "NULL": lambda _: None,
    "M": lambda members: {name: value_of(value) for name, value in members.items()},
    "L": lambda elements: [value_of(element) for element in elements],
    "SS": frozenset,
    "NS": _set_of_numbers,
    "BS": lambda members: frozenset(map(bytes, members)),
}


# -- keys ----------------------------------------------------------------------------------------


def key_attributes(key: bytes) -> Attributes:
    """The key as `GetItem` takes it."""
    return attributes_of(decode_value(key))


def check_key(
    table: str, key: bytes, row: Row, schema: KeySchema | None, where: str
) -> dict[str, Any]:
    """The key of an item that is to be written, decoded, if a table of that schema can hold it.

    Raises:
        PoisonError: no DynamoDB table can, or not this one: deterministic, and named.
    """
    named = decode_value(key)
    if type(named) is not dict or not 1 <= len(named) <= 2:
        raise unholdable(table, key, row, "a key has one or two attributes", where)
    # Where no schema is known, either attribute may be the hash key.
    ordered = [name for name, _ in schema.attributes] if schema else list(named)
    for place, name in enumerate(ordered):
        limit = FIRST_KEY_BYTES_MAX if place == 0 or schema is None else SECOND_KEY_BYTES_MAX
        reason = _unholdable(name, named[name], limit) if name in named else None
        if reason:
            raise unholdable(table, key, row, reason, where)
    misfit = schema.misfit(named) if schema else None
    if misfit:
        # One such item is the log's mistake; if all are, the table's declaration is.
        mend = "; or declare the table's key as the log has it (?tables=FILE)"
        raise unholdable(table, key, row, misfit, where, mend)
    return named


def _unholdable(name: str, value: object, limit: int) -> str | None:
    """Why no table can have ``value`` in a key."""
    if len(name.encode()) > _NAME_BYTES_MAX:
        return f"its key attribute's name has {len(name.encode())} bytes, the limit is 255"
    if isinstance(value, bool) or not isinstance(value, str | bytes | int | Decimal):
        kind = _KINDS.get(type(value), type(value).__name__)
        return f"its key attribute {name!r} is a {kind}: text, number or binary"
    if isinstance(value, int | Decimal):
        return None
    size = len(value) if isinstance(value, bytes) else len(value.encode())
    if not size:
        return f"its key attribute {name!r} is empty"
    if size > limit:
        return f"its key attribute {name!r} has {size} bytes, the limit is {limit}"
    return None


_KINDS = {bool: "boolean", type(None): "null", dict: "map", list: "list", frozenset: "set"}


def unholdable(
    table: str, key: bytes, row: Row, reason: str, where: str, mend: str = ""
) -> PoisonError:
    """The error of an item that DynamoDB can never hold, though the log could.

    ``mend`` is another remedy beside the exclusion.
    """
    named, text = readable_key(key)
    offset = offset_of(row.version)
    rule = f"key={table}:{text}"
    return PoisonError(
        f"the item {_short(text)} of {table} cannot be in DynamoDB: {reason}",
        f"{where}: partition {row.partition}, offset {offset}",
        f"leave it out with --exclude {shlex.quote(_short(rule))}{mend}",
        partition=row.partition,
        offset=offset,
        table=table,
        key=named,
        reason=reason,
        exclude=(rule,),
    )


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."
