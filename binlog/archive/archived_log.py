"""A log and its archive as one log: what the one has forgotten is in the other.

Records have the stream's own places in both, so there is no seam: of each place it is only a question
of who answers.

* Of what both have the archive gives what is there in whole segments, which saves the stream's read
  budget; what comes after that is the log's. Who is only now and then behind, and has no use for a
  look at every chain first, asks the log first (``archive_first=False``).
* What the log has forgotten the archive gives. Where neither has it, `TrimmedError` names the
  partition, the last offset that there is before the gap, and where one could begin.
* A page is complete for all partitions asked for, so one from the archive ends with the chain that
  ends first; the log goes on from there, for all of them.
* Appends, time and everything else are the log's.

An archive that goes beyond its log, or has another record where the log was cut and written to again,
is refused where the one goes over into the other.

What a log can do beyond `binlog.log.Log` is asked of its class, so one is made of the class that can
do what the log can. Not `GivesWholeShards`: what is archived is kept by partition, and several may share a shard.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Self, cast

from binlog.archive.archive import Archive
from binlog.archive.archive_log import PARTITIONS_AT_ONCE, ArchiveLog
from binlog.archive.chain_view import ChainView
from binlog.archive.lineage import ordered
from binlog.errors import MismatchError, RefusedError, TrimmedError
from binlog.horizon import HasHorizon, Horizon
from binlog.log import (
    AsksTime,
    Forgets,
    Log,
    Page,
    Position,
    Put,
    ReadsAhead,
    Remote,
    Reply,
    Shard,
)
from binlog.sequencer_state import SequencerState


class ArchivedLog:
    """A `binlog.log.Log` over a log and an archive of it; both are closed with it.

    Raises:
        MismatchError: the archive is another log's.
    """

    partitions_at_once: int = PARTITIONS_AT_ONCE

    def __new__(cls, log: Log, *_: object, **__: object) -> Self:
        kinds = tuple(kind for protocol, kind in _KINDS if isinstance(log, protocol))
        return cast("Self", object.__new__(_kind(cast("Any", cls), kinds)))

    def __init__(
        self, log: Log, archive: ArchiveLog | Archive, *, archive_first: bool = True
    ) -> None:
        self._stand_before(log, archive_first=archive_first)
        self._take(ArchiveLog(archive) if isinstance(archive, Archive) else archive)

    def _stand_before(self, log: Log, *, archive_first: bool) -> None:
        self.params = log.params
        self.genesis = log.genesis
        self.name = log.name
        self.log = log
        self._archive_first = archive_first
        self._is_behind = False  # the log has forgotten where it was read last
        self._lineage: dict[str, Shard] = {}
        self._joined: set[str] = set()  # shards of which the seam was looked at

    def _take(self, archive: ArchiveLog) -> None:
        if archive.genesis != self.genesis:
            raise MismatchError(
                f"an archive of the log {archive.params.log_id}, not of {self.params.log_id}",
                archive.name,
                f"name the archive of {self.name}",
            )
        self.archive = archive

    def has_archive(self) -> bool:
        """Whether there is one; of a log that only names it this finds out (`binlog.archive.named_log`)."""
        return True

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        return self.log.append(frames)

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page:
        wanted = self._wanted(after.shard, partitions)
        # A stream does not tell of the beginning of its first shards whether it is still there.
        if (self._prefers or after.sequence < 0) and self._is_archived(after, wanted):
            page = self.archive.read_whole(after, wanted, bytes_max)
            if page is not None:
                return page
        self._join(after, wanted)
        try:
            page = self.log.read(after, partitions=partitions, bytes_max=bytes_max, wait_s=wait_s)
            self._is_behind = False
            return page
        except TrimmedError as error:
            page = self._read_forgotten(after, wanted, bytes_max)
            if page is not None:
                return page
            with suppress(TrimmedError):
                if self._tell_seen(after, wanted):
                    return self.log.read(
                        after, partitions=partitions, bytes_max=bytes_max, wait_s=wait_s
                    )
            raise self._trimmed(after, wanted, error) from error
        except (RefusedError, MismatchError) as error:
            self._check_not_ahead(after, wanted, error)
            raise

    def shards(self) -> list[Shard]:
        now = self.log.shards()
        archived: list[Shard] = []
        ways: dict[int, Sequence[str]] = {}
        if self._prefers:
            archived, ways = self.archive.known_shards(), self.archive.ways()
        known = {shard.id: shard for shard in [*archived, *now]}
        self._lineage = {shard.id: shard for shard in ordered(known, ways)}
        self.archive.learn(now)
        return list(self._lineage.values())

    def locate(self, position: Position) -> str:
        return self.log.locate(position)

    def stamp(self, position: Position) -> bytes:
        return self.log.stamp(position) or self.archive.stamp(position)

    def size_bytes(self) -> int:
        return max(self.log.size_bytes(), self.archive.size_bytes() if self._archive_first else 0)

    def bytes_by_partition(self) -> dict[int, int]:
        """What is archived, which is mostly all of it; nothing, where the log is asked first."""
        return self.archive.bytes_by_partition() if self._archive_first else {}

    def now_ms(self) -> int:
        return max(self.log.now_ms(), self.archive.last_arrival_ms)

    def close(self) -> None:
        self.archive.close()
        self.log.close()

    # -- who answers -----------------------------------------------------------------------------

    @property
    def _prefers(self) -> bool:
        """Whether the archive is asked before the log."""
        return self._archive_first or self._is_behind

    def _wanted(self, shard: str, partitions: frozenset[int] | None) -> frozenset[int]:
        if partitions is not None:
            return partitions
        if shard not in self._lineage:
            self.shards()
        known = self._lineage.get(shard)
        return frozenset(range(self.params.partitions)) if known is None else known.partitions

    def _is_archived(self, after: Position, partitions: Collection[int]) -> bool:
        """Whether the archive goes on from there by whole segments, or is being read there."""
        if not partitions:
            return False
        if after.shard not in self._lineage:
            self.shards()
        for partition in partitions:
            view = self.archive.view(partition)
            rank, reached = view.rank(after), view.reaches(after.shard)
            if rank is None or reached is None or reached <= after.sequence:
                return False
            if not view.has_whole_after(rank) and view.goes_beyond(rank):
                return self.archive.is_at(after, partitions)
        return True

    def _read_forgotten(
        self, after: Position, partitions: Collection[int], bytes_max: int
    ) -> Page | None:
        """What the archive has of what the log has not; ``None``: of one partition it has nothing."""
        if not partitions:
            return None
        self._is_behind = True
        self.shards()
        page = self.archive.read_whole(after, partitions, bytes_max)
        if page is None and self.archive.refresh(partitions):
            page = self.archive.read_whole(after, partitions, bytes_max)
        return page

    # -- the seam --------------------------------------------------------------------------------

    def _join(self, after: Position, partitions: Collection[int]) -> None:
        """Before the log is read: what archivers saw is told, and once, of a shard, looked at the seam.

        Raises:
            MismatchError: the log has no record, or another one, where the furthest chain ends.
        """
        if not self._prefers:
            return
        views = [self.archive.view(p) for p in partitions]
        for view in views:
            if view.seen is not None and view.seen.position == after:
                self._note_seen(after, view.seen.seen_ms)
        known = self._lineage.get(after.shard)
        if known is None or after.shard in self._joined:
            return
        self._joined.add(after.shard)
        ends = [view for p in known.partitions if (view := self.archive.view(p)).outlines]
        ends = [view for view in ends if view.outlines[-1].end.shard == after.shard]
        if ends:
            self._check_seam(max(ends, key=lambda view: view.outlines[-1].end.sequence))

    def _check_seam(self, view: ChainView) -> None:
        """That the log has the last record of a chain, unless it has forgotten it."""
        last = view.outlines[-1]
        try:
            self.log.read(last.end, partitions=frozenset({view.partition}), bytes_max=1)
        except TrimmedError:
            return
        except (RefusedError, MismatchError) as error:
            self._check_not_ahead(last.end, {view.partition}, error)
            raise
        ours = self.log.stamp(last.end)
        theirs = SequencerState.decode(view.chain.info(last.place).end.state).place if ours else b""
        if ours and theirs and ours != theirs:
            raise _another(last.end, view.partition, self.name, last.key)

    def _tell_seen(self, after: Position, partitions: Collection[int]) -> bool:
        """Tell the log who saw that it ends there, if an archiver did, as of now."""
        self.archive.refresh(partitions)
        views = [self.archive.view(p) for p in partitions]
        seen = [v.seen.seen_ms for v in views if v.seen is not None and v.seen.position == after]
        through = self.archive.through(after.shard)
        if through is not None and through.sequence == after.sequence:
            seen.append(through.arrival_ms)
        if seen:
            self._note_seen(after, max(seen))
        return bool(seen)

    def _note_seen(self, place: Position, seen_ms: int) -> None:
        if isinstance(self.log, Forgets):
            self.log.note_seen(place, seen_ms)

    def _check_not_ahead(
        self, after: Position, partitions: Collection[int], error: Exception
    ) -> None:
        """Why a log has no record of a place that is archived.

        Raises:
            MismatchError: the archive goes beyond it.
        """
        if not self._prefers:
            return
        for partition in sorted(partitions):
            reached = self.archive.view(partition).reaches(after.shard)
            if after.sequence >= 0 and reached is not None and after.sequence <= reached:
                raise MismatchError(
                    f"the archive goes beyond the log: partition {partition} is archived up to"
                    f" {self.archive.view(partition).end}, and {getattr(error, 'what', error)}",
                    self.name,
                    "was the log restored from an older copy? what follows there is another history",
                    partition=partition,
                ) from error

    def _trimmed(
        self, after: Position, partitions: Collection[int], error: TrimmedError
    ) -> TrimmedError:
        """The error for a place that neither has, by the partition of which least is there."""
        views = [self.archive.view(p) for p in partitions]
        short = [
            view
            for view in views
            if (reached := view.reaches(after.shard)) is None or reached <= after.sequence
        ]
        if not short:
            return error
        view = min(short, key=lambda each: each.partition)
        last = view.outlines[-1].last if view.outlines else 0
        begins = view.outlines[0] if view.outlines else None
        what = f"the archive ends at offset {last} of partition {view.partition}"
        details: dict[str, object] = {"partition": view.partition, "archived_through": last}
        if begins is None:
            what = f"nothing of partition {view.partition} is archived"
        elif begins.first > 1:
            what = f"the archive has offsets {begins.first} to {last} of partition {view.partition}"
            details["first"] = begins.first
        return TrimmedError(
            f"{what}, and the stream has forgotten what comes after {after}",
            f"{self.archive.name} and {self.log.name}",
            f"the nearest possible start is a snapshot that has partition {view.partition} beyond"
            f" offset {last}: binlog snapshots lists them, binlog rebuild takes it",
            **details,
        )


def _another(place: Position, partition: int, log: str, key: str) -> MismatchError:
    return MismatchError(
        f"at {place} the log has another record than the archive, where partition {partition} ends"
        f" in {key}",
        log,
        "was the log restored from a copy and written to since? that is another history",
        partition=partition,
    )


# -- what a log may be able to do beyond that --------------------------------------------------------


class _Archived(ArchivedLog):
    """What is handed on as it is."""

    log: Any


class _Remote(_Archived):
    @property
    def calls_max(self) -> int:
        return int(self.log.calls_max)

    @property
    def call_spacing_s(self) -> float:
        return float(self.log.call_spacing_s)

    @property
    def frames_per_s(self) -> float:
        return float(self.log.frames_per_s)

    def birth_ms(self) -> int:
        return int(self.log.birth_ms())


class _AsksTime(_Archived):
    def ask_time(self) -> None:
        self.log.ask_time()


class _ReadsAhead(_Archived):
    def expect(self, places: Sequence[Position]) -> None:
        """Those that the archive answers are fetched ahead when it is read, by chain."""
        known = self._lineage
        self.log.expect(
            [
                place
                for place in places
                if not (
                    self._prefers
                    and place.shard in known
                    and self._is_archived(place, known[place.shard].partitions)
                )
            ]
        )


class _HasHorizon(_Archived):
    def horizon(self) -> Horizon:
        """What is in both has the same places, and what is only archived lies before it."""
        found: Horizon = self.log.horizon()
        return found


class _Forgets(_Archived):
    def seen_ms(self, place: Position) -> int | None:
        found: int | None = self.log.seen_ms(place)
        return found

    def note_seen(self, place: Position, seen_ms: int) -> None:
        self.log.note_seen(place, seen_ms)

    def retention_s(self) -> float:
        return float(self.log.retention_s())


_KINDS: list[tuple[Any, type[_Archived]]] = [
    (Remote, _Remote),
    (AsksTime, _AsksTime),
    (ReadsAhead, _ReadsAhead),
    (Forgets, _Forgets),
    (HasHorizon, _HasHorizon),
]


@cache
def _kind(one: type[ArchivedLog], kinds: tuple[type[_Archived], ...]) -> type[ArchivedLog]:
    return type(one.__name__, (*kinds, one), {}) if kinds else one
