"""Values of the model, small ones that collide and the large ones at every limit."""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

from hypothesis import strategies as st

# Wide enough for anything here; the tests compute in no other context.
EXACT = Context(prec=2_000, Emax=MAX_EMAX, Emin=MIN_EMIN)

Parts = tuple[int, int, int]  # sign 0 or 1, digits as one integer, exponent


@st.composite
def number_parts(draw: st.DrawFn) -> Parts:
    """A number within the limits, in any of its spellings: 100E-2, 1.00, 0.01E+2."""
    digits = draw(st.one_of(st.integers(0, 99), st.integers(0, 10**38 - 1), st.just(10**38 - 1)))
    length = len(str(digits))
    exponent = draw(
        st.one_of(
            st.integers(-3, 3),
            st.integers(-130 - length + 1, 126 - length),
            st.sampled_from([-130 - length + 1, 126 - length, -38, 38, -37, 37]),
        )
    )
    leading = exponent + length - 1
    if digits and not -130 <= leading <= 125:
        exponent = 0
    return draw(st.integers(0, 1)), digits, exponent


def decimal_of(parts: Parts) -> Decimal:
    sign, digits, exponent = parts
    return Decimal((sign, tuple(map(int, str(digits))), exponent))


# No value that an item cannot hold: no lone surrogates, no empty names.
texts = st.text(st.characters(codec="utf-8"), max_size=8)
names = st.sampled_from(["a", "b", "id", "é", "\U0001f600", ":", '"', "S", "M"]) | texts.filter(
    bool
)
numbers = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**63) - 1, -(2**63) + 1),
    st.integers(2**64 - 2, 2**64 + 1),
    number_parts().map(decimal_of),
)
binaries = st.binary(max_size=8)
scalars = st.one_of(st.none(), st.booleans(), texts, numbers, binaries)
sets = st.one_of(
    st.frozensets(texts, min_size=1, max_size=4),
    st.frozensets(numbers, min_size=1, max_size=4),
    st.frozensets(binaries, min_size=1, max_size=4),
)


def containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(children, max_size=4) | st.dictionaries(names, children, max_size=4)


values: st.SearchStrategy[Any] = st.recursive(scalars | sets, containers, max_leaves=12)
items: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    names.filter(lambda name: name != "_binlog"), values, max_size=5
)


def nested(levels: int, leaf: object) -> object:
    """``leaf`` inside ``levels`` lists."""
    for _ in range(levels):
        leaf = [leaf]
    return leaf


def same(left: object, right: object) -> bool:
    """Equal as values of the model: Python alone takes 1 for True, and set order for nothing."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | Decimal) and isinstance(right, int | Decimal):
        return EXACT.create_decimal(left) == EXACT.create_decimal(right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right
