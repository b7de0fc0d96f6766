"""``scripts/soak``: what it takes, what it prints, and how it exits."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from textwrap import fill
from typing import TextIO

from binlog.cli.progress import progress
from binlog.errors import BinlogError
from binlog.testing.violation import Violation
from binlog.testing.world.endless import ending
from binlog.testing.world.exhaustive import Exhaustion, exhaustive
from binlog.testing.world.seeded import parse_seed, play, run, seed_text, steps_of
from binlog.testing.world.soak import (
    FAULTS,
    RARE,
    RARE_AFTER_RUNS,
    RUN_CPU_S,
    Totals,
    ignoring_ctrl_c,
    shortened,
    soak,
)
from binlog.testing.world.traces import SHAPES

USAGE = """\
Runs the simulated world: real producers, log rules, consumers and stores on a hostile log, each run
by a seed of its own and held against reference and ledger. Stops at the first violation.

  scripts/soak --minutes 10              as many runs as fit
  scripts/soak --runs 100000 --report soak.md
  scripts/soak --seed w1-2f              one run again; with --tell, all that happens in it
  scripts/soak --exhaustive              every trace of two sessions of three frames

Exit status: 0 all laws held, 1 one did not or something rare was never met, 2 bad input,
130 interrupted (what was done is printed).
"""
DONE, BROKEN, USAGE_ERROR, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str], out: TextIO, err: TextIO) -> int:
    """The exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.exhaustive:
            return _exhaustive(options, arguments, out)
        if options.seed is not None:
            return _one(options.seed, out, tell=options.tell)
        return _many(options, arguments, out, err)
    except BinlogError as error:
        err.write(f"soak: {error}\n")
        return USAGE_ERROR
    except KeyboardInterrupt:  # between two things to do; `soak` knows what to make of its own
        err.write("soak: interrupted\n")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/soak", description=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=_positive(float), metavar="N", help="so long (1)")
    length.add_argument("--runs", type=_positive(int), metavar="N", help="so many runs")
    length.add_argument("--seed", metavar="SEED", help="this run alone")
    length.add_argument("--exhaustive", action="store_true", help="every trace of a small world")
    parser.add_argument(
        "--frames", type=int, choices=[2, 3], default=3, help="of a session, with --exhaustive"
    )
    parser.add_argument("--tell", action="store_true", help="with --seed: its whole story")
    parser.add_argument("--first", default=seed_text(0), metavar="SEED", help="seed to begin with")
    parser.add_argument("--jobs", type=_positive(int), default=2, metavar="N", help="cores (2)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write it as Markdown, too")
    return parser


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number <= 10**9:
            raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
        return number

    return parse


# -- one run -------------------------------------------------------------------------------------


def _one(seed: str, out: TextIO, *, tell: bool) -> int:
    parameters, steps = steps_of(seed)
    if tell:
        try:
            with ending(RUN_CPU_S):
                story = play(parameters, steps, tell=True).story
        except Violation as found:
            story = [*found.story, f"VIOLATION: {found.what} (law: {found.law})"]
        out.writelines(f"{number:4}. {line}\n" for number, line in enumerate(story, 1))
        out.write("\n")
    violation = shortened(seed)
    if violation is not None:
        out.write(f"{seed}: {violation}\n")
        return BROKEN
    outcome = run(seed)
    met = ", ".join(f"{name} {count:,}" for name, count in sorted(outcome.met.items()))
    log = "Kinesis" if parameters.kinesis else "directory"
    out.write(
        f"{seed}: {outcome.events:,} events in {len(steps):,} steps on a {log} log, all laws held\n"
        f"met: {met}\ndigest: {outcome.digest}\n"
    )
    return DONE


# -- many ----------------------------------------------------------------------------------------


def _many(options: argparse.Namespace, arguments: Sequence[str], out: TextIO, err: TextIO) -> int:
    minutes = options.minutes
    if minutes is None and options.runs is None:
        minutes = 1.0
    first = parse_seed(options.first)
    began = datetime.now(UTC)
    seconds = None if minutes is None else 60 * minutes
    with progress("soak") as show:

        def shown(totals: Totals) -> None:
            done = totals.runs / options.runs if options.runs else totals.seconds / (seconds or 1)
            show(totals.events, fraction=min(1.0, done), what="soak")

        totals = soak(first, runs=options.runs, seconds=seconds, jobs=options.jobs, progress=shown)
    violation = None
    if totals.broken is not None:
        seed = seed_text(totals.broken)
        err.write(f"soak: {seed} broke a law; looking for its shortest story\n")
        violation = shortened(seed) or Violation(
            f"{seed} broke a law once, and did not when it was run again",
            law="a run is a function of its seed",
        )
    text = summary(totals, violation)
    out.write(text)
    if options.report is not None:
        rows = [*_origin(arguments, began), *_figures(totals, violation)]
        options.report.write_text(markdown(totals, violation, rows), encoding="utf-8")
    if violation is not None or totals.missing:
        return BROKEN
    return INTERRUPTED if totals.interrupted else DONE


