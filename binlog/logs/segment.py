"""Segments: the files of a directory log, each named by the position of its first byte.

Names are 20 digits and ``.seg``, so that they sort as they follow each other. Where a segment ends
the next one begins: a gap or an overlap between two names is damage.
"""

from __future__ import annotations

import os
from itertools import pairwise

from binlog.columns import FrameError
from binlog.errors import DamageError
from binlog.frame import decode_header
from binlog.logs.block import BLOCK_BYTES_MAX, HEAD_BYTES, Bad, entries_of, unpack_head
from binlog.logs.filesystem import FileSystem, read_all

SUFFIX = ".seg"
SEGMENT_BYTES = 64 * 1024 * 1024
_RESTORE = "restore the segment from a copy, or rebuild from an archive"


def segment_name(base: int) -> str:
    """The file that begins at position ``base`` of the log."""
    return f"{base:020d}{SUFFIX}"


def segment_path(directory: str, base: int) -> str:
    """Where that file lies."""
    return f"{directory}/{base:020d}{SUFFIX}"


def list_segments(fs: FileSystem, directory: str) -> list[int]:
    """The first positions of all segments, in order; other files are not looked at.

    A directory that grows while it is listed may leave out a name and give one that was made
    later, and the segment between would look lost. So it is listed twice: whatever the first list
    shows, and all that was made before it, was there when the second one began.
    """
    last = max(_listed(fs, directory), default=-1)
    return sorted(base for base in _listed(fs, directory) if base <= last)


def _listed(fs: FileSystem, directory: str) -> list[int]:
    return [
        int(name[:20])
        for name in fs.listdir(directory)
        if len(name) == 24 and name.endswith(SUFFIX) and name[:20].isdigit()
    ]


def check_chain(fs: FileSystem, directory: str, bases: list[int]) -> int:
    """That each segment ends where the next begins, from 0 on; the size of the last one.

    Raises:
        DamageError: at the first gap or overlap.
    """
    if not bases or bases[0] != 0:
        raise DamageError(
            "the first segment is missing",
            f"{directory} segment {segment_name(0)} byte 0",
            _RESTORE,
            segment=segment_name(0),
            byte=0,
            partition=None,
            position=0,
        )
    for base, following in pairwise(bases):
        size = fs.stat(segment_path(directory, base)).st_size
        if base + size != following:
            raise damage(
                directory,
                base,
                Bad(
                    min(size, following - base),
                    f"ends at byte {size}, but the next segment begins after {following - base}",
                ),
            )
    return fs.stat(segment_path(directory, bases[-1])).st_size


def damage(directory: str, base: int, bad: Bad, fs: FileSystem | None = None) -> DamageError:
    """The error that names where bytes are not what they were.

    With ``fs`` the bytes are looked at again, to name the harmed frame and its partition if the
    rest of its block is whole.
    """
    byte, partitions = bad.offset, list[int]()
    if fs is not None:
        byte, partitions = _locate(fs, directory, base, bad.offset)
    where = f"{directory} segment {segment_name(base)} byte {byte}"
    partition = partitions[0] if len(partitions) == 1 else None
    if partitions:
        where += f" partition {', '.join(map(str, partitions))}"
    return DamageError(
        f"damaged log, {bad.reason}",
        where,
        _RESTORE,
        segment=segment_name(base),
        byte=byte,
        partition=partition,
        position=base + bad.offset,
    )


def _locate(fs: FileSystem, directory: str, base: int, offset: int) -> tuple[int, list[int]]:
    """Where the one harmed frame of a block begins and its partition, if that is so; else the
    block's begin and the partitions of all its frames, as far as its entries can be read.
    """  # noqa: D205
    try:
        fd = fs.open(segment_path(directory, base), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return offset, []
    try:
        head = fs.pread(fd, HEAD_BYTES, offset)
        size = unpack_head(head)[3] if len(head) == HEAD_BYTES else 0
        data = read_all(fs, fd, size, offset) if HEAD_BYTES < size <= BLOCK_BYTES_MAX else b""
    finally:
        fs.close(fd)
    if len(data) < size or not data:
        return offset, []
    harmed, partitions, last, sound = [], set(), 0, True
    for partition, start, end in entries_of(data, 0):
        last = end
        try:
            found = decode_header(data[start:end]).partition
        except FrameError:
            harmed.append((start, partition))
            continue
        partitions.add(found)
        sound &= found == partition  # else the entry is harmed, and not the frame
    if sound and last == len(data) and len(harmed) == 1:
        return offset + harmed[0][0], [harmed[0][1]]
    return offset, sorted(partitions)
