"""Keys of made-up events: few, so that they meet; and the same in the data, where they stand there.

Many types repeat the key among their data: ``Placed(order=..., total=...)``, published with the key
``{"order": ...}``. Such a field holds the key's value, and its type decides what keys there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, get_type_hints

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from binlog.errors import RefusedError
from binlog.fields import encode_key
from binlog.testing.types import hostile as odd
from binlog.testing.types.class_fields import ClassFields, maps
from binlog.testing.types.data_strategies import published
from binlog.testing.types.described import bare, describe
from binlog.testing.types.leaves import pool
from binlog.values import encode_value

Key: TypeAlias = (
    "str | Sequence[str] | Mapping[str, st.SearchStrategy[Any]] | st.SearchStrategy[Any]"
)
Make: TypeAlias = Callable[[Any, str], st.SearchStrategy[Any]]
"""From a Python type and the name of its place to its values."""

DIFFERENT = 3
"""Values of a key attribute in one list of events, where a field's type decides what they are."""


def key_maps(
    key: Key, *, hostile: bool = True, typed: Mapping[str, st.SearchStrategy[Any]] | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    """Keys of events, few enough to meet: see `binlog.testing.types.strategies.events`.

    ``typed`` has the values of attributes that are not just any text.

    Raises:
        RefusedError: no name, more than two, or no strategy.
    """
    if isinstance(key, st.SearchStrategy):
        return key.map(published)
    given: Any = _named(key)
    if not isinstance(given, Mapping):
        texts = pool(odd.KEYS_ORDINARY, odd.KEYS if hostile else ())
        made = [(name, (typed or {}).get(name, texts)) for name in given]
        return maps(ClassFields("key", {}, made, []))
    for name, made in given.items():
        if not isinstance(made, st.SearchStrategy):
            raise RefusedError(
                f"key[{name!r}] is {made!r}, no strategy",
                do="for one value: hypothesis.strategies.just(...)",
            )
    return st.fixed_dictionaries(dict(given)).map(published)


def _named(key: Any) -> Any:
    """``key`` as a list or mapping of one or two names.

    Raises:
        RefusedError: it is none.
    """
    given = [key] if isinstance(key, str) else key
    if (
        not isinstance(given, Sequence | Mapping)
        or not 1 <= len(given) <= 2
        or not all(isinstance(name, str) and name for name in given)
    ):
        raise RefusedError(
            f"key={key!r}",
            do='one or two attribute names: key="order", key=("order", "line"); '
            "or a strategy of maps",
        )
    return given


class Repeated(msgspec.Struct, frozen=True):
    """Key attributes that stand among the data of event types."""

    typed: dict[str, st.SearchStrategy[Any]]
    """By attribute, unless any text will do."""
    nodes: dict[str, inspect.Type]

    def of(self, kind: Any) -> tuple[str, ...]:
        """Those that data of this Python type repeat, in a field of the same type."""
        fields = _fields(kind)
        return tuple(
            name
            for name, node in self.nodes.items()
            if name in fields and bare(fields[name].type) == node
        )


def repeated(key: Key, kinds: Iterable[Any], make: Make) -> Repeated:
    """What ``key`` and the fields of ``kinds`` (Python types, the first decides) have in common.

    Only keys that are given by their names: a strategy of one's own is nobody's business.

    Raises:
        RefusedError: no name, or more than two.
    """
    if isinstance(key, Mapping | st.SearchStrategy):
        return Repeated({}, {})
    names = _named(key)
    typed: dict[str, st.SearchStrategy[Any]] = {}
    nodes: dict[str, inspect.Type] = {}
    for kind in kinds:
        fields = _fields(kind)
        for name in names:
            if name not in fields or name in nodes:
                continue
            nodes[name] = bare(fields[name].type)
            hints = get_type_hints(kind, include_extras=True)
            made = make(hints.get(fields[name].name, str), f"{kind.__name__}.{name}")
            if nodes[name] != inspect.StrType():
                typed[name] = _few(name, made.filter(_is_key))
    return Repeated(typed, nodes)


def _few(name: str, made: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    few = st.lists(made, min_size=1, max_size=DIFFERENT, unique_by=encode_value)
    together = st.shared(few, key=("key", name))
    return together.flatmap(st.sampled_from)


def _is_key(value: Any) -> bool:
    try:
        encode_key({"k": value}, None)
    except RefusedError:
        return False
    return True


def _fields(kind: Any) -> dict[str, inspect.Field]:
    """The fields of a class by the names that they are published with; none of anything else."""
    found = getattr(describe(kind), "fields", ())
    return {field.encode_name: field for field in found}
