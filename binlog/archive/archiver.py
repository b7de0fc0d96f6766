"""The archiver: follows a log and keeps its records in an archive. Any number of them may.

Invariants:

* a segment is written under the key that the chain's end names, create-if-absent; whoever finds
  another's there goes on at that one's end, with its state (A1). So nothing needs a lock, a lease or
  a clock, and an archiver may be killed anywhere: the next one goes on at the ends of the chains;
* nothing is archived behind a hole: a partition of which the log has forgotten records is left
  there, named, and the others go on;
* likewise one whose chain ends in a segment that cannot be read;
* a halted partition is archived up to the record that halts it;
* memory is bounded, whatever the number of partitions: what waits above `Archiving.memory_bytes_max`
  is cut, the largest first.

A partition's segment is cut when its oldest record has waited for `segment_every_s` since it was read
(by a monotonic clock), or it has grown to `segment_bytes_max`; at the end of a run all of them are. A
quiet partition makes no segment: a note says how far it was seen (`binlog.archive.seen`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from binlog.archive.announcement import announce
from binlog.archive.archive import Archive
from binlog.archive.archiving import Archiving, Lane, Report
from binlog.archive.cutter import Cutter
from binlog.archive.hole import hole_error
from binlog.archive.record_reader import RecordReader
from binlog.archive.seen import Seen, read_seen, write_seen
from binlog.archive.segment_info import SegmentInfo
from binlog.archive.threads import Threads
from binlog.archive.writer import Writer, Written
from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError, DamageError, MismatchError
from binlog.halt import Halt, halted_error
from binlog.horizon import horizon_of
from binlog.lineage import Lineage
from binlog.log import Forgets, Log
from binlog.logger import get_logger
from binlog.standing import Start
from binlog.vector import without_zeros

__all__ = ["Archiver", "Archiving", "Lane", "Report", "archive", "check_same_log"]

WAIT_S = 0.5  # for new records, and so how late a stop or a time to cut is noticed
RETRY_S = 60.0  # between two looks for what lifts a halt
NOTE_EVERY_MS = (
    3 * 3_600_000
)  # how old a quiet partition's note may become: retentions begin at 24 h
ANNOUNCE_EVERY_S = 6 * 3_600.0  # likewise

_logger = get_logger(__name__)


Progress = Callable[[Report], object]


def archive(
    log: Log,
    into: Archive,
    how: Archiving = Archiving(),  # noqa: B008  (frozen)
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] | None = None,
    clock: Clock | None = None,
) -> Report:
    """Archive what the log has beyond the ends of the archive's chains.

    Ends at the log's end with ``once``, else when ``stop`` says so, which is asked at least every
    half second; either way all that was read is archived then. ``progress`` is called with the
    records archived so far.

    Raises:
        MismatchError: an archive of another log.
        TrimmedError: the log has forgotten what the archive lacks; the other partitions were
            archived first.
        HaltedError: with ``once``: a partition is halted, likewise.
        DamageError: of the log or the archive; what lies before was archived, if it could be.
        StorageError, RefusedError: the log's or the storage's; run it again.
    """
    return Archiver(log, into, how, clock=clock).run(stop=stop, progress=progress)


class Archiver:
    """One run."""

    def __init__(
        self, log: Log, into: Archive, how: Archiving, *, clock: Clock | None = None
    ) -> None:
        check_same_log(log, into)
        self._log = log
        self._archive = into
        self._how = how
        self._clock: Clock = SystemClock() if clock is None else clock
        self._threads = Threads()
        self._writer = Writer(log, into, later=self._threads.write_later)
        self._since: dict[int, float] = {}  # when the oldest record that waits was read
        self._notes: dict[int, Seen] = {}
        self._halts_told: set[Halt] = set()
        self._trimmed_at: float | None = None
        self._lineage = Lineage(log)
        self._announced = 0
        self._announce_at = self._ends_at = self._ends_again_at = self._clock.monotonic()
        self._cutters: dict[int, Cutter] = {}
        starts: dict[int, Start] = {}
        self._lanes: dict[int, Lane] = {}
        self._damaged: dict[int, DamageError] = {}  # chains whose end cannot be gone on from
        for partition, end in into.checked_ends().items():
            if isinstance(end, DamageError):
                self._damaged[partition] = end
                continue
            cutter = self._cutters[partition] = Cutter(
                log.params,
                log.genesis,
                partition,
                root=self._lineage.root(partition) if end is None else end.end.position,
                shard_of=self._lineage.find,
                end=end,
                later=self._threads.compress_later,
            )
            self._lanes[partition] = Lane(partition, cutter.sequencer.offset)
            if end is not None:
                self._writer.ends.note(end)  # whoever wrote it may have ended before its note
                for shard in end.shards:  # the log may list them no more
                    self._lineage.shards.setdefault(shard.id, shard)
                starts[partition] = self._start(partition, end.going_on())
        self._reader = RecordReader(
            log, self._cutters, starts, lineage=self._lineage, page_bytes=how.page_bytes
        )

    def _start(self, partition: int, start: Start) -> Start:
        """Where reading goes on: at the chain's end, or where it was seen that nothing came."""
        if not isinstance(self._log, Forgets):
            return start
        note = read_seen(self._archive.objects, partition)
        if note is None:
            return start
        self._notes[partition] = note
        if note.end != start.position:
            return start  # it was written before the last segments were
        for shard in note.shards:  # the log may list them no more
            self._lineage.shards.setdefault(shard.id, shard)
        return Start(note.position, start.state, start.applied, note.seen_ms)

    # -- the run ---------------------------------------------------------------------------------

    def run(
        self,
        *,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] | None = None,
    ) -> Report:
        """Until the log's end, or until told to stop; see `archive`."""
        with self._threads:
            return self._run(stop, progress)

    def _run(self, stop: Callable[[], bool], progress: Callable[[int], None] | None) -> Report:
        started = retry_at = self._clock.monotonic()
        reader = self._reader
        if self._how.once:
            self._announce()  # which the archive is to have as well
            reader.extend(horizon_of(self._log))
        while not stop():
            self._announce()
            try:
                runs = reader.read(wait_s=self._wait_s())
            except BinlogError:
                # What lies before damage is good, and may soon be all that is left.
                self._write_all()
                self._writer.ends.write()
                raise
            now = self._clock.monotonic()
            self._take_in(now)
            self._write_due(now)
            self._note_ends(now)
            if progress is not None:
                progress(sum(lane.records for lane in self._lanes.values()))
            if runs is None:
                # What another archiver won is to be gone on behind: until nothing is left to read.
                if self._how.once and self._write_all() and not self._go_on_behind_others():
                    break
                self._note_quiet()
            if self._is_hopeless(now, is_idle=runs is None):
                break
            if reader.halts and now >= retry_at and not self._how.once:
                retry_at = now + RETRY_S
                self._tell_halts()
                reader.retry_halted()
        self._write_all()
        self._writer.ends.write()
        self._note_quiet()
        self._raise_trimmed()
        if self._how.once:
            reader.raise_halts()
        return Report(
            tuple(self._lanes[p] for p in sorted(self._lanes)),
            without_zeros({p: lane.offset for p, lane in self._lanes.items()}),
            reader.bytes_read,
            self._clock.monotonic() - started,
            tuple(halt for _, halt in sorted(reader.halts.items())),
            self._announced,
        )

    def _announce(self) -> None:
        """Name the archive in the log, and again before the log has forgotten it."""
        now = self._clock.monotonic()
        if self._how.announced is None or now < self._announce_at:
            return
        self._announced += announce(self._log, self._how.announced)
        forgets = isinstance(self._log, Forgets)
        self._announce_at = now + (ANNOUNCE_EVERY_S if forgets else math.inf)

    def _wait_s(self) -> float:
        if self._how.once:
            return 0.0
        if not self._since:
            return WAIT_S
        due = min(self._since.values()) + self._how.segment_every_s
        return max(0.0, min(WAIT_S, due - self._clock.monotonic()))

    def _take_in(self, now: float) -> None:
        for partition in self._reader.take_touched():
            if self._cutters[partition].records:
                self._since.setdefault(partition, now)

    def _write_due(self, now: float) -> None:
        how = self._how
        due = {
            partition
            for partition, since in self._since.items()
            if self._cutters[partition].raw_bytes >= how.segment_bytes_max
            or (
                not how.once and now - since >= self._cutters[partition].wait_s(how.segment_every_s)
            )
        }
        sizes = {p: self._cutters[p].memory_bytes for p in self._since if p not in due}
        total = sum(sizes.values())
        for partition in sorted(sizes, key=lambda p: -sizes[p]):
            if total <= how.memory_bytes_max:
                break
            total -= sizes[partition]
            due.add(partition)
        self._write(due)

    def _write_all(self) -> bool:
        """Write everything that waits; whether all of it was ours to write."""
        return self._write(self._since)

    def _write(self, partitions: Collection[int]) -> bool:
        # What can be written no more is refused, and then all others are to be written already.
        if any(self._cutters[p].is_full for p in partitions):
            partitions = self._since
        are_ours: list[bool] = []

        def note(written: Written) -> None:
            self._note_written(written)
            are_ours.append(written.is_ours)

        self._writer.write([self._cutters[p] for p in sorted(partitions)], note)
        return all(are_ours)

    def _note_written(self, written: Written) -> None:
        info, partition = written.info, written.info.partition
        lane = self._lanes[partition]
        del self._since[partition]
        lane.offset = self._cutters[partition].sequencer.offset
        if written.is_ours:
            lane.segments += 1
            lane.records += info.records
            lane.events += info.events
            lane.bytes += info.bytes
            lane.raw_bytes += info.raw_bytes
        else:
            lane.lost += 1
            for shard in info.shards:
                self._lineage.shards.setdefault(shard.id, shard)
            self._reader.reset(partition)

    # -- notes: where the chains end, and quiet partitions ------------------------------------------------------------------------

    def _note_ends(self, now: float) -> None:
        """Once each T at most, that there are fewer notes than segments; and all of them now and then."""
        if now >= self._ends_again_at:
            self._ends_again_at = now + NOTE_EVERY_MS / 1000
            self._writer.ends.again()
        if self._writer.ends.waits and now >= self._ends_at:
            self._ends_at = now + self._how.segment_every_s
            self._writer.ends.write()

    def _note_quiet(self) -> None:
        """Of partitions with nothing new, how far that was seen.

        Not of each that has become quiet: its last record is young. In a few hours it is not, and
        then it is noted.
        """
        if not isinstance(self._log, Forgets):
            return
        for partition, cutter in self._cutters.items():
            seen_ms = self._reader.seen_ms(partition)
            if cutter.records or cutter.end is None or seen_ms is None:
                continue
            if partition in self._reader.halts:
                continue
            end = cutter.end.end.position
            place, known = self._reader.position(partition), self._notes.get(partition)
            if (
                known is not None
                and known.position.shard == place.shard
                and seen_ms - known.seen_ms < NOTE_EVERY_MS
            ):
                continue
            way = tuple(cutter.told(shard) for shard in cutter.way_to(place.shard))
            note = self._notes[partition] = Seen(place, seen_ms, end, way)
            write_seen(self._archive.objects, partition, note)

    # -- what needs somebody ---------------------------------------------------------------------

    def _tell_halts(self) -> None:
        for halt in self._reader.halts.values():
            if halt not in self._halts_told:
                self._halts_told.add(halt)
                error = halted_error(halt, self._log.locate(halt.position), log=self._log.name)
                _logger.error("partition.halted", partition=halt.partition, error=str(error))

    def _is_hopeless(self, now: float, *, is_idle: bool) -> bool:
        """Whether a hole is to be told now: the other partitions come first, but not for ever."""
        if not self._reader.trimmed and not self._damaged:
            return False
        if self._trimmed_at is None:
            self._trimmed_at = now
        if not is_idle and now - self._trimmed_at < RETRY_S:
            return False
        self._trimmed_at = None
        self._go_on_behind_others()
        return bool(self._reader.trimmed or self._damaged)

    def _go_on_behind_others(self) -> bool:
        """Of what the log has forgotten: whether another archiver has meanwhile got beyond it somewhere.

        Then nothing lacks; it was only this one that came late, stopped for a day perhaps.
        """
        late = False
        for partition in list(self._reader.trimmed):
            cutter, known = self._cutters[partition], self._notes.get(partition)
            end = self._archive.chain(partition).checked_end()
            if end is None:
                continue
            start = self._start(partition, end.going_on())
            if cutter.end is not None and end.place <= cutter.end.place:
                if cutter.records or self._notes.get(partition) == known:
                    continue
            else:
                self._stand_behind(partition, end)
            self._reader.reset(partition, start)
            late = True
        return late

    def _stand_behind(self, partition: int, end: SegmentInfo) -> None:
        """Stand at another archiver's end, and give up what waits."""
        self._cutters[partition].go_on_at(end)
        self._since.pop(partition, None)
        self._lanes[partition].offset = end.last
        self._lanes[partition].lost += 1
        for shard in end.shards:
            self._lineage.shards.setdefault(shard.id, shard)

    def _raise_trimmed(self) -> None:
        for partition in sorted(self._damaged):
            raise self._damaged[partition]
        trimmed = self._reader.trimmed
        if trimmed:
            partition = min(trimmed)
            raise hole_error(
                trimmed[partition], partition, self._cutters[partition], len(trimmed), self._archive
            ) from trimmed[partition]


def check_same_log(log: Log, into: Archive) -> None:
    """That the archive is the log's.

    Raises:
        MismatchError: it is another one's.
    """
    if log.genesis != into.genesis:
        raise MismatchError(
            f"an archive of the log {into.log_id}, and this log is {log.params.log_id}",
            f"{into.name}, {log.name}",
            "give each log an archive of its own",
        )
