"""Bringing a snapshot back into a store: exact before anybody sees it (N2), in one step.

A snapshot whose rows are of one moment is loaded as it is, and no log is needed. One whose rows are of
no one moment is loaded as what it was at its checkpoints, or later, and the log is folded onto it from
there, up to the highest offset that is in any of its rows: only then is it what a replica at that
vector is. Both go by groups of partitions, which is what memory holds, and by worker processes.

What becomes live stands at its snapshot's checkpoints (or where the replay ended), so a consumer of any
kind goes on from it as from its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, TypeVar

import msgspec

from appliers.applier import NO_RULES, Rules
from appliers.digest import TableDigest
from appliers.fingerprint import check_fingerprint, fingerprint, unready
from appliers.fold import Counts
from appliers.item import Row
from appliers.store import Build, Part, Store
from binlog.errors import ConflictError, DamageError, MismatchError, RefusedError
from binlog.log import Log
from binlog.target import Target
from binlog.vector import without_zeros
from snapshots.adopt_base import KeptBases
from snapshots.base import SnapshotBase
from snapshots.rebuild import Report, Wanted, rebuild
from snapshots.snapshot import Snapshot
from snapshots.snapshot_manifest import Manifest, TableCount, total_of
from snapshots.snapshot_manifest import Part as SnapshotPart
from snapshots.workers import Advance, can_fork, run_forked

GROUP_BYTES = 32 * 1024 * 1024  # of rows, decompressed: what a worker holds at a time
_CHUNK = 1_000  # letters or rejections at a time

OnProgress = Callable[[int], None]
"""Called with the number of rows that are loaded, or of events that were folded."""

_Item = TypeVar("_Item")


def restore(
    snapshot: Snapshot,
    store: Store,
    *,
    log: Log | None = None,
    rules: Rules = NO_RULES,
    same_meaning: bool = False,
    workers: int = 1,
    progress: OnProgress | None = None,
) -> Report:
    """Make the snapshot's generation live in ``store``, in place of the tables that it has there.

    An open generation replaces all that the store holds. ``log``, its archive included, and the
    ``rules`` that made the snapshot are needed only if it is not exact as it is.

    Raises:
        MismatchError: the store belongs to another log, the log given is another, or the rules are.
        RefusedError: the snapshot is not exact, and no log was given; or it is the base of a table.
        ConflictError: see `check_beside`, for this one snapshot.
        DamageError: of the snapshot, or the log lacks what the snapshot has; nothing is replaced.
        TrimmedError: the log has forgotten what follows the snapshot.
    """
    manifest = snapshot.manifest
    check_beside([manifest], snapshot.name)
    return _restore(snapshot, store, log, rules, workers, progress, same_meaning=same_meaning)


def restore_all(
    snapshots: Sequence[Snapshot],
    store: Store,
    *,
    log: Log | None = None,
    rules: Rules = NO_RULES,
    same_meaning: bool = False,
    workers: int = 1,
    progress: OnProgress | None = None,
) -> list[Report]:
    """The same of several generations of one store, the open one first: it makes room for all.

    Until the last one is there nobody follows the open one, which would begin the others' tables in
    the middle: it is live under a fingerprint that no rules have. Who was killed in between restores
    all of them again.

    Raises:
        ConflictError: see `check_beside`. Others as `restore`.
    """
    ordered = sorted(snapshots, key=lambda each: not each.manifest.generation.open)
    check_beside([each.manifest for each in ordered], ordered[0].objects.name)
    for each in ordered:
        check_needs(each.manifest, log, each.name, rules, same_meaning=same_meaning)
    held = _Held(store) if len(ordered) > 1 and ordered[0].manifest.generation.open else None
    reports = [
        _restore(each, into, log, rules, workers, progress, same_meaning=same_meaning)
        for each, into in zip(ordered, [held or store, *[store] * (len(ordered) - 1)], strict=True)
    ]
    if held is not None:
        held.release()
    return reports


class _Held:
    """A store whose next build is followed by nobody, until `release`; all else is the store's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def build(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Build:
        self._fingerprint = fingerprint
        build = self._store.build(
            tables=tables, fingerprint=unready(fingerprint), excluded=excluded
        )
        self._generation = build.generation
        return build

    def release(self) -> None:
        """Let it be followed by the rules that made it."""
        self._store.describe(self._generation, fingerprint=self._fingerprint, types=())


