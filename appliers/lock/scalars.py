"""Sample values without anything inside: numbers, texts, bytes, and what is written as text."""

from __future__ import annotations

from decimal import Decimal as Number
from typing import Any, NamedTuple

from appliers.lock.patterns import matching
from appliers.lock.shape import (
    AnyShape,
    Anything,
    Boolean,
    Bytes,
    Decimal,
    Int,
    Null,
    OneOf,
    Text,
    said,
)

MEMBER, BOUND, MORE = range(3)
"""How much a choice is needed: another member of a union or value of an enumeration, the bound of
one field, everything else."""
_LENGTH_MAX = 64  # a longer bound is not tried
_VALUES_MAX = 32  # of an enumeration

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


class Choice(NamedTuple):
    """One value that a shape takes, and what it shows. The first of several is the usual one."""

    label: str
    value: Any
    need: int = BOUND


class NoSampleError(Exception):
    """No sample can be made: a pattern that nothing tried matches, a record without an end."""


def scalar_choices(shape: AnyShape) -> list[Choice] | None:
    """The choices of a shape that holds no other; ``None`` for one that does.

    Raises:
        NoSampleError: there is none.
    """
    match shape:
        case Anything():
            others: dict[str, Any] = {"a number": 7, "a map": {"a": [1]}, "null": None}
            return [
                Choice("whole", "text"),
                *(Choice(label, value, MORE) for label, value in others.items()),
            ]
        case Null():
            return [Choice("null", None, MEMBER)]
        case Boolean():
            return [Choice("true", value=True), Choice("false", value=False)]
        case Int():
            return _ints(shape)
        case Decimal():
            return [
                Choice("12.5", Number("12.5")),
                Choice("38 digits", Number("1234567890123456789012345678.9012345678")),
                Choice("negative", Number("-0.01")),
                Choice("0", 0, MORE),
            ]
        case Text():
            return _texts(shape)
        case Bytes():
            return [c._replace(value=c.value.encode()) for c in _lengths(shape, "bytes", "ab")]
        case OneOf():
            return [Choice(repr(value), value, MEMBER) for value in shape.values[:_VALUES_MAX]]
        case _:
            return None


def _ints(shape: Int) -> list[Choice]:
    step = shape.multiple_of or 1
    low = shape.ge if shape.gt is None else shape.gt + 1
    high = shape.le if shape.lt is None else shape.lt - 1
    low = None if low is None else -(-low // step) * step
    high = None if high is None else high // step * step
    if low is not None and high is not None and low > high:
        raise NoSampleError(f"an {said(shape)}")
    typical = 7 // step * step or step
    typical = typical if low is None else max(typical, low)
    typical = typical if high is None else min(typical, high)
    least = (
        Choice("smallest", low) if low is not None else Choice("negative", -abs(typical) or -step)
    )
    most = (
        Choice("largest", high)
        if high is not None
        else Choice("large", 10**15 // step * step, MORE)
    )
    found = [Choice(str(typical), typical), least, most, Choice("0", 0, MORE)]
    return [
        choice
        for choice in found
        if (low is None or choice.value >= low) and (high is None or choice.value <= high)
    ]


def _texts(shape: Text) -> list[Choice]:
    if shape.form:
        return [Choice(text, text) for text in _FORMS[shape.form]]
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
    return [Choice(repr(text), text) for text in found]


def _lengths(shape: Text | Bytes, typical: str, letters: str) -> list[Choice]:
    low, high = shape.min_length or 0, shape.max_length
    if high is not None and low > high:
        raise NoSampleError(f"a {said(shape)}")

    def of_length(length: int, letters: str = letters) -> str:
        return (letters * (length // len(letters) + 1))[:length]

    usual = max(low, len(typical) if high is None else min(len(typical), high))
    found = [
        Choice("whole", of_length(usual, typical)),
        Choice("shortest" if low else "empty", of_length(low)),
    ]
    if high is not None and high <= _LENGTH_MAX:
        found.append(Choice("longest", of_length(high)))
    elif not letters.isascii():
        found.append(Choice("beyond ASCII", of_length(max(low, 3)), MORE))
    return found
