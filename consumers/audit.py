"""The audit: what the archive gives at each consumer's checkpoint, held against the checkpoint.

A consumer that skipped a record, or read one that others did not, goes on without a sign of it: its
offsets are dense, its items are whole, and wrong. The archive was made by another process, from the
same log; so the records up to a checkpoint's place are sequenced anew from there, and offset, digest
and state have to be the checkpoint's.

It begins at the end of the nearest segment, whose state is the archive's word, or from the first event
on (``full``). What a consumer has and the archive has not *yet* is no difference; it is told apart,
with its age: for how long at least it has been in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from appliers.store import Checkpoint, Reader
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.chain_view import ChainView, Rank
from binlog.errors import DamageError, MismatchError, TrimmedError, UpgradeError
from binlog.log import Position
from binlog.logs.directory_check import Finding
from binlog.run import Run
from binlog.sequencer_state import SequencerState
from binlog.standing import Start
from snapshots.check_log import Walk, Watch
from snapshots.check_store import watches_of
from snapshots.counterpart import check_same_log

Outcome: TypeAlias = Literal["same", "differs", "unarchived", "unreadable"]
"""``unarchived``: not yet. ``unreadable``: the archive, or the checkpoint, is damaged there."""

_BEYOND: Rank = (float("inf"), 0)


class Audited(msgspec.Struct, frozen=True):
    """One checkpoint. ``archived``: up to which offset the archive has its partition, if asked."""

    store: str
    where: str
    partition: int
    offset: int
    outcome: Outcome
    detail: str = ""
    archived: int | None = None
    age_s: float | None = None


def audit(log: ArchiveLog, stores: Iterable[Reader], *, full: bool = False) -> list[Audited]:
    """Every checkpoint of every generation of these stores.

    Raises:
        ConflictError: a store of another log.
        StorageError, RefusedError: the storage's.
    """
    watched: dict[int, list[tuple[str, Watch]]] = {}
    found: list[Audited] = []
    for reader in stores:
        check_same_log(log, reader)
        unreadable: list[Finding] = []
        for watch in watches_of(reader, unreadable):
            watched.setdefault(watch.checkpoint.partition, []).append((reader.name, watch))
        found += [
            Audited(reader.name, each.where, -1, 0, "unreadable", each.detail)
            for each in unreadable
        ]
    for _, some in sorted(watched.items()):
        found += _audit_partition(log, some, full=full)
    return found


def _audit_partition(
    log: ArchiveLog, watched: Sequence[tuple[str, Watch]], *, full: bool
) -> Iterator[Audited]:
    view = log.view(watched[0][1].checkpoint.partition)
    groups: dict[int, list[tuple[str, Watch]]] = {}
    for each in watched:
        before = view.segment_after(_rank(view, each[1].checkpoint))
        groups.setdefault(0 if full else before, []).append(each)
    for before, some in sorted(groups.items()):
        walk = _Walk(log, view, [watch for _, watch in some], before)
        walk.check()
        for store, watch in some:
            yield walk.audited(store, watch)


def _rank(view: ChainView, checkpoint: Checkpoint) -> Rank:
    """Of a shard that nobody knows: behind all that is archived."""
    return view.rank(Position(checkpoint.shard, checkpoint.sequence)) or _BEYOND


class _Walk(Walk):
    """Through a chain from the end of the segment before ``begin`` on, past the checkpoints."""

    def __init__(
        self, log: ArchiveLog, view: ChainView, watches: Sequence[Watch], begin: int
    ) -> None:
        starts: dict[int, Start] = {}
        if begin:
            starts[view.partition] = view.chain.info(view.outlines[begin - 1].place).going_on()
        super().__init__(log, partitions=[view.partition], starts=starts)
        self._view = view
        self._waiting = sorted(watches, key=lambda each: _rank(view, each.checkpoint))
        self._told: dict[str, str] = {}  # what was compared, and what differs
        self._damage = ""

    def check(self) -> None:
        """Come to all of them, or as far as the archive goes."""
        partition = self._view.partition
        self._pass(self._positions[partition])
        try:
            self.run()
        except (MismatchError, TrimmedError, UpgradeError) as error:
            self._damage = str(error)
        for found in self.found:
            if found.rule in {"damage", "upgrade", "genesis"}:
                self._damage = self._damage or f"{found.where}: {found.detail}"

    def read(self, *, wait_s: float = 0.0) -> list[Run] | None:
        """`None`, too, when all are passed."""
        return super().read(wait_s=wait_s) if self._waiting else None

    def _pass_watches(self, partition: int, position: Position) -> list[Watch]:  # noqa: ARG002
        """Compare those that lie before the record at ``position``."""
        self._pass(Position(position.shard, position.sequence - 1))
        return []

    def _end_watches(self, partition: int) -> None:
        self._pass(self._positions[partition])

    def _pass(self, position: Position) -> None:
        place = self._view.rank(position)
        while self._waiting and place is not None:
            if _rank(self._view, self._waiting[0].checkpoint) > place:
                break
            self._hold_against(self._waiting.pop(0))

    def _hold_against(self, watch: Watch) -> None:
        count = len(self.found)
        self._compare_state(watch, self._view.partition, rule="audit")
        differing = self.found[count:]
        del self.found[count:]
        self._told[watch.where] = "; ".join(
            f"{each.rule.removeprefix('audit-')} {each.detail}" for each in differing
        ).replace("the log gives", "the archive gives")

    def _age_s(self, checkpoint: Checkpoint) -> float:
        """For how long at least the log has had the last record that the consumer took."""
        mark = SequencerState.decode(checkpoint.state).mark
        return max(0.0, (self._log.now_ms() - mark) / 1000)

    def _may_be_ahead(self, checkpoint: Checkpoint) -> bool:
        """Whether records without events that are not archived yet make the difference.

        Duplicates, say, or a frame that is held: a sequencer's state knows of them.
        """
        sequencer = self.sequencers[checkpoint.partition]
        if (checkpoint.offset, checkpoint.digest) != (sequencer.offset, sequencer.digest):
            return False
        archived = self._view.rank(self._positions[checkpoint.partition])
        if archived is not None and _rank(self._view, checkpoint) <= archived:
            return False
        try:
            return SequencerState.decode(checkpoint.state).mark >= sequencer.mark
        except DamageError:
            return False

    def audited(self, store: str, watch: Watch) -> Audited:
        """What came of one."""
        checkpoint, end = watch.checkpoint, self.sequencers[self._view.partition].offset
        outcome: Outcome = "same"
        detail, age_s = "", None
        if watch.where not in self._told and self._damage:
            outcome, detail = "unreadable", self._damage
        elif watch.where not in self._told and checkpoint.offset > end:
            outcome = "unarchived"
            detail = f"the archive ends at offset {end} of the partition"
            age_s = self._age_s(checkpoint)
        else:
            is_beyond = watch.where not in self._told  # the last record that is archived
            if is_beyond:
                self._hold_against(watch)
            if detail := self._told[watch.where]:
                outcome = "differs"
                if is_beyond and self._may_be_ahead(checkpoint):
                    outcome, age_s = "unarchived", self._age_s(checkpoint)
                    detail = "what it read since is no event, and not archived yet"
        return Audited(
            store, watch.where, checkpoint.partition, checkpoint.offset, outcome, detail, end, age_s
        )
