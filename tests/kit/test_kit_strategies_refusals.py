"""A type that cannot be built is refused with its field and what to write instead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, msgpack

from binlog.errors import RefusedError
from binlog.testing.types.key_strategies import key_maps
from binlog.testing.types.strategies import values
from tests.kit.strategy_types import Chain, Colour, Line, Moved, Owner, Page, Placed, Point, Tree


class Custom:
    pass


class Price(Struct):
    amount: float


class Ordered(Struct):
    prices: list[Price]


class Endless(Struct):
    next: Endless


class Man(Struct):
    wives: Annotated[list[Wife], Meta(min_length=1)]


class Wife(Struct):
    man: Man


class Deep(Struct):
    a: tuple[tuple[tuple[tuple[tuple[tuple[tuple[tuple[int]]]]]]]]


class Deeper(Struct):
    a: tuple[tuple[tuple[tuple[tuple[tuple[tuple[tuple[Deep]]]]]]]]


class Deepest(Struct):
    a: tuple[tuple[tuple[tuple[tuple[tuple[tuple[tuple[Deeper]]]]]]]]


class TooDeep(Struct):
    a: tuple[tuple[tuple[tuple[tuple[tuple[tuple[tuple[Deepest]]]]]]]]


class Unmatched(Struct):
    code: Annotated[str, Meta(pattern="a^b")]


class TooShort(Struct):
    code: Annotated[str, Meta(pattern="^[a-z]{5}$", max_length=3)]


class NoNumber(Struct):
    n: Annotated[int, Meta(gt=3, lt=6, multiple_of=7)]


class NoLength(Struct):
    s: Annotated[list[int], Meta(min_length=3, max_length=2)]


class Huge(Struct):
    s: Annotated[bytes, Meta(min_length=500_000)]


class SetOfLists(Struct):
    s: set[tuple[int, ...]]


class SetOfFlags(Struct):
    s: frozenset[bool]


class FewColours(Struct):
    s: Annotated[set[Colour], Meta(min_length=3)]


class FewKeys(Struct):
    d: Annotated[dict[Colour, int], Meta(min_length=3)]


class EmptySet(Struct):
    s: Annotated[set[str], Meta(max_length=0)]


class BinaryKeys(Struct):
    d: dict[bytes, int]


class WithCustom(Struct):
    x: dict[str, Custom]


class WithExt(Struct):
    x: msgpack.Ext


class Torn(Struct):
    lines: list[TornLine]


class TornLine(Struct):
    x: int | Custom


class Lost(Struct):
    x: Nowhere  # type: ignore[name-defined]  # noqa: F821


WHOLE = (
    r"^Price.amount: a float cannot be published: use Decimal,"
    r' or say what it holds: fields=\{"Price.amount": st.integers\(\)\}$'
)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            Price,
            WHOLE,
        ),
        (Ordered, r'Ordered.prices\[\].amount: a float .*fields=\{"Price.amount"'),
        (float, "float: a float cannot be published"),
        (int | float, "a float cannot be published"),
        (
            WithCustom,
            r"WithCustom.x\[\]: a Custom cannot be published: use a type that binlog.typed",
        ),
        (WithExt, r"WithExt.x: values of type Ext cannot be published: say what it holds"),
        (Endless, r'Endless.next: each needs another one without end: .*"Endless.next": st.none()'),
        (Man, r"Man.wives: each needs another one without end"),
        (TooDeep, r"TooDeep.a: nesting above 32 containers"),
        (Unmatched, r"Unmatched.code: no text matches 'a\^b' within its lengths"),
        (TooShort, r"TooShort.code: no text matches"),
        (NoNumber, r"NoNumber.n: no whole number is in its bounds \(gt=3, lt=6, multiple_of=7\)"),
        (NoLength, r"NoLength.s: no size is from 3 to 2"),
        (Huge, r"Huge.s: its least length is 500000, and an event has room for 102400"),
        (SetOfLists, r"SetOfLists.s\{\}: a set holds texts, numbers or bytes: use a list"),
        (SetOfFlags, r"SetOfFlags.s\{\}: a set holds texts, numbers or bytes"),
        (FewColours, r"FewColours.s: a set of 3 members, and there are not so many"),
        (FewKeys, r"FewKeys.d \(a key\): at least 3 keys, and there are not so many"),
        (EmptySet, r"EmptySet.s: an empty set cannot be published"),
        (BinaryKeys, r"BinaryKeys.d \(a key\): an attribute name is text: use str or int"),
        (Torn, r"Torn.lines\[\].x has a type that msgspec cannot describe \(Type unions"),
        (Lost, r"Lost has a type that msgspec cannot describe \(name 'Nowhere' is not defined\)"),
        (3, r"3 has a type that msgspec cannot describe"),
    ],
)
def test_refuses_a_type_that_cannot_be_built(kind: Any, message: str) -> None:
    """At once, not at the hundredth example, and with the line that mends it."""
    with pytest.raises(RefusedError, match=message):
        values(kind)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Ordered, {"Price.amount": st.integers()}),
        (Endless, {"Endless.next": st.none()}),
        (Man, {"Wife.man": st.none()}),
        (Unmatched, {"Unmatched.code": st.just("a^b")}),
        (WithCustom, {"WithCustom.x": st.just({})}),
        (Torn, {"Torn": st.just({"lines": []})}),
    ],
)
@settings(max_examples=30)
@given(data=st.data())
def test_what_the_refusal_says_to_write_builds_it(
    kind: Any, fields: dict[str, Any], data: st.DataObject
) -> None:
    """The advice is followed to the letter."""
    if kind is Torn:  # not even msgspec can describe it
        with pytest.raises(RefusedError, match="cannot describe"):
            values(kind, fields=fields)
        return
    assert data.draw(values(kind, fields=fields)) is not None


# -- fields of one's own -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "holds"),
    [
        (Placed, {"Placed.total": st.just(7)}, lambda v: v["total"] == 7),
        (Placed, {"Line.unit_price": st.just(Decimal("1.50"))}, lambda v: all(line["unitPrice"] == Decimal("1.5") for line in v["lines"])),
        (Placed, {"Line.unitPrice": st.just(3)}, lambda v: all(line["unitPrice"] == 3 for line in v["lines"])),
        (Placed, {"Line": st.just({"x": 1})}, lambda v: all(line == {"x": 1} for line in v["lines"])),
        (Page[Line], {"Page.items": st.just([Line("a", Decimal(1))])}, lambda v: v["items"] == [{"skuCode": "a", "unitPrice": 1, "count": 1}]),
        (Moved, {"Moved.place": st.just(dt.date(2024, 1, 2))}, lambda v: v["place"] == "2024-01-02"),
        (Owner, {"Cat.lives": st.just(3)}, lambda v: v["pet"].get("lives", 3) == 3),
        (Point, {"Point.x": st.just(5)}, lambda v: v[0] == 5),
        (Tree, {"Tree.children": st.just([])}, lambda v: v.get("children", []) == []),
        (Chain, {"Chain": st.just(None)}, lambda v: v is None),
        (int, {"int": st.just(4)}, lambda v: v == 4),
    ],
)  # fmt: skip
@settings(max_examples=30)
@given(data=st.data())
def test_a_field_takes_the_strategy_that_it_is_given(
    kind: Any, fields: dict[str, Any], holds: Callable[[Any], bool], data: st.DataObject
) -> None:
    """By the name in Python or in the data, nested types by their own, typed or plain values."""
    assert holds(data.draw(values(kind, fields=fields)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"Placed.totl": st.integers()}, r"fields has 'Placed.totl', which no type has \(did you mean 'Placed.total'\?\)"),
        ({"total": st.integers()}, "name a field as TypeName.field: .*Placed.total"),
        ({"Placed.lines.count": st.integers()}, "which no type has"),
        ({"Placed.total": 3}, r"fields\['Placed.total'\] is 3, no strategy"),
    ],
)  # fmt: skip
def test_refuses_fields_that_no_type_has(fields: dict[str, Any], message: str) -> None:
    """A slip of the pen would leave the field as it was, and nobody would know."""
    with pytest.raises(RefusedError, match=message):
        values(Placed, fields=fields)


def test_refuses_a_value_of_ones_own_that_cannot_be_published() -> None:
    """With the key of `fields` that it came from."""

    @given(values(Placed, fields={"Placed.total": st.just(1.5)}))
    def draw(value: Any) -> None:
        raise AssertionError(value)

    with pytest.raises(RefusedError, match=r"fields\['Placed.total'\] gave 1.5: the float 1.5"):
        draw()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "one or two attribute names"),
        (3, "key=3: one or two attribute names"),
        (None, "one or two attribute names"),
        ([], "one or two attribute names"),
        (["a", "b", "c"], "one or two attribute names"),
        ({"id": "a"}, r"key\['id'\] is 'a', no strategy"),
    ],
)
def test_refuses_what_names_no_key(key: Any, message: str) -> None:
    """A key has one or two attributes."""
    with pytest.raises(RefusedError, match=message):
        key_maps(key)
