"""From a log to numbered runs: sequencers fed along the shard lineage.

A `Reader` stands, per partition, just after some record, with the sequencer state that belongs
there; `checkpoint` gives both, always at a record boundary. It reads a page of one shard at a time
and gives the runs of it. A child shard is read only when our partitions have left all its parents
(C4). A record at or before a partition's position is skipped, so partitions of one shard may stand
at different places.

A partition that halts is set aside, and the others go on; `halts` names it. `retry_halted` looks
whether a RESOLVE has come.

Foreign records come beside the runs (`Reader.foreign`), each to the reader of its home partition,
by the rules of `binlog.foreign`. Whoever makes a checkpoint durable keeps them first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping

from binlog.errors import DamageError
from binlog.foreign import (
    Foreign,
    Place,
    foreign_halt,
    foreign_of,
    home_of,
    relay_family,
    relayed_place,
)
from binlog.halt import Halt, Halted, halted_error
from binlog.homeless import HomelessShards
from binlog.horizon import Bounds, Horizon
from binlog.lineage import Lineage
from binlog.log import Forgets, Log, Page, Position, ReadsAhead, Record, note_seen
from binlog.pages import Pages, goes_on
from binlog.resolution import find_in_log
from binlog.run import Run
from binlog.sequencer import Sequencer
from binlog.standing import Checked, Stamps, Start
from binlog.target import END, Target, between, check_within
from binlog.through import ThroughTimes
from binlog.vector import Vector, without_zeros

__all__ = ["PAGE_BYTES", "Checked", "Reader", "Start"]

PAGE_BYTES = 4 * 1024 * 1024
_EXPECTED = 6  # shards of a round whose pages may be fetched before their turn
_NO_LIMIT = 1 << 62


class Reader:
    """Reads ``partitions`` (all, if not given) of ``log`` from ``starts`` (the genesis, if not
    given) up to ``target``.

    With a ``horizon`` of the log it ends there; without one `read` goes on when there is more.
    Pages come from ``pages``, if somebody else holds them; whatever else is looked up, a RESOLVE
    ahead say, is looked up in the log. ``lineage`` is what is known of its shards already.
    """  # noqa: D205

    def __init__(
        self,
        log: Log,
        *,
        partitions: Iterable[int] | None = None,
        starts: Mapping[int, Start] | None = None,
        target: Target = END,
        page_bytes: int = PAGE_BYTES,
        pages: Pages | None = None,
        lineage: Lineage | None = None,
        horizon: Horizon | None = None,
    ) -> None:
        self._log = log
        self._pages: Pages = log if pages is None else pages
        self._forgets = log if isinstance(log, Forgets) else None  # to ask is dear
        self._ahead = self._pages if isinstance(self._pages, ReadsAhead) else None
        self._target = target
        self.page_bytes = page_bytes
        self.partitions = sorted(range(log.params.partitions) if partitions is None else partitions)
        self.halts: dict[int, Halt] = {}
        self.sequencers: dict[int, Sequencer] = {}
        self._positions: dict[int, Position] = {}
        self._applied: dict[int, int] = {}
        self._cut: dict[int, bytes] = {}  # state before the record that a target vector cuts
        self._done: set[int] = set()
        self._bounds = Bounds(horizon)
        self._ended: set[int] = set()  # where the log ends before it does for others (`Page.ends`)
        self._stamps = Stamps(log)
        self._limits: dict[int, int] = {}  # of a target that is a vector
        self._lineage = Lineage(log) if lineage is None else lineage
        self._last_shard = ""  # that a page came from
        self._through = ThroughTimes(log)
        self._damage_ahead: DamageError | None = None  # what a search for a RESOLVE ended at
        self.foreign: list[Foreign] = []  # that the last `read` came upon
        self.relayed: list[Place] = []  # those that its runs bring in as events
        self._relay_family = relay_family(bytes.fromhex(log.params.log_id), "")
        self.bytes_read = 0  # of records, wanted or not: how far it is through the log
        self.touched: set[int] = set()  # partitions whose records were read since `take_touched`
        self._homeless: HomelessShards | None = None
        if pages is None and target == END and log.params.foreign != "skip":
            self._homeless = HomelessShards(
                log, self._lineage, self.partitions, page_bytes=page_bytes, horizon=horizon
            )
        for partition in self.partitions:
            start = (starts or {}).get(partition)
            state = None if start is None else start.state
            self.sequencers[partition] = Sequencer(log.params, log.genesis, partition, state)
            self._positions[partition] = start.position if start else self._lineage.root(partition)
            self._applied[partition] = start.applied if start else 0
            if start is not None:
                note_seen(log, start.position, start.seen_ms)
            if target.vector is not None:
                limit = self._limits[partition] = target.vector.get(partition, 0)
                if limit <= self._applied[partition]:
                    self._done.add(partition)

    # -- reading ---------------------------------------------------------------------------------

    def read(self, *, wait_s: float = 0.0) -> list[Run] | None:
        """The runs of the next page that holds records of ours; ``None`` when all is read.

        Runs of one partition come in offset order, those that `applied` covers left out. The wait
        is for new records, when nothing else is left to read.

        `foreign` then holds the foreign records of that page, which no checkpoint may pass unkept, and
        `relayed` the places of those that events of that page once were.

        Raises:
            DamageError: after what lies before the damage was given.
            UpgradeError, MismatchError: see `Sequencer.feed`.
        """
        self.foreign, self.relayed = [], []
        while True:
            progressed = False
            shards = self._readable()
            # A busy shard comes last next time, or it would keep the others from being read.
            turn = bisect_right(shards, self._last_shard)
            shards = shards[turn:] + shards[:turn]
            if self._ahead is not None:
                self._ahead.expect([self._place(shard) for shard in shards[1:_EXPECTED]])
            for shard in shards:
                after = self._place(shard)
                page, wanted = self._read_page(shard, wait_s if shard == shards[-1] else 0.0)
                page, is_over = self._bounds.cut(after, page)
                self._through.note(shard, page)
                self.bytes_read += sum([len(record.data) for record in page.records])
                runs: list[Run] = []
                for record in page.records:
                    if record.partition in wanted:
                        self._feed(shard, record, wanted, runs)
                    elif record.partition < 0 and self._log.params.foreign != "skip":
                        self._meet_foreign(shard, record, wanted)
                self._ended.update(wanted & page.ends.keys())
                for partition in wanted:
                    place = Position(shard, page.ends.get(partition, page.next.sequence))
                    # While another one was halted this one went on, perhaps beyond this page.
                    if place.sequence > self._positions[partition].sequence:
                        self._positions[partition] = place
                if is_over:  # where an archive's partition ends it may go on
                    self._bounds.reached |= wanted - page.ends.keys()
                at_end = page.closed and page.caught_up
                progressed |= self._move_on(shard) if at_end else not page.caught_up
                if page.records:
                    self._last_shard = shard
                    return runs
            if not progressed:
                if self._bounds.waits(self._readable):
                    continue
                if self._damage_ahead is not None:
                    raise self._damage_ahead
                if self._homeless is not None:
                    self.foreign += self._homeless.read()
                if self.foreign or not self._look_at_ends(wait_s):
                    return [] if self.foreign else None

    def extend(self, horizon: Horizon) -> None:
        """Read on, to that one."""
        self._bounds = Bounds(horizon)
        if self._homeless is not None:
            self._homeless.extend(horizon)

    def _readable(self) -> list[str]:
        """Shards in which an active partition stands and whose parents none of ours stands in."""
        standing = {self._positions[p].shard for p in self.partitions if self._is_active(p)}
        return sorted(
            shard
            for shard in standing
            # One that the log no longer lists says so when it is read.
            if shard not in self._lineage.shards
            or not any(parent in standing for parent in self._lineage.shards[shard].parents)
        )

    def _is_active(self, p: int) -> bool:
        over = p in self._done or p in self._bounds.reached
        return not over and p not in self.halts and p not in self._ended

    def _wanted(self, shard: str) -> set[int]:
        active = self._is_active
        return {p for p in self.partitions if self._positions[p].shard == shard and active(p)}

    def _look_at_ends(self, wait_s: float) -> bool:
        """Whether a log that ended for some partition goes on there by now; it waits at the first."""
        ended = sorted(self._ended)
        waits = dict.fromkeys(ended[:1], wait_s)
        for p in ended:
            if goes_on(self._pages, self._positions[p], p, wait_s=waits.get(p, 0.0)):
                self._ended.discard(p)
        return len(self._ended) < len(ended)

    def _place(self, shard: str) -> Position:
        """Where reading goes on in a shard: after what the last of its partitions has."""
        return Position(shard, min(self._positions[p].sequence for p in self._wanted(shard)))

    def _read_page(self, shard: str, wait_s: float) -> tuple[Page, set[int]]:
        wanted = self._wanted(shard)
        page = self._pages.read(
            self._place(shard),
            partitions=None if len(wanted) == self._log.params.partitions else frozenset(wanted),
            bytes_max=self.page_bytes,
            wait_s=wait_s,
        )
        return page, wanted

    def _feed(self, shard: str, record: Record, wanted: set[int], runs: list[Run]) -> None:
        """Add the runs of a record; its partition leaves ``wanted`` when it halts or is done."""
        partition = record.partition
        if record.sequence <= self._positions[partition].sequence:
            return
        sequencer = self.sequencers[partition]
        until = self._target.time_ms
        if until is not None and max(sequencer.mark, record.arrival_ms) > until:
            self._done.add(partition)
            wanted.discard(partition)
            return
        limit = self._limits.get(partition, _NO_LIMIT)
        # A record gives at most its own and the held frames: below, the target cannot be cut.
        is_near = limit != _NO_LIMIT and limit - sequencer.offset < (
            (sequencer.held + 1) * sequencer.params.frame_events_max
        )
        before = sequencer.encode_state() if is_near else b""
        try:
            given = sequencer.feed(shard, record)
        except Halted as error:
            lifted = self._lift(shard, record, error.halt)
            if lifted is None:
                wanted.discard(partition)
                return
            given = lifted
        self.touched.add(partition)
        for run in given:
            if run.session.family == self._relay_family:
                self.relayed += filter(None, map(relayed_place, run.columns.ids))
        applied, offset = self._applied[partition], sequencer.offset
        if offset <= limit and (not given or given[0].first_offset > applied):
            runs += given
        else:
            runs += [part for run in given if (part := between(run, applied, limit))]
        if offset > limit:
            self._applied[partition] = max(applied, limit)
            self._cut[partition] = before
        else:
            self._applied[partition] = max(applied, offset)
            self._positions[partition] = Position(shard, record.sequence)
        if offset >= limit:
            self._done.add(partition)
            wanted.discard(partition)

    def _meet_foreign(self, shard: str, record: Record, wanted: set[int]) -> None:
        """Divert a foreign record whose home is ``wanted``, or halt there, as the log pins it."""
        home = home_of(
            self._lineage.shards[shard], record.partition_key, self._log.params.partitions
        )
        if home not in wanted or record.sequence <= self._positions[home].sequence:
            return  # another reader's to keep, or kept before this partition's checkpoint moved
        if self._log.params.foreign == "halt":
            halt = foreign_halt(self.sequencers[home], shard, record)
            # From what comes after it: its own bytes may be those of a RESOLVE, and lift nothing.
            decision = self._decision(halt)
            if decision is None:
                wanted.discard(home)
                return
            if decision == "skip":
                return
        self.foreign.append(foreign_of(shard, record))
        self.touched.add(home)
        self._positions[home] = Position(shard, record.sequence)

    # -- halts -----------------------------------------------------------------------------------

    def _lift(self, shard: str, record: Record, halt: Halt) -> list[Run] | None:
        """Feed the record again under the RESOLVEs that lift it; ``None`` while one is missing.

        The partition is halted then, by what nobody has decided: one record may halt for several
        sessions, one after the other, and who reports the first for ever is resolved in vain.

        Damage on the way to one leaves the partition halted, and is raised when all that lies
        before it was given.
        """
        decisions: dict[tuple[str, str | None], str] = {}
        sequencer = self.sequencers[halt.partition]
        while True:
            decision = self._decision(halt, (shard, record))
            if decision is None:
                return None
            decisions[halt.rule, halt.session] = decision
            try:
                return list(sequencer.feed(shard, record, decisions))
            except Halted as error:
                halt = error.halt

    def _decision(self, halt: Halt, *first: tuple[str, Record]) -> str | None:
        """What a RESOLVE, ``first`` or ahead, decides; where there is none, the partition halts."""
        sequencer = self.sequencers[halt.partition]
        try:
            found = find_in_log(
                self._log, halt, sequencer.params, self._lineage.searched, first=first
            )
        except DamageError as error:
            self._damage_ahead = error
            found = None
        if found is None:
            self.halts[halt.partition] = halt
            return None
        return found.decision

    def retry_halted(self) -> None:
        """Let the halted partitions try again: a RESOLVE may have come."""
        self.halts.clear()
        self._damage_ahead = None

    def raise_halts(self) -> None:
        """Raise the error of a halted partition, if there is one.

        Raises:
            HaltedError: naming the first of them.
        """
        for _, halt in sorted(self.halts.items()):
            raise halted_error(halt, self._log.locate(halt.position))

    # -- lineage ---------------------------------------------------------------------------------

    def _move_on(self, shard: str) -> bool:
        """Leave a shard that is read to its end; whether anything of ours stood in it and left."""
        leaving = self._wanted(shard)
        if any(self._lineage.child(shard, p) is None for p in leaving):
            self._lineage.refresh()
        children = {p: self._lineage.child(shard, p) for p in leaving}
        moved = {p: Position(child, -1) for p, child in children.items() if child is not None}
        self._positions |= moved
        return bool(moved)

    # -- where we are ----------------------------------------------------------------------------

    def take_touched(self) -> set[int]:
        """Partitions whose records were read since the last call."""
        touched, self.touched = self.touched, set()
        return touched

    def through_ms(self) -> int | None:
        """Up to when, by the log's own time, all that can be read was read; halted ones left out.

        ``None`` while a shard was not looked at yet, and where nothing is to be read any more.
        """
        over = self._bounds.reached
        return self._through.of({*self._readable(), *(self._positions[p].shard for p in over)})

    def place(self, partition: int) -> tuple[str, int, int]:
        """Shard, sequence number and `applied` of `checkpoint`, which costs more."""
        position = self._positions[partition]
        return position.shard, position.sequence, self._applied[partition]

    def seen_ms(self, partition: int) -> int | None:
        """That of `checkpoint`."""
        forgets = None if partition in self._cut else self._forgets
        return None if forgets is None else forgets.seen_ms(self._positions[partition])

    def checkpoint(self, partition: int) -> Checked:
        """The place in one partition: position, sequencer state and what was given."""
        sequencer = self.sequencers[partition]
        state = self._cut.get(partition)
        if state is not None:  # the record that the target cuts will be read again
            sequencer = Sequencer(self._log.params, self._log.genesis, partition, state)
        position = self._positions[partition]
        return Checked(
            position,
            sequencer.offset,
            self._applied[partition],
            sequencer.digest,
            sequencer.encode_state(place=self._stamps.of(position)),
            self.seen_ms(partition),
        )

    def vector(self) -> Vector:
        """What was given so far."""
        return without_zeros(self._applied)

    def check_reached(self) -> None:
        """That the target was reached, once `read` gave ``None``; `check_within` raises."""
        check_within(self._log, self._target.vector or {}, self._applied, self.partitions)
