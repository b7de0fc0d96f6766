"""What every log offers, whoever keeps it: the port between frames and everything after them.

A log is a set of shards; a shard is an append-only list of records with growing sequence numbers;
a partition lives wholly in one shard at a time, and after a split or merge in a child of it. A
directory log has one shard that never closes. Positions are compared within a shard only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from binlog.errors import DamageError, MismatchError, RefusedError
from binlog.params import Params


class Position(msgspec.Struct, frozen=True, gc=False):
    """Just after the record ``sequence`` of ``shard``; sequence -1 is before its first record."""

    shard: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.shard}:{self.sequence}"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as a reader gets it. ``arrival_ms`` is the log's own time, whole ms."""

    sequence: int
    arrival_ms: int
    partition: int  # -1 for a foreign record, whose key is then in `partition_key`
    data: bytes
    partition_key: str = ""


class Page(msgspec.Struct, frozen=True, gc=False):
    """What one read of a shard gave.

    ``next`` is where to go on, also past records of partitions that were not asked for.
    ``caught_up``: there was nothing more at that moment. ``closed``: there never will be; go on
    with the children.

    A log that keeps each partition apart, as an archive does, may end in one of them before it ends
    in another. ``ends`` names those, of the ones asked for, that end in this page, by the sequence
    number up to which it has all of them: beyond that ``next`` is no place of theirs.
    """

    records: list[Record]
    next: Position
    caught_up: bool
    closed: bool = False
    ends: dict[int, int] = {}


class Shard(msgspec.Struct, frozen=True, gc=False):
    """One shard and where it comes from; ``partitions`` are those that it holds."""

    id: str
    parents: tuple[str, ...]
    partitions: frozenset[int]
    closed: bool = False


class Put(msgspec.Struct, frozen=True, gc=False):
    """One frame to append. ``tried``: these bytes were sent before and may be in the log."""

    partition: int
    data: bytes
    tried: bool = False


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The frame is durable. ``born_ms`` is the session's, as it stands in the stored frame.

    ``arrival_ms`` is the log's own time of this append: what readers see, or, where the log only
    tells it roughly, not earlier than that (P4).
    """

    arrival_ms: int
    position: Position
    born_ms: int


class Expired(msgspec.Struct, frozen=True, gc=False):
    """Refused for the session's age, and certainly not in the log, now or later."""

    arrival_ms: int


class Failed(msgspec.Struct, frozen=True, gc=False):
    """No certainty: the frame may be in the log, or arrive later. Send the same bytes again.

    ``untouched``: certainly nothing of it was written in this attempt (lock not got, disk full
    before the first byte, throttled, an earlier frame of its partition failed). ``throttled``: the
    frame itself was one too many. ``final``: a retry is pointless (disk full, read-only, damage).
    """

    error: Exception
    untouched: bool = False
    final: bool = False
    throttled: bool = False


Reply = Appended | Expired | Failed


class Log(Protocol):
    """An open log. All methods may be called from any thread.

    * `append` is one commit: on return each frame has its reply, in the order given. Within one
      partition frames land in the order given. A frame whose header says ``born`` 0 is stamped
      with the log's own time (see `binlog.frame.stamp_born`), the same for all of the call. It
      raises only for what no retry mends: `RefusedError`, `DamageError`, a closed log.
    * `read` gives records of one shard after a sequence number, in order, at most about
      ``bytes_max`` of them (at least one if there is any), only of ``partitions`` if given. It
      waits up to ``wait_s`` for the first record. What it gives is durable and final.
      It raises `DamageError` when it stands before damaged bytes, after giving what lies before.
    * `shards` gives parents before children.
    """

    params: Params
    genesis: bytes
    name: str  # the address, for messages

    def append(self, frames: Sequence[Put]) -> list[Reply]: ...

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page: ...

    def shards(self) -> list[Shard]: ...

    def locate(self, position: Position) -> str:
        """Where that is in words a person can act on: segment and byte, or shard and number."""

    def stamp(self, position: Position) -> bytes:
        """A few bytes that tell the record at ``position`` from any other that could stand there.

        Empty before the first record, where sequence numbers alone never repeat, and where it is not
        known.
        """

    def size_bytes(self) -> int:
        """About how much there is to read, as stored: for estimates only; 0 if nobody knows."""

    def now_ms(self) -> int:
        """The log's own time now: never behind an arrival already given."""

    def close(self) -> None: ...


