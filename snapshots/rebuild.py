"""Rebuild tables from a log: folded offline, in parallel by partition, made live in one step (B1).

Each worker process reads the log for its own partitions, sequences and folds them from nothing,
and loads the rows into a part of the build; frames of other partitions are skipped unread. The
parent adopts the parts and makes the generation live. Until then readers see what was there
before, and a build whose process was killed is removed by the next one.

A worker holds the items of one group of partitions at a time. How many groups there are follows
from the log's size, so that memory does not grow with it.
"""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from typing import Any, cast

import msgspec

from appliers.applier import NO_RULES, Rules
from appliers.exclusion import parse_exclusions
from appliers.fingerprint import fingerprint
from appliers.fold import Counts, Fold
from appliers.item import Rejection
from appliers.routing import Routing
from appliers.store import Build, Checkpoint, Part, Store
from binlog.errors import BinlogError, StorageError
from binlog.log import Log
from binlog.reader import Reader
from binlog.target import END, Target
from binlog.vector import Vector, without_zeros

# A group's items are at most the log's bytes of its partitions, decompressed: what one worker may
# hold at a time, in bytes of log as stored (about an eighth of its items; see scripts/bench).
GROUP_BYTES = 128 * 1024 * 1024


class Wanted(msgspec.Struct, frozen=True):
    """What to rebuild: which tables (``None``: all), how far, by which rules, without what."""

    tables: tuple[str, ...] | None = None
    target: Target = END
    rules: Rules = NO_RULES
    excluded: tuple[str, ...] = ()


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
    checkpoints: dict[int, Checkpoint]
    rejections: list[Rejection]
    duplicates: int


def rebuild(
    log: Log,
    store: Store,
    wanted: Wanted,
    *,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Build the wanted tables from the log's beginning and replace them in ``store``.

    ``progress`` is called with the events folded so far, a few times a second. With other
    threads about it is not safe to fork, and all is folded in this process.

    Raises:
        HaltedError, PoisonError, DamageError: nothing is replaced, the old content stays.
        ConflictError: the target is beyond the log's end.
        MismatchError: the store belongs to another log.
    """
    started = time.perf_counter()
    store.lock()
    store.bind(log.genesis)
    build = store.build(
        tables=wanted.tables, fingerprint=fingerprint(wanted.rules), excluded=wanted.excluded
    )
    try:
        results = _fold_all(log, build, wanted, max(1, workers), progress)
        build.adopt(result.part for result in results)
        for result in results:
            build.reject(result.rejections)
        checkpoints = {p: c for r in results for p, c in r.checkpoints.items()}
        tables = frozenset(wanted.tables or ()).union(*(r.tables for r in results))
        build.finish(checkpoints, tables=tables)
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
    tick: Callable[[int], None] | None = None,
) -> tuple[Fold, Reader]:
    """Read and fold ``partitions`` from nothing up to the target.

    Raises:
        HaltedError: a partition is halted; ConflictError: the target is beyond the log's end.
    """
    reader = Reader(log, partitions=partitions, target=wanted.target)
    fold = Fold(
        Routing(
            log.params,
            rules=wanted.rules,
            tables=wanted.tables,
            exclusions=parse_exclusions(wanted.excluded),
        )
    )
    with _without_collector():
        while (runs := reader.read()) is not None:
            for run in runs:
                fold.add(run)
            if tick is not None:
                tick(fold.counts.events)
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
    )


def _fold_group(
    log: Log,
    partitions: Collection[int],
    wanted: Wanted,
    part: Part,
    tick: Callable[[int], None] | None,
) -> Folded:
    fold, reader = fold_partitions(log, partitions, wanted, tick=tick)
    for table in sorted(fold.tables):
        part.load(table, fold.rows(table))
    part.close()
    return Folded(
        part=part,
        counts=fold.counts,
        tables=fold.tables,
        checkpoints={p: checkpoint_of(reader, p) for p in reader.partitions},
        rejections=fold.rejections,
        duplicates=sum(s.counters.duplicates for s in reader.sequencers.values()),
    )


def _groups(log: Log, workers: int) -> list[list[int]]:
    """Partitions in as many groups as memory asks for, at least one a worker."""
    passes = -(-log.size_bytes() // (GROUP_BYTES * workers)) or 1
    count = min(log.params.partitions, workers * passes)
    return [list(range(i, log.params.partitions, count)) for i in range(count)]


def _fold_all(
    log: Log,
    build: Build,
    wanted: Wanted,
    workers: int,
    progress: Callable[[int], None] | None,
) -> list[Folded]:
    if workers > 1 and threading.active_count() == 1:
        return _fold_in_processes(log, build, wanted, workers, progress)
    results: list[Folded] = []
    for group in _groups(log, 1):
        before = sum(result.counts.events for result in results)
        tick = None if progress is None else _adding(progress, before)
        results.append(_fold_group(log, group, wanted, build.part(), tick))
    return results


def _adding(progress: Callable[[int], None], before: int) -> Callable[[int], None]:
    return lambda events: progress(before + events)


# -- in other processes --------------------------------------------------------------------------

_Job = tuple[Log, Wanted, "Synchronized[int]"]
_job: _Job | None = None  # in a worker: what it was started with


def _start_worker(*job: Any) -> None:
    global _job  # noqa: PLW0603 (how a pool hands over what cannot be pickled: by inheritance)
    _job = job


def _work(group: list[int], part: Part) -> Folded:
    log, wanted, folded = cast(_Job, _job)
    seen = 0

    def tick(events: int) -> None:
        nonlocal seen
        with folded.get_lock():
            folded.value += events - seen
        seen = events

    return _fold_group(log, group, wanted, part, tick)


def _fold_in_processes(
    log: Log,
    build: Build,
    wanted: Wanted,
    workers: int,
    progress: Callable[[int], None] | None,
) -> list[Folded]:
    # Forked, so that rules made of local functions get there; safe, as there is one thread.
    context = multiprocessing.get_context("fork")
    folded = context.Value("q", 0)
    with ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(log, wanted, folded)
    ) as pool:
        futures = [pool.submit(_work, group, build.part()) for group in _groups(log, workers)]
        try:
            return _collect(futures, folded, progress)
        except BrokenProcessPool as error:
            raise StorageError(
                "a worker process ended before its work did", log.name, "run it again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _collect(
    futures: Sequence[Future[Folded]],
    folded: Synchronized[int],
    progress: Callable[[int], None] | None,
) -> list[Folded]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=0.2, return_when="FIRST_EXCEPTION")
        if progress is not None:
            progress(folded.value)
        if any(future.exception() for future in done):
            break
    errors = [e for future in futures if future.done() and (e := future.exception())]
    for error in sorted(errors, key=_place):
        raise error
    return [future.result() for future in futures]


def _place(error: BaseException) -> tuple[int, int]:
    """By partition and offset where known, so that the same damage is named each time."""
    details = error.details if isinstance(error, BinlogError) else {}
    partition, offset = details.get("partition"), details.get("offset")
    return (
        partition if isinstance(partition, int) else 1 << 32,
        offset if isinstance(offset, int) else 1 << 62,
    )


def _total(counts: Sequence[Counts]) -> Counts:
    names = Counts.__struct_fields__
    return Counts(*(sum(getattr(each, name) for each in counts) for name in names))
