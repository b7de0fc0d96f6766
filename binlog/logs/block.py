"""The block: what one commit writes, all that one fsync makes durable.

Layout of version 1, integers big-endian; the checksum covers everything after itself, so also where
the block stands: an image of a block in a payload, or in another file, is not a block::

    offset size
         0    4  CRC-32C of the rest of the block
         4    4  magic "BLBK"
         8    1  version
         9    3  zero
        12   16  log id
        28    8  segment: position of its first byte in the log
        36    8  position of this block in the segment
        44    8  arrival, ms, one for the whole commit
        52    4  bytes of the block, all of it
        56    4  frames
        60       entries, 8 bytes each: partition (2), index of the entry (2), bytes of the frame (4)
                 frames, in the order of the entries

Checksum, magic, version and bytes stay where they are in every later version: that is how a reader
tells a newer format from damage.

A record's sequence number is the position of its entry in the log, segment and offset added. The
index in the entry leads back from there to the block, and the entries let a reader pass by frames
of partitions that it does not want.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

import google_crc32c
import msgspec

from binlog.errors import UpgradeError
from binlog.log import Put

MAGIC = b"BLBK"
VERSION = 1
FRAMES_MAX = 65_535
BLOCK_BYTES_MAX = 64 * 1024 * 1024

_HEAD = struct.Struct(">I32xQQII")  # checksum; position, arrival, bytes, frames
_PLACE = struct.Struct(">QQII")
_ENTRY = struct.Struct(">HHI")
HEAD_BYTES = _HEAD.size
ENTRY_BYTES = _ENTRY.size
SIGNATURE_BYTES = 32

unpack_head = _HEAD.unpack_from
iter_entries = _ENTRY.iter_unpack
checksum: Callable[[bytes], int] = google_crc32c.value


class Block(msgspec.Struct, frozen=True, gc=False):
    """Where a whole and unharmed block lies in its segment, and what its header says."""

    offset: int
    end: int  # offset of what follows it
    arrival_ms: int
    frames: int


class Bad(msgspec.Struct, frozen=True, gc=False):
    """Why the bytes at ``offset`` of a segment are no block."""

    offset: int
    reason: str


def signature(log_id: bytes, segment: int) -> bytes:
    """Bytes 4 to 36 of every block of one segment; what one looks for to find blocks."""
    return MAGIC + bytes((VERSION, 0, 0, 0)) + log_id + segment.to_bytes(8, "big")


def encode_block(
    sign: bytes, offset: int, arrival_ms: int, puts: Sequence[Put], datas: Sequence[bytes]
) -> bytes:
    """The block that holds ``datas``, the frames of ``puts`` as they are to be stored."""
    entries = b"".join(
        [_ENTRY.pack(put.partition, i, len(data)) for i, (put, data) in enumerate(zip(puts, datas))]  # noqa: B905
    )
    size = HEAD_BYTES + len(entries) + sum(map(len, datas))
    place = _PLACE.pack(offset, arrival_ms, size, len(datas))
    rest = b"".join((sign, place, entries, *datas))
    return checksum(rest).to_bytes(4, "big") + rest


def block_bytes(frames: Sequence[Put]) -> int:
    """How large the block of ``frames`` will be."""
    return HEAD_BYTES + ENTRY_BYTES * len(frames) + sum([len(put.data) for put in frames])


def parse_block(data: bytes, at: int, sign: bytes, offset: int) -> Block | Bad | int:
    """The block at ``data[at:]``, which lies at ``offset`` of the segment that ``sign`` names.

    An integer says how many bytes from ``at`` on are needed to tell. This is the careful twin of
    the loop in `binlog.logs.reader`: recovery and `check` use it.

    Raises:
        UpgradeError: an unharmed block of a newer version.
    """
    room = len(data) - at
    if room < HEAD_BYTES:
        return HEAD_BYTES
    crc, position, arrival, size, frames = unpack_head(data, at)
    signed = data.startswith(sign, at + 4)
    if not signed and data[at + 4 : at + 8] != MAGIC:
        return Bad(offset, "no block begins here")
    if not HEAD_BYTES <= size <= BLOCK_BYTES_MAX:
        return Bad(offset, f"a block that claims {size} bytes")
    if room < size:
        return int(size)
    if checksum(data[at + 4 : at + size]) != crc:
        return Bad(offset, "a block whose checksum is wrong")
    if not signed:
        version = data[at + 8]
        if version > VERSION:
            raise UpgradeError(
                f"log format {version}, this code reads up to {VERSION}", do="upgrade binlog"
            )
        return Bad(offset, "a block of another log or segment")
    if position != offset:
        return Bad(offset, f"a block that belongs to byte {position}")
    start, stop = at + HEAD_BYTES + ENTRY_BYTES * frames, at + size
    if start <= stop:
        start += sum(entry[2] for entry in iter_entries(data[at + HEAD_BYTES : start]))
    if start != stop or not frames:
        return Bad(offset, "a block whose entries do not fill it")
    return Block(offset, offset + size, arrival, frames)


def find_block(data: bytes, sign: bytes, offset: int) -> Block | None:
    """The first unharmed block that begins anywhere in ``data``, which lies at ``offset``.

    Every byte position is tried, since a damaged header lies about where the next block is.
    """
    at = data.find(sign, 4)
    while at != -1:
        begin = offset + at - 4
        # Its place first: images of blocks are common where a payload holds part of a log, and a
        # checksum over each of them would take time without bound.
        if data.startswith(begin.to_bytes(8, "big"), at + SIGNATURE_BYTES):
            found = parse_block(data, at - 4, sign, begin)
            if isinstance(found, Block):
                return found
        at = data.find(sign, at + 1)
    return None


def entries_of(data: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """(partition, start, end) in ``data`` of each frame of a block that may be harmed."""
    frames = min(unpack_head(data, at)[4], FRAMES_MAX, (len(data) - at - HEAD_BYTES) // ENTRY_BYTES)
    start = at + HEAD_BYTES + ENTRY_BYTES * frames
    for partition, _, length in iter_entries(data[at + HEAD_BYTES : start]):
        if start + length > len(data):
            return
        yield partition, start, start + length
        start += length