def check_beside(manifests: Sequence[Manifest], name: str) -> None:
    """That these generations can live in one store, and that none of them takes another's tables.

    Raises:
        ConflictError: of two logs; two open ones; a table twice; an open one that was beside
            generations which are not here: a consumer would begin their tables in the middle.
        RefusedError: the base of an adopted table.
    """
    for manifest in manifests:
        if manifest.adopted is not None:
            raise RefusedError(
                f"snapshot {manifest.id} is what table {manifest.adopted} held before its first"
                " event, and no replica",
                name,
                "binlog rebuild begins at it by itself",
            )
    tables = [table for each in manifests for table in each.generation.tables]
    if len({each.genesis for each in manifests}) > 1:
        raise ConflictError("snapshots of different logs", name, "restore each into its own store")
    opens = [each.id for each in manifests if each.generation.open]
    if len(opens) > 1 or len(set(tables)) < len(tables):
        twice = sorted({table for table in tables if tables.count(table) > 1})
        raise ConflictError(
            f"two snapshots of the same tables ({', '.join(twice) or 'all that the log has'})",
            name,
            "choose one of them",
        )
    for each in manifests:
        if each.generation.open and (missing := sorted(set(each.without).difference(tables))):
            raise ConflictError(
                f"snapshot {each.id} takes all tables but {', '.join(missing)}, which another"
                " generation had: a consumer would begin them in the middle",
                name,
                "restore a snapshot of that one along with it: --id, once for each",
                tables=missing,
            )


def check_needs(
    manifest: Manifest, log: Log | None, name: str, rules: Rules, *, same_meaning: bool = False
) -> None:
    """That there is what it takes to make the snapshot exact.

    Raises:
        RefusedError, MismatchError: as `restore`.
    """
    if log is not None and log.genesis != manifest.genesis:
        raise MismatchError(
            f"the snapshot is of log {manifest.log_id}, the log given is {log.params.log_id}",
            f"{name} and {log.name}",
            "name the log that the snapshot was made from",
        )
    if manifest.is_exact:
        return
    if log is None:
        behind = sum(o - manifest.vector.get(p, 0) for p, o in manifest.exact.items())
        raise RefusedError(
            "the snapshot was taken while the store was written to: it is exact only after"
            f" {behind:,} events were replayed",
            name,
            "name the log as well, or --archive",
        )
    check_fingerprint(
        manifest.generation.fingerprint,
        fingerprint(rules),
        where=name,
        met=manifest.generation.types,
        tables=manifest.generation.tables,
        same_meaning=same_meaning,
    )


def _restore(
    snapshot: Snapshot,
    store: Store,
    log: Log | None,
    rules: Rules,
    workers: int,
    progress: OnProgress | None,
    *,
    same_meaning: bool,
) -> Report:
    manifest = snapshot.manifest
    check_needs(manifest, log, snapshot.name, rules, same_meaning=same_meaning)
    store.lock()
    store.bind(manifest.genesis)
    if manifest.is_exact:
        return _load(snapshot, store, max(1, workers), progress)
    assert log is not None
    generation = manifest.generation
    wanted = Wanted(
        tables=None if generation.open else generation.tables,
        without=manifest.without,
        target=Target(vector=manifest.exact),
        rules=rules,
        excluded=generation.excluded,
        idle_exclusions="allow",  # what they name may have come later
        poison="park",  # as the store did, whose rows these are
        # Of tables that were adopted after the checkpoints; kept beside the snapshot, or elsewhere.
        bases=KeptBases(manifest.genesis, snapshot.objects),
    )
    try:
        return rebuild(
            log,
            store,
            wanted,
            workers=workers,
            base=SnapshotBase(snapshot),
            progress=None if progress is None else lambda now: progress(now.events),
        )
    except ConflictError as error:
        if "offset" not in error.details:
            raise
        raise DamageError(
            f"the snapshot is ahead of the log: {error.what}",
            f"{snapshot.name} and {log.name}",
            "restore the log, or restore an older snapshot",
            **error.details,
        ) from error


# -- as it is ------------------------------------------------------------------------------------


