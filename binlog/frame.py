"""The frame: what one record of the log carries, consecutive envelopes of one session.

Layout of version 1, integers big-endian::

    offset size
         0    4  magic "BLFR"
         4    1  format version
         5    1  flags: 1 body is zstd, 2 session asks for the id window, 4 RESOLVE (alone,
                 uncompressed), 8 genesis
         6    2  header bytes (136)
         8    4  CRC-32C of the header, these four bytes left out
        12    4  CRC-32C of the body as stored (under the header's, so all is covered)
        16   16  log id
        32   16  genesis hash
        48   16  session family
        64    8  session generation, from 1
        72    8  born, ms of the log's time (0: not yet stamped, never in a log)
        80    8  first number, from 1
        88    8  base: lowest number still unacknowledged when the timeline began (0: none)
        96    8  predecessor's generation (0: none)
       104    8  predecessor's last acknowledged number in this partition
       112    8  predecessor's born
       120    4  envelopes
       124    4  body bytes as stored
       128    4  body bytes when decompressed
       132    2  partition
       134    2  zero
       136       body

The body holds the envelopes by column, see `binlog.columns`.

A genesis frame's body is the genesis record itself, and it carries no envelope.

For writers in other languages, with the rules that go with it: docs/frame-format.md.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import google_crc32c
import msgspec

from binlog.columns import FrameError
from binlog.compression import compress, decompress
from binlog.errors import UpgradeError
from binlog.params import FRAME_VERSION, Params

MAGIC = b"BLFR"
FLAG_COMPRESSED = 1
FLAG_ID_WINDOW = 2
FLAG_RESOLVE = 4
FLAG_GENESIS = 8
_FLAGS_KNOWN = FLAG_COMPRESSED | FLAG_ID_WINDOW | FLAG_RESOLVE | FLAG_GENESIS

# Below, a reader spends more on making a decompressor (8 us) than on the events themselves, and a
# commit of 500 over 64 partitions makes frames of some 1.6 KB. Larger ones shrink fivefold.
COMPRESS_FROM_BYTES = 4_096

# The sequencer keeps the number after the last one, which has to fit its state's integers.
NUMBER_MAX = (1 << 63) - 1

_HEADER = struct.Struct(">4sBBHII16s16s16sQQQQQQQIIIHH")
_HEAD = struct.Struct(">4sBBHI")  # up to and with the header's checksum
_START, _REST = struct.Struct(">4sBBH"), struct.Struct(">I16s16s16sQQQQQQQIIIHH")  # without it
HEADER_BYTES = _HEADER.size


class Session(NamedTuple):
    """One process life's numbering: 16 random bytes, and how many-th it is of that life."""

    family: bytes
    generation: int

    def __str__(self) -> str:
        return f"{self.family.hex()}.{self.generation}"


class Predecessor(NamedTuple):
    """The generation that a first frame waits for, complete up to ``number`` (P7)."""

    generation: int
    number: int
    born_ms: int


_NO_PREDECESSOR = Predecessor(0, 0, 0)


class Header(msgspec.Struct, frozen=True, gc=False):
    """A frame's header, without what only the codec needs."""

    session: Session
    born_ms: int
    partition: int
    first: int
    count: int
    log_id: bytes
    genesis_hash: bytes
    base: int = 0
    predecessor: Predecessor | None = None
    id_window: bool = False
    resolve: bool = False
    genesis: bool = False
    compressed: bool = False
    body_bytes: int = 0
    body_crc: int = 0
    version: int = FRAME_VERSION

    @property
    def last(self) -> int:
        return self.first + self.count - 1


def encode_frame(header: Header, body: bytes) -> bytes:
    """The record's bytes; compresses the body when that pays. A RESOLVE is never compressed.

    ``compressed``, ``body_bytes`` and ``body_crc`` of ``header`` are not looked at.
    """
    stored, flags = body, 0
    if header.id_window or header.resolve or header.genesis:
        flags = (
            FLAG_ID_WINDOW * header.id_window
            | FLAG_RESOLVE * header.resolve
            | FLAG_GENESIS * header.genesis
        )
    if len(body) >= COMPRESS_FROM_BYTES and not flags & (FLAG_RESOLVE | FLAG_GENESIS):
        packed = compress(body)
        if len(packed) < len(body):
            stored = packed
            flags |= FLAG_COMPRESSED
    family, generation = header.session
    before_generation, before_number, before_born = header.predecessor or _NO_PREDECESSOR
    start = _START.pack(MAGIC, header.version, flags, HEADER_BYTES)
    rest = _REST.pack(
        google_crc32c.value(stored),
        header.log_id,
        header.genesis_hash,
        family,
        generation,
        header.born_ms,
        header.first,
        header.base,
        before_generation,
        before_number,
        before_born,
        header.count,
        len(stored),
        len(body),
        header.partition,
        0,
    )
    crc = google_crc32c.extend(google_crc32c.value(start), rest)
    return b"".join((start, crc.to_bytes(4, "big"), rest, stored))


