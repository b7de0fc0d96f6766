"""Runs a drill: target, script, judge, result; and ends everything whatever happens."""

from __future__ import annotations

import contextlib
import platform
import secrets
import shlex
import shutil
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from pathlib import Path

from msgspec.structs import asdict

from binlog.drills.conclusion import conclude
from binlog.drills.declared import PLACES, Declared, Make, Twin
from binlog.drills.filled import Scale
from binlog.drills.interrupts import Interrupts
from binlog.drills.kept import keep
from binlog.drills.processes import Processes
from binlog.drills.reaper import PREFIX, Reaper
from binlog.drills.record import Record
from binlog.drills.report_words import file_stem
from binlog.drills.result import DrillResult, Sample, encode_result
from binlog.drills.spending import Spending
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
    scale: Scale = Scale(),  # noqa: B008  it is frozen
) -> DrillResult:
    """Run it in a folder of its own, which is removed; ``report_dir`` gets its ``result.json``.

    Raises:
        RefusedError: it is not for that target.
        InterruptedDrillError: Ctrl-C, SIGTERM, or its terminal is gone.
    """
    if on not in declared.on:
        where = ", ".join(declared.on)
        raise RefusedError(f"it is not for {on}", declared.name, f"run it on {where}")
    declared = declared.at(on)
    started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record = Record(tell)
    counted = contextlib.ExitStack()
    failure, interrupted = None, False
    with Interrupts() as interrupts, noted(record), counted:
        mark = secrets.token_hex(8)
        # Resolved: /tmp may be a link, and paths are taken out of what commands say.
        folder = Path(tempfile.gettempdir()).resolve() / f"{PREFIX}{declared.name}-{mark}"
        reaper = Reaper(folder, mark)
        spending = Spending(folder, recovering=lambda: record.phase is not None)
        record.phase_ended = spending.phase_ended
        target: Target | None = None
        try:
            folder.mkdir(mode=0o700)
            counted.enter_context(spending.counting())
            target = declared.makes.get(on, make)(folder)
            spending.addresses = target.addresses
            processes = Processes(
                folder,
                target.environment,
                mark=mark,
                interrupts=interrupts,
                spending=spending,
            )
            drill = Drill(
                declared, target, record, seed=seed, twin=twin, processes=processes, scale=scale
            )
        except BaseException:
            if target is not None:
                _close(target)
            shutil.rmtree(folder, ignore_errors=True)
            reaper.over()
            raise
        try:
            interrupts.open()
            failure = _play(declared, drill, record, tell)
            interrupts.shut()
        except KeyboardInterrupt:
            interrupts.shut()
            interrupted = True
        # From here on no signal interrupts: who asks twice is not to leave half of it running.
        drill.end()
        samples: tuple[Sample, ...] = drill.curves.stop()
        counted.close()
        record.measure(**spending.measured())
        addresses = dict(target.addresses)
        versions = {**_versions(), **target.versions()}
        left = _close(target)
        reaper.over()
        if interrupted or interrupts.asked:
            interrupted, failure = True, "interrupted"
        if not interrupted:
            failure = failure or conclude(declared, drill, record)
        words = [
            f"--on {on} --seed {seed}",
            *(f"--{name} {n}" for name, n in asdict(scale).items() if n),
        ]
        result = DrillResult(
            name=declared.name,
            title=declared.title,
            story=declared.story,
            take_back=declared.take_back,
            on=on,
            seed=seed,
            repeat=_repeat(declared, [*words, "--twin"] if twin else words),
            started_at=started_at,
            seconds=round(record.now_s(), 3),
            twin=None if twin is None else twin.what,
            sabotaged=None if drill.unused else record.sabotaged,
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
    if interrupts.asked or interrupted:
        raise InterruptedDrillError(result)
    return result


def _play(declared: Declared, drill: Drill, record: Record, tell: Tell) -> str | None:
    """Run the script; why it did not come to its end, if it did not.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    try:
        declared.script(drill)
        drill.look_back()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - its outcome, `sys.exit(0)` and a skip included
        tell(traceback.format_exc())
        for said in drill.processes.last_words():
            record.mark("note", said, record.now_s())
            tell(said)
        # Of a twin: what broke down before the sabotage says nothing about it.
        if record.disaster_s() is not None and not drill.unused:
            drill.judge_anyhow()
        said = (f"{type(error).__name__}: {error}".splitlines() or [""])[0]
        return f"{said} ({_line_of(declared, error)})"
    return None


def _line_of(declared: Declared, error: BaseException) -> str:
    """Where in the drill's own file it broke down."""
    frames = traceback.extract_tb(error.__traceback__)
    numbers = [frame.lineno for frame in frames if frame.filename == declared.file]
    where = Path(declared.file).name
    return f"{where}, line {numbers[-1]}" if numbers else where


def _repeat(declared: Declared, more: Sequence[str]) -> str:
    """The line that runs it again, from here."""
    file = Path(declared.file)
    here = Path.cwd()
    shown = file.relative_to(here) if file.is_relative_to(here) else file
    found = str(shown.parent) in PLACES
    drills = [] if found else ["--drills", shlex.quote(str(shown))]
    return " ".join(["binlog drill run", declared.name, *drills, *more])


def _close(target: Target) -> list[str]:
    """Remove all of it; what is left, and why."""
    try:
        return target.close()
    except Exception as error:  # noqa: BLE001 - the result has to be written all the same
        shutil.rmtree(target.folder, ignore_errors=True)
        what = ", ".join(dict.fromkeys(target.addresses.values()))
        return [f"{what}: {type(error).__name__}: {error}"]


def write_result(result: DrillResult, report_dir: Path) -> Path:
    """The data of a result alone, under the name that its page will have; the path."""
    return keep(report_dir / f"{file_stem(result)}.json", encode_result(result))


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
