"""Any value that can be published: what `Any` and `msgspec.Raw` stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from hypothesis import strategies as st
from msgspec import inspect

from binlog.testing.types import hostile as odd
from binlog.testing.types.hostile import HOSTILE_SHARE
from binlog.testing.types.leaves import leaf, pool, texts

SIZE_ORDINARY = 3
"""Elements of a list, set or map that is not hostile, where its bounds allow."""

_Made: TypeAlias = st.SearchStrategy[Any]

MEMBERS = (inspect.StrType(), inspect.DecimalType(), inspect.BytesType())
"""A set holds one of these."""
_SCALARS: tuple[Any, ...] = (
    *(0, "", None, False, True, 1, "a", Decimal("0.5"), b"", 2, "b", 7, -1, 100),
    *("c", Decimal("12.5"), b"a", "open"),
)
_SCALAR_EDGES = (*odd.WHOLE_NUMBERS, *odd.FRACTIONS, *odd.TEXTS, *odd.BINARIES)
_WIDE = st.one_of(
    odd.wide_integers(None, None), odd.wide_decimals(), odd.wide_texts(0, None), st.binary()
)
_DEPTH_ORDINARY = 2


class Growth:
    """Values, and what hostile ones are made of them.

    Shown short: Hypothesis prints what a failing draw came from.
    """

    def __init__(self, ordinary: _Made, ways: Sequence[Callable[[Any], Any]]) -> None:
        self.ordinary = ordinary
        self.ways = ways
        self.dice = st.integers(0, HOSTILE_SHARE * len(ways) - 1)

    def __repr__(self) -> str:
        return "<values, some of them grown>"


@st.composite
def grown(draw: st.DrawFn, growth: Growth) -> Any:
    """Ordinary values, and one in `HOSTILE_SHARE` made hostile in one of the ways.

    The ordinary value is drawn first, so that a failure which does not need the hostile one
    shrinks to it. An empty container stays.
    """
    value = draw(growth.ordinary)
    # The last sides are the hostile ones: failures shrink away from them.
    way = draw(growth.dice) - (HOSTILE_SHARE - 1) * len(growth.ways)
    return value if way < 0 or value in ([], {}) else growth.ways[way](value)


def anything(room: int, *, hostile: bool) -> _Made:
    """Any value at all, with at most ``room`` containers around each other."""
    # One pool for all: no kind of scalar is simpler than another by needing fewer draws.
    made = pool(_SCALARS, _SCALAR_EDGES, _WIDE) if hostile else pool(_SCALARS)
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
    ways: list[Callable[[Any], Any]] = [
        lambda _: odd.nested(room),
        lambda _: odd.nested(room, lists=True),
        lambda _: odd.many_keys(0),
        lambda _: [],
        lambda _: {},
    ]
    return grown(Growth(made, ways))
