"""Values to JSON and back, read again by a decoder of our own."""

from __future__ import annotations

import base64
import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from binlog.errors import DamageError, RefusedError
from binlog.json_values import (
    encode_json,
    item_data,
    parse_line,
    plain,
    typed,
    typed_any,
    typed_item_text,
    untyped,
    untyped_any,
    untyped_item,
)
from binlog.values import encode_item, encode_value
from tests.values.strategies import EXACT, items, names, same, scalars, values


def exact_json(text: bytes) -> Any:
    """The standard library's parser, numbers exact."""
    return json.loads(
        text,
        parse_float=EXACT.create_decimal,
        parse_int=EXACT.create_decimal,
        parse_constant=lambda name: pytest.fail(f"{name} is no JSON"),
    )


def read_typed(document: dict[str, Any]) -> Any:
    """DynamoDB JSON, by its documentation."""
    [(kind, payload)] = document.items()
    match kind:
        case "S" | "BOOL":
            return payload
        case "N":
            return EXACT.create_decimal(payload)
        case "B":
            return base64.b64decode(payload, validate=True)
        case "NULL":
            return None
        case "L":
            return [read_typed(element) for element in payload]
        case "M":
            return {name: read_typed(value) for name, value in payload.items()}
        case "SS":
            return frozenset(payload)
        case "NS":
            return frozenset(map(EXACT.create_decimal, payload))
        case "BS":
            return frozenset(base64.b64decode(member, validate=True) for member in payload)
    raise AssertionError(kind)


def sets_same(left: Any, right: Any) -> bool:
    """As `same`, with numbers in sets compared as numbers."""
    if isinstance(left, frozenset) and isinstance(right, frozenset):
        exact = [
            {EXACT.create_decimal(m) if isinstance(m, int | Decimal) else m for m in side}
            for side in (left, right)
        ]
        return exact[0] == exact[1]
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(sets_same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(sets_same, left, right))
    return same(left, right)


@given(items)
def test_an_items_dynamodb_text_is_read_by_others_as_that_item(item: dict[str, Any]) -> None:
    text = typed_item_text(encode_item(item))
    assert sets_same(read_typed({"M": json.loads(text)}), item)


@given(items)
def test_an_items_dynamodb_text_is_its_canonical_bytes_again(item: dict[str, Any]) -> None:
    """Lossless: a store that keeps the text has the same digest as one that keeps the bytes."""
    data = encode_item(item)
    assert item_data(typed_item_text(data)) == data
    assert item_data(typed_item_text(data).decode()) == data


@given(values)
def test_typed_values_come_back(value: object) -> None:
    document = parse_line(encode_json(typed(value)))
    assert encode_value(untyped(document)) == encode_value(value)
    assert encode_value(untyped_any(document)) == encode_value(value)
    either = parse_line(encode_json(typed_any(value)))
    assert encode_value(untyped_any(either)) == encode_value(value)


def documents() -> st.SearchStrategy[Any]:
    """JSON that is nearly DynamoDB JSON: mostly the letters of its types, nested."""
    kinds = st.sampled_from(["S", "M", "L", "NULL", "N", "SS", "a"])
    leaves = st.sampled_from(["x", "1", True, 1]) | st.just({})
    return st.recursive(
        leaves,
        lambda deeper: st.dictionaries(kinds, deeper, max_size=2) | st.lists(deeper, max_size=2),
        max_leaves=6,
    )


@given(documents())
@example({"M": {"M": {"M": {}}}})
@example({"M": {"M": {"M": {"S": "x"}}}})
@example({"L": []})
@example({})
def test_no_document_is_both_a_typed_value_and_an_attribute_map(document: object) -> None:
    """So a line's Data may be either, and reading it is no guess."""
    accepted = []
    for read in (untyped, untyped_item):
        try:
            accepted.append(read(document))
        except RefusedError:
            continue
    assert len(accepted) <= 1
    if accepted:
        assert encode_value(untyped_any(document)) == encode_value(accepted[0])
    else:
        with pytest.raises(RefusedError):
            untyped_any(document)


def read_plain(value: object) -> Any:
    """What plain JSON must say of a value, in the terms of `exact_json`."""
    match value:
        case bool() | str() | None:
            return value
        case int() | Decimal():
            return EXACT.create_decimal(value)
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [read_plain(element) for element in value]
        case dict():
            return {name: read_plain(element) for name, element in value.items()}
        case frozenset():
            return [read_plain(member) for member in sorted(value)]
    raise AssertionError(value)


