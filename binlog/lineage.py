"""Shards and their children: where a partition goes when a log splits or merges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from binlog.errors import BinlogError, MismatchError
from binlog.halt import Halt
from binlog.log import Log, Position, Record, Shard

PAGE_BYTES = 1024 * 1024


@runtime_checkable
class TellsWhy(Protocol):
    """A log that can lack a whole partition, and knows why."""

    def nothing_of(self, partition: int) -> BinlogError:
        """The error for who asks where that partition begins."""


class Searched(dict[Halt, tuple[Position, int]]):
    """Up to where nothing decides on a halt, and the highest arrival time there.

    ``check`` is called from page to page, and raises where a search is not to go on now: it goes on
    from there the next time.
    """

    check: Callable[[], object] = staticmethod(lambda: None)


def records_after(
    log: Log,
    after: Position,
    partition: int,
    *,
    page_bytes: int = PAGE_BYTES,
    read_to: Callable[[Position], object] = lambda _: None,
) -> Iterator[tuple[str, Record]]:
    """The records of ``partition`` after the position, each with its shard, as far as there are.

    Foreign records, which a page may hold as well, are left out (S7). A closed shard is followed by
    the child that holds the partition. Ends at what is the log's end then; never waits. ``read_to``
    is told of the places before which all was given.

    Raises:
        DamageError: when what comes next is damaged.
    """
    only = frozenset({partition})
    while True:
        page = log.read(after, partitions=only, bytes_max=page_bytes)
        for record in page.records:
            if record.partition == partition:
                yield after.shard, record
        after = page.next
        read_to(after)
        if page.caught_up:
            child = child_of(log, after.shard, partition) if page.closed else None
            if child is None:
                return
            after = Position(child, -1)


def child_of(log: Log, shard: str, partition: int) -> str | None:
    """The shard that ``partition`` went to when ``shard`` closed; ``None`` if it did not."""
    for child in log.shards():
        if shard in child.parents and partition in child.partitions:
            return child.id
    return None


class Lineage:
    """The shards of a log as far as they are known here: what is unknown is asked for again.

    A shard never changes its parents or its partitions, so one that the log no longer lists is
    remembered as it was.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.shards: dict[str, Shard] = {}
        """Parents before children."""
        self.searched = Searched()
        """What was searched along them so far."""
        self.refresh()

    def refresh(self) -> None:
        """Ask the log for its shards."""
        self.shards |= {shard.id: shard for shard in self._log.shards()}

    def find(self, shard: str) -> Shard:
        """The shard of that id.

        Raises:
            MismatchError: the log does not list it.
        """
        if shard not in self.shards:
            self.refresh()
        try:
            return self.shards[shard]
        except KeyError:
            raise MismatchError(
                f"no shard {shard}", self._log.name, "is it another stream's?", shard=shard
            ) from None

    def root(self, partition: int) -> Position:
        """Before the first record of a partition.

        Raises:
            MismatchError: no shard holds it; another error where the log knows why.
        """
        for shard in self.shards.values():  # parents come before children
            if partition in shard.partitions:
                return Position(shard.id, -1)
        if isinstance(self._log, TellsWhy):
            raise self._log.nothing_of(partition)
        raise MismatchError(f"no shard holds partition {partition}", self._log.name)

    def child(self, shard: str, partition: int) -> str | None:
        """Where ``partition`` went when ``shard`` closed; ``None``: nobody knows yet."""
        for child in self.shards.values():
            if shard in child.parents and partition in child.partitions:
                return child.id
        return None

    def ancestors(self, shard: str) -> set[str]:
        """The parents of ``shard``, theirs, and so on, as far as they are known."""
        found: set[str] = set()
        left = [shard]
        while left:
            known = self.shards.get(left.pop())
            parents = set(known.parents if known is not None else ()) - found
            found |= parents
            left += parents
        return found
