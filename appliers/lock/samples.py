"""Sample data of a shape: few, always the same, and one for everything that may go wrong.

The first has every field; the next only the required ones; then each departs from the first in one
place: a bound, another member of a union, another value of an enumeration, null, an empty list, a
field left out. Nothing is random: two machines make the same samples, and a reviewer can read them.
"""

from __future__ import annotations

from decimal import Decimal as Number
from itertools import islice
from typing import Any, TypeAlias

from appliers.lock.patterns import matching
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
    OneOfShapes,
    Record,
    Ref,
    Schema,
    SetOf,
    Text,
    TupleOf,
    said,
)
from binlog.values import encode_value

SAMPLES_MAX = 24
"""Of one version; the later departures are left out."""
_INSIDE_MAX = 6  # of one field
_LENGTH_MAX = 64  # a longer bound is not tried

Sample: TypeAlias = tuple[str, Any]
"""What it shows, in words, and the published data."""

_FORMS = {
    "datetime": ("2024-02-29T12:34:56.789", "2024-02-29T12:34:56Z"),
    "datetime with zone": ("2024-02-29T12:34:56Z", "2024-02-29T23:59:59.999999+05:30"),
    "datetime without zone": ("2024-02-29T12:34:56", "1999-12-31T23:59:59.999999"),
    "date": ("2024-02-29", "1999-12-31"),
    "time": ("12:34:56", "23:59:59.999999"),
    "time with zone": ("12:34:56Z", "23:59:59.999999+05:30"),
    "time without zone": ("12:34:56", "23:59:59.999999"),
    "duration": ("PT90S", "-P1DT1S"),
    "uuid": ("01890a5d-ac96-774b-bcce-b302099a8057", "00000000-0000-0000-0000-000000000000"),
    "int as text": ("7", "-7"),
    "decimal as text": ("12.5", "-7"),
}


class NoSampleError(Exception):
    """No sample can be made: a pattern that nothing tried matches, a record without an end."""


def samples(schema: Schema) -> list[Sample]:
    """The samples of ``schema``, at most `SAMPLES_MAX`, all different.

    Raises:
        NoSampleError: there is none; it says for what.
        RefusedError: data that no event can hold.
    """
    found: dict[bytes, Sample] = {}
    for label, value in _Maker(schema).choices(schema.data):
        found.setdefault(encode_value(value, outer=1), (label, value))
    return list(islice(found.values(), SAMPLES_MAX))


class _Maker:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._within: list[str] = []  # the records that are being made

    def choices(self, shape: AnyShape) -> list[Sample]:
        match shape:
            case Anything():
                return [("whole", "text"), ("a number", 7), ("a map", {"a": [1]}), ("null", None)]
            case Null():
                return [("null", None)]
            case Boolean():
                return [("true", True), ("false", False)]
            case Int():
                return _ints(shape)
            case Decimal():
                return [
                    ("12.5", Number("12.5")),
                    ("0", 0),
                    ("negative", Number("-0.01")),
                    ("38 digits", Number("1234567890123456789012345678.9012345678")),
                ]
            case Text():
                return _texts(shape)
            case Bytes():
                return [(label, text.encode()) for label, text in _lengths(shape, "bytes", "ab")]
            case OneOf():
                return [(repr(value), value) for value in shape.values]
            case Ref():
                return self._ref(shape)
            case Record():
                return self._record(shape)
            case OneOfShapes():
                return self._union(shape)
            case ListOf():
                return self._list(shape)
            case SetOf():
                return self._set(shape)
            case MapOf():
                return self._map(shape)
            case TupleOf():
                return self._places(shape)

    def _ref(self, shape: Ref) -> list[Sample]:
        if shape.to in self._within:
            raise NoSampleError(f"the record {shape.to} holds itself without an end")
        self._within.append(shape.to)
        try:
            return self.choices(self._schema.records[shape.to])
        finally:
            self._within.pop()

    def _record(self, record: Record) -> list[Sample]:
        choices: dict[str, list[Sample]] = {}
        for name, field in record.fields.items():
            try:
                choices[name] = self.choices(field.type)
            except NoSampleError:
                if field.required:
                    raise
        whole = {name: of[0][1] for name, of in choices.items()}
        required = {name: whole[name] for name in whole if record.fields[name].required}
        found = [("whole", whole)]
        if required != whole:
            found.append(("only what is required", required))
        found += [
            (f"{name}: {label}", {**whole, name: value})
            # The first departures of each field before the later ones of any.
            for turn in range(1, _INSIDE_MAX)
            for name, of in choices.items()
            for label, value in of[turn : turn + 1]
        ]
        return [
            (label, made) for label, fields in found if (made := _made(record, fields)) is not None
        ]

    def _union(self, shape: OneOfShapes) -> list[Sample]:
        typical, more, endless = [], [], None
        # Null last, so that the whole sample shows what there can be.
        for member in sorted(shape.of, key=lambda member: isinstance(member, Null)):
            try:
                first, *others = self.choices(member)
            except NoSampleError as error:
                endless = error
                continue
            typical.append((said(member), first[1]))
            more += [(label, value) for label, value in others]
        if endless is not None and not typical:
            raise endless
        return [*typical, *more]

    def _list(self, shape: ListOf) -> list[Sample]:
        low, high = shape.min_length or 0, shape.max_length
        try:
            of = self.choices(shape.of)
        except NoSampleError:
            if low:
                raise
            return [("empty", [])]
        values = [value for _, value in of]
        typical = max(low, 1 if high is None or high else 0)
        found = [("whole", [values[0]] * typical)]
        if low == 0:
            found.append(("empty", []))
        if high is None or high > typical:
            found.append(("several", [values[0], *values][: min(high or 3, 3)]))
        if high is not None and 3 < high <= _LENGTH_MAX:
            found.append(("longest", [values[0]] * high))
        if typical:
            found += [(label, [value, *[values[0]] * (typical - 1)]) for label, value in of[1:]]
        return [(label, value) for label, value in found if len(value) >= low]

    def _set(self, shape: SetOf) -> list[Sample]:
        of = [value for _, value in self.choices(shape.of) if not isinstance(value, list | dict)]
        if not of:
            raise NoSampleError(f"a {said(shape)}")
        low, high = max(shape.min_length or 1, 1), shape.max_length
        kinds = list(dict.fromkeys(value for value in of if _kind(value) == _kind(of[0])))
        if len(kinds) < low or _kind(of[0]) == "":
            raise NoSampleError(f"a {said(shape)}")
        found = [("whole", frozenset(kinds[:low]))]
        if high is None or high > low:
            found.append(("several", frozenset(kinds[: min(high or 3, 3)])))
        return found

    def _map(self, shape: MapOf) -> list[Sample]:
        keys = list(dict.fromkeys(key for _, key in self.choices(shape.keys) if key))
        low = shape.min_length or 0
        try:
            of = self.choices(shape.values)
        except NoSampleError:
            if low:
                raise
            return [("empty", {})]
        if len(keys) < max(low, 1):
            raise NoSampleError(f"a {said(shape)}")
        names = keys[: max(low, 1)] if shape.max_length != 0 else []
        found: list[Sample] = [("whole", dict.fromkeys(names, of[0][1]))]
        if low == 0:
            found.append(("empty", {}))
        if names:
            found += [
                (label, {**dict.fromkeys(names, of[0][1]), names[0]: value})
                for label, value in of[1:]
            ]
        return found

    def _places(self, shape: TupleOf) -> list[Sample]:
        of = [self.choices(element) for element in shape.of]
        whole = [choices[0][1] for choices in of]
        return [
            ("whole", whole),
            *(
                (f"[{place}]: {label}", [*whole[:place], value, *whole[place + 1 :]])
                for place, choices in enumerate(of)
                for label, value in choices[1:]
            ),
        ]


