"""``binlog drill``: rehearse a recovery, judge it, and leave a report."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from binlog.cli.drill_list import list_command
from binlog.cli.drill_names import (
    EMBEDDED,
    PLACES,
    REAL,
    chosen_drills,
    drills_option,
    load,
    names_that_begin,
    refuse_elsewhere,
)
from binlog.cli.drill_runbook import runbook_command
from binlog.cli.drill_target import clean_command, real_target, target_options
from binlog.cli.output import json_option, note, write_json, write_text
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from binlog.drills.declared import Declared, Twin
    from binlog.drills.result import DrillResult

EVENTS_MAX = 1_000_000_000


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
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command(
    "run",
    cls=Verb,
    role=None,
    examples="""
    binlog drill run table-dropped
    binlog drill run all --report reports
    binlog drill run all --twin
    binlog drill run table-dropped --on stack --seed 7 --json
    binlog drill run table-dropped-snapshot --events 1000000
    binlog drill run table-dropped --target game_day.toml --dry-run
    """,
)
@click.argument(
    "names", nargs=-1, required=True, metavar="NAME...|all", shell_complete=names_that_begin
)
@drills_option
@click.option(
    "--on",
    default=EMBEDDED,
    show_default=True,
    metavar="WHERE",
    shell_complete=lambda _, __, begun: [each for each in PLACES if each.startswith(begun)],
    help="Where: embedded, in files of its own; or stack, on the stand-ins of scripts/stack.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N")
@click.option(
    "--events",
    type=click.IntRange(0, EVENTS_MAX),
    default=0,
    metavar="N",
    help="Begin with a log of so many events more: how long does it take with a table like yours?",
)
@click.option(
    "--keys",
    type=click.IntRange(0, EVENTS_MAX),
    default=0,
    metavar="N",
    help="Of --events: about so many items.  [default: a tenth of the events]",
)
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
    events: int,
    keys: int,
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
    if keys and not events:
        raise click.UsageError("--keys is of --events: say how many events, too")
    if events and targets:
        raise click.UsageError(
            "--events is not for --target: the price of a game day is reckoned without"
        )
    from binlog.drills.filled import Scale
    from binlog.drills.kept import check_folder
    from binlog.drills.report_text import print_result, print_run, run_report
    from binlog.drills.report_words import stem_of
    from binlog.drills.runner import run_drill
    from binlog.drills.targets.choose import maker

    on = REAL if targets else on
    chosen = chosen_drills(load(where), names, on)
    if targets:
        make = real_target(
            targets,
            chosen,
            account=account,
            agreed=yes_spend,
            dry_run=dry_run,
            ledger=ledger,
            say=write_text if dry_run and not as_json else note,
        )
    else:
        make = maker(on)
        refuse_elsewhere(chosen, on)
    runs: list[tuple[Declared, Twin | None]] = [
        (each, twin) for each in chosen for twin in (each.twins if twins else (None,))
    ]
    if dry_run:
        _say_plan(runs, on, as_json=as_json)
        return

    if report_dir is not None:
        # Before anything is run: what took twenty minutes would have nowhere to go.
        stems = [stem_of(each.name, None if twin is None else twin.what) for each, twin in runs]
        files = [f"{stem}.{kind}" for stem in stems for kind in ("json", "html")]
        check_folder(report_dir, [*files, "index.html"])

    def tell(text: str) -> None:
        for line in text.splitlines() if verbose else ():
            note(f"  {line}")

    results: list[DrillResult] = []
    for number, (declared, twin) in enumerate(runs, 1):
        with _under_way(f"{number} of {len(runs)}: {declared.name}"):
            result = run_drill(
                declared,
                make=make,
                on=on,
                seed=seed,
                twin=twin,
                report_dir=report_dir,
                tell=tell,
                scale=Scale(events, keys),
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


command.add_command(list_command)
command.add_command(runbook_command(drills_option))
command.add_command(clean_command)


def _say_plan(runs: Sequence[tuple[Declared, Twin | None]], on: str, *, as_json: bool) -> None:
    if as_json:
        plan = [
            {"name": each.name, "on": on, "twin": None if twin is None else twin.what}
            for each, twin in runs
        ]
        write_json(plan)
        return
    for declared, twin in runs:
        write_text(f"{declared.name} on {on}{'' if twin is None else f': {twin.what}'}")


@contextlib.contextmanager
def _under_way(what: str) -> Iterator[None]:
    """Say what goes on, for as long as it does, on a terminal and nowhere else."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
