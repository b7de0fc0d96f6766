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

The body is a msgpack array of columns, not of envelopes: a reader that only sequences looks at
none of them, and one that folds touches just the columns it needs::

    kinds   [[type, schema version, table], ...]   at most 256
    index   binary, one byte an envelope: its kind
    ids     [text, ...]
    keys    [binary, ...]          canonical bytes
    datas   [binary | nil, ...]    canonical bytes
    times   [int, ...]             ms
    metas   nil | [binary | nil, ...]
    expects nil | [int | nil, ...]

A genesis frame's body is the genesis record itself, and it carries no envelope.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import google_crc32c
import msgspec

from binlog.compression import compress, decompress
from binlog.envelope import ID_BYTES_MAX, TYPE_BYTES_MAX, Envelope
from binlog.errors import RefusedError, UpgradeError
from binlog.params import FRAME_VERSION, Params
from binlog.values import DEPTH_MAX, decode_value, encode_value

MAGIC = b"BLFR"
FLAG_COMPRESSED = 1
FLAG_ID_WINDOW = 2
FLAG_RESOLVE = 4
FLAG_GENESIS = 8
_FLAGS_KNOWN = FLAG_COMPRESSED | FLAG_ID_WINDOW | FLAG_RESOLVE | FLAG_GENESIS

KINDS_MAX = 256
KEY_BYTES_MAX = 2_048 + 1_024 + 64  # both key attributes' values, names apart; publish is exact
COMPRESS_FROM_BYTES = 512  # below, zstd costs more than it saves (scripts/bench)

_HEADER = struct.Struct(">4sBBHII16s16s16sQQQQQQQIIIHH")
_HEAD = struct.Struct(">4sBBHI")  # up to and with the header's checksum
HEADER_BYTES = _HEADER.size
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}", re.ASCII)
# All bytes but those that open a msgpack map or array: what is left when they are deleted counts
# the containers, an upper bound of the depth (text beyond ASCII counts too, hence only a bound).
_NO_CONTAINER = bytes(b for b in range(256) if not (0x80 <= b <= 0x9F or 0xDC <= b <= 0xDF))


class FrameError(ValueError):
    """Why a record that should be ours is not a frame of this log; halts its partition (S7)."""


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


