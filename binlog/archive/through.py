"""A note beside the chains, of a shard: all of it up to some record is archived.

Written by archivers that records are delivered to (Lambda, KCL), after the segments: *every record of
this shard up to that one, of every partition that it holds, is in the chains*. Where a process begins it
need not ask each quiet partition's last record, hours back perhaps, what came after it.

As true as it ever was whatever comes, so it may be old. It may be lost, too: then reading begins where
the chains end. It names these ends: of a chain that ends before the one that is named here, since somebody
has deleted what came after it, the note says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from binlog.archive.sealing import checksum, sealed
from binlog.log import Position
from binlog.objects.objects import Objects

THROUGH_FORMAT = 1
_BYTES_MAX = 4 * 1024 * 1024  # of a note: some hundred for each partition; what is longer is none


class Through(msgspec.Struct, frozen=True, gc=False):
    """``arrival_ms``: whatever comes after that record arrived then or later.

    ``ends``: where the chains of the shard's partitions ended by then.
    """

    shard: str
    sequence: int
    arrival_ms: int
    ends: Mapping[int, Position]


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    shard: str
    sequence: str
    arrival_ms: int
    ends: dict[str, tuple[str, str]]  # shard and sequence number, by partition
    crc: int = 0


def through_key(shard: str) -> str:
    """The key of a shard's note: a shard's id may be anything."""
    return f"through/{sha256(shard.encode()).hexdigest()[:32]}.json"


def write_through(objects: Objects, through: Through) -> None:
    """Replace the note of a shard.

    Raises:
        StorageError, RefusedError: the storage's.
    """
    note = _Note(
        THROUGH_FORMAT,
        through.shard,
        str(through.sequence),
        through.arrival_ms,
        {str(p): (end.shard, str(end.sequence)) for p, end in through.ends.items()},
    )
    objects.put(through_key(through.shard), sealed(note))


def read_through(objects: Objects, shard: str) -> Through | None:
    """The note of a shard; ``None``: there is none that can be believed.

    Raises:
        StorageError, RefusedError: the storage's.
    """
    data = objects.get(through_key(shard), 0, _BYTES_MAX)
    if data is None:
        return None
    try:
        note = msgspec.json.decode(data, type=_Note)
        if note.format != THROUGH_FORMAT or note.shard != shard or checksum(note) != note.crc:
            return None
        ends = {int(p): Position(end[0], int(end[1])) for p, end in note.ends.items()}
        return Through(shard, int(note.sequence), note.arrival_ms, ends)
    except (msgspec.DecodeError, ValueError):
        return None
