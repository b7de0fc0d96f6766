"""A stretch of a shard that is kept in memory, so that one call serves all who read there."""

from __future__ import annotations

from bisect import bisect_left

from binlog.log import Record


class Chunk:
    """What one GetRecords gave, and where it goes on. ``after`` is exclusive, ``end`` inclusive.

    ``more``: it was not the end of the shard. ``unread_ms``: whatever comes after ``end`` arrived
    then or later, by the service's time. Its records never change.
    """

    __slots__ = (
        "after",
        "end",
        "iterator",
        "more",
        "opened_at",
        "records",
        "sequences",
        "size",
        "unread_ms",
    )

    def __init__(self, after: int, iterator: str | None, opened_at: float) -> None:
        self.after = self.end = after
        self.iterator = iterator  # `None`: the shard is closed, and this was its end
        self.opened_at = opened_at
        self.records: list[Record] = []
        self.sequences: list[int] = []
        self.size = 0
        self.unread_ms = 0
        self.more = False

    @property
    def closed(self) -> bool:
        return self.iterator is None

    def covers(self, sequence: int) -> bool:
        """Whether the record of that number is known, and what comes after it is in here."""
        if not self.after <= sequence < self.end:
            return False
        at = bisect_left(self.sequences, sequence)
        return sequence == self.after or self.sequences[at] == sequence
