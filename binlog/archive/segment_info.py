"""What a segment says of itself, and the much shorter form in which an index page lists it."""

from __future__ import annotations

import msgspec

from binlog.archive.keys import Place, next_place, segment_key
from binlog.log import Position, Shard
from binlog.standing import Checked, Start


class BlockInfo(msgspec.Struct, frozen=True, gc=False):
    """One block of a segment: ``bytes`` of the file from ``at`` on, with their CRC-32C.

    ``first`` and ``last`` are the places of its first and last record, ``offset`` that of the last
    event up to its end.
    """

    at: int
    bytes: int
    raw_bytes: int
    records: int
    crc: int
    first: Position
    last: Position
    offset: int


class Outline(msgspec.Struct, frozen=True, gc=False):
    """A segment in short. It is only a shortcut: before it is relied on the segment is read."""

    partition: int
    first: int
    part: int
    last: int
    records: int
    foreign: int
    start: Position
    end: Position
    digest_before: bytes
    digest: bytes
    arrival_first_ms: int
    arrival_last_ms: int
    bytes: int
    raw_bytes: int

    @property
    def key(self) -> str:
        return segment_key(self.partition, Place(self.first, self.part))

    @property
    def place(self) -> Place:
        return Place(self.first, self.part)

    @property
    def next_place(self) -> Place:
        """Where the segment after it stands."""
        return next_place(self.place, self.last)


class SegmentInfo(msgspec.Struct, frozen=True):
    """All that a segment says of itself; its records are in its blocks.

    It begins at a record boundary, just after ``start``, and ends at one, ``end``: the place of its
    last record, with the sequencer's state there (``end.state``; in it, as `Reader.checkpoint` has
    it, the log's stamp of that record). ``last`` is ``first - 1`` where it holds no event. ``shards``
    are those in which ``start`` and its records stand, and those between in which the partition had
    none, parents first. ``bytes`` is the whole object.
    """

    key: str
    partition: int
    first: int
    part: int
    last: int
    records: int
    events: int
    foreign: int
    start: Position
    end: Checked
    digest_before: bytes
    arrival_first_ms: int  # the lowest
    arrival_last_ms: int  # the highest
    bytes: int
    raw_bytes: int
    shards: tuple[Shard, ...]
    blocks: tuple[BlockInfo, ...]
    timeline: int = 0

    @property
    def place(self) -> Place:
        return Place(self.first, self.part)

    @property
    def next_place(self) -> Place:
        """Where the segment after it stands."""
        return next_place(self.place, self.last)

    def outline(self) -> Outline:
        """It in short."""
        return Outline(
            self.partition,
            self.first,
            self.part,
            self.last,
            self.records,
            self.foreign,
            self.start,
            self.end.position,
            self.digest_before,
            self.end.digest,
            self.arrival_first_ms,
            self.arrival_last_ms,
            self.bytes,
            self.raw_bytes,
        )

    def going_on(self, *, seen_ms: int | None = None) -> Start:
        """Where a reader goes on that has everything up to its end."""
        return Start(self.end.position, self.end.state, self.last, seen_ms)
