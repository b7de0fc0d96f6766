"""Rebuild tables from a log: folded offline, in parallel by partition, made live in one step (B1).

Each worker process reads the log for its own partitions, sequences and folds them, from nothing or
onto a base (a snapshot, `snapshots.planner`), and loads the rows into a part of the build; frames of
other partitions are skipped unread. The parent adopts the parts and makes the generation live. Until
then readers see what was there before, and a build whose process was killed is removed by the next
one. Groups that were folded by then may be kept (`snapshots.kept`), and a next one goes on there.

A worker holds the items of one group of partitions at a time (`snapshots.grouping`), so that memory
does not grow with the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import sha256

import msgspec

from appliers.exclusion import parse_exclusions
from appliers.exclusion_matching import Met, check_matched
from appliers.fingerprint import fingerprint
from appliers.fold import Counts
from appliers.item import Rejection
from appliers.letters import DeadLetter
from appliers.starts import starts_of
from appliers.store import Build, Checkpoint, Part, Store
from binlog.errors import DamageError, TrimmedError
from binlog.foreign import Foreign, Place
from binlog.log import Log
from binlog.vector import Vector, without_zeros
from snapshots.base import Base, letters_of, rejections_of
from snapshots.folding import (
    Keep,
    OnProgress,
    Progress,
    Wanted,
    checkpoint_of,
    duplicates_of,
    fold_partitions,
    met_by,
    without_collector,
)
from snapshots.grouping import GROUP_BYTES, KEPT_BYTES, groups_of
from snapshots.idle import check_store_is_empty, check_tables
from snapshots.kept import Done, KeptBase, KeptWork
from snapshots.workers import Advance, can_fork, run_forked

__all__ = [
    "Folded",
    "Keep",
    "OnProgress",
    "Progress",
    "Report",
    "Wanted",
    "checkpoint_of",
    "duplicates_of",
    "fold_partitions",
    "met_by",
    "plan_digest",
    "rebuild",
]


class Report(msgspec.Struct):
    """What a rebuild or a replication did. ``duplicates`` are events dropped as copies.

    Counted is what was read: of a rebuild that began at a base, what followed it.
    """

    counts: Counts
    vector: Vector
    duplicates: int
    seconds: float
    tables: tuple[str, ...]
    start: str | None = None  # name of the base; `None`: the log's beginning
    resumed: int = 0  # groups that an earlier run had folded


class Folded(msgspec.Struct):
    """What a worker made of its partitions, apart from the rows."""

    part: Part
    counts: Counts
    tables: frozenset[str]
    named: frozenset[str]  # by events, wanted or not
    types: frozenset[str]
    checkpoints: dict[int, Checkpoint]
    rejections: list[Rejection]
    letters: list[DeadLetter]
    duplicates: int
    excluded: Met | None = None  # what the exclusions met
    resumed: bool = False


class Source(msgspec.Struct, frozen=True):
    """What all groups of a rebuild are made of."""

    log: Log
    wanted: Wanted
    base: Base | None
    work: KeptWork | None


def rebuild(
    log: Log,
    store: Store,
    wanted: Wanted,
    *,
    workers: int = 1,
    base: Base | None = None,
    work: KeptWork | None = None,
    progress: OnProgress | None = None,
) -> Report:
    """Build the wanted tables and replace them in ``store``: from ``base``, or the log's beginning.

    That the base fits is the caller's to see to (`snapshots.planner`). Groups that are folded are
    kept in ``work``, whose plan is `plan_digest`, until the rebuild is done.

    ``progress`` is called with how far it is, a few times a second. With other
    threads about it is not safe to fork, and all is folded in this process.

    Raises:
        HaltedError, PoisonError, DamageError: nothing is replaced, the old content stays. Of
            poison only what parks no item where ``wanted`` says to park (`appliers.poison`).
        ConflictError: the target is beyond the log's end, or before the base.
        MismatchError: the store belongs to another log.
        RefusedError: an exclusion that matches no event, a table that nothing names, or no event at
            all in place of some, unless ``wanted`` allows it.
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
        source = Source(log, wanted, base, work)
        results = _fold_all(source, build, max(1, workers), progress)
        _check_exclusions(source, results)
        _check_idle(source, results, store)
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
    if work is not None:
        work.remove()
    return Report(
        counts=_total([result.counts for result in results]),
        vector=without_zeros({p: c.applied for p, c in checkpoints.items()}),
        duplicates=sum(result.duplicates for result in results),
        seconds=time.perf_counter() - started,
        tables=tuple(sorted(tables)),
        start=None if base is None else base.name,
        resumed=sum(result.resumed for result in results),
    )


