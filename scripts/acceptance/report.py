"""What a run has found, as JSON for programs and Markdown for people. No account id in either."""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from scripts.acceptance.counting import Part, total
from scripts.acceptance.putting import Measure
from scripts.acceptance.suites import Outcome

ROOT = Path(__file__).parents[2]


class Report(msgspec.Struct):
    """One run. ``local``: on stand-ins, which proves the script and says nothing of AWS."""

    run: str
    region: str
    local: bool
    commit: str
    versions: dict[str, str]
    outcomes: list[Outcome] = []
    measures: list[Measure] = []
    estimated: list[Part] = []
    counted: list[Part] = []
    calls: dict[str, int] = {}
    not_finished: str | None = None
    left_over: list[str] = []

    @property
    def is_good(self) -> bool:
        """Everything that was tried held, and nothing was left behind."""
        return (
            self.not_finished is None
            and not self.left_over
            and all(outcome.result != "failed" for outcome in self.outcomes)
            and all(measure.holds is not False for measure in self.measures)
        )


def begin(run: str, region: str, *, local: bool) -> Report:
    """A report of nothing yet."""
    said = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    versions = {name: version(name) for name in ("kinesis-binlog", "boto3", "botocore")}
    versions["python"] = platform.python_version()
    return Report(run, region, local, said.stdout.strip() or "unknown", versions)


def write(report: Report, folder: Path) -> list[Path]:
    """Both files, named for the run."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{report.run}.json", folder / f"{report.run}.md"]
    encoded = msgspec.json.encode(report)
    paths[0].write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
    paths[1].write_text(markdown(report), encoding="utf-8")
    return paths


def markdown(report: Report) -> str:
    """The document for people."""
    where = "local stand-ins: says nothing of AWS" if report.local else f"AWS, {report.region}"
    lines = [
        f"# Acceptance, run {report.run}",
        "",
        f"On {where}. Commit {report.commit}, "
        + ", ".join(f"{name} {number}" for name, number in report.versions.items())
        + ".",
        "",
    ]
    if report.not_finished:
        lines += [f"**Not finished**: {report.not_finished}", ""]
    if report.left_over:
        lines += ["**Left over**, to be removed by hand:", ""]
        lines += [*(f"- {each}" for each in report.left_over), ""]
    counts = Counter((outcome.suite, outcome.result) for outcome in report.outcomes)
    lines += [
        "## Contract suites",
        "",
        "| suite | held | failed | not claimed |",
        "|---|---|---|---|",
    ]
    for suite in dict.fromkeys(outcome.suite for outcome in report.outcomes):
        row = " | ".join(str(counts[suite, result]) for result in ("held", "failed", "not claimed"))
        lines.append(f"| {suite} | {row} |")
    lines.append("")
    for outcome in report.outcomes:
        if outcome.result == "failed":
            lines.append(f"- **failed**: {outcome.suite}, `{outcome.claim}`: {_cell(outcome.said)}")
    for outcome in report.outcomes:
        if outcome.result == "not claimed":
            lines.append(f"- not claimed: `{outcome.claim}`: {_cell(outcome.said)}")
    lines += ["", "## Measurements", ""]
    for measure in report.measures:
        verdict = {True: "yes", False: "**NO**", None: "nothing depends on it"}[measure.holds]
        lines += [f"### {measure.question}", "", f"{verdict}", ""]
        lines += [f"- {name}: {_shown(value)}" for name, value in measure.figures.items()] + [""]
    lines += ["## Price", "", "| part | estimated | counted |", "|---|---|---|"]
    counted = {part.what: part for part in report.counted}
    for part in report.estimated:
        found = counted.get(part.what)
        shown = f"{found.amount:,.0f} = ${found.dollars:.4f}" if found else "-"
        lines.append(f"| {part.what} | {part.amount:,.0f} = ${part.dollars:.4f} | {shown} |")
    lines.append(f"| together | ${total(report.estimated):.2f} | ${total(report.counted):.2f} |")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(map(_shown, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
