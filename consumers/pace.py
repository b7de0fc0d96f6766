"""How fast a lazy consumer goes: what an operator sets, and the bucket that keeps to it.

A `Pace` is asked before every page and told afterwards what the page came to. Invariants:

* over any stretch of time no more is spent than the rate of that time gives, but for one page and a
  tenth of a second's worth: the bucket holds no more, is empty at first, and a page that costs more
  than it holds is paid off before the next one;
* a rate is a ceiling, a bound on the distance (`consumers.max_behind`) makes it slower than that;
* neither holds where unread events would leave the log's retention before they are read: with less
  than `LIFTED` of it left, everything is as fast as can be. Losing the log to keep a budget would be a
  bad bargain;
* what is read a second is bounded beside all that (`Pace.bytes_per_s`), even then: others read there,
  too, and a budget that what is written fits into loses nothing.

Pure: the caller passes monotonic time and the log's own, and does the waiting.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from binlog.errors import RefusedError
from consumers.max_behind import MaxBehind

BURST_S = 0.1  # what the bucket holds, in seconds of the rate
ASK_S = 1.0  # a wait is at most this long: the distance, and the setting, change meanwhile
SHORT = 0.5  # of the retention: with less than that left somebody should know
LIFTED = 0.25  # and with less than that the pace is lifted

PAGE_S = 0.5  # a page holds about so much of the rate: what comes in one piece comes in a burst
UNKNOWN_PAGE_BYTES = 1  # a record, while nobody knows what so many bytes come to
NO_BOUND = 1 << 40

SHORTEST_S = 0.001  # no wait is shorter; what it leaves owing is waited for with the next one

_FADE = 0.8  # what a page counts for after the next one

Unit = Literal["items", "events"]
Runway = Literal["unknown", "ample", "short", "lifted"]


class Setting(msgspec.Struct, frozen=True):
    """What an operator has set for all workers of an application together."""

    rate: float | None = None  # a second, at most
    unit: Unit = "items"  # what is counted: items written, or events applied
    max_behind_s: float | None = None  # as slow as can be while being at most so far behind

    def __post_init__(self) -> None:
        for name in ("rate", "max_behind_s"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} {value!r}: above 0")

    @property
    def is_free(self) -> bool:
        """Whether nothing is asked for."""
        return self.rate is None and self.max_behind_s is None


class _Bucket:
    """What may be spent: filled at a rate that may change, and owing what was spent too soon."""

    def __init__(self, now: float) -> None:
        self._level = 0.0
        self.rate = math.inf  # that it was filled at last
        self._at = now

    def spend(self, count: float) -> None:
        self._level -= count

    def wait_s(self, rate: float, now: float) -> float:
        """Seconds until nothing is owed, going on at ``rate``; it was the last one until now."""
        earned = 0.0 if math.isinf(self.rate) else max(0.0, now - self._at) * self.rate
        self._level += earned
        self.rate, self._at = rate, now
        if math.isinf(rate):
            self._level = 0.0
            return 0.0
        self._level = min(rate * BURST_S, self._level)
        if not rate:
            return math.inf
        wait_s = -self._level / rate
        return wait_s if wait_s >= SHORTEST_S else 0.0


class Pace:
    """The speed of one worker."""

    def __init__(
        self,
        setting: Setting,
        *,
        now: float,
        retention_s: float | None = None,
        share: float = 1.0,
    ) -> None:
        """``share`` of the application's rate is this worker's, above 0 and at most 1.

        ``retention_s`` is the log's; ``None`` where nothing is ever forgotten.
        """
        self.retention_s = retention_s
        self._setting = setting
        self._by_rate = _Bucket(now)
        self._by_distance = _Bucket(now)
        self._by_bytes = _Bucket(now)
        self.bytes_per_s: float | None = None  # of log that may be read; ``None``: any
        self._load = MaxBehind(setting.max_behind_s or 1.0)
        self.share = share
        self._counted = self._events = self._bytes = 0.0  # of the last pages, fading

    @property
    def setting(self) -> Setting:
        return self._setting

    def page_bytes(self) -> int:
        """How many bytes of log the next page should have at most, as stored; `NO_BOUND`: any.

        By what `wait_s` last went by, and what those of the last pages came to. A record is never
        cut, so one of many events is a page all the same, and is waited for afterwards.
        """
        most = NO_BOUND if self.bytes_per_s is None else max(1, round(self.bytes_per_s * PAGE_S))
        if math.isinf(self._by_rate.rate) and math.isinf(self._by_distance.rate):
            return most
        if not self._bytes:
            return UNKNOWN_PAGE_BYTES
        sizes = [
            bucket.rate * PAGE_S / (count / self._bytes)
            for bucket, count in (
                (self._by_rate, self._counted),
                (self._by_distance, self._events),
            )
            if count and not math.isinf(bucket.rate)
        ]
        return max(1, min(most, round(min(sizes)))) if sizes else UNKNOWN_PAGE_BYTES

    def adjust(self, setting: Setting, *, now: float) -> None:
        """Go by another setting from now on."""
        if setting.unit != self._setting.unit:
            self._by_rate = _Bucket(now)  # what is owed is of another kind
            self._counted = self._events = self._bytes = 0.0
        self._load.bound_s = setting.max_behind_s or 1.0  # what it knows of the load stays true
        self._setting = setting

    def note(self, *, items: int, events: int, through_ms: int | None, size: int = 0) -> None:
        """A page was applied, whose last event arrived at ``through_ms``; ``None``: it had none.

        ``size`` are its bytes in the log, as stored.
        """
        count = items if self._setting.unit == "items" else events
        if size:
            self._counted, self._events, self._bytes = (
                _FADE * before + new
                for before, new in (
                    (self._counted, count),
                    (self._events, events),
                    (self._bytes, size),
                )
            )
        if self.bytes_per_s is not None:
            self._by_bytes.spend(size)
        if self._setting.rate is not None:
            self._by_rate.spend(count)
        if self._setting.max_behind_s is not None:
            self._by_distance.spend(events)
        if through_ms is not None:
            self._load.note(events=events, through_ms=through_ms)

    def runway(self, behind_s: float | None) -> Runway:
        """What is left before the oldest event that is not read may leave the log."""
        return runway_of(behind_s, self.retention_s)

    def wait_s(self, *, behind_s: float | None, now: float) -> float:
        """How long to wait before asking again; 0: the next page may be applied.

        ``behind_s`` is the age, by the log's time, of the oldest event that is not applied; ``None``
        where it is not known yet, and nothing is held back for its sake.
        """
        rate, distance = self._setting.rate, self._setting.max_behind_s
        lifted = self.runway(behind_s) == "lifted"
        by_rate = math.inf if rate is None or lifted else rate * self.share
        held_back = distance is not None and behind_s is not None and not lifted
        by_distance = self._load.rate(behind_s or 0.0) if held_back else math.inf
        by_bytes = math.inf if self.bytes_per_s is None else self.bytes_per_s
        waits = (
            self._by_rate.wait_s(by_rate, now),
            self._by_distance.wait_s(by_distance, now),
            self._by_bytes.wait_s(by_bytes, now),
        )
        return min(ASK_S, max(waits))


def runway_of(behind_s: float | None, retention_s: float | None) -> Runway:
    """What is left of a log's retention to who is so far behind."""
    if retention_s is None or behind_s is None:
        return "unknown"
    left = 1 - behind_s / retention_s
    return "lifted" if left < LIFTED else "short" if left < SHORT else "ample"


def within(setting: Setting, retention_s: float | None) -> Setting:
    """The setting, no further behind than half of what the log keeps."""
    if retention_s is None or setting.max_behind_s is None:
        return setting
    return msgspec.structs.replace(setting, max_behind_s=min(setting.max_behind_s, retention_s / 2))


def check_distance(max_behind_s: float, retention_s: float | None, where: str) -> None:
    """That a consumer which is so far behind on purpose has as long again to be repaired.

    Raises:
        RefusedError: it is more than half of what the log keeps.
    """
    if retention_s is not None and max_behind_s > retention_s / 2:
        raise RefusedError(
            f"{max_behind_s / 3600:g} hours behind is more than half of the"
            f" {retention_s / 3600:g} hours that the log keeps",
            where,
            f"allow at most {retention_s / 7200:g} hours, or have the log keep more",
        )
