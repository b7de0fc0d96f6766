"""How far a log is, and how far a store is behind it, partition by partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from appliers.store import Checkpoint, Reader, Store
from appliers.stores.generations import check_binding
from binlog.errors import DamageError
from binlog.foreign import Place
from binlog.halt import Halt
from binlog.log import Log
from binlog.reader import Reader as LogReader
from consumers.checkpoint import starts_of


class PartitionLag(msgspec.Struct, frozen=True):
    """One partition. The three of the store are ``None`` where no store was asked for."""

    partition: int
    offset: int  # of the log's last event
    applied: int | None  # the least of the store's generations (C0)
    lag_events: int | None
    lag_seconds: float | None  # since the arrival of the oldest event that is not applied
    held: int  # frames that wait for an earlier one
    parked: int  # keys whose events wait, or an event that stands alone
    position: str  # of the last record read, SHARD:SEQUENCE


class Lag(msgspec.Struct, frozen=True):
    """All partitions, and what keeps readers from the log's end."""

    partitions: list[PartitionLag]
    halts: list[Halt]
    damage: DamageError | None
    foreign: list[Place] = []  # records of nobody of ours that nobody has relayed, by place

    @property
    def healthy(self) -> bool:
        """Whether every partition could be read to its end, and all that was read was ours."""
        return not self.halts and self.damage is None and not self.foreign


def measure(log: Log, store: Store | None = None) -> Lag:
    """One pass over the log; with a store over what lies beyond its checkpoints only.

    Raises:
        MismatchError: the store belongs to another log.
        DamageError: it is ahead of this one.
    """
    checkpoints: Mapping[int, Checkpoint] = {}
    parked: Mapping[int, int] = {}
    foreign: set[Place] = set()  # kept by the store, or to be
    if store is not None:
        with store.view() as view:
            check_binding(store.name, view.genesis(), log.genesis)
            checkpoints = last_of_all(view)
            foreign.update(record.place for record in view.foreign())
            parked = parked_in(view)
    name = "" if store is None else store.name
    reader = LogReader(log, starts=starts_of(log, name, checkpoints))
    relayed: set[Place] = set()
    oldest: dict[int, int] = {}  # arrival of the first event that is not applied
    damage = None
    try:
        while (runs := reader.read()) is not None:
            for run in runs:
                oldest.setdefault(run.partition, run.arrival_ms)
            foreign.update(record.place for record in reader.foreign)
            relayed.update(reader.relayed)
    except DamageError as error:
        damage = error
    now = log.now_ms()
    partitions = []
    for partition in reader.partitions:
        place = reader.checkpoint(partition)
        applied = None
        if store is not None:
            applied = checkpoints[partition].applied if partition in checkpoints else 0
        behind = now - oldest[partition] if partition in oldest else 0
        partitions.append(
            PartitionLag(
                partition=partition,
                offset=place.applied,
                applied=applied,
                lag_events=None if applied is None else place.applied - applied,
                lag_seconds=None if applied is None else max(behind, 0) / 1000,
                held=reader.sequencers[partition].held,
                parked=parked.get(partition, 0),
                position=str(place.position),
            )
        )
    return Lag(
        partitions,
        [halt for _, halt in sorted(reader.halts.items())],
        damage,
        sorted(foreign - relayed),
    )


def parked_in(view: Reader) -> dict[int, int]:
    """Of each partition the keys whose events wait, of whichever table; and what stands alone."""
    keys = {(x.partition, x.table, x.key, x.alone) for x in view.letters()}
    return Counter(partition for partition, *_ in keys)


def last_of_all(view: Reader) -> Mapping[int, Checkpoint]:
    """Of each partition that every generation has begun, the checkpoint that is furthest behind."""
    found = [view.checkpoints(generation.id) for generation in view.generations()]
    if not found:
        return {}
    begun = set.intersection(*map(set, found))
    return {p: min((each[p] for each in found), key=lambda c: c.applied) for p in sorted(begun)}