class _Plan(msgspec.Struct, frozen=True):
    """All that the rows of a rebuild follow from."""

    genesis: bytes
    wanted: tuple[object, ...]
    fingerprint: str
    excluded: tuple[str, ...]
    start: str


def plan_digest(log: Log, wanted: Wanted, *, start: str = "") -> str:
    """By which kept work is found again: 64 hex digits, others for other arguments or rules.

    ``start`` is the digest of the snapshot that is begun at.
    """
    exclusions = parse_exclusions(wanted.excluded)
    target = wanted.target
    what = (
        None if wanted.tables is None else sorted(wanted.tables),
        sorted(wanted.without),
        None if target.vector is None else sorted(target.vector.items()),
        target.time_ms,
        wanted.poison,
    )
    rules = () if exclusions is None else exclusions.rules
    plan = _Plan(log.genesis, what, fingerprint(wanted.rules), rules, start)
    return sha256(msgspec.json.encode(plan)).hexdigest()


def _check_exclusions(source: Source, results: Sequence[Folded]) -> None:
    """That each of them left something out: before anything is made live.

    Raises:
        RefusedError: one matches no event.
    """
    if source.wanted.idle_exclusions == "refuse":
        ends = {p: c.applied for r in results for p, c in r.checkpoints.items()}
        met = [r.excluded for r in results if r.excluded is not None]
        known = () if source.base is None else source.base.excluded
        check_matched(met, ends, known=known, where=source.log.name)


def _check_idle(source: Source, results: Sequence[Folded], store: Store) -> None:
    """That something is made of what is named, where ``wanted`` says so.

    Raises:
        RefusedError: see `snapshots.idle`.
    """
    wanted, where = source.wanted, source.log.name
    if wanted.idle == "allow":
        return
    if not any(c.applied for r in results for c in r.checkpoints.values()):
        check_store_is_empty(wanted.tables, store, where=where)
    met = frozenset[str]().union(*(r.tables | r.named for r in results))
    check_tables(wanted.tables or (), met, store, wanted.rules, where=where)


def _fold_group(
    source: Source, group: Sequence[int], part: Part, tick: OnProgress | None, *, first: bool
) -> Folded:
    """One group, into ``part``; the ``first`` one takes in what is the base's as a whole."""
    work, wanted = source.work, source.wanted
    kept = None if work is None else _kept_group(source.log, work, group)
    base = kept or source.base
    foreign: list[Foreign] = []
    relayed: list[Place] = []

    def keep(met: Sequence[Foreign], known: Sequence[Place]) -> None:
        part.keep(met, known)
        if work is not None:
            foreign.extend(met)
            relayed.extend(known)

    with without_collector():
        if kept is not None or (base is not None and first):
            assert base is not None
            keep(list(base.foreign()), list(base.relayed()))
        fold, reader = fold_partitions(source.log, group, wanted, base=base, tick=tick, keep=keep)
        tables = sorted(fold.tables)
        result = Folded(
            part=part,
            counts=fold.counts,
            tables=fold.tables,
            named=fold.routing.named,
            types=frozenset(fold.types).union(() if base is None else base.types),
            checkpoints={p: checkpoint_of(reader, p) for p in reader.partitions},
            rejections=rejections_of(fold, base, tables, group),
            letters=letters_of(fold, base, tables, group),
            duplicates=duplicates_of(reader),
            excluded=met_by(fold),
        )
        if kept is not None:
            _take_in(result, kept)
        if work is not None and (kept is None or kept.checkpoints != result.checkpoints):
            work.keep(
                group,
                Done(
                    result.checkpoints,
                    tables,
                    sorted(result.types),
                    result.counts,
                    result.duplicates,
                    result.excluded,
                ),
                rows=((table, fold.rows(table)) for table in tables),
                letters=result.letters,
                rejections=result.rejections,
                foreign=foreign,
                relayed=relayed,
            )
        for table in tables:
            part.load(table, fold.rows(table))
        part.close()
    return result


