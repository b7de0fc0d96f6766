"""Runs a drill: target, script, judge, result; and ends everything whatever happens."""

from __future__ import annotations

import contextlib
import platform
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from pathlib import Path
from types import FrameType
from typing import Any

from binlog.drills.declared import Declared, Make, Twin
from binlog.drills.record import Record
from binlog.drills.report_words import file_stem
from binlog.drills.result import DrillResult, encode_result
from binlog.drills.target import Target
from binlog.drills.targets.embedded import Embedded
from binlog.drills.verbs import Drill
from binlog.drills.warnings import noted
from binlog.errors import RefusedError

Tell = Callable[[str], object]


class InterruptedDrillError(KeyboardInterrupt):
    """Ctrl-C while a drill ran. Everything that it started is ended; ``result`` is what there is."""

    def __init__(self, result: DrillResult) -> None:
        super().__init__(f"the drill {result.name} was interrupted")
        self.result = result


def run_drill(
    declared: Declared,
    *,
    make: Make = Embedded,
    on: str = "embedded",
    seed: int = 0,
    twin: Twin | None = None,
    report_dir: Path | None = None,
    tell: Tell = lambda _: None,
) -> DrillResult:
    """Run it in a folder of its own, which is removed; ``report_dir`` gets its ``result.json``.

    Raises:
        RefusedError: it is not for that target.
        InterruptedDrillError: Ctrl-C or SIGTERM.
    """
    if on not in declared.on:
        where = ", ".join(declared.on)
        raise RefusedError(f"it is not for {on}", declared.name, f"run it on {where}")
    started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record = Record(tell)
    failure, interrupted, left = None, False, []
    drill: Drill | None = None
    target: Target | None = None
    with _terminated_as_interrupted(), noted(record):
        try:
            # Resolved: /tmp may be a link, and paths are taken out of what commands say.
            folder = Path(tempfile.mkdtemp(prefix=f"binlog-drill-{declared.name}-")).resolve()
            target = declared.makes.get(on, make)(folder)
            drill = Drill(declared, target, record, seed=seed, twin=twin)
            declared.script(drill)
        except KeyboardInterrupt:
            interrupted, failure = True, "interrupted"
        except Exception as error:  # noqa: BLE001 - it is the drill's outcome
            failure = f"{type(error).__name__}: {error}".splitlines()[0]
            tell(traceback.format_exc())
            for said in drill.processes.last_words() if drill is not None else ():
                record.mark("note", said, record.now_s())
                tell(said)
            # Of a twin: what broke down before the sabotage says nothing about it.
            if drill is not None and record.disaster_s() is not None and not drill.unused:
                drill.judge_anyhow()
        with _deaf():  # who asks twice is not to leave half of it running
            samples: tuple[Any, ...] = ()
            if drill is not None:
                drill.end()
                samples = drill.curves.stop()
            addresses = dict(target.addresses) if target is not None else {}
            versions = {**_versions(), **(target.versions() if target is not None else {})}
            if target is not None:
                left = target.close()
    if drill is None:
        raise (
            KeyboardInterrupt
            if interrupted
            else RefusedError(failure or "it did not begin", on, "see --on")
        )
    if not interrupted:
        failure = failure or _conclude(declared, drill, record)
    words = ["binlog drill run", declared.name, f"--on {on} --seed {seed}"]
    result = DrillResult(
        name=declared.name,
        title=declared.title,
        story=declared.story,
        take_back=declared.take_back,
        on=on,
        seed=seed,
        repeat=" ".join([*words, "--twin"] if twin else words),
        started_at=started_at,
        seconds=round(record.now_s(), 3),
        twin=None if twin is None else twin.what,
        passed=failure is None,
        failure=failure,
        interrupted=interrupted,
        goals=declared.goals,
        measured=record.measured,
        ledger=drill.book.summary(),
        phases=tuple(record.phases),
        marks=tuple(record.marks),
        commands=tuple(record.commands),
        verdicts=tuple(record.verdicts),
        samples=samples,
        versions=versions,
        addresses=addresses,
        left=tuple(left),
    )
    if report_dir is not None:
        write_result(result, report_dir)
    if interrupted:
        raise InterruptedDrillError(result)
    return result


def write_result(result: DrillResult, report_dir: Path) -> Path:
    """The data of a result alone, under the name that its page will have; the path."""
    report_dir.mkdir(parents=True, exist_ok=True)
    path = report_dir / f"{file_stem(result)}.json"
    path.write_bytes(encode_result(result))
    return path


def _conclude(declared: Declared, drill: Drill, record: Record) -> str | None:
    """The verdicts that every drill has; the first reason why it failed.

    What could not be proved has failed: no figure, no disaster, nothing acknowledged.
    """
    record.measure_rto()
    measured, goals = record.measured, declared.goals
    ledger = drill.book.summary()
    disasters = sum(mark.kind == "disaster" for mark in record.marks)
    if drill.unused:
        return f"the twin is no sabotage: the drill never types {', '.join(drill.unused)}"
    record.say(
        "a disaster was made, and shown to be one",
        ok=disasters > 0 and record.proved == disasters,
        evidence=f"{disasters} made, {record.proved} shown",
        by="drill",
    )
    record.say(
        "every event has an outcome",
        ok=ledger.unknown == 0 and ledger.acknowledged > 0,
        evidence=f"{ledger.acknowledged:,} acknowledged, {ledger.failed:,} not sent, "
        f"{ledger.unknown:,} unknown",
        by="ledger",
    )
    if declared.goes_on:
        _events_before_and_after(drill, record)
    lost = measured.rpo_events
    record.say(
        f"at most {goals.rpo_events:,} acknowledged events are lost",
        ok=lost is not None and lost <= goals.rpo_events,
        evidence="not measured" if lost is None else f"{lost:,}",
        by="ledger",
    )
    if goals.rpo_age_s is not None:
        age_s = measured.rpo_age_s
        record.say(
            f"what is lost is of the last {goals.rpo_age_s:g} s before the disaster",
            ok=age_s is not None and age_s <= goals.rpo_age_s,
            evidence="not measured" if age_s is None else f"{age_s:.2f} s",
            by="ledger",
        )
    rto_s = measured.rto_s
    record.say(
        f"recovered within {goals.rto_s:g} s",
        ok=rto_s is not None and rto_s <= goals.rto_s,
        evidence="not measured"
        if rto_s is None
        else f"{rto_s:.2f} s from the disaster to the end of the last phase",
        by="clock",
    )
    for verdict in record.verdicts:
        if not verdict.ok:
            return f"{verdict.claim}: {verdict.evidence}"
    return None


def _events_before_and_after(drill: Drill, record: Record) -> None:
    disaster_s, recovered_s = record.disaster_s(), record.recovered_s()
    if disaster_s is None or recovered_s is None:
        return  # other verdicts say so
    times = list(drill.book.times())
    before = sum(at_s < disaster_s for at_s in times)
    after = sum(at_s > recovered_s for at_s in times)
    record.say(
        "events were acknowledged before the disaster, and after the recovery",
        ok=before > 0 and after > 0,
        evidence=f"{before:,} before, {len(times) - before - after:,} during, {after:,} after",
        by="ledger",
    )


def _versions() -> dict[str, str]:
    try:
        ours = version("kinesis-binlog")
    except PackageNotFoundError:
        ours = "not installed"
    return {
        "binlog": ours,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {cpu_count()} CPUs",
    }


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a drill as Ctrl-C does, in the main thread alone."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # another thread: whoever runs drills there has its own signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """No signal interrupts the cleaning up."""
    before = {}
    with contextlib.suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
