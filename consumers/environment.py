"""What the settings of a function and of the KCL's child processes read alike in environment variables."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

import msgspec

from binlog.address import parse_address
from binlog.errors import RefusedError
from binlog.logger import FORMAT, LEVEL, show_on_stderr

LOGGING = (FORMAT, LEVEL)


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known variable that is probably meant by one that is not."""
    near = difflib.get_close_matches(name, known, 1, 0.85)
    return near[0] if near else None


def show_lines(environment: Mapping[str, str]) -> None:
    """For a function: what `LOGGING` asks for, on standard error, which its log group keeps.

    Where nothing is asked for, warnings go to the runtime's own logging. That would put words before a
    line of JSON, which nobody could search by its fields then.

    Raises:
        RefusedError: one of them says what there is not.
    """
    if environment.get(FORMAT, "").strip() == "json":
        environment = {**environment, LEVEL: environment.get(LEVEL, "").strip() or "warning"}
    show_on_stderr(environment)


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


_OF_A_STORE = ("BINLOG_APPLIERS", "BINLOG_POISON", "BINLOG_EXCLUDE", "BINLOG_SAME_MEANING")


def archive_of(
    given: Mapping[str, str], *, where: str, schemes: Collection[str] = ("s3",)
) -> str | None:
    """The address of ``BINLOG_ARCHIVE``, which is filled where no store is; ``None``: it is not.

    Raises:
        RefusedError: no address of one, or what is set beside it would be without effect.
    """
    if given.get("BINLOG_STORE") or not given.get("BINLOG_ARCHIVE"):
        return None
    for name in _OF_A_STORE:
        if given.get(name):
            raise RefusedError(
                f"{name} is set beside BINLOG_ARCHIVE", where, "an archive keeps records: unset it"
            )
    return _archive(given["BINLOG_ARCHIVE"], where, schemes)


def older_of(
    given: Mapping[str, str], *, where: str, schemes: Collection[str] = ("s3",)
) -> str | None:
    """The address of ``BINLOG_ARCHIVE`` beside a store: what the stream has forgotten is read there.

    Raises:
        RefusedError: no address of one.
    """
    if not given.get("BINLOG_STORE") or not given.get("BINLOG_ARCHIVE"):
        return None
    return _archive(given["BINLOG_ARCHIVE"], where, schemes)


def _archive(url: str, where: str, schemes: Collection[str]) -> str:
    try:
        address = parse_address(url)
    except RefusedError as error:
        raise RefusedError(f"BINLOG_ARCHIVE: {error.what}", where, error.do) from error
    if address.scheme not in schemes:
        forms = {"s3": "s3://BUCKET/PREFIX", "file": "file:DIR"}
        raise RefusedError(
            f"BINLOG_ARCHIVE={url}", where, f"write {' or '.join(forms[each] for each in schemes)}"
        )
    return url
