"""Lists of events for `check_applier`: of all lengths, and with something to do with each other.

Events that are drawn one by one hardly meet: an order is paid before it is placed, an account is
closed at once. So there are lists of one key, lists of some of the types (those without the type
that ends everything, for one), of one type alone, and a few events again and again until what they
add up to has outgrown what an item holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from hypothesis import strategies as st
from msgspec.structs import replace

from binlog.envelope import Envelope
from binlog.testing.strategies import Mix, mix_of

LENGTHS = (1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9, 10)
AGAIN = 40
"""Events of a list in which a few come again and again: two digits each are too many for 38."""
LIFE = 80
"""Events of one item, of all that passed: a history that is long for a test."""
_LIVES_MAX = 16
_KEYS = 2

# How the events of a list are drawn, in equal shares; failures shrink to the first.
_SHAPES: tuple[tuple[bool, str], ...] = (
    (False, "all types"),
    (True, "all types"),
    (True, "all types"),
    (False, "some types"),
    (True, "some types"),
    (True, "some types"),
    (True, "one type"),
    (True, "again"),
)
"""Whether all have one key; and which types they are of."""

_LENGTHS = st.integers(0, len(LENGTHS) - 1)
_SHAPE = st.integers(0, len(_SHAPES) - 1)
_TYPES_MAX = 8  # among more than 256 numbers Hypothesis prefers the small ones


def event_lists(events: st.SearchStrategy[Envelope]) -> st.SearchStrategy[list[Envelope]]:
    """Lists of ``events``, none of them empty.

    A strategy that `strategies.events` did not make is drawn from as it is: of its lists only the
    lengths are settled here.
    """
    mix = mix_of(events)
    return _lists_of(events) if mix is None else _mixed(mix)


@st.composite
def _lists_of(draw: st.DrawFn, events: st.SearchStrategy[Envelope]) -> list[Envelope]:
    return [draw(events) for _ in range(LENGTHS[draw(_LENGTHS)])]


@st.composite
def _mixed(draw: st.DrawFn, mix: Mix) -> list[Envelope]:
    has_one_key, types = _SHAPES[draw(_SHAPE)]
    length = LENGTHS[draw(_LENGTHS)]
    key = draw(mix.keys) if has_one_key else None
    some = _some(draw, mix, types)

    def drawn() -> Envelope:
        which = None if some is None else some[draw(st.integers(0, len(some) - 1))]
        return mix.draw(draw, which=which, key=key)

    if types != "again":
        return [drawn() for _ in range(length)]
    few = [drawn() for _ in range(-(-length // 4))]
    times = -(-AGAIN // len(few))
    return [replace(event, id=f"e{n}") for n, event in enumerate(few * times)]


def _some(draw: st.DrawFn, mix: Mix, types: str) -> list[int] | None:
    """Places of those kinds that are in the list; all, if there is a choice of one or none."""
    count = len(mix.kinds)
    if types == "all types" or count == 1:
        return None
    if types == "one type":
        return [draw(mix.which)]
    bits, places = 0, range(count)
    for _ in range(0, count, _TYPES_MAX):
        bits = bits << _TYPES_MAX | draw(_MASKS)
    return [place for place in places if bits >> place & 1] or None


_MASKS = st.integers(0, (1 << _TYPES_MAX) - 1)


def lives(lists: Sequence[Sequence[Envelope]]) -> Iterator[list[Envelope]]:
    """Long lists of one key each, of what stands in ``lists``, whole and without some of the types.

    So what one type takes back, or ends, another one can pile up.
    """
    events = [event for some in lists for event in some]
    keys = Counter((event.table, event.key) for event in events)
    found: list[list[Envelope]] = []
    for key, _ in keys.most_common(_KEYS):
        life = [event for event in events if (event.table, event.key) == key]
        types = sorted({event.type for event in life})
        subsets = [set(types), *(set(types) - {type_} for type_ in types), *({t} for t in types)]
        for subset in subsets:
            some = [event for event in life if event.type in subset]
            if some and some not in found:
                found.append(some)
    for some in islice(found, _LIVES_MAX):
        yield list(islice(some * (LIFE // len(some) + 1), LIFE))
