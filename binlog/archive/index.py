"""Index pages: `SEGMENTS_PER_PAGE` segments of a chain in short, so that nobody reads each for it.

A page is named for its first segment, and holds that one and the next ones; the page after it begins
with the segment after its last. So pages, too, are a pure function of the chain: whoever makes one
makes the same bytes, and writes them if nobody has.

Layout, integers big-endian::

    offset size
         0    4  magic "BLIX"
         4    1  format version
         5    3  zero
         8    4  CRC-32C of all from 12 on
        12    4  bytes of the rest when decompressed
        16   16  log id
        32   16  genesis hash
        48    4  timeline
        52    4  partition
        56       a zstd frame of msgpack: a list of segments, see `_Line`
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise

import google_crc32c
import msgspec

from binlog.archive.keys import Place, index_key
from binlog.archive.segment import LogOf, another_log, newer
from binlog.archive.segment_info import Outline
from binlog.compression import compress, decompress
from binlog.errors import DamageError
from binlog.log import Position
from binlog.objects.objects import Objects

MAGIC = b"BLIX"
INDEX_FORMAT = 1
SEGMENTS_PER_PAGE = 256
_RAW_BYTES_MAX = 4 * 1024 * 1024
_START = struct.Struct(">4sB3sI")
_REST = struct.Struct(">I16s16sII")
_HEADER_BYTES = _START.size + _REST.size

_Place = tuple[str, str]


class _Line(msgspec.Struct, array_like=True, frozen=True, gc=False):
    first: int
    part: int
    last: int
    records: int
    foreign: int
    start: _Place
    end: _Place
    digest_before: bytes
    digest: bytes
    arrival_first_ms: int
    arrival_last_ms: int
    size: int
    raw_bytes: int


class IndexPage(msgspec.Struct, frozen=True):
    """A stretch of a chain, never empty."""

    outlines: tuple[Outline, ...]

    @property
    def end(self) -> Outline:
        """Its last segment."""
        return self.outlines[-1]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Line]).decode


def encode_page(outlines: Sequence[Outline], log: LogOf) -> bytes:
    """The page of these segments, which follow each other."""
    raw = _encode(
        [
            _Line(
                o.first,
                o.part,
                o.last,
                o.records,
                o.foreign,
                (o.start.shard, str(o.start.sequence)),
                (o.end.shard, str(o.end.sequence)),
                o.digest_before,
                o.digest,
                o.arrival_first_ms,
                o.arrival_last_ms,
                o.bytes,
                o.raw_bytes,
            )
            for o in outlines
        ]
    )
    partition = outlines[0].partition
    rest = _REST.pack(len(raw), log.log_id, log.genesis_hash, log.timeline, partition)
    rest += compress(raw)
    return _START.pack(MAGIC, INDEX_FORMAT, bytes(3), google_crc32c.value(rest)) + rest


def decode_page(objects: Objects, log: LogOf, partition: int, place: Place) -> IndexPage:
    """The page whose first segment stands at ``place``.

    Raises:
        DamageError: there is none, or not what was written.
        MismatchError, UpgradeError: of another log, of a newer format.
        StorageError, RefusedError: the storage's.
    """
    key = index_key(partition, place)
    data = objects.get(key, 0, _RAW_BYTES_MAX)
    if data is None or len(data) < _HEADER_BYTES or data[:4] != MAGIC:
        raise _damage("no index page", key)
    if data[4] > INDEX_FORMAT:
        raise newer(f"an index page of format {data[4]}", INDEX_FORMAT, key)
    if google_crc32c.value(data[_START.size :]) != int.from_bytes(data[8:12], "big") or (
        data[:8] != _START.pack(MAGIC, data[4], bytes(3), 0)[:8]
    ):
        raise _damage("the checksum of an index page is wrong", key)
    raw_bytes, log_id, hashed, timeline, found = _REST.unpack_from(data, _START.size)
    if (log_id, hashed, timeline) != (log.log_id, log.genesis_hash, log.timeline):
        raise another_log(log_id.hex(), log.log_id.hex(), key)
    raw = decompress(data[_HEADER_BYTES:], min(raw_bytes, _RAW_BYTES_MAX))
    try:
        lines = _decode(raw or b"")
        outlines = tuple(_outline(partition, line) for line in lines)
    except (msgspec.DecodeError, ValueError) as error:
        raise _damage(f"no index page ({error})", key) from error
    follows = all(a.next_place == b.place for a, b in pairwise(outlines))
    if found != partition or not outlines or outlines[0].place != place or not follows:
        raise _damage("an index page of other segments", key)
    return IndexPage(outlines)


def _outline(partition: int, line: _Line) -> Outline:
    return Outline(
        partition,
        line.first,
        line.part,
        line.last,
        line.records,
        line.foreign,
        Position(line.start[0], int(line.start[1])),
        Position(line.end[0], int(line.end[1])),
        line.digest_before,
        line.digest,
        line.arrival_first_ms,
        line.arrival_last_ms,
        line.size,
        line.raw_bytes,
    )


def _damage(what: str, key: str) -> DamageError:
    return DamageError(what, key, "delete it: the next binlog archive makes it anew", key=key)
