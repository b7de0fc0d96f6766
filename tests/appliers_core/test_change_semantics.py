"""UpdateItem has DynamoDB's meaning, and its arithmetic is exact."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.actions import GROWTH_FACTOR, change_item, check_size
from binlog.errors import DamageError, RefusedError, TooLargeError
from binlog.values import ITEM_BYTES_FREE, encode_item, encode_value, item_size

KEY = encode_value({"id": "a"})
LARGEST = 10**38 - 1


def changed(before: dict[str, Any] | None, **sections: Any) -> dict[str, Any]:
    item = None if before is None else {"id": "a", **before}
    after = change_item(item, sections, KEY)
    assert after.pop("id") == "a"
    return after


@pytest.mark.parametrize(
    ("before", "sections", "after"),
    [
        ({}, {"Set": {"x": 1}}, {"x": 1}),
        ({"x": "old", "y": 2}, {"Set": {"x": None}}, {"x": None, "y": 2}),
        ({"x": {"deep": 1}}, {"Set": {"x": {"other": 2}}}, {"x": {"other": 2}}),
        ({"x": 1, "y": 2}, {"Remove": ["x", "absent"]}, {"y": 2}),
        ({}, {"Add": {"x": 5}}, {"x": 5}),
        ({"x": 1}, {"Add": {"x": -3}}, {"x": -2}),
        ({"x": 2}, {"Add": {"x": -2}}, {"x": 0}),
        ({"x": Decimal("0.1")}, {"Add": {"x": Decimal("0.2")}}, {"x": Decimal("0.3")}),
        ({"x": Decimal("0.5")}, {"Add": {"x": Decimal("0.5")}}, {"x": 1}),
        ({"x": 10**37}, {"Add": {"x": 1}}, {"x": 10**37 + 1}),
        ({"x": LARGEST}, {"Add": {"x": 1}}, {"x": 10**38}),
        ({"x": LARGEST}, {"Add": {"x": -LARGEST}}, {"x": 0}),
        ({}, {"Add": {"x": frozenset("ab")}}, {"x": frozenset("ab")}),
        ({"x": frozenset("ab")}, {"Add": {"x": frozenset("bc")}}, {"x": frozenset("abc")}),
        ({"x": frozenset({1})}, {"Add": {"x": frozenset({2})}}, {"x": frozenset({1, 2})}),
        (
            {"x": frozenset({b"1"})},
            {"Add": {"x": frozenset({b"2"})}},
            {"x": frozenset({b"1", b"2"})},
        ),
        ({"x": frozenset("ab")}, {"Delete": {"x": frozenset("bc")}}, {"x": frozenset("a")}),
        ({"x": frozenset("ab")}, {"Delete": {"x": frozenset("ab")}}, {}),
        ({"y": 1}, {"Delete": {"x": frozenset("ab")}}, {"y": 1}),
        (
            {"a": 1, "b": 1, "c": 1, "d": frozenset("xy")},
            {"Set": {"a": 2}, "Remove": ["b"], "Add": {"c": 1}, "Delete": {"d": frozenset("x")}},
            {"a": 2, "c": 2, "d": frozenset("y")},
        ),
        ({"x": 1}, {}, {"x": 1}),
        (None, {"Set": {"x": 1}}, {"x": 1}),
        (None, {"Add": {"x": 1}, "Remove": ["y"]}, {"x": 1}),
        (None, {}, {}),
    ],
)
def test_an_update_does_what_dynamodb_does(
    before: dict[str, Any] | None, sections: dict[str, Any], after: dict[str, Any]
) -> None:
    """Each section, on what is there and on what is not; on no item it creates one."""
    result = changed(before, **sections)
    assert result == after
    assert encode_value(result) == encode_value(after)


@pytest.mark.parametrize(
    ("before", "sections", "says"),
    [
        ({"x": "1"}, {"Add": {"x": 1}}, "a number cannot be added to a string"),
        ({"x": True}, {"Add": {"x": 1}}, "a number cannot be added to a boolean"),
        ({"x": None}, {"Add": {"x": 1}}, "a number cannot be added to null"),
        ({"x": [1]}, {"Add": {"x": 1}}, "a number cannot be added to a list"),
        ({"x": {}}, {"Add": {"x": 1}}, "a number cannot be added to a map"),
        ({"x": b"1"}, {"Add": {"x": 1}}, "a number cannot be added to a binary"),
        ({"x": frozenset({1})}, {"Add": {"x": 1}}, "cannot be added to a number set"),
        ({"x": 1}, {"Add": {"x": frozenset({1})}}, "a number set cannot be added to a number"),
        ({"x": frozenset("a")}, {"Add": {"x": frozenset({1})}}, "to a string set"),
        ({"x": frozenset({b"a"})}, {"Add": {"x": frozenset("a")}}, "to a binary set"),
        ({}, {"Add": {"x": "text"}}, "a string is no number and no set"),
        ({}, {"Add": {"x": True}}, "a boolean is no number and no set"),
        ({}, {"Add": {"x": [1]}}, "a list is no number"),
        ({"x": "a"}, {"Delete": {"x": frozenset("a")}}, "cannot be taken from a string"),
        ({"x": frozenset({1})}, {"Delete": {"x": frozenset("1")}}, "taken from a number set"),
        ({}, {"Delete": {"x": 1}}, "a number is no set"),
        ({"x": LARGEST}, {"Add": {"x": Decimal("0.1")}}, "39 digits"),
        ({"x": 10**38}, {"Add": {"x": 1}}, "39 digits"),
        ({"x": Decimal("9.9E+125")}, {"Add": {"x": Decimal("1E-130")}}, "digits"),
        ({"x": Decimal("9E+125")}, {"Add": {"x": Decimal("9E+125")}}, "out of range"),
        ({}, {"Set": {"id": "b"}}, "the key attribute 'id' cannot be updated"),
        ({}, {"Set": {"id": "a"}}, "the key attribute 'id' cannot be updated"),
        ({}, {"Remove": ["id"]}, "the key attribute 'id' cannot be updated"),
        ({}, {"Add": {"id": 1}}, "the key attribute 'id' cannot be updated"),
        ({}, {"Set": {"_binlog": 1}}, "'_binlog' is reserved"),
        ({}, {"Remove": ["_binlog"]}, "'_binlog' is reserved"),
        ({}, {"Set": {"": 1}}, "reserved"),
        ({"x": 1}, {"Set": {"x": 2}, "Add": {"x": 1}}, "'x' is in two sections"),
        ({"x": 1}, {"Set": {"x": 2}, "Remove": ["x"]}, "'x' is in two sections"),
        ({"x": 1}, {"Set": {"y": 2}, "Remove": ["z"], "Add": {"y": 1}}, "'y' is in two sections"),
        ({}, {"Remove": ["x", "x"]}, "twice"),
        ({}, {"Remove": [1]}, "Remove takes names"),
        ({}, {"Remove": [["x"]]}, "Remove takes names"),
        ({}, {"Remove": {"x": 1}}, "no map of Set"),
        ({}, {"Set": ["x"]}, "no map of Set"),
        ({}, {"Put": {"x": 1}}, "no map of Set"),
    ],
)
def test_an_update_that_fits_not_is_refused(
    before: dict[str, Any], sections: dict[str, Any], says: str
) -> None:
    """And leaves the item as it was, so that a caller may go on with it."""
    item = {"id": "a", **before}
    kept = encode_value(item)
    with pytest.raises(RefusedError, match=says):
        change_item(item, sections, KEY)
    assert encode_value(item) == kept


@pytest.mark.parametrize("change", [None, 1, "x", ["Set"], b""])
def test_data_that_is_no_map_is_refused(change: Any) -> None:
    with pytest.raises(RefusedError, match="no map of Set"):
        change_item({"id": "a"}, change, KEY)


@pytest.mark.parametrize(
    "key",
    [
        {"id": "a"},
        {"id": 1},
        {"i" * 31: "a"},
        {"i" * 32: "a"},
        {"ключ": "a"},
        {"id": "a", "sort": 1},
        {"a": b"1"},
    ],
)
def test_no_attribute_of_any_key_can_be_updated(key: dict[str, Any]) -> None:
    """Short names are read from the key's bytes; long, foreign and second ones are kept as well."""
    encoded = encode_value(key)
    for name in key:
        with pytest.raises(RefusedError, match="cannot be updated"):
            change_item(dict(key), {"Set": {name: 1}}, encoded)
    assert change_item(None, {"Set": {"ok": 1}}, encoded) == {**key, "ok": 1}


