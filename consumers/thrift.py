"""Which checkpoints are worth their price, where a store is paid by the write.

A checkpoint behind the data is safe (C3): what lies between is read again after a crash, and asks for
no write, since the items are there. So a row need not go with every page. A partition's row is due

* when `ITEMS` items of it have been written since the last one. A row with the state of 5,000
  sessions is 3 write units, so rows stay below 2 % of what the items cost, at any rate;
* when it has waited for `LONGEST_S`, or for `IDLE_S` while there is nothing to read: whoever looks at
  the store of a quiet log is to find its items and its vector of one moment, and no lag.

What a crash costs: that many items of each partition are read again, and their events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from appliers.item import Write

ITEMS = 200
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

    def due(
        self, partitions: Iterable[int], writes: Iterable[Write] = (), *, idle: bool = False
    ) -> list[int]:
        """Those of ``partitions``, which have moved, whose row is to go with ``writes``.

        ``idle``: there is nothing to read.
        """
        now = self._monotonic()
        longest_s = IDLE_S if idle else self._longest_s
        more: dict[int, int] = {}
        for write in writes:
            more[write.row.partition] = more.get(write.row.partition, 0) + 1
        found = []
        for partition in partitions:
            count = self._written.get(partition, 0) + more.get(partition, 0)
            waited_s = now - self._waiting.setdefault(partition, now)
            if count >= self._items or waited_s >= longest_s:
                found.append(partition)
        return found

    def note(self, writes: Iterable[Write], saved: Iterable[int]) -> None:
        """``writes`` are done, and so are the rows of ``saved``."""
        for write in writes:
            self._written[write.row.partition] = self._written.get(write.row.partition, 0) + 1
        for partition in saved:
            self._written.pop(partition, None)
            self._waiting.pop(partition, None)
