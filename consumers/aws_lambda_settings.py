"""What a function's environment variables say: all there is to configure.

=====================  ============================================================================
BINLOG_LOG             the log, ``kinesis://STREAM``
BINLOG_STORE           the store, ``dynamodb://PREFIX``
BINLOG_ARCHIVE         in its place: the archive that the records are kept in, ``s3://BUCKET/PREFIX``;
                       how long one waits is the mapping's batch window. Beside a store: where records
                       are read that the stream has forgotten
BINLOG_APPLIERS        ``module:object``; without it only the actions are applied
BINLOG_POISON          ``park`` (as by default): an event that cannot be applied waits with all later
                       ones of its key; ``stop``: its partition does, and with it its shard
BINLOG_EXCLUDE         RULEs for a store that is made here, a JSON list or one a line
BINLOG_SAME_MEANING    ``yes``: the appliers' source changed, and they compute what they did
BINLOG_MAPPING         ``check`` (as by default) the event source mapping, or ``trust`` it
BINLOG_RESERVE_S       seconds before the invocation's end at which nothing new is begun
BINLOG_METRICS         the CloudWatch namespace, ``binlog`` by default; ``none``: no metrics
BINLOG_LOG_FORMAT,     what is logged, and how: see `binlog.logger`
BINLOG_LOG_LEVEL
=====================  ============================================================================

A variable that begins so and is none of these is refused: what is misspelt would be without effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, cast

import msgspec

from appliers.applier import NO_RULES, Rules
from appliers.exclusion import parse_exclusions
from appliers.loading import load_rules
from binlog.address import Address, parse_address
from binlog.errors import RefusedError
from consumers.environment import LOGGING, archive_of, choice, nearest, older_of, rules_of

WHERE = "the function's environment"
RESERVE_S = 1.0
_NAMES = (
    "BINLOG_LOG",
    "BINLOG_STORE",
    "BINLOG_ARCHIVE",
    "BINLOG_APPLIERS",
    "BINLOG_POISON",
    "BINLOG_EXCLUDE",
    "BINLOG_SAME_MEANING",
    "BINLOG_MAPPING",
    "BINLOG_RESERVE_S",
    "BINLOG_METRICS",
    *LOGGING,
)
_NAMESPACE = re.compile(r"[\w./#:-]{1,255}", re.ASCII)  # API reference of MetricDatum


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one function. ``log``, ``store`` and ``archive`` are URLs, as they were given.

    It has an archive or a store, and ``store`` is empty then.
    """

    log: str
    store: str = ""
    archive: str | None = None
    older: str | None = None  # beside a store: where records are read that the stream has forgotten
    rules: Rules = NO_RULES
    poison: Literal["park", "stop"] = "park"
    excluded: tuple[str, ...] = ()
    same_meaning: bool = False
    mapping: Literal["check", "trust"] = "check"
    reserve_s: float = RESERVE_S
    metrics: str | None = "binlog"

    @property
    def stream(self) -> Address:
        return parse_address(self.log)

    @property
    def target(self) -> str:
        """What it fills."""
        return self.store if self.archive is None else self.archive


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that these variables are; the appliers' module is imported.

    Raises:
        RefusedError: something is missing, unknown, or not what it should be.
    """
    given = {name: value.strip() for name, value in environment.items() if _is_ours(name)}
    for name in given:
        if name not in _NAMES:
            near = nearest(name, _NAMES)
            do = f"is {near} meant?" if near else f"known are {', '.join(_NAMES)}"
            raise RefusedError(f"{name} is unknown", WHERE, do)
    poison = choice(given, "BINLOG_POISON", "park", "stop", where=WHERE)
    mapping = choice(given, "BINLOG_MAPPING", "check", "trust", where=WHERE)
    excluded = _excluded(given)
    archive = archive_of(given, where=WHERE)
    return Settings(
        log=_address(given, "BINLOG_LOG", "kinesis"),
        store="" if archive is not None else _address(given, "BINLOG_STORE", "dynamodb"),
        archive=archive,
        older=older_of(given, where=WHERE),
        rules=_appliers(given.get("BINLOG_APPLIERS", "")),
        poison=cast('Literal["park", "stop"]', poison),
        excluded=excluded,
        same_meaning=choice(given, "BINLOG_SAME_MEANING", "no", "yes", where=WHERE) == "yes",
        mapping=cast('Literal["check", "trust"]', mapping),
        reserve_s=_seconds(given),
        metrics=_namespace(given),
    )


def _is_ours(name: str) -> bool:
    return name.startswith("BINLOG_")


def _address(given: Mapping[str, str], name: str, scheme: str) -> str:
    url = given.get(name, "")
    if not url:
        form = {"kinesis": "kinesis://STREAM", "dynamodb": "dynamodb://PREFIX"}[scheme]
        raise RefusedError(f"{name} is not set", WHERE, f"set it to {form}")
    try:
        address = parse_address(url)
    except RefusedError as error:
        raise RefusedError(f"{name}: {error.what}", WHERE, error.do) from error
    if address.scheme != scheme:
        why = {
            "kinesis": "a function is given the records of a stream: write kinesis://STREAM",
            "dynamodb": "what is on its disk ends with it: write dynamodb://PREFIX",
        }
        raise RefusedError(f"{name}={url}", WHERE, why[scheme])
    return url


def _appliers(name: str) -> Rules:
    if not name:
        return NO_RULES
    try:
        return load_rules(name)
    except RefusedError as error:
        raise RefusedError(
            f"BINLOG_APPLIERS: {error.what}", error.where or WHERE, error.do
        ) from error


def _excluded(given: Mapping[str, str]) -> tuple[str, ...]:
    rules = rules_of(given, where=WHERE)
    try:
        parse_exclusions(rules)
    except RefusedError as error:
        raise RefusedError(f"BINLOG_EXCLUDE: {error.what}", WHERE, error.do) from error
    return rules


def _seconds(given: Mapping[str, str]) -> float:
    text = given.get("BINLOG_RESERVE_S") or str(RESERVE_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.1 <= seconds <= 60:
        raise RefusedError(f"BINLOG_RESERVE_S={text!r}", WHERE, "write seconds, 0.1 to 60")
    return seconds


def _namespace(given: Mapping[str, str]) -> str | None:
    name = given.get("BINLOG_METRICS") or "binlog"
    if name == "none":
        return None
    if not _NAMESPACE.fullmatch(name) or name.startswith("AWS/"):
        raise RefusedError(
            f"BINLOG_METRICS={name!r}", WHERE, "write 1 to 255 of A-Z a-z 0-9 . - _ / # :, or none"
        )
    return name