@pytest.mark.parametrize(
    "key", [b"", b"\x81", b"\x81\xa2i", b"\x81\xa2\xff\xff\x01", b"\x01", encode_value([1])]
)
def test_bytes_that_are_no_key_are_refused(key: bytes) -> None:
    with pytest.raises((RefusedError, DamageError), match=r"key|bytes that are no value"):
        change_item(None, {}, key)


def test_sums_do_not_ask_the_callers_decimal_context() -> None:
    """A context of three digits would make 1000.001 of nothing."""
    with decimal.localcontext(prec=3) as context:
        context.traps[decimal.Inexact] = True
        assert changed({"x": 1000}, Add={"x": Decimal("0.001")}) == {"x": Decimal("1000.001")}
        assert changed({"x": LARGEST}, Add={"x": 1}) == {"x": 10**38}


def test_the_item_given_is_left_alone() -> None:
    item = {"id": "a", "n": 1, "s": frozenset("ab")}
    change_item(item, {"Set": {"x": 1}, "Add": {"n": 1}, "Delete": {"s": frozenset("a")}}, KEY)
    assert item == {"id": "a", "n": 1, "s": frozenset("ab")}


def test_the_size_limit_is_exact() -> None:
    """The largest item that fits, and one byte more."""
    rest = ITEM_BYTES_FREE - item_size({"id": "a", "x": ""})
    assert check_size({"id": "a", "x": "y" * rest}) == ITEM_BYTES_FREE
    with pytest.raises(TooLargeError, match=f"{ITEM_BYTES_FREE + 1} bytes"):
        check_size({"id": "a", "x": "y" * (rest + 1)})


