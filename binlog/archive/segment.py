"""A segment file: a stretch of one partition's records, which says itself what it is.

Layout of version 1, integers big-endian::

    offset size
         0    4  magic "BLSG"
         4    1  format version
         5    3  zero
         8    4  CRC-32C of the 60 bytes from 12 on
        12   16  log id
        28   16  genesis hash
        44    4  timeline
        48    4  partition
        52    8  first offset
        60    4  part
        64    8  zero
        72       blocks, one after another, each a zstd frame (`binlog.archive.block`)
                 footer, msgpack, see `_Footer`: counts, places, end state, shards, block table
       -24    4  footer bytes
       -20    4  CRC-32C of the footer
       -16    8  bytes of the file
        -8    4  CRC-32C of the trailer's first 16 bytes
        -4    4  magic "GSLB"

Every byte is under a checksum: of the header, of the trailer, of the footer, and each block's, which
stands in the footer's block table. So the end of a file (one ranged read) tells what is in it, each
block is read alone, and nothing is decoded that is not what was written. Header and footer say the
same of log, partition and place, and the key says so a third time: bytes under another name are found.

For readers in other languages: docs/archive-format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import google_crc32c
import msgspec

from binlog.archive.keys import Place, parse_segment_key, segment_key
from binlog.archive.segment_info import BlockInfo, SegmentInfo
from binlog.errors import DamageError, MismatchError, UpgradeError
from binlog.log import Position, Shard
from binlog.partition import PARTITIONS_MAX
from binlog.standing import Checked

MAGIC, END_MAGIC = b"BLSG", b"GSLB"
SEGMENT_FORMAT = 1
TAIL_BYTES = 64 * 1024
"""Of a file's end, read at once: most footers are shorter."""
_HEADER = struct.Struct(">4sB3sI16s16sIIQIQ")
_TRAILER = struct.Struct(">IIQI4s")
HEADER_BYTES = _HEADER.size
TRAILER_BYTES = _TRAILER.size
FOOTER_BYTES_MAX = 256 * 1024 * 1024
"""A footer holds the sequencer's state, and that the frames held: 16 MiB, or a RESOLVE's multiple."""

SHARDS_MAX = 4096
"""That a segment tells of, and parents of each: those that one partition went through."""
SEGMENT_REMEDY = "restore the object from a copy, or another version of it"
BLOCKS_MAX = 64 * 1024
"""Of a segment: of at most 4 GiB, or what `Cutter.memory_bytes` says of so many."""
_HELD_MAX = 256 * PARTITIONS_MAX  # partitions that a segment's shards have together

_Place = tuple[str, str]  # shard and sequence number, in decimal: 56 digits


class LogOf(msgspec.Struct, frozen=True):
    """Which log a segment belongs to: ``log_id`` and ``genesis_hash`` in 16 bytes each."""

    log_id: bytes
    genesis_hash: bytes
    timeline: int = 0


