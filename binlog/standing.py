"""Where a reader stands in one partition: what it is given to go on from, and what it gives."""

from __future__ import annotations

import msgspec

from binlog.log import Log, Position


class Start(msgspec.Struct, frozen=True, gc=False):
    """Where a partition's reading goes on: just after ``position``, with that state.

    ``applied`` is an offset whose events need not be given again; it may lie within the next
    record (C2). ``seen_ms``: see `Checked`.
    """

    position: Position
    state: bytes
    applied: int
    seen_ms: int | None = None


class Checked(msgspec.Struct, frozen=True, gc=False):
    """A reader's place in one partition, at a record boundary (C2).

    ``seen_ms``: when the log was seen to end there, by its own time (`binlog.log.Forgets`); ``None``
    where it was not, or is a log that forgets nothing, or where a target cuts the next record.
    """

    position: Position
    offset: int
    applied: int
    digest: bytes
    state: bytes
    seen_ms: int | None = None


class Stamps:
    """`Log.stamp`, of places at which many partitions stand."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: tuple[Position, bytes] | None = None

    def of(self, position: Position) -> bytes:
        """The stamp of that place."""
        if self._last is None or self._last[0] != position:
            self._last = position, self._log.stamp(position)
        return self._last[1]
