"""A note beside each chain: how far the log holds nothing more of its partition.

A quiet partition's last record leaves the stream, and its shard may, too; of a place whose own record
is forgotten nobody can tell what came after it, unless somebody saw that there was nothing
(`binlog.log.Forgets`). The archiver saw, and says so here: *between the chain's end and this place
there is no record of the partition, and the log, at that time of its own, ended there*.

That stays true whatever comes. It is of the chain's end that it names, and says nothing of another one:
whether its place lies beyond a later end only the lineage of shards would tell, and the stream
forgets that too. It is the one thing in an archive that is replaced, and it may be lost: then a stream
that was quiet for longer than it remembers is refused as trimmed, although nothing is missing. What it
says is believed, so it has a checksum (CRC-32C of the note with ``crc`` 0), and names its partition.
"""

from __future__ import annotations

import msgspec

from binlog.archive.keys import seen_key
from binlog.archive.sealing import sealed
from binlog.archive.segment import ranges_of, shards_of
from binlog.log import Position, Shard
from binlog.objects.objects import Objects

SEEN_FORMAT = 1
_BYTES_MAX = 1024 * 1024  # of a note; what is longer is none


class Seen(msgspec.Struct, frozen=True, gc=False):
    """``seen_ms`` is the log's own time; see `binlog.log.Forgets.seen_ms`.

    ``end`` is where the chain ended when it was seen; ``shards`` those from there to ``position``, whose
    lineage the stream forgets, parents first.
    """

    position: Position
    seen_ms: int
    end: Position
    shards: tuple[Shard, ...] = ()


_Shard = tuple[str, list[str], list[tuple[int, int]]]
"""Id, parents, ranges of partitions."""


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    partition: int
    shard: str
    sequence: str
    seen_ms: int
    end_shard: str
    end_sequence: str
    shards: list[_Shard] = []
    crc: int = 0


def encode_seen(seen: Seen, partition: int) -> bytes:
    """The note's bytes."""
    place, end = seen.position, seen.end
    note = _Note(
        SEEN_FORMAT,
        partition,
        place.shard,
        str(place.sequence),
        seen.seen_ms,
        end.shard,
        str(end.sequence),
        [(each.id, list(each.parents), ranges_of(each.partitions)) for each in seen.shards],
    )
    return sealed(note)


def write_seen(objects: Objects, partition: int, seen: Seen) -> None:
    """Replace the note of a partition.

    Raises:
        StorageError, RefusedError: the storage's.
    """
    objects.put(seen_key(partition), encode_seen(seen, partition))


def read_seen(objects: Objects, partition: int) -> Seen | None:
    """The note of a partition; ``None``: there is none that can be read, which is as good as lost.

    Raises:
        StorageError, RefusedError: the storage's.
    """
    data = objects.get(seen_key(partition), 0, _BYTES_MAX)
    if data is None:
        return None
    try:
        note = msgspec.json.decode(data, type=_Note)
        seen = Seen(
            Position(note.shard, int(note.sequence)),
            note.seen_ms,
            Position(note.end_shard, int(note.end_sequence)),
            shards_of(note.shards),
        )
    except (msgspec.DecodeError, ValueError):
        return None
    # The very bytes that were written for it, whatever was changed.
    return seen if data == encode_seen(seen, partition) else None
