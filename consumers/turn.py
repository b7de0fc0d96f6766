"""One call of a worker: a batch of one shard's records, carried through every generation."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from appliers.fold import Counts
from appliers.store import Generation, Sink
from binlog.archive.archived_log import ArchivedLog
from binlog.columns import FrameError
from binlog.errors import (
    BinlogError,
    BusyError,
    LostError,
    MismatchError,
    TrimmedError,
    UpgradeError,
)
from binlog.foreign import Foreign, foreign_of
from binlog.frame import decode_header
from binlog.halt import Halt, halted_error
from binlog.lineage import Lineage
from binlog.log import Log, Position, Record, Shard
from binlog.pages import Pages
from consumers.budget import Budget
from consumers.checkpoint import carried_ms
from consumers.continuity import Carried, Continuity
from consumers.delivered import Delivery
from consumers.engine import Engine
from consumers.engines import Engines
from consumers.followed import add_counts, followed, taken_by_others
from consumers.foreign_halts import decision_on
from consumers.rows import Place
from consumers.working import Outcome, Working

STARTS_MAX = 16  # of a call, when others move what it stands on
END_MS = 10_000  # what clocks of a log may differ by, and whole seconds may hide


class Tools(msgspec.Struct, frozen=True):
    """What a worker has from call to call; none of it says where anything stands."""

    log: Log
    store: Sink
    how: Working
    lineage: Lineage
    budget: Budget
    continuity: Continuity
    engines: Engines


class Turn:
    """One call of `Worker.apply`."""

    def __init__(
        self, tools: Tools, shard: str, records: Sequence[Record], *, closed: bool
    ) -> None:
        self._tools = tools
        self._shard = shard
        self._records = records
        self._closed = closed
        self._first: dict[int, Record] = {}  # by partition
        self._last: dict[int, int] = {}  # its sequence number
        self._foreign: list[Foreign] = []
        self._is_kept = False  # every one of them
        self._places: dict[str, dict[int, Place]] = {}  # durable, by generation and partition
        self._failed: dict[int, BinlogError] = {}
        self._error: BinlogError | None = None
        self._late: BinlogError | None = None  # that one, where it is only about time
        self._halts: dict[Halt, None] = {}
        self._counts = Counts()
        self._writes = self._duplicates = 0

    def run(self) -> None:
        """Go as far as it goes."""
        try:
            shard = self._tools.lineage.find(self._shard)
            given = self._before_foreign_halt(shard)
            own = [record for record in given if record.partition >= 0]
            closed = self._closed and len(given) == len(self._records)
            self._last = {record.partition: record.sequence for record in own}
            self._first = {record.partition: record for record in reversed(own)}
            self._partitions = shard.partitions if closed else frozenset(self._last)
            self._delivery = Delivery(
                self._tools.log, self._tools.lineage, shard, own, closed=closed
            )
            for left in reversed(range(STARTS_MAX)):
                try:
                    self._carry_all()
                    return
                except LostError:
                    if not left:
                        raise
        except BinlogError as error:
            self._error = error

    def _before_foreign_halt(self, shard: Shard) -> Sequence[Record]:
        """The records before a foreign one that nobody has decided on, and what of these to keep."""
        policy = self._tools.log.params.foreign
        for at, record in enumerate(self._records):
            if record.partition >= 0 or policy == "skip":
                continue
            if policy == "halt":
                decision = decision_on(self._tools.log, shard, record, self._tools.lineage.searched)
                if isinstance(decision, Halt):
                    self._halts[decision] = None
                    return self._records[:at]
                if decision == "skip":
                    continue
            self._foreign.append(foreign_of(shard.id, record))
        return self._records

    def _carry_all(self) -> None:
        """Carry all generations through the batch, from what the store is now."""
        self._places.clear()
        self._failed.clear()
        tools, how = self._tools, self._tools.how
        generations = followed(
            tools.log,
            tools.store,
            how.rules,
            excluded=how.excluded,
            same_meaning=how.same_meaning,
        )
        if self._foreign:
            tools.store.commit(generations[0].id, [], [], foreign=self._foreign)
        self._is_kept = True
        taken = taken_by_others(generations)
        self._places.update((generation.id, {}) for generation in generations)
        for generation in generations if self._partitions else ():
            self._carry(generation, taken)

    def _carry(self, generation: Generation, taken: frozenset[str]) -> None:
        engine = self._tools.engines.of(generation, taken, self._delivery, self._partitions)
        places = self._places[generation.id]
        places.update(engine.places)
        for partition, place in places.items():
            if self._is_elsewhere(place[0]):
                self._failed[partition] = self._elsewhere(partition, place[0])
        able = self._partitions.difference(self._failed)
        new = {p for p in able.difference(engine.begun) if self._begins_with_genesis(p)}
        apart = able - engine.joined - new
        ready = able - apart
        try:
            looked = bool(ready) and self._check_continuity(generation, engine, ready - new)
        except TrimmedError:
            log = self._tools.log
            if not (isinstance(log, ArchivedLog) and log.has_archive()):
                raise
            # What was not delivered the archive may have: they are read from there to the log's end.
            apart, ready, looked = apart | (ready - new), ready & new, False
        silent = self._unjoined(generation) if apart else frozenset()
        if apart and self._run(engine, places, apart | silent, None):
            reader = engine.reader
            engine.joined |= silent.intersection(reader.partitions).difference(reader.halts)
            engine.joined |= {p for p in apart if self._is_covered(p, places[p])}
            engine.checkpoint()
            places.update(engine.places)
        if ready:
            self._run(engine, places, ready, self._delivery, new=new, anew=looked)

    def _unjoined(self, generation: Generation) -> frozenset[int]:
        """The shard's partitions that nothing is delivered of here, and whose rows have not joined.

        What came to them before this generation was there may be done in another one. If they are
        silent from now on, no batch would ever carry them over it.
        """
        others = self._tools.lineage.find(self._shard).partitions - self._partitions
        rows = self._tools.store.checkpoints(generation.id, sorted(others)) if others else {}
        return others.difference(p for p, row in rows.items() if row.joined)

    def _check_continuity(
        self, generation: Generation, engine: Engine, partitions: frozenset[int]
    ) -> bool:
        """That nothing was forgotten undelivered; whether rows were read for that.

        What has gone through the shard to its children has nothing more to come from it.
        """
        looked = False

        def read_rows(others: Collection[int]) -> dict[int, Carried]:
            nonlocal looked
            looked = True
            rows = self._tools.store.checkpoints(generation.id, sorted(others))
            return {
                p: Carried(row.shard, row.sequence, carried_ms(row))
                for p, row in rows.items()
                if not self._is_through(row.shard)
            }

        places = engine.places
        self._tools.continuity.check(
            self._tools.lineage.find(self._shard),
            self._records,
            {
                p: Carried(*places[p][:2], engine.carried_ms(p))
                for p in partitions.intersection(engine.begun)
                if not self._is_through(places[p][0])
            },
            read_rows,
            closed=self._closed,
        )
        return looked

    def _begins_with_genesis(self, partition: int) -> bool:
        first = self._first.get(partition)
        try:
            return first is not None and decode_header(first.data).genesis
        except (FrameError, UpgradeError):
            return False

    def _run(
        self,
        engine: Engine,
        places: dict[int, Place],
        partitions: frozenset[int],
        pages: Pages | None,
        *,
        new: Collection[int] = (),
        anew: bool = False,
    ) -> bool:
        """Carry partitions to the end of what they are read from; whether there was time.

        ``anew``: other rows were read since theirs were.
        """
        left, lost = set(partitions), engine.lost + STARTS_MAX
        # The log's end as it is now, and a little more; a busy one has no other.
        until_ms = self._tools.log.now_ms() + END_MS if pages is None else None
        if anew or pages is None or left != self._partitions:
            engine.go_on(pages=pages, partitions=left)
        engine.joined.update(left.intersection(new))
        copies = engine.total_duplicates()
        while left:
            try:
                failure = self._step_on(engine, left, lost, until_ms)
            finally:
                places.update(engine.places)
            # Of silent partitions nothing is delivered that could fail.
            halts = engine.reader.halts
            self._halts.update(dict.fromkeys(halts[p] for p in halts if p in self._partitions))
            if failure is None:
                break
            self._failed.update((p, failure[p]) for p in failure if p in self._partitions)
            left.difference_update(failure)
            engine.go_on(pages=pages, partitions=left)
            engine.joined.update(left.intersection(new))
        self._duplicates += engine.total_duplicates() - copies
        return self._error is None

    def _step_on(
        self, engine: Engine, left: Collection[int], lost_max: int, until_ms: int | None
    ) -> dict[int, BinlogError] | None:
        """Page after page; ends with the failure of a partition, or for good.

        ``until_ms``: all that arrived before is enough, where more comes without end.
        """
        budget = self._tools.budget
        while True:
            size = budget.page_bytes()
            if size is None:
                self._error = self._late = self._out_of_time()
                return None
            engine.read_pages_of(size)
            lost, read = engine.lost, engine.reader.bytes_read
            try:
                step = engine.step()
            except BinlogError as error:
                partition = error.details.get("partition")
                if error.retriable or isinstance(error, LostError) or partition not in left:
                    raise
                return {partition: error}  # type: ignore[dict-item]  # it is one of them
            if step is None and engine.lost == lost:
                return None
            if engine.lost > lost_max:
                raise self._lost_again()
            if step is not None:
                budget.note(engine.reader.bytes_read - read)
                self._writes += step.writes
                add_counts(self._counts, step.counts)
            through_ms = None if until_ms is None else engine.reader.through_ms()
            if until_ms is not None and through_ms is not None and through_ms >= until_ms:
                return None

    # -- what became of it -----------------------------------------------------------------------

    def outcome(self) -> Outcome:
        """What the rows say that stand now."""
        at = next((n for n, r in enumerate(self._records) if not self._is_done(r)), None)
        failed = None if at is None else self._records[at].sequence
        error = self._error or next(iter(self._failed.values()), None)
        if error is self._late and failed is None and not self._closed:
            error = None  # nothing was left to do
        if error is None and self._halts:
            halt = min(self._halts, key=lambda halt: halt.position.sequence)
            error = halted_error(halt, self._tools.log.locate(halt.position))
        if error is None and failed is not None:
            error = self._not_yet()
        counts = self._counts
        return Outcome(
            first_failed=failed,
            error=error,
            events=counts.events,
            writes=self._writes,
            rejected=counts.rejected,
            parked=counts.parked,
            duplicates=self._duplicates,
            foreign=len(self._foreign) if self._is_kept else 0,
            halted=tuple(self._halts),
        )

    def _is_done(self, record: Record) -> bool:
        if record.partition < 0:
            place = Position(self._shard, record.sequence)
            return self._is_kept and all(halt.position != place for halt in self._halts)
        partition = record.partition
        return bool(self._places) and all(
            partition in places and self._covers(places[partition], record.sequence)
            for places in self._places.values()
        )

    def _is_covered(self, partition: int, place: Place) -> bool:
        return self._covers(place, self._last.get(partition, -1))

    def _covers(self, place: Place, sequence: int) -> bool:
        """Whether the record of that number is behind a place."""
        shard, through, _ = place
        if shard == self._shard:
            return through >= sequence
        return self._is_through(shard)

    def _is_through(self, shard: str) -> bool:
        """Whether a place in that shard is beyond all of the delivered one."""
        return self._shard in self._tools.lineage.ancestors(shard)

    def _is_elsewhere(self, shard: str) -> bool:
        """Whether a row's shard has nothing to do with what is delivered."""
        lineage = self._tools.lineage
        if shard == self._shard or shard in lineage.ancestors(self._shard):
            return False
        if shard not in lineage.shards:
            lineage.refresh()
        return self._shard not in lineage.ancestors(shard)

    # -- errors ----------------------------------------------------------------------------------

    def _elsewhere(self, partition: int, shard: str) -> MismatchError:
        return MismatchError(
            f"partition {partition} stands in shard {shard}, which is neither before nor after the "
            "one delivered",
            f"{self._tools.store.name}, shard {self._shard} of {self._tools.log.name}",
            "does the log still list the shards between? else rebuild the store",
            partition=partition,
        )

    def _out_of_time(self) -> BusyError:
        return BusyError(
            "the time of a call is up",
            f"shard {self._shard} of {self._tools.log.name}",
            "the rest is to be delivered again; with fewer records at a time more of them are done",
        )

    def _lost_again(self) -> LostError:
        return LostError(
            f"others moved the checkpoints {STARTS_MAX} times in a row",
            self._tools.store.name,
            "see that a shard is delivered to one worker at a time",
        )

    def _not_yet(self) -> BusyError:
        return BusyError(
            "the log shows the end of an earlier shard, or its own, later than what follows",
            f"shard {self._shard} of {self._tools.log.name}",
            "have it delivered again",
        )
