"""Up to when, by the log's own time, each shard was read."""

from __future__ import annotations

from collections.abc import Iterable

from binlog.log import Log, Page


class ThroughTimes:
    """Of one reader's shards."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._times: dict[str, int] = {}

    def note(self, shard: str, page: Page) -> None:
        """A page of a shard: all up to now, or what arrived before its last record did."""
        if page.caught_up:
            self._times[shard] = self._log.now_ms()
        elif page.records:
            self._times[shard] = page.records[-1].arrival_ms

    def of(self, shards: Iterable[str]) -> int | None:
        """The earliest; ``None`` where one was not looked at yet, and of no shard at all."""
        times = [self._times.get(shard, -1) for shard in shards]
        return min(times) if times and min(times) >= 0 else None
