"""A few texts that match a regular expression: no random ones, and no library for it.

The expression's own parts are written out, each choice by its first and by its last alternative.
What comes out is tried before it is believed, so an expression with parts that are not written out
(look-arounds, back references) costs a sample, not its truth.
"""

from __future__ import annotations

import re
from typing import Any

# Private since Python 3.11, and the same since 2.x; where it goes, only the usual texts are tried.
_parse: Any = getattr(getattr(re, "_parser", None), "parse", None)

_USUAL = ("a", "A", "1", "abc", "ABC", "EUR", "a1", "A-1", "text", "a@b.example", "2024-02-29")
_CATEGORIES = {
    "CATEGORY_DIGIT": "7",
    "CATEGORY_NOT_DIGIT": "x",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": "x",
    "CATEGORY_WORD": "w",
    "CATEGORY_NOT_WORD": "-",
}
_REPEATS = 3  # of what may stand any number of times


def matching(pattern: str) -> list[str]:
    """Texts in which ``re.search`` finds ``pattern``, the likeliest first; maybe none."""
    tried = [*_written(pattern), *_USUAL]
    return [text for text in dict.fromkeys(tried) if re.search(pattern, text)][:3]


def _written(pattern: str) -> list[str]:
    if _parse is None:
        return []
    found = []
    for last in (False, True):
        try:
            found.append(_text(_parse(pattern), last=last))
        except (LookupError, TypeError, ValueError):
            continue
    return found


def _text(parts: Any, *, last: bool) -> str:
    return "".join(_part(str(name), argument, last=last) for name, argument in parts)


def _part(name: str, argument: Any, *, last: bool) -> str:
    match name:
        case "LITERAL":
            return chr(int(argument))
        case "NOT_LITERAL":
            return "x" if argument != ord("x") else "y"
        case "ANY":
            return "x"
        case "AT":
            return ""
        case "CATEGORY":
            return _CATEGORIES[str(argument)]
        case "RANGE":
            return chr(int(argument[-1 if last else 0]))
        case "IN":
            return _member(argument, last=last)
        case "BRANCH":
            return _text(argument[1][-1 if last else 0], last=last)
        case "SUBPATTERN" | "ATOMIC_GROUP":
            inside = argument[-1] if isinstance(argument, tuple) else argument
            return _text(inside, last=last)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            low, high, inside = argument
            times = min(int(high), low + _REPEATS) if last else max(low, min(1, int(high)))
            return _text(inside, last=last) * int(times)
        case _:
            raise LookupError(name)


def _member(members: Any, *, last: bool) -> str:
    if str(members[0][0]) != "NEGATE":
        name, argument = members[-1 if last else 0]
        return _part(str(name), argument, last=last)
    taken = re.compile("[" + "".join(map(_class, members[1:])) + "]")
    return next(letter for letter in "xX7 -_.,é" if not taken.match(letter))


def _class(member: Any) -> str:
    name, argument = str(member[0]), member[1]
    if name == "LITERAL":
        return re.escape(chr(argument))
    if name == "RANGE":
        return f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}"
    raise LookupError(name)
