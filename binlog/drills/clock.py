"""The clock of a machine that is off."""

from __future__ import annotations

from binlog.clock import SystemClock


class ClockAhead(SystemClock):
    """``by_s`` seconds ahead of the machine's; behind, if negative."""

    def __init__(self, by_s: float) -> None:
        self._by_ms = round(by_s * 1000)

    def now_ms(self) -> int:
        return super().now_ms() + self._by_ms
