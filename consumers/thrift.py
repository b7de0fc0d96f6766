"""Which checkpoints are worth their price, where a store is paid by the write.

A checkpoint behind the data is safe (C3): what lies between is read again after a crash, and asks for
no write, since the items are there. So a row need not go with every page. A partition's row is due

* when `ITEMS` items of it have been written since the last one. With the state of 5,000 sessions, all
  renewed every quarter of an hour, a row is 3 to 9 write units, and its share of a base as much again
  at most: below 2 % of what the items cost (``scripts/bench --cost``);
* when it has waited for `LONGEST_S`, or the log has been quiet for `IDLE_S`: whoever then looks at the
  store is to find its items and its vector of one moment, and no lag.

What a crash costs: that many items of each partition are read again, and their events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from appliers.item import Write

ITEMS = 1_000
LONGEST_S = 30.0
IDLE_S = 2.0


@runtime_checkable
class Metered(Protocol):
    """A sink that may be paid by the write."""

    paid_by_the_write: bool


def is_paid_by_the_write(sink: object) -> bool:
    """Whether checkpoints cost what items do."""
    return isinstance(sink, Metered) and sink.paid_by_the_write


class Thrift:
    """Of one engine. ``monotonic`` gives seconds that never go back."""

    def __init__(
        self, monotonic: Callable[[], float], *, items: int = ITEMS, longest_s: float = LONGEST_S
    ) -> None:
        self._monotonic = monotonic
        self._items = items
        self._longest_s = longest_s
        self._written: dict[int, int] = {}  # since the last row, by partition
        self._waiting: dict[int, float] = {}  # since when
        self._page_at = monotonic()  # when the last one was committed

    def due(
        self, partitions: Iterable[int], writes: Iterable[Write] = (), *, idle: bool = False
    ) -> list[int]:
        """Those of ``partitions``, which have moved, whose row is to go with ``writes``.

        ``idle``: there is nothing to read at the moment.
        """
        now = self._monotonic()
        if idle and now - self._page_at >= IDLE_S:
            return list(partitions)
        more: dict[int, int] = {}
        for write in writes:
            more[write.row.partition] = more.get(write.row.partition, 0) + 1
        found = []
        for partition in partitions:
            count = self._written.get(partition, 0) + more.get(partition, 0)
            waited_s = now - self._waiting.setdefault(partition, now)
            if count >= self._items or waited_s >= self._longest_s:
                found.append(partition)
        return found

    def note_page(self, writes: Iterable[Write]) -> None:
        """A page is committed, with or without rows; ``writes`` are done."""
        self._page_at = self._monotonic()
        for write in writes:
            self._written[write.row.partition] = self._written.get(write.row.partition, 0) + 1

    def note_saved(self, partitions: Iterable[int]) -> None:
        """Their rows stand where they are."""
        for partition in partitions:
            self._written.pop(partition, None)
            self._waiting.pop(partition, None)
