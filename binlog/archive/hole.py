"""What is told of a partition whose next records the log has forgotten unarchived."""

from __future__ import annotations

from binlog.archive.archive import Archive
from binlog.archive.cutter import Cutter
from binlog.errors import TrimmedError


def hole_error(
    error: TrimmedError, partition: int, cutter: Cutter, count: int, archive: Archive
) -> TrimmedError:
    """What the log has forgotten can never be archived, and nothing behind it may be."""
    end = cutter.end
    after = "the archive has nothing of it" if end is None else f"it is archived up to {end.last}"
    others = f" ({count} partitions are like that)" if count > 1 else ""
    return TrimmedError(
        f"partition {partition} would have a hole in the archive: {after}, and the log has forgotten"
        f" what comes next{others}: {error.what}",
        error.where or archive.name,
        "another copy of the log (a longer-kept stream, an archive elsewhere) is the only one that has"
        " it; without one, keep this archive, take a binlog snapshot of a store that is up to date,"
        " and go on with a new log",
        partition=partition,
        archive=archive.name,
    )
