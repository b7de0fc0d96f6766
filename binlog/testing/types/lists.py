"""Lists of events for `check_applier`: of all lengths, and with something to do with each other.

Events that are drawn one by one hardly meet: an order is paid before it is placed, an account is
closed at once. So there are lists of one key, lists of some of the types (those without the type
that ends everything, for one), of one type alone, and a few events again and again until what they
add up to has outgrown what an item holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

from hypothesis import Phase, given
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from msgspec.structs import replace

from binlog.envelope import Envelope
from binlog.testing import choice
from binlog.testing.types.leaves import at_the_edges
from binlog.testing.types.strategies import Mix, mix_of

LENGTHS = (1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 8, 9, 10)
AGAIN = 40
"""Events of a list in which a few come again and again: two digits each are too many for 38."""
LIFE = 60
"""Events of one item, of all that passed: a history that is long for a test."""
_LIVES_MAX = 24
_KEYS = 2

# How the events of a list are drawn, in equal shares; failures shrink to the first.
_SHAPES: tuple[tuple[bool, str, bool], ...] = (
    (False, "all types", False),
    (True, "all types", False),
    (True, "all types", False),
    (True, "all types", False),
    (False, "some types", False),
    (True, "some types", False),
    (True, "some types", True),
    (True, "one type", True),
)
"""Whether all have one key; of which types they are; and whether a few of them come again, with
hostile values more often than elsewhere, after one or two of any type."""

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
    has_one_key, types, again = _SHAPES[draw(_SHAPE)]
    length = LENGTHS[draw(_LENGTHS)]
    key = draw(mix.keys) if has_one_key else None
    some = _some(draw, mix, types)

    def drawn() -> Envelope:
        which = None if some is None else some[draw(st.integers(0, len(some) - 1))]
        return mix.draw(draw, which=which, key=key)

    if not again:
        return [drawn() for _ in range(length)]
    first = [mix.draw(draw, key=key) for _ in range(1 + length % 2)]
    with at_the_edges():
        few = [drawn() for _ in range(-(-length // 4))]
    times = -(-AGAIN // len(few))
    return [replace(event, id=f"e{n}") for n, event in enumerate(first + few * times)]


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


def lives(
    lists: Sequence[Sequence[Envelope]], events: st.SearchStrategy[Envelope] | None = None
) -> Iterator[list[Envelope]]:
    """Long lists of one key each, of what stands in ``lists``, whole and without some of the types.

    So what one type takes back, or ends, another one can pile up; and whatever was made up of a
    type, an item meets most of it. Of many events those with the largest data are taken. The whole
    comes first, then those without one type, then those of one alone. Those of our own ``events`` are all made events of one key.
    """
    mix = None if events is None else mix_of(events)
    different = {(e.type, e.schema, e.table, e.key, e.data): e for some in lists for e in some}
    all_ = list(different.values())
    if mix is not None:
        first = {event.table: event for event in reversed(all_)}
        all_ = [mix.moved(event, first[event.table]) for event in all_]
    keys = Counter((event.table, event.key) for event in all_)
    found: list[list[Envelope]] = []
    for key, _ in keys.most_common(_KEYS):
        life = [event for event in all_ if (event.table, event.key) == key]
        every = {event.type for event in life}
        types = sorted(every)
        subsets = dict.fromkeys(
            map(frozenset, [every, *(every - {t} for t in types), *({t} for t in types)])
        )
        found += ([event for event in life if event.type in subset] for subset in subsets)
    for some in islice((some for some in found if some), _LIVES_MAX):
        yield list(islice(_largest(some) * LIFE, LIFE))


def _largest(events: Sequence[Envelope]) -> list[Envelope]:
    """In their order, at most a life of them, of each type about as many."""
    order = sorted(range(len(events)), key=lambda place: -len(events[place].data or b""))
    seen: Counter[str] = Counter()
    ranked = []
    for place in order:
        seen[events[place].type] += 1
        ranked.append((seen[events[place].type], place))
    return [events[place] for place in sorted(place for _, place in sorted(ranked)[:LIFE])]


def simplest(events: st.SearchStrategy[Envelope], envelope: Envelope) -> Iterator[Envelope]:
    """The event with the simplest data of its type, in the newest version first, in its own last.

    Of a strategy that is not ours, none.
    """
    mix = mix_of(events)
    if mix is None:
        return
    for place in mix.versions_of(envelope):
        for simple in _first(_one(mix, place)):
            moved = mix.moved(simple, envelope)
            yield replace(envelope, schema=moved.schema, data=moved.data)


def _first(events: st.SearchStrategy[Envelope]) -> list[Envelope]:
    """What Hypothesis begins with; nothing, if that is rejected."""
    found: list[Envelope] = []

    @choice.kit_settings(1, max_examples=1, phases=[Phase.generate])
    @given(events)
    def note(simple: Envelope) -> None:
        found.append(simple)

    with suppress(HypothesisException):
        note()
    return found[:1]


@st.composite
def _one(draw: st.DrawFn, mix: Mix, which: int) -> Envelope:
    return mix.draw(draw, which=which)