class Columns(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The envelopes of a frame by column; all but ``kinds`` have one entry an envelope."""

    kinds: list[tuple[str, int, str]]
    index: bytes
    ids: list[str]
    keys: list[bytes]
    datas: list[bytes | None]
    times: list[int]
    metas: list[bytes | None] | None = None
    expects: list[int | None] | None = None

    def __len__(self) -> int:
        return len(self.index)

    def envelopes(self) -> Iterator[Envelope]:
        """The envelopes, one object each: for people and slow paths."""
        nones: list[None] = [None] * len(self.index)
        for kind, *rest in zip(
            self.index,
            self.ids,
            self.keys,
            self.datas,
            self.metas or nones,
            self.expects or nones,
            self.times,
            strict=True,
        ):
            kind_type, schema, table = self.kinds[kind]
            yield Envelope(rest[0], kind_type, schema, table, *rest[1:])

    def take(self, indexes: Sequence[int]) -> Columns:
        """Only the envelopes at ``indexes``, in that order; kinds stay as they are."""
        return Columns(
            self.kinds,
            bytes([self.index[i] for i in indexes]),
            [self.ids[i] for i in indexes],
            [self.keys[i] for i in indexes],
            [self.datas[i] for i in indexes],
            [self.times[i] for i in indexes],
            None if self.metas is None else [self.metas[i] for i in indexes],
            None if self.expects is None else [self.expects[i] for i in indexes],
        )


_encode_columns = msgspec.msgpack.Encoder().encode
_decode_columns = msgspec.msgpack.Decoder(Columns).decode


def columns_of(envelopes: Sequence[Envelope]) -> Columns:
    """The columns that hold ``envelopes``.

    Raises:
        RefusedError: more than `KINDS_MAX` different (type, schema, table).
    """
    numbers: dict[tuple[str, int, str], int] = {}
    index = [numbers.setdefault((e.type, e.schema, e.table), len(numbers)) for e in envelopes]
    if len(numbers) > KINDS_MAX:
        raise RefusedError(f"{len(numbers)} kinds of event in one frame, the limit is {KINDS_MAX}")
    metas = [e.meta for e in envelopes]
    expects = [e.expect for e in envelopes]
    return Columns(
        list(numbers),
        bytes(index),
        [e.id for e in envelopes],
        [e.key for e in envelopes],
        [e.data for e in envelopes],
        [e.time_ms for e in envelopes],
        metas if any(m is not None for m in metas) else None,
        expects if any(x is not None for x in expects) else None,
    )


def encode_body(columns: Columns) -> bytes:
    """The body of a frame, not compressed."""
    return _encode_columns(columns)


def encode_frame(header: Header, body: bytes) -> bytes:
    """The record's bytes; compresses the body when that pays. A RESOLVE is never compressed.

    ``compressed``, ``body_bytes`` and ``body_crc`` of ``header`` are not looked at.
    """
    stored, flags = body, 0
    if len(body) >= COMPRESS_FROM_BYTES and not header.resolve and not header.genesis:
        packed = compress(body)
        if len(packed) < len(body):
            stored, flags = packed, FLAG_COMPRESSED
    flags |= (
        FLAG_ID_WINDOW * header.id_window
        | FLAG_RESOLVE * header.resolve
        | FLAG_GENESIS * header.genesis
    )
    predecessor = header.predecessor or Predecessor(0, 0, 0)
    head = _HEADER.pack(
        MAGIC,
        header.version,
        flags,
        HEADER_BYTES,
        0,
        google_crc32c.value(stored),
        header.log_id,
        header.genesis_hash,
        header.session.family,
        header.session.generation,
        header.born_ms,
        header.first,
        header.base,
        *predecessor,
        header.count,
        len(stored),
        len(body),
        header.partition,
        0,
    )
    return _checksummed(head) + stored


def _checksummed(head: bytes) -> bytes:
    return head[:8] + _header_crc(head).to_bytes(4, "big") + head[12:]


def _header_crc(head: bytes) -> int:
    return google_crc32c.extend(google_crc32c.value(head[:8]), head[12:HEADER_BYTES])


def stamp_born(frame: bytes, born_ms: int) -> bytes:
    """The frame with its ``born`` set, as a log does for a session's first append (D1)."""
    head = frame[:72] + born_ms.to_bytes(8, "big") + frame[80:HEADER_BYTES]
    return _checksummed(head) + frame[HEADER_BYTES:]


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


def check_header(header: Header, params: Params, ours: bytes, hashed: bytes, partition: int) -> None:
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
    if header.first < 1 or header.session.generation < 1:
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


def decode_columns(body: bytes, count: int) -> Columns:
    """The columns of a body, with every bound checked that concerns whole frames.

    Raises:
        FrameError: no columns, of other lengths than ``count``, or a bound is broken.
    """
    try:
        columns = _decode_columns(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FrameError(f"the body is no set of columns: {error}") from error
    lengths = {
        len(column)
        for column in (
            columns.index,
            columns.ids,
            columns.keys,
            columns.datas,
            columns.times,
            columns.metas,
            columns.expects,
        )
        if column is not None
    }
    if lengths != {count}:
        raise FrameError(f"columns of {sorted(lengths)} entries, the header says {count}")
    if len(columns.kinds) > KINDS_MAX or max(columns.index) >= len(columns.kinds):
        raise FrameError("an envelope's kind is not in the frame's table")
    for kind in columns.kinds:
        _check_kind(kind)
    if max(map(len, columns.ids)) > ID_BYTES_MAX or not all(columns.ids):
        raise FrameError(f"an id that is empty or above {ID_BYTES_MAX} characters")
    if max(map(len, columns.keys)) > KEY_BYTES_MAX:
        raise FrameError(f"a key above {KEY_BYTES_MAX} bytes")
    _check_depth(body, columns)
    return columns


@lru_cache(maxsize=4_096)
def _check_kind(kind: tuple[str, int, str]) -> None:
    kind_type, schema, table = kind
    if not kind_type or len(kind_type.encode()) > TYPE_BYTES_MAX or schema < 1:
        raise FrameError(f"event type {kind_type[:40]!r}, schema version {schema}")
    if table and not is_table_name(table):
        raise FrameError(f"table name {table[:40]!r}")


def is_table_name(name: str) -> bool:
    """Whether DynamoDB would take it: 3 to 255 of A-Z a-z 0-9 _ . -"""
    return _TABLE.fullmatch(name) is not None


def _check_depth(body: bytes, columns: Columns) -> None:
    containers = len(body.translate(None, _NO_CONTAINER))
    if containers <= DEPTH_MAX + 2 * len(columns):
        # One map each for key and data, the rest together no deeper than the limit.
        return
    for column in (columns.keys, columns.datas, columns.metas or ()):
        for data in column:
            if data is not None and len(data.translate(None, _NO_CONTAINER)) > DEPTH_MAX:
                try:
                    # Bounded: msgspec itself refuses to recurse without end.
                    encode_value(decode_value(data), outer=2)
                except Exception as error:
                    raise FrameError(f"a value that no item can hold: {error}") from error