def _kept_group(log: Log, work: KeptWork, group: Sequence[int]) -> KeptBase | None:
    """The group as an earlier run has left it, if the log still goes on from there."""
    kept = work.find(group)
    if kept is None:
        return None
    try:
        starts_of(log, kept.name, kept.checkpoints, what="kept work")
    except (DamageError, TrimmedError) as error:  # restored from a copy, or forgotten meanwhile
        work.discard(group, error)
        return None
    return kept


def _take_in(result: Folded, kept: KeptBase) -> None:
    """Count what an earlier run did as if it were this one."""
    group, met = kept.group, result.excluded
    result.resumed = True
    result.counts = _total([group.counts, result.counts])
    result.duplicates += group.duplicates
    if met is not None and group.excluded is not None:
        met.unmatched &= group.excluded.unmatched
        met.types |= group.excluded.types
        met.tables |= group.excluded.tables
        met.near = {**group.excluded.near, **met.near}


def _fold_all(
    source: Source, build: Build, workers: int, progress: OnProgress | None
) -> list[Folded]:
    forks = workers > 1 and can_fork()
    source, groups = _grouped(source, workers if forks else 1)
    if source.base is not None:
        source.base.read_once()
    if forks:
        return _fold_forked(source, build, groups, workers, progress)
    results: list[Folded] = []
    last = before = Progress(0, 0)

    def tick(now: Progress) -> None:
        nonlocal last
        last = Progress(before.events + now.events, before.log_bytes + now.log_bytes)
        if progress is not None:
            progress(last)

    for number, group in enumerate(groups):
        before = last
        results.append(_fold_group(source, group, build.part(), tick, first=number == 0))
    return results


def _grouped(source: Source, workers: int) -> tuple[Source, list[list[int]]]:
    """The groups, and the source without a place to keep them where that is not worth it."""
    work = source.work
    is_wanted = work is not None and not work.optional
    groups = groups_of(
        source.log,
        workers,
        base=source.base,
        more_bytes=_adopted_bytes(source),
        group_bytes=KEPT_BYTES if is_wanted else GROUP_BYTES,
    )
    if work is None:
        return source, groups
    if not is_wanted and len(groups) <= workers and not work.is_begun:
        return msgspec.structs.replace(source, work=None), groups
    return source, work.groups(groups)


def _adopted_bytes(source: Source) -> int:
    """Of what a rebuild from the log's beginning takes in from bases, as far as it is known now."""
    bases = source.wanted.bases
    return bases.size_bytes() if bases is not None and source.base is None else 0


def _fold_forked(
    source: Source,
    build: Build,
    groups: Sequence[list[int]],
    workers: int,
    progress: OnProgress | None,
) -> list[Folded]:
    def fold(task: tuple[list[int], Part, bool], advance: Advance) -> Folded:
        group, part, first = task
        tick: Callable[[Progress], None] = lambda p: advance(p.events, p.log_bytes)  # noqa: E731
        return _fold_group(source, group, part, tick, first=first)

    return run_forked(
        fold,
        [(group, build.part(), number == 0) for number, group in enumerate(groups)],
        workers=workers,
        name=source.log.name,
        progress=None if progress is None else lambda *sums: progress(Progress(*sums)),
    )


def _total(counts: Sequence[Counts]) -> Counts:
    names = Counts.__struct_fields__
    return Counts(*(sum(getattr(each, name) for each in counts) for name in names))
