"""Partitions read from a log and folded, from nothing or onto a base, up to a target.

Of a base (`snapshots.base`) only the items that the tail's events touch are decoded and folded; all
others are carried through as the bytes that they are.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import msgspec

from appliers.adoption import Bases
from appliers.applier import NO_RULES, Rules
from appliers.exclusion_matching import Met, WatchedExclusions, watch_exclusions
from appliers.fold import Fold
from appliers.routing import Routing
from appliers.starts import starts_of
from appliers.store import Checkpoint
from binlog.foreign import Foreign, Place
from binlog.horizon import horizon_of
from binlog.log import Log
from binlog.reader import Reader
from binlog.target import END, Target
from snapshots.adopt_base import KeptBases
from snapshots.base import Base, begin, check_before, check_exact

# What is read and folded at a time. Decoded, pages of 4 MiB do not fit the processor's caches:
# the same work takes some 5 % longer.
_PAGE_BYTES = 512 * 1024


class Wanted(msgspec.Struct, frozen=True):
    """What to rebuild: which tables (``None``: all), how far, by which rules, without what."""

    tables: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()  # tables left out of "all"
    target: Target = END
    rules: Rules = NO_RULES
    excluded: tuple[str, ...] = ()
    idle_exclusions: Literal["refuse", "allow"] = "refuse"  # rules that match no event
    idle: Literal["refuse", "allow"] = "allow"  # unknown tables; nothing in place of something
    poison: Literal["stop", "park"] = "stop"  # what an event that cannot be applied does
    bases: Bases | None = None  # of adopted tables; None: where their records say

    def of(self, tables: Collection[str]) -> list[str]:
        """Those of ``tables`` that are wanted, sorted."""
        if self.tables is None:
            return sorted(set(tables).difference(self.without))
        return sorted(set(tables).intersection(self.tables))


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild is: events folded, and bytes read of the log's `size_bytes`."""

    events: int
    log_bytes: int


OnProgress: TypeAlias = Callable[[Progress], None]
Keep: TypeAlias = Callable[[Sequence[Foreign], Sequence[Place]], None]


def fold_partitions(
    log: Log,
    partitions: Collection[int],
    wanted: Wanted,
    *,
    base: Base | None = None,
    tick: OnProgress | None = None,
    keep: Keep = lambda *_: None,
) -> tuple[Fold, Reader]:
    """Read and fold ``partitions`` from nothing, or from ``base``, up to the target.

    ``keep`` gets the foreign records on the way, and those relayed, page by page: there may be any
    number of them.

    Raises:
        HaltedError: a partition is halted; ConflictError: the target is beyond the log's end.
        DamageError: the base is damaged, or ahead of the log; TrimmedError: what follows it is gone.
    """
    checkpoints: dict[int, Checkpoint] = {}
    if base is not None:
        checkpoints = {p: c for p, c in base.checkpoints.items() if p in partitions}
    starts = {} if base is None else starts_of(log, base.name, checkpoints, what="base")
    fold = Fold(
        Routing(
            log.params,
            rules=wanted.rules,
            tables=wanted.tables,
            without=frozenset(wanted.without),
            exclusions=watch_exclusions(wanted.excluded),
        ),
        after={p: start.applied for p, start in starts.items()},
        parks=wanted.poison == "park",
        bases=wanted.bases or KeptBases(log.genesis),
    )
    with without_collector():
        if base is not None:
            check_before(base, wanted.target, partitions)
            begin(fold, base, wanted.of(base.tables), partitions)
        reader = Reader(
            log,
            partitions=partitions,
            starts=starts,
            target=wanted.target,
            page_bytes=_PAGE_BYTES,
            horizon=horizon_of(log),
        )
        while (runs := reader.read()) is not None:
            for run in runs:
                fold.add(run)
            if reader.foreign or reader.relayed:
                keep(reader.foreign, reader.relayed)
            if tick is not None:
                tick(Progress(fold.counts.events, reader.bytes_read))
    reader.raise_halts()
    reader.check_reached()
    if base is not None:
        check_exact(base, reader)
    return fold, reader


@contextmanager
def without_collector() -> Iterator[None]:
    """Millions of small objects live until the end: looking for cycles in them costs 10-40 %."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def checkpoint_of(reader: Reader, partition: int) -> Checkpoint:
    """The store's form of a reader's place in one partition."""
    place = reader.checkpoint(partition)
    return Checkpoint(
        partition=partition,
        shard=place.position.shard,
        sequence=place.position.sequence,
        offset=place.offset,
        applied=place.applied,
        digest=place.digest,
        state=place.state,
        seen_ms=place.seen_ms,
    )


def duplicates_of(reader: Reader) -> int:
    """Events that were dropped as copies: sent again, or known to the id window."""
    counters = [sequencer.counters for sequencer in reader.sequencers.values()]
    return sum(each.duplicates + each.window_dropped for each in counters)


def met_by(fold: Fold) -> Met | None:
    """What the exclusions of a fold of `fold_partitions` met, if it has any."""
    exclusions = fold.routing.exclusions
    return exclusions.met() if isinstance(exclusions, WatchedExclusions) else None
