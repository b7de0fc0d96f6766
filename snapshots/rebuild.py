"""Rebuild tables from a log: folded offline, in parallel by partition, made live in one step (B1).

Each worker process reads the log for its own partitions, sequences and folds them from nothing,
and loads the rows into a part of the build; frames of other partitions are skipped unread. The
parent adopts the parts and makes the generation live. Until then readers see what was there
before, and a build whose process was killed is removed by the next one.

A worker holds the items of one group of partitions at a time (`snapshots.grouping`), so that memory
does not grow with the log.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import msgspec

from appliers.applier import NO_RULES, Rules
from appliers.exclusion import parse_exclusions
from appliers.exclusion_matching import (
    Met,
    WatchedExclusions,
    check_matched,
    watch_exclusions,
)
from appliers.fingerprint import fingerprint
from appliers.fold import Counts, Fold
from appliers.item import Rejection
from appliers.letters import DeadLetter
from appliers.routing import Routing
from appliers.store import Build, Checkpoint, Part, Store
from binlog.foreign import Foreign, Place
from binlog.log import Log
from binlog.reader import Reader
from binlog.target import END, Target
from binlog.vector import Vector, without_zeros
from snapshots.grouping import groups_of
from snapshots.workers import Advance, can_fork, run_forked

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
    poison: Literal["stop", "park"] = "stop"  # what an event that cannot be applied does


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild is: events folded, and bytes read of the log's `size_bytes`."""

    events: int
    log_bytes: int


OnProgress: TypeAlias = Callable[[Progress], None]
Keep: TypeAlias = Callable[[Sequence[Foreign], Sequence[Place]], None]


class Report(msgspec.Struct):
    """What a rebuild or a replication did. ``duplicates`` are events dropped as copies."""

    counts: Counts
    vector: Vector
    duplicates: int
    seconds: float
    tables: tuple[str, ...]


class Folded(msgspec.Struct):
    """What a worker made of its partitions, apart from the rows."""

    part: Part
    counts: Counts
    tables: frozenset[str]
    types: frozenset[str]
    checkpoints: dict[int, Checkpoint]
    rejections: list[Rejection]
    letters: list[DeadLetter]
    duplicates: int
    excluded: Met | None = None  # what the exclusions met


def rebuild(
    log: Log,
    store: Store,
    wanted: Wanted,
    *,
    workers: int = 1,
    progress: OnProgress | None = None,
) -> Report:
    """Build the wanted tables from the log's beginning and replace them in ``store``.

    ``progress`` is called with how far it is, a few times a second. With other
    threads about it is not safe to fork, and all is folded in this process.

    Raises:
        HaltedError, PoisonError, DamageError: nothing is replaced, the old content stays. Of
            poison only what parks no item where ``wanted`` says to park (`appliers.poison`).
        ConflictError: the target is beyond the log's end.
        MismatchError: the store belongs to another log.
        RefusedError: an exclusion that matches no event, unless ``wanted`` allows it.
    """
    started = time.perf_counter()
    store.lock()
    store.bind(log.genesis)
    exclusions = parse_exclusions(wanted.excluded, partitions=log.params.partitions)
    build = store.build(
        tables=wanted.tables,
        fingerprint=fingerprint(wanted.rules),
        excluded=() if exclusions is None else exclusions.rules,
    )
    try:
        results = _fold_all(log, build, wanted, max(1, workers), progress)
        _check_exclusions(log, wanted, results)
        build.adopt(result.part for result in results)
        for result in results:
            build.reject(result.rejections)
            if result.letters:
                build.divert(result.letters)
        checkpoints = {p: c for r in results for p, c in r.checkpoints.items()}
        tables = frozenset(wanted.tables or ()).union(*(r.tables for r in results))
        types = frozenset[str]().union(*(r.types for r in results))
        build.finish(checkpoints, tables=tables, types=types)
    except BaseException:
        build.abandon()
        raise
    return Report(
        counts=_total([result.counts for result in results]),
        vector=without_zeros({p: c.applied for p, c in checkpoints.items()}),
        duplicates=sum(result.duplicates for result in results),
        seconds=time.perf_counter() - started,
        tables=tuple(sorted(tables)),
    )


