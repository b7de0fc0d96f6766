"""The project's own logging: structlog events, handed to the standard library's `logging`.

So a library user decides with `logging` alone what is shown and where (by default warnings, to
standard error), and nothing of ours ever reaches standard output. Events are ``noun.verb-past``
with key-value pairs: ``checkpoint.lost store='sqlite:a.db'``.
"""

from __future__ import annotations

import logging
from typing import Any

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def get_logger(name: str) -> Any:
    """A structlog logger that writes through ``logging.getLogger(name)``; costs nothing unused."""
    return _Logger(name)


class _Logger:
    """Imports structlog when something is logged: it takes a third of a short command's start."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        level = _LEVELS.get(method)
        if level is not None and not logging.getLogger(self._name).isEnabledFor(level):
            return _nothing  # a tenth of what a wrapped logger takes to find that out
        import structlog

        bound = structlog.wrap_logger(
            logging.getLogger(self._name),
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        return getattr(bound, method)


def _nothing(_event: str, **_values: object) -> None:
    """What a level that nobody listens to does."""
