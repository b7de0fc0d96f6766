"""What the kit says: short in a story, exact in code, and every difference by its place."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog import changes
from binlog.changes import delete_item, event, put_item, update_item
from binlog.envelope import Envelope
from binlog.testing.words import (
    differences,
    event_code,
    imports_of_code,
    say_event,
    say_item,
    say_key,
    value_code,
)
from binlog.values import decode_value, encode_value

NAMES = st.text("ab.'\"\\\n\U0001f600", min_size=1, max_size=4)
LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(10**38) + 1, 10**38 - 1)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-99, max_value=99)
    | st.text("a'\"\\\n\x00\U0001f600\u0301", max_size=5)
    | st.binary(max_size=4)
    | st.frozensets(NAMES, min_size=1, max_size=3)
    | st.frozensets(st.integers(-5, 5), min_size=1, max_size=3)
)
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3)
)


def made_by(code: str) -> Any:
    scope: dict[str, Any] = {}
    exec("\n".join(imports_of_code(code)), scope)
    return eval(code, scope)


@given(VALUES)
def test_the_code_of_a_value_makes_it_again(value: object) -> None:
    code = value_code(value)
    assert encode_value(made_by(code)) == encode_value(value)
    assert code == value_code(made_by(code))


@given(
    data=st.dictionaries(NAMES, VALUES, max_size=3),
    expect=st.none() | st.integers(0, 9),
    meta=st.none() | st.just({"by": "me"}),
    schema=st.integers(1, 3),
    table=st.none() | st.just("orders"),
)
def test_the_code_of_an_event_makes_the_same_envelope(
    data: dict[str, Any],
    expect: int | None,
    meta: dict[str, Any] | None,
    schema: int,
    table: str | None,
) -> None:
    """Byte for byte: a test that is pasted has to fail as the run did."""
    more: Any = {"expect": expect, "meta": meta}
    key = {"id": "a", "n": 3}
    for envelope in (
        event("Placed", key, data, schema=schema, table=table, **more),
        event("Placed", key, **more),
        put_item("orders", {**data, **key}, key=("id", "n"), **more),
        update_item("orders", key, {"Set": {"x": data}}, **more),
        delete_item("orders", key, **more),
    ):
        assert made_by(event_code(envelope)) == envelope


def test_code_of_what_no_function_makes_is_the_envelope_itself() -> None:
    for odd in (
        Envelope("e", "binlog.noop", 1, "", encode_value({"p": 1}), encode_value(None)),
        Envelope("e", "Placed", 1, "", b"\xc1", b"\xc1"),
        Envelope("e", "Placed", 1, "", encode_value({"a": 1}), None),
    ):
        assert event_code(odd).startswith("Envelope(")
        assert made_by(event_code(odd)) == odd


def test_every_function_that_code_calls_is_imported() -> None:
    for name in ("delete_item", "event", "put_item", "update_item"):
        assert callable(getattr(changes, name))
        assert imports_of_code(f"[{name}(1)]") == [f"from binlog.changes import {name}"]
    assert imports_of_code('say("event(1)")') == []


def test_an_event_is_told_in_the_words_of_the_domain() -> None:
    paid = event("OrderPaid", {"id": "a"}, {"by": "card", "n": "7"}, table="orders")
    assert say_event(paid) == 'OrderPaid of orders {id: a}: {by: card, n: "7"}'
    old = event("OrderPaid", {"id": 7}, None, schema=2, expect=0, meta={"who": "x y"})
    assert say_event(old) == (
        'OrderPaid (schema 2) {id: 7}: None, expecting version 0, meta {who: "x y"}'
    )
    assert say_event(delete_item("orders", {"id": "a"})) == "DeleteItem of orders {id: a}"
    assert say_key(encode_value({"id": Decimal("1.5")})) == "{id: 1.5}"
    assert (say_item(None), say_item({"s": {"b", "a"}})) == ("no item", "{s: set(a, b)}")


def test_a_long_value_stays_a_line() -> None:
    assert len(say_item({"t": "x" * 10_000})) < 200
    assert len(say_item({f"a{n}": n for n in range(1000)})) < 500
    assert len(say_event(Envelope("e", "T", 1, "", b"\xc1", b"\xc1" * 999))) < 200


@given(VALUES, VALUES)
def test_there_are_differences_exactly_between_different_values(one: object, two: object) -> None:
    """By the canonical bytes: 1.0 is 1, and True is not."""
    # Read back, so that the order of maps is not the one in which they were made.
    again = decode_value(encode_value(one))
    assert differences(one, again) == []
    assert bool(differences(one, two)) == (encode_value(one) != encode_value(two))


@pytest.mark.parametrize(
    ("expected", "found", "lines"),
    [
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ["a.b[1]: expected 2, found 3"]),
        ({"a": 1}, {}, ["a: missing, expected 1"]),
        ({}, {"a b": 1}, ['"a b": should not be there, found 1']),
        ({"n": Decimal("1.50")}, {"n": Decimal("1.5")}, []),
        ({"n": 1}, {"n": "1"}, ['n: expected 1 (a number), found "1" (text)']),
        ({"n": 1}, {"n": True}, ["n: expected 1 (a number), found True (a boolean)"]),
        ({"n": 1}, {"n": 1.0}, ["n: expected 1 (a number), found 1.0 (a float)"]),
        ({"n": [1]}, {"n": [1, 2]}, ["n[1]: should not be there, found 2"]),
        ({"s": {"a"}}, {"s": {"b"}}, ["s: a is missing", "s: b should not be there"]),
        ({"n": {}}, {"n": None}, ["n: expected {}, found None"]),
        (None, {"a": 1}, ["the item: expected no item, found {a: 1}"]),
        ({"a": 1}, None, ["the item: expected {a: 1}, found no item"]),
    ],
)
def test_a_difference_names_its_place_and_both_sides(
    expected: object, found: object, lines: list[str]
) -> None:
    assert differences(expected, found) == lines


def test_two_long_texts_are_shown_where_they_part() -> None:
    [line] = differences({"t": "x" * 500 + "a"}, {"t": "x" * 500 + "b"})
    assert "a" in line.split("found")[0]
    assert '"xxxxxxxxxxb"' in line
    assert len(line) < 200


def test_many_differences_are_counted() -> None:
    lines = differences({}, {f"a{n}": n for n in range(50)})
    assert (len(lines), lines[-1]) == (21, "and 30 more differences")
