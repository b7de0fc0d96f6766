"""The thin shell around a `Pace`: asks the clock, the log's retention and the store's setting.

A setting that somebody puts into the store while a consumer is running (``binlog pace``) is found by
it within `LOOK_S`; it takes the place of the one that the consumer was started with, for all workers
of the store, until it is taken out again. One that is further behind than half of what the log keeps,
now, is taken for half of it: who sets it is told so, but the log may be made to keep less later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from appliers.store import Adjustable
from binlog.clock import Clock
from binlog.errors import BinlogError, DamageError
from binlog.log import Forgets, Log
from binlog.logger import get_logger
from binlog.reader import PAGE_BYTES
from consumers.engine import Engine, Step
from consumers.metrics import Metrics
from consumers.pace import Pace, Runway, Setting, check_distance, within

WAIT_S = 0.5  # at most, before looking whether to stop
LOOK_S = 30.0  # between two looks at the store's setting
RETENTION_S = 900.0  # between two looks at the log's retention

_logger = get_logger(__name__)


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


def write_setting(store: Adjustable, setting: Setting | None) -> None:
    """Set it for all consumers of a store, or take it out.

    Raises:
        ConflictError: there is no store yet.
    """
    store.set_pace(None if setting is None else msgspec.json.encode(setting))


def retention_of(log: Log) -> float | None:
    """How long a log keeps its records, in seconds; ``None``: for ever."""
    return log.retention_s() if isinstance(log, Forgets) else None


class Steering:
    """The pace of one worker, kept to what is set, and to what the log keeps.

    ``setting`` is what it was started with, ``bound`` are further words for its log. Who goes to the
    log's end ``once`` is not kept away from it. ``budget`` says how many bytes a second may be read by
    a setting (`Pace.bytes_per_s`). A call a `LOOK_S` to the store, and one a `RETENTION_S` to the log.
    """

    def __init__(
        self,
        log: Log,
        store: object,
        setting: Setting,
        *,
        clock: Clock,
        share: float = 1.0,
        once: bool = False,
        budget: Callable[[Setting], float | None] = lambda _: None,
        **bound: object,
    ) -> None:
        self._log = log
        self._store = store
        self._asked = setting  # for as long as nothing is set in the store
        self._once = once
        self._budget = budget
        self._clock = clock
        self._bound = {"log": log.name, **bound}
        self._runway: Runway = "unknown"
        self._wanted = setting
        now = clock.monotonic()
        self._look_at = self._retention_at = now
        self.pace = Pace(Setting(), now=now, share=share)

    def wait_s(self, behind_s: float | None) -> float:
        """`Pace.wait_s` now, by what is set now."""
        self._look()
        self._watch(behind_s)
        return self.pace.wait_s(behind_s=behind_s, now=self._clock.monotonic())

    def _look(self) -> None:
        """At what others set, now and then; what cannot be read now is as it was, and soon tried again."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            with self._unless_it_passes():
                self._wanted = read_setting(self._store, self._log.name) or self._asked
        if now >= self._retention_at:
            self._retention_at = now + LOOK_S
            with self._unless_it_passes():
                self.pace.retention_s = retention_of(self._log)
                self._retention_at = now + RETENTION_S
        self._steer(now)

    @contextmanager
    def _unless_it_passes(self) -> Iterator[None]:
        try:
            yield
        except BinlogError as error:
            if not error.retriable:
                raise
            _logger.warning("pace.unread", error=str(error), **self._bound)

    def _steer(self, now: float) -> None:
        wanted = self._wanted
        if self._once:
            wanted = msgspec.structs.replace(wanted, max_behind_s=None)
        setting = within(wanted, self.pace.retention_s)
        self.pace.bytes_per_s = self._budget(setting)
        if setting == self.pace.setting:
            return
        if setting != wanted:
            _logger.warning(
                "pace.capped",
                max_behind_s=wanted.max_behind_s,
                retention_s=self.pace.retention_s,
                **self._bound,
            )
        _logger.info("pace.adjusted", **msgspec.structs.asdict(setting), **self._bound)
        self.pace.adjust(setting, now=now)

    def _watch(self, behind_s: float | None) -> None:
        """Tell when what is left before the log forgets becomes short, or is enough again."""
        runway, before = self.pace.runway(behind_s), self._runway
        if runway in {before, "unknown"} or behind_s is None:
            return
        self._runway = runway
        left_s = round((self.pace.retention_s or 0.0) - behind_s)
        told = {"behind_s": round(behind_s), "left_s": left_s, **self._bound}
        if runway == "lifted":
            _logger.error("pace.lifted", **told)
        elif runway == "short":
            _logger.warning("runway.shortened", **told)
        elif before != "unknown":
            _logger.info("runway.restored", **told)


class Pacer:
    """The pace of one local consumer, over all of its engines.

    Raises:
        RefusedError: so far behind is more than half of what the log keeps.
    """

    def __init__(
        self,
        log: Log,
        store: object,
        setting: Setting,
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        stop: Callable[[], bool],
        page_bytes: int = PAGE_BYTES,
        once: bool = False,
        metrics: Metrics | None = None,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._sleep = sleep
        self._stop = stop
        self._page_bytes = page_bytes
        self._bytes_read = dict[int, int]()  # by engine, at its last page
        if setting.max_behind_s is not None:
            check_distance(setting.max_behind_s, retention_of(log), log.name)
        self._steering = Steering(log, store, setting, clock=clock, once=once)

    def note(self, engine: Engine, step: Step) -> None:
        """A page of the engine was applied."""
        read = engine.reader.bytes_read
        before = self._bytes_read.get(id(engine), 0)
        self._bytes_read[id(engine)] = read
        self._steering.pace.note(
            items=step.writes,
            events=step.counts.events,
            through_ms=engine.reader.through_ms(),
            size=read - before if read >= before else read,  # it starts over with another reader
        )
        if self._metrics is not None:
            counts = step.counts
            self._metrics.tell(
                {
                    "Events": counts.events,
                    "Writes": step.writes,
                    "Rejected": counts.rejected,
                    "Parked": counts.parked,
                    "Foreign": len(engine.reader.foreign),
                },
                now_ms=self._clock.now_ms(),
            )

    def rest(self, engine: Engine) -> None:
        """Wait until the engine may go on, or is to stop."""
        while True:
            behind_s = engine.behind_s()
            wait_s = self._steering.wait_s(behind_s)
            rests_s = min(wait_s, WAIT_S)
            self._tell(engine, behind_s, rests_s)
            if not wait_s or self._stop():
                break
            if wait_s >= WAIT_S:
                engine.rest()
            self._sleep(rests_s)
        engine.read_pages_of(min(self._page_bytes, self._steering.pace.page_bytes()))

    def _tell(self, engine: Engine, behind_s: float | None, rests_s: float) -> None:
        if self._metrics is None:
            return
        values: dict[str, float] = {"Halted": len(engine.reader.halts), "Rested": rests_s * 1000}
        if behind_s is not None:
            values["Behind"] = behind_s * 1000
            if self._steering.pace.retention_s is not None:
                values["Runway"] = max(0.0, self._steering.pace.retention_s - behind_s) * 1000
        self._metrics.tell(values, now_ms=self._clock.now_ms())
