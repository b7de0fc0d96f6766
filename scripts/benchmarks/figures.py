"""The figures: what is measured against what, and the goal of each.

Ours comes first in a contest; every other contender is a rival with or without a goal. A rival
without one is there so that the table hides nothing: the same peer tuned beyond its documentation,
or a floor that does less than it says.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from scripts.benchmarks import (
    floors,
    ours,
    peer_mariadb,
    peer_msgspec,
    peer_readme,
    straight,
)
from scripts.benchmarks.bench import COMMIT, MEMORY_GROWTH, Bench
from scripts.benchmarks.measure import Contender, Outcome, WrongResultError, timed
from scripts.benchmarks.workload import Items, digest_items

HELP_SECONDS_MAX = 0.3
MEMORY_RATIO_MAX = 1.1
"""What "unchanged" allows: the allocator's noise."""


class Goal(msgspec.Struct, frozen=True):
    """A bound on the ratio of ours to the rival (or on ours alone)."""

    bound: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}"

    def is_met(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        return value <= self.bound if self.at_most else value >= self.bound


class Rival(msgspec.Struct, frozen=True):
    """Another contender and what we want of the ratio to it."""

    contender: Contender
    goal: Goal | None = None


class Contest(msgspec.Struct, frozen=True):
    """One group of figures that share our side."""

    key: str
    title: str
    unit: str
    ours: Contender
    rivals: list[Rival]
    expected: Callable[[], str] | None = None
    goal: Goal | None = None
    """On ours alone, where there is no rival."""


def contests(bench: Bench) -> list[Contest]:
    """Every contest of a run of these sizes, in the order of the table."""
    return [
        _replay(bench),
        _rebuild(bench),
        _append(bench),
        _append_singly(bench),
        workers_contest(bench, "workers", "replay", lambda: bench.workers_log),
        _memory(bench),
        _help(),
    ]


def rate(events: int, seconds: float, items: Items) -> Outcome:
    """Events a second, and what they came to."""
    return Outcome(events / seconds, digest_items(items))


def _replay(bench: Bench) -> Contest:
    def straight_through(*, lazy: bool) -> Contender:
        def run() -> Outcome:
            path, fold = bench.log, straight.fold_lazily if lazy else straight.fold
            with timed(collector=False) as clock:
                table = fold(path)
            return rate(bench.spec.events, clock.seconds, straight.items_of(table))

        return Contender("straight loop" + (", payloads undecoded" if lazy else ""), run)

    def by_ours() -> Outcome:
        path = bench.log
        with timed(collector=True) as clock:
            replica = ours.replay(path)
        return rate(bench.spec.events, clock.seconds, ours.items_of(replica))

    def by_msgspec(style: peer_msgspec.Style) -> Contender:
        def run() -> Outcome:
            app = bench.msgspec_rows(style)
            with timed(collector=False) as clock:
                items = peer_msgspec.replay(app)
            return rate(bench.spec.events, clock.seconds, items)

        return Contender(style.name, run)

    def by_readme() -> Outcome:
        app = bench.readme_orders
        with timed(collector=False) as clock:
            items = peer_readme.replay(app)
        return rate(bench.spec.events, clock.seconds, items)

    return Contest(
        "replay",
        "replay into memory, all checks on, one process",
        "events/s",
        Contender("binlog", by_ours),
        [
            Rival(straight_through(lazy=False), Goal(0.8)),
            Rival(straight_through(lazy=True)),
            Rival(by_msgspec(peer_msgspec.DOCUMENTED), Goal(4)),
            Rival(by_msgspec(peer_msgspec.TUNED)),
            Rival(Contender("eventsourcing, README", by_readme), Goal(12)),
        ],
        lambda: bench.expected,
    )


def _rebuild(bench: Bench) -> Contest:
    def by_ours() -> Outcome:
        path, store = bench.workers_log, bench.new("rebuilt.sqlite")
        with timed(collector=True) as clock:
            ours.rebuild(path, store)
        return rate(bench.workers_spec.events, clock.seconds, ours.items_in(store))

    def by_straight() -> Outcome:
        path, store = bench.workers_log, bench.new("straight.sqlite")
        with timed(collector=False) as clock:
            straight.write_rows(straight.fold(path), store)
        return rate(bench.workers_spec.events, clock.seconds, straight.items_in(store))

    def by_mariadb(settings: peer_mariadb.Settings, how: str) -> Contender:
        def run() -> Outcome:
            origin = bench.mariadb(settings)
            way = peer_mariadb.pipe if how == "pipe" else peer_mariadb.applier
            seconds, items = way(origin)
            return rate(bench.spec.events, seconds, items)

        name = "mariadb-binlog | mariadb" if how == "pipe" else "MariaDB's replica applier"
        return Contender(name + ("" if settings is peer_mariadb.DEFAULTS else ", tuned"), run)

    rivals = [Rival(Contender("straight loop, final rows written", by_straight), Goal(1.2))]
    if bench.sizes.long:
        rivals += [
            Rival(by_mariadb(peer_mariadb.DEFAULTS, "pipe"), Goal(10)),
            Rival(by_mariadb(peer_mariadb.TUNED, "pipe")),
            Rival(by_mariadb(peer_mariadb.DEFAULTS, "applier"), Goal(4)),
            Rival(by_mariadb(peer_mariadb.TUNED, "applier")),
        ]
    return Contest(
        "rebuild",
        f"rebuild into SQLite, workers allowed, {bench.sizes.workers:,} events",
        "events/s",
        Contender("binlog", by_ours),
        rivals,
        lambda: bench.workers_expected,
    )


def _append(bench: Bench) -> Contest:
    def by_ours() -> Outcome:
        batches, path = bench.batches, bench.new("log")
        ours.init(path)
        with timed(collector=True) as clock:
            ours.publish(path, batches)
        return rate(bench.spec.events, clock.seconds, ours.items_of(ours.replay(path)))

    def by_msgspec(style: peer_msgspec.Style) -> Contender:
        def run() -> Outcome:
            batches = bench.batches
            app = peer_msgspec.open_rows(bench.new("append.sqlite"), style)
            try:
                with timed(collector=False) as clock:
                    peer_msgspec.append(app, style, batches)
                return rate(bench.spec.events, clock.seconds, peer_msgspec.replay(app))
            finally:
                app.close()

        return Contender(style.name, run)

    def by_file() -> Outcome:
        lines, file = bench.lines, bench.new("lines")
        with timed(collector=False) as clock:
            floors.append_lines(file, lines, every=COMMIT)
        return rate(bench.spec.events, clock.seconds, floors.read_lines(file))

    return Contest(
        "append",
        f"durable append, {COMMIT} a commit, from Python values",
        "events/s",
        Contender("binlog", by_ours),
        [
            Rival(by_msgspec(peer_msgspec.DOCUMENTED), Goal(5)),
            Rival(by_msgspec(peer_msgspec.TUNED)),
            Rival(Contender(f"bytes to a file, fdatasync every {COMMIT}", by_file), Goal(0.2)),
        ],
        lambda: bench.expected,
    )


def _append_singly(bench: Bench) -> Contest:
    def by_ours() -> Outcome:
        actions, path = bench.singles, bench.new("log")
        ours.init(path)
        with timed(collector=True) as clock:
            ours.publish_singly(path, actions)
        return rate(len(actions), clock.seconds, ours.items_of(ours.replay(path)))

    def by_file() -> Outcome:
        actions, file = bench.singles, bench.new("lines")
        lines = floors.encode_lines(actions)
        with timed(collector=False) as clock:
            floors.append_lines(file, lines, every=1)
        return rate(len(actions), clock.seconds, floors.read_lines(file))

    return Contest(
        "append-one",
        "durable append, one a commit",
        "events/s",
        Contender("binlog", by_ours),
        [Rival(Contender("fdatasync of one line each", by_file), Goal(0.7))],
        lambda: bench.expected_singles,
    )


def workers_contest(bench: Bench, key: str, what: str, path: Callable[[], Path]) -> Contest:
    """Two started workers against one, on the log at ``path``."""

    def by(count: int) -> Contender:
        def run() -> Outcome:
            with ours.started_workers(path(), count) as workers:
                with timed(collector=True) as clock:
                    workers.replay()
                items = workers.items()
            return rate(bench.workers_spec.events, clock.seconds, items)

        return Contender(f"{count} worker{'s' if count > 1 else ''}", run)

    return Contest(
        key,
        f"{what} into memory by started workers, {bench.sizes.workers:,} events",
        "events/s",
        by(2),
        [Rival(by(1), Goal(1.7))],
        lambda: bench.workers_expected,
    )


def _memory(bench: Bench) -> Contest:
    def by(*, grown: bool) -> Contender:
        def run() -> Outcome:
            path, expected = bench.memory_logs[grown], bench.memory_expected[grown]
            store = bench.new("memory.sqlite")
            mebibytes = ours.rebuild_in_a_child(path, store)
            right = digest_items(ours.items_in(store)) == expected
            return Outcome(mebibytes, "right" if right else "wrong")

        return Contender(f"{bench.memory_spec(grown=grown).events:,} events", run)

    return Contest(
        "memory",
        f"peak memory of a rebuild, log {MEMORY_GROWTH}x longer, same keys",
        "MiB",
        by(grown=True),
        [Rival(by(grown=False), Goal(MEMORY_RATIO_MAX, at_most=True))],
        lambda: "right",  # two histories, two digests
    )


def _help() -> Contest:
    def run() -> Outcome:
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            done = subprocess.run([*ours.BINLOG, "--help"], check=True, capture_output=True)
            taken.append(time.perf_counter() - start)
            if b"rebuild" not in done.stdout:
                raise WrongResultError(f"binlog --help prints {done.stdout[:80]!r}")
        return Outcome(statistics.median(taken))

    return Contest(
        "help",
        "binlog --help",
        "s",
        Contender("binlog", run),
        [],
        goal=Goal(HELP_SECONDS_MAX, at_most=True),
    )
