"""A typed value as data: Structs, dataclasses, enumerations, dates ... as `binlog.values` has them.

    event("OrderPlaced", {"id": "o-1"}, Placed(total=Decimal("12.50")))

publishes ``{"total": Decimal("12.50")}``. The form is msgspec's (renamed fields, tags,
``omit_defaults``; text for dates, times, durations and UUIDs; an enumeration by its value; a
NamedTuple or an ``array_like`` Struct as a list), except where msgspec's would lose something:
``Decimal`` and ``bytes`` stay what they are, and a set stays a set.

=========================================  ===================================================
Struct, dataclass, attrs class             map of its fields, those that are UNSET left out
NamedTuple, tuple, list                    list
dict and other mappings                    map; a key that is a number, a date ... as its text
set, frozenset                             set of texts, of numbers or of bytes; never empty
enumeration                                its value
datetime, date, time, timedelta, UUID      the text that msgspec gives it
bytes, bytearray, memoryview               binary
int, Decimal, str, bool, None              itself
=========================================  ===================================================
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from binlog.errors import RefusedError
from binlog.values import DEPTH_MAX

_Convert: TypeAlias = Callable[[Any], Any]

_SAME = frozenset({str, int, bool, type(None), bytes, Decimal})
_TEXTS = (dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID)
_EMPTY = (list, dict, set, frozenset, tuple)


def as_data(value: object) -> Any:
    """``value`` as data that can be published; plain data come back as they are.

    ``omit_defaults`` leaves out what equals its default, where msgspec asks whether it is the same
    object: else the bytes would depend on which numbers an interpreter keeps only once.

    Raises:
        RefusedError: a float, a set that no item can hold, a key that has no text, or a type
            outside the table; with its path (``Placed.lines[0].price``).
    """
    try:
        return _data(value)
    except _OddError as odd:
        plain = isinstance(value, dict | list | tuple | set | frozenset)
        head = "data" if plain else type(value).__name__
        raise RefusedError(
            f"{odd.what} at {head}{''.join(reversed(odd.path))}", do=odd.do
        ) from odd.__cause__
    except RecursionError as error:
        raise RefusedError(f"nesting above {DEPTH_MAX} levels", limit=DEPTH_MAX) from error


class _OddError(Exception):
    """Something that cannot be data. Those it passes on its way out add to its path."""

    def __init__(self, what: str, do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.do = do
        self.path: list[str] = []

    def below(self, step: str) -> _OddError:
        self.path.append(step)
        return self


def _data(value: object) -> Any:
    kind: Any = type(value)
    return value if kind in _SAME else _converter(kind)(value)


@lru_cache(maxsize=4_096)
def _converter(kind: Any) -> _Convert:
    """What makes data of values of type ``kind``."""
    if issubclass(kind, msgspec.Struct):
        return _array_converter(kind) if kind.__struct_config__.array_like else _of_struct(kind)
    if issubclass(kind, Enum):
        return lambda value: _data(value.value)
    if hasattr(kind, "__dataclass_fields__"):
        return _of_fields([field.name for field in dataclasses.fields(kind)])
    if hasattr(kind, "__attrs_attrs__"):
        return _of_fields([field.name for field in kind.__attrs_attrs__])
    for base, convert in _BASES:
        if issubclass(kind, base):
            return convert
    return _refuse_type


# -- classes with fields -------------------------------------------------------------------------


class _Probe(msgspec.Struct):
    value: list[int] = msgspec.field(default_factory=list)


# msgspec keeps a default factory in an object of a type that has no public name.
_Factory: Any = type(_Probe.__struct_defaults__[0])


def _of_struct(kind: type[msgspec.Struct]) -> _Convert:
    config: Any = kind.__struct_config__
    names, encoded = kind.__struct_fields__, kind.__struct_encode_fields__
    defaults = kind.__struct_defaults__
    missing = (msgspec.NODEFAULT,) * (len(names) - len(defaults))
    fields = tuple(zip(names, encoded, missing + defaults, strict=True))
    tag = {} if config.tag is None else {config.tag_field: config.tag}
    omits = bool(config.omit_defaults)

    def convert(value: Any) -> dict[str, Any]:
        data: dict[str, Any] = dict(tag)
        for name, encoded_name, default in fields:
            content = getattr(value, name)
            if content is msgspec.UNSET or (omits and _is_default(content, default)):
                continue
            try:
                data[encoded_name] = _data(content)
            except _OddError as odd:
                raise odd.below(f".{name}") from odd.__cause__
        return data

    return convert


def _array_converter(kind: type[msgspec.Struct]) -> _Convert:
    tag = [] if (found := kind.__struct_config__.tag) is None else [found]
    names = kind.__struct_fields__

    def convert(value: Any) -> list[Any]:
        data: list[Any] = list(tag)
        for name in names:
            try:
                data.append(_data(getattr(value, name)))
            except _OddError as odd:
                raise odd.below(f".{name}") from odd.__cause__
        return data

    return convert


def _is_default(content: object, default: Any) -> bool:
    if isinstance(default, _Factory):
        factory = default.factory
        return factory in _EMPTY and type(content) is factory and not content
    return type(content) is type(default) and content == default


def _of_fields(names: list[str]) -> _Convert:
    def convert(value: Any) -> dict[str, Any]:
        data = {}
        for name in names:
            content = getattr(value, name, msgspec.UNSET)
            if content is msgspec.UNSET:
                continue
            try:
                data[name] = _data(content)
            except _OddError as odd:
                raise odd.below(f".{name}") from odd.__cause__
        return data

    return convert


# -- containers ----------------------------------------------------------------------------------


def _list(value: Iterable[Any]) -> list[Any]:
    return list(_elements(value))


def _elements(value: Iterable[Any]) -> Iterator[Any]:
    for place, element in enumerate(value):
        try:
            yield _data(element)
        except _OddError as odd:
            raise odd.below(f"[{place}]") from odd.__cause__


def _map(value: Mapping[Any, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, element in value.items():
        name = _name(key)
        if name in data:
            raise _OddError(f"two keys with the text {name!r}")
        try:
            data[name] = _data(element)
        except _OddError as odd:
            raise odd.below(f"[{key!r}]") from odd.__cause__
    return data


def _name(key: object) -> str:
    """The attribute name that a key of a mapping becomes."""
    kind = type(key)
    if kind is str:
        return key  # type: ignore[return-value]
    data = None if isinstance(key, bool) else _data(key)
    if isinstance(data, str):
        return data
    if isinstance(data, int | Decimal) and not isinstance(data, bool):
        return str(data)
    raise _OddError(f"the key {key!r} of a map", "keys are text, or numbers, dates, UUIDs")


def _set(value: Iterable[Any]) -> frozenset[Any]:
    members = frozenset(_elements_of_set(value))
    kinds = {int if type(member) is Decimal else type(member) for member in members}
    if not kinds:
        raise _OddError(
            "an empty set", "DynamoDB has none: leave it out (omit_defaults=True), or use a list"
        )
    if len(kinds) > 1 or not kinds <= {str, int, bytes}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise _OddError(f"a set of {names}", "all strings, all numbers or all bytes; or use a list")
    return members


def _elements_of_set(value: Iterable[Any]) -> Iterator[Any]:
    for member in value:
        try:
            data = _data(member)
            hash(data)
        except _OddError as odd:
            raise odd.below("{}") from odd.__cause__
        except TypeError as error:
            raise _OddError(
                f"a set of {type(member).__name__}", "all strings, all numbers or all bytes"
            ) from error
        yield data


# -- the rest ------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    """The text that msgspec gives it; a subclass (another library's datetime) as its base."""
    if type(value) not in _TEXTS:
        value = _as_base(value)
    return msgspec.to_builtins(value)  # type: ignore[no-any-return]


def _as_base(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        clock = (value.hour, value.minute, value.second, value.microsecond, value.tzinfo)
        return dt.datetime(value.year, value.month, value.day, *clock)  # noqa: DTZ001  with its own
    if isinstance(value, dt.date):
        return dt.date(value.year, value.month, value.day)
    if isinstance(value, dt.time):
        return dt.time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo)
    if isinstance(value, dt.timedelta):
        return dt.timedelta(value.days, value.seconds, value.microseconds)
    return uuid.UUID(int=value.int)


def _refuse_float(value: float) -> Any:
    raise _OddError(f"the float {value!r}", "give an int, a Decimal or text")


def _refuse_raw(_value: object) -> Any:
    raise _OddError("a msgspec.Raw, which does not say its format", "decode it first")


def _refuse_type(value: object) -> Any:
    kind = type(value).__name__
    raise _OddError(
        f"a value of type {kind} is none of DynamoDB's", "give a type that binlog.typed names"
    )


# In order: a class may be a subclass of several.
_BASES: tuple[tuple[Any, _Convert], ...] = (
    (float, _refuse_float),
    (msgspec.Raw, _refuse_raw),
    (str, str.__str__),
    (int, int),
    (Decimal, Decimal),
    (_TEXTS, _text),
    ((bytes, bytearray, memoryview), bytes),
    ((list, tuple), _list),
    (Mapping, _map),
    ((set, frozenset), _set),
)
