"""Notes of where the chains end: what tells that a chain's last segment is gone.

A segment that is missing within a chain is told by the one behind it; of the last one nothing in the
chain tells. So every archiver leaves a note, once what it wrote is durable: *the chain of this partition
went up to there*. One object holds those of `PARTITIONS_PER_NOTE` partitions, so that there are far
fewer of them to write than segments.

It is replaced, best effort, and may be lost or old: what it says stays true, for a chain only grows. A
chain that ends before what is noted lacks a segment. Who replaces a note keeps of each partition the
furthest end, so that a loss is not forgotten with the next write; of two who write at once one may take
away what the other has added, so each looks again, and writes what it knows with its next note, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from binlog.archive.keys import Place, next_place, segment_key
from binlog.archive.sealing import sealed
from binlog.archive.segment_info import Outline, SegmentInfo
from binlog.errors import BinlogError, DamageError, RefusedError
from binlog.log import Position
from binlog.logger import get_logger
from binlog.objects.objects import Objects

ENDS_FORMAT = 1
PARTITIONS_PER_NOTE = 16
REMEDY = (
    "restore the object from a copy or a deleted version; while the log has its records still, binlog"
    " archive LOG ARCHIVE writes them again"
)
_BYTES_MAX = 1024 * 1024  # of a note: some hundred for each partition; what is longer is none
_TRIES = 3  # of a note that others replace meanwhile
_logger = get_logger(__name__)


class End(msgspec.Struct, frozen=True):
    """The last segment of a chain: its place, its last offset, its last record and the digest there."""

    place: Place
    last: int
    position: Position
    digest: bytes

    @classmethod
    def of(cls, segment: SegmentInfo | Outline) -> End:
        """Of a chain that ends in that segment."""
        if isinstance(segment, SegmentInfo):
            segment = segment.outline()
        return cls(segment.place, segment.last, segment.end, segment.digest)

    def reaches(self, other: End, ancestors: Collection[str] = ()) -> bool:
        """Whether a chain that ends here has what one had that ended there.

        The records may lie in other segments: those that were lost, and archived again. ``ancestors``
        are the known ones of the shard that it ends in.
        """
        if self.last != other.last:
            return self.last > other.last
        if self.position.shard == other.position.shard:
            return self.position.sequence >= other.position.sequence
        if other.position.shard in ancestors:
            return True
        return next_place(self.place, self.last) >= next_place(other.place, other.last)


_Line = tuple[int, int, int, str, str, str]
"""First, part, last, shard, sequence number, digest in hex."""


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    first: int  # of the partitions
    ends: dict[str, _Line]  # by partition
    crc: int = 0


def first_of(partition: int) -> int:
    """The first partition of those that share a note."""
    return partition - partition % PARTITIONS_PER_NOTE


def ends_key(first: int) -> str:
    """The key of the note of the partitions from ``first`` on."""
    return f"seen/ends-{first:04d}.json"


def encode_ends(first: int, ends: Mapping[int, End]) -> bytes:
    """The note's bytes."""
    note = _Note(
        ENDS_FORMAT,
        first,
        {
            str(p): (*e.place, e.last, e.position.shard, str(e.position.sequence), e.digest.hex())
            for p, e in sorted(ends.items())
        },
    )
    return sealed(note)


def read_ends(objects: Objects, first: int) -> dict[int, End] | None:
    """The note of the partitions from ``first`` on; ``None``: none that can be believed.

    Raises:
        StorageError, RefusedError: the storage's.
    """
    data = objects.get(ends_key(first), 0, _BYTES_MAX)
    if data is None:
        return None
    try:
        note = msgspec.json.decode(data, type=_Note)
        ends = {
            int(p): End(
                Place(*line[:2]), line[2], Position(line[3], int(line[4])), bytes.fromhex(line[5])
            )
            for p, line in note.ends.items()
        }
        # The very bytes that were written for it, whatever was changed.
        is_same = note.format == ENDS_FORMAT and data == encode_ends(first, ends)
    except (msgspec.DecodeError, ValueError):
        return None
    return ends if is_same and all(first_of(p) == first for p in ends) else None


class EndNotes:
    """What one archiver knows of where chains end, and leaves in the notes. One thread at a time."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: dict[int, End] = {}
        self._dirty: set[int] = set()  # notes, by their first partition

    @property
    def waits(self) -> bool:
        """Whether there is anything to be noted."""
        return bool(self._dirty)

    def note(self, info: SegmentInfo) -> None:
        """A chain ends there, durably: written here, or found."""
        self._known[info.partition] = End.of(info)
        self._dirty.add(first_of(info.partition))

    def again(self) -> None:
        """See at the next `write` that all that is known is noted, whoever has replaced it since."""
        self._dirty.update(map(first_of, self._known))

    def write(self) -> None:
        """Write what waits. Best effort: nobody is kept from archiving by a note."""
        for first in sorted(self._dirty):
            try:
                if self._write(first):
                    self._dirty.discard(first)
            except RefusedError as error:
                self._dirty.discard(first)
                _logger.warning("ends.not_noted", error=str(error))
            except BinlogError as error:
                _logger.warning("ends.not_noted", error=str(error))

    def _write(self, first: int) -> bool:
        """Replace one note, and look whether it stands; true, if it does."""
        ours = {p: end for p, end in self._known.items() if first_of(p) == first}
        for left in reversed(range(_TRIES + 1)):
            found = read_ends(self._objects, first) or {}
            ends = found | {
                p: end for p, end in ours.items() if p not in found or end.reaches(found[p])
            }
            if ends == found:
                return True
            if left:
                self._objects.put(ends_key(first), encode_ends(first, ends))
        return False


def missing_end(partition: int, noted: End, last: int | None, name: str) -> DamageError:
    """The error of a chain that ends before what is noted; ``last``: of its events, if it has any."""
    key = segment_key(partition, noted.place)
    now = "has no segment" if last is None else f"ends at offset {last}"
    return DamageError(
        f"a segment of partition {partition} is missing: its chain went up to offset {noted.last},"
        f" and {now}",
        f"{key} of {name}",
        REMEDY,
        partition=partition,
        key=key,
        is_end=True,
    )
