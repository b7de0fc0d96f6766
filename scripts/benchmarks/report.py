"""What a run prints: a table for people, a document for programs."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.benchmarks.bench import Sizes
from scripts.benchmarks.figures import Contest, Goal
from scripts.benchmarks.measure import Measured, Spread, ratio

PACKAGES = ("kinesis-binlog", "msgspec", "google-crc32c", "backports.zstd", "eventsourcing")


class Line(msgspec.Struct, frozen=True):
    """One line of the table: a figure."""

    contest: str
    title: str
    unit: str
    ours: Measured
    other: Measured | None
    ratio: Spread | None
    goal: str | None
    met: bool | None
    """None where there is no goal, or nothing was measured."""


def lines_of(contest: Contest, measured: list[Measured]) -> list[Line]:
    """The figures of a contest, one a rival, or one for ours alone."""
    mine, *others = measured
    if not contest.rivals:
        spread = None
        if not mine.unavailable:
            spread = Spread(mine.median, min(mine.amounts), max(mine.amounts))
        return [_line(contest, mine, None, spread, contest.goal)]
    return [
        _line(contest, mine, other, ratio(mine, other), rival.goal)
        for rival, other in zip(contest.rivals, others, strict=True)
    ]


def _line(
    contest: Contest,
    mine: Measured,
    other: Measured | None,
    spread: Spread | None,
    goal: Goal | None,
) -> Line:
    return Line(
        contest=contest.key,
        title=contest.title,
        unit=contest.unit,
        ours=mine,
        other=other,
        ratio=spread,
        goal=None if goal is None else str(goal),
        met=None if goal is None or spread is None else goal.is_met(spread.median),
    )


def machine() -> dict[str, Any]:
    """What a reader has to know about the machine to compare."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load": round(os.getloadavg()[0], 2),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123 - no path of ours
            names = [line.partition(":")[2].strip() for line in info if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def document(sizes: Sizes, facts: dict[str, Any], lines: list[Line]) -> bytes:
    """The JSON document of a run."""
    figures = [
        {
            **msgspec.to_builtins(line),
            "ours_median": _median(line.ours),
            "other_median": None if line.other is None else _median(line.other),
        }
        for line in lines
    ]
    whole = {"machine": facts, "sizes": msgspec.to_builtins(sizes), "figures": figures}
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def _median(measured: Measured) -> float | None:
    return statistics.median(measured.amounts) if measured.amounts else None


def print_table(console: Console, sizes: Sizes, facts: dict[str, Any], lines: list[Line]) -> None:
    """The table, one figure a line, and what it was measured on."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("figure")
    table.add_column("binlog", justify="right")
    table.add_column("other", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("min - max", justify="right", style="dim")
    table.add_column("goal", justify="right")
    table.add_column("")
    before = None
    for line in lines:
        if line.contest != before:
            if before is not None:
                table.add_section()
            table.add_row(Text(line.title, style="bold"))
            before = line.contest
        table.add_row(*_cells(line))
    console.print(table)
    console.print(_conditions(sizes, facts), style="dim")
    console.print(_summary(lines))


def markdown(sizes: Sizes, facts: dict[str, Any], lines: list[Line]) -> str:
    """The same as Markdown, for the README."""
    rows = ["| figure | binlog | other | ratio | goal |", "|---|---:|---:|---:|---:|"]
    before = None
    for line in lines:
        if line.contest != before:
            rows.append(f"| **{line.title}** | | | | |")
            before = line.contest
        name, mine, other, middle, low_high, goal, verdict = [cell.plain for cell in _cells(line)]
        if line.met is not None:
            goal = f"{goal}, {verdict}"
        shown = f"{middle} ({low_high})" if line.ratio is not None else low_high
        rows.append(f"| {name.strip()} | {mine} | {other} | {shown} | {goal} |")
    return "\n".join([*rows, "", _conditions(sizes, facts), _summary(lines)]) + "\n"


def _conditions(sizes: Sizes, facts: dict[str, Any]) -> str:
    return (
        f"{sizes.events:,} events of 200 B, {sizes.rounds} rounds, interleaved; ratios are medians"
        f" of pairs (lowest - highest). {facts['cpus']} CPUs ({facts['processor']}), load"
        f" {facts['load']}, Python {facts['python']}, seed {sizes.seed}."
    )


def _summary(lines: list[Line]) -> str:
    goals = [line.met for line in lines if line.met is not None]
    return f"Goals: {sum(goals)} of {len(goals)} met; every result checked by digest."


def _cells(line: Line) -> list[Text]:
    name = "  alone" if line.other is None else f"  vs {line.other.name}"
    reason = line.ours.unavailable or (line.other.unavailable if line.other else None)
    amounts = [line.ours, line.other]
    return [
        Text(name),
        *(Text("" if m is None else _amount(m, line.unit)) for m in amounts),
        Text("" if line.ratio is None else _number(line.ratio.median, line)),
        Text(reason or _range(line), style="yellow" if reason else ""),
        Text(line.goal or ""),
        _verdict(line.met),
    ]


def _amount(measured: Measured, unit: str) -> str:
    if measured.unavailable:
        return "-"
    if unit == "s":
        return f"{measured.median:.3f} s"
    if unit == "%":
        return f"{measured.median:.2f} %"
    if unit in {"MiB", "MB", "MB/s"}:
        return f"{measured.median:,.1f} {unit}"
    return f"{measured.median:,.0f}/s"


def _number(value: float, line: Line) -> str:
    if line.other is not None:
        return f"{value:.2f}x"
    return f"{value:.3f} s" if line.unit == "s" else f"{value:.1f} {line.unit}"


def _range(line: Line) -> str:
    return "" if line.ratio is None else f"{line.ratio.low:.2f} - {line.ratio.high:.2f}"


def _verdict(met: bool | None) -> Text:  # noqa: FBT001 - three values, shown
    if met is None:
        return Text("")
    return Text("met", style="green") if met else Text("missed", style="red")


def eprint(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr)
