"""The engine: carries one generation of a store forward, page by page of the log.

Read, sequence, fold, write, checkpoint: rules C0 to C4. Invariants:

* a checkpoint is committed with or after the writes that it covers, never before (C3); how long
  after, where a store is paid by the write, is the matter of `consumers.thrift`;
* it stands at a record boundary and goes with the sequencer state of that place (C2);
* so are the foreign records that it goes by (`binlog.foreign`);
* an event that fits no item, where the engine ``parks``, is a dead letter before its item is marked,
  and the item is marked before the checkpoint (`appliers.letters`);
* a write whose condition failed is read again and folded again from the same runs, never taken
  for done or not done (I2); what others applied meanwhile then asks for no write;
* if somebody else moved the checkpoint, all that was folded is thrown away and reading starts
  over at what the store holds.

The engine has no clock and no sleep, and touches the world through a `Log` and a `Sink` only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from appliers.adoption import Bases
from appliers.applier import Rules
from appliers.batch import Batch, fold_batch
from appliers.exclusion import parse_exclusions
from appliers.fingerprint import fingerprint
from appliers.fold import Counts
from appliers.item import Row, Write
from appliers.letters import LetterPlace
from appliers.routing import Routing
from appliers.starts import starts_of
from appliers.store import Checkpoint, Generation, Sink
from binlog.errors import LostError, PoisonError, UpgradeError
from binlog.horizon import Horizon
from binlog.lineage import Lineage
from binlog.log import Log
from binlog.pages import Pages
from binlog.reader import PAGE_BYTES, Reader
from binlog.run import Run
from consumers.adopting import Adopting
from consumers.rows import Place, Rows
from consumers.telling import Telling
from consumers.thrift import Thrift
from snapshots.rebuild import checkpoint_of, duplicates_of

PARKED_MAX = 10_000  # items that are remembered as parked: they are read at once
TRIES_MAX = 8  # of one batch against failing conditions, before the engine starts over


class Step(msgspec.Struct, frozen=True):
    """What one page came to."""

    writes: int  # items written
    counts: Counts


class Engine:
    """Carries ``generation`` of ``store`` forward; ``step`` until it gives ``None``."""

    def __init__(
        self,
        log: Log,
        store: Sink,
        generation: Generation,
        rules: Rules,
        *,
        taken: Iterable[str] = (),
        page_bytes: int = PAGE_BYTES,
        tell_halts: bool = True,
        thrift: Thrift | None = None,
        poison: Literal["stop", "park"] = "stop",
        pages: Pages | None = None,
        partitions: Collection[int] | None = None,
        lineage: Lineage | None = None,
        bases: Bases | None = None,
        horizon: Horizon | None = None,
    ) -> None:
        """``taken`` are the tables that other generations have, if this is the open one.

        ``bases`` are those of adopted tables; without them such a table is to be there already.

        ``pages``, ``partitions``, ``lineage`` and ``horizon`` are those of a `binlog.reader.Reader`; see
        `go_on`.

        ``poison``: what an event that fits no item does. What waits behind it waits either way.

        ``thrift`` says which checkpoints go with a page; without it all that have moved do.
        ``tell_halts``: log a halt when it is met, for who goes on for long before raising it.
        """
        self._log = log
        self._store = store
        self._generation = generation
        self._page_bytes = page_bytes
        self._tell_halts = tell_halts
        self._thrift = thrift
        self._fingerprint = fingerprint(rules)
        self._types = frozenset(generation.types)
        self._tell = Telling(log, store.name)
        self._routing = Routing(
            log.params,
            rules=rules,
            tables=None if generation.open else generation.tables,
            without=frozenset(taken),
            exclusions=parse_exclusions(generation.excluded),
        )
        self._adopting = Adopting(store, generation, self._routing, bases)
        self._rows = Rows(log)
        self._pages = pages
        self._partitions = partitions
        self._lineage = lineage
        self._horizon = horizon
        self._parks = poison == "park"
        self._parked: dict[str, set[bytes]] = {}  # items met that are parked, and may be still
        self._careful = False
        self._in_doubt = False  # the last step raised: what it read may not be applied
        self.duplicates = 0
        self.joined: set[int] = set()  # partitions whose next rows are to say so (`Checkpoint`)
        self.lost = 0  # times that somebody else had moved what it stood on
        self._start_over()

    def _start_over(self) -> None:
        """Stand where the store's checkpoints are (C1)."""
        # Only where it is asked for: a sink of one's own gives what it has.
        some = () if self._partitions is None else (self._partitions,)
        committed = self._store.checkpoints(self._generation.id, *some)
        # What is handed over is of the log, and need not be looked up there again.
        starts = starts_of(self._log, self._store.name, committed, check=self._pages is None)
        self._touched: set[int] = set()  # partitions whose place may not be committed
        self._reader = Reader(
            self._log,
            partitions=self._partitions,
            starts=starts,
            page_bytes=1 if self._careful else self._page_bytes,
            pages=self._pages,
            lineage=self._lineage,
            horizon=self._horizon,
        )
        self._rows.start({p: self._reader.place(p) for p in self._reader.partitions}, committed)
        self.joined = set(self._rows.joined)

    def go_on(self, *, pages: Pages | None = None, partitions: Collection[int]) -> None:
        """Read these partitions from there from now on, beginning at the store's checkpoints."""
        self.duplicates += duplicates_of(self._reader)
        self._pages, self._partitions = pages, partitions
        self._careful = self._in_doubt = False
        self._start_over()

    def read_pages_of(self, size: int) -> None:
        """Make the next pages of about that many bytes of log, as stored."""
        self._page_bytes = size
        if not self._careful:
            self._reader.page_bytes = size

    @property
    def places(self) -> Mapping[int, Place]:
        """Where the store's checkpoints stand, as far as it read or wrote them."""
        return self._rows.places

    @property
    def begun(self) -> Collection[int]:
        """Partitions that have a checkpoint."""
        return self._rows.begun

    def carried_ms(self, partition: int) -> int:
        """Up to when everything of a partition is read, at least, by the log's own time."""
        return max(self._reader.sequencers[partition].mark, self._reader.seen_ms(partition) or 0)

    @property
    def reader(self) -> Reader:
        """Where it stands: vector, halts, sequencers."""
        return self._reader

    def behind_s(self) -> float | None:
        """The age, at most, of the oldest event that is not read; ``None``: not known."""
        through_ms = self._reader.through_ms()
        return None if through_ms is None else max(0, self._log.now_ms() - through_ms) / 1000

    def rest(self) -> None:
        """Nothing is read for a while: what the store holds is to be of one moment meanwhile."""
        self._settle_doubt()
        self._checkpoint(self._due(self._reader.partitions, idle=True))

    def step(self, *, wait_s: float = 0.0) -> Step | None:
        """Read, fold and commit one page; ``None`` if there is nothing to read now.

        A poison event that parks no item, or one of a newer schema, raises only after all before it
        is committed: the page that holds it is read again record by record. After any error the next
        step starts over at the checkpoints.

        Raises:
            PoisonError: an event that cannot be applied; the checkpoint stands before its record.
            UpgradeError: likewise, until the appliers are newer.
            DamageError: of the log.
            LostError: the generation is no longer live.
        """
        self._settle_doubt()
        self._in_doubt = True
        step = self._step(wait_s)
        self._in_doubt = False
        return step

    def _step(self, wait_s: float) -> Step | None:
        halted = set(self._reader.halts)
        runs = self._reader.read(wait_s=wait_s)
        for partition in sorted(self._reader.halts.keys() - halted) if self._tell_halts else ():
            self._tell.halted(self._reader, self._reader.halts[partition])
        if runs is None:
            self._checkpoint(self._due(self._reader.partitions, idle=True))
            return None
        try:
            return self._commit(runs)
        except (PoisonError, UpgradeError):  # of its schema: newer than the appliers
            if self._careful:
                raise
            self._careful = True
        except LostError:
            self.lost += 1
            self._tell.lost(self._reader)
        self._forget_reader()
        return Step(0, Counts())

    def checkpoint(self) -> None:
        """Commit every partition's place, also where it only passed others' records."""
        self._settle_doubt()
        self._checkpoint(self._reader.partitions)

    def _settle_doubt(self) -> None:
        """Never go on behind what was read and then not committed: its events would be lost."""
        if self._in_doubt:
            self._forget_reader()
            self._in_doubt = False

    def _checkpoint(self, partitions: Sequence[int]) -> None:
        if places := self._moved(partitions):
            try:
                self._store.commit(self._generation.id, [], places, **self._behind(partitions))
            except LostError:
                self.lost += 1
                self._forget_reader()
                return
        self._note_committed(partitions, places)

    def _due(
        self, partitions: Sequence[int], writes: Sequence[Write] = (), *, idle: bool = False
    ) -> Sequence[int]:
        """Whose place is to be committed now."""
        # Where an event is poison, all before it is to be behind the checkpoint.
        if self._thrift is None or self._careful:
            return partitions
        return self._thrift.due(partitions, writes, idle=idle)

    def _commit(self, runs: Sequence[Run]) -> Step:
        self._touched |= self._reader.take_touched()
        # Only where there are any: the sink of a log that no other tool writes to may do without.
        foreign, relayed = self._reader.foreign, self._reader.relayed
        aside: dict[str, Any] = (
            {"foreign": foreign, "relayed": relayed} if foreign or relayed else {}
        )
        self._adopting.prepare(runs)
        failed: list[Write] = []
        written: set[LetterPlace] = set()  # by tries that failed
        for attempt in range(TRIES_MAX):
            batch = fold_batch(
                self._routing,
                runs,
                self._read,
                read_all=attempt > 0,
                parks=self._parks,
                parked=self._parked,
            )
            if batch.letters or written:
                # One that somebody else has marked its item by is there to stay.
                needed = {letter.place for letter in batch.letters}
                needed |= {p for p in written if p[2] in batch.parked.get(p[0], ())}
                aside["letters"], aside["settled"] = batch.letters, sorted(written - needed)
                written |= needed
            self._note_types(batch.types)
            due = self._due(sorted(self._touched), batch.writes)
            due = sorted({*due, *self._rows.old()})
            places = self._moved(due)
            behind = self._behind(due)
            failed = self._store.commit(
                self._generation.id,
                batch.writes,
                places,
                rejections=batch.rejections,
                tables=batch.tables,
                **aside,
                **behind,
            )
            if not failed:
                self._note_parked(batch)
                self._adopting.note(batch.writes)
                if self._thrift is not None:
                    self._thrift.note_page(batch.writes)
                self._note_committed(due, places)
                self._tell.advanced(self._reader, batch, places)
                return Step(len(batch.writes), batch.counts)
            self._tell.failed(self._reader, failed, attempt)
        raise LostError(
            f"{len(failed)} items were written by somebody else {TRIES_MAX} times in a row",
            self._store.name,
            "see that one consumer writes to the store",
        )

    def _note_parked(self, batch: Batch) -> None:
        self._tell.parked(self._reader, batch)
        if self._parked:
            for write in batch.writes:
                if not write.row.parked and write.table in self._parked:
                    self._parked[write.table].discard(write.key)
            if sum(map(len, self._parked.values())) > PARKED_MAX:
                self._parked.clear()
        for table, keys in batch.parked.items():
            self._parked.setdefault(table, set()).update(keys)

    def _behind(self, due: Sequence[int]) -> dict[str, Any]:
        """Partitions whose items are ahead of their checkpoints, for who is to tell readers."""
        if self._thrift is None or getattr(self._store, "keeps_moments", True):
            return {}
        behind = self._touched.difference(due)
        return {"behind": sorted(behind)} if behind else {}

    def _note_types(self, types: frozenset[str]) -> None:
        """Write down event types never met, before anything goes by an event of theirs."""
        if not types <= self._types:
            self._store.describe(
                self._generation.id, fingerprint=self._fingerprint, types=types - self._types
            )
            self._types |= types

    def _read(self, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
        return self._store.read(self._generation.id, table, keys)

    def _moved(self, partitions: Iterable[int]) -> list[Checkpoint]:
        """The checkpoints of those partitions whose rows would say something new."""
        reader, rows, joined = self._reader, self._rows, self.joined
        return [
            rows.kept(msgspec.structs.replace(checkpoint_of(reader, p), joined=p in joined))
            for p in partitions
            if rows.is_news(p, reader.place(p), reader.seen_ms(p), joined=p in joined)
        ]

    def _note_committed(self, due: Sequence[int], places: Sequence[Checkpoint]) -> None:
        self._rows.note(places)
        self._touched.difference_update(due)
        if self._thrift is not None:
            self._thrift.note_saved(due)

    def _forget_reader(self) -> None:
        self.duplicates += duplicates_of(self._reader)
        self._start_over()

    def total_duplicates(self) -> int:
        """Events dropped as copies, since the engine was made."""
        return self.duplicates + duplicates_of(self._reader)
