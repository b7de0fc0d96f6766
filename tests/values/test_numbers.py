"""Numbers are exact, have one text each, and do not depend on anybody's decimal context."""

from __future__ import annotations

import decimal
import random
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from binlog.errors import RefusedError
from binlog.numbers import canonical_number, format_number, parse_number
from tests.values.strategies import EXACT, Parts, decimal_of, number_parts


def specified_text(parts: Parts) -> str:
    """The text that the design asks for, made from digits alone: no trailing zeros, no exponent up
    to 38 digits.
    """
    sign, digits, exponent = parts
    if digits == 0:
        return "0"
    while digits % 10 == 0:
        digits, exponent = digits // 10, exponent + 1
    text, minus = str(digits), "-" * sign
    if exponent >= 0 and len(text) + exponent <= 38:
        return minus + text + "0" * exponent
    if exponent < 0 and -exponent <= 38:
        padded = text.rjust(-exponent + 1, "0")
        return f"{minus}{padded[:exponent]}.{padded[exponent:]}"
    mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
    return f"{minus}{mantissa}E{exponent + len(text) - 1:+d}"


def repr_size(value: int) -> str:
    return f"{value.bit_length()} bits"


def spellings(parts: Parts) -> list[str]:
    """Some of the ways to write the same number."""
    sign, digits, exponent = parts
    minus = "-" * sign
    found = [f"{minus}{digits}E{exponent}", f"{minus}{digits}0e{exponent - 1:+d}"]
    if exponent >= 0:
        found += [f"{minus}{digits}{'0' * exponent}", f"{minus}{digits}{'0' * exponent}.000"]
    else:
        padded = str(digits).rjust(-exponent + 1, "0")
        found += [f"{minus}{padded[:exponent]}.{padded[exponent:]}"]
        found += [found[-1] + "0", f"{minus}0{found[-1].lstrip('-')}"]
    return found


@given(number_parts())
@example((0, 1, -38))
@example((1, 10**38 - 1, -38))
@example((0, 10**38 - 1, 126 - 38))
@example((0, 1, -130))
def test_every_spelling_of_a_number_is_the_same_number(parts: Parts) -> None:
    """Two replicas that met 1.0 and 1 must hold the same bytes."""
    wanted, text = EXACT.create_decimal(decimal_of(parts)), specified_text(parts)
    for spelling in spellings(parts):
        number = parse_number(spelling)
        assert EXACT.create_decimal(number) == wanted
        assert format_number(number) == text
        assert type(number) is (int if wanted == wanted.to_integral_value() else Decimal)


@given(number_parts())
def test_text_and_number_are_one_to_one(parts: Parts) -> None:
    number = canonical_number(decimal_of(parts))
    again = parse_number(format_number(number))
    assert (type(again), str(again)) == (type(number), str(number))
    assert canonical_number(number) == number
    assert str(canonical_number(number)) == str(number)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("-0.000", "0"),
        ("0E+100", "0"),
        ("0.1", "0.1"),
        ("1.50", "1.5"),
        ("100", "100"),
        ("1E2", "100"),
        ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
        ("1E37", "1" + "0" * 37),
        ("1E38", "1E+38"),
        ("-1.5E100", "-1.5E+100"),
        ("9.9999999999999999999999999999999999999E+125",) * 2,
        ("1E-130", "1E-130"),
        ("0.00000000000000000000000000000000000001", "0." + "0" * 37 + "1"),
        ("1E-39", "1E-39"),
        ("1.23E-38", "1.23E-38"),
    ],
)
def test_prints_a_number_as_the_design_says(text: str, printed: str) -> None:
    assert format_number(parse_number(text)) == printed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no number"),
        ("abc", "is no number"),
        ("1 ", "is no number"),
        ("1\n", "is no number"),
        ("1_000", "is no number"),
        ("١", "is no number"),
        ("²", "is no number"),
        ("0x10", "is no number"),
        ("NaN", "is no number"),
        ("Infinity", "is no number"),
        ("1e", "is no number"),
        (".", "is no number"),
        ("1" * 39, "39 digits, the limit is 38"),
        ("0." + "1" * 39, "39 digits, the limit is 38"),
        ("1" + "0" * 37 + "1", "39 digits, the limit is 38"),
        ("1E126", "out of range"),
        ("-1E126", "out of range"),
        ("1e400", "out of range"),
        ("1E-131", "out of range"),
        ("1E999999", "out of range"),
        ("1E9999999", "is no number"),
        ("9" * 100_000, "is no number"),
    ],
)
def test_refuses_what_no_item_can_hold(text: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        parse_number(text)


@pytest.mark.parametrize("value", ["NaN", "sNaN", "-NaN123", "Infinity", "-Infinity"])
def test_refuses_a_decimal_that_is_no_number(value: str) -> None:
    with pytest.raises(RefusedError, match="no number"):
        canonical_number(Decimal(value))


@pytest.mark.parametrize(
    "value", [10**126, -(10**126), 10**4_000, 1 << 20_000, 10**38 + 1], ids=repr_size
)
def test_refuses_a_whole_number_beyond_the_limits(value: int) -> None:
    with pytest.raises(RefusedError):
        canonical_number(value)


@given(number_parts(), st.randoms(use_true_random=False))
def test_does_not_depend_on_the_callers_decimal_context(
    parts: Parts, randomness: random.Random
) -> None:
    """A fold runs inside the user's process, whose context may round to one digit, or trap."""
    hostile = decimal.Context(
        prec=1,
        Emin=-1,
        Emax=1,
        capitals=randomness.randint(0, 1),
        clamp=1,
        rounding=randomness.choice([decimal.ROUND_UP, decimal.ROUND_FLOOR]),
        traps=[decimal.Inexact, decimal.Rounded, decimal.Overflow, decimal.Subnormal],
    )
    outside = [format_number(parse_number(s)) for s in spellings(parts)]
    with decimal.localcontext(hostile):
        inside = [format_number(parse_number(s)) for s in spellings(parts)]
        assert format_number(canonical_number(decimal_of(parts))) == outside[0]
        with pytest.raises(RefusedError):
            parse_number("1E126")
    assert inside == outside
