"""A part: an object that holds rows of a snapshot, or letters, rejections, foreign records.

::

    BLOGSNP1                      8 bytes
    sections                      each a zstd frame, one behind the other
    index                         JSON, see `Index`: of each section where it is, how many records of
                                  which partitions it has, and its SHA-256
    u32 length of the index, BLOGSNPE    12 bytes, big-endian

A section holds records of neighbouring partitions, so that who wants some of them reads no more, as a
msgpack array of arrays, rows sorted by key::

    rows         [key, version, partition, data, parked, tail]     data: nil for a tombstone
    letters      [table, partition, key, version, alone, id, type, reason, event]
    rejections   [partition, offset, table, key, id, expected, found]
    foreign      [shard, sequence as text, partition key, arrival ms, data]
    relayed      [shard, sequence as text]

A part of rows is a stretch of the scan of one segment of a table: ``through`` says where the scan goes
on, nil at its end. So the parts of a segment are a chain, each next key is known, and whoever goes on
with a snapshot that was interrupted, or takes it beside somebody else, goes on at the end of the chain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from struct import Struct
from typing import Any

import msgspec

from appliers.digest import TableDigest
from appliers.item import Row
from binlog.compression import compress, decompress
from binlog.objects.objects import Objects
from binlog.vector import Vector, offset_of
from snapshots.snapshot_manifest import Part, damaged, part_key

HEAD = b"BLOGSNP1"
END = b"BLOGSNPE"
SECTION_BYTES = 256 * 1024
"""Raw, from which on a section ends with its partition."""
SECTION_BYTES_MAX = 4 * 1024 * 1024  # raw, at which it ends in any case, but for its last record
_length = Struct(">I")
_TRAILER_BYTES = _length.size + len(END)
_RECORD_BYTES = 24  # what one takes beside its bytes

Record = tuple[Any, ...]
Keyed = tuple[bytes, Row]


class Section(msgspec.Struct, frozen=True):
    """A stretch of a part."""

    start: int  # byte in the object
    bytes: int
    raw: int  # decompressed
    rows: int
    first: int  # lowest and highest partition, inclusive
    last: int
    sha256: str  # of the bytes as stored


class Index(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a part says of itself."""

    format: int
    id: str  # the snapshot's
    kind: str
    sections: tuple[Section, ...]
    through: bytes | None = None
    table: str = ""
    # Of rows alone:
    items: int = 0
    tombstones: int = 0
    parked: int = 0
    digest: str = ""  # of these rows, see `appliers.digest`; those of a table's parts add up
    reach: Vector = {}  # the highest offset of each partition, tails included, as it was read
    waiting: tuple[tuple[int, bytes, int, int], ...] = ()
    """Partition, key, version and tail of those parked."""


_encode_index = msgspec.json.Encoder().encode
_decode_index = msgspec.json.Decoder(Index).decode
_encode_records = msgspec.msgpack.Encoder().encode
_decode_records = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode


# -- writing -------------------------------------------------------------------------------------


def sections_of(
    records: Sequence[tuple[int, int, Record]],
) -> Iterator[tuple[int, int, list[Record]]]:
    """Records with their partition and size, in order: which go into one section."""
    some: list[Record] = []
    first, last, before, size = 0, 0, 0, 0
    for partition, size_bytes, record in records:
        if some and size >= (SECTION_BYTES if partition != before else SECTION_BYTES_MAX):
            yield first, last, some
            some, size = [], 0
        first = min(first, partition) if some else partition
        last = max(last, partition) if some else partition
        some.append(record)
        before, size = partition, size + size_bytes + _RECORD_BYTES
    if some:
        yield first, last, some


def pack(
    index: Index, records: Sequence[tuple[int, int, Record]], key: str
) -> tuple[bytes, Index, Part]:
    """The bytes of a part, its index with the sections, and what a manifest says of it."""
    chunks = [HEAD]
    at = len(HEAD)
    sections = []
    for first, last, some in sections_of(records):
        raw = _encode_records(some)
        packed = compress(raw)
        digest = sha256(packed).hexdigest()
        sections.append(Section(at, len(packed), len(raw), len(some), first, last, digest))
        chunks.append(packed)
        at += len(packed)
    index = msgspec.structs.replace(index, sections=tuple(sections))
    text = _encode_index(index)
    data = b"".join([*chunks, text, _length.pack(len(text)), END])
    return data, index, part_of(index, key, size=len(data), start=at, text=text)


def part_of(index: Index, key: str, *, size: int, start: int, text: bytes) -> Part:
    """What a manifest says of a part."""
    return Part(
        key=key,
        kind=index.kind,
        table=index.table,
        rows=sum(section.rows for section in index.sections),
        first=min((section.first for section in index.sections), default=0),
        last=max((section.last for section in index.sections), default=-1),
        bytes=size,
        raw_bytes=sum(section.raw for section in index.sections),
        index=start,
        sha256=sha256(text).hexdigest(),
    )


def pack_rows(
    index: Index, rows: Sequence[tuple[bytes, Row]], name: str, *, reach: Vector
) -> tuple[bytes, Index, Part]:
    """A part of rows, with the counts and the digest that are its index's."""
    ordered = sorted(rows, key=lambda each: (each[1].partition, each[0]))
    digest = TableDigest(index.table).add(ordered)
    index = msgspec.structs.replace(
        index,
        items=digest.items,
        tombstones=digest.tombstones,
        parked=digest.parked,
        digest=digest.hexdigest(),
        reach=reach,
        waiting=tuple((r.partition, k, r.version, r.tail) for k, r in ordered if r.parked),
    )
    return pack(
        index,
        [
            (
                row.partition,
                len(key) + len(row.data or b""),
                (key, row.version, row.partition, row.data, row.parked, row.tail),
            )
            for key, row in ordered
        ],
        name,
    )


