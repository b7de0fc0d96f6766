"""What msgspec says about a type, and what the strategies must know before they build anything.

A type is a tree of msgspec's own nodes (`msgspec.inspect`), in which a class that contains itself
is one node. `Description` adds how many containers the smallest value of each class needs, which
tells where a recursion ends, or that it never does.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Collection, Iterable, Iterator
from typing import Any, TypeAlias

from msgspec import inspect

from binlog.errors import RefusedError

Class: TypeAlias = (
    inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType
)
CLASSES = (
    inspect.StructType,
    inspect.DataclassType,
    inspect.TypedDictType,
    inspect.NamedTupleType,
)
LISTS = (inspect.ListType, inspect.VarTupleType)
SETS = (inspect.SetType, inspect.FrozenSetType)
MAPS: Any = (inspect.DictType, getattr(inspect, "FrozenDictType", inspect.DictType))  # since 0.21


def describe(kind: Any) -> inspect.Type:
    """The node of a type.

    Raises:
        RefusedError: msgspec cannot describe it; with the field that it stumbles over.
    """
    try:
        return bare(inspect.type_info(kind))
    except (TypeError, NameError, ValueError, AttributeError, RecursionError) as error:
        where, reason = _culprit(kind, name_of_type(kind), error)
        raise RefusedError(
            f"{where} has a type that msgspec cannot describe ({reason})",
            do="use types that msgspec supports, at the top level of a module",
        ) from error


def bare(node: inspect.Type) -> inspect.Type:
    """``node`` without titles and examples around it."""
    while isinstance(node, inspect.Metadata):
        node = node.type
    return node


def name_of_type(kind: Any) -> str:
    """What a type is called in paths and in the keys of ``fields``."""
    return getattr(kind, "__name__", None) or str(kind)


def name_of(node: Class) -> str:
    """The name of a class."""
    return name_of_type(node.cls)


def children(node: inspect.Type) -> Iterator[inspect.Type]:
    """The nodes directly below ``node``."""
    match node:
        case (
            inspect.StructType()
            | inspect.DataclassType()
            | inspect.TypedDictType()
            | inspect.NamedTupleType()
        ):
            yield from (bare(field.type) for field in node.fields)
        case inspect.UnionType():
            yield from map(bare, node.types)
        case inspect.CollectionType():
            yield bare(node.item_type)
        case inspect.TupleType():
            yield from map(bare, node.item_types)
        case inspect.Type() if isinstance(node, MAPS):
            yield bare(node.key_type)
            yield bare(node.value_type)
        case _:
            pass


def classes(roots: Iterable[inspect.Type]) -> list[Class]:
    """Every class in the trees below ``roots``, once, the outer ones first."""
    found: dict[int, Class] = {}
    seen: set[int] = set()
    ahead = list(roots)
    while ahead:
        node = ahead.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, CLASSES):
            found[id(node)] = node
        ahead += children(node)
    return list(found.values())


class Description:
    """A type's tree, and how deep its smallest values are."""

    def __init__(self, root: inspect.Type, *, given: Collection[str] = ()) -> None:
        """``given``: the fields (``Type.field``) whose values come from elsewhere."""
        self.root = root
        self.classes = classes([root])
        self._given = frozenset(given)
        self._least: dict[int, float] = {}
        changed = True
        while changed:
            changed = False
            for node in self.classes:
                least = self._least_of_class(node)
                if least < self._least.get(id(node), math.inf):
                    self._least[id(node)] = least
                    changed = True
        self.recursive = frozenset(id(node) for node in self.classes if node in _below(node))

    def least(self, node: inspect.Type) -> float:
        """Containers around each other in the smallest value; infinite where it never ends."""
        node = bare(node)
        if isinstance(node, CLASSES):
            return 0 if name_of(node) in self._given else self._least.get(id(node), math.inf)
        if isinstance(node, inspect.UnionType):
            return min(map(self.least, node.types))
        if isinstance(node, LISTS):
            return 1 + (self.least(node.item_type) if node.min_length else 0)
        if isinstance(node, MAPS):
            return 1 + (self.least(node.value_type) if node.min_length else 0)
        if isinstance(node, inspect.TupleType):
            return 1 + max(map(self.least, node.item_types), default=0)
        return 1 if isinstance(node, SETS) else 0

    def is_given(self, node: Class, field: inspect.Field) -> bool:
        """Whether the field's values come from elsewhere."""
        return not self._given.isdisjoint(keys_of_field(node, field))

    def _least_of_class(self, node: Class) -> float:
        return 1 + max(
            (
                self.least(field.type)
                for field in node.fields
                if field.required and not self.is_given(node, field)
            ),
            default=0,
        )


def keys_of_field(node: Class, field: inspect.Field) -> tuple[str, str]:
    """The keys that name a field: by its name in Python, and by that in published data."""
    name = name_of(node)
    return f"{name}.{field.name}", f"{name}.{field.encode_name}"


def _below(node: Class) -> Iterator[Class]:
    return iter([found for child in children(node) for found in classes([child])])


def _culprit(kind: Any, path: str, error: Exception) -> tuple[str, Exception]:
    """The innermost field whose own type fails by itself, and how."""
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except NameError as found:
        return path, found
    except Exception:  # noqa: BLE001  no class: its arguments may be some
        hints = {}
    parts = [(f"{path}.{name}", hint) for name, hint in hints.items()]
    parts += [(f"{path}[]", part) for part in typing.get_args(kind) if isinstance(part, type)]
    for place, part in parts:
        try:
            inspect.type_info(part)
        except Exception as found:  # noqa: BLE001  whatever evaluating the user's annotations raises
            return _culprit(part, place, found)
    return path, error
