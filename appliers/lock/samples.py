"""Sample data of a shape: few, always the same, and one for everything that may go wrong.

The first has every field; the next only the required ones; then each departs from the first in one
place: another member of a union, another value of an enumeration, null, a bound, an empty list, a
field left out. Nothing is random: two machines make the same samples, and a reviewer can read them.
"""

from __future__ import annotations

from decimal import Decimal as Number
from itertools import islice
from typing import Any, TypeAlias

from appliers.lock.scalars import BOUND, MEMBER, MORE, Choice, NoSampleError, scalar_choices
from appliers.lock.shape import (
    AnyShape,
    ListOf,
    MapOf,
    Null,
    OneOfShapes,
    Record,
    Ref,
    Schema,
    SetOf,
    TupleOf,
    said,
)
from binlog.values import encode_value

SAMPLES_WANTED = 16
"""Of one version. Members of unions, values of enumerations and a bound of each field are made even
if there are more; the rest is left out then."""
SAMPLES_MAX = 48
_TURNS_MAX = 32  # departures of one field

Sample: TypeAlias = tuple[str, Any]
"""What it shows, in words, and the published data."""


def samples(schema: Schema) -> list[Sample]:
    """The samples of ``schema``, at most `SAMPLES_MAX`, all different.

    Raises:
        NoSampleError: there is none; it says for what.
        RefusedError: data that no event can hold.
    """
    found: dict[bytes, Choice] = {}
    first, *others = _Maker(schema).choices(schema.data)
    for choice in (first, *sorted(others, key=lambda choice: choice.need)):
        found.setdefault(encode_value(choice.value, outer=1), choice)
    needed = sum(choice.need < MORE for choice in found.values())
    count = min(max(needed, SAMPLES_WANTED), SAMPLES_MAX)
    return [(choice.label, choice.value) for choice in islice(found.values(), count)]


def _inside(choices: list[Choice]) -> list[Choice]:
    """The choices of something inside of another: its bounds are less needed than the other's."""
    return [c._replace(need=MORE) if c.need == BOUND else c for c in choices]


class _Maker:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._within: list[str] = []  # the records that are being made

    def choices(self, shape: AnyShape) -> list[Choice]:
        scalars = scalar_choices(shape)
        if scalars is not None:
            return scalars
        match shape:
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
            case Ref():
                return self._ref(shape)
            case _:
                raise NoSampleError(f"a {said(shape)}")

    def _ref(self, shape: Ref) -> list[Choice]:
        if shape.to in self._within:
            raise NoSampleError(f"the record {shape.to} holds itself without an end")
        self._within.append(shape.to)
        try:
            return _inside(self.choices(self._schema.records[shape.to]))
        finally:
            self._within.pop()

    def _record(self, record: Record) -> list[Choice]:
        choices: dict[str, list[Choice]] = {}
        for name, field in record.fields.items():
            try:
                choices[name] = self.choices(field.type)
            except NoSampleError:
                if field.required:
                    raise
        whole = {name: of[0].value for name, of in choices.items()}
        required = {name: whole[name] for name in whole if record.fields[name].required}
        found = [Choice("whole", whole)]
        if required != whole:
            found.append(Choice("only what is required", required, MEMBER))
        # The first departures of each field before the later ones of any.
        for turn in range(1, _TURNS_MAX):
            for name, of in choices.items():
                for label, value, need in of[turn : turn + 1]:
                    found.append(Choice(f"{name}: {label}", {**whole, name: value}, need))
        made = ((choice, _made(record, choice.value)) for choice in found)
        return [choice._replace(value=value) for choice, value in made if value is not None]

    def _union(self, shape: OneOfShapes) -> list[Choice]:
        typical, more, endless = [], [], None
        # Null last, so that the whole sample shows what there can be.
        for member in sorted(shape.of, key=lambda member: isinstance(member, Null)):
            try:
                first, *others = self.choices(member)
            except NoSampleError as error:
                endless = error
                continue
            typical.append(Choice(said(member, self._schema.records), first.value, MEMBER))
            more += _inside(others)
        if endless is not None and not typical:
            raise endless
        return [*typical, *more]

    def _list(self, shape: ListOf) -> list[Choice]:
        low, high = shape.min_length or 0, shape.max_length
        if high is not None and low > high:
            raise NoSampleError(f"a {said(shape)}")
        try:
            of = self.choices(shape.of)
        except NoSampleError:
            if low:
                raise
            return [Choice("empty", [])]
        usual = of[0].value
        typical = max(low, 1 if high is None or high else 0)
        several = [usual, *(choice.value for choice in of)][: min(high or 3, 3)]
        found = [Choice("whole", [usual] * typical)]
        if low == 0:
            found.append(Choice("empty", []))
        if low <= len(several) > typical:
            found.append(Choice("several", several, MORE))
        if high is not None and 3 < high <= _TURNS_MAX:
            found.append(Choice("longest", [usual] * high))
        if typical:
            rest = [usual] * (typical - 1)
            found += [c._replace(value=[c.value, *rest]) for c in _inside(of[1:])]
        return found

    def _set(self, shape: SetOf) -> list[Choice]:
        of = [c.value for c in self.choices(shape.of) if _kind(c.value)]
        low, high = max(shape.min_length or 1, 1), shape.max_length
        kinds = list(dict.fromkeys(value for value in of if _kind(value) == _kind(of[0])))
        if len(kinds) < low or (high is not None and high < low):
            raise NoSampleError(f"a {said(shape)}")
        found = [Choice("whole", frozenset(kinds[:low]))]
        if (high is None or high > low) and len(kinds) > low:
            found.append(Choice("several", frozenset(kinds[: min(high or 3, 3)]), MORE))
        return [choice for choice in found if len(choice.value) >= low]

    def _map(self, shape: MapOf) -> list[Choice]:
        low, high = shape.min_length or 0, shape.max_length
        keys = list(dict.fromkeys(c.value for c in self.choices(shape.keys) if c.value))
        count = max(low, 1 if high is None or high else 0)
        if len(keys) < count or (high is not None and low > high):
            raise NoSampleError(f"a {said(shape)}")
        try:
            of = self.choices(shape.values)
        except NoSampleError:
            if low:
                raise
            return [Choice("empty", {})]
        whole = dict.fromkeys(keys[:count], of[0].value)
        found = [Choice("whole", whole)]
        if low == 0:
            found.append(Choice("empty", {}))
        if count:
            found += [c._replace(value={**whole, keys[0]: c.value}) for c in _inside(of[1:])]
        return found

    def _places(self, shape: TupleOf) -> list[Choice]:
        of = [self.choices(element) for element in shape.of]
        whole = [choices[0].value for choices in of]
        return [
            Choice("whole", whole),
            *(
                Choice(f"[{n}]: {c.label}", [*whole[:n], c.value, *whole[n + 1 :]], c.need)
                for n, choices in enumerate(of)
                for c in _inside(choices[1:])
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


def _kind(value: Any) -> str:
    """Of a member of a set; "": it cannot be one."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bytes):
        return "bytes"
    return "number" if isinstance(value, int | Number) and not isinstance(value, bool) else ""
