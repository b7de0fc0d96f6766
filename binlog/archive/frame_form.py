"""A frame without its compression: what an archive keeps of it, and the frame that it gives back.

A segment is compressed as a whole, over many frames, which takes two thirds of the room. So of a
frame that was accepted where it stood the body is kept as it decompresses, and a reader of the
archive is given an uncompressed frame: its header says the same, but for the flag, the stored size
and the checksums. Its runs, and so offsets and digests, are those of the original (they are made of
the decompressed body), and nothing else that a sequencer keeps of it depends on its bytes.

A frame that was *held* is another matter: its bytes are in the sequencer's state and count against
the bounds, so it is kept as it came. So is whatever was dropped, skipped or could not be read.
"""

from __future__ import annotations

import struct

import google_crc32c

from binlog.compression import decompress
from binlog.frame import FLAG_COMPRESSED, HEADER_BYTES, MAGIC

HEAD_BYTES = HEADER_BYTES - 8
"""Of a header without its two checksums, and with the stored size that of the body given back."""

BODY_BYTES_MAX = 64 * 1024 * 1024
"""Of a body that is kept decompressed; a log may have pinned more (`Params.body_bytes_max`)."""

_STORED = 124  # where the header keeps the body's size as stored, then as decompressed
_sizes = struct.Struct(">II").unpack_from
_crc, _extend = google_crc32c.value, google_crc32c.extend


def strip_frame(data: bytes) -> tuple[bytes, bytes] | None:
    """The head and the body of a frame that a sequencer has accepted; `restore_frame` is its pair.

    ``None``: it would not come back as it was, so it is to be kept as it is.
    """
    if len(data) < HEADER_BYTES or data[:4] != MAGIC or data[4] != 1:
        return None
    flags = data[5]
    stored_bytes, body_bytes = _sizes(data, _STORED)
    if body_bytes > BODY_BYTES_MAX:
        return None
    body: bytes | None = data[HEADER_BYTES:]
    if flags & FLAG_COMPRESSED:
        body = decompress(data[HEADER_BYTES:], body_bytes)
    if body is None or len(body) != body_bytes or stored_bytes != len(data) - HEADER_BYTES:
        return None
    size = data[_STORED + 4 : _STORED + 8]
    start = data[:5] + bytes((flags & ~FLAG_COMPRESSED,)) + data[6:8]
    return b"".join((start, data[16:_STORED], size, size, data[_STORED + 8 : HEADER_BYTES])), body


def restore_frame(head: bytes, body: bytes) -> bytes:
    """The uncompressed frame of a head and a body."""
    rest = b"".join((_crc(body).to_bytes(4, "big"), head[8:]))
    crc = _extend(_crc(head[:8]), rest)
    return b"".join((head[:8], crc.to_bytes(4, "big"), rest, body))
