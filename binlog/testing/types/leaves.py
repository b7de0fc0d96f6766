"""Strategies of single published values: numbers, texts, binaries, times.

A leaf is drawn from a pool, most of it ordinary and small, so that equal values meet; one in
`HOSTILE_SHARE` is hostile. The first of the pool is the simplest, which failures shrink to.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import cycle, islice
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from hypothesis import HealthCheck, Phase, currently_in_test_context, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample, Unsatisfiable
from msgspec import inspect

from binlog.errors import RefusedError
from binlog.numbers import canonical_number
from binlog.testing.types import hostile as odd
from binlog.testing.types.hostile import HOSTILE_SHARE
from binlog.typed import as_data

_WHOLE = (0, 1, 2, 3, 4, 5, 7, 10, 12, 30, 60, 99, 100)
_FRACTIONS = ("0.5", "1.5", "0.25", "9.99", "12.5", "0.01", "-0.5", "100.75")
_WORDS = ("", "a", "b", "c", "ab", "a b", "x1", "Ada", "EUR", "open", "12", "a-b")
_BINARIES = (b"", b"a", b"b", b"ab", b"\x01\x02")
_DAYS = ("2024-01-01", "2024-01-02", "2024-02-01", "2023-12-31")
_HOURS = ("00:00:00", "12:00:00", "09:30:00")
_SECONDS = (0, 1, 60, 3_600, 90_061)

# These stand in a pool for another draw: from the edges, from the whole width of the type.
_RARE, _WIDE = object(), object()


def leaf(node: inspect.Type, *, hostile: bool) -> st.SearchStrategy[Any]:
    """The strategy of a node without nodes below it.

    Raises:
        RefusedError: its bounds leave nothing, or nothing of its type can be published.
    """
    match node:
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return integers(node, hostile=hostile)
        case inspect.DecimalType():
            return decimals(hostile=hostile)
        case inspect.StrType():
            return texts(node, hostile=hostile)
        case inspect.BytesType() | inspect.ByteArrayType() | inspect.MemoryViewType():
            return binaries(node, hostile=hostile)
        case inspect.DateTimeType() | inspect.TimeType() | inspect.DateType():
            return moments(node, hostile=hostile)
        case inspect.TimeDeltaType():
            return durations(hostile=hostile)
        case inspect.UUIDType():
            return uuids(hostile=hostile)
        case inspect.EnumType():
            return pool(unique([as_data(member) for member in node.cls]))
        case inspect.LiteralType():
            return pool(node.values)
        case inspect.FloatType():
            raise RefusedError("a float cannot be published", do="use Decimal")
        case inspect.CustomType():
            raise RefusedError(
                f"a {node.cls.__name__} cannot be published",
                do="use a type that binlog.typed names",
            )
        case _:
            kind = type(node).__name__.removesuffix("Type")
            raise RefusedError(f"values of type {kind} cannot be published")


def spread(node: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a node that hardly meet: where many different ones are demanded.

    Nothing, where `leaf` has to do.
    """
    match node:
        case inspect.IntType() if node == inspect.IntType():
            return st.integers(0, 10**6)
        case inspect.StrType(pattern=None):
            return st.text(
                "abcdef", min_size=max(node.min_length or 0, 1), max_size=node.max_length
            )
        case inspect.DecimalType():
            return st.integers(0, 10**6)
        case inspect.BytesType():
            return st.binary(min_size=node.min_length or 0, max_size=node.max_length)
        case inspect.UUIDType():
            return st.uuids().map(str)
        case inspect.DateType():
            return st.dates().map(msgspec.to_builtins)
        case _:
            return st.nothing()


# -- pools ---------------------------------------------------------------------------------------