NUMBERS = st.one_of(st.integers(-9, 9), st.integers(-LARGEST, LARGEST), st.just(Decimal("1E-37")))


@given(
    st.dictionaries(st.sampled_from("xyz"), NUMBERS, max_size=3),
    st.one_of(
        st.fixed_dictionaries({"Add": st.dictionaries(st.sampled_from("xyz"), NUMBERS)}),
        st.fixed_dictionaries(
            {"Set": st.dictionaries(st.text(min_size=1, max_size=2), st.lists(st.just([])))}
        ),
    ),
)
def test_no_change_grows_an_item_beyond_the_bound(
    before: dict[str, Any], change: dict[str, Any]
) -> None:
    """The bound lets the fold skip the exact size of all but large items."""
    try:
        item = {"id": "a", **before}
        after = change_item(item, change, KEY)
        encode_item(after)
    except RefusedError:
        return
    assert item_size(after) <= item_size(item) + GROWTH_FACTOR * len(encode_value(change))


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=8))
def test_each_item_has_its_own_key_attribute_whatever_came_before(names: list[str]) -> None:
    """How the last key began is remembered; names of one length, or one within another, differ."""
    for name in names:
        key = encode_value({name: "k"})
        for other in ("a", "b", "ab", "ba", "aab"):
            if other == name:
                with pytest.raises(RefusedError, match="cannot be updated"):
                    change_item({name: "k"}, {"Set": {other: 1}}, key)
            else:
                assert change_item({name: "k"}, {"Set": {other: 1}}, key)[other] == 1
