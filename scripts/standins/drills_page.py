"""What came of all drills on the local stack: a run as data, and the page of it in docs/.

`docs/drills-stack.json` is the run, `docs/drills-stack.md` is made of it and of nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from binlog.drills import report_words as words
from binlog.drills.report_spent import price
from binlog.drills.result import DrillResult, Spent
from binlog.drills.steps import heard

DATA, PAGE = Path("docs/drills-stack.json"), Path("docs/drills-stack.md")
SECONDS_MAX = 20 * 60.0  # what all of it may take on two quiet CPUs
_CONSUMERS = {
    "scripts/stack lambda": "Lambda",
    "binlog kcl run": "KCL",
    "binlog replicate": "replicate",
    "binlog archive": "archiver",
}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One drill, or one twin of it."""

    name: str
    twin: str | None
    is_good: bool  # it passed; of a twin: its sabotage was caught
    failure: str | None  # of a drill; a twin has to have one
    acknowledged: int
    lost: int | None
    lost_most: int  # by its target
    rto_s: float | None
    rto_s_most: float
    phases: dict[str, float]
    held: int  # of so many checks
    checks: int
    consumers: tuple[str, ...]  # what went on beside the commands, in the order of their start
    at: str  # UTC, when it began
    seconds: float
    recovery: Spent = Spent()
    run: Spent = Spent()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, on one machine."""

    at: str  # UTC
    commits: tuple[str, ...]  # of the checkout, by goes; with a + where files differed from it
    seconds: float  # the stack's start and end, too; of all goes
    goes: int  # more than one: it was resumed
    busy: float  # processes that ran or waited for a CPU, a minute's mean, when it began
    versions: dict[str, str]
    lines: tuple[Line, ...]

    @property
    def is_good(self) -> bool:
        """Every drill passed, and every twin was caught."""
        return bool(self.lines) and all(line.is_good for line in self.lines)


def line_of(result: DrillResult) -> Line:
    """What the page says of a result."""
    measured = result.measured
    return Line(
        name=result.name,
        twin=result.twin,
        is_good=words.is_good(result),
        failure=result.failure,
        acknowledged=result.ledger.acknowledged,
        lost=measured.rpo_events,
        lost_most=result.goals.rpo_events,
        rto_s=measured.rto_s,
        rto_s_most=result.goals.rto_s,
        phases=dict(words.phases(measured.rto)),
        held=sum(verdict.ok for verdict in result.verdicts),
        checks=len(result.verdicts),
        consumers=consumers_of(result),
        at=result.started_at,
        seconds=result.seconds,
        recovery=measured.recovery,
        run=measured.run,
    )


def consumers_of(result: DrillResult) -> tuple[str, ...]:
    """Which kinds were started."""
    found: dict[str, None] = {}
    for mark in result.marks:
        kind, what = heard(mark.text) or ("", "")
        if kind == "started":
            found |= {name: None for begin, name in _CONSUMERS.items() if what.startswith(begin)}
    return tuple(found)


def encode_run(run: Run) -> bytes:
    """Sorted, indented, ends with a newline."""
    return msgspec.json.format(msgspec.json.encode(run, order="sorted"), indent=2) + b"\n"


def decode_run(data: bytes) -> Run:
    """A run as `encode_run` wrote it."""
    return msgspec.json.decode(data, type=Run)


# -- the page ------------------------------------------------------------------------------------


def page(run: Run) -> str:
    """Markdown."""
    drills = [line for line in run.lines if line.twin is None]
    twins = [line for line in run.lines if line.twin is not None]
    by_drill = Counter(line.name for line in twins)
    caught = Counter(line.name for line in twins if line.is_good)
    passed = sum(line.is_good for line in drills)
    of_twins = f"{sum(caught.values())} of {len(twins)} sabotaged twins were caught"
    if not twins:
        of_twins = "their sabotaged twins were not run"
    goes = f" and {run.goes} goes" if run.goes > 1 else ""
    commits = " and ".join(f"`{each}`" for each in run.commits)
    rows = [
        (
            f"{'✓' if line.is_good else '✗'} [{line.name}](runbooks/{line.name}.md)",
            _lost(line),
            words.seconds(line.rto_s),
            ", ".join(f"{name} {words.seconds(took)}" for name, took in words.phases(line.phases)),
            words.seconds(line.rto_s_most),
            f"{line.held} of {line.checks}",
            f"{caught[line.name]} of {by_drill[line.name]}" if by_drill[line.name] else "not run",
            ", ".join(line.consumers) or "none",
            words.seconds(line.seconds),
            line.at[11:16],
        )
        for line in drills
    ]
    heads = (
        "drill", "lost", "recovered in", "by phase", "target", "checks", "twins caught",
        "consumers", "whole drill", "began",
    )  # fmt: skip
    return "\n".join(
        [
            "# Drills on the local stack",
            "",
            "<!-- Made by `scripts/drills-stack` of its last run: run that. -->",
            "",
            (
                "Each drill of [drills.md](drills.md) that can take place there, on Kinesis, DynamoDB and S3 "
                "as stand-ins on one machine, with the Lambda function behind its mapping and the KCL's own "
                "daemon as consumers. `scripts/drills-stack` runs all of it again."
            ),
            "",
            (
                f"{passed} of {len(drills)} drills passed, {of_twins}, in {words.seconds(run.seconds)}{goes}; {run.at}, commit {commits}; "
                f"load of the machine at the start {run.busy:.1f}."
            ),
            "",
            *_table(heads, rows),
            "",
            (
                "*lost*: acknowledged events that are missing after the recovery. *recovered in*: from the "
                "disaster to the end of the last phase. *consumers*: what went on beside the commands; "
                "`replicate` and `archiver` are `binlog replicate` and `binlog archive`. Times are those of "
                "stand-ins on one machine, and no promise for an account."
            ),
            "",
            *_spent(drills),
            *_slow(run),
            *_failures(run.lines),
            *_table(("part", "version"), sorted(run.versions.items())),
            "",
        ]
    )


def _lost(line: Line) -> str:
    if line.lost is None:
        return words.UNKNOWN
    allowed = f", at most {line.lost_most:,}" if line.lost_most else ""
    return f"{line.lost:,} of {line.acknowledged:,}{allowed}"


def _spent(drills: Sequence[Line]) -> list[str]:
    rows = [
        (
            line.name,
            words.size(line.recovery.read_bytes),
            words.size(line.recovery.written_bytes),
            words.count(sum(line.recovery.requests.values())),
            words.count(line.recovery.write_units),
            words.count(line.recovery.read_units),
            price(line.recovery.dollars),
            price(line.run.dollars),
        )
        for line in drills
        if line.run.requests
    ]
    heads = (
        "spent by the recovery", "read", "written", "requests", "write units", "read units",
        "at list price", "whole drill",
    )  # fmt: skip
    how = (
        "Counted by the processes themselves and by the stand-ins' own figures of units; what it would cost on "
        "AWS. See [what a drill spends](drills.md#what-it-spends)."
    )
    return [*_table(heads, rows), "", how, ""] if rows else []


def _slow(run: Run) -> list[str]:
    if run.seconds < SECONDS_MAX:
        return []
    said = f"The run took longer than it may take, {words.seconds(SECONDS_MAX)} on two quiet CPUs."
    return [said, ""]


def _failures(lines: Iterable[Line]) -> list[str]:
    bad = [line for line in lines if not line.is_good]
    if not bad:
        return []
    said = [
        f"* {line.name}: {line.failure}"
        if line.twin is None
        else f"* {line.name}, its twin “{line.twin}” was not caught"
        for line in bad
    ]
    return ["What did not come out as it has to:", "", *said, ""]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]
