"""One call of an archive worker: a batch of one shard's records, into the chains of its partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from binlog.archive.archiver import NOTE_EVERY_MS
from binlog.archive.cutter import Cutter
from binlog.archive.hole import hole_error
from binlog.archive.record_reader import RecordReader
from binlog.archive.seen import Seen, write_seen
from binlog.archive.through import Through
from binlog.archive.writer import Written
from binlog.errors import BinlogError, BusyError, LostError
from binlog.foreign import home_of
from binlog.halt import Halt, halted_error
from binlog.log import Forgets, Position, Record, Shard
from binlog.logger import get_logger
from binlog.standing import Start
from consumers.delivered import Delivery
from consumers.working import Outcome

if TYPE_CHECKING:
    from consumers.archive_worker import Desk

STARTS_MAX = 16  # of a call, when others are quicker
MEMORY_BYTES_MAX = 48 * 1024 * 1024
"""Of what waits to be written in one call; a mapping delivers 6 MB, which decompress to some times that."""

_logger = get_logger(__name__)


class ArchiveTurn:
    """One call of `ArchiveWorker.apply`."""

    def __init__(
        self,
        desk: Desk,
        shard: str,
        records: Sequence[Record],
        *,
        deadline: float | None,
        closed: bool,
    ) -> None:
        self.error: BinlogError | None = None
        self._desk = desk
        self._shard = shard
        self._records = records
        self._deadline = deadline
        self._closed = closed
        self._homes: list[int | None] | None = None  # of each record
        self._halts: dict[int, Halt] = {}
        self._holes: dict[int, BinlogError] = {}
        self._events = self._writes = self._foreign = 0
        self._is_late = False
        self._is_anew = False  # nothing is remembered, of what was forgotten meanwhile, say
        self._is_short = False  # the log gave less of itself than was delivered
        self._is_noted = False  # the shard's note is as far, or further

    def run(self) -> None:
        """Go as far as it goes."""
        shard = self._desk.lineage.find(self._shard)
        self._homes = [self._home(shard, record) for record in self._records]
        if not self._records and not self._closed:
            return
        for left in reversed(range(STARTS_MAX)):
            if self._carry(shard):
                break
            # Somebody else is at work: nothing that is remembered is to be relied on.
            self._desk.forget()
            if not left:
                raise LostError(
                    f"others were quicker {STARTS_MAX} times in a row",
                    self._desk.archive.name,
                    "see that a shard is delivered to one worker at a time",
                )
        if not (self._is_late or self._is_short or self._halts or self._holes):
            self._note(shard)

    @property
    def _last(self) -> int:
        return self._records[-1].sequence if self._records else -1

    def _home(self, shard: Shard, record: Record) -> int | None:
        """Whose chain a record belongs into; ``None``: nobody's, and nothing is to be done."""
        if record.partition >= 0:
            return record.partition
        params = self._desk.log.params
        if params.foreign == "skip":
            return None
        return home_of(shard, record.partition_key, params.partitions)

    def _is_done_by_others(self, shard: Shard) -> bool:
        """Whether all of these records are archived already, as the shard's note says."""
        homes = {home for home in self._homes or () if home is not None}
        for home in homes:
            self._desk.cutter(home)
        return all(self._is_archived(shard.id, home, self._last_of(home)) for home in homes)

    def _last_of(self, partition: int) -> int:
        pairs = zip(self._homes or (), self._records, strict=True)
        return max(record.sequence for home, record in pairs if home == partition)

    # -- reading and writing ---------------------------------------------------------------------

    def _carry(self, shard: Shard) -> bool:
        """Archive all partitions of the shard up to the batch's end; whether nobody came between."""
        desk = self._desk
        is_delivered = not self._closed and desk.is_proved(shard.id)
        note = desk.remembered(shard.id) if is_delivered else desk.through(shard.id)
        if note is not None and not self._closed and note.sequence >= self._last:
            if self._is_done_by_others(shard):
                self._is_noted = True
                return True
            _logger.error("note.untrue", shard=shard.id, sequence=note.sequence)
            note = None
        notes = desk.notes_of(shard, note)
        cutters = {partition: desk.cutter(partition) for partition in sorted(shard.partitions)}
        starts = {
            partition: self._start(shard, partition, notes)
            for partition, cutter in cutters.items()
            if cutter.end is not None
        }
        pages = None
        if is_delivered:
            pages = Delivery(desk.log, desk.lineage, shard, self._records, closed=False)
        reader = RecordReader(desk.log, cutters, starts, pages=pages, lineage=desk.lineage)
        while not self._is_over(reader, shard, is_delivered=is_delivered):
            runs = reader.read()
            waiting = sum(cutter.memory_bytes for cutter in cutters.values())
            if waiting > MEMORY_BYTES_MAX and not self._write(cutters):
                return False
            if runs is None:
                break
        if not self._write(cutters):
            return False
        self._is_short = not is_delivered and not all(
            self._is_read_up(reader, shard, partition) for partition in reader.partitions
        )
        if is_delivered and (reader.halts or reader.trimmed):
            return False  # that may come of an end that is not the end any more
        if reader.trimmed and not self._is_anew:
            self._is_anew = True  # likewise: others may have got beyond what is forgotten
            return False
        self._halts.update(reader.halts)
        for partition, error in reader.trimmed.items():
            self._holes[partition] = hole_error(
                error, partition, cutters[partition], len(reader.trimmed), desk.archive
            )
        return True

    def _start(self, shard: Shard, partition: int, notes: Mapping[str, Through]) -> Start:
        end = self._desk.cutter(partition).end
        assert end is not None
        place = self._desk.start(shard, partition, notes)
        note = notes.get(place.shard)
        is_note = note is not None and note.sequence == place.sequence
        seen_ms = note.arrival_ms if note is not None and is_note else None
        start = end.going_on()
        return Start(place, start.state, start.applied, seen_ms)

    def _is_over(self, reader: RecordReader, shard: Shard, *, is_delivered: bool) -> bool:
        """Whether to read no more: the time is up, or all that was delivered was read."""
        if self._deadline is not None and self._desk.clock.monotonic() >= self._deadline:
            self._is_late = True
            return True
        if is_delivered:
            return False
        return all(self._is_read(reader, shard, partition) for partition in reader.partitions)

    def _is_read(self, reader: RecordReader, shard: Shard, partition: int) -> bool:
        is_over = not self._closed or reader.position(partition).shard != shard.id
        is_left = partition in reader.halts or partition in reader.trimmed
        return is_left or (is_over and self._is_read_up(reader, shard, partition))

    def _is_read_up(self, reader: RecordReader, shard: Shard, partition: int) -> bool:
        """Whether all of the partition was read up to the last record that was delivered.

        Who delivers may have what a call for the log's end does not give yet, and beyond what was read
        nothing may be noted.
        """
        if partition in reader.halts or partition in reader.trimmed:
            return True
        place = reader.position(partition)
        if place.shard == shard.id:
            return place.sequence >= self._last
        return self._is_through(place.shard)

    def _write(self, cutters: Mapping[int, Cutter]) -> bool:
        """Write what waits; whether all of it was ours to write."""
        are_ours: list[bool] = []

        def note(written: Written) -> None:
            are_ours.append(written.is_ours)
            self._desk.learn(written.info)
            if written.is_ours:
                self._events += written.info.events
                self._foreign += written.info.foreign
                self._writes += 1

        self._desk.writer.write([c for c in cutters.values() if c.records], note)
        return all(are_ours)

    # -- notes -----------------------------------------------------------------------------------

    def _note(self, shard: Shard) -> None:
        """How far the shard is archived, and of its quiet partitions that there was nothing."""
        if not self._records or self._is_noted:
            return
        last = self._records[-1]
        found = {partition: self._desk.known_end(partition) for partition in shard.partitions}
        ends = {p: end.end.position for p, end in sorted(found.items()) if end is not None}
        self._desk.note_through(Through(shard.id, last.sequence, last.arrival_ms, ends))
        if not isinstance(self._desk.log, Forgets):
            return
        noted = self._desk.noted_ms
        for partition in sorted(shard.partitions.difference(self._homes or ())):
            end = self._desk.known_end(partition)
            if end is None or end.end.position.shard != shard.id:
                continue
            newest_ms = max(end.arrival_last_ms, noted.get(partition, 0))
            place = Position(shard.id, last.sequence)
            is_behind = end.end.position.sequence < place.sequence
            if is_behind and last.arrival_ms - newest_ms >= NOTE_EVERY_MS:
                seen = Seen(place, last.arrival_ms, end.end.position, (end.shards[-1],))
                write_seen(self._desk.archive.objects, partition, seen)
                noted[partition] = last.arrival_ms

    # -- what became of it -----------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """What the chains' ends say."""
        failed = None
        if self._homes is None:  # nothing was done
            failed = self._records[0].sequence if self._records else None
        for home, record in zip(self._homes or (), self._records, strict=False):
            if home is not None and not self._is_archived(self._shard, home, record.sequence):
                failed = record.sequence
                break
        error = self.error or next(iter(self._holes.values()), None)
        if error is None and self._halts:
            halt = min(self._halts.values(), key=lambda halt: halt.position.sequence)
            error = halted_error(halt, self._desk.log.locate(halt.position))
        if error is None and self._is_short and not self._is_late:
            error = BusyError(
                f"the log does not give yet what was delivered, up to record {self._last}",
                f"shard {self._shard} of {self._desk.log.name}",
                "it is to be delivered again",
            )
            failed = (
                failed if failed is not None or not self._records else self._records[0].sequence
            )
        if error is None and (failed is not None or (self._closed and self._is_late)):
            error = BusyError(
                "the time of a call is up",
                f"shard {self._shard} of {self._desk.log.name}",
                "the rest is to be delivered again; with fewer records at a time more is done",
            )
        if error is not None and failed is None:  # of what was not delivered here
            _logger.error("archive.unwell", shard=self._shard, error=str(error))
        return Outcome(
            first_failed=failed,
            error=error,
            events=self._events,
            writes=self._writes,
            foreign=self._foreign,
            halted=tuple(self._halts.values()),
        )

    def _is_archived(self, shard: str, home: int, sequence: int) -> bool:
        end = self._desk.known_end(home)
        if end is None:
            return False
        place = end.end.position
        return place.sequence >= sequence if place.shard == shard else self._is_through(place.shard)

    def _is_through(self, shard: str) -> bool:
        """Whether that shard is a later one than the delivered one."""
        lineage = self._desk.lineage
        if shard not in lineage.shards:
            lineage.refresh()
        return self._shard in lineage.ancestors(shard)
