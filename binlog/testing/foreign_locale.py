"""A locale of our own, for machines that have none but C: a comma, points in groups of three.

A compiled category of the GNU C library is a file of 4-byte little-endian numbers (on machines of
that order) and texts::

    0x20031115 ^ category     LC_NUMERIC: 1
    count                     of entries: 6
    offset of each entry
    entries                   decimal point, thousands separator, grouping (text with a NUL each),
                              both again as 4-byte characters, the codeset (text)

Source: glibc, ``locale/loadlocale.c`` and ``locale/localeinfo.h``. It is found by ``LOCPATH``,
which is read at each `locale.setlocale`. Where this does not work (another C library), an installed
locale with a comma does, if there is one.
"""

from __future__ import annotations

import atexit
import locale
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

_NAME = "xx_BINLOG.UTF-8"
_MAGIC = 0x20031115
_LC_NUMERIC = 1
_INSTALLED = ("de_DE.UTF-8", "fr_FR.UTF-8", "it_IT.UTF-8", "es_ES.UTF-8", "pt_BR.UTF-8", "de_DE")
_VARIED = (locale.LC_NUMERIC, locale.LC_TIME, locale.LC_MONETARY, locale.LC_COLLATE)


@contextmanager
def plain_locale() -> Iterator[None]:
    """Numbers, dates, money and order as in C, which is how Python starts."""
    with _kept():
        for category in _VARIED:
            locale.setlocale(category, "C")
        yield


@contextmanager
def foreign_locale() -> Iterator[bool]:
    """Numbers with a comma, and all else of an installed locale; whether there was any."""
    with _kept():
        installed = next((name for name in _INSTALLED if _try(locale.LC_NUMERIC, name)), None)
        if installed is not None:
            for category in _VARIED:
                _try(category, installed)
        yield installed is not None or _own()


def can_vary_locale() -> bool:
    """Whether this machine has, or takes, a locale with a comma."""
    with foreign_locale() as varied:
        return varied


def _own() -> bool:
    before = os.environ.get("LOCPATH")
    os.environ["LOCPATH"] = _folder().name
    try:
        return _try(locale.LC_NUMERIC, _NAME)
    finally:
        if before is None:
            del os.environ["LOCPATH"]
        else:
            os.environ["LOCPATH"] = before


@lru_cache(maxsize=1)
def _folder() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory(prefix="binlog-locale-")
    atexit.register(folder.cleanup)  # by itself it would go with a ResourceWarning
    made = Path(folder.name) / _NAME
    made.mkdir()
    (made / "LC_NUMERIC").write_bytes(_numeric())
    return folder


def _numeric() -> bytes:
    entries = [b",\0", b".\0", b"\3\3\0\0", struct.pack("=I", ord(",")), struct.pack("=I", ord(".")),
               b"UTF-8\0"]  # fmt: skip
    offset = 8 + 4 * len(entries)
    offsets = []
    body = b""
    for entry in entries:
        if len(entry) == 4:  # characters, and the grouping before them, on a word's boundary
            body += b"\0" * (-len(body) % 4)
        offsets.append(offset + len(body))
        body += entry
    numbers = struct.pack(f"={2 + len(entries)}I", _MAGIC ^ _LC_NUMERIC, len(entries), *offsets)
    return numbers + body


def _try(category: int, name: str) -> bool:
    with suppress(locale.Error):
        locale.setlocale(category, name)
        return True
    return False


@contextmanager
def _kept() -> Iterator[None]:
    before = [(category, locale.setlocale(category)) for category in _VARIED]
    try:
        yield
    finally:
        for category, name in before:
            # A locale of ours is set again where a surrounding check set it.
            if not _try(category, name):
                locale.setlocale(category, "C")