def fold_partitions(
    log: Log,
    partitions: Collection[int],
    wanted: Wanted,
    *,
    tick: OnProgress | None = None,
    keep: Keep = lambda *_: None,
) -> tuple[Fold, Reader]:
    """Read and fold ``partitions`` from nothing up to the target.

    ``keep`` gets the foreign records on the way, and those relayed, page by page: there may be any
    number of them.

    Raises:
        HaltedError: a partition is halted; ConflictError: the target is beyond the log's end.
    """
    reader = Reader(log, partitions=partitions, target=wanted.target, page_bytes=_PAGE_BYTES)
    fold = Fold(
        Routing(
            log.params,
            rules=wanted.rules,
            tables=wanted.tables,
            without=frozenset(wanted.without),
            exclusions=watch_exclusions(wanted.excluded),
        ),
        parks=wanted.poison == "park",
    )
    with _without_collector():
        while (runs := reader.read()) is not None:
            for run in runs:
                fold.add(run)
            if reader.foreign or reader.relayed:
                keep(reader.foreign, reader.relayed)
            if tick is not None:
                tick(Progress(fold.counts.events, reader.bytes_read))
    reader.raise_halts()
    reader.check_reached()
    return fold, reader


@contextmanager
def _without_collector() -> Iterator[None]:
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


def _fold_group(
    log: Log,
    partitions: Collection[int],
    wanted: Wanted,
    part: Part,
    tick: OnProgress | None,
) -> Folded:
    with _without_collector():
        fold, reader = fold_partitions(log, partitions, wanted, tick=tick, keep=part.keep)
        for table in sorted(fold.tables):
            part.load(table, fold.rows(table))
        part.close()
        return Folded(
            part=part,
            counts=fold.counts,
            tables=fold.tables,
            types=frozenset(fold.types),
            checkpoints={p: checkpoint_of(reader, p) for p in reader.partitions},
            rejections=fold.rejections,
            letters=fold.parking.letters,
            duplicates=duplicates_of(reader),
            excluded=met_by(fold),
        )


def met_by(fold: Fold) -> Met | None:
    """What the exclusions of a fold of `fold_partitions` met, if it has any."""
    exclusions = fold.routing.exclusions
    return exclusions.met() if isinstance(exclusions, WatchedExclusions) else None


def _check_exclusions(log: Log, wanted: Wanted, results: Sequence[Folded]) -> None:
    """That each of them left something out: before anything is made live.

    Raises:
        RefusedError: one matches no event.
    """
    if wanted.idle_exclusions == "refuse":
        ends = {p: c.applied for r in results for p, c in r.checkpoints.items()}
        check_matched([r.excluded for r in results if r.excluded is not None], ends, where=log.name)


def _fold_all(
    log: Log,
    build: Build,
    wanted: Wanted,
    workers: int,
    progress: OnProgress | None,
) -> list[Folded]:
    if workers > 1 and can_fork():
        return _fold_forked(log, build, wanted, workers, progress)
    results: list[Folded] = []
    last = before = Progress(0, 0)

    def tick(now: Progress) -> None:
        nonlocal last
        last = Progress(before.events + now.events, before.log_bytes + now.log_bytes)
        if progress is not None:
            progress(last)

    for group in groups_of(log, 1):
        before = last
        results.append(_fold_group(log, group, wanted, build.part(), tick))
    return results


def _fold_forked(
    log: Log,
    build: Build,
    wanted: Wanted,
    workers: int,
    progress: OnProgress | None,
) -> list[Folded]:
    def fold(task: tuple[list[int], Part], advance: Advance) -> Folded:
        group, part = task
        return _fold_group(log, group, wanted, part, lambda p: advance(p.events, p.log_bytes))

    return run_forked(
        fold,
        [(group, build.part()) for group in groups_of(log, workers)],
        workers=workers,
        name=log.name,
        progress=None if progress is None else lambda *sums: progress(Progress(*sums)),
    )


def _total(counts: Sequence[Counts]) -> Counts:
    names = Counts.__struct_fields__
    return Counts(*(sum(getattr(each, name) for each in counts) for name in names))
