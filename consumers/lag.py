"""How far a log is, and how far the consumers of a store are behind it, partition by partition.

A lag has three lengths: events, bytes of the log as stored, and seconds since the oldest of them
arrived. The *runway* is what is left until that one leaves the log's retention. How long it takes to
catch up nobody can tell from one look; with two, some seconds apart, it is what was applied meanwhile
against what came.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from appliers.starts import starts_of
from appliers.store import Checkpoint, Generation, Reader, Store
from appliers.stores.generations import check_binding
from binlog.clock import Clock, SystemClock
from binlog.errors import DamageError
from binlog.foreign import Place
from binlog.halt import Halt
from binlog.horizon import horizon_of
from binlog.log import Log
from binlog.reader import Reader as LogReader
from binlog.run import Run
from consumers.pace import Runway, runway_of
from consumers.pacer import retention_of
from consumers.record_sizes import RecordSizes


class PartitionLag(msgspec.Struct, frozen=True):
    """One partition. Those of the store are ``None`` where no store was asked for."""

    partition: int
    offset: int  # of the log's last event
    applied: int | None  # the least of the store's generations (C0)
    lag_events: int | None
    lag_seconds: float | None  # since the arrival of the oldest event that is not applied
    held: int  # frames that wait for an earlier one
    parked: int  # keys whose events wait, or an event that stands alone
    position: str  # of the last record read, SHARD:SEQUENCE
    lag_bytes: int | None = None  # of the records that hold them, as stored
    runway_seconds: float | None = None  # ``None`` too where nothing is forgotten
    eta_seconds: float | None = None  # of the consumer that has it last; as of `ConsumerLag`


class ConsumerPartition(msgspec.Struct, frozen=True):
    """One partition of one consumer."""

    partition: int
    applied: int
    lag_events: int
    lag_bytes: int
    lag_seconds: float
    runway_seconds: float | None
    eta_seconds: float | None = None  # until it has all of it; as of `ConsumerLag`


class ConsumerLag(msgspec.Struct, frozen=True):
    """One generation of a store, and whoever carries it forward: sums, and the worst of partitions."""

    generation: str
    tables: tuple[str, ...]
    open: bool
    lag_events: int
    lag_bytes: int
    lag_seconds: float
    runway_seconds: float | None  # the shortest
    partitions: list[ConsumerPartition]
    events_per_second: float | None = None  # applied, between two looks
    arriving_per_second: float | None = None
    eta_seconds: float | None = (
        None  # until it has all; ``None``: not known, or never at this speed
    )

    @property
    def never(self) -> bool:
        """Whether, as it went between two looks, it does not catch up at all."""
        return self.events_per_second is not None and self.eta_seconds is None


class Lag(msgspec.Struct, frozen=True):
    """All partitions, and what keeps readers from the log's end."""

    partitions: list[PartitionLag]
    halts: list[Halt]
    damage: DamageError | None
    foreign: list[Place] = []  # records of nobody of ours that nobody has relayed, by place
    consumers: list[ConsumerLag] = []
    retention_s: float | None = None  # of a log that forgets, where a store was asked for

    @property
    def healthy(self) -> bool:
        """Whether every partition could be read to its end, and all that was read was ours."""
        return not self.halts and self.damage is None and not self.foreign

    @property
    def runway_s(self) -> float | None:
        """The shortest."""
        found = [each.runway_seconds for each in self.consumers]
        return min((each for each in found if each is not None), default=None)

    @property
    def runway(self) -> Runway:
        """What that is to somebody who could still do something about it."""
        behind_s = max((each.lag_seconds for each in self.consumers), default=None)
        return runway_of(behind_s, self.retention_s)


