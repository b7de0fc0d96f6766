"""A block of a segment: some records of one partition, by column, compressed as one.

Layout: one zstd frame, of a msgpack array of these, a column each; a list has an entry a record, in
log order, unless it says otherwise::

    shards     index into the segment's list of shards
    sequences  text: sequence numbers in decimal, one a line, each as its difference from the one
               before of the same shard in this block (the first as it is): they have 56 digits
    arrivals   ms of the log's time, each as its difference from the one before (the first as it is)
    forms      bytes, one a record: 0 ours, as it came; 1 ours, a head and a body (`frame_form`);
               2 foreign; 3 ours, a head and a body by columns
    keys       partition keys of the foreign ones, UTF-8, surrogates passed
    heads      bytes, 128 for each record of the forms 1 and 3
    sizes      bytes of each body in the forms 0, 1 and 2
    bodies     bytes: these bodies one after another; the whole record in the forms 0 and 2
    parts      8 for each record of form 3: bytes of each column of its body
    columns    8 entries: the first columns of these bodies one after another, the second ones, ..
    ids        bytes: the third columns, the events' ids, as `packed_ids` has them; columns[2] is
               empty then. Or nil

A frame's body is a msgpack array of 8 columns itself (`binlog.columns`), and what is alike in it is
alike by columns: laid together over all frames of a block they take a fifth less room.

The checksum, both sizes and the number of records stand in the segment's block table, so a block can
be read alone, and is known to be whole before anything of it is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

import msgspec

from binlog.archive.frame_form import HEAD_BYTES, restore_frame, strip_frame
from binlog.archive.packed_ids import pack_ids, unpack_ids
from binlog.compression import decompress
from binlog.log import Record

BLOCK_RAW_BYTES = 1024 * 1024
"""A block is closed when it reaches that size; one record may make it larger."""
RAW_BYTES_MAX = 80 * 1024 * 1024
"""What is read of any block: one record, of a body of 64 MiB at most (`binlog.archive.frame_form`,
`binlog.logs.block`), and what `BLOCK_RAW_BYTES` allows before it, with their small columns."""
RECORDS_MAX = 64 * 1024
"""Likewise: each counts `_RECORD_BYTES` at least, so there are fewer than 44,000."""
AS_IT_CAME, STRIPPED, FOREIGN, SPLIT = 0, 1, 2, 3
_RECORD_BYTES = 24  # of the small columns, about
_PARTS, _IDS = 8, 2
_BODY_HEAD = b"\x98"  # msgpack's for an array of 8


# Refused by their lengths, before anything of that size is made: a byte each of a block that
# compresses well would be a hundred times that in memory.
_Numbers = Annotated[list[int], msgspec.Meta(max_length=RECORDS_MAX)]


class _Columns(msgspec.Struct, array_like=True, frozen=True, gc=False):
    shards: _Numbers
    sequences: str
    arrivals: _Numbers
    forms: Annotated[bytes, msgspec.Meta(max_length=RECORDS_MAX)]
    keys: Annotated[list[bytes], msgspec.Meta(max_length=RECORDS_MAX)]
    heads: bytes
    sizes: _Numbers
    bodies: bytes
    parts: Annotated[list[int], msgspec.Meta(max_length=_PARTS * RECORDS_MAX)]
    columns: Annotated[list[bytes], msgspec.Meta(max_length=_PARTS)]
    ids: bytes | None


class _Body(msgspec.Struct, array_like=True, frozen=True, gc=False):
    kinds: msgspec.Raw
    index: msgspec.Raw
    ids: msgspec.Raw
    keys: msgspec.Raw
    datas: msgspec.Raw
    times: msgspec.Raw
    metas: msgspec.Raw
    expects: msgspec.Raw


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode
_split = msgspec.msgpack.Decoder(_Body).decode


class BlockBuilder:
    """Gathers records for one block. ``raw_bytes`` is about how large it has become."""

    def __init__(self) -> None:
        self.raw_bytes = 0
        self._shards: list[int] = []
        self._sequences: list[int] = []
        self._arrivals: list[int] = []
        self._forms = bytearray()
        self._keys: list[bytes] = []
        self._heads: list[bytes] = []
        self._bodies: list[bytes] = []
        self._splits: list[tuple[bytes, ...]] = []

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self._forms)

    def add(self, shard: int, record: Record, *, accepted: bool) -> None:
        """``accepted``: a sequencer took it where it stood, so its compression may go."""
        form, head, body = AS_IT_CAME, b"", record.data
        parts: tuple[bytes, ...] | None = None
        if record.partition < 0:
            form = FOREIGN
            self._keys.append(record.partition_key.encode("utf-8", "surrogatepass"))
        elif accepted and (stripped := strip_frame(record.data)) is not None:
            head, body = stripped
            self._heads.append(head)
            parts = split_body(body)
            form = STRIPPED if parts is None else SPLIT
        if parts is None:
            self._bodies.append(body)
        else:
            self._splits.append(parts)
        self._shards.append(shard)
        self._sequences.append(record.sequence)
        self._arrivals.append(record.arrival_ms)
        self._forms.append(form)
        self.raw_bytes += len(head) + len(body) + len(record.partition_key) + _RECORD_BYTES

    def encode(self) -> bytes:
        """The block before its compression."""
        before: dict[int, int] = {}
        differences = []
        for shard, sequence in zip(self._shards, self._sequences, strict=True):
            differences.append(str(sequence - before.get(shard, 0)))
            before[shard] = sequence
        arrivals, splits = self._arrivals, self._splits
        ids = pack_ids([parts[_IDS] for parts in splits]) if splits else None
        columns = [
            b"" if part == _IDS and ids is not None else b"".join([each[part] for each in splits])
            for part in range(_PARTS)
        ]
        return _encode(
            _Columns(
                self._shards,
                "\n".join(differences),
                arrivals[:1] + [after - before for before, after in pairwise(arrivals)],
                bytes(self._forms),
                self._keys,
                b"".join(self._heads),
                [len(body) for body in self._bodies],
                b"".join(self._bodies),
                [len(part) for parts in splits for part in parts],
                columns,
                ids,
            )
        )


def split_body(body: bytes) -> tuple[bytes, ...] | None:
    """The columns of a frame's body; ``None``: put together again they are not that body."""
    try:
        parts = tuple(map(bytes, msgspec.structs.astuple(_split(body))))
    except msgspec.DecodeError:
        return None
    return parts if b"".join((_BODY_HEAD, *parts)) == body else None