@runtime_checkable
class Remote(Protocol):
    """A log that is a service: it stamps nothing, and answers several calls at once.

    So it tells births beforehand (P2), and how many appends at once are worth it, how far apart
    they should begin, and how many frames a second and shard one producer should need.
    """

    calls_max: int
    call_spacing_s: float
    frames_per_s: float

    def birth_ms(self) -> int:
        """The birth of a session that begins now: the log's own time, or a little before it.

        It does no I/O, and may be asked from any thread.
        """


@runtime_checkable
class AsksTime(Protocol):
    """A log whose time is a service's, reckoned on from the last reply."""

    def ask_time(self) -> None:
        """Hear it again: after the machine slept what was reckoned on is behind.

        Raises:
            StorageError, RefusedError: there was no answer.
        """


@runtime_checkable
class ReadsAhead(Protocol):
    """A log that answers slowly, and can fetch one thing while another is worked on."""

    def expect(self, places: Sequence[Position]) -> None:
        """Reading is going to go on from these places soon, in this order. It does not wait."""


@runtime_checkable
class GivesWholeShards(Protocol):
    """A log in which reading a part of a shard's partitions takes as much as reading all of them.

    Who shares the work of reading it gives each shard, with its parents and children, to one.
    """

    gives_whole_shards: Literal[True]


@runtime_checkable
class KeepsPartitionsApart(Protocol):
    """A log that has each partition in a place of its own, and a block of each in memory.

    Who may choose reads no more of them at once.
    """

    partitions_at_once: int

    def bytes_by_partition(self) -> Mapping[int, int]:
        """About how much there is to read of each, where that is known without reading it.

        Raises:
            StorageError, RefusedError: there was no answer.
        """


@runtime_checkable
class NamesArchive(Protocol):
    """A log that forgets, and keeps beside its records where these are archived: a hint, no more."""

    archive_named: str | None
    """What was named when this handle was opened."""

    def may_have_forgotten(self) -> bool:
        """Whether anything at all can be gone yet; no I/O."""

    def name_archive(self, url: str) -> None:
        """Name it for whoever opens the log from now on; an empty address takes it back.

        Raises:
            StorageError, RefusedError: it is not named.
        """


@runtime_checkable
class Forgets(Protocol):
    """A log that keeps records for so long and no longer: a place can be too old to go on from.

    Of a place whose own record is forgotten nobody can tell what was forgotten after it, unless it
    is known that nothing can have been: since the shard, still open, was seen to *end* there, and
    what came later is not that old yet. That stays true whatever comes, so whoever keeps a place
    keeps with it when that was, by the log's own time, and says so when it reads on.
    """

    def seen_ms(self, place: Position) -> int | None:
        """Whatever comes after ``place`` arrived then or later, give or take minutes; no I/O.

        ``None`` where no reader of this handle saw the end of an open shard there, nor was told.
        """

    def note_seen(self, place: Position, seen_ms: int) -> None:
        """Somebody saw the end there at that time, by the log's own time; no I/O."""

    def retention_s(self) -> float:
        """How long a record is kept, as it is set now: a call.

        Raises:
            StorageError, RefusedError: there was no answer.
        """


def seen_ms(log: Log, place: Position) -> int | None:
    """`Forgets.seen_ms` of a log that forgets; ``None`` of any other: there no place is too old."""
    return log.seen_ms(place) if isinstance(log, Forgets) else None


def note_seen(log: Log, place: Position, seen_ms: int | None) -> None:
    """`Forgets.note_seen` where it is known, and the log forgets."""
    if seen_ms is not None and isinstance(log, Forgets):
        log.note_seen(place, seen_ms)


def holds(log: Log, position: Position) -> bool:
    """Whether the log has a place just after the record at ``position``.

    Used to tell a log that was cut or replaced from the one that a checkpoint was taken on. Where
    the log is damaged it cannot be told; whoever reads on will meet the damage.
    """
    try:
        log.read(position, bytes_max=1)
    except (RefusedError, MismatchError):
        return False
    except DamageError:
        return True
    return True