def _made(record: Record, fields: dict[str, Any]) -> Any:
    """The data of a record with these fields; ``None`` for a list with a gap in it."""
    if record.order is None:
        return {**({record.tag_field: record.tag} if record.tag_field else {}), **fields}
    present = [name for name in record.order if name in fields]
    if present != record.order[: len(present)]:
        return None
    return [*([record.tag] if record.tag_field else []), *(fields[name] for name in present)]


def _ints(shape: Int) -> list[Sample]:
    low = shape.ge if shape.gt is None else shape.gt + 1
    high = shape.le if shape.lt is None else shape.lt - 1
    step = shape.multiple_of or 1
    if low is not None:
        low = -(-low // step) * step
    if high is not None:
        high = high // step * step
    if low is not None and high is not None and low > high:
        raise NoSampleError(f"an {said(shape)}")
    typical = 7 // step * step or step
    typical = typical if low is None else max(typical, low)
    typical = typical if high is None else min(typical, high)
    found: list[Sample] = [(str(typical), typical)]
    found.append(
        ("smallest", low) if low is not None else ("negative", -typical if typical else -step)
    )
    found.append(("largest", high) if high is not None else ("large", 10**15 // step * step))
    if (low is None or low <= 0) and (high is None or high >= 0):
        found.append(("0", 0))
    return [
        (label, value)
        for label, value in found
        if (low is None or value >= low) and (high is None or value <= high)
    ]


def _texts(shape: Text) -> list[Sample]:
    if shape.form:
        return [(text, text) for text in _FORMS[shape.form]]
    if shape.pattern is None:
        return _lengths(shape, "text", "aé😀")
    low, high = shape.min_length or 0, shape.max_length
    found = [
        text
        for text in matching(shape.pattern)
        if low <= len(text) and (high is None or len(text) <= high)
    ]
    if not found:
        raise NoSampleError(f"a {said(shape)}")
    return [(repr(text), text) for text in found]


def _lengths(shape: Text | Bytes, typical: str, letters: str) -> list[Sample]:
    low, high = shape.min_length or 0, shape.max_length
    length = max(low, len(typical) if high is None else min(len(typical), high))
    found = [("whole", (typical * (length // len(typical) + 1))[:length])]

    def of_length(length: int) -> str:
        return (letters * (length // len(letters) + 1))[:length]

    if isinstance(shape, Bytes):
        of_length = lambda length: ("ab" * length)[:length]  # noqa: E731
    found.append(("empty" if low == 0 else "shortest", of_length(low)))
    if high is not None and high <= _LENGTH_MAX:
        found.append(("longest", of_length(high)))
    elif low <= 3:
        found.append(("beyond ASCII" if letters.isascii() is False else "short", of_length(3)))
    return found


def _kind(value: Any) -> str:
    """Of a member of a set; "": it cannot be one."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bytes):
        return "bytes"
    return "number" if isinstance(value, int | Number) and not isinstance(value, bool) else ""