def measure(
    log: Log,
    store: Store | None = None,
    *,
    over_s: float = 0.0,
    clock: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Lag:
    """One pass over the log; with a store over what lies beyond its checkpoints only.

    ``over_s``: look again after so long, to tell how fast the store's consumers go.

    Raises:
        MismatchError: the store belongs to another log.
        DamageError: it is ahead of this one.
        TrimmedError: the log has forgotten what one of its consumers had not applied.
    """
    clock = SystemClock() if clock is None else clock
    parked: Mapping[int, int] = {}
    foreign: set[Place] = set()  # kept by the store, or to be
    followed: list[_Followed] = []
    looked_at = clock.monotonic()
    if store is not None:
        with store.view() as view:
            check_binding(store.name, view.genesis(), log.genesis)
            followed = _followed(view)
            foreign.update(record.place for record in view.foreign())
            parked = parked_in(view)
    checkpoints = furthest_behind([each.checkpoints for each in followed])
    passing = _Passing(log, "" if store is None else store.name, checkpoints, followed)
    passing.read(foreign)
    now = log.now_ms()
    retention_s = None if store is None else retention_of(log)
    partitions = []
    for partition in passing.reader.partitions:
        place = passing.reader.checkpoint(partition)
        whole = passing.of_all.lag(partition, place.applied, now, retention_s)
        is_asked = store is not None
        partitions.append(
            PartitionLag(
                partition=partition,
                offset=place.applied,
                applied=whole.applied if is_asked else None,
                lag_events=whole.lag_events if is_asked else None,
                lag_seconds=whole.lag_seconds if is_asked else None,
                held=passing.reader.sequencers[partition].held,
                parked=parked.get(partition, 0),
                position=str(place.position),
                lag_bytes=whole.lag_bytes if is_asked else None,
                runway_seconds=whole.runway_seconds if is_asked else None,
            )
        )
    consumers = [
        each.summed([each.lag(p.partition, p.offset, now, retention_s) for p in partitions])
        for each in followed
    ]
    if store is not None and over_s > 0 and consumers:
        before, read_at = passing.reader.vector(), clock.monotonic()
        sleep(over_s)
        with store.view() as view:
            later = {each.generation.id: each.vector for each in _followed(view)}
        passed_s = max(clock.monotonic() - looked_at, 1e-3)
        passing.read(foreign)
        read_s = max(clock.monotonic() - read_at, 1e-3)
        vector = passing.reader.vector()
        arriving = {p: (vector[p] - before.get(p, 0)) / read_s for p in vector}
        consumers = [
            _with_speed(each, follows.vector, later.get(each.generation), passed_s, arriving)
            for each, follows in zip(consumers, followed, strict=True)
        ]
        partitions = [
            msgspec.structs.replace(
                each, eta_seconds=latest([c.partitions[n].eta_seconds for c in consumers])
            )
            for n, each in enumerate(partitions)
        ]
    return Lag(
        partitions,
        [halt for _, halt in sorted(passing.reader.halts.items())],
        passing.damage,
        sorted(foreign - passing.relayed),
        consumers,
        retention_s,
    )


class _Followed:
    """One generation: where it stands, and what was met beyond that."""

    def __init__(self, generation: Generation, checkpoints: Mapping[int, Checkpoint]) -> None:
        self.generation = generation
        self.checkpoints = checkpoints
        self._oldest: dict[int, int] = {}  # arrival of the first event that is not applied
        self._bytes: Counter[int] = Counter()

    @property
    def vector(self) -> dict[int, int]:
        return {partition: each.applied for partition, each in self.checkpoints.items()}

    def meet(self, run: Run, size: int) -> None:
        """A run, and the bytes of its record that no run of it was met with before."""
        if run.last_offset > self._applied(run.partition):
            self._oldest.setdefault(run.partition, run.arrival_ms)
            self._bytes[run.partition] += size

    def _applied(self, partition: int) -> int:
        found = self.checkpoints.get(partition)
        return 0 if found is None else found.applied

    def lag(
        self, partition: int, offset: int, now_ms: int, retention_s: float | None
    ) -> ConsumerPartition:
        """How far it is behind a log whose partition has ``offset`` events."""
        applied = self._applied(partition)
        behind_s = max(0, now_ms - self._oldest.get(partition, now_ms)) / 1000
        return ConsumerPartition(
            partition,
            applied,
            offset - applied,
            self._bytes[partition],
            behind_s,
            None if retention_s is None else max(0.0, retention_s - behind_s),
        )

    def summed(self, partitions: Sequence[ConsumerPartition]) -> ConsumerLag:
        return ConsumerLag(
            self.generation.id,
            self.generation.tables,
            self.generation.open,
            sum(each.lag_events for each in partitions),
            sum(each.lag_bytes for each in partitions),
            max((each.lag_seconds for each in partitions), default=0.0),
            min(
                (each.runway_seconds for each in partitions if each.runway_seconds is not None),
                default=None,
            ),
            list(partitions),
        )


class _Passing:
    """A pass over what none, or not all, of the generations have applied."""

    def __init__(
        self,
        log: Log,
        store: str,
        checkpoints: Mapping[int, Checkpoint],
        followed: Sequence[_Followed],
    ) -> None:
        nobody = Generation(id="", tables=(), open=False, fingerprint="", excluded=())
        self.of_all = _Followed(nobody, checkpoints)
        self._followed = [self.of_all, *followed]
        self._log = log
        self._sizes = RecordSizes(log)
        self.reader = LogReader(self._sizes.log, starts=starts_of(log, store, checkpoints))
        self.relayed: set[Place] = set()
        self.damage: DamageError | None = None

    def read(self, foreign: set[Place]) -> None:
        """To the log's end as it is now."""
        try:
            self.reader.extend(horizon_of(self._log))
            while (runs := self.reader.read()) is not None:
                for run in runs:
                    size = self._sizes.take(run.partition, run.sequence)
                    for each in self._followed:
                        each.meet(run, size)
                if not any(each.held for each in self.reader.sequencers.values()):
                    self._sizes.clear()
                foreign.update(record.place for record in self.reader.foreign)
                self.relayed.update(self.reader.relayed)
        except DamageError as error:
            self.damage = error


def _followed(view: Reader) -> list[_Followed]:
    return [_Followed(each, view.checkpoints(each.id)) for each in view.generations()]


def _with_speed(
    lag: ConsumerLag,
    before: Mapping[int, int],
    after: Mapping[int, int] | None,
    passed_s: float,
    arriving: Mapping[int, float],
) -> ConsumerLag:
    """With how fast it went; nothing where it was replaced by another meanwhile."""
    if after is None:
        return lag
    speeds = {p: (after[p] - before.get(p, 0)) / passed_s for p in after}
    speed, comes = sum(speeds.values()), sum(arriving.values())
    return msgspec.structs.replace(
        lag,
        events_per_second=speed,
        arriving_per_second=comes,
        eta_seconds=_eta_s(lag.lag_events, speed, comes),
        partitions=[
            msgspec.structs.replace(
                each,
                eta_seconds=_eta_s(
                    each.lag_events,
                    speeds.get(each.partition, 0.0),
                    arriving.get(each.partition, 0.0),
                ),
            )
            for each in lag.partitions
        ],
    )


def _eta_s(behind: int, applied: float, arriving: float) -> float | None:
    """Until nothing is left, by what is applied and what comes a second; ``None``: never so."""
    if not behind:
        return 0.0
    return behind / (applied - arriving) if applied > arriving else None


def latest(found: Sequence[float | None]) -> float | None:
    """The last of them to come; ``None`` where one does not, or nobody knows."""
    known = [each for each in found if each is not None]
    return max(known) if known and len(known) == len(found) else None


def parked_in(view: Reader) -> dict[int, int]:
    """Of each partition the keys whose events wait, of whichever table; and what stands alone."""
    keys = {(x.partition, x.table, x.key, x.alone) for x in view.letters()}
    return Counter(partition for partition, *_ in keys)


def last_of_all(view: Reader) -> Mapping[int, Checkpoint]:
    """Of each partition that every generation has begun, the checkpoint that is furthest behind."""
    return furthest_behind([view.checkpoints(generation.id) for generation in view.generations()])


def furthest_behind(found: Sequence[Mapping[int, Checkpoint]]) -> Mapping[int, Checkpoint]:
    """Of each partition that all of these have begun, the checkpoint that is furthest behind."""
    if not found:
        return {}
    begun = set.intersection(*map(set, found))
    return {p: min((each[p] for each in found), key=lambda c: c.applied) for p in sorted(begun)}
