"""Where a log was at some moment, for who reads on to there and no further.

Who reads "to the log's end" while others go on writing never sees one: whenever a page was worked on,
there is another. So a command that is to end takes a `Horizon` when it begins, and each shard is over
for it where that shard ended then, or a little later.

* Nothing that was acknowledged before the horizon was taken lies beyond it, in no shard and in no
  child of one: that is what a horizon is for, and what may never be guessed.
* What was written since may lie on either side.

Where exactly it is a log may know at once, or find out while it is read: `Horizon.bound` is asked about
each page. One horizon serves any number of readers of the same log, also one after the other: they
stop at the same places where the log can tell, or nearly so.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Protocol, runtime_checkable

import msgspec

from binlog.log import Log, Page, Position


class Horizon(Protocol):
    """One moment of one log."""

    def bound(self, after: Position, page: Page) -> tuple[Page, bool]:
        """What of a page lies before the horizon, and whether nothing more of its shard does.

        ``page`` is what came after ``after`` in a read that began when the horizon had been taken.
        Where the shard is over nothing of its children is before the horizon.
        """

    def waits(self, shards: Collection[str]) -> bool:
        """Whether shards that nothing came of, and that are not over, have to be looked at again.

        It waits a moment if so.

        Raises:
            StorageError: they were long enough.
        """


@runtime_checkable
class HasHorizon(Protocol):
    """A log that knows, or finds out, where it was at a moment."""

    def horizon(self) -> Horizon:
        """That of now.

        Raises:
            StorageError, RefusedError: it cannot be told.
        """


def horizon_of(log: Log) -> Horizon:
    """That of now: how far who begins to read a log now reads it, to come to an end."""
    return log.horizon() if isinstance(log, HasHorizon) else WhereCaughtUp()


class Bounds:
    """How far one reader is with its horizon; without one it is never at an end."""

    def __init__(self, horizon: Horizon | None) -> None:
        self._horizon = horizon
        self.reached: set[int] = set()
        """Partitions that were read up to it."""

    def cut(self, after: Position, page: Page) -> tuple[Page, bool]:
        """`Horizon.bound`."""
        return (page, False) if self._horizon is None else self._horizon.bound(after, page)

    def waits(self, left: Callable[[], Collection[str]]) -> bool:
        """`Horizon.waits`, where any are left."""
        if self._horizon is None:
            return False
        shards = left()
        return bool(shards) and self._horizon.waits(shards)


class WhereCaughtUp:
    """Of any log: a shard is over where a read, which began later, found nothing more."""

    def bound(self, after: Position, page: Page) -> tuple[Page, bool]:  # noqa: ARG002
        """See `Horizon`. A closed shard goes on in its children."""
        return page, page.caught_up and not page.closed

    def waits(self, shards: Collection[str]) -> bool:  # noqa: ARG002
        """See `Horizon`."""
        return False


class Below(WhereCaughtUp):
    """Of a log of one shard, whose next record had the number ``end`` or a higher one."""

    def __init__(self, end: int) -> None:
        self.end = end

    def bound(self, after: Position, page: Page) -> tuple[Page, bool]:
        """See `Horizon`."""
        if page.next.sequence < self.end:
            return super().bound(after, page)
        count = bisect_left(page.records, self.end, key=attrgetter("sequence"))
        return cut_page(after, page, count), True


def cut_page(after: Position, page: Page, count: int) -> Page:
    """The first ``count`` records of a page, and nothing more of its shard."""
    records = page.records[:count]
    place = Position(after.shard, records[-1].sequence) if records else after
    return msgspec.structs.replace(page, records=records, next=place, caught_up=True, closed=False)
