"""Canonical bytes: one sequence of bytes a value, one value a sequence, and a bounded decoder."""

from __future__ import annotations

import enum
import struct
from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from binlog.errors import DamageError, RefusedError, TooLargeError
from binlog.values import (
    DEPTH_MAX,
    ITEM_BYTES_FREE,
    decode_value,
    encode_item,
    encode_value,
    is_canonical,
    item_size,
)
from tests.values.strategies import (
    EXACT,
    decimal_of,
    items,
    nested,
    number_parts,
    same,
    values,
)
from tests.values.test_numbers import specified_text


def specified_bytes(value: object) -> bytes:
    """The encoding as the module's first lines specify it, written down again from them."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int() | Decimal():
            return specified_number(value)
        case str():
            raw = value.encode()
            return sized(len(raw), (31, 0xA0), (0xD9, 0xDA, 0xDB)) + raw
        case bytes():
            return sized(len(value), None, (0xC4, 0xC5, 0xC6)) + value
        case list():
            body = b"".join(map(specified_bytes, value))
            return sized(len(value), (15, 0x90), (None, 0xDC, 0xDD)) + body
        case dict():
            pairs = sorted((name.encode(), value[name]) for name in value)
            body = b"".join(specified_bytes(n.decode()) + specified_bytes(v) for n, v in pairs)
            return sized(len(value), (15, 0x80), (None, 0xDE, 0xDF)) + body
        case frozenset():
            members = sorted(map(specified_bytes, value))
            first = next(iter(value))
            code = 2 if isinstance(first, str) else 4 if isinstance(first, bytes) else 3
            body = sized(len(members), (15, 0x90), (None, 0xDC, 0xDD)) + b"".join(members)
            return extension(code, body)
    raise AssertionError(value)


def specified_number(value: int | Decimal) -> bytes:
    exact = EXACT.create_decimal(value)
    sign, digits, exponent = exact.as_tuple()
    assert isinstance(exponent, int)
    whole = exact == exact.to_integral_value()
    if whole and -(2**63) <= (number := int(exact)) < 2**64:
        for low, high, head, form in (
            (0, 2**7, b"", ">B"),
            (-32, 0, b"", ">b"),
            (0, 2**8, b"\xcc", ">B"),
            (0, 2**16, b"\xcd", ">H"),
            (0, 2**32, b"\xce", ">I"),
            (0, 2**64, b"\xcf", ">Q"),
            (-(2**7), 0, b"\xd0", ">b"),
            (-(2**15), 0, b"\xd1", ">h"),
            (-(2**31), 0, b"\xd2", ">i"),
            (-(2**63), 0, b"\xd3", ">q"),
        ):
            if low <= number < high:
                return head + struct.pack(form, number)
    text = specified_text((sign, int("".join(map(str, digits))), exponent))
    return extension(1, text.encode())


def sized(count: int, tiny: tuple[int, int] | None, codes: tuple[int | None, int, int]) -> bytes:
    if tiny and count <= tiny[0]:
        return bytes([tiny[1] | count])
    if codes[0] is not None and count < 2**8:
        return bytes([codes[0], count])
    if count < 2**16:
        return bytes([codes[1]]) + struct.pack(">H", count)
    return bytes([codes[2]]) + struct.pack(">I", count)


def extension(code: int, body: bytes) -> bytes:
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}.get(len(body))
    if fixed is not None:
        return bytes([fixed, code]) + body
    return sized(len(body), None, (0xC7, 0xC8, 0xC9)) + bytes([code]) + body


@given(values)
def test_encodes_a_value_as_specified(value: object) -> None:
    """Written twice, once by msgspec's tricks and once by hand: the same bytes on every engine."""
    assert encode_value(value) == specified_bytes(value)


@given(items)
def test_encodes_an_item_as_specified_whatever_way_is_taken(item: dict[str, Any]) -> None:
    """Flat items take a short way, which must not show."""
    assert encode_item(item) == specified_bytes(item)
    assert encode_item(OrderedDict(reversed(item.items()))) == specified_bytes(item)


