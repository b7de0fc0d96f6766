"""Delivered records into an archive: what Lambda and KCL hand over becomes segments.

The same shape as `consumers.delivery.Worker`, with a chain's end where that has a row. Invariants:

* a record is done when it is in its partition's chain, whoever put it there; `Outcome` follows from
  the chains' ends that stand, not from what was tried;
* what is remembered of a chain's end is a claim that the next write proves, since its key follows from
  it: who remembers an old one loses, and goes on at the true end. So zombies, overlapping calls and
  several workers of a shard are harmless;
* a call carries *all* partitions of its shard through the batch, so that of the shard one note says how
  far it is archived (`binlog.archive.through`);
* what is delivered is only a sign that there is something, and the log itself is read, from the note on.
  A mapping may deliver a shard in lanes, tomorrow if not today, and a foreign record in another lane than
  its home's; one that was set up anew may begin anywhere; and nothing in its batches says so. Whichever
  call comes first archives for all lanes;
* only where `whole` is promised, as the KCL does, and this very process has read the log up to what was
  delivered before, within `PROVED_S`, are the delivered records themselves taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from binlog.archive.archive import Archive
from binlog.archive.archiver import check_same_log
from binlog.archive.cutter import Cutter
from binlog.archive.segment_info import SegmentInfo
from binlog.archive.threads import Threads
from binlog.archive.through import Through, read_through, write_through
from binlog.archive.writer import Writer
from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError
from binlog.lineage import Lineage
from binlog.log import Log, Position, Record, Shard
from consumers.archive_turn import ArchiveTurn
from consumers.working import Outcome

PROVED_S = 600.0


class ArchiveWorker:
    """Archives what is delivered of the shards of one log, beside other workers and archivers.

    One thread at a time. ``whole``: who delivers to this process delivers whole shards, each from where
    it was on, as long as the process lives.

    Raises:
        MismatchError: an archive of another log.
    """

    def __init__(
        self, log: Log, archive: Archive, *, whole: bool = False, clock: Clock | None = None
    ) -> None:
        check_same_log(log, archive)
        self._desk = Desk(log, archive, SystemClock() if clock is None else clock, whole=whole)

    def shard(self, shard: str) -> Shard:
        """The shard of that id, for `consumers.delivery.record_of`.

        Raises:
            MismatchError: the log does not list it.
        """
        return self._desk.lineage.find(shard)

    def heard(self, shard: str) -> None:
        """Who delivers the shard has read on, and there was nothing."""

    def apply(
        self,
        shard: str,
        records: Sequence[Record],
        *,
        deadline: float | None = None,
        closed: bool = False,
    ) -> Outcome:
        """Archive records of one shard, which come in its order and without a gap of their lane.

        ``deadline`` is a monotonic time of the clock at which it stops to read; what it has then is
        written. ``closed``: the shard has ended behind these records.
        """
        turn = ArchiveTurn(self._desk, shard, records, deadline=deadline, closed=closed)
        with self._desk.threads:
            try:
                try:
                    turn.run()
                finally:
                    self._desk.writer.ends.write()
            except BinlogError as error:
                turn.error = error
            except BaseException:
                self._desk.forget()
                raise
        outcome = turn.outcome()
        if outcome.error is not None:
            self._desk.forget()
        return outcome


class Desk:
    """What a worker has from call to call; nothing waits in a cutter between two calls."""

    def __init__(self, log: Log, archive: Archive, clock: Clock, *, whole: bool) -> None:
        self.log = log
        self.archive = archive
        self.clock = clock
        self.lineage = Lineage(log)
        self.threads = Threads()
        self.writer = Writer(log, archive, later=self.threads.write_later)
        self.whole = whole
        self.noted_ms: dict[int, int] = {}  # the newest notes of quiet partitions (`Seen`)
        self._cutters: dict[int, Cutter] = {}
        # By the wall clock: while a process is frozen its other one may stand.
        self._through: dict[str, tuple[Through, int]] = {}

    def forget(self) -> None:
        """Remember nothing: the next call asks for the ends of the chains, and for the notes."""
        self._cutters.clear()
        self._through.clear()

    def cutter(self, partition: int) -> Cutter:
        """The partition's, at the end of its chain as it was known last."""
        cutter = self._cutters.get(partition)
        if cutter is None:
            end = self.archive.chain(partition).checked_end()
            if end is not None:
                self.writer.ends.note(end)
            self.learn(end)
            cutter = self._cutters[partition] = Cutter(
                self.log.params,
                self.log.genesis,
                partition,
                root=self.lineage.root(partition) if end is None else end.end.position,
                shard_of=self.lineage.find,
                end=end,
                later=self.threads.compress_later,
            )
        return cutter

    def known_end(self, partition: int) -> SegmentInfo | None:
        """The end of a chain that was seen to stand; ``None``: none is known."""
        cutter = self._cutters.get(partition)
        return None if cutter is None else cutter.end

    def learn(self, end: SegmentInfo | None) -> None:
        """Of the shards that a segment names: the log may list them no more."""
        for shard in () if end is None else end.shards:
            self.lineage.shards.setdefault(shard.id, shard)

    # -- how far a shard is ----------------------------------------------------------------------

    def is_proved(self, shard: str) -> bool:
        """Whether what is delivered next is all that comes after what this process has archived."""
        known = self._through.get(shard)
        passed_ms = 0 if known is None else self.clock.now_ms() - known[1]
        return known is not None and self.whole and 0 <= passed_ms < PROVED_S * 1000

    def through(self, shard: str) -> Through | None:
        """How far a shard is archived: the note.

        Where it is not the one that was written here, others are at work, and nothing that is
        remembered of the chains is their end any more.
        """
        note, known = read_through(self.archive.objects, shard), self._through.get(shard)
        if known is None or note != known[0]:
            self.forget()
        return note

    def note_through(self, through: Through) -> None:
        """After its segments: how far a shard is archived."""
        write_through(self.archive.objects, through)
        self._through[through.shard] = through, self.clock.now_ms()

    def start(self, shard: Shard, partition: int, notes: Mapping[str, Through]) -> Position:
        """From where on a partition may have records that its chain lacks."""
        end = self.cutter(partition).position
        for each in (shard.id, *self._before(shard, partition)):
            note = notes.get(each)
            if note is not None and self._is_of(note, partition, end):
                if each != end.shard:
                    return Position(each, note.sequence)
                return Position(each, max(end.sequence, note.sequence))
            if each == end.shard:
                return end
        return end

    def _is_of(self, note: Through, partition: int, end: Position) -> bool:
        """Whether a note says anything of a chain that ends there: not before the end that it names."""
        named = note.ends.get(partition)
        if named is None or (
            end.shard != note.shard and end.shard not in self.lineage.ancestors(note.shard)
        ):
            return False
        if named.shard == end.shard:
            return end.sequence >= named.sequence
        return named.shard in self.lineage.ancestors(end.shard)

    def _before(self, shard: Shard, partition: int) -> list[str]:
        """The shards that the partition came through, the nearest first."""
        found: list[str] = []
        parents = list(shard.parents)
        while parents:
            known = self.lineage.shards.get(parents.pop())
            if known is not None and partition in known.partitions:
                found.append(known.id)
                parents = list(known.parents)
        return found

    def notes_of(self, shard: Shard, note: Through | None) -> dict[str, Through]:
        """The note of a shard; where it has none, those of its parents."""
        if note is not None:
            return {shard.id: note}
        notes = {each: read_through(self.archive.objects, each) for each in shard.parents}
        return {each: note for each, note in notes.items() if note is not None}

    def remembered(self, shard: str) -> Through | None:
        """The note that was written here last."""
        known = self._through.get(shard)
        return None if known is None else known[0]
