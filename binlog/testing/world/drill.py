"""A rebuild into an empty store, held against the truth; and a consumer that goes on from there."""

from __future__ import annotations

from appliers.applier import Rules
from binlog.log import Log
from binlog.target import Target
from binlog.testing.violation import Violation
from binlog.testing.words import differences
from binlog.testing.world.judge import Journal, Judge
from binlog.testing.world.store import WorldStore
from binlog.testing.world.truth import Truth
from binlog.vector import Vector, without_zeros
from consumers.engine import Engine
from snapshots.rebuild import Report, Wanted, rebuild


def drill(log: Log, store: WorldStore, rules: Rules, judge: Judge, vector: Vector) -> None:
    """Rebuild up to ``vector``, which may cut frames, and then follow the log to its end.

    Raises:
        Violation: it is not what the reference holds, here or there.
    """
    truth = judge.truth
    target, excluded = Target(vector=vector), truth.exclusions()
    report = rebuild(
        log, store, Wanted(rules=rules, target=target, excluded=excluded, idle_exclusions="allow")
    )
    journal = Journal(store, f"a rebuild to {vector}", judge)
    journal.look()
    journal.check_stands_at(without_zeros(vector))
    _check_report(report, truth, vector)
    [generation] = store.generations()
    engine = Engine(log, store, generation, rules, tell_halts=False)
    while engine.step() is not None:
        pass
    journal.look()
    journal.check_stands_at(truth.end())


def _check_report(report: Report, truth: Truth, vector: Vector) -> None:
    """What a rebuild says of itself."""
    counts = report.counts
    found = {
        "vector": report.vector,
        "events": counts.events + counts.control,
        "rejected": counts.rejected,
    }
    expected = {
        "vector": without_zeros(vector),
        "events": sum(vector.values()),
        "rejected": len(truth.refused_at(vector)),
    }
    if found != expected:
        raise Violation(
            "a rebuild did something else than it says",
            law="a report is true",
            differences=differences(expected, found),
        )
