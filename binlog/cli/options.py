"""Arguments and options that several verbs share.

A vector V is JSON, ``{"0": 12, "5": 7}``, or ``@FILE`` holding that, or ``end``; TIME is RFC 3339
with a zone, and means arrival in the log. A vector can only be checked against an open log, so
`VectorType` gives a `Bound`, and `Bound.target` what a reader takes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from binlog.params import Params
    from binlog.target import Target
    from binlog.vector import Vector

    # Generic for the checker only: at run time it is so from click 8.2 on.
    _BoundParam = click.ParamType["Bound"]
    _DurationParam = click.ParamType[int]
else:
    _BoundParam = _DurationParam = click.ParamType

_F = TypeVar("_F", bound=Callable[..., Any])
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?P<fraction>\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME_MS_MAX = 253_402_300_799_999  # the end of the year 9999, beyond which RFC 3339 has no form


def log_argument(function: _F) -> _F:
    """The argument LOG, passed as ``log``."""
    return click.argument("log", metavar="LOG")(function)


def store_argument(name: str = "store", *, required: bool = True) -> Callable[[_F], _F]:
    """The argument STORE, passed under its own name."""
    metavar = name.upper() if required else f"[{name.upper()}]"
    return click.argument(name, metavar=metavar, required=required)


class Bound(NamedTuple):
    """A V or a TIME as it was given. At most one of the two is set; neither means the end."""

    vector_json: str | None = None
    time_ms: int | None = None

    def vector(self, params: Params) -> Vector | None:
        """The vector, checked against the log's partitions; ``None`` for the end or a time.

        Raises:
            RefusedError: no vector, or an unknown partition.
        """
        from binlog.vector import parse_vector

        if self.vector_json is None:
            return None
        return parse_vector(self.vector_json, params.partitions)

    @property
    def is_nothing(self) -> bool:
        """Whether ``{}`` was given: nothing of any partition, and meant so."""
        return self.vector_json is not None and "".join(self.vector_json.split()) == "{}"

    def target(self, params: Params) -> Target:
        """How far a reader goes, this one included.

        Raises:
            RefusedError: as `vector`.
        """
        from binlog.target import Target

        return Target(vector=self.vector(params), time_ms=self.time_ms)


class BoundType(_BoundParam):
    """A V, and with ``times`` a TIME as well."""

    def __init__(self, *, times: bool) -> None:
        self.name = "V|TIME" if times else "V"
        self._times = times

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Bound:
        try:
            return value if isinstance(value, Bound) else self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def _parse(self, text: str) -> Bound:
        if text == "end":
            return Bound()
        if text.startswith("@"):
            try:
                return Bound(vector_json=Path(text[1:]).read_text(encoding="utf-8"))
            except OSError as error:
                raise ValueError(f"cannot read {text[1:]}: {error.strerror}") from error
        if text.lstrip().startswith("{"):
            return Bound(vector_json=text)
        if self._times and _RFC3339.fullmatch(text):
            try:
                return Bound(time_ms=parse_time(text))
            except ValueError as error:
                raise ValueError(f"{text!r} is no time: {error}") from error
        forms = """a vector such as '{"0": 12}', @FILE, or end"""
        if self._times:
            forms += ", or a time such as 2026-01-31T12:00:00Z"
        raise ValueError(f"{text!r} is not {forms}")


class DurationType(_DurationParam):
    """A length of time, ``15m``, in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _DURATION.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is no length of time such as 15m, 90s or 1h", param, ctx)
        return int(match[1]) * _UNIT_MS[match[2]]


