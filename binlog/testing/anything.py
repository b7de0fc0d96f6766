"""Any value that can be published: what `Any` and `msgspec.Raw` stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st
from msgspec import inspect

from binlog.testing import hostile as odd
from binlog.testing.hostile import HOSTILE_SHARE
from binlog.testing.leaves import leaf, texts

SIZE_ORDINARY = 3
"""Elements of a list, set or map that is not hostile, where its bounds allow."""

_Made: TypeAlias = st.SearchStrategy[Any]

MEMBERS = (inspect.StrType(), inspect.DecimalType(), inspect.BytesType())
"""A set holds one of these."""
_SCALARS = (
    inspect.IntType(),
    inspect.StrType(),
    inspect.NoneType(),
    inspect.BoolType(),
    inspect.DecimalType(),
    inspect.BytesType(),
)
_DEPTH_ORDINARY = 2
_dice = st.integers(0, HOSTILE_SHARE - 1)
_HOSTILE = HOSTILE_SHARE - 1  # the last side: failures shrink away from it


def or_hostile(ordinary: _Made, hostile: _Made) -> _Made:
    """From ``ordinary``, and one in `HOSTILE_SHARE` from ``hostile``."""
    return _either(Either(ordinary, hostile))


class Either:
    """Two strategies. Shown short: Hypothesis prints what a failing draw came from."""

    def __init__(self, ordinary: _Made, hostile: _Made) -> None:
        self.ordinary = ordinary
        self.hostile = hostile

    def __repr__(self) -> str:
        return "<ordinary or hostile>"


@st.composite
def _either(draw: st.DrawFn, either: Either) -> Any:
    return draw(either.hostile if draw(_dice) == _HOSTILE else either.ordinary)


def anything(room: int, *, hostile: bool) -> _Made:
    """Any value at all, with at most ``room`` containers around each other."""
    made: _Made = st.one_of([leaf(node, hostile=hostile) for node in _SCALARS])
    names = texts(inspect.StrType(), hostile=hostile, names=True)
    members = [leaf(node, hostile=hostile) for node in MEMBERS]
    sets = st.one_of([st.frozensets(member, min_size=1, max_size=2) for member in members])
    for _ in range(min(room, _DEPTH_ORDINARY)):
        made = st.one_of(
            made,
            st.dictionaries(names, made, max_size=SIZE_ORDINARY),
            st.lists(made, max_size=SIZE_ORDINARY),
            sets,
        )
    if not hostile or room == 0:
        return made
    deep: list[Callable[[], Any]] = [
        lambda: odd.nested(room),
        lambda: odd.nested(room, lists=True),
        lambda: odd.many_keys(0),
        list,
        dict,
    ]
    return or_hostile(made, st.sampled_from(deep).map(lambda make: make()))