def pool(
    plain: Sequence[Any],
    hostile: Sequence[Any] = (),
    wide: st.SearchStrategy[Any] | None = None,
) -> st.SearchStrategy[Any]:
    """Values of ``plain``, the first the simplest; one in `HOSTILE_SHARE` from the other two.

    Without ``plain``, ``wide`` takes its place, or else ``hostile``.
    """
    rare = list(hostile)
    if wide is not None:
        rare += [_WIDE] * (len(rare) // 4 + 1)
        plain = plain or [_WIDE]
    elif not plain:
        plain, rare = rare, []
    values = Pool(plain, rare, wide)
    made: st.SearchStrategy[Any] = _drawn(values)
    _pools[made] = values
    return made


class Pool:
    """What a leaf is drawn from. Shown short: Hypothesis prints what a failing draw came from."""

    def __init__(
        self, plain: Sequence[Any], rare: Sequence[Any], wide: st.SearchStrategy[Any] | None
    ) -> None:
        if not plain:
            raise ValueError("an empty pool")
        # Hypothesis prefers the small ones of many numbers, and has no preference among 256: so
        # the rare ones get a draw of their own, which few examples need.
        share = HOSTILE_SHARE - 1
        count = -(-len(plain) // share)
        self.values = (
            (*islice(cycle(plain), share * count), *[_RARE] * count) if rare else tuple(plain)
        )
        self.index = st.integers(0, len(self.values) - 1)
        self.rare = tuple(rare)
        self.rare_index = st.integers(0, max(0, len(rare) - 1))
        self.wide = wide

    def __repr__(self) -> str:
        return f"<{len(self.values)} values, such as {self.values[0]!r:.20}>"


@st.composite
def _drawn(draw: st.DrawFn, values: Pool) -> Any:
    return draw_pool(draw, values)


def draw_pool(draw: st.DrawFn, values: Pool) -> Any:
    """One of the values."""
    value = values.values[draw(values.index)]
    if value is _RARE or (_at_the_edges and values.rare and draw(_COIN)):
        value = values.rare[draw(values.rare_index)]
    return value if value is not _WIDE else draw(values.wide)  # type: ignore[arg-type]


_at_the_edges = False
_COIN: st.SearchStrategy[Any] = st.booleans()


@contextmanager
def at_the_edges() -> Iterator[None]:
    """Within it every second value is hostile, where there are hostile ones at all."""
    global _at_the_edges  # noqa: PLW0603  (else every strategy would have to hand it on)
    before, _at_the_edges = _at_the_edges, True
    try:
        yield
    finally:
        _at_the_edges = before


_pools: WeakKeyDictionary[st.SearchStrategy[Any], Pool] = WeakKeyDictionary()


def pool_of(made: st.SearchStrategy[Any]) -> Pool | None:
    """The pool of a strategy that draws from one: inside another it is drawn at half the price."""
    return _pools.get(made)


def unique(values: Sequence[Any]) -> list[Any]:
    """``values`` once each, in order; 1 and true are two."""
    return list({(type(value), value): value for value in values}.values())


# -- numbers -------------------------------------------------------------------------------------


def integers(node: inspect.IntType, *, hostile: bool) -> st.SearchStrategy[int]:
    """Whole numbers within bounds, the one nearest to 0 first."""
    step = node.multiple_of or 1
    lows = [node.ge, None if node.gt is None else node.gt + 1]
    highs = [node.le, None if node.lt is None else node.lt - 1]
    low = max((bound for bound in lows if bound is not None), default=None)
    high = min((bound for bound in highs if bound is not None), default=None)
    # In steps from here on: every multiple in the bounds is one.
    first = None if low is None else -(-low // step)
    last = None if high is None else high // step
    if first is not None and last is not None and first > last:
        raise RefusedError(f"no whole number is in its bounds ({_bounds(node)})")

    def fits(count: int) -> bool:
        return (first is None or first <= count) and (last is None or count <= last)

    nearest = first if first is not None and first > 0 else min(0, 0 if last is None else last)
    steps = [nearest + n for n in _WHOLE] + [nearest - n for n in _WHOLE[1:4]]
    plain = [count * step for count in unique([n for n in steps if fits(n)])]
    if not hostile:
        return pool(plain)
    ends = [first, last, None if first is None else first + 1, None if last is None else last - 1]
    counts = [n for n in ends if n is not None] + [n // step for n in odd.WHOLE_NUMBERS]
    edges = [n * step for n in unique(counts) if fits(n) and _is_number(n * step)]
    whole = odd.wide_integers(low, high).map(lambda number: number - number % step)
    return pool(plain, edges, whole.filter(lambda number: fits(number // step)))


def _bounds(node: inspect.IntType) -> str:
    names = ("gt", "ge", "lt", "le", "multiple_of")
    return ", ".join(f"{n}={getattr(node, n)}" for n in names if getattr(node, n) is not None)


def _is_number(value: int) -> bool:
    try:
        return canonical_number(value) == value
    except RefusedError:
        return False


def decimals(*, hostile: bool) -> st.SearchStrategy[int | Decimal]:
    """Numbers; whole ones are ``int``, as they come out of a log."""
    plain = [*_WHOLE, *map(Decimal, _FRACTIONS), -1]
    if not hostile:
        return pool(plain)
    return pool(plain, [*odd.WHOLE_NUMBERS, *odd.FRACTIONS], odd.wide_decimals())


# -- texts and binaries --------------------------------------------------------------------------


def texts(node: inspect.StrType, *, hostile: bool, names: bool = False) -> st.SearchStrategy[str]:
    """Texts within bounds; with ``names`` those that may name an attribute, never empty."""
    low, high = _lengths(node, least=1 if names else 0)
    matches = re.compile(node.pattern or "").search

    def fits(text: str) -> bool:
        return (
            low <= len(text)
            and (high is None or len(text) <= high)
            and matches(text) is not None
            and not (names and text == "_binlog")
        )

    words = [word for word in unique([w.ljust(low, "a")[:high] for w in _WORDS]) if fits(word)]
    if names:
        words = words[:4]  # few, so that maps have the same ones
    wide = odd.wide_texts(low, high).filter(fits)
    if node.pattern is not None:
        wide = _matching(node.pattern, fits, sure=bool(words))
    if not hostile:
        return pool(words, wide=None if words else wide)
    long = [letter * length for length in _long(low, high) for letter in ("a", "\U0001f600")]
    return pool(words, [text for text in (*odd.TEXTS, *long) if fits(text)], wide)


def _matching(pattern: str, fits: Callable[[str], bool], *, sure: bool) -> st.SearchStrategy[str]:
    """Texts that match ``pattern`` as msgspec asks: anywhere in the text.

    Raises:
        RefusedError: none does, as far as two hundred tries can tell.
    """
    found = st.from_regex(pattern, alphabet=st.characters(codec="utf-8")).filter(fits)
    # Inside a test nothing may be tried out; there the test itself comes to nothing.
    if not sure and not currently_in_test_context():
        tries = settings(
            max_examples=200,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        try:
            find(found, lambda _: True, settings=tries, random=Random(0))
        except (NoSuchExample, Unsatisfiable) as error:
            raise RefusedError(f"no text matches {pattern!r} within its lengths") from error
    return found


def binaries(
    node: inspect.BytesType | inspect.ByteArrayType | inspect.MemoryViewType, *, hostile: bool
) -> st.SearchStrategy[bytes]:
    """Binaries within bounds."""
    low, high = _lengths(node)

    def fits(value: bytes) -> bool:
        return low <= len(value) and (high is None or len(value) <= high)

    plain = [word for word in unique([b.ljust(low, b"a")[:high] for b in _BINARIES]) if fits(word)]
    if not hostile:
        return pool(plain)
    long = [b"\xff" * length for length in _long(low, high)]
    most = low + 16 if high is None else min(high, low + 16)
    edges = [value for value in (*odd.BINARIES, *long) if fits(value)]
    return pool(plain, edges, st.binary(min_size=low, max_size=most))


def _lengths(node: Any, *, least: int = 0) -> tuple[int, int | None]:
    """Bounds of a length, both inclusive.

    Raises:
        RefusedError: they contradict each other, or nothing that long is published.
    """
    low, high = max(node.min_length or 0, least), node.max_length
    if high is not None and high < low:
        raise RefusedError(f"no length is from {low} to {high}")
    if low > odd.LENGTH_MAX:
        raise RefusedError(f"its least length is {low}, and an event has room for {odd.LENGTH_MAX}")
    return low, high


def _long(low: int, high: int | None) -> list[int]:
    """The lengths that are edges: the least, the greatest (within reason), one below it."""
    most = max(low, odd.LONG_TEXT) if high is None else max(low, min(high, odd.LONG_TEXT))
    return unique([n for n in (low, most, most - 1) if low <= n])


# -- times ---------------------------------------------------------------------------------------


def moments(
    node: inspect.DateTimeType | inspect.TimeType | inspect.DateType, *, hostile: bool
) -> st.SearchStrategy[str]:
    """Dates, times and both, as the texts that msgspec gives them."""
    if isinstance(node, inspect.DateType):
        wide: st.SearchStrategy[Any] = st.dates()
        return _moments(dt.date, _DAYS, odd.DATES, wide, hostile=hostile)
    ordinary = {True: ("Z",), False: ("",), None: ("Z", "")}[node.tz]
    offsets = {True: odd.OFFSETS, False: ("",), None: ("", *odd.OFFSETS)}[node.tz]
    zones = st.sampled_from([_zone(offset) for offset in offsets])
    if isinstance(node, inspect.TimeType):
        plain = [f"{hour}{offset}" for hour in _HOURS for offset in ordinary]
        edges = [f"{time}{offset}" for time in odd.TIMES for offset in offsets]
        return _moments(dt.time, plain, edges, st.times(timezones=zones), hostile=hostile)
    plain = [f"{d}T{h}{offset}" for offset in ordinary for h in _HOURS for d in _DAYS]
    edges = [f"{d}T{t}{o}" for d in odd.DATES for t, o in zip(cycle(odd.TIMES), offsets)]
    return _moments(dt.datetime, plain, edges, st.datetimes(timezones=zones), hostile=hostile)


def _moments(
    kind: Any,
    plain: Sequence[str],
    edges: Sequence[str],
    wide: st.SearchStrategy[Any],
    *,
    hostile: bool,
) -> st.SearchStrategy[str]:
    ordinary, hostiles = (
        [msgspec.to_builtins(kind.fromisoformat(text)) for text in texts]
        for texts in (plain, edges)
    )
    return pool(ordinary, hostiles, wide.map(msgspec.to_builtins)) if hostile else pool(ordinary)


def _zone(offset: str) -> dt.tzinfo | None:
    return dt.time.fromisoformat(f"00:00{offset}").tzinfo


def durations(*, hostile: bool) -> st.SearchStrategy[str]:
    """Durations, as ISO 8601 texts."""
    plain, edges = (
        [msgspec.to_builtins(dt.timedelta(seconds=n)) for n in seconds]
        for seconds in (_SECONDS, odd.SECONDS)
    )
    edges += [msgspec.to_builtins(dt.timedelta(microseconds=n)) for n in (1, -1)]
    return pool(plain, edges) if hostile else pool(plain)


def uuids(*, hostile: bool) -> st.SearchStrategy[str]:
    """UUIDs, as text."""
    plain = [str(uuid.UUID(int=n)) for n in range(4)]
    edges = [str(uuid.UUID(int=2**128 - 1)), str(uuid.UUID(int=2**127))]
    return pool(plain, edges, st.uuids().map(str)) if hostile else pool(plain)
