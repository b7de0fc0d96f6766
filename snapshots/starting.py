"""Where a rebuild begins, asked of a log and of a place where snapshots are."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from appliers.exclusion import parse_exclusions
from appliers.fingerprint import fingerprint
from appliers.starts import starts_of
from binlog.errors import BinlogError, ConflictError, DamageError, TrimmedError
from binlog.log import Log
from binlog.objects.objects import Objects
from binlog.reader import Reader
from binlog.sequencer_state import SequencerState
from binlog.target import Target
from snapshots.base import SnapshotBase
from snapshots.folding import Wanted
from snapshots.planner import NotTaken, Plan, Question, choose, out_of_reach
from snapshots.snapshot import Snapshot, snapshots_and_unreadable
from snapshots.snapshot_manifest import Manifest

_FIRST_BYTES = 64 * 1024  # of a page
_EVER = 1 << 62  # no record arrives later


class Starting(msgspec.Struct, frozen=True):
    """Where a rebuild begins. ``base`` is ``None`` for the log's beginning."""

    plan: Plan
    base: SnapshotBase | None

    @property
    def digest(self) -> str:
        """Of what is begun at; empty for the log's beginning."""
        return "" if self.base is None else self.base.snapshot.manifest.digest


def starting(log: Log, objects: Objects, wanted: Wanted, *, start: str | None = None) -> Starting:
    """The nearest start that fits among the snapshots in ``objects``, or the one asked for.

    Raises:
        TrimmedError: none fits, and the log has forgotten its beginning; with what is nearest.
        ConflictError: ``start`` does not fit, or is not there.
        DamageError, UpgradeError: ``start`` cannot be read.
        StorageError, RefusedError: of the objects.
    """
    catalogue: list[Manifest] = []
    unreadable: list[NotTaken] = []
    for found in snapshots_and_unreadable(objects):
        if isinstance(found, Manifest):
            catalogue.append(found)
        elif found.id == start:
            raise found.error
        else:
            reason = f"it cannot be read: {found.error.what}"
            unreadable.append(NotTaken(found.id, None, reason))
    exclusions = parse_exclusions(wanted.excluded, partitions=log.params.partitions)
    question = Question(
        genesis=log.genesis,
        fingerprint=fingerprint(wanted.rules),
        target=wanted.target,
        tables=wanted.tables,
        without=wanted.without,
        excluded=() if exclusions is None else exclusions.rules,
        parks=wanted.poison == "park",
        transforms=wanted.rules.transforms is not None,
        start=start,
    )
    plan = choose(catalogue, question, LogFacts(log, objects))
    plan = Plan(plan.start, (*plan.not_taken, *unreadable))
    if plan.start is None:
        try:
            check_beginning(log)
        except TrimmedError as error:
            raise out_of_reach(error, plan, catalogue) from error
        return Starting(plan, None)
    return Starting(plan, SnapshotBase(Snapshot(objects, plan.start)))


def check_beginning(log: Log) -> None:
    """That the log still has its first records: a genesis in each partition, before anything else.

    Raises:
        TrimmedError: it has forgotten some.
    """
    reader = Reader(log, target=Target(time_ms=_EVER), page_bytes=_FIRST_BYTES)
    while len(reader.touched) < len(reader.partitions) and reader.read() is not None:
        pass


class LogFacts:
    """What a log says of the snapshots in ``objects``; a few reads for each that is asked about."""

    def __init__(self, log: Log, objects: Objects) -> None:
        self._log = log
        self._objects = objects

    def beyond(self, manifest: Manifest, time_ms: int) -> str | None:
        """Whether something in it is of a record that came when another one had, after ``time_ms``.

        Up to its checkpoints their sequencers tell; from there to its highest version it is read.
        """
        try:
            checkpoints = Snapshot(self._objects, manifest).checkpoints
            marks = {p: SequencerState.decode(c.state).mark for p, c in checkpoints.items()}
            if not manifest.is_exact and max(marks.values(), default=0) <= time_ms:
                ahead = [p for p, o in manifest.exact.items() if o > manifest.vector.get(p, 0)]
                starts = starts_of(self._log, manifest.id, checkpoints, check=False)
                reader = Reader(
                    self._log,
                    partitions=ahead,
                    starts={p: start for p, start in starts.items() if p in ahead},
                    target=Target(vector={p: manifest.exact[p] for p in ahead}),
                )
                while reader.read() is not None:
                    pass
                marks |= {p: reader.sequencers[p].mark for p in ahead}
        except BinlogError as error:
            if error.retriable:
                raise
            return f"it cannot be told how far it reaches: {error.what}"
        latest = max(marks.values(), default=0)
        if latest <= time_ms:
            return None
        return f"it holds what arrived at {_time(latest)}, the target is {_time(time_ms)}"

    def unfollowed(self, manifest: Manifest) -> str | None:
        snapshot = Snapshot(self._objects, manifest)
        try:
            starts_of(self._log, snapshot.name, snapshot.checkpoints, what="snapshot")
        except TrimmedError:
            return "the log, its archive included, has forgotten what follows it"
        except (ConflictError, DamageError) as error:
            return error.what
        return None


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
