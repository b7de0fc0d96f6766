"""Reading blocks in bulk: the loop that every replay spends its reading time in.

One large `pread` for many blocks, one checksum a block, and for a frame no more than a slice and a
`Record`; frames of other partitions cost a comparison. Anything out of the ordinary (a block across
the end of the buffer, bytes that are no block) leaves the loop for `parse_block`.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from binlog.log import Record
from binlog.logs.block import (
    ENTRY_BYTES,
    HEAD_BYTES,
    Bad,
    Block,
    checksum,
    iter_entries,
    parse_block,
    unpack_head,
)
from binlog.logs.filesystem import FileSystem

CHUNK_BYTES = 512 * 1024
SCAN_BYTES_MAX = 32 * 1024 * 1024  # what one call looks at when little of it is wanted


class Scan(msgspec.Struct, frozen=True, gc=False):
    """How far a scan came: the offset of the next block, and why it went no further."""

    offset: int
    sequence: int  # of the last frame passed, wanted or not; as given if none was
    taken: int  # bytes of all the records
    bad: Bad | None = None


def scan_blocks(
    fs: FileSystem,
    fd: int,
    base: int,
    sign: bytes,
    start: int,
    stop: int,
    records: list[Record],
    *,
    after: int,
    partitions: frozenset[int] | None,
    bytes_max: int,
    taken: int = 0,
) -> Scan:
    """Append to ``records`` what lies in the blocks from ``start`` to ``stop`` of one segment.

    Both are offsets where a block begins or ends; the block at ``start`` may hold records at or
    before sequence ``after``, which are left out. Ends before the block with which the records
    would exceed ``bytes_max``, unless it is the first that gives any, and after about
    `SCAN_BYTES_MAX`. ``taken`` is how many bytes there are in ``records`` already.
    """
    everything = partitions is None
    wanted = partitions or frozenset()
    keep = records.append
    offset, sequence, need = start, after, 0
    while offset < stop and offset - start < SCAN_BYTES_MAX:
        asked = min(max(CHUNK_BYTES, need), stop - offset)
        buffer = fs.pread(fd, asked, offset)
        size, at = len(buffer), 0
        while at < size:
            if size - at >= HEAD_BYTES and buffer.startswith(sign, at + 4):
                crc, position, arrival, length, frames = unpack_head(buffer, at)
                end = at + length
                first = at + HEAD_BYTES
                low = first + ENTRY_BYTES * frames
                if (
                    position == offset + at
                    and first < low <= end <= size
                    and checksum(buffer[at + 4 : end]) == crc
                ):
                    if taken and taken + length > bytes_max:
                        return Scan(offset + at, sequence, taken)
                    number = base + offset + first
                    count = len(records)
                    if number > after:
                        for partition, _, frame_bytes in iter_entries(buffer[first:low]):
                            high = low + frame_bytes
                            if everything or partition in wanted:
                                keep(Record(number, arrival, partition, buffer[low:high]))
                                taken += frame_bytes
                            number += ENTRY_BYTES
                            low = high
                    else:  # the reader stopped within this block
                        for partition, _, frame_bytes in iter_entries(buffer[first:low]):
                            high = low + frame_bytes
                            if number > after and (everything or partition in wanted):
                                keep(Record(number, arrival, partition, buffer[low:high]))
                                taken += frame_bytes
                            number += ENTRY_BYTES
                            low = high
                    if low == end:
                        sequence = number - ENTRY_BYTES
                        at = end
                        continue
                    del records[count:]
            found = parse_block(buffer, at, sign, offset + at)
            if isinstance(found, int):
                found = _cut_short(found, offset, at, size, asked, stop)
            if not isinstance(found, int):
                bad = found if isinstance(found, Bad) else Bad(offset + at, "an unreadable block")
                return Scan(offset + at, sequence, taken, bad)
            need = found
            break
        if not size:
            return Scan(offset, sequence, taken, Bad(offset, "bytes are missing"))
        offset += at
    return Scan(offset, sequence, taken)


def _cut_short(need: int, offset: int, at: int, size: int, asked: int, stop: int) -> int | Bad:
    """A block of ``need`` bytes is not whole in the buffer: read on, or is that all there is?"""
    if size < asked:
        return Bad(offset + size, "bytes are missing")
    if offset + at + need > stop:
        return Bad(offset + at, "a block that reaches beyond the durable end")
    return need


def iter_blocks(
    fs: FileSystem, fd: int, sign: bytes, start: int, stop: int
) -> Iterator[Block | Bad]:
    """Each block that begins from ``start`` up to ``stop``; ends after the first that is bad.

    A block may end beyond ``stop``.
    """
    offset, need = start, 0
    while offset < stop:
        asked = max(CHUNK_BYTES, need)
        buffer = fs.pread(fd, asked, offset)
        at = 0
        while at < len(buffer) and offset + at < stop:
            found = parse_block(buffer, at, sign, offset + at)
            if isinstance(found, int):
                if len(buffer) == asked:
                    need = found
                    break
                found = Bad(offset + len(buffer), "bytes are missing")
            yield found
            if isinstance(found, Bad):
                return
            at = found.end - offset
        if not buffer:
            yield Bad(offset, "bytes are missing")
            return
        offset += at