def reach_of(rows: Sequence[Keyed], reach: Vector) -> Vector:
    """``reach``, carried on by the versions and tails of ``rows``."""
    for _, row in rows:
        offset = offset_of(max(row.version, row.tail))
        if offset > reach.get(row.partition, 0):
            reach[row.partition] = offset
    return reach


# -- reading -------------------------------------------------------------------------------------


def read_index(objects: Objects, key: str, id_: str) -> tuple[Index, Part] | None:
    """What stands at ``key``, of which nothing is known; ``None``: nothing.

    Raises:
        DamageError: it is no part of the snapshot.
    """
    tail = objects.get(key, -64 * 1024)
    if tail is None:
        return None
    where = f"{objects.name}/{key}"
    size = _size(tail, where)
    if size + _TRAILER_BYTES > len(tail):
        tail = objects.get(key, -(size + _TRAILER_BYTES)) or b""
        if _size(tail, where) != size:
            raise damaged("it was changed while it was read", where)
    text = tail[len(tail) - _TRAILER_BYTES - size : len(tail) - _TRAILER_BYTES]
    index = _index(text, where)
    if index.id != id_:
        raise damaged(f"it is of snapshot {index.id}", where)
    start = max((s.start + s.bytes for s in index.sections), default=len(HEAD))
    return index, part_of(index, key, size=start + size + _TRAILER_BYTES, start=start, text=text)


def _size(tail: bytes, where: str) -> int:
    if not tail.endswith(END) or len(tail) < _TRAILER_BYTES:
        raise damaged("it does not end as a part does", where)
    (size,) = _length.unpack(tail[-_TRAILER_BYTES : -len(END)])
    return int(size)


def _index(text: bytes, where: str) -> Index:
    try:
        return _decode_index(text)
    except (msgspec.DecodeError, ValueError) as error:
        raise damaged(f"its index cannot be read: {error}", where) from error


def index_of(objects: Objects, part: Part) -> Index:
    """The index of a part, verified.

    Raises:
        DamageError: the object is missing, or not what was written.
    """
    where = f"{objects.name}/{part.key}"
    data = objects.get(part.key, part.index, part.bytes - part.index)
    if data is None:
        raise damaged("a part is missing", where)
    return _verified_index(data, part, where)


def _verified_index(data: bytes, part: Part, where: str) -> Index:
    text = data[:-_TRAILER_BYTES]
    if (
        len(data) != part.bytes - part.index
        or sha256(text).hexdigest() != part.sha256
        or _size(data, where) != len(text)
    ):
        raise damaged("the index of a part is not what was written", where)
    return _index(text, where)


def read_part(
    objects: Objects,
    part: Part,
    partitions: Collection[int] | None = None,
    *,
    index: Index | None = None,
) -> Iterator[list[Record]]:
    """The records of a part, section by section, of sections that have any of ``partitions``.

    ``index`` is that of the part, if it was read before.

    Each section is verified before a record of it is served; at most one is in memory.

    Raises:
        DamageError: the object is missing, or not what was written.
    """
    where = f"{objects.name}/{part.key}"
    for section in (index or index_of(objects, part)).sections:
        if partitions is not None and not any(
            section.first <= p <= section.last for p in partitions
        ):
            continue
        data = objects.get(part.key, section.start, section.bytes)
        if data is None:
            raise damaged("a part is missing", where)
        yield records_of(data, section, where)


def records_of(data: bytes, section: Section, where: str) -> list[Record]:
    """The records of a section, of its bytes as stored.

    Raises:
        DamageError: they are not what was written.
    """
    place = f"byte {section.start} of {where}"
    if len(data) != section.bytes or sha256(data).hexdigest() != section.sha256:
        raise damaged("a section is not what was written", place)
    raw = decompress(data, section.raw)
    if raw is None:
        raise damaged("a section cannot be decompressed", place)
    try:
        records = _decode_records(raw)
    except (msgspec.DecodeError, ValueError) as error:
        raise damaged(f"a section cannot be read: {error}", place) from error
    if len(records) != section.rows:
        raise damaged("a section has another number of records", place)
    return records


def check_part(objects: Objects, part: Part) -> Iterator[list[Record]]:
    """All records, every byte of the object looked at.

    Raises:
        DamageError: as `read_part`; also for bytes that nobody would read.
    """
    where = f"{objects.name}/{part.key}"
    data = objects.get(part.key)
    if data is None:
        raise damaged("a part is missing", where)
    if len(data) != part.bytes or not data.startswith(HEAD):
        raise damaged(f"a part has {len(data)} bytes of {part.bytes}, or another head", where)
    index = _verified_index(data[part.index :], part, where)
    at = len(HEAD)
    for section in index.sections:
        if section.start != at:
            raise damaged("bytes between two sections", f"byte {at} of {where}")
        at += section.bytes
        yield records_of(data[section.start : at], section, where)
    if at != part.index:
        raise damaged("bytes before the index", f"byte {at} of {where}")


def name_of(kind: str, table: int, segment: int, number: int) -> str:
    """The end of a part's key."""
    return f"{kind}/{table:04d}-{segment:04d}-{number:06d}"


def key_of(id_: str, kind: str, table: int, segment: int, number: int) -> str:
    """The key of a part, a function of those before it."""
    return part_key(id_, name_of(kind, table, segment, number))
