"""Numbers as DynamoDB keeps them: 38 significant decimal digits, exact, one text a number.

Source of the limits:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
Nothing here depends on the caller's decimal context.
"""

from __future__ import annotations

import re
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation

from binlog.errors import RefusedError

DIGITS_MAX = 38
EXPONENT_MAX = 125  # of the first digit: 9.9E+125
EXPONENT_MIN = -130  # 1E-130

# A context of our own, wide enough to hold any text exactly; the caller's is never used.
_EXACT = Context(prec=1_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation])
_TEXT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,6})?", re.ASCII)
_TEXT_MAX = 1_000  # characters of a number's text that are looked at before it is refused
_WHOLE = 10**DIGITS_MAX
# The texts that are already canonical and far from every limit: nearly all there are, and a
# quarter of the time of the general way. `str` of the Decimal gives the same text back.
_SHORT = re.compile(r"-?(0|[1-9]\d{0,16})\.\d{0,16}[1-9]", re.ASCII)
_SHORT_MAX = 36


def parse_number(text: str) -> int | Decimal:
    """The number that ``text`` (JSON or DynamoDB form) stands for, exactly.

    Raises:
        RefusedError: no number, NaN or infinity, more than 38 significant digits, out of range.
    """
    if len(text) <= _SHORT_MAX:
        if text.isdigit() and text.isascii():
            return int(text)
        if _SHORT.fullmatch(text):
            return Decimal(text)
    if len(text) > _TEXT_MAX or not _TEXT.fullmatch(text):
        raise RefusedError(f"{text[:60]!r} is no number")
    return canonical_number(_EXACT.create_decimal(text))


def canonical_number(value: int | Decimal) -> int | Decimal:
    """``int`` if the number is whole, else a ``Decimal`` without trailing zeros; -0 is 0.

    Raises:
        RefusedError: NaN, infinity, more than 38 significant digits, out of range.
    """
    if isinstance(value, int):
        if -_WHOLE < value < _WHOLE:
            return int(value)
        if value.bit_length() > 500:  # beyond 10^150: out of range whatever its digits
            raise RefusedError(f"a number of about {value.bit_length()} bits is out of range")
        value = _EXACT.create_decimal(value)
    elif _SHORT.fullmatch(str(value)):
        return value
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise RefusedError(f"{value} is no number that an item can hold")
    significant = "".join(map(str, digits)).lstrip("0")
    stripped = significant.rstrip("0")
    if not stripped:
        return 0
    exponent += len(significant) - len(stripped)
    if len(stripped) > DIGITS_MAX:
        raise RefusedError(
            f"a number of {len(stripped)} digits, the limit is {DIGITS_MAX}",
            digits=len(stripped),
            limit=DIGITS_MAX,
        )
    leading = exponent + len(stripped) - 1
    if not EXPONENT_MIN <= leading <= EXPONENT_MAX:
        raise RefusedError(
            f"the number {value:.5e} is out of range (1E-130 to 9.9E+125)"
            if abs(leading) < 100_000
            else "a number is out of range (1E-130 to 9.9E+125)"
        )
    if exponent >= 0:
        whole = int(stripped + "0" * exponent)
        return -whole if sign else whole
    return Decimal((sign, tuple(map(int, stripped)), exponent))


def format_number(value: int | Decimal) -> str:
    """The one text of a number: no trailing zeros, plain up to 38 digits, then ``d.dddE+n``.

    ``value`` must be canonical (see `canonical_number`).
    """
    if isinstance(value, int):
        if -_WHOLE < value < _WHOLE:
            return str(value)
        value = _EXACT.create_decimal(value)
    elif _SHORT.fullmatch(short := str(value)):
        return short
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    if not stripped or not isinstance(exponent, int):
        return "0"
    exponent += len(text) - len(stripped)
    minus = "-" if sign else ""
    point = len(stripped) + exponent  # digits before the decimal point
    if exponent >= 0 and point <= DIGITS_MAX:
        return f"{minus}{stripped}{'0' * exponent}"
    if exponent < 0 < point:
        return f"{minus}{stripped[:point]}.{stripped[point:]}"
    if point <= 0 and len(stripped) - point <= DIGITS_MAX:
        return f"{minus}0.{'0' * -point}{stripped}"
    fraction = f".{stripped[1:]}" if len(stripped) > 1 else ""
    return f"{minus}{stripped[0]}{fraction}E{point - 1:+d}"
