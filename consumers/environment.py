"""What the settings of a function and of the KCL's child processes read alike in environment variables."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

import msgspec

from binlog.errors import RefusedError


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known variable that is probably meant by one that is not."""
    near = difflib.get_close_matches(name, known, 1, 0.85)
    return near[0] if near else None


def choice(given: Mapping[str, str], name: str, default: str, other: str, *, where: str) -> str:
    """One of two words, the first where it is not set.

    Raises:
        RefusedError: another word.
    """
    value = given.get(name) or default
    if value not in {default, other}:
        raise RefusedError(f"{name}={value!r}", where, f"write {default} or {other}")
    return value


def rules_of(given: Mapping[str, str], *, where: str) -> tuple[str, ...]:
    """The RULEs of ``BINLOG_EXCLUDE``, a JSON list or one a line; not looked into.

    Raises:
        RefusedError: what begins as a list is none.
    """
    text = given.get("BINLOG_EXCLUDE", "")
    if not text.startswith("["):
        return tuple(line for each in text.splitlines() if (line := each.strip()))
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except msgspec.DecodeError as error:
        raise RefusedError(f"BINLOG_EXCLUDE: {error}", where, 'write ["id=a", "type=T"]') from error
