"""What the data of an event look like, as a document that outlives the Python type.

A shape describes *published* data (`binlog.values`), not Python objects: a dataclass, a Struct and
a TypedDict with the same fields have one shape, an enumeration is the values that it publishes, and
a field stands under the name that it is published with. Equal shapes take equal data.

In JSON a shape is an object whose ``is`` says what it is::

    {"is": "int", "ge": 0}
    {"is": "text", "max_length": 3, "pattern": "^[A-Z]+$"}
    {"is": "record", "fields": {"total": {"type": {"is": "int"}, "default": {"N": "0"}}}}
    {"is": "ref", "to": "Address"}

Records inside of the data stand once, under their name, in `Schema.records`; that is what makes a
type that holds itself finite. The names are for people: they are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from binlog.json_values import encode_json, plain, untyped_any

Typed: TypeAlias = dict[str, Any]
"""A value as DynamoDB JSON, a map without its ``M`` (`json_values.typed_any`): exact, and readable."""


class Shape(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="is"):
    """The root of all."""


class Anything(Shape, frozen=True, tag="any"):
    """Any value of the model."""


class Null(Shape, frozen=True, tag="null"):
    """Null."""


class Boolean(Shape, frozen=True, tag="bool"):
    """True or false."""


class Int(Shape, frozen=True, omit_defaults=True, tag="int"):
    """A whole number; ``gt`` and ``lt`` are exclusive."""

    gt: int | None = None
    ge: int | None = None
    lt: int | None = None
    le: int | None = None
    multiple_of: int | None = None


class Decimal(Shape, frozen=True, tag="decimal"):
    """A number, whole or not."""


class Sized(Shape, frozen=True, omit_defaults=True):
    """Bounds of a length, both inclusive: characters, bytes, elements."""

    min_length: int | None = None
    max_length: int | None = None


class Text(Sized, frozen=True, tag="text"):
    """Text. ``form`` says what is written in it ("uuid", "datetime", ...; "": anything)."""

    pattern: str | None = None
    form: str = ""


class Bytes(Sized, frozen=True, tag="bytes"):
    """Binary."""


class OneOf(Shape, frozen=True, tag="one of"):
    """These values, all text or all whole numbers, sorted."""

    values: list[str | int]


class ListOf(Sized, frozen=True, tag="list", kw_only=True):
    """A list."""

    of: AnyShape


class SetOf(Sized, frozen=True, tag="set", kw_only=True):
    """A set."""

    of: AnyShape


class MapOf(Sized, frozen=True, tag="map", kw_only=True):
    """A map whose names are not fixed."""

    keys: AnyShape
    values: AnyShape


class TupleOf(Shape, frozen=True, tag="tuple"):
    """A list of as many elements, each of its own shape."""

    of: list[AnyShape]


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of a record. One that is not required has a default, a maker, or may be left out."""

    type: AnyShape
    required: bool = True
    default: Typed | None = None
    made_by: str = ""  # the name of the function that makes the default

    @property
    def absence(self) -> str:
        """What it means that the field is not there, in words."""
        if self.required:
            return "required"
        if self.default is not None:
            return f"default {said_value(self.default)}"
        return f"default made by {self.made_by}" if self.made_by else "may be left out"


class Record(Shape, frozen=True, omit_defaults=True, tag="record"):
    """A map with fixed names; or, with ``order``, a list with the fields in that order."""

    fields: dict[str, Field]
    tag_field: str = ""
    tag: str | int = ""
    order: list[str] | None = None


class Ref(Shape, frozen=True, tag="ref"):
    """The record of that name."""

    to: str


class OneOfShapes(Shape, frozen=True, tag="union"):
    """Any of these, none of which is a union."""

    of: list[AnyShape]


AnyShape: TypeAlias = (
    Anything
    | Null
    | Boolean
    | Int
    | Decimal
    | Text
    | Bytes
    | OneOf
    | ListOf
    | SetOf
    | MapOf
    | TupleOf
    | Record
    | Ref
    | OneOfShapes
)


class Schema(msgspec.Struct, frozen=True, omit_defaults=True):
    """The shape of one version's data, with the records that it refers to."""

    data: AnyShape
    records: dict[str, Record] = {}

    def resolve(self, shape: AnyShape) -> AnyShape:
        """``shape`` itself, or the record that it refers to."""
        return self.records[shape.to] if isinstance(shape, Ref) else shape


def members(shape: AnyShape) -> list[AnyShape]:
    """The alternatives of a union; ``shape`` alone if it is none."""
    return list(shape.of) if isinstance(shape, OneOfShapes) else [shape]


# -- in words ------------------------------------------------------------------------------------


def said_value(value: Typed) -> str:
    """A typed value as JSON for people."""
    return encode_json(plain(untyped_any(value))).decode()


def said(shape: AnyShape, records: Mapping[str, Record] = {}) -> str:
    """The shape in words: ``int from 0``, ``list of record Line``, ``text or null``.

    ``records`` tell the tags of those that are referred to.
    """
    match shape:
        case OneOfShapes():
            nullable = sorted(shape.of, key=lambda member: isinstance(member, Null))
            return " or ".join(said(member, records) for member in nullable)
        case OneOf():
            values = ", ".join(map(repr, shape.values))
            return f"one of {values}" if len(shape.values) > 1 else f"only {values}"
        case Ref():
            whole = records.get(shape.to)
            return f"record {shape.to}{_tagged(whole) if whole is not None else ''}"
        case Record():
            return f"record{_tagged(shape)}"
        case ListOf() | SetOf():
            what = "list" if isinstance(shape, ListOf) else "set"
            return f"{what} of {said(shape.of, records)}{_sized(shape, 'elements')}"
        case MapOf():
            what = f"map of {said(shape.keys, records)} to {said(shape.values, records)}"
            return f"{what}{_sized(shape, 'entries')}"
        case TupleOf():
            return f"list of exactly ({', '.join(said(member, records) for member in shape.of)})"
        case Int():
            return " ".join((_name(shape), *_bounds(shape)))
        case Text():
            pattern = f" that matches {shape.pattern!r}" if shape.pattern is not None else ""
            return f"{shape.form or 'text'}{_sized(shape, 'characters')}{pattern}"
        case Bytes():
            return f"bytes{_sized(shape, 'bytes')}"
        case _:
            return _name(shape)


def _tagged(record: Record) -> str:
    return f" ({record.tag_field} {record.tag!r})" if record.tag_field else ""


def _name(shape: Shape) -> str:
    return str(type(shape).__struct_config__.tag)


def _bounds(shape: Int) -> Iterator[str]:
    if shape.gt is not None:
        yield f"above {shape.gt}"
    if shape.ge is not None:
        yield f"from {shape.ge}"
    if shape.lt is not None:
        yield f"below {shape.lt}"
    if shape.le is not None:
        yield f"to {shape.le}"
    if shape.multiple_of is not None:
        yield f"in steps of {shape.multiple_of}"


def _sized(shape: Sized, unit: str) -> str:
    low, high = shape.min_length, shape.max_length
    if low is None and high is None:
        return ""
    if low is not None and high is not None:
        return f" of {low} to {high} {unit}" if low != high else f" of {low} {unit}"
    return f" of at least {low} {unit}" if high is None else f" of at most {high} {unit}"