def _load(snapshot: Snapshot, store: Store, workers: int, progress: OnProgress | None) -> Report:
    """Load an exact snapshot."""
    started = time.perf_counter()
    manifest = snapshot.manifest
    generation = manifest.generation
    checkpoints = snapshot.checkpoints
    build = store.build(
        tables=None if generation.open else generation.tables,
        fingerprint=generation.fingerprint,
        excluded=generation.excluded,
    )
    try:
        loaded = _load_groups(snapshot, build, workers, progress)
        for table in generation.tables:
            _check_digest(snapshot, table, [each.digests[table] for each in loaded])
        build.adopt(each.part for each in loaded)
        for letters in _chunks(snapshot.letters()):
            build.divert(letters)
        for rejections in _chunks(snapshot.rejections()):
            build.reject(rejections)
        build.finish(checkpoints, tables=generation.tables, types=generation.types)
    except BaseException:
        build.abandon()
        raise
    return Report(
        counts=Counts(),
        vector=without_zeros(manifest.vector),
        duplicates=0,
        seconds=time.perf_counter() - started,
        tables=generation.tables,
        start=snapshot.name,
    )


class _Task(msgspec.Struct):
    """What a worker is to load."""

    parts: tuple[SnapshotPart, ...]
    into: Part
    beside: bool  # foreign records too


class _Loaded(msgspec.Struct):
    """What it made of that."""

    part: Part
    digests: dict[str, TableCount]


def _load_groups(
    snapshot: Snapshot, build: Build, workers: int, progress: OnProgress | None
) -> list[_Loaded]:
    forks = workers > 1 and can_fork()
    groups = groups_of(snapshot.manifest, workers if forks else 1)
    tasks = [_Task(group, build.part(), number == 0) for number, group in enumerate(groups)]
    if forks:
        return run_forked(
            lambda task, advance: _load_group(snapshot, task, advance),
            tasks,
            workers=workers,
            name=snapshot.name,
            progress=None if progress is None else lambda rows, _: progress(rows),
        )
    results = []
    before = 0

    def advance(rows: int, _: int) -> None:
        if progress is not None:
            progress(before + rows)

    for task in tasks:
        results.append(_load_group(snapshot, task, advance))
        before += sum(part.rows for part in task.parts)
    return results


def groups_of(manifest: Manifest, workers: int) -> list[tuple[SnapshotPart, ...]]:
    """All parts of rows, in groups of about `GROUP_BYTES` or less: at least one, one a worker."""
    parts = [part for part in manifest.parts if part.kind == "rows"]
    size_max = min(GROUP_BYTES, sum(part.raw_bytes for part in parts) // workers or 1)
    groups: list[list[SnapshotPart]] = [[]]
    size = 0
    for part in parts:
        if groups[-1] and size + part.raw_bytes > size_max:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += part.raw_bytes
    return [tuple(group) for group in groups]


def _load_group(snapshot: Snapshot, task: _Task, advance: Advance) -> _Loaded:
    digests = {table: TableDigest(table) for table in snapshot.manifest.generation.tables}
    rows_count = 0

    def rows(parts: Iterable[SnapshotPart], digest: TableDigest) -> Iterator[tuple[bytes, Row]]:
        nonlocal rows_count
        for part in parts:
            for some in snapshot.whole(part):
                digest.add(some)
                rows_count += len(some)
                advance(rows_count, 0)
                yield from some

    for table, parts in groupby(task.parts, key=lambda each: each.table):
        task.into.load(table, rows(parts, digests[table]))
    if task.beside:
        task.into.keep(snapshot.foreign(), snapshot.relayed())
    task.into.close()
    counted = {
        t: TableCount(d.items, d.tombstones, d.parked, d.hexdigest()) for t, d in digests.items()
    }
    return _Loaded(task.into, counted)


def _check_digest(snapshot: Snapshot, table: str, found: Sequence[TableCount]) -> None:
    """That the rows which came are those of the manifest.

    Raises:
        DamageError: they are not.
    """
    wanted = snapshot.manifest.tables[table]
    total = total_of(found)
    if total != wanted:
        raise DamageError(
            f"table {table} is not what the manifest says: {total.items:,} items of"
            f" {wanted.items:,}, digest {total.digest[:16]}.. and not {wanted.digest[:16]}..",
            snapshot.name,
            "restore another snapshot",
            table=table,
        )


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    rest = iter(items)
    while some := list(islice(rest, _CHUNK)):
        yield some
