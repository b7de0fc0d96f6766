"""A log that names its own archive, which is opened only when the log has forgotten something.

What is named is a hint: anybody who may tag a stream can write it. It is believed if its genesis is the
log's, and read only for what the log has not. Where it cannot be opened, nothing changes for who does
not need it; who does is told so together with what is gone.

A reader from the very beginning needs the shards that a log has forgotten before it knows where to begin,
so for it (``from_beginning``) the archive comes first as soon as that is known.
"""

from __future__ import annotations

from collections.abc import Callable

from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.columns import FrameError
from binlog.errors import BinlogError, MismatchError, TrimmedError, UpgradeError
from binlog.frame import decode_header
from binlog.log import Log, NamesArchive, Page, Position, Record, Shard


class NamedArchiveLog(ArchivedLog):
    """A log and the archive that it named when it was opened.

    Raises:
        TrimmedError: of a read, the log has forgotten what comes there, and the archive cannot be read.
    """

    def __init__(
        self,
        log: Log,
        url: str,
        open_archive: Callable[[str], ArchiveLog],
        *,
        from_beginning: bool = False,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._stand_before(log, archive_first=False)
        self._url = url
        self._open_archive = open_archive
        self._from_beginning = from_beginning
        self._tell = tell
        self._found = False

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page:
        if not self._found:
            try:
                page = self.log.read(
                    after, partitions=partitions, bytes_max=bytes_max, wait_s=wait_s
                )
            except TrimmedError as error:
                self._find(error)
            else:
                if after.sequence >= 0 or not self._begins_late(after, page):
                    return page
                place = f"{page.records[0].sequence if page.records else 'its end'}"
                late = TrimmedError(f"the log begins at {place}, without its genesis", self.name)
                if not (self._find(late) if page.records else self._found_somehow()):
                    return page
        return super().read(after, partitions=partitions, bytes_max=bytes_max, wait_s=wait_s)

    def shards(self) -> list[Shard]:
        if not self._found:
            now = self.log.shards()
            ids = {shard.id for shard in now}
            is_late = any(not ids.issuperset(shard.parents) for shard in now)
            if not (self._from_beginning and is_late and self._found_somehow()):
                self._lineage = {shard.id: shard for shard in now}
                return now
        return super().shards()

    def stamp(self, position: Position) -> bytes:
        return super().stamp(position) if self._found else self.log.stamp(position)

    def size_bytes(self) -> int:
        return super().size_bytes() if self._found else self.log.size_bytes()

    def bytes_by_partition(self) -> dict[int, int]:
        return super().bytes_by_partition() if self._found else {}

    def now_ms(self) -> int:
        return super().now_ms() if self._found else self.log.now_ms()

    def close(self) -> None:
        if self._found:
            self.archive.close()
        self.log.close()

    def has_archive(self) -> bool:
        return self._find(None)

    # -- finding it ------------------------------------------------------------------------------

    def _begins_late(self, after: Position, page: Page) -> bool:
        """Whether a page from the beginning of a shard without parents is not that any more.

        Of one with parents the log tells itself.
        """
        if not (isinstance(self.log, NamesArchive) and self.log.may_have_forgotten()):
            return False
        if after.shard not in self._lineage:
            self.shards()
        known = self._lineage.get(after.shard)
        if known is None or known.parents:
            return False
        first: dict[int, Record] = {}
        for record in page.records:
            if record.partition >= 0:
                first.setdefault(record.partition, record)
        return not first or not all(map(_is_genesis, first.values()))

    def _found_somehow(self) -> bool:
        """For who may do without."""
        try:
            return self._find(None)
        except BinlogError:
            return False

    def _find(self, trimmed: TrimmedError | None) -> bool:
        """Open it, if it is not yet; true.

        Raises:
            TrimmedError: it is needed, and gone, or another log's.
            StorageError: it cannot be reached now.
        """
        if self._found:
            return True
        try:
            kept = self._open_archive(self._url)
            try:
                self._take(kept)
            except MismatchError:
                kept.close()
                raise
        except BinlogError as error:
            if error.retriable:
                raise
            what = "" if trimmed is None else f"{trimmed.what}, and "
            raise TrimmedError(
                f"{what}the archive that the log names cannot be read: {error.what}",
                self._url,
                "say where it is now: --archive URL or BINLOG_ARCHIVE, or for everybody"
                f" binlog archive {self.name} ARCHIVE --once --announce",
            ) from error
        self._found = True
        self._archive_first = self._from_beginning
        if self._tell is not None:
            self._tell(self._url)
        return True


def _is_genesis(record: Record) -> bool:
    try:
        return decode_header(record.data).genesis
    except (FrameError, UpgradeError):
        return False


def with_named_archive(
    log: Log,
    open_archive: Callable[[str], ArchiveLog],
    *,
    from_beginning: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Log:
    """The log, with the archive that it names, if it does; ``tell`` hears when that is opened."""
    if not (isinstance(log, NamesArchive) and log.archive_named):
        return log
    return NamedArchiveLog(
        log, log.archive_named, open_archive, from_beginning=from_beginning, tell=tell
    )