@pytest.mark.parametrize("length", [15, 16, 31, 32, 255, 256, 65_535, 65_536])
def test_encodes_every_length_as_specified(length: int) -> None:
    for value in (
        "x" * length,
        b"x" * length,
        list(range(length)),
        {str(n): n for n in range(length)},
        frozenset(range(length)),
        frozenset(f"{n:05}" for n in range(length)),
    ):
        assert encode_value(value) == specified_bytes(value)
        assert same(decode_value(encode_value(value)), value)


@given(values)
def test_decodes_what_it_encoded(value: object) -> None:
    data = encode_value(value)
    assert same(decode_value(data), value)
    assert is_canonical(data)
    assert encode_value(decode_value(data)) == data


@given(values, values)
@example(1, True)
@example(0, False)
@example("1", 1)
@example("a", b"a")
@example([], {})
@example(["a"], frozenset({"a"}))
@example(frozenset({1}), frozenset({"1"}))
@example(None, "null")
@example(Decimal("0.1"), "0.1")
@example(Decimal("1.0"), 1)
@example(10**38, Decimal("1E+38"))
def test_different_values_have_different_bytes_and_equal_ones_equal(
    left: object, right: object
) -> None:
    assert (encode_value(left) == encode_value(right)) == same(left, right)


@given(st.binary(max_size=24))
def test_decoding_garbage_gives_a_value_or_one_error(data: bytes) -> None:
    """A hostile record must not be able to end a reader in any other way."""
    try:
        value = decode_value(data)
    except DamageError:
        assert not is_canonical(data)
        return
    if is_canonical(data):
        assert encode_value(value) == data


@given(values, st.data())
def test_only_its_own_bytes_are_canonical(value: object, data: st.DataObject) -> None:
    """Flipping any byte gives another value's bytes or none: never a second form of the same."""
    encoded = bytearray(encode_value(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    if is_canonical(bytes(encoded)):
        assert not same(decode_value(bytes(encoded)), value)


@pytest.mark.parametrize(
    "data",
    [
        b"\xcd\x00\x01",  # 1 in two bytes
        b"\xd9\x01a",  # a short text in the long form
        b"\x82\xa1b\x01\xa1a\x02",  # names in the wrong order
        b"\x82\xa1a\x01\xa1a\x02",  # a name twice
        b"\x81\x01\x02",  # a name that is no text
        b"\xd4\x01\x31",  # a small number as text
        b"\xc7\x03\x010.10",  # a trailing zero
        b"\xc7\x03\x03\x92\x02\x01",  # a set in the wrong order
        b"\xd5\x02\x91\x01",  # a number in a string set
        b"\xcb?\xf0\x00\x00\x00\x00\x00\x00",  # a float
        b"\xd6\xff\x00\x00\x00\x00",  # msgpack's own time stamp
        b"\x91" * (DEPTH_MAX + 1) + b"\xc0",  # too deep
    ],
)
def test_another_spelling_is_not_canonical(data: bytes) -> None:
    assert not is_canonical(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "truncated"),
        (b"\x01\x01", "trailing"),
        (b"\xc1", "malformed"),
        (b"\xa1\xff", "utf-8"),
        (b"\xa3\xed\xa0\x80", "utf-8"),  # a surrogate
        (b"\xd4\x02\x90", "empty"),
        (b"\xc7\x03\x03\x92\x01\x01", "twice"),
        (b"\xd5\x02\x91\x90", "containers"),
        (b"\xd4\x05x", "extension type 5"),
        (b"\xd4\x01x", "no number"),
        (b"\xdd\xff\xff\xff\xff", "truncated"),
        (b"\xc6\xff\xff\xff\xff", "truncated"),
        (b"\x91" * 1_000_000, "recursion"),
        (b"\x81\xa1a" * 1_000_000, "recursion"),
    ],
)
def test_damaged_bytes_say_what_is_wrong_with_them(data: bytes, says: str) -> None:
    with pytest.raises(DamageError, match=says):
        decode_value(data)


class Colour(str, enum.Enum):  # noqa: UP042 (the older spelling is the trap)
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("given_value", "meant"),
    [
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ((1, 2), [1, 2]),
        ({1, 2}, frozenset({1, 2})),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (Decimal("-0"), 0),
        (OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
    ],
)
def test_takes_a_python_object_for_the_value_it_stands_for(
    given_value: object, meant: object
) -> None:
    assert encode_value(given_value) == encode_value(meant)
    assert encode_item({"a": given_value}) == encode_item({"a": meant})


