"""The figures of recovery: from a snapshot, from an archive, and the memory of every verb of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from scripts.benchmarks import recovery
from scripts.benchmarks.bench import MEMORY_GROWTH, Bench
from scripts.benchmarks.figures import MEMORY_RATIO_MAX, Contest, Goal, Rival, rate, workers_contest
from scripts.benchmarks.measure import Contender, Outcome, timed
from scripts.benchmarks.workload import History, digest_items, final_items

EVENTS_PER_KEY = 500
"""Of the history that a snapshot is for: one that is long, of keys that live on."""

ARCHIVING_MEBIBYTES_MAX = 256
"""What waits to be cut is at most 128 MiB, and is that only of a long log."""
FROM_ARCHIVE_MEBIBYTES_MAX = 256
"""A block of 1 MiB a partition, and 64 MiB of blocks that are fetched ahead."""


def recovery_contests(bench: Bench) -> list[Contest]:
    """All of them, in the order of the table."""
    long = History(
        bench.sizes.workers, max(8, bench.sizes.workers // EVENTS_PER_KEY), bench.sizes.seed
    )
    wide = _snapshot(
        bench,
        "snapshot-wide",
        "the same, 10 events a key: most of it is writing the rows",
        bench.workers_spec,
        goal=None,
    )
    return [
        _snapshot(
            bench,
            "snapshot",
            f"rebuild into SQLite, {EVENTS_PER_KEY} events a key, one process",
            long,
            goal=Goal(20),
        ),
        *([] if bench.sizes.small else [wide]),
        workers_contest(
            bench,
            "archive-workers",
            "replay an archive",
            _archive(bench, lambda: bench.workers_log),
        ),
        *_memory(bench),
    ]


def _snapshot(bench: Bench, key: str, title: str, spec: History, *, goal: Goal | None) -> Contest:
    @cache
    def kept() -> recovery.Kept:
        return recovery.keep(bench.new("log"), bench.new("snapshots"), spec)

    @cache
    def expected() -> str:
        return digest_items(final_items(spec))

    def by_snapshot() -> Outcome:
        given, store = kept(), bench.new("recovered.sqlite")
        with timed(collector=True) as clock:
            recovery.rebuild_from_snapshot(given, store)
        return rate(spec.events, clock.seconds, recovery.items_at(store))

    def by_log() -> Outcome:
        given, store = kept(), bench.new("rebuilt.sqlite")
        with timed(collector=True) as clock:
            recovery.rebuild_from_the_beginning(given.log, store)
        return rate(spec.events, clock.seconds, recovery.items_at(store))

    return Contest(
        key,
        title,
        "events/s",
        Contender("from a snapshot and a tail of 1 %", by_snapshot),
        [Rival(Contender("from the first event", by_log), goal)],
        expected,
    )


def _archive(bench: Bench, log: Callable[[], Path]) -> Callable[[], Path]:
    """An archive of a log; made once."""

    @cache
    def made() -> Path:
        folder = bench.new("archive")
        recovery.peak_of("archive", f"file:{log()}", f"file:{folder}", "--once")
        return folder

    return made


def _memory(bench: Bench) -> list[Contest]:
    logs = [lambda grown=grown: bench.memory_logs[grown] for grown in (False, True)]
    archives = [_archive(bench, log) for log in logs]
    kept = [
        cache(
            lambda grown=grown: recovery.keep(
                bench.new("log"), bench.new("snapshots"), bench.memory_spec(grown=grown)
            )
        )
        for grown in (False, True)
    ]

    def digest(grown: int, store: Path) -> str:
        found = digest_items(recovery.items_at(store))
        return "right" if found == bench.memory_expected[grown] else "wrong"

    def archiving(grown: int) -> Outcome:
        folder = bench.new("archive")
        log = f"file:{logs[grown]()}"
        return Outcome(recovery.peak_of("archive", log, f"file:{folder}", "--once"))

    def from_archive(grown: int) -> Outcome:
        store = bench.new("memory.sqlite")
        address = f"file:{archives[grown]()}"
        mebibytes = recovery.peak_of("rebuild", address, f"sqlite:{store}", "--workers", "1")
        return Outcome(mebibytes, digest(grown, store))

    def from_snapshot(grown: int) -> Outcome:
        given, store = kept[grown](), bench.new("memory.sqlite")
        more = ("--workers", "1", "--snapshots", f"file:{given.snapshots}")
        mebibytes = recovery.peak_of("rebuild", f"file:{given.log}", f"sqlite:{store}", *more)
        return Outcome(mebibytes, digest(grown, store))

    def snapshot(grown: int) -> Outcome:
        given, folder = kept[grown](), bench.new("snapshots")
        store = f"sqlite:{given.snapshots}.sqlite"
        return Outcome(recovery.peak_of("snapshot", store, f"file:{folder}"))

    def contest(
        key: str, title: str, run: Callable[[int], Outcome], *, bound: float | None = None
    ) -> Contest:
        def by(*, grown: bool) -> Contender:
            events = bench.memory_spec(grown=grown).events
            return Contender(f"{events:,} events", lambda: run(int(grown)))

        rivals = [Rival(by(grown=False), Goal(MEMORY_RATIO_MAX, at_most=True))]
        if bound is not None:
            most = Contender(
                f"the most that it takes of any log, {bound:g} MiB", lambda: Outcome(bound)
            )
            rivals = [Rival(by(grown=False)), Rival(most, Goal(1, at_most=True))]
        return Contest(
            key,
            f"peak memory, {title}, log {MEMORY_GROWTH}x longer, same keys",
            "MiB",
            by(grown=True),
            rivals,
            lambda: "right",
        )

    found = [contest("memory-archive", "archiving", archiving, bound=ARCHIVING_MEBIBYTES_MAX)]
    if not bench.sizes.small:  # a process each
        found += [
            contest(
                "memory-from-archive",
                "rebuild from an archive",
                from_archive,
                bound=FROM_ARCHIVE_MEBIBYTES_MAX,
            ),
            contest("memory-snapshot", "taking a snapshot", snapshot),
            contest("memory-from-snapshot", "rebuild from a snapshot", from_snapshot),
        ]
    return found
