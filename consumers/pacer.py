"""The thin shell around a `Pace`: asks the clock, the log's retention and the store's setting.

A setting that somebody puts into the store while a consumer is running (``binlog pace``) is found by
it within `LOOK_S`; it takes the place of the one that the consumer was started with, for all workers
of the store, until it is taken out again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec

from binlog.clock import Clock
from binlog.errors import BinlogError, DamageError
from binlog.log import Forgets, Log
from binlog.logger import get_logger
from consumers.engine import Engine, Step
from consumers.pace import Pace, Runway, Setting, check_distance

WAIT_S = 0.5  # at most, before looking whether to stop
LOOK_S = 30.0  # between two looks at the store's setting
RETENTION_S = 900.0  # between two looks at the log's retention
PACED_PAGE_BYTES = 64 * 1024  # batches stay short, or they would come in bursts

_logger = get_logger(__name__)


@runtime_checkable
class Adjustable(Protocol):
    """A store that keeps the setting of its consumers' pace. It needs no lock for it."""

    def pace(self) -> bytes | None:
        """As it was set; ``None``: nobody has."""

    def set_pace(self, setting: bytes | None) -> None:
        """Set it, or take it out."""


def read_setting(store: object, where: str) -> Setting | None:
    """What is set in a store, if it keeps any.

    Raises:
        DamageError: it is no setting.
    """
    found = store.pace() if isinstance(store, Adjustable) else None
    if found is None:
        return None
    try:
        return msgspec.json.decode(found, type=Setting)
    except (msgspec.DecodeError, ValueError) as error:
        raise DamageError(
            f"the pace that is set there is none ({error})", where, "set it again: binlog pace"
        ) from error


class Pacer:
    """The pace of one local consumer, over all of its engines."""

    def __init__(
        self,
        log: Log,
        store: object,
        setting: Setting,
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        stop: Callable[[], bool],
    ) -> None:
        """Raises:
        RefusedError: so far behind is more than half of what the log keeps.
        """  # noqa: D205
        self._log = log
        self._store = store
        self._asked = setting  # for as long as nothing is set in the store
        self._clock = clock
        self._sleep = sleep
        self._stop = stop
        self._runway: Runway = "unknown"
        now = clock.monotonic()
        self._look_at = now
        self._retention_at = now + RETENTION_S
        retention_s = log.retention_s() if isinstance(log, Forgets) else None
        if setting.max_behind_s is not None:
            check_distance(setting.max_behind_s, retention_s, log.name)
        self._pace = Pace(setting, now=now, retention_s=retention_s)

    def note(self, engine: Engine, step: Step) -> None:
        """A page of the engine was applied."""
        self._pace.note(
            items=step.writes, events=step.counts.events, through_ms=engine.reader.through_ms()
        )

    def rest(self, engine: Engine) -> None:
        """Wait until the engine may go on, or is to stop."""
        while True:
            self._look()
            behind_s = engine.behind_s()
            self._watch(behind_s)
            wait_s = self._pace.wait_s(behind_s=behind_s, now=self._clock.monotonic())
            if not wait_s or self._stop():
                return
            if wait_s >= WAIT_S:
                engine.rest()
            self._sleep(min(wait_s, WAIT_S))

    def _look(self) -> None:
        """At what others set, now and then; what cannot be read now is as it was."""
        now = self._clock.monotonic()
        try:
            if now >= self._look_at:
                self._look_at = now + LOOK_S
                setting = read_setting(self._store, self._log.name) or self._asked
                if setting != self._pace.setting:
                    _logger.info("pace.adjusted", **msgspec.structs.asdict(setting))
                    self._pace.adjust(setting, now=now)
            if now >= self._retention_at and isinstance(self._log, Forgets):
                self._retention_at = now + RETENTION_S
                self._pace.retention_s = self._log.retention_s()
        except BinlogError as error:
            if not error.retriable:
                raise
            _logger.warning("pace.unread", error=str(error))

    def _watch(self, behind_s: float | None) -> None:
        """Tell when what is left before the log forgets becomes short, or is enough again."""
        runway, before = self._pace.runway(behind_s), self._runway
        if runway in {before, "unknown"} or behind_s is None:
            return
        self._runway = runway
        left_s = round((self._pace.retention_s or 0.0) - behind_s)
        told = {"log": self._log.name, "behind_s": round(behind_s), "left_s": left_s}
        if runway == "lifted":
            _logger.error("pace.lifted", **told)
        elif runway == "short":
            _logger.warning("runway.shortened", **told)
        elif before != "unknown":
            _logger.info("runway.restored", **told)