class Thing:
    pass


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1.5, "float 1.5"),
        (float("nan"), "float nan"),
        (1j, "complex"),
        (Decimal("NaN"), "no number"),
        (Decimal("Infinity"), "no number"),
        (10**38 + 1, "39 digits"),
        (set(), "empty set"),
        ({1, "a"}, "set of int, str"),
        ({True}, "set of bool"),
        ({None}, "set of NoneType"),
        ({(1,)}, "set of tuple"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        ({"": 1}, "not empty"),
        ({1: 1}, "names are text"),
        ({None: 1}, "names are text"),
        ({"a": 1, 2: 1}, "names are text"),
        (Thing(), "type Thing"),
        (nested(DEPTH_MAX + 1, 1), "nesting above 32"),
        (nested(100_000, 1), "nesting above 32"),
    ],
)
def test_refuses_what_is_no_value_wherever_it_stands(value: object, says: str) -> None:
    for whole in ([value], {"a": value}, {"a": {"b": [value]}}):
        with pytest.raises(RefusedError, match=says):
            encode_value(whole)
    with pytest.raises(RefusedError, match=says):
        encode_item({"a": value})
    with pytest.raises(RefusedError):
        encode_value(value)


def test_refuses_a_lone_surrogate_beside_a_number_that_takes_the_long_way() -> None:
    with pytest.raises(RefusedError, match="lone surrogate"):
        encode_item({"a": 2**70, "b": "\ud800"})
    with pytest.raises(RefusedError, match="lone surrogate"):
        encode_value([2**70, {"\ud800": 1}])


def test_refuses_a_value_that_contains_itself() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(RefusedError, match="nesting above 32"):
        encode_value(value)


@pytest.mark.parametrize("leaf", [1, {"x": 1}, frozenset({1})], ids=repr)
def test_an_item_may_nest_32_levels_and_no_more(leaf: object) -> None:
    """The item is the first: below an attribute DynamoDB takes 31, as measured at its stand-in."""
    own = 1 if isinstance(leaf, int) else 2
    assert decode_value(encode_item({"a": nested(DEPTH_MAX - own, leaf)}))
    with pytest.raises(RefusedError, match="nesting above 32"):
        encode_item({"a": nested(DEPTH_MAX - own + 1, leaf)})


def test_refuses_the_reserved_attribute_on_an_item_only() -> None:
    with pytest.raises(RefusedError, match="'_binlog' is reserved"):
        encode_item({"id": 1, "_binlog": 1})
    assert encode_item({"id": {"_binlog": 1}})


def test_keeps_the_limit_of_an_item_to_the_byte() -> None:
    """DynamoDB's count, names included, less what is reserved for the version's attribute."""
    room = ITEM_BYTES_FREE - len("v")
    assert encode_item({"v": "x" * room})
    with pytest.raises(TooLargeError, match=f"{ITEM_BYTES_FREE + 1} bytes, the limit is") as caught:
        encode_item({"v": "x" * (room + 1)})
    assert caught.value.details == {"size": ITEM_BYTES_FREE + 1, "limit": ITEM_BYTES_FREE}
    with pytest.raises(TooLargeError):
        encode_item({"v": b"x" * (room + 1)})
    with pytest.raises(TooLargeError):  # a million empty lists: 1 byte here, 4 there
        encode_item({"v": [[] for _ in range(ITEM_BYTES_FREE // 4)]})


@given(items)
def test_no_value_outgrows_its_canonical_bytes_by_more_than_the_shortcut_assumes(
    item: Mapping[str, Any],
) -> None:
    """`encode_item` counts exactly only where four times the bytes reach the limit."""
    assert item_size(item) <= 4 * len(encode_item(item))


@given(number_parts())
def test_a_number_has_at_most_21_bytes(parts: tuple[int, int, int]) -> None:
    """Source: the documentation's "approximately", bounded by 38 digits, a sign and one more."""
    size = item_size({"n": decimal_of(parts)}) - 1
    assert 1 <= size <= 21
