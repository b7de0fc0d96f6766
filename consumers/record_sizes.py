"""A log that remembers how large the records were that somebody read through it."""

from __future__ import annotations

from typing import Any, cast

from binlog.log import Log, Page, Position


class RecordSizes:
    """Of the records that are read through `log`."""

    def __init__(self, log: Log) -> None:
        self._sizes: dict[tuple[int, int], int] = {}
        self.log = self._through(log)

    def take(self, partition: int, sequence: int) -> int:
        """The bytes of a record, as stored; 0 the second time."""
        return self._sizes.pop((partition, sequence), 0)

    def clear(self) -> None:
        """Forget all that nobody took."""
        self._sizes.clear()

    def _through(self, log: Log) -> Log:
        """The same log, which notes what it gives.

        Of a class of its own below the log's, with the very attributes that the log has: what it can
        do beyond `Log` is asked of the class (`isinstance` with a protocol, from Python 3.12 on).
        """
        kind: Any = type(log)
        sizes = self._sizes

        def read(noting: Any, after: Position, **how: Any) -> Page:
            page: Page = kind.read(noting, after, **how)
            for record in page.records:
                sizes[record.partition, record.sequence] = len(record.data)
            return page

        noting: Any = object.__new__(type(kind.__name__, (kind,), {"read": read}))
        noting.__dict__ = log.__dict__
        return cast("Log", noting)
