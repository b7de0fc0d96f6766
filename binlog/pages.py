"""Where a reader's pages come from: the log itself, or whoever was handed a part of it."""

from __future__ import annotations

from typing import Protocol

from binlog.log import Page, Position


class Pages(Protocol):
    """Every log is one. Another one gives what the log has between two places, and no gap in it.

    ``read`` is `Log.read`: records of one shard after a place, in order, of ``partitions`` if given,
    about ``bytes_max`` of them and at least one if there is any. Who has no more of a shard says
    ``caught_up``, and ``closed`` only where the log would.
    """

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page: ...


def goes_on(pages: Pages, place: Position, partition: int, *, wait_s: float = 0.0) -> bool:
    """Whether there is more of a partition after a place, or its shard is over."""
    page = pages.read(place, partitions=frozenset({partition}), bytes_max=1, wait_s=wait_s)
    return bool(page.records) or page.closed or not page.caught_up
