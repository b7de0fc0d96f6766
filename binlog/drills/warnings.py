"""What the project itself warns of while a drill runs: on the timeline, instead of on the terminal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from binlog.drills.record import Record
from binlog.logger import PACKAGES

NOTES_MAX = 20
TEXT_MAX = 200


class _Notes(logging.Handler):
    def __init__(self, record: Record) -> None:
        super().__init__(logging.WARNING)
        self._record = record
        self._left = NOTES_MAX

    def emit(self, record: logging.LogRecord) -> None:
        if self._left > 0:
            self._left -= 1
            now = self._record.now_s()
            self._record.mark("note", record.getMessage()[:TEXT_MAX], now, now)


@contextlib.contextmanager
def noted(record: Record) -> Iterator[None]:
    """Warnings of our packages become notes, at most `NOTES_MAX`."""
    handler = _Notes(record)
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
