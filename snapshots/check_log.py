"""A walk over a whole log by the code that every reader runs, which reports instead of stopping.

Checked are: the genesis record in every partition, what every accepted event holds (canonical
bytes, the bounds that publish keeps), that offsets are dense, the partitions that are halted, and
the checkpoints of stores where the walk passes them: they are equal to the sequencer there, byte
for byte. Foreign records are gathered, and whether a checkpoint has gone beyond them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from appliers.store import Checkpoint
from binlog.checked import check_envelope
from binlog.envelope import Envelope
from binlog.errors import DamageError, RefusedError, TrimmedError, UpgradeError
from binlog.foreign import Place, home_of
from binlog.halt import halted_error
from binlog.horizon import horizon_of
from binlog.log import Log, Position, Record, holds
from binlog.logs.directory_check import Finding
from binlog.partition import ordering_key, partition_of
from binlog.reader import Reader
from binlog.run import Run
from binlog.sequencer_state import SequencerState
from binlog.standing import Start
from binlog.values import is_canonical
from binlog.vector import Vector


class Watch(msgspec.Struct, frozen=True):
    """A checkpoint of the store ``where``, to be compared when the walk gets there."""

    where: str
    checkpoint: Checkpoint

    @property
    def shard(self) -> str:
        return self.checkpoint.shard

    @property
    def sequence(self) -> int:
        return self.checkpoint.sequence


class Met(msgspec.Struct, frozen=True, gc=False):
    """A foreign record on the way. ``passed``: a checkpoint of its home is beyond it."""

    partition_key: str
    size: int
    passed: bool


class Walk(Reader):
    """Reads a log to its end, or to each halt; ``found`` grows while it does.

    ``partitions`` and ``starts`` are those of a `Reader`.
    """

    def __init__(
        self,
        log: Log,
        watches: Iterable[Watch] = (),
        *,
        partitions: Iterable[int] | None = None,
        starts: Mapping[int, Start] | None = None,
    ) -> None:
        super().__init__(log, partitions=partitions, starts=starts, horizon=horizon_of(log))
        self.found: list[Finding] = []
        self._watches: dict[int, list[Watch]] = {}
        for watch in watches:
            self._watches.setdefault(watch.checkpoint.partition, []).append(watch)
        self._visited: dict[int, set[str]] = {}  # shards that each partition was read in
        self.met: dict[Place, Met] = {}  # foreign records, but those relayed
        self._relayed_before: set[Place] = set()  # in another shard, which was read first
        self._stopped: dict[int, Position] = {}  # records that ended a partition, halts apart
        # The next offset of each partition, where it is not 1.
        self._expected = {p: start.applied + 1 for p, start in (starts or {}).items()}

    def run(self, tick: Callable[[int], None] | None = None) -> Vector:
        """Walk to the end; the vector that can be read. ``tick`` gets the events so far."""
        events = 0
        try:
            while (runs := self.read()) is not None:
                for run in runs:
                    self._check_run(run)
                    events += len(run.columns)
                for record in self.foreign:
                    if record.place not in self._relayed_before:
                        met = Met(record.partition_key, len(record.data), passed=False)
                        self.met.setdefault(record.place, met)
                for place in self.relayed:
                    if self.met.pop(place, None) is None:
                        self._relayed_before.add(place)
                if tick is not None:
                    tick(events)
        except DamageError as error:
            self._report("damage", error.where, error.what)
        for partition in self.partitions:
            self._end_watches(partition)
            if partition not in self._visited and not self.sequencers[partition].mark:
                where = f"{self._log.name} partition {partition}"
                self._report("genesis", where, "it has no record that can be read")
        for _, halt in sorted(self.halts.items()):
            halted = halted_error(halt, self._log.locate(halt.position))
            self._report("halt", halted.where, f"{halted.what}; {halted.do}")
        return self.vector()

    # -- one record ------------------------------------------------------------------------------

    def _meet_foreign(self, shard: str, record: Record, wanted: set[int]) -> None:
        count = len(self.foreign)
        super()._meet_foreign(shard, record, wanted)
        for found in self.foreign[count:]:
            home = home_of(
                self._lineage.shards[shard], found.partition_key, self._log.params.partitions
            )
            passed = any(
                shard in self._lineage.ancestors(watch.shard)
                or (watch.shard == shard and watch.sequence >= found.sequence)
                for watch in self._watches.get(-1 if home is None else home, ())
            )
            if found.place not in self._relayed_before:
                self.met[found.place] = Met(found.partition_key, len(found.data), passed)

    def _feed(self, shard: str, record: Record, wanted: set[int], runs: list[Run]) -> None:
        partition = record.partition
        if record.sequence <= self._positions[partition].sequence:
            return
        position = Position(shard, record.sequence)
        passed = self._pass_watches(partition, position)
        self._visited.setdefault(partition, set()).add(shard)
        try:
            super()._feed(shard, record, wanted, runs)
        except (TrimmedError, UpgradeError) as error:
            rule = "upgrade" if isinstance(error, UpgradeError) else "genesis"
            self._report(
                rule, self._log.locate(position), f"{error.what}; the partition ends there"
            )
            self._stopped[partition] = position
            self._done.add(partition)
            wanted.discard(partition)
        self._check_applied(passed, partition)

    # -- what was accepted -----------------------------------------------------------------------

    def _check_run(self, run: Run) -> None:
        expected = self._expected.get(run.partition, 1)
        if run.first_offset != expected:
            self._report(
                "offsets",
                self._event_place(run, 0),
                f"offset {run.first_offset} follows {expected - 1}",
            )
        self._expected[run.partition] = run.last_offset + 1
        for index, envelope in enumerate(run.columns.envelopes()):
            reason = self._why_refused(envelope, run.partition)
            if reason is not None:
                self._report("event", self._event_place(run, index), reason)

    def _why_refused(self, envelope: Envelope, partition: int) -> str | None:
        """What publish would not have let through."""
        if envelope.is_control:
            parts = (envelope.key, envelope.data, envelope.meta)
            broken = not all(is_canonical(part) for part in parts if part is not None)
            return f"{envelope.type} is not in canonical bytes" if broken else None
        try:
            check_envelope(envelope)
        except (RefusedError, DamageError) as error:
            return f"{envelope.type}: {error.what}"
        owner = partition_of(
            ordering_key(envelope.table, envelope.key), self._log.params.partitions
        )
        if owner != partition:
            return f"{envelope.type}: its key belongs to partition {owner}"
        return None

    def _event_place(self, run: Run, index: int) -> str:
        return f"{self._log.name} partition {run.partition} offset {run.first_offset + index}"

    # -- checkpoints -----------------------------------------------------------------------------

    def _pass_watches(self, partition: int, position: Position) -> list[Watch]:
        """Compare the checkpoints that lie before the record at ``position``, and give them."""
        passed = [
            watch
            for watch in self._watches.get(partition, ())
            if (watch.shard == position.shard and watch.sequence < position.sequence)
            or (watch.shard != position.shard and watch.shard in self._visited.get(partition, ()))
        ]
        for watch in passed:
            self._watches[partition].remove(watch)
            self._compare(watch, partition)
        return passed

    def _end_watches(self, partition: int) -> None:
        """Compare those that are left with where the partition ended."""
        stop = self._stopped.get(partition)
        if stop is None and partition in self.halts:
            stop = self.halts[partition].position
        here = self._positions[partition]
        for watch in self._watches.pop(partition, []):
            if (watch.shard, watch.sequence) <= (here.shard, here.sequence) or (
                stop is not None and watch.shard == stop.shard and watch.sequence < stop.sequence
            ):
                self._compare(watch, partition)
                self._check_applied([watch], partition)
            else:
                self._report(
                    "checkpoint-position",
                    watch.where,
                    f"{watch.shard}:{watch.sequence}, the log can be read up to {here}",
                )

    def _compare_state(self, watch: Watch, partition: int, *, rule: str) -> None:
        sequencer, checkpoint = self.sequencers[partition], watch.checkpoint
        for name, stored, own in (
            ("offset", checkpoint.offset, sequencer.offset),
            ("digest", checkpoint.digest, sequencer.digest),
            ("state", _without_place(checkpoint.state), sequencer.encode_state()),
        ):
            if stored != own:
                detail = f"{_shown(stored)}, the log gives {_shown(own)}"
                self._report(f"{rule}-{name}", watch.where, detail)

    def _compare(self, watch: Watch, partition: int) -> None:
        self._compare_state(watch, partition, rule="checkpoint")
        position = Position(watch.shard, watch.sequence)
        place = _place(watch.checkpoint.state)
        if not holds(self._log, position):
            self._report("checkpoint-position", watch.where, f"{position}, no record stands there")
        elif place and (found := self._log.stamp(position)) and found != place:
            detail = f"{position}, another record stands there than was read"
            self._report("checkpoint-position", watch.where, detail)

    def _check_applied(self, passed: Iterable[Watch], partition: int) -> None:
        """C2: what is applied is at most what the record after the checkpoint brings."""
        reached = self.sequencers[partition].offset
        for watch in passed:
            checkpoint = watch.checkpoint
            if not checkpoint.offset <= checkpoint.applied <= max(reached, checkpoint.offset):
                self._report(
                    "checkpoint-applied",
                    watch.where,
                    f"{checkpoint.applied} applied, but the record there ends at offset"
                    f" {checkpoint.offset} and the next one at {reached}",
                )

    def _report(self, rule: str, where: str, detail: str) -> None:
        self.found.append(Finding(rule, where, detail))


def _without_place(state: bytes) -> bytes:
    try:
        return msgspec.structs.replace(SequencerState.decode(state), place=b"").encode()
    except DamageError:
        return state  # compared as it is, and told


def _place(state: bytes) -> bytes:
    try:
        return SequencerState.decode(state).place
    except DamageError:
        return b""


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 32 else f"{len(value)} bytes"
    return str(value)
