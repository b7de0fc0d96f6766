"""How to archive, and what came of it."""

from __future__ import annotations

import msgspec

from binlog.halt import Halt
from binlog.reader import PAGE_BYTES
from binlog.vector import Vector

SEGMENT_EVERY_S = 60.0
SEGMENT_BYTES_MAX = 64 * 1024 * 1024
MEMORY_BYTES_MAX = 128 * 1024 * 1024


class Archiving(msgspec.Struct, frozen=True, kw_only=True):
    """How to archive."""

    once: bool = False  # stop at the log's end as it is then
    segment_every_s: float = SEGMENT_EVERY_S
    segment_bytes_max: int = SEGMENT_BYTES_MAX  # before compression; a page more at most
    memory_bytes_max: int = MEMORY_BYTES_MAX  # of what waits to be cut
    page_bytes: int = PAGE_BYTES
    announced: str | None = None  # the address to announce, and to announce again while it runs


class Lane(msgspec.Struct):
    """What a run did with one partition. ``offset`` is the archive's, where the run ended."""

    partition: int
    offset: int = 0
    segments: int = 0
    records: int = 0
    events: int = 0
    bytes: int = 0
    raw_bytes: int = 0
    lost: int = 0  # races


class Report(msgspec.Struct, frozen=True):
    """What a run did. ``vector``: up to where the archive has each partition, whoever wrote it."""

    lanes: tuple[Lane, ...]
    vector: Vector
    read_bytes: int  # of records, as the log has them
    seconds: float
    halts: tuple[Halt, ...] = ()
    announced: int = 0  # records written that name the archive

    def total(self, name: str) -> int:
        """The sum of one of the numbers of `Lane`."""
        return sum(getattr(lane, name) for lane in self.lanes)
