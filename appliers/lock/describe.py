"""From the Python type of an event's data to its shape, by what msgspec says about the type."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

from appliers.lock.shape import (
    AnyShape,
    Anything,
    Boolean,
    Bytes,
    Decimal,
    Field,
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
    members,
)
from binlog.errors import RefusedError
from binlog.json_values import typed_any
from binlog.typed import as_data
from binlog.values import decode_value, encode_value

_FORMS: tuple[tuple[type, str], ...] = (
    (inspect.DateType, "date"),
    (inspect.TimeDeltaType, "duration"),
    (inspect.UUIDType, "uuid"),
)
_ZONES = {None: "", True: " with zone", False: " without zone"}


def schema_of(data_type: Any, *, name: str) -> Schema:
    """The shape of what a value of ``data_type`` is published as (`binlog.typed`).

    ``name`` is what an error calls it: "Placed, schema 1".

    Raises:
        RefusedError: a type that msgspec does not know, or values that no event can hold (floats,
            objects of a class of one's own); it names the field.
    """
    try:
        info = inspect.type_info(data_type)
    except (TypeError, NameError) as error:
        raise RefusedError(
            f"the type {_name_of(data_type)} cannot be described ({error})",
            name,
            "declare data= as a Struct, a dataclass or a TypedDict that msgspec takes",
        ) from error
    describer = _Describer(name)
    data = describer.shape(info, "")
    if isinstance(data, Ref) and data.to not in describer.nested:
        # The data themselves, and nothing inside refers to them.
        data = describer.records.pop(data.to)
    return Schema(data, dict(sorted(describer.records.items())))


class _Describer:
    def __init__(self, where: str) -> None:
        self.records: dict[str, Record] = {}
        self.nested: set[str] = set()  # referred to from inside of the data
        self._where = where
        self._names: dict[Any, str] = {}

    def shape(self, info: inspect.Type, path: str) -> AnyShape:
        match info:
            case inspect.Metadata():
                return self.shape(info.type, path)
            case inspect.AnyType():
                return Anything()
            case inspect.NoneType():
                return Null()
            case inspect.BoolType():
                return Boolean()
            case inspect.IntType():
                return Int(info.gt, info.ge, info.lt, info.le, info.multiple_of)
            case inspect.DecimalType():
                return Decimal()
            case inspect.StrType():
                return Text(info.min_length, info.max_length, info.pattern)
            case inspect.BytesType() | inspect.ByteArrayType() | inspect.MemoryViewType():
                return Bytes(info.min_length, info.max_length)
            case inspect.DateTimeType():
                return Text(form=f"datetime{_ZONES[info.tz]}")
            case inspect.TimeType():
                return Text(form=f"time{_ZONES[info.tz]}")
            case inspect.EnumType():
                return self._values([member.value for member in info.cls], path)
            case inspect.LiteralType():
                return self._values(list(info.values), path)
            case inspect.UnionType():
                return _union([self.shape(member, path) for member in info.types])
            case inspect.SetType() | inspect.FrozenSetType():
                return SetOf(
                    info.min_length, info.max_length, of=self.shape(info.item_type, f"{path}[]")
                )
            case inspect.ListType() | inspect.VarTupleType():
                return ListOf(
                    info.min_length, info.max_length, of=self.shape(info.item_type, f"{path}[]")
                )
            case inspect.TupleType():
                return TupleOf(
                    [self.shape(item, f"{path}[{n}]") for n, item in enumerate(info.item_types)]
                )
            case inspect.DictType():
                return self._map(info, path)
            case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
                return self._record(info, path)
            case inspect.NamedTupleType():
                return self._record(info, path)
            case _:
                for kind, form in _FORMS:
                    if isinstance(info, kind):
                        return Text(form=form)
                raise self._refused(info, path)

    def _map(self, info: inspect.DictType, path: str) -> MapOf:
        keys = self.shape(info.key_type, f"{path}{{key}}")
        if isinstance(keys, Int | Decimal):
            keys = Text(form=f"{keys.__struct_config__.tag} as text")
        return MapOf(
            info.min_length,
            info.max_length,
            keys=keys,
            values=self.shape(info.value_type, f"{path}{{}}"),
        )

    def _values(self, values: list[Any], path: str) -> AnyShape:
        texts = sorted({v for v in values if isinstance(v, str)})
        numbers = sorted({int(v) for v in values if isinstance(v, int) and not _is_bool(v)})
        found: list[AnyShape] = []
        if texts:
            found.append(OneOf([str.__str__(text) for text in texts]))
        if numbers:
            found.append(OneOf([*numbers]))
        if None in values:
            found.append(Null())
        if odd := [v for v in values if not isinstance(v, str | int | None) or _is_bool(v)]:
            raise RefusedError(
                f"{_place(path)} has the value {odd[0]!r}",
                self._where,
                "values of an enumeration are text or whole numbers",
            )
        return _union(found)

    def _record(self, info: Any, path: str) -> Ref:
        if info.cls in self._names:
            self.nested.add(self._names[info.cls])
            return Ref(self._names[info.cls])
        name = _name_of(info.cls)
        count = sum(1 for other in self._names.values() if other.partition("#")[0] == name)
        name = f"{name}#{count + 1}" if count else name
        self._names[info.cls] = name
        if len(self._names) > 1:
            self.nested.add(name)
        fields = {
            field.encode_name: self._field(
                field, f"{path}.{field.encode_name}" if path else field.encode_name
            )
            for field in info.fields
        }
        array = isinstance(info, inspect.NamedTupleType) or getattr(info, "array_like", False)
        tagged = getattr(info, "tag", None) is not None
        self.records[name] = Record(
            dict(sorted(fields.items())),
            info.tag_field if tagged else "",
            info.tag if tagged else "",
            list(fields) if array else None,
        )
        return Ref(name)

    def _field(self, field: inspect.Field, path: str) -> Field:
        shape = self.shape(field.type, path)
        if field.required:
            return Field(shape)
        if field.default is not msgspec.NODEFAULT:
            return Field(shape, required=False, default=self._default(field.default, path))
        factory = field.default_factory
        if factory is msgspec.NODEFAULT:
            return Field(shape, required=False)
        if factory in (list, dict, tuple):
            return Field(shape, required=False, default=typed_any({} if factory is dict else []))
        return Field(shape, required=False, made_by=_name_of(factory))

    def _default(self, value: object, path: str) -> dict[str, Any]:
        try:
            return typed_any(decode_value(encode_value(as_data(value), outer=1)))
        except RefusedError as error:
            raise RefusedError(
                f"{_place(path)} has a default that no event can hold: {error.what}",
                self._where,
                error.do,
            ) from error

    def _refused(self, info: Any, path: str) -> RefusedError:
        if isinstance(info, inspect.FloatType):
            what, do = "a float", "declare it as int, Decimal or str: floats are not exact"
        else:
            what = f"a {_name_of(getattr(info, 'cls', type(info)))}"
            do = "give it a type that binlog.typed names, such as a Struct, a date or a Decimal"
        return RefusedError(f"{_place(path)} is {what}, which no event can hold", self._where, do)


def _union(found: list[AnyShape]) -> AnyShape:
    """One shape of all, whatever order they were written in."""
    flat = sorted(
        {
            msgspec.json.encode(m, order="deterministic"): m for f in found for m in members(f)
        }.items()
    )
    return flat[0][1] if len(flat) == 1 else OneOfShapes([member for _, member in flat])


def _place(path: str) -> str:
    return f"the field {path}" if path else "its data"


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _name_of(kind: Any) -> str:
    return str(getattr(kind, "__name__", None) or kind).rpartition(".")[2]
