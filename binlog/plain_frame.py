"""The common frame, read in one step: every checksum and bound, and no object for its header.

Most frames are the next one of a session that is known, and nothing is special about them. The 64
bytes from the log's id to ``born`` (`IDENTITY`) are then the same as in the frame before: one look
into a dict stands for six fields and their checks, and one unpacking gives the others. That is a
third of the time that `binlog.frame` takes, which at eight events a frame is most of a reader's
time. Nothing is refused here: what is not of this kind, or broken, is left to `binlog.frame`.
"""

from __future__ import annotations

import struct

import google_crc32c

from binlog.columns import Columns, FrameError, decode_columns
from binlog.compression import decompress
from binlog.frame import FLAG_COMPRESSED, HEADER_BYTES, MAGIC, NUMBER_MAX
from binlog.params import Params

IDENTITY = slice(16, 80)  # log id, genesis hash, family, generation, born

_START_BYTES = 8
_unpack = struct.Struct(">II64xQ32xIIIHH").unpack_from  # both checksums, first, count, ..
_crc, _extend = google_crc32c.value, google_crc32c.extend


def _starts() -> dict[bytes, tuple[int, bool]]:
    """Magic, version 1, flags and header size as they may begin: their checksum; is it zstd?"""
    tail = HEADER_BYTES.to_bytes(2, "big")
    starts = ((MAGIC + bytes((1, flags)) + tail, bool(flags)) for flags in (0, FLAG_COMPRESSED))
    return {start: (_crc(start), is_zstd) for start, is_zstd in starts}


_STARTS = _starts()


def read_plain(data: bytes, partition: int, params: Params) -> tuple[int, bytes, Columns] | None:
    """First number, body and columns of a plain, unharmed frame of ``partition``, or ``None``.

    Whose frame it is, by `IDENTITY`, is for the caller to compare.
    """
    start = _STARTS.get(data[:_START_BYTES])
    if start is None or len(data) < HEADER_BYTES:
        return None
    header_crc, body_crc, first, count, stored_bytes, body_bytes, found, zero = _unpack(data, 8)
    stored = data[HEADER_BYTES:]
    crc, is_zstd = start
    if (
        _extend(crc, data[12:HEADER_BYTES]) != header_crc
        or _crc(stored) != body_crc
        or len(stored) != stored_bytes
        or found != partition
        or zero
        or not 1 <= count <= params.frame_events_max
        or first + count > NUMBER_MAX
        or body_bytes > params.body_bytes_max
    ):
        return None
    body = decompress(stored, body_bytes) if is_zstd else stored
    if body is None or len(body) != body_bytes:
        return None
    try:
        return first, body, decode_columns(body, count)
    except FrameError:
        return None
