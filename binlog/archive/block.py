"""A block of a segment: some records of one partition, by column, compressed as one.

Layout: one zstd frame, of a msgpack array of these, a column each; every list has an entry a record,
in log order, unless it says otherwise::

    shards     index into the segment's list of shards
    sequences  text: sequence numbers in decimal, one a line, each as its difference from the one
               before of the same shard in this block (the first as it is): they have 56 digits
    arrivals   ms of the log's time, each as its difference from the one before (the first as it is)
    forms      bytes, one a record: 0 ours, as it came; 1 ours, as `frame_form` keeps it; 2 foreign
    keys       partition keys of the foreign ones, UTF-8, surrogates passed
    heads      bytes, 128 for each record of form 1
    sizes      bytes of each body
    bodies     bytes: the bodies one after another; the whole record in the forms 0 and 2

The checksum, both sizes and the number of records stand in the segment's block table, so a block can
be read alone, and is known to be whole before anything of it is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from binlog.archive.frame_form import HEAD_BYTES, restore_frame, strip_frame
from binlog.compression import decompress
from binlog.log import Record

BLOCK_RAW_BYTES = 1024 * 1024
"""A block is closed when it reaches that size; one record may make it larger."""
AS_IT_CAME, STRIPPED, FOREIGN = 0, 1, 2
_RECORD_BYTES = 24  # of the small columns, about


class _Columns(msgspec.Struct, array_like=True, frozen=True, gc=False):
    shards: list[int]
    sequences: str
    arrivals: list[int]
    forms: bytes
    keys: list[bytes]
    heads: bytes
    sizes: list[int]
    bodies: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Columns).decode


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

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self._forms)

    def add(self, shard: int, record: Record, *, accepted: bool) -> None:
        """``accepted``: a sequencer took it where it stood, so its compression may go."""
        form, head, body = AS_IT_CAME, b"", record.data
        if record.partition < 0:
            form = FOREIGN
            self._keys.append(record.partition_key.encode("utf-8", "surrogatepass"))
        elif accepted and (stripped := strip_frame(record.data)) is not None:
            form = STRIPPED
            head, body = stripped
            self._heads.append(head)
        self._shards.append(shard)
        self._sequences.append(record.sequence)
        self._arrivals.append(record.arrival_ms)
        self._forms.append(form)
        self._bodies.append(body)
        self.raw_bytes += len(head) + len(body) + len(record.partition_key) + _RECORD_BYTES

    def encode(self) -> bytes:
        """The block before its compression."""
        before: dict[int, int] = {}
        differences = []
        for shard, sequence in zip(self._shards, self._sequences, strict=True):
            differences.append(str(sequence - before.get(shard, 0)))
            before[shard] = sequence
        arrivals = self._arrivals
        return _encode(
            _Columns(
                self._shards,
                "\n".join(differences),
                arrivals[:1] + [b - a for a, b in pairwise(arrivals)],
                bytes(self._forms),
                self._keys,
                b"".join(self._heads),
                [len(body) for body in self._bodies],
                b"".join(self._bodies),
            )
        )


def decode_block(
    stored: bytes, *, raw_bytes: int, partition: int, shards: Sequence[str]
) -> list[tuple[str, Record]]:
    """The records of a block, each with its shard, in log order.

    Raises:
        ValueError: it is not what such a block can be. Its checksum is for the caller to compare.
    """
    raw = decompress(stored, raw_bytes)
    if raw is None:
        raise ValueError(f"it does not decompress to its {raw_bytes} bytes")
    try:
        columns = _decode(raw)
        return _records(columns, partition, shards)
    except (msgspec.DecodeError, IndexError, StopIteration) as error:
        raise ValueError(f"no block ({error})") from error


def _records(columns: _Columns, partition: int, shards: Sequence[str]) -> list[tuple[str, Record]]:
    count = len(columns.forms)
    differences = columns.sequences.split("\n") if count else []
    if (
        any(len(each) != count for each in (columns.shards, columns.arrivals, columns.sizes))
        or len(differences) != count
        or sum(columns.sizes) != len(columns.bodies)
        or len(columns.heads) != HEAD_BYTES * columns.forms.count(STRIPPED)
        or len(columns.keys) != columns.forms.count(FOREIGN)
    ):
        raise ValueError("its columns are not of one length")
    found: list[tuple[str, Record]] = []
    before: dict[int, int] = {}
    arrival = at = head_at = 0
    keys = iter(columns.keys)
    bodies = columns.bodies
    for shard, difference, passed, form, size in zip(
        columns.shards, differences, columns.arrivals, columns.forms, columns.sizes, strict=True
    ):
        sequence = before[shard] = before.get(shard, 0) + int(difference)
        arrival += passed
        data, at = bodies[at : at + size], at + size
        home, key = partition, ""
        if form == STRIPPED:
            head_end = head_at + HEAD_BYTES
            data = restore_frame(columns.heads[head_at:head_end], data)
            head_at = head_end
        elif form == FOREIGN:
            home, key = -1, next(keys).decode("utf-8", "surrogatepass")
        elif form != AS_IT_CAME:
            raise ValueError(f"a record of form {form}")
        found.append((shards[shard], Record(sequence, arrival, home, data, key)))
    return found