class RateType(click.FloatRange):
    """A number above 0 of something a second; not infinite, and not NaN, which no bound stops."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        rate: float = super().convert(value, param, ctx)
        if not math.isfinite(rate):
            self.fail(f"{value!r} is no rate", param, ctx)
        return rate


def length_text(seconds: float) -> str:
    """A length of time as `DurationType` takes it, in the largest unit that leaves nothing over."""
    ms = round(seconds * 1000)
    for unit, size in reversed(_UNIT_MS.items()):
        if ms % size == 0 and ms >= size:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def parse_time(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time; what is finer is cut off.

    Raises:
        ValueError: no such time, or without a zone.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("write it as 2026-01-31T12:00:00Z")
    fraction = match["fraction"] or ""
    whole = datetime.fromisoformat(text.upper().replace(fraction, "", 1))
    seconds = int((whole - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return seconds * 1000 + int((fraction[1:] + "000")[:3])


def format_time(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, ``2026-01-31T12:00:00.000Z``.

    A time without such a form, which only a program can have given, is written as ``123ms``.
    """
    if not 0 <= ms <= _TIME_MS_MAX:
        return f"{ms}ms"
    seconds, rest = divmod(ms, 1000)
    return f"{_format_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=256)  # neighbours in a log share it
def _format_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def key_names(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Callback of ``--key ATTR[,ATTR]``: one or two names."""
    if value is None:
        return None
    names = tuple(name.strip() for name in value.split(","))
    if not 1 <= len(names) <= 2 or not all(names) or len(set(names)) != len(names):
        raise click.BadParameter(
            f"{value!r}: one attribute name, or two with a comma between", ctx, param
        )
    return names


def line_options(function: _F) -> _F:
    """``--table`` and ``--key``: what lines of input may leave out."""
    table = click.option("--table", metavar="T", help="The table of lines that name none.")
    keys = click.option(
        "--key",
        "keys",
        metavar="ATTR[,ATTR]",
        callback=key_names,
        help="The one or two attributes that make an item's key.",
    )
    return table(keys(function))


format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["plain", "dynamodb"]),
    default="plain",
    show_default=True,
    help="Values as plain JSON (lossy: binary becomes base64 text, a set a sorted list), or as"
    " DynamoDB JSON (lossless).",
)


def item_key(ctx: click.Context, param: click.Parameter, value: str | None) -> bytes | None:
    """Callback of ``--key JSON``: the key's canonical bytes, from plain or DynamoDB JSON.

    Both are taken whatever the output's format: no value of a key is an object, so no plain key
    looks like a typed one.
    """
    from binlog.errors import RefusedError

    if value is None:
        return None
    try:
        return _encode_key(value)
    except RefusedError as error:
        raise click.BadParameter(f"{value!r}: {error.what}", ctx, param) from error


def _encode_key(text: str) -> bytes:
    from binlog.errors import RefusedError
    from binlog.json_values import parse_line, untyped_item
    from binlog.values import encode_value

    key = parse_line(text.encode(errors="surrogateescape"))
    if type(key) is not dict or not key:
        raise RefusedError("a key is an object of attributes")
    if all(type(element) is dict for element in key.values()):
        key = untyped_item(key)
    return encode_value(key)


appliers_option = click.option(
    "--appliers",
    metavar="MODULE:OBJECT",
    help="Your appliers, whose upcasters bring old events up to date.",
)


def absolute_address(url: str) -> str:
    """An address as records are to name it: a directory by its whole path, for who is elsewhere."""
    from binlog.address import parse_address

    address = parse_address(url)
    return f"file:{Path(address.path).resolve()}" if address.scheme == "file" else str(address)


def snapshots_option(function: _F) -> _F:
    """``--snapshots URL``, passed as ``snapshots``: for verbs that may need an adopted table's base."""
    return click.option(
        "--snapshots",
        metavar="URL",
        envvar="BINLOG_SNAPSHOTS",
        show_envvar=True,
        help="Where the bases of adopted tables are, if not where the log says: file:DIR or"
        " s3://BUCKET/PREFIX.",
    )(function)


def archive_option(function: _F) -> _F:
    """``--archive URL``, passed as ``archive``."""
    return click.option(
        "--archive",
        metavar="URL",
        envvar="BINLOG_ARCHIVE",
        show_envvar=True,
        help="The archive of LOG, file:DIR or s3://BUCKET/PREFIX: what LOG has forgotten is read"
        " there, and what is archived in whole segments as well.",
    )(function)
