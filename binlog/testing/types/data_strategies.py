"""Strategies of published data for whole types: classes, containers, unions, recursion.

`DataStrategies` walks a type's tree (`binlog.testing.types.described`) and builds one strategy a node.
It carries the room: how many containers may still stand around each other, so that nothing is
deeper than what publishing accepts, and a recursion ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from binlog.errors import RefusedError
from binlog.testing.types import hostile as odd
from binlog.testing.types.anything import MEMBERS, SIZE_ORDINARY, Growth, anything, grown
from binlog.testing.types.class_fields import ClassFields, arrays, maps
from binlog.testing.types.described import (
    CLASSES,
    LISTS,
    MAPS,
    SETS,
    Class,
    Description,
    bare,
    children,
    keys_of_field,
    name_of,
)
from binlog.testing.types.leaves import leaf, pool, spread, texts
from binlog.typed import as_data
from binlog.values import decode_value, encode_value

RECURSION_MAX = 3
"""Times that a class may stand inside itself before the shortest way out is taken."""

_Made = st.SearchStrategy[Any]


class Where(msgspec.Struct, frozen=True):
    """A place in a type: its path from the root, and the key of ``fields`` that replaces it."""

    path: str
    key: str

    def below(self, step: str, key: str = "") -> Where:
        return Where(self.path + step, key or self.key)

    def refuse(self, what: str, do: str = "", *, given: str = "st.integers()") -> RefusedError:
        instead = f'say what it holds: fields={{"{self.key}": {given}}}'
        return RefusedError(f"{self.path}: {what}", do=f"{do}, or {instead}" if do else instead)


def published(value: object) -> Any:
    """``value``, typed or plain, as it comes out of a log.

    Raises:
        RefusedError: it cannot be published.
    """
    return decode_value(encode_value(as_data(value), outer=1))


class DataStrategies:
    """Builds strategies for one type and those inside it."""

    def __init__(
        self, description: Description, fields: Mapping[str, _Made], *, hostile: bool
    ) -> None:
        self._description = description
        self._fields = fields
        self._hostile = hostile
        self._made: dict[object, _Made] = {}

    def build(self, name: str) -> _Made:
        """The strategy of the described type, called ``name`` in paths.

        Raises:
            RefusedError: a type that cannot be published or has no end, with its path.
        """
        where = Where(name, name)
        return self._node(self._description.root, odd.CONTAINERS_MAX, where, ())

    def _node(self, node: inspect.Type, room: int, where: Where, trail: tuple[int, ...]) -> _Made:
        node = bare(node)
        if isinstance(node, CLASSES):
            return self._class(node, room, where, trail)
        if isinstance(node, inspect.UnionType):
            return self._union(node, room, where, trail)
        if self._description.least(node) > room:
            raise where.refuse(f"nesting above {odd.CONTAINERS_MAX} containers")
        if isinstance(node, LISTS):
            return self._list(node, room, where, trail)
        if isinstance(node, MAPS):
            return self._map(node, room, where, trail)
        if isinstance(node, SETS):
            return self._set(node, where)
        if isinstance(node, inspect.TupleType):
            steps = enumerate(node.item_types)
            return st.tuples(
                *[self._node(n, room - 1, where.below(f"[{i}]"), trail) for i, n in steps]
            ).map(list)
        if isinstance(node, inspect.AnyType | inspect.RawType):
            return anything(room, hostile=self._hostile)
        try:
            return leaf(node, hostile=self._hostile)
        except RefusedError as error:
            raise where.refuse(error.what, error.do) from error

    # -- classes and unions ----------------------------------------------------------------------

    def _class(self, node: Class, room: int, where: Where, trail: tuple[int, ...]) -> _Made:
        name = name_of(node)
        if name in self._fields:
            return self._fields[name]
        least = self._description.least(node)
        if least > odd.CONTAINERS_MAX:
            raise self._endless(node, where)
        if id(node) in self._description.recursive:
            times = trail.count(id(node))
            if times >= RECURSION_MAX:
                room = min(room, int(least))
            trail = tuple(sorted((*trail, id(node))))
        known = (id(node), room, trail)
        if known not in self._made:
            self._made[known] = self._fields_of(node, room, Where(where.path, name), trail)
        return self._made[known]

    def _fields_of(self, node: Class, room: int, where: Where, trail: tuple[int, ...]) -> _Made:
        required: list[tuple[str, _Made]] = []
        optional: list[tuple[str, _Made, bytes | None]] = []
        for field in node.fields:
            key = next((k for k in keys_of_field(node, field) if k in self._fields), None)
            place = where.below(f".{field.name}", f"{where.key}.{field.name}")
            if key is not None:
                made = self._fields[key]
            elif not field.required and self._description.least(field.type) > room - 1:
                continue
            else:
                made = self._node(field.type, room - 1, place, trail)
            if field.required:
                required.append((field.encode_name, made))
            else:
                optional.append((field.encode_name, made, _omitted(node, field)))
        tag = getattr(node, "tag", None)
        head = {} if tag is None else {str(getattr(node, "tag_field", "")): tag}
        together = ClassFields(where.key, head, required, optional)
        as_list = isinstance(node, inspect.NamedTupleType) or getattr(node, "array_like", False)
        return arrays(together) if as_list else maps(together)

    def _endless(self, node: Class, where: Where) -> RefusedError:
        for field in node.fields:
            endless = self._description.least(field.type) > odd.CONTAINERS_MAX
            if field.required and endless and not self._description.is_given(node, field):
                place = where.below(f".{field.name}", f"{name_of(node)}.{field.name}")
                if math.isinf(self._description.least(field.type)):
                    return place.refuse(
                        "each needs another one without end", "make it optional", given="st.none()"
                    )
                return place.refuse(f"nesting above {odd.CONTAINERS_MAX} containers")
        raise AssertionError(f"{name_of(node)} ends")  # pragma: no cover

    def _union(
        self, node: inspect.UnionType, room: int, where: Where, trail: tuple[int, ...]
    ) -> _Made:
        members = sorted(map(bare, node.types), key=lambda n: not isinstance(n, inspect.NoneType))
        open_ones = [member for member in members if self._description.least(member) <= room]
        # All of them, if none is: the refusal of the first says why.
        return st.one_of([self._node(m, room, where, trail) for m in open_ones or members])

    # -- containers ------------------------------------------------------------------------------

    def _list(self, node: Any, room: int, where: Where, trail: tuple[int, ...]) -> _Made:
        low, high = self._sizes(node, where)
        if high == 0 or self._description.least(node.item_type) > room - 1:
            return st.builds(list)
        item = self._node(node.item_type, room - 1, where.below("[]"), trail)
        ordinary = st.lists(item, min_size=low, max_size=_ordinary(low, high))
        count = odd.MANY_ELEMENTS if self._is_leaf(node.item_type) else SIZE_ORDINARY
        many = partial(_repeated, max(low, min(count, high or count)), low)
        return self._grown(ordinary, [many])

    def _map(self, node: Any, room: int, where: Where, trail: tuple[int, ...]) -> _Made:
        low, high = self._sizes(node, where)
        if high == 0 or self._description.least(node.value_type) > room - 1:
            return st.builds(dict)
        value = self._node(node.value_type, room - 1, where.below("[]"), trail)
        key_node = bare(node.key_type)
        key = self._key(key_node, low, where.below(" (a key)"))
        most = _ordinary(low, high)
        ordinary = st.dictionaries(key, value, min_size=low, max_size=most)
        if not _is_free(key_node):
            return ordinary
        return self._grown(
            ordinary,
            [
                partial(_under, names, low)
                for names in odd.NAMES_TOGETHER
                if low <= len(names) <= (len(names) if high is None else high)
                and (len(names) <= SIZE_ORDINARY or self._is_leaf(node.value_type))
            ],
        )

    def _is_leaf(self, node: inspect.Type) -> bool:
        """Whether its values are small: many equal containers would make one event of thousands."""
        return not isinstance(bare(node), inspect.AnyType) and not any(
            True for _ in children(bare(node))
        )

    def _key(self, node: inspect.Type, count: int, where: Where) -> _Made:
        """Attribute names: the texts of what the keys of a mapping may be, at least ``count``."""
        if isinstance(node, inspect.AnyType):
            node = inspect.StrType()
        if isinstance(node, inspect.EnumType | inspect.LiteralType):
            names = [str(value) for value in _values(node) if value not in (None, "")]
            if len(names) < count:
                raise where.refuse(f"at least {count} keys, and there are not so many")
            return pool(names)
        many = spread(node).map(str) if count > SIZE_ORDINARY else st.nothing()
        if isinstance(node, inspect.StrType):
            try:
                return texts(node, hostile=self._hostile, names=True) | many
            except RefusedError as error:
                raise where.refuse(error.what) from error
        if isinstance(node, inspect.UnionType):
            return st.one_of([self._key(bare(member), count, where) for member in node.types])
        if isinstance(node, (inspect.IntType, *_TEXT_LEAVES)):
            return self._node(node, 0, where, ()).map(str) | many
        raise where.refuse("an attribute name is text", "use str or int", given="st.just({})")

    def _set(self, node: Any, where: Where) -> _Made:
        """Sets of one kind of member; never empty, since DynamoDB has no empty set."""
        low, high = self._sizes(node, where)
        if high == 0:
            raise where.refuse("an empty set cannot be published")
        low = max(low, 1)
        item = bare(node.item_type)
        kinds = self._members(item, where.below("{}"))
        if low > SIZE_ORDINARY:  # more than meet in a pool of few
            kinds.append((spread(item), None))
        made = []
        for member, count in kinds:
            if count is not None and count < low:
                continue
            most = min(_ordinary(low, high), count or _ordinary(low, high))
            made.append(st.frozensets(member, min_size=low, max_size=most))
        if not made:
            raise where.refuse(f"a set of {low} members, and there are not so many")
        return st.one_of(made)

    def _members(self, node: inspect.Type, where: Where) -> list[tuple[_Made, int | None]]:
        """For each kind of set its members, and how many there are if that is known."""
        if isinstance(node, inspect.UnionType):
            return [kind for member in node.types for kind in self._members(bare(member), where)]
        if isinstance(node, inspect.AnyType):
            return [kind for member in MEMBERS for kind in self._members(member, where)]
        if isinstance(node, inspect.EnumType | inspect.LiteralType):
            kinds = [[v for v in _values(node) if type(v) is kind] for kind in (str, int)]
            found: list[tuple[_Made, int | None]] = [
                (st.sampled_from(kind), len(set(kind))) for kind in kinds if kind
            ]
            if found:
                return found
        elif isinstance(node, _SET_LEAVES):
            return [(self._node(node, 0, where, ()), None)]
        raise where.refuse("a set holds texts, numbers or bytes", "use a list")

    def _sizes(self, node: Any, where: Where) -> tuple[int, int | None]:
        low, high = node.min_length or 0, node.max_length
        if high is not None and high < low:
            raise where.refuse(f"no size is from {low} to {high}")
        if low > odd.ELEMENTS_MAX:
            raise where.refuse(f"at least {low} elements are too many for one event")
        return low, high

    def _grown(self, ordinary: _Made, ways: Sequence[Callable[[Any], Any]]) -> _Made:
        return grown(Growth(ordinary, ways)) if self._hostile and ways else ordinary


# -- pieces --------------------------------------------------------------------------------------

_TEXT_LEAVES = (
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
)
_SET_LEAVES = (
    inspect.StrType,
    inspect.IntType,
    inspect.DecimalType,
    inspect.BytesType,
    *_TEXT_LEAVES,
)


def _repeated(count: int, low: int, elements: list[Any]) -> list[Any]:
    """The last element again and again."""
    more = _times(count, low, elements[-1]) - len(elements)
    return elements + [deepcopy(elements[-1]) for _ in range(more)]


def _under(names: Sequence[str], low: int, attributes: dict[str, Any]) -> dict[str, Any]:
    """One of the values under ``names``."""
    value = next(iter(attributes.values()))
    return {name: deepcopy(value) for name in names[: _times(len(names), low, value)]}


def _times(count: int, low: int, value: Any) -> int:
    """``count``, or fewer of a value so large that an event would soon be full."""
    return max(low, min(count, odd.REPEATED_BYTES // len(encode_value(value))))


def _ordinary(low: int, high: int | None) -> int:
    return low + SIZE_ORDINARY if high is None else min(high, low + SIZE_ORDINARY)


def _is_free(key: inspect.Type) -> bool:
    """Whether any text is a key."""
    return isinstance(key, inspect.AnyType) or key == inspect.StrType()


def _values(node: inspect.EnumType | inspect.LiteralType) -> list[Any]:
    """The published values that there are."""
    if isinstance(node, inspect.LiteralType):
        return list(node.values)
    return [as_data(member) for member in node.cls]


def _omitted(node: Class, field: inspect.Field) -> bytes | None:
    """Canonical bytes of the default, where ``omit_defaults`` keeps it out of the data."""
    config: Any = getattr(node.cls, "__struct_config__", None)
    if config is None or not config.omit_defaults:
        return None
    default = field.default
    if field.default_factory in (list, dict):
        default = field.default_factory()
    if default is msgspec.NODEFAULT:
        return None
    try:
        return encode_value(as_data(default))
    except RefusedError:  # a default that no publisher can send
        return None
