"""Reading a directory log up to a durable end that is known: from a position to a page of records.

Takes no lock and writes nothing. Segments are opened for one call each, so any number of threads
may read, and a log of any number of segments keeps no descriptors open.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from binlog.errors import DamageError, RefusedError
from binlog.log import Page, Position, Record
from binlog.logs.block import (
    BLOCK_BYTES_MAX,
    ENTRY_BYTES,
    HEAD_BYTES,
    Bad,
    Block,
    parse_block,
    signature,
    unpack_head,
)
from binlog.logs.filesystem import FileSystem, read_all
from binlog.logs.scan import Scan, iter_blocks, scan_blocks
from binlog.logs.segment import damage, list_segments, segment_name, segment_path

SHARD = "0"
_CURSORS_MAX = 256


class DirectoryReader:
    """Where the blocks of one directory log are, and what is in them."""

    def __init__(self, fs: FileSystem, directory: str, log_id: bytes) -> None:
        self._fs = fs
        self._directory = directory
        self._log_id = log_id
        self._bases = list_segments(fs, directory)
        # Where the block after a sequence number begins, for those who come back for more.
        self._cursors: dict[int, int] = {}

    def read(
        self,
        after: int,
        end: int,
        *,
        partitions: frozenset[int] | None,
        bytes_max: int,
    ) -> Page:
        """Records after sequence ``after`` that lie before position ``end`` of the log.

        Raises:
            DamageError: bad bytes come next; what lies before them has been given.
        """
        records: list[Record] = []
        position = self._find(after)
        sequence, taken, full = after, 0, False
        while position < end and not full:
            base, stop = self._segment_at(position, end)
            if position == base and (uneven := self._uneven_before(base)):
                if sequence == after:
                    raise uneven
                break
            scan = self._scan(
                base,
                position - base,
                stop,
                records,
                after=sequence,
                partitions=partitions,
                bytes_max=bytes_max,
                taken=taken,
            )
            if scan.bad and scan.sequence == after:
                raise damage(self._directory, base, scan.bad, self._fs)
            position, sequence, taken = base + scan.offset, scan.sequence, scan.taken
            full = scan.offset < stop or taken >= bytes_max
        if (cut := _cut(records, bytes_max)) < len(records):
            return Page(records[:cut], Position(SHARD, records[cut - 1].sequence), caught_up=False)
        self._remember(sequence, position)
        return Page(records, Position(SHARD, sequence), caught_up=position >= end)

    def newest_first(
        self, since: int, end: int, partitions: frozenset[int]
    ) -> Iterator[list[Record]]:
        """All records between two positions where a block begins or ends, by parts.

        Later segments come first, what is in one in its order.

        Raises:
            DamageError: bad bytes.
        """
        self._bases = list_segments(self._fs, self._directory)
        bounds = [*self._bases, end]
        for base, following in reversed([*pairwise(bounds)]):
            offset, stop = max(since - base, 0), min(following, end) - base
            while offset < stop:
                records: list[Record] = []
                scan = self._scan(
                    base, offset, stop, records, after=-1, partitions=partitions, bytes_max=1 << 22
                )
                if scan.bad:
                    raise damage(self._directory, base, scan.bad, self._fs)
                yield records
                offset = scan.offset

    def _scan(
        self,
        base: int,
        start: int,
        stop: int,
        records: list[Record],
        *,
        after: int,
        partitions: frozenset[int] | None,
        bytes_max: int,
        taken: int = 0,
    ) -> Scan:
        try:
            fd = self._open(base)
        except FileNotFoundError:
            return Scan(start, after, taken, Bad(start, "the segment is missing"))
        try:
            return scan_blocks(
                self._fs,
                fd,
                base,
                signature(self._log_id, base),
                start,
                stop,
                records,
                after=after,
                partitions=partitions,
                bytes_max=bytes_max,
                taken=taken,
            )
        finally:
            self._fs.close(fd)

    def _open(self, base: int) -> int:
        return self._fs.open(segment_path(self._directory, base), os.O_RDONLY | os.O_CLOEXEC)

    def _segment_at(self, position: int, end: int) -> tuple[int, int]:
        """The segment that holds ``position``, and the offset in it up to which it may be read."""
        bases = self._bases  # other threads may list them anew
        at = bisect_right(bases, position) - 1
        if at == len(bases) - 1 and self._size(bases[at]) < end - bases[at]:
            bases = self._bases = list_segments(self._fs, self._directory) or bases
            at = bisect_right(bases, position) - 1
        following = bases[at + 1] if at + 1 < len(bases) else end
        return bases[at], min(end, following) - bases[at]

    def _uneven_before(self, base: int) -> DamageError | None:
        """Damage, if the segment before ``base`` does not end there but later."""
        bases = self._bases
        at = bisect_right(bases, base) - 1
        if not at:
            return None
        before = bases[at - 1]
        size = self._size(before)
        if before + size == base:
            return None
        detail = f"ends at byte {size}, but the next segment begins after {base - before}"
        return damage(self._directory, before, Bad(min(base - before, size), detail))

    def _size(self, base: int) -> int:
        try:
            return self._fs.stat(segment_path(self._directory, base)).st_size
        except FileNotFoundError:
            return 0

    # -- positions -------------------------------------------------------------------------------

    def _remember(self, sequence: int, position: int) -> None:
        if len(self._cursors) >= _CURSORS_MAX:
            self._cursors.clear()
        self._cursors[sequence] = position

    def _find(self, after: int) -> int:
        """Where to begin for records after ``after``: a block's begin, in the whole log's bytes."""
        if after < 0:
            return self._bases[0]
        cursor = self._cursors.get(after)
        if cursor is not None:
            return cursor
        base, _ = self._segment_at(after, after + 1)
        offset = after - base
        try:
            fd = self._open(base)
        except FileNotFoundError as error:
            raise damage(self._directory, base, Bad(0, "the segment is missing")) from error
        try:
            found = self._block_with_entry(fd, base, offset)
            if found is not None:
                return found
            # No record there: is the position wrong, or is the log?
            for block in iter_blocks(self._fs, fd, signature(self._log_id, base), 0, offset + 1):
                if isinstance(block, Bad):
                    raise damage(self._directory, base, block, self._fs)
        finally:
            self._fs.close(fd)
        raise RefusedError(
            f"no record has sequence number {after}",
            self.locate(after),
            "is it a position of another log?",
            sequence=after,
        )

    def _block_with_entry(self, fd: int, base: int, offset: int) -> int | None:
        """From an entry's place, by the index in it, back to its block; what comes after it."""
        index, start, head = self._head_of_entry(fd, offset)
        if not head:
            return None
        size = min(unpack_head(head)[3], BLOCK_BYTES_MAX)
        data = read_all(self._fs, fd, size, start)
        block = parse_block(data, 0, signature(self._log_id, base), start)
        if not isinstance(block, Block) or index >= block.frames:
            return None
        return base + (block.end if index + 1 == block.frames else start)

    def _head_of_entry(self, fd: int, offset: int) -> tuple[int, int, bytes]:
        """The index in the entry at ``offset``, where its block would begin, and that one's head.

        The head is empty where there is no room for one; it is not checked.
        """
        entry = self._fs.pread(fd, ENTRY_BYTES, offset)
        index = int.from_bytes(entry[2:4])
        start = offset - ENTRY_BYTES * index - HEAD_BYTES
        head = self._fs.pread(fd, HEAD_BYTES, start) if start >= 0 else b""
        whole = len(entry) == ENTRY_BYTES and len(head) == HEAD_BYTES
        return index, start, head if whole else b""

    def stamp(self, sequence: int) -> bytes:
        """Checksum and arrival of the block that holds the record; empty if none does."""
        if sequence < 0:
            return b""
        base, _ = self._segment_at(sequence, sequence + 1)
        try:
            fd = self._open(base)
        except FileNotFoundError:
            return b""
        try:
            _, _, head = self._head_of_entry(fd, sequence - base)
        finally:
            self._fs.close(fd)
        if not head:
            return b""
        checksum, _, arrival_ms, _, _ = unpack_head(head)
        return struct.pack(">IQ", checksum, arrival_ms)

    def locate(self, sequence: int) -> str:
        """The segment and byte of a record, in words."""
        bases = self._bases
        base = bases[max(bisect_right(bases, sequence) - 1, 0)]
        return f"{self._directory} segment {segment_name(base)} byte {max(sequence - base, 0)}"


def _cut(records: Sequence[Record], bytes_max: int) -> int:
    """How many of a page's records to give: all, unless a block made it twice as large as asked for.

    A block is a commit, of any size, and is read whole: who asks for little (a paced consumer) would
    have it all at once.
    """
    if sum([len(record.data) for record in records]) <= 2 * bytes_max:
        return len(records)
    taken = 0
    for count, record in enumerate(records):
        taken += len(record.data)
        if taken > bytes_max and count:
            return count
    return len(records)