def summary(totals: Totals, violation: Violation | None) -> str:
    """What is printed at the end."""
    lines = [
        fill(f"{name:10} {value}", width=100, subsequent_indent=" " * 11)
        for name, value in _figures(totals, violation)
    ]
    if totals.interrupted:
        lines.append("interrupted: this is what was done so far")
    if totals.missing:
        lines.append(_never(totals))
    text = "\n".join(lines) + "\n"
    return text if violation is None else f"{text}\n{seed_text(totals.broken or 0)}: {violation}\n"


def markdown(totals: Totals, violation: Violation | None, rows: Sequence[tuple[str, str]]) -> str:
    """The report that is kept: what was run, of which code, and what came of it."""
    lines = ["# Soak of the simulated world", "", *_table(rows)]
    if totals.interrupted:
        lines += ["", "Interrupted: this is what was done so far."]
    if totals.missing:
        lines += ["", _never(totals)]
    if violation is not None:
        lines += ["", "```text", str(violation), "```"]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    return ["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _origin(arguments: Sequence[str], began: datetime) -> list[tuple[str, str]]:
    """What was run, when, and of which code."""
    return [
        ("command", f"`{shlex.join(['scripts/soak', *arguments])}`"),
        ("date", f"{began:%Y-%m-%d %H:%M} UTC"),
        ("commit", _commit()),
        ("machine", f"Python {platform.python_version()}, {platform.machine()}"),
    ]


def _figures(totals: Totals, violation: Violation | None) -> list[tuple[str, str]]:
    met = totals.met
    faults = [f"{name} {met[name]:,}" for name in FAULTS]
    rare = [f"{name} {met[name]:,}" for name in RARE if name not in FAULTS]
    each = totals.events / totals.runs if totals.runs else 0
    return [
        ("runs", f"{totals.runs:,}"),
        ("events", f"{totals.events:,} ({each:,.0f} a run)"),
        ("rate", f"{totals.events_per_cpu_s:,.0f} events a second of one core"),
        ("time", f"{totals.seconds:,.0f} s, {totals.cpu_s:,.0f} s of all cores"),
        ("faults", ", ".join(faults)),
        ("rare", ", ".join(rare)),
        ("seeds", f"{seed_text(totals.first)} to {totals.last_seed}"),
        ("violations", "0" if violation is None else "1"),
    ]


def _never(totals: Totals) -> str:
    return (
        f"never met in {totals.runs:,} runs: {', '.join(totals.missing)}: a soak that does not meet"
        f" it proves nothing of it (expected after {RARE_AFTER_RUNS} runs or more)"
    )


def _commit() -> str:
    """Of the checkout that this is run in, and whether it was changed since."""
    root = Path(__file__).resolve().parents[3]
    git = ["git", "-C", os.fspath(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"
    return f"{head}, with changes that are not committed" if changed else head


# -- every trace ---------------------------------------------------------------------------------


def _exhaustive(options: argparse.Namespace, arguments: Sequence[str], out: TextIO) -> int:
    began = datetime.now(UTC)
    lines: list[str] = []
    traces, violations = 0, list[str]()

    def tell(line: str) -> None:
        lines.append(line)
        out.write(f"{line}\n")
        out.flush()

    with ignoring_ctrl_c():
        pool = get_context("spawn").Pool(options.jobs)
    with pool:  # and ended with it: a walk is long
        walked = pool.imap(_walk, [(shape, options.frames) for shape in SHAPES])
        for shape, (walk, found) in zip(SHAPES, walked, strict=True):
            traces += walk.traces
            violations += found
            tell(
                f"{shape}: {walk.traces:,} traces, {walk.logs:,} logs of them, a crash after each"
                f" of {walk.crashes:,} records, {len(found)} violations,"
                f" {walk.seconds:,.0f} s"
            )
    tell(f"{traces:,} traces, {len(violations)} violations")
    if violations:
        tell(f"\n{violations[0]}")
    if options.report is not None:
        rows = _table(_origin(arguments, began))
        text = "\n".join([f"# Every trace of {options.frames} frames a session", "", *rows, ""])
        text += "\n".join(["", "```text", *lines, "```", ""])
        options.report.write_text(text, encoding="utf-8")
    return BROKEN if violations else DONE


def _walk(what: tuple[str, int]) -> tuple[Exhaustion, list[str]]:
    """A shape's walk, and its violations as they are told: texts cross between processes."""
    shape, frames = what
    walk = exhaustive(shapes=[shape], frames=frames)
    return walk._replace(violations=[]), [str(violation) for violation in walk.violations]