def is_block_size(stored: int, raw: int) -> bool:
    """Whether a block can have so many bytes, as it is stored and decompressed: asked before both."""
    return 0 <= raw <= RAW_BYTES_MAX and 0 < stored <= raw + raw // 128 + 1024


def decode_block(
    stored: bytes, *, raw_bytes: int, partition: int, shards: Sequence[str]
) -> list[tuple[str, Record]]:
    """The records of a block, each with its shard, in log order.

    Raises:
        ValueError: it is not what such a block can be. Its checksum is for the caller to compare.
    """
    raw = decompress(stored, raw_bytes) if is_block_size(len(stored), raw_bytes) else None
    if raw is None:
        raise ValueError(f"it does not decompress to its {raw_bytes} bytes")
    try:
        columns = _decode(raw)
    except msgspec.DecodeError as error:
        raise ValueError(f"no block ({error})") from error
    _check(columns, len(shards))
    return _records(columns, partition, shards)


def _check(columns: _Columns, shards: int) -> None:
    forms = columns.forms
    count = len(forms)
    numbers = [forms.count(form) for form in (AS_IT_CAME, STRIPPED, FOREIGN, SPLIT)]
    if (
        sum(numbers) != count
        or any(len(each) != count for each in (columns.shards, columns.arrivals))
        or columns.sequences.count("\n") != max(0, count - 1)
        or len(columns.sizes) != count - numbers[SPLIT]
        or len(columns.parts) != _PARTS * numbers[SPLIT]
        or len(columns.heads) != HEAD_BYTES * (numbers[STRIPPED] + numbers[SPLIT])
        or len(columns.keys) != numbers[FOREIGN]
        or len(columns.columns) != _PARTS
        or min([0, *columns.sizes, *columns.parts, *columns.shards]) < 0
        or sum(columns.sizes) != len(columns.bodies)
        or max(columns.shards, default=-1) >= shards
    ):
        raise ValueError("its columns do not fit each other")


def _records(columns: _Columns, partition: int, shards: Sequence[str]) -> list[tuple[str, Record]]:
    found: list[tuple[str, Record]] = []
    before: dict[int, int] = {}
    arrival = head_at = 0
    keys = iter(columns.keys)
    whole, split = _bodies(columns), _split_bodies(columns)
    differences = columns.sequences.split("\n") if columns.forms else ()
    for shard, difference, passed, form in zip(
        columns.shards, differences, columns.arrivals, columns.forms, strict=True
    ):
        step = int(difference)
        if step <= 0 and shard in before:  # who looks for a place in it would pass over some
            raise ValueError("its records are not in order")
        sequence = before[shard] = before.get(shard, 0) + step
        arrival += passed
        home, key = partition, ""
        data = next(split if form == SPLIT else whole)
        if form in (STRIPPED, SPLIT):
            head_end = head_at + HEAD_BYTES
            data = restore_frame(columns.heads[head_at:head_end], data)
            head_at = head_end
        elif form == FOREIGN:
            home, key = -1, next(keys).decode("utf-8", "surrogatepass")
        found.append((shards[shard], Record(sequence, arrival, home, data, key)))
    return found


def _bodies(columns: _Columns) -> Iterator[bytes]:
    at = 0
    for size in columns.sizes:
        yield columns.bodies[at : at + size]
        at += size


def _split_bodies(columns: _Columns) -> Iterator[bytes]:
    """The bodies that were kept by columns.

    Raises:
        ValueError: the columns are not of these sizes.
    """
    sizes = [columns.parts[part::_PARTS] for part in range(_PARTS)]
    held = list(columns.columns)
    if columns.ids is not None:
        held[_IDS] = unpack_ids(columns.ids, sizes[_IDS])
    if [sum(each) for each in sizes] != [len(each) for each in held]:
        raise ValueError("its columns do not fit each other")
    ends = [0] * _PARTS
    for row in zip(*sizes, strict=True):
        parts = [_BODY_HEAD]
        for part, size in enumerate(row):
            begin = ends[part]
            ends[part] = begin + size
            parts.append(held[part][begin : begin + size])
        yield b"".join(parts)
