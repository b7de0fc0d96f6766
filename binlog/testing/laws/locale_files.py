"""Files of a locale that no machine has: a comma, points in groups of three, days and months.

A compiled category of the GNU C library is a file of 4-byte numbers in the machine's order, and
texts::

    0x20031115 ^ category     LC_NUMERIC: 1, LC_TIME: 2
    count                     of entries
    offset of each entry      from the beginning of the file
    entries                   texts with a NUL; wide ones of 4-byte characters; numbers of one or
                              four bytes. What has four-byte parts begins on a multiple of 4.

Which entries there are: glibc, ``locale/langinfo.h``; how they are read: ``locale/loadlocale.c``.
A library that knows of fewer entries reads the first ones.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_MAGIC = 0x20031115
_LC_NUMERIC, _LC_TIME = 1, 2

# Of no language, so that whatever shows them is seen to be of the locale.
_DAYS = ("sol", "lun", "mar", "mid", "jov", "ven", "sat")
_MONTHS = ("jun", "feb", "mas", "avr", "mey", "jon", "jol", "awg", "set", "okt", "nof", "dez")
_DATE, _TIME = "%d.%m.%Y", "%H.%M.%S"


def lc_numeric() -> bytes:
    """``LC_NUMERIC``: decimal comma, points between groups of three digits."""
    return _file(_LC_NUMERIC, [_text(","), _text("."), b"\3\3\0\0", _word(","), _word("."), _UTF8])


def lc_time() -> bytes:
    """``LC_TIME``: names of days and months, marks of the half day, formats; no eras."""
    days, months = [f"{day}ta" for day in _DAYS], [f"{month}ember" for month in _MONTHS]
    names = (_DAYS, days, _MONTHS, months, ("v.", "n."))
    formats = (f"%a {_DATE} {_TIME}", _DATE, _TIME, f"{_TIME} %p")
    date = f"%a {_DATE} {_TIME} %Z"
    nothing = _text("")
    return _file(
        _LC_TIME,
        [
            *(_text(name) for some in (*names, formats) for name in some),
            # Eras, of which there are none, and a hundred digits, which are as everywhere.
            *(nothing, nothing, nothing, b"\0" * 100, nothing, nothing, _number(0), b""),
            *(_wide(name) for some in (*names, formats) for name in some),
            *(_wide(""), _wide(""), _number(0) * 100, _wide(""), _wide("")),
            *(b"\7", _number(19971130), b"\4", b"\2", b"\2", b"\1"),  # the week begins on Monday
            *(nothing, _text(date), _wide(date), _UTF8),
            *(_text(month) for month in months),  # as they stand alone
            *(_wide(month) for month in months),
            *(_text(month) for month in _MONTHS),
            *(_wide(month) for month in _MONTHS),
        ],
    )


def _file(category: int, entries: Sequence[bytes]) -> bytes:
    offset = 8 + 4 * len(entries)
    offsets, body = [], b""
    for entry in entries:
        if len(entry) % 4 == 0:
            body += b"\0" * (-len(body) % 4)
        offsets.append(offset + len(body))
        body += entry
    head = struct.pack(f"={2 + len(entries)}I", _MAGIC ^ category, len(entries), *offsets)
    return head + body


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _wide(text: str) -> bytes:
    return struct.pack(f"={len(text) + 1}I", *map(ord, text), 0)


def _word(letter: str) -> bytes:
    return _number(ord(letter))


def _number(number: int) -> bytes:
    return struct.pack("=I", number)


_UTF8 = _text("UTF-8")
