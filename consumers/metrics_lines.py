"""Figures of a process that lives on, summed up to a line every few seconds.

The lines are those of `consumers.aws_lambda_metrics`: what writes a log to CloudWatch, the agent from
a file or a container's driver from standard error, makes metrics of them, under the same names as a
function's. A pace of pages would be a line every few milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from binlog.clock import Clock
from consumers.metrics import LAST, Metrics

EVERY_S = 10.0


class Summed:
    """Passes on to ``to`` at most every ``every_s`` what it was told: sums, and the last of the rest."""

    def __init__(self, to: Metrics, clock: Clock, *, every_s: float = EVERY_S) -> None:
        self._to = to
        self._clock = clock
        self._every_s = every_s
        self._values: dict[str, float] = {}
        self._properties: dict[str, object] = {}
        self._passed_at = clock.monotonic()

    def tell(self, values: Mapping[str, float], *, now_ms: int, **properties: object) -> None:
        for name, value in values.items():
            before = 0 if name in LAST else self._values.get(name, 0)
            self._values[name] = before + value
        self._properties.update(properties)
        if self._clock.monotonic() - self._passed_at >= self._every_s:
            self.flush(now_ms=now_ms)

    def flush(self, *, now_ms: int | None = None) -> None:
        """Pass on what is left; nothing if there is nothing."""
        self._passed_at = self._clock.monotonic()
        values, self._values = self._values, {}
        if values:
            now_ms = self._clock.now_ms() if now_ms is None else now_ms
            self._to.tell(values, now_ms=now_ms, **self._properties)


class Several:
    """Tells all of them."""

    def __init__(self, each: Sequence[Metrics]) -> None:
        self._each = each

    def tell(self, values: Mapping[str, float], *, now_ms: int, **properties: object) -> None:
        for metrics in self._each:
            metrics.tell(values, now_ms=now_ms, **properties)
