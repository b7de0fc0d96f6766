"""Values that are legal and break code all the same: edges of numbers, of Unicode, of nesting.

Each is inside what publishing accepts (`binlog.values`). They stand among ordinary values in a
fixed share, so that most examples look like the domain and some do not.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from binlog.fields import EVENT_BYTES_MAX
from binlog.numbers import DIGITS_MAX, EXPONENT_MAX, EXPONENT_MIN, canonical_number
from binlog.values import DEPTH_MAX

HOSTILE_SHARE = 8
"""One value in this many is hostile, where its type leaves room for hostile ones."""

CONTAINERS_MAX = DEPTH_MAX
"""Containers around each other in an event's data, the outermost included: an item that it becomes
may have no more."""

LONG_TEXT = 1_024  # characters; four times as many bytes at most
DATA_BYTES_MAX = EVENT_BYTES_MAX // 2
"""Of an event's data: an item has room for them and for something beside them."""
LENGTH_MAX = EVENT_BYTES_MAX // 4
"""Of a text or binary that a type demands, so that its event is never too large."""
ELEMENTS_MAX = 1_000  # that a type demands
MANY_ELEMENTS = 50
MANY_KEYS = 100
REPEATED_BYTES = 8_192  # of a container's equal elements together

_NINES = 10**DIGITS_MAX - 1

WHOLE_NUMBERS: tuple[int, ...] = (
    -1,
    10,
    2**53 + 1,  # no double has it
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64 - 1,
    2**64,
    _NINES,
    -_NINES,
    10**DIGITS_MAX,  # 39 digits, one of them significant
    _NINES * 10 ** (EXPONENT_MAX - DIGITS_MAX + 1),  # 9.99...E+125
    -_NINES * 10 ** (EXPONENT_MAX - DIGITS_MAX + 1),
)

FRACTIONS: tuple[Decimal, ...] = (
    Decimal("0.1"),
    Decimal("-0.5"),
    Decimal("0.30000000000000004"),
    Decimal("2.675"),  # rounds otherwise in binary
    Decimal("0.005"),
    Decimal((0, (1,), EXPONENT_MIN)),
    Decimal((1, (1,), EXPONENT_MIN)),
    Decimal((0, (9,) * DIGITS_MAX, -DIGITS_MAX)),  # 0.999..., 38 digits
    Decimal((0, (1, *(0,) * (DIGITS_MAX - 2), 1), 1 - DIGITS_MAX)),  # 1.000...1
    Decimal((1, (9,) * DIGITS_MAX, -19)),
)

TEXTS: tuple[str, ...] = (
    "",
    " ",
    "0",
    "-1",
    "1e5",
    "007",
    "nan",
    "null",
    "true",
    "A",
    "_binlog",
    "a.b",
    "a\n",
    "\x00",
    "a\x00b",
    "\u00e9",
    "e\u0301",  # the same in another normal form
    "\u212b",  # the sign of the angstrom: a third form of a letter
    "\u00df",  # upper() makes two letters of it
    "\u0130",  # lower() makes two characters of it
    "\u0131",  # without a dot: lower() depends on the language
    "\u0661",  # isdigit, and int() reads it
    "\u00bd",  # isnumeric, and int() does not
    "\u200b",
    "\u202e",
    "\u2028",
    "\ufeff",
    "\ud7ff",
    "\uffff",
    "\U0001f600",
    "\U0001f469\u200d\U0001f467",  # one sign of three characters
    "\U0010ffff",
)

BINARIES: tuple[bytes, ...] = (
    b"",
    b"\x00",
    b"\xff",
    b"\xc3",  # a torn UTF-8 character
    b"\xed\xa0\x80",  # a surrogate in UTF-8
    bytes(range(256)),
    b"\x00" * LONG_TEXT,
)

NAMES: tuple[str, ...] = tuple(text for text in TEXTS if text not in ("", "_binlog"))
"""Attribute names and key attributes: never empty, and `_binlog` is reserved in an item."""

NAMES_TOGETHER: tuple[tuple[str, ...], ...] = (
    (),
    tuple(f"k{number}" for number in range(MANY_KEYS)),
    ("\u00e9", "e\u0301"),  # equal for whoever normalizes
    ("\u212b", "\u00c5", "A\u030a"),
    ("A", "a"),
    ("1", "01"),
    ("\uffff", "\U00010000"),  # sorted otherwise by UTF-16 than by UTF-8
    ("a", "a\x00"),
)
"""Names of one map that some code takes for each other, or sorts otherwise."""

KEYS_ORDINARY = ("a", "b", "c")
KEYS = ("\u00e9", "e\u0301", "A", " ", "0", "a\x00", "\U0001f600", "k" * LONG_TEXT)
IDS = ("e\u0301", "\U0001f600", "e" * 255)
TIMES_MS = (0, 1, 1_700_000_000_000, 1_700_000_000_001, 2**31 * 1_000, 253_402_300_799_999)
METAS: tuple[dict[str, Any], ...] = (
    {"e\u0301": 1, "\u00e9": 2},
    {"by": "\U0001f600" * LONG_TEXT},
    {"n": Decimal("0.1"), "s": frozenset({1, 2})},
)

DATES = ("0001-01-01", "1900-02-28", "1969-12-31", "2000-02-29", "2024-12-31", "9999-12-31")
TIMES = ("00:00:00.000001", "02:30:00", "23:59:59", "23:59:59.999999")
OFFSETS = ("Z", "+14:00", "-12:00", "+05:45", "-00:30")
SECONDS = (-86_400, -1, 59, 86_399, 86_400, 2**31, -(2**31), 999_999_999 * 86_400)


def wide_integers(low: int | None, high: int | None) -> st.SearchStrategy[int]:
    """Integers of any size in ``low`` .. ``high`` (inclusive), 38 digits at most."""
    return st.integers(
        max(-_NINES, low) if low is not None else -_NINES,
        min(_NINES, high) if high is not None else _NINES,
    )


def wide_texts(low: int, high: int | None) -> st.SearchStrategy[str]:
    """Texts of any characters that UTF-8 can carry, ``low`` to ``high`` of them (inclusive)."""
    return st.text(
        st.characters(codec="utf-8"),
        min_size=low,
        max_size=low + 16 if high is None else min(high, low + 16),
    )


@st.composite
def wide_decimals(draw: st.DrawFn) -> int | Decimal:
    """Numbers of any size and precision that an item can hold."""
    digits = draw(st.integers(-_NINES, _NINES))
    span = len(str(abs(digits))) - 1  # of the first digit against the last
    exponent = draw(st.integers(EXPONENT_MIN, EXPONENT_MAX - span))
    if exponent + span < EXPONENT_MIN:
        exponent = EXPONENT_MIN
    return canonical_number(Decimal((digits < 0, tuple(map(int, str(abs(digits)))), exponent)))


def nested(levels: int, *, lists: bool = False) -> Any:
    """``levels`` containers around each other, maps or lists; a new value at each call."""
    value: Any = 0
    for _ in range(levels):
        value = [value] if lists else {"a": value}
    return value


def many_keys(value: Any) -> dict[str, Any]:
    """A map of `MANY_KEYS` attributes."""
    return {f"k{number}": value for number in range(MANY_KEYS)}
