"""How far to read: to the log's end as it is found, to a vector, or to a moment of arrival.

A moment is turned into positions partition by partition: the longest prefix of records whose
highest arrival so far is at or before it. Before the first record that is nothing, in the future
it is the end.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from binlog.errors import ConflictError
from binlog.log import Log
from binlog.run import Run
from binlog.vector import Vector


class Target(msgspec.Struct, frozen=True):
    """At most one of the two is set; neither means the end. Both are inclusive."""

    vector: Vector | None = None
    time_ms: int | None = None


END = Target()


def cut(run: Run, through: int) -> Run | None:
    """The part of ``run`` up to the offset ``through``, inclusive; ``None`` for nothing of it."""
    keep = through - run.first_offset + 1
    if keep <= 0:
        return None
    if keep >= len(run.columns):
        return run
    return msgspec.structs.replace(
        run, columns=run.columns.take(range(keep)), numbers=list(run.numbers[:keep])
    )


def between(run: Run, applied: int, limit: int) -> Run | None:
    """The part of ``run`` beyond the offset ``applied`` and up to ``limit``, if there is any."""
    if run.last_offset <= applied:
        return None
    part = run if run.last_offset <= limit else cut(run, limit)
    return part if part is None or part.first_offset > applied else _after(part, applied)


def _after(run: Run, applied: int) -> Run:
    """The part of ``run`` beyond the offset ``applied``."""
    skip = applied - run.first_offset + 1
    indexes = range(skip, len(run.columns))
    return msgspec.structs.replace(
        run,
        first_offset=applied + 1,
        columns=run.columns.take(indexes),
        numbers=list(run.numbers[skip:]),
    )


def check_within(
    log: Log, wanted: Vector, end: Vector, partitions: Iterable[int], *, what: str = "the vector"
) -> None:
    """Nothing, if ``wanted`` is at or before the log's ``end`` in all of ``partitions``.

    Raises:
        ConflictError: it is beyond.
    """
    for partition in partitions:
        offset, found = wanted.get(partition, 0), end.get(partition, 0)
        if offset > found:
            raise ConflictError(
                f"{what} names offset {offset} of partition {partition}, the log ends at {found}",
                log.name,
                "give a vector within the log, or `end`",
                partition=partition,
                offset=offset,
            )
