"""What DynamoDB takes for an item, for the double: checked and brought into the form it gives back.

Written from the service's documents, and sharing no code with the store:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html,
.../CapacityUnitCalculations.html, .../Constraints.html. That 31 containers fit below an attribute,
and not 32, was measured at the stand-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

ITEM_BYTES_MAX = 400 * 1024
CONTAINERS_MAX = 31
DIGITS_MAX = 38
HASH_BYTES_MAX, RANGE_BYTES_MAX = 2048, 1024

_EXACT = Context(prec=200)
Attribute = Mapping[str, Any]


class Refused(Exception):  # noqa: N818 - as the service says it
    """A ValidationException."""


def checked_item(item: Mapping[str, Attribute], schema: list[tuple[str, str]]) -> dict[str, Any]:
    """The item as it is stored. Raises `Refused`."""
    checked_key({name: item[name] for name, _ in schema if name in item}, schema)
    stored = {name: _checked(value, 0) for name, value in item.items()}
    if size_of(stored) > ITEM_BYTES_MAX:
        raise Refused("Item size has exceeded the maximum allowed size")
    return stored


def checked_key(key: Mapping[str, Attribute], schema: list[tuple[str, str]]) -> dict[str, Any]:
    if sorted(key) != sorted(name for name, _ in schema):
        raise Refused("The provided key element does not match the schema")
    for place, (name, kind) in enumerate(schema):
        if list(key[name]) != [kind]:
            raise Refused(f"Type mismatch for key {name}")
        value = key[name][kind]
        size = len(value.encode() if isinstance(value, str) else value)
        if size == 0:
            raise Refused("an empty string or binary in a key")
        if kind != "N" and size > (RANGE_BYTES_MAX if place else HASH_BYTES_MAX):
            raise Refused("Size of a key exceeds its limit")
    return {name: _checked(value, 0) for name, value in key.items()}


def _checked(value: Attribute, depth: int) -> dict[str, Any]:
    if len(value) != 1:
        raise Refused("Supplied AttributeValue has more than one datatypes set")
    ((kind, content),) = value.items()
    if kind in ("M", "L"):
        if depth >= CONTAINERS_MAX:
            raise Refused("Nesting Levels have exceeded supported limits")
        if kind == "M":
            return {"M": {name: _checked(each, depth + 1) for name, each in content.items()}}
        return {"L": [_checked(each, depth + 1) for each in content]}
    if kind == "N":
        return {"N": number(content)}
    if kind == "NS":
        content = [number(each) for each in content]
    if kind in ("SS", "NS", "BS"):
        if not content or len(set(content)) != len(content):
            raise Refused("a set that is empty, or holds a member twice")
        return {kind: list(reversed(content))}  # a set has no order
    if kind == "NULL" and content is not True:
        raise Refused("Null attribute value types must have the value of true")
    return {kind: bytes(content) if kind == "B" else content}


def number(text: str) -> str:
    """The text that comes back: no exponent, no zeros at the ends. Raises `Refused`."""
    found = Decimal(text)
    if not found.is_finite():
        raise Refused("no number")
    if not found:
        return "0"
    found = found.normalize(_EXACT)
    if len(found.as_tuple().digits) > DIGITS_MAX:
        raise Refused("Attempting to store more than 38 significant digits in a Number")
    if not -130 <= found.adjusted() <= 125:
        raise Refused("Number overflow, or underflow")
    return f"{found:f}"


def size_of(item: Mapping[str, Attribute] | None) -> int:
    """Bytes, by the rule that is billed."""
    return sum(len(name.encode()) + _value_size(value) for name, value in (item or {}).items())


def _value_size(value: Attribute) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "B":
        return len(content)
    if kind == "N":
        digits = content.lstrip("-").replace(".", "").strip("0")
        return int((len(digits) + 1) // 2 + 1 + content.startswith("-"))
    if kind in ("BOOL", "NULL"):
        return 1
    if kind == "M":
        return 3 + sum(len(n.encode()) + _value_size(v) + 1 for n, v in content.items())
    if kind == "L":
        return 3 + sum(_value_size(each) + 1 for each in content)
    return sum(_value_size({kind[0]: each}) for each in content)


def identity_of(item: Mapping[str, Attribute], schema: list[tuple[str, str]]) -> str:
    """What two items of one key have in common."""
    return repr([item[name][kind] for name, kind in schema])