@given(values)
@example(Decimal("0.1"))
@example(10**38 - 1)
@example(2**64)
@example(-(2**63) - 1)
@example(Decimal("9.9999999999999999999999999999999999999E+125"))
@example(frozenset({10, 9, 1, Decimal("1.5")}))
def test_plain_json_has_every_digit(value: object) -> None:
    assert exact_json(encode_json(plain(value))) == read_plain(value)


def test_plain_numbers_look_as_people_write_them() -> None:
    item = {"a": Decimal("0.1"), "b": 10**38 - 1, "c": frozenset({10, 9}), "d": b"\x00"}
    text = encode_json(plain(item)).decode()
    assert text == '{"a":0.1,"b":' + "9" * 38 + ',"c":[9,10],"d":"AA=="}'


def without_bytes_and_sets(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(children, max_size=3) | st.dictionaries(names, children, max_size=3)


@given(
    st.recursive(
        scalars.filter(lambda v: not isinstance(v, bytes)), without_bytes_and_sets, max_leaves=8
    )
)
def test_plain_json_of_json_values_comes_back(value: object) -> None:
    assert encode_value(parse_line(encode_json(plain(value)))) == encode_value(value)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"a": "x"}, "attribute 'a': \"x\" is no typed value"),
        ({"a": {}}, "attribute 'a': {} is no typed value"),
        ({"a": {"S": "x", "N": "1"}}, "is no typed value"),
        ({"a": {"Q": "x"}}, "is no typed value"),
        ({"a": {"S": 1}}, "S holds 1, not a string"),
        ({"a": {"N": 1}}, 'N holds 1, not a string: write a number as {"N": "1.5"}'),
        ({"a": {"N": "x"}}, "'x' is no number"),
        ({"a": {"N": "1" * 39}}, "39 digits, the limit is 38"),
        ({"a": {"B": "A"}}, "no base64"),
        ({"a": {"B": "A A="}}, "no base64"),
        ({"a": {"BOOL": "true"}}, "BOOL holds"),
        ({"a": {"NULL": False}}, "NULL holds false"),
        ({"a": {"L": {}}}, "L holds {}, not an array"),
        ({"a": {"M": []}}, "[] is no map"),
        ({"a": {"SS": []}}, "a set holds [], not an array with members"),
        ({"a": {"SS": ["x", "x"]}}, "holds a member twice"),
        ({"a": {"NS": ["1", "1.0"]}}, "holds a member twice"),
        ({"a": {"SS": [{"S": "x"}]}}, "S holds"),
        ({"a": {"M": {"b": {"L": [{"N": "x"}]}}}}, "attribute 'a': attribute 'b': 'x' is no"),
        ([], "[] is no map"),
    ],
)
def test_says_which_attribute_is_no_dynamodb_json(document: object, says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        untyped_item(document)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text", [b"", b"[", b"[]", b"1", b'{"a":1}', b"\xff", b'{"a":{"L":' * 100_000, b'{"a":NaN}']
)
def test_a_row_that_was_damaged_by_hand_is_refused(text: bytes) -> None:
    with pytest.raises(RefusedError):
        item_data(text)


@pytest.mark.parametrize("data", [b"\x81\xa1a\xcb" + bytes(8), b"\x01", b"\xc1"])
def test_bytes_that_are_no_item_are_damage_and_no_crash(data: bytes) -> None:
    """A frame's payload is not looked into before somebody needs it."""
    with pytest.raises(DamageError):
        typed_item_text(data)


# -- strict lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "the line is empty"),
        (b"nope", "no JSON: expecting value (character 1)"),
        (b'{"a":1', "no JSON"),
        (b'{"a":1} x', "no JSON: extra data"),
        (b"{'a':1}", "no JSON"),
        (b'{"a":1,}', "no JSON"),
        (b'{"a":01}', "no JSON"),
        (b'{"a":"\x01"}', "no JSON: invalid control character"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a":1,"a":1}', "the name 'a' stands twice"),
        (b'{"a":{"b":[{"c":1,"c":2}]}}', "the name 'c' stands twice"),
        (b'{"\\u0061":1,"a":1}', "the name 'a' stands twice"),
        (b'{"a" : 1, "a"\t:1}', "the name 'a' stands twice"),
        (b'{"a":1,"a":1,":":":","\\":":1}', "the name 'a' stands twice"),
        (b'"\xff"', "invalid UTF-8 at byte 1"),
        (b'{"\xc0\x80":1}', "invalid UTF-8 at byte 2"),
        (b'"\xed\xa0\x80"', "invalid UTF-8"),
        (b'"\\ud800"', "lone surrogate"),
        (b'{"\\udc00":1}', "lone surrogate"),
        (b'"\\ud800\\u0041"', "lone surrogate"),
        (b'{"a":NaN}', "NaN is no number"),
        (b"[Infinity]", "Infinity is no number"),
        (b"-Infinity", "-Infinity is no number"),
        (b"1e400", "out of range"),
        (b"-1e126", "out of range"),
        (b"1e-131", "out of range"),
        (b"1" * 39, "39 digits, the limit is 38"),
        (b"[[" + b"1" * 39 + b"]]", "39 digits, the limit is 38"),
        (b"0." + b"1" * 39, "39 digits, the limit is 38"),
        (b"1" * 5_000, "no JSON"),
        (b"[" * 100_000, "nesting above 32 levels"),
        (b'{"a":' * 100_000, "nesting above 32 levels"),
        (b"[" * 100 + b"]" * 100, "nesting above 32 levels"),
    ],
    ids=lambda case: repr(case[:24]) if isinstance(case, bytes) else "",
)
def test_refuses_a_line_with_the_reason(line: bytes, says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_line(line)
    assert says in str(caught.value)


def strict(text: str) -> Any:
    """The strict parser once more, slow: the standard library's with a hook for everything."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(found)) == len(found)
        return dict(found)

    def number(digits: str) -> Decimal:
        value = EXACT.create_decimal(digits)
        stripped = "".join(map(str, value.as_tuple().digits)).strip("0")
        assert len(stripped) <= 38
        assert not value or -130 <= value.adjusted() <= 125
        return value

    def constant(name: str) -> None:
        raise AssertionError(name)

    value = json.loads(
        text, object_pairs_hook=pairs, parse_int=number, parse_float=number, parse_constant=constant
    )
    json.dumps(value, ensure_ascii=False, default=str).encode()
    return value


spaces = st.sampled_from(["", "", " ", "\t", "\r"])
spelt_names = st.sampled_from(['"a"', '"b"', '"c"', '"d"', '"\\u0061"', '":"', '"\\":"', '"a:"'])
right_leaves = st.sampled_from(
    ["1", "-0", "1.0", "1e2", "1" * 38, "null", "true", '"x"', '":"', '"\\":"', '"\\ud83d\\ude00"']
)
wrong_leaves = st.sampled_from(
    [
        "1e400",
        "1" * 39,
        "0." + "1" * 39,
        "01",
        "NaN",
        "",
        "'x'",
        '"\\ud83d"',
        '"\x01"',
        "tru",
        "1 1",
    ]
)


@st.composite
def spelt_objects(draw: st.DrawFn, deeper: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(spelt_names, spaces, spaces, deeper), max_size=3))
    return "{" + ",".join(f"{n}{before}:{after}{v}" for n, before, after, v in members) + "}"


def spelt_containers(deeper: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.lists(deeper, max_size=3).map(lambda elements: f"[{','.join(elements)}]")
    return spelt_objects(deeper) | spelt_objects(deeper) | arrays


# Texts that are right but for names that may stand twice, and such with one wrong leaf at most.
right_lines = st.recursive(right_leaves, spelt_containers, max_leaves=8)
wrong_lines = spelt_containers(right_leaves | wrong_leaves)


def is_strict(text: str) -> bool:
    try:
        strict(text)
    except (AssertionError, ValueError):
        return False
    return True


def check_agreement(text: str) -> None:
    if not is_strict(text):
        with pytest.raises(RefusedError):
            parse_line(text.encode())
        return
    assert same(parse_line(text.encode()), strict(text))


@settings(max_examples=400)
@given(right_lines)
@example('{"a":1,"b" :1,"b":1}')
@example('{":":1,"a":1,"a":1}')
@example('{"a":":"}')
def test_names_that_stand_twice_are_found_wherever_colons_are(text: str) -> None:
    """The quick way counts colons; it must let nothing pass and refuse nothing that is right."""
    check_agreement(text)


@given(wrong_lines | st.text(st.sampled_from('{}[]",:1e.-\\u0aN tb'), max_size=12))
def test_takes_and_refuses_the_same_lines_as_the_slow_strict_parser(text: str) -> None:
    check_agreement(text)


def test_the_generated_lines_are_of_both_kinds() -> None:
    """Else the two tests above would prove nothing (invariant 24)."""
    seen: Counter[tuple[str, bool]] = Counter()

    @settings(max_examples=400, database=None)
    @given(right_lines, wrong_lines)
    def count(right: str, wrong: str) -> None:
        seen["right", is_strict(right)] += "{" in right
        seen["wrong", is_strict(wrong)] += 1

    count()
    assert min(seen[kind, taken] for kind in ("right", "wrong") for taken in (True, False)) >= 20
