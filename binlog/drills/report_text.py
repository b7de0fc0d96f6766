"""Reports for a terminal and for programs: some lines a drill, and one JSON document of all.

The lines are the same on a terminal and in a pipe; only a terminal gets colour, and no line is broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

import msgspec
from rich.console import Console
from rich.text import Text

from binlog.drills import report_words as words
from binlog.drills.report_spent import sentence
from binlog.drills.result import DrillResult

STYLES = {"good": "green", "bad": "bold red", "warn": "yellow"}
OUTPUT_MAX = 6  # last lines of a command that ended otherwise than it should
MISSED = "nobody noticed: the judge takes a wrong recovery for right, or this one does no harm"
_LABEL = 11


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """``binlog drill run --json``: what came of all, and each result as in its file."""

    schema: int = 1
    ok: bool  # every drill passed, every twin was caught, and there was one
    summary: str
    results: tuple[DrillResult, ...]


def run_report(results: Sequence[DrillResult]) -> RunReport:
    """The report of a run for programs; encode it with `msgspec.json.encode`."""
    return RunReport(
        ok=bool(results) and all(map(words.is_good, results)),
        summary=words.run_summary(results),
        results=tuple(results),
    )


def print_result(result: DrillResult, file: IO[str]) -> None:
    """Print one result: what was lost, how long it took, and everything that is not as it has to be."""
    _print(lines(result), file)


def print_run(results: Sequence[DrillResult], file: IO[str]) -> None:
    """Print a line for each result, why if it is not as it has to be, and the sum."""
    _print(run_lines(results), file)


def run_lines(results: Sequence[DrillResult]) -> Iterator[Text]:
    """The lines that `print_run` prints."""
    widths = [
        max((len(words.outcome(result).word) for result in results), default=0),
        max((len(result.name) for result in results), default=0),
    ]
    for result in results:
        came = words.outcome(result)
        line = Text.assemble(
            (f"{came.sign} {came.word:{widths[0]}}", STYLES[came.tone]),
            f"  {words.visible(result.name):{widths[1]}}",
        )
        if result.twin is None:
            line.append(f"  lost {words.count(result.measured.rpo_events)}")
            line.append(f"  recovered in {words.seconds(result.measured.rto_s)}")
        else:
            line.append(f"  twin: {words.visible(result.twin)}")
        yield line
        if not words.is_good(result):  # what is wrong with it was told when it came
            why = result.failure or MISSED
            yield Text.assemble(("  ✗ ", STYLES["bad"]), words.visible(why))
    good = bool(results) and all(map(words.is_good, results))
    if len(results) != 1:
        yield Text()
        yield Text(words.run_summary(results), "bold" if good else STYLES["bad"])


def lines(result: DrillResult) -> Iterator[Text]:
    """The lines that `print_result` prints."""
    came = words.outcome(result)
    yield Text.assemble(
        (f"{came.sign} {came.word}", STYLES[came.tone]),
        (f"  {words.visible(result.name)}", "bold"),
        f"  {words.visible(result.title)}",
    )
    if result.twin is not None:
        yield _line("twin", words.visible(result.twin))
    if result.caught:
        yield from _noticed(result)
    else:
        yield from _judged(result)
    if result.left:
        yield _line("left", words.visible("; ".join(result.left)), ok=False)
    yield _line("repeat", words.visible(result.repeat))


def _noticed(result: DrillResult) -> Iterator[Text]:
    """Of a twin that was caught: by what. All else that went wrong had to, and stands on its page."""
    for verdict in result.caught_by:
        said = f"{verdict.by}: {verdict.claim}: {verdict.evidence}"
        yield _line("noticed by", words.visible(said))


def _judged(result: DrillResult) -> Iterator[Text]:
    measured, goals = result.measured, result.goals
    yield _line("lost", _lost(result), ok=words.meets_rpo(result))
    if goals.rpo_age_s is not None:
        said = f"{words.seconds(measured.rpo_age_s)} (target: {words.seconds(goals.rpo_age_s)})"
        yield _line("newest kept", said, ok=words.meets_rpo(result))
    yield _line("recovered", _recovered(result), ok=words.meets_rto(result))
    yield _line("spent", words.visible(sentence(measured)))
    held = sum(verdict.ok for verdict in result.verdicts)
    yield _line(
        "checks",
        f"{held} of {len(result.verdicts)} hold",
        ok=0 < held == len(result.verdicts),
    )
    yield from _wrong(result)


def _lost(result: DrillResult) -> str:
    told = words.count(result.ledger.acknowledged)
    allowed = words.count(result.goals.rpo_events) if result.goals.rpo_events else "none"
    missing = result.measured.rpo_events
    if missing is None:
        return f"{words.UNKNOWN}, {told} acknowledged (target: {allowed})"
    return f"{words.count(missing)} of {told} acknowledged events (target: {allowed})"


def _recovered(result: DrillResult) -> str:
    measured = result.measured
    said = f"{words.seconds(measured.rto_s)} (target: {words.seconds(result.goals.rto_s)})"
    phases = ", ".join(
        f"{words.visible(name)} {words.seconds(took)}" for name, took in words.phases(measured.rto)
    )
    return f"{said}: {phases}" if phases else said


def _wrong(result: DrillResult) -> Iterator[Text]:
    """Why it failed, if that is none of these: verdicts that do not hold, commands that ended otherwise."""
    if result.twin is not None and result.passed:
        yield Text.assemble(("  ✗ ", STYLES["bad"]), MISSED)
    verdicts = {f"{verdict.claim}: {verdict.evidence}" for verdict in result.verdicts}
    if result.failure is not None and result.failure not in verdicts:
        yield Text.assemble(("  ✗ ", STYLES["bad"]), words.visible(result.failure))
    for verdict in result.verdicts:
        if not verdict.ok:
            claim, evidence = words.visible(verdict.claim), words.visible(verdict.evidence)
            yield Text.assemble(
                ("  ✗ ", STYLES["bad"]), f"{claim}: {evidence}", (f" ({verdict.by})", "dim")
            )
            yield from (Text(f"      {words.visible(line)}") for line in verdict.lines)
    told = tuple(verdict.claim for verdict in result.verdicts if not verdict.ok)
    for command in result.commands:
        if not command.ok and not any(claim.startswith(f"{command.shown} ends ") for claim in told):
            expected = " or ".join(map(str, command.expected))
            yield Text.assemble(
                ("  ✗ ", STYLES["bad"]),
                f"{words.visible(command.shown)}: status {command.status}, expected {expected}",
            )
            yield from (
                Text(f"      {words.visible(line)}") for line in command.output[-OUTPUT_MAX:]
            )


def _line(label: str, text: str, *, ok: bool = True) -> Text:
    return Text.assemble((f"  {label:{_LABEL}}  ", "dim"), (text, "" if ok else STYLES["bad"]))


def _print(said: Iterator[Text], file: IO[str]) -> None:
    console = Console(file=file, highlight=False, soft_wrap=True)
    for line in said:
        console.print(line)
