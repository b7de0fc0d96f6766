"""A locale of our own, for machines that have none but C: other numbers, days and months.

Its files (`binlog.testing.laws.locale_files`) are found by ``LOCPATH``, which is read at each
`locale.setlocale`. Where this does not work (another C library), an installed locale with a comma
does, if there is one.
"""

from __future__ import annotations

import atexit
import locale
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from binlog.testing.laws.locale_files import lc_numeric, lc_time

_NAME = "xx_BINLOG.UTF-8"
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
        _try(locale.LC_TIME, _NAME)
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
    (made / "LC_NUMERIC").write_bytes(lc_numeric())
    (made / "LC_TIME").write_bytes(lc_time())
    return folder


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
