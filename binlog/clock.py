"""Time as an argument: code that needs it takes a `Clock`, so that tests and the world pass one."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is written down, monotonic time for waiting. Never mix the two."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00Z; may jump."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands until it is moved; one counter serves both readings."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = start_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._now_ms / 1000

    def advance(self, ms: int) -> None:
        """Move on by ``ms`` (negative for a clock that was set back)."""
        self._now_ms += ms
