"""The project's own logging: structlog events, handed to the standard library's `logging`.

So a library user decides with `logging` alone what is shown and where (by default warnings, to
standard error), and nothing of ours ever reaches standard output. Events are ``noun.verb-past``
with key-value pairs: ``checkpoint.lost store='sqlite:a.db'``. What several of them share is bound
once: ``get_logger(__name__).bind(partition=3)``.

==================  ==============================================================================
BINLOG_LOG_FORMAT   ``console``, as by default, or ``json``: an object a line, with ``event``, ``level``,
                    ``logger``, ``time`` (UTC) and the pairs
BINLOG_LOG_LEVEL    what the command shows on standard error: ``debug``, ``info``, ``warning`` (as by
                    default), ``error``
==================  ==============================================================================

The first is for whoever uses the library, too; the second for the command and what it starts.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from binlog.errors import RefusedError

FORMAT, LEVEL = "BINLOG_LOG_FORMAT", "BINLOG_LOG_LEVEL"
FORMATS = ("console", "json")
PACKAGES = ("binlog", "appliers", "snapshots", "consumers")

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def is_json() -> bool:
    """Whether events are written as JSON, one object a line."""
    return os.environ.get(FORMAT, "").strip() == "json"


def show_on_stderr(environment: Mapping[str, str]) -> None:
    """For a command: what the two variables ask for; nothing where neither is set.

    Raises:
        RefusedError: one of them says what there is not.
    """
    given = {name: environment.get(name, "").strip() for name in (FORMAT, LEVEL)}
    for name, known in ((FORMAT, FORMATS), (LEVEL, tuple(_LEVELS))):
        if given[name] and given[name] not in known:
            raise RefusedError(f"{name}={given[name]!r}", do=f"write one of {', '.join(known)}")
    if not given[LEVEL]:
        return  # `logging` shows warnings by itself
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.setLevel(_LEVELS[given[LEVEL]])
        logger.handlers = [handler]
        logger.propagate = False


def get_logger(name: str) -> Any:
    """A structlog logger that writes through ``logging.getLogger(name)``; costs nothing unused."""
    return _Logger(name)


class _Logger:
    """Imports structlog when something is logged: it takes a third of a short command's start."""

    def __init__(self, name: str, bound: Mapping[str, object] | None = None) -> None:
        self._name = name
        self._bound = bound or {}

    def bind(self, **values: object) -> _Logger:
        """The same with ``values`` in every line."""
        return _Logger(self._name, {**self._bound, **values})

    def is_heard(self, method: str) -> bool:
        """Whether anybody listens to that level: what would be said may be dear to find out."""
        return logging.getLogger(self._name).isEnabledFor(_LEVELS[method])

    def __getattr__(self, method: str) -> Any:
        if method in _LEVELS and not self.is_heard(method):
            return _nothing  # a tenth of what a wrapped logger takes to find that out
        import structlog

        bound = structlog.wrap_logger(
            logging.getLogger(self._name),
            processors=[structlog.stdlib.filter_by_level, *_rendering(structlog)],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        return getattr(bound.bind(**self._bound) if self._bound else bound, method)


def _rendering(structlog: Any) -> list[Any]:
    if not is_json():
        return [structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True)]
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        # Whatever it is that somebody logs, a line is one object of plain ASCII.
        structlog.processors.JSONRenderer(serializer=json.dumps, default=str),
    ]


def _nothing(_event: str, **_values: object) -> None:
    """What a level that nobody listens to does."""
