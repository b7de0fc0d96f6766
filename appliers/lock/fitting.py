"""Whether published data are of a shape; if not, where and why."""

from __future__ import annotations

import re
from decimal import Decimal as Number
from typing import Any

from appliers.lock.shape import (
    AnyShape,
    Anything,
    Boolean,
    Bytes,
    Decimal,
    Int,
    ListOf,
    MapOf,
    Null,
    OneOf,
    Record,
    Schema,
    SetOf,
    Sized,
    Text,
    TupleOf,
    members,
    said,
)


def misfit(schema: Schema, value: Any) -> str | None:
    """Why ``value`` is not of the shape, with its path; ``None`` if it is.

    A record may hold more than its fields, as an upcaster leaves it. What is written in text that
    has a form ("uuid") is not looked at.
    """
    return _misfit(schema, schema.data, value, "")


def _misfit(schema: Schema, shape: AnyShape, value: Any, path: str) -> str | None:
    reasons = []
    # As msgspec reads it: a tag that tells nothing apart may be missing.
    lone = sum(isinstance(schema.resolve(member), Record) for member in members(shape)) == 1
    for member in members(shape):
        whole = schema.resolve(member)
        if not _is_kind(whole, value):
            continue
        reason = _inside(schema, whole, value, path, lone=lone)
        if reason is None:
            return None
        reasons.append(reason)
    # A reason from inside a member that it could have been says more than all that it is not.
    return reasons[0] if len(reasons) == 1 else _wrong(shape, value, path)


def _wrong(shape: AnyShape, value: Any, path: str) -> str:
    return f"{path or 'the data'} should be {said(shape)}, and is {_shown(value)}"


def _is_kind(shape: AnyShape, value: Any) -> bool:
    match shape:
        case Anything():
            return True
        case Null():
            return value is None
        case Boolean():
            return isinstance(value, bool)
        case Int():
            return isinstance(value, int) and not isinstance(value, bool)
        case Decimal():
            return isinstance(value, int | Number) and not isinstance(value, bool)
        case Text():
            return isinstance(value, str)
        case Bytes():
            return isinstance(value, bytes)
        case OneOf():
            return isinstance(value, str | int) and not isinstance(value, bool)
        case ListOf() | TupleOf():
            return isinstance(value, list)
        case SetOf():
            return isinstance(value, set | frozenset)
        case Record(order=None):
            return isinstance(value, dict)
        case Record():
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


def _inside(schema: Schema, shape: AnyShape, value: Any, path: str, *, lone: bool) -> str | None:
    """Why a value of the right kind does not fit."""
    if isinstance(shape, Sized) and not _sized(shape, value):
        return _wrong(shape, value, path)
    match shape:
        case Int():
            return None if _bounded(shape, value) else _wrong(shape, value, path)
        case Text(pattern=str(pattern)):
            return None if re.search(pattern, value) else _wrong(shape, value, path)
        case OneOf():
            return None if value in shape.values else _wrong(shape, value, path)
        case ListOf():
            places = ((element, f"{path}[{n}]") for n, element in enumerate(value))
            return _first(schema, shape.of, places)
        case SetOf():
            return _first(schema, shape.of, ((element, f"{path}[]") for element in value))
        case MapOf():
            return _first(schema, shape.keys, ((key, f"{path}{{key}}") for key in value)) or _first(
                schema, shape.values, ((v, f"{path}{{{key}}}") for key, v in value.items())
            )
        case TupleOf():
            if len(value) != len(shape.of):
                return _wrong(shape, value, path)
            found = (
                _misfit(schema, of, element, f"{path}[{n}]")
                for n, (of, element) in enumerate(zip(shape.of, value, strict=True))
            )
            return next(filter(None, found), None)
        case Record():
            return _record(schema, shape, value, path, lone=lone)
        case _:
            return None


def _first(schema: Schema, shape: AnyShape, places: Any) -> str | None:
    found = (_misfit(schema, shape, value, path) for value, path in places)
    return next(filter(None, found), None)


def _record(schema: Schema, record: Record, value: Any, path: str, *, lone: bool) -> str | None:
    if record.order is not None:
        names = [*([record.tag_field] if record.tag_field else []), *record.order]
        value = dict(zip(names, value, strict=False))
    may_lack = lone and record.order is None and record.tag_field not in value
    if record.tag_field and not may_lack and value.get(record.tag_field) != record.tag:
        found = _shown(value.get(record.tag_field))
        return f"{path or 'the data'} should have {record.tag_field} {record.tag!r}, not {found}"
    for name, field in record.fields.items():
        place = f"{path}.{name}" if path else name
        if name in value:
            if reason := _misfit(schema, field.type, value[name], place):
                return reason
        elif field.required:
            return f"{place} is missing"
    return None


def _sized(shape: Sized, value: Any) -> bool:
    return (shape.min_length or 0) <= len(value) and (
        shape.max_length is None or len(value) <= shape.max_length
    )


def _bounded(shape: Int, value: int) -> bool:
    return (
        (shape.gt is None or value > shape.gt)
        and (shape.ge is None or value >= shape.ge)
        and (shape.lt is None or value < shape.lt)
        and (shape.le is None or value <= shape.le)
        and (shape.multiple_of is None or value % shape.multiple_of == 0)
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
