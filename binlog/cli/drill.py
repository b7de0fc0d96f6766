"""``binlog drill``: rehearse a recovery, judge it, and leave a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from binlog.cli.drill_runbook import runbook_command
from binlog.cli.drill_target import ON as REAL
from binlog.cli.drill_target import clean_command, real_target, target_options
from binlog.cli.output import json_option, note, write_json, write_table, write_text
from binlog.cli.verb import Verb
from binlog.errors import RefusedError

if TYPE_CHECKING:
    from binlog.drills.declared import Declared, Twin
    from binlog.drills.result import DrillResult

_drills = click.option(
    "--drills",
    "where",
    multiple=True,
    metavar="PATH",
    envvar="BINLOG_DRILLS",
    help="A folder with files drill_*.py, or such a file; may be repeated.  [default: drills and "
    "scripts/drills, where they are]",
)


class Drills(Verb, click.Group):
    """A verb of two: its help ends with examples, too."""


@click.group(
    cls=Drills,
    invoke_without_command=True,
    role=None,
    examples="""
    binlog drill list
    binlog drill run table-dropped
    binlog drill run all
    """,
)
@click.pass_context
def command(context: click.Context) -> None:
    """Rehearse disasters: load, disaster, the runbook's commands, and a judge.

    A drill is a short Python file, drill_*.py. It takes place in a folder of its own, or on services
    that are named; nothing of yours is touched. What it claims is judged by a ledger of what producers
    were told and by a reference of its own: what cannot be proved has failed.
    """


@command.command(
    "list",
    cls=Verb,
    role=None,
    examples="""
    binlog drill list
    binlog drill list --drills ops/drills --json
    """,
)
@_drills
@json_option
def list_command(*, where: tuple[str, ...], as_json: bool) -> None:
    """List the drills, where they can take place, and their goals."""
    found = list(_load(where).values())
    if as_json:
        write_json([_document(each) for each in found])
        return
    write_table(
        ("drill", "on", "events lost at most", "recovered in", "twins", "what happens"),
        [
            (
                each.name,
                ", ".join(each.on),
                f"{each.goals.rpo_events:,}",
                f"{each.goals.rto_s:g} s",
                len(each.twins),
                each.title,
            )
            for each in found
        ],
    )


@command.command(
    "run",
    cls=Verb,
    role=None,
    examples="""
    binlog drill run table-dropped
    binlog drill run all --report reports
    binlog drill run all --twin
    binlog drill run table-dropped --on stack --seed 7 --json
    binlog drill run table-dropped --target game_day.toml --dry-run
    """,
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...|all")
@_drills
@click.option("--on", default="embedded", show_default=True, help="Where: embedded or stack.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N")
@click.option(
    "--report",
    "report_dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the reports there: index.html, and NAME.html and NAME.json of each.",
)
@click.option(
    "--twin",
    "twins",
    is_flag=True,
    help="Run the sabotaged twins instead: each has to be reported as failed.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be run, and run nothing.")
@target_options
@click.option("--verbose", "-v", is_flag=True, help="Tell each command and verdict as it comes.")
@json_option
@click.pass_context
def run_command(
    context: click.Context,
    *,
    names: tuple[str, ...],
    where: tuple[str, ...],
    on: str,
    seed: int,
    report_dir: Path | None,
    twins: bool,
    dry_run: bool,
    targets: tuple[str, ...],
    account: str | None,
    yes_spend: bool,
    ledger: Path,
    verbose: bool,
    as_json: bool,
) -> None:
    """Run drills, one after the other. Exit status 1 if one fails, or a twin is not caught."""
    from binlog.drills.report_text import print_result, print_run, run_report
    from binlog.drills.runner import run_drill
    from binlog.drills.targets.choose import maker

    on = REAL if targets else on
    chosen = _chosen(_load(where), names, on)
    if targets:
        make = real_target(
            targets, chosen, account=account, agreed=yes_spend, dry_run=dry_run, ledger=ledger
        )
    else:
        make = maker(on)
    runs: list[tuple[Declared, Twin | None]] = [
        (each, twin) for each in chosen for twin in (each.twins if twins else (None,))
    ]
    if dry_run:
        for declared, twin in runs:
            write_text(f"{declared.name} on {on}{'' if twin is None else f': {twin.what}'}")
        return

    def tell(line: str) -> None:
        if verbose:
            note(f"  {line}")

    results: list[DrillResult] = []
    for declared, twin in runs:
        result = run_drill(
            declared, make=make, on=on, seed=seed, twin=twin, report_dir=report_dir, tell=tell
        )
        results.append(result)
        if not as_json:
            print_result(result, sys.stdout)
    if report_dir is not None:
        from binlog.drills.report_html import write_reports

        note(f"written: {write_reports(results, report_dir)[-1]}")
    if as_json:
        write_json(run_report(results))
    elif len(results) > 1:
        print_run(results, sys.stdout)
    if not run_report(results).ok:
        context.exit(1)


command.add_command(runbook_command(_drills))
command.add_command(clean_command)


def _load(where: tuple[str, ...]) -> dict[str, Declared]:
    from binlog.drills.declared import load_drills, places

    found = load_drills(places(where))
    if not found:
        raise RefusedError("there are no drills", ", ".join(where) or ".", "name them: --drills")
    return found


def _chosen(found: dict[str, Declared], names: tuple[str, ...], on: str) -> list[Declared]:
    if names == ("all",):
        return [each for each in found.values() if on in each.on]
    for name in names:
        if name not in found:
            raise RefusedError(
                f"there is no drill {name!r}", ", ".join(found), "see binlog drill list"
            )
    return [found[name] for name in names]


def _document(declared: Declared) -> dict[str, object]:
    goals = declared.goals
    return {
        "name": declared.name,
        "title": declared.title,
        "on": declared.on,
        "rpo_events": goals.rpo_events,
        "rto_s": goals.rto_s,
        "twins": [twin.what for twin in declared.twins],
        "file": declared.file,
    }