class _Footer(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    log_id: bytes
    genesis_hash: bytes
    timeline: int
    partition: int
    first: int
    part: int
    last: int
    records: int
    foreign: int
    start: _Place
    end: _Place
    digest_before: bytes
    digest: bytes
    state: bytes
    arrival_first_ms: int
    arrival_last_ms: int
    raw_bytes: int
    # id, parents, and the partitions as ranges, both ends included
    shards: Annotated[
        list[
            tuple[
                str,
                Annotated[list[str], msgspec.Meta(max_length=SHARDS_MAX)],
                Annotated[list[tuple[int, int]], msgspec.Meta(max_length=PARTITIONS_MAX)],
            ]
        ],
        msgspec.Meta(max_length=SHARDS_MAX),
    ]
    # at, bytes, raw bytes, records, CRC-32C, first place, last place, offset
    blocks: Annotated[
        list[tuple[int, int, int, int, int, _Place, _Place, int]],
        msgspec.Meta(max_length=BLOCKS_MAX),
    ]


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(_Footer).decode


def encode_segment(info: SegmentInfo, blocks: Sequence[bytes], log: LogOf) -> bytes:
    """The file. ``info.bytes`` and ``info.key`` are not looked at."""
    header = encode_header(log, info.partition, info.place)
    footer = _encode(
        _Footer(
            format=SEGMENT_FORMAT,
            log_id=log.log_id,
            genesis_hash=log.genesis_hash,
            timeline=log.timeline,
            partition=info.partition,
            first=info.first,
            part=info.part,
            last=info.last,
            records=info.records,
            foreign=info.foreign,
            start=_packed(info.start),
            end=_packed(info.end.position),
            digest_before=info.digest_before,
            digest=info.end.digest,
            state=info.end.state,
            arrival_first_ms=info.arrival_first_ms,
            arrival_last_ms=info.arrival_last_ms,
            raw_bytes=info.raw_bytes,
            shards=[(s.id, list(s.parents), ranges_of(s.partitions)) for s in info.shards],
            blocks=[
                (
                    b.at,
                    b.bytes,
                    b.raw_bytes,
                    b.records,
                    b.crc,
                    _packed(b.first),
                    _packed(b.last),
                    b.offset,
                )
                for b in info.blocks
            ],
        )
    )
    size = HEADER_BYTES + sum(map(len, blocks)) + len(footer) + TRAILER_BYTES
    start = struct.pack(">IIQ", len(footer), google_crc32c.value(footer), size)
    trailer = start + google_crc32c.value(start).to_bytes(4, "big") + END_MAGIC
    return b"".join((header, *blocks, footer, trailer))


def encode_header(log: LogOf, partition: int, place: Place) -> bytes:
    """The first bytes of a segment."""
    rest = struct.pack(
        ">16s16sIIQIQ",
        log.log_id,
        log.genesis_hash,
        log.timeline,
        partition,
        place.first,
        place.part,
        0,
    )
    crc = google_crc32c.value(rest)
    return struct.pack(">4sB3sI", MAGIC, SEGMENT_FORMAT, bytes(3), crc) + rest


def footer_bytes_missing(tail: bytes, key: str) -> int:
    """How many bytes of a file's end are needed beyond ``tail``, its last ones.

    Raises:
        DamageError, UpgradeError: as `decode_info`.
    """
    footer_bytes, _, _ = _trailer(tail, key)
    return max(0, footer_bytes + TRAILER_BYTES - len(tail))


def _trailer(tail: bytes, key: str) -> tuple[int, int, int]:
    if len(tail) < TRAILER_BYTES:
        raise _damage("shorter than a segment's end", key)
    footer_bytes, crc, size, own_crc, magic = _TRAILER.unpack(tail[-TRAILER_BYTES:])
    if magic != END_MAGIC or google_crc32c.value(tail[-TRAILER_BYTES:-8]) != own_crc:
        raise _damage("its end is not a segment's: cut short, or changed", key)
    if not 0 < footer_bytes <= min(FOOTER_BYTES_MAX, size - HEADER_BYTES - TRAILER_BYTES):
        raise _damage(f"a footer of {footer_bytes} bytes", key)
    return footer_bytes, crc, size


def decode_info(tail: bytes, key: str, log: LogOf, *, size: int | None = None) -> SegmentInfo:
    """What a segment says, by the last bytes of its object, which hold the footer.

    ``size`` is the object's, where it is known.

    Raises:
        DamageError: these are not the bytes that an archiver wrote under that key.
        MismatchError: a segment of another log.
        UpgradeError: of a newer format.
    """
    footer_bytes, crc, file_bytes = _trailer(tail, key)
    if size is not None and size != file_bytes:
        raise _damage(f"{size} bytes long, and says {file_bytes}", key)
    footer = tail[-TRAILER_BYTES - footer_bytes : -TRAILER_BYTES]
    if len(footer) != footer_bytes or google_crc32c.value(footer) != crc:
        raise _damage("the checksum of its footer is wrong", key)
    try:
        loose = msgspec.msgpack.decode(footer, type=_Version)
        if loose.format > SEGMENT_FORMAT:
            raise newer(f"a segment of format {loose.format}", SEGMENT_FORMAT, key)
        found = _decode(footer)
        info = _info(found, key, file_bytes)
    except (msgspec.DecodeError, ValueError) as error:
        raise _damage(f"a footer that is none ({error})", key) from error
    if (found.log_id, found.genesis_hash, found.timeline) != (
        log.log_id,
        log.genesis_hash,
        log.timeline,
    ):
        raise _others_segment(found.log_id.hex(), log.log_id.hex(), key)
    _check(info, key, HEADER_BYTES, file_bytes - footer_bytes - TRAILER_BYTES)
    return info


class _Version(msgspec.Struct):
    format: int


def _info(found: _Footer, key: str, size: int) -> SegmentInfo:
    return SegmentInfo(
        key=key,
        partition=found.partition,
        first=found.first,
        part=found.part,
        last=found.last,
        records=found.records,
        events=found.last - found.first + 1,
        foreign=found.foreign,
        start=_position(found.start),
        end=Checked(_position(found.end), found.last, found.last, found.digest, found.state),
        digest_before=found.digest_before,
        arrival_first_ms=found.arrival_first_ms,
        arrival_last_ms=found.arrival_last_ms,
        bytes=size,
        raw_bytes=found.raw_bytes,
        shards=shards_of(found.shards),
        blocks=tuple(
            BlockInfo(at, held, raw, records, crc, _position(first), _position(last), offset)
            for at, held, raw, records, crc, first, last, offset in found.blocks
        ),
        timeline=found.timeline,
    )


def _check(info: SegmentInfo, key: str, begin: int, end: int) -> None:
    """That what it says can be so, and that it stands where it belongs."""
    expected = segment_key(info.partition, info.place)
    if key != expected:
        raise _damage(f"it is the segment {expected}, under another name", key)
    at, offset = begin, info.first - 1
    for block in info.blocks:
        if block.at != at or block.bytes <= 0 or block.records <= 0 or block.offset < offset:
            raise _damage("its block table has a gap", key)
        at, offset = at + block.bytes, block.offset
    if at != end or offset != info.last or info.last < info.first - 1 or not info.blocks:
        raise _damage("its block table does not fit it", key)
    if sum(block.records for block in info.blocks) != info.records:
        raise _damage("its counts do not add up", key)
    if info.end.position != info.blocks[-1].last:
        raise _damage("it does not end with its last record", key)


def check_header(head: bytes, key: str, log: LogOf) -> None:
    """That the file begins as the segment of that key does.

    Raises:
        DamageError, MismatchError, UpgradeError: as `decode_info`.
    """
    place = parse_segment_key(key)
    if place is None:
        raise _damage("this is no segment's name", key)
    if len(head) < HEADER_BYTES or head[:4] != MAGIC:
        raise _damage("it does not begin as a segment does", key)
    if head[4] > SEGMENT_FORMAT:
        raise newer(f"a segment of format {head[4]}", SEGMENT_FORMAT, key)
    expected = encode_header(log, *place)
    if head[:HEADER_BYTES] != expected:
        if google_crc32c.value(head[12:HEADER_BYTES]) == int.from_bytes(head[8:12], "big") and (
            head[12:48] != expected[12:48]
        ):
            raise _others_segment(head[12:28].hex(), log.log_id.hex(), key)
        raise _damage("the checksum of its header is wrong, or it is another segment's", key)


def _others_segment(found: str, expected: str, key: str) -> MismatchError:
    """A segment that somebody has put into the archive of another log."""
    return MismatchError(
        f"a segment of the log {found}, in an archive of {expected}", key, SEGMENT_REMEDY, key=key
    )


def another_log(found: str, expected: str, where: str) -> MismatchError:
    """The error for what belongs to another log."""
    return MismatchError(
        f"of the log {found}, not of {expected}", where, "give each log an archive of its own"
    )


def newer(what: str, known: int, where: str) -> UpgradeError:
    """The error for a format from the future."""
    return UpgradeError(f"{what}, this code reads up to {known}", where, "upgrade binlog")


def damaged(what: str, key: str, **details: object) -> DamageError:
    """The error for bytes of a segment that are not what was written."""
    return DamageError(what, key, SEGMENT_REMEDY, key=key, **details)


@contextmanager
def named(archive: str) -> Iterator[None]:
    """Errors of a segment name its key alone; whoever reads them may have several archives."""
    of = f" of {archive}"
    try:
        yield
    except (DamageError, MismatchError, UpgradeError) as error:
        if error.where.endswith(of):
            raise
        whole = type(error)(error.what, f"{error.where}{of}", error.do, **error.details)
        raise whole from error


_damage = damaged


def _packed(position: Position) -> _Place:
    return position.shard, str(position.sequence)


def _position(place: _Place) -> Position:
    return Position(place[0], int(place[1]))


def ranges_of(partitions: frozenset[int]) -> list[tuple[int, int]]:
    """Partitions as ranges, both ends included, in order: a shard mostly is one."""
    ranges: list[tuple[int, int]] = []
    for partition in sorted(partitions):
        if ranges and ranges[-1][1] == partition - 1:
            ranges[-1] = ranges[-1][0], partition
        else:
            ranges.append((partition, partition))
    return ranges


def shards_of(
    told: Sequence[tuple[str, Sequence[str], Sequence[tuple[int, int]]]],
) -> tuple[Shard, ...]:
    """The shards that are told so: id, parents, ranges of partitions.

    Raises:
        ValueError: they have more partitions than shards of a log can have, or what is read is to fill.
    """
    left, found = _HELD_MAX, []
    for shard, parents, ranges in told:
        left -= sum(max(0, last - first + 1) for first, last in ranges)
        if left < 0 or any(first < 0 or last >= PARTITIONS_MAX for first, last in ranges):
            raise ValueError("shards of more partitions than a log can have")
        held = frozenset(p for first, last in ranges for p in range(first, last + 1))
        found.append(Shard(shard, tuple(parents), held))
    return tuple(found)
