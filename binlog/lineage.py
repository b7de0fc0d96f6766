"""One partition's records from a place on, across splits and merges."""

from __future__ import annotations

from collections.abc import Iterator

from binlog.log import Log, Position, Record

PAGE_BYTES = 1024 * 1024


def records_after(
    log: Log, after: Position, partition: int, *, page_bytes: int = PAGE_BYTES
) -> Iterator[tuple[str, Record]]:
    """The records of ``partition`` after the position, each with its shard, as far as there are.

    Foreign records, which a page may hold as well, are left out (S7). A closed shard is followed by
    the child that holds the partition. Ends at what is the log's end then; never waits.

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
