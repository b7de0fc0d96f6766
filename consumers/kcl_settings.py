"""What the daemon's child processes are told: by the environment, which the daemon hands on.

===================  ==============================================================================
BINLOG_LOG           the log, ``kinesis://STREAM``
BINLOG_STORE         the store, ``dynamodb://PREFIX``
BINLOG_ARCHIVE       in its place: the archive to keep the records in, ``s3://..`` or ``file:DIR``;
                     beside a store: where records are read that the stream has forgotten
BINLOG_SEGMENT_EVERY with it: seconds that a record waits at most to be archived; 60, if not set
BINLOG_APPLIERS      ``module:object``; without it only the actions are applied
BINLOG_POISON        ``park`` (as by default): an event that cannot be applied waits with all later
                     ones of its key; ``stop``: its partition does, and with it its shard
BINLOG_EXCLUDE       RULEs for a store that is made here, a JSON list or one a line
BINLOG_SAME_MEANING  ``yes``: the appliers' source changed, and they compute what they did
BINLOG_RATE          at most so many items a second, all workers of the application together
BINLOG_RATE_OF       ``events``: what BINLOG_RATE counts; else ``items``
BINLOG_MAX_BEHIND    seconds: as slow as can be without being further behind than that
BINLOG_KCL_FOLDER    where health files and logs go; without it warnings go to standard error
===================  ==============================================================================

Region, role and endpoint of log and of store stand in their addresses, each by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import msgspec

from appliers.applier import NO_RULES, Rules
from appliers.exclusion import parse_exclusions
from appliers.loading import load_rules
from binlog.address import parse_address
from binlog.errors import RefusedError
from consumers.environment import archive_of, choice, nearest, older_of, rules_of
from consumers.pace import Setting, Unit

WHERE = "the environment"
SEGMENT_EVERY_S = 60.0
ARCHIVE_SCHEMES = ("s3", "file")
NAMES = (
    "BINLOG_LOG",
    "BINLOG_STORE",
    "BINLOG_ARCHIVE",
    "BINLOG_SEGMENT_EVERY",
    "BINLOG_APPLIERS",
    "BINLOG_POISON",
    "BINLOG_EXCLUDE",
    "BINLOG_SAME_MEANING",
    "BINLOG_RATE",
    "BINLOG_RATE_OF",
    "BINLOG_MAX_BEHIND",
    "BINLOG_KCL_FOLDER",
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one worker. ``log`` and ``store`` are URLs, ``appliers`` a name, as they were given.

    It has an archive or a store, and ``store`` is empty then.
    """

    log: str
    store: str = ""
    archive: str | None = None
    older: str | None = None  # beside a store: where records are read that the stream has forgotten
    segment_every_s: float = SEGMENT_EVERY_S
    appliers: str | None = None
    poison: Literal["park", "stop"] = "park"
    excluded: tuple[str, ...] = ()
    same_meaning: bool = False
    setting: Setting = Setting()
    folder: Path | None = None

    def check(self) -> None:
        """Nothing, if a worker can be run with these.

        Raises:
            RefusedError: it cannot.
        """
        if parse_address(self.log).scheme != "kinesis":
            raise RefusedError(
                f"the log {self.log}: KCL reads streams",
                do="write kinesis://STREAM; binlog replicate follows a log of any kind",
            )
        if self.archive is not None:
            archive_of({"BINLOG_ARCHIVE": self.archive}, where=WHERE, schemes=ARCHIVE_SCHEMES)
            if not self.setting.is_free:
                raise RefusedError(
                    f"a pace, and the archive {self.archive}",
                    do="an archive is filled as fast as the stream: leave the pace out",
                )
            return
        if self.older is not None:
            older = {"BINLOG_STORE": self.store, "BINLOG_ARCHIVE": self.older}
            older_of(older, where=WHERE, schemes=ARCHIVE_SCHEMES)
        if parse_address(self.store).scheme != "dynamodb":
            raise RefusedError(
                f"the store {self.store}: every shard has a process that writes to it",
                do="write dynamodb://PREFIX; binlog replicate writes to a file",
            )
        parse_exclusions(self.excluded)

    @property
    def target(self) -> str:
        """What it fills."""
        return self.store if self.archive is None else self.archive

    def load_rules(self) -> Rules:
        """The appliers' rules; their module is imported.

        Raises:
            RefusedError: see `appliers.loading.load_rules`.
        """
        return NO_RULES if self.appliers is None else load_rules(self.appliers)

    def environment(self) -> dict[str, str]:
        """The variables that these are."""
        given = {
            "BINLOG_LOG": self.log,
            "BINLOG_STORE": self.store,
            "BINLOG_ARCHIVE": self.archive or self.older or "",
            "BINLOG_SEGMENT_EVERY": "" if self.archive is None else _number(self.segment_every_s),
            "BINLOG_APPLIERS": self.appliers or "",
            "BINLOG_POISON": "" if self.archive is not None else self.poison,
            "BINLOG_EXCLUDE": msgspec.json.encode(self.excluded).decode() if self.excluded else "",
            "BINLOG_SAME_MEANING": "yes" if self.same_meaning else "",
            "BINLOG_RATE": _number(self.setting.rate),
            "BINLOG_RATE_OF": "" if self.setting.unit == "items" else self.setting.unit,
            "BINLOG_MAX_BEHIND": _number(self.setting.max_behind_s),
            "BINLOG_KCL_FOLDER": "" if self.folder is None else str(self.folder),
        }
        return {name: value for name, value in given.items() if value}

    def environment_of_children(self, around: Mapping[str, str]) -> dict[str, str]:
        """What is ``around`` us, and these.

        What somebody has set there for another program of ours is not handed on: nobody has looked at it.
        """
        kept = {name: value for name, value in around.items() if name not in NAMES}
        return {**kept, **self.environment()}


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that these variables are.

    Raises:
        RefusedError: something is missing, misspelt, or not what it should be.
    """
    for name in environment:
        near = nearest(name, NAMES) if name not in NAMES else None
        if near and name.startswith("BINLOG"):
            raise RefusedError(f"{name} is unknown", WHERE, f"is {near} meant?")
    given = {name: environment.get(name, "").strip() for name in NAMES}
    archive = archive_of(given, where=WHERE, schemes=ARCHIVE_SCHEMES)
    for name, form in (("BINLOG_LOG", "kinesis://STREAM"), ("BINLOG_STORE", "dynamodb://PREFIX")):
        if not given[name] and not (archive is not None and name == "BINLOG_STORE"):
            raise RefusedError(f"{name} is not set", WHERE, f"set it to {form}")
    poison = choice(given, "BINLOG_POISON", "park", "stop", where=WHERE)
    unit = choice(given, "BINLOG_RATE_OF", "items", "events", where=WHERE)
    settings = Settings(
        log=given["BINLOG_LOG"],
        store=given["BINLOG_STORE"],
        archive=archive,
        older=older_of(given, where=WHERE, schemes=ARCHIVE_SCHEMES),
        segment_every_s=_positive(given, "BINLOG_SEGMENT_EVERY") or SEGMENT_EVERY_S,
        appliers=given["BINLOG_APPLIERS"] or None,
        poison=cast('Literal["park", "stop"]', poison),
        excluded=rules_of(given, where=WHERE),
        same_meaning=choice(given, "BINLOG_SAME_MEANING", "no", "yes", where=WHERE) == "yes",
        setting=Setting(
            _positive(given, "BINLOG_RATE"),
            cast("Unit", unit),
            _positive(given, "BINLOG_MAX_BEHIND"),
        ),
        folder=Path(given["BINLOG_KCL_FOLDER"]) if given["BINLOG_KCL_FOLDER"] else None,
    )
    settings.check()
    return settings


def _positive(given: Mapping[str, str], name: str) -> float | None:
    if not given[name]:
        return None
    try:
        number = float(given[name])
    except ValueError:
        number = math.nan
    if not (number > 0 and math.isfinite(number)):
        raise RefusedError(f"{name}={given[name]!r}", WHERE, "write a number above 0")
    return number


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.17g}"
