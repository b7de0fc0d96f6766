"""How long a recovery takes of a table as large as somebody's own: drills on a log of a million events.

    python -m scripts.drills.at_scale                      the table of docs/drills.md, on this machine
    python -m scripts.drills.at_scale --write              and writes it there
    python -m scripts.drills.at_scale --events 20000000    of a log as long as yours

Each drill takes place in a process of its own, by the seed that a drill has by default, and is judged as
always: exit status 1 if one fails or a twin is not caught.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from binlog.drills.declared import load_drills
from binlog.drills.filled import Scale
from binlog.drills.result import PHASES
from binlog.drills.runner import run_drill

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "drills.md"
BEGIN, END = "<!-- at scale: begin -->", "<!-- at scale: end -->"
EVENTS = 1_000_000
KIBIBYTES_PER_MEBIBYTE = 1024
HEADS = ("drill", "events", "items", "lost", "recovered in", *PHASES, "goal", "a command", "judge")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A drill that was run. Times in seconds, peaks of memory in MiB."""

    drill: str
    twin: bool
    ok: bool  # passed, or caught
    failure: str | None
    events: int
    items: int
    lost: int | None
    rto_s: float | None
    goal_s: float
    phases_s: dict[str, float]
    command_mib: float  # of the largest command or consumer
    judge_mib: float  # of the drill's own process: load, ledger, reference


def measure(name: str, scale: Scale, *, twin: bool) -> Row:
    """Run it in this process, which has to be a fresh one: a peak never falls."""
    declared = load_drills([HERE])[name]
    result = run_drill(declared, scale=scale, twin=declared.twins[0] if twin else None)
    own, others = (
        resource.getrusage(who).ru_maxrss / KIBIBYTES_PER_MEBIBYTE
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return Row(
        drill=name,
        twin=twin,
        ok=result.caught if twin else result.passed,
        failure=result.failure,
        events=result.measured.events or result.ledger.acknowledged,
        items=result.measured.items,
        lost=result.measured.rpo_events,
        rto_s=result.measured.rto_s,
        goal_s=result.goals.rto_s,
        phases_s=result.measured.rto,
        command_mib=others,
        judge_mib=own,
    )


def runs(events: int) -> list[tuple[str, Scale, bool]]:
    """Ten events an item, an event an item, from the log alone; and one that has to fail."""
    snapshot = "table-dropped-snapshot"
    return [
        (snapshot, Scale(events), False),
        (snapshot, Scale(events, events), False),
        ("table-dropped", Scale(events), False),
        (snapshot, Scale(events), True),
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The table, and what it was measured on."""

    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:.1f} s"

    lines = [
        f"| {' | '.join(HEADS)} |",
        f"|---|{'---:|' * (len(HEADS) - 1)}",
    ]
    for row in rows:
        cells = [
            f"`{row.drill}`",
            f"{row.events:,}",
            f"{row.items:,}",
            "not measured" if row.lost is None else f"{row.lost:,}",
            f"**{seconds(row.rto_s)}**",
            *(seconds(row.phases_s.get(name)) for name in PHASES),
            f"{row.goal_s:g} s",
            f"{row.command_mib:,.0f} MiB",
            f"{row.judge_mib:,.0f} MiB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def facts(load: float) -> str:
    """What somebody has to know who compares."""
    where = f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}, {where}; load before: {load:.1f}"


def _commit() -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, cwd=HERE, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def written(text: str, table: str, said: str) -> str:
    """The document with the table in it.

    Raises:
        ValueError: it has no place for it.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    made, count = pattern.subn(lambda _: f"{BEGIN}\n{table}\n\n{said}\n{END}", text)
    if count != 1:
        raise ValueError(f"{DOCUMENT.name} has {count} places between {BEGIN} and {END}")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all of them, one after the other; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.drills.at_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--events", type=int, default=EVENTS, metavar="N")
    parser.add_argument("--write", action="store_true", help=f"into docs/{DOCUMENT.name}")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one is not None:
        name, events, keys, twin = options.one.split(",")
        row = measure(name, Scale(int(events), int(keys)), twin=twin == "True")
        sys.stdout.buffer.write(msgspec.json.encode(row))
        return 0
    load, rows = os.getloadavg()[0], []
    for name, scale, twin in runs(options.events):
        sys.stderr.write(f"{name}{', its twin' if twin else ''}: {scale.events:,} events\n")
        one = ",".join(map(str, (name, scale.events, scale.keys, twin)))
        words = [sys.executable, "-m", "scripts.drills.at_scale", "--one", one]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
        rows.append(msgspec.json.decode(done.stdout, type=Row))
    good = [row for row in rows if not row.twin]
    twins = [row for row in rows if row.twin]
    said = (
        f"{sum(row.ok for row in twins)} of {len(twins)} sabotaged twin{'s' * (len(twins) != 1)} of "
        f"this size caught, by {', '.join(f'{row.lost:,}' for row in twins if row.lost is not None)} "
        f"events that were missing. {facts(load)}."
    )
    sys.stdout.write(f"{markdown(good)}\n\n{said}\n")
    for row in rows:
        if not row.ok:
            sys.stderr.write(f"{row.drill}{', its twin' if row.twin else ''}: {row.failure}\n")
    if options.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(written(text, markdown(good), said), encoding="utf-8")
    return int(not all(row.ok for row in rows))


if __name__ == "__main__":
    sys.exit(main())
