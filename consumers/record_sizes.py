"""A log that remembers how large the records were that somebody read through it."""

from __future__ import annotations

from typing import Any, cast

from binlog.log import Log, Page, Position


class RecordSizes:
    """Everything else is the log's own; so is what it can do beyond `Log`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._sizes: dict[tuple[int, int], int] = {}

    @property
    def log(self) -> Log:
        """This one, to be read through."""
        return cast("Log", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page:
        page = self._log.read(after, partitions=partitions, bytes_max=bytes_max, wait_s=wait_s)
        for record in page.records:
            self._sizes[record.partition, record.sequence] = len(record.data)
        return page

    def take(self, partition: int, sequence: int) -> int:
        """The bytes of a record, as stored; 0 the second time."""
        return self._sizes.pop((partition, sequence), 0)

    def clear(self) -> None:
        """Forget all that nobody took."""
        self._sizes.clear()