def _header_crc(head: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.value(head[:8]), head[12:HEADER_BYTES]))


def stamp_born(frame: bytes, born_ms: int) -> bytes:
    """The frame with its ``born`` set, as a log does for a session's first append (D1)."""
    rest = frame[12:72] + born_ms.to_bytes(8, "big") + frame[80:HEADER_BYTES]
    crc = google_crc32c.extend(google_crc32c.value(frame[:8]), rest)
    return b"".join((frame[:8], crc.to_bytes(4, "big"), rest, frame[HEADER_BYTES:]))


def decode_header(data: bytes, *, version_allowed: int = FRAME_VERSION) -> Header:
    """The header of a record, its own and its body's checksums verified; the body untouched.

    ``version_allowed`` is what the log's PARAMS allow now.

    Raises:
        FrameError: no frame, a checksum or a length is wrong, or a version above the allowed.
        UpgradeError: a version that is allowed, and that this code cannot read.
    """
    if len(data) < _HEAD.size or data[:4] != MAGIC:
        raise FrameError("not a frame (no magic)")
    version = data[4]
    if version > version_allowed or version == 0:
        raise FrameError(f"frame version {version}, this log allows up to {version_allowed}")
    if version > FRAME_VERSION:
        raise UpgradeError(
            f"frame version {version}, this code reads up to {FRAME_VERSION}", do="upgrade binlog"
        )
    if len(data) < HEADER_BYTES:
        raise FrameError(f"a frame cut short in its header ({len(data)} bytes)")
    (
        _,
        _,
        flags,
        header_bytes,
        header_crc,
        body_crc,
        log_id,
        genesis,
        family,
        generation,
        born,
        first,
        base,
        before_generation,
        before_number,
        before_born,
        count,
        stored_bytes,
        body_bytes,
        partition,
        zero,
    ) = _HEADER.unpack_from(data)
    if header_crc != _header_crc(data):
        raise FrameError("the header's checksum is wrong")
    if header_bytes != HEADER_BYTES or zero or flags & ~_FLAGS_KNOWN:
        raise FrameError(f"header of {header_bytes} bytes, flags {flags}: not of version 1")
    if stored_bytes != len(data) - HEADER_BYTES:
        raise FrameError(f"body of {len(data) - HEADER_BYTES} bytes, header says {stored_bytes}")
    if body_crc != google_crc32c.value(data[HEADER_BYTES:]):
        raise FrameError("the body's checksum is wrong")
    return Header(
        session=Session(family, generation),
        born_ms=born,
        partition=partition,
        first=first,
        count=count,
        log_id=log_id,
        genesis_hash=genesis,
        base=base,
        predecessor=Predecessor(before_generation, before_number, before_born)
        if before_generation
        else None,
        id_window=bool(flags & FLAG_ID_WINDOW),
        resolve=bool(flags & FLAG_RESOLVE),
        genesis=bool(flags & FLAG_GENESIS),
        compressed=bool(flags & FLAG_COMPRESSED),
        body_bytes=body_bytes,
        body_crc=body_crc,
        version=version,
    )


def check_header(
    header: Header, params: Params, ours: bytes, hashed: bytes, partition: int
) -> None:
    """That the frame belongs where it was found and keeps the pinned bounds.

    ``ours`` is the log's id in 16 bytes, ``hashed`` its genesis hash.

    Raises:
        FrameError: another log's, other parameters', another partition's, or a broken bound.
    """
    if header.log_id != ours:
        raise FrameError(f"log id {header.log_id.hex()}, this log is {ours.hex()}")
    if header.genesis_hash != hashed:
        raise FrameError(f"genesis hash {header.genesis_hash.hex()}, this log's is {hashed.hex()}")
    if header.partition != partition:
        raise FrameError(f"written for partition {header.partition}")
    if header.body_bytes > params.body_bytes_max:
        raise FrameError(f"body of {header.body_bytes} bytes, limit {params.body_bytes_max}")
    if header.genesis:
        return
    if not 1 <= header.count <= params.frame_events_max:
        raise FrameError(f"{header.count} envelopes, limit 1 to {params.frame_events_max}")
    if header.first < 1 or header.last > NUMBER_MAX or header.session.generation < 1:
        raise FrameError(f"number {header.first}, generation {header.session.generation}")
    if header.resolve and (
        header.compressed
        or header.id_window
        or header.predecessor
        or (header.count, header.first, header.version) != (1, 1, 1)
    ):
        raise FrameError("a RESOLVE that does not travel alone, plain and as number 1")


def decode_body(data: bytes, header: Header) -> bytes:
    """The body, decompressed within the size that the (checked) header names.

    Raises:
        FrameError: no zstd, or another size than the header says.
    """
    stored = data[HEADER_BYTES:]
    body = decompress(stored, header.body_bytes) if header.compressed else stored
    if body is None or len(body) != header.body_bytes:
        raise FrameError(f"the body does not decompress to its {header.body_bytes} bytes")
    return body
