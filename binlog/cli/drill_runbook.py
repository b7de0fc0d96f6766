"""``binlog drill runbook``: one page a disaster, made of the drills and their last run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from binlog.cli.output import note, write_text
from binlog.cli.verb import Verb
from binlog.errors import RefusedError


def runbook_command(drills: Callable[[Any], Any]) -> click.Command:
    """The verb, with the option ``--drills`` that the others have, too."""

    @click.command(
        "runbook",
        cls=Verb,
        role=None,
        examples="""
    binlog drill run all --report reports && binlog drill runbook reports docs/runbooks
    binlog drill runbook reports docs/runbooks --check
    """,
    )
    @click.argument("reports", type=click.Path(exists=True, file_okay=False, path_type=Path))
    @click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
    @drills
    @click.option(
        "--check",
        is_flag=True,
        help="Write nothing: exit 1 if a page says otherwise, timings aside.",
    )
    @click.pass_context
    def command(
        context: click.Context, *, reports: Path, folder: Path, where: tuple[str, ...], check: bool
    ) -> None:
        """Write the runbooks of all drills whose results are in REPORTS into FOLDER, as Markdown.

        Each says how the disaster looks, what to type, how long it takes, and how to take it back, as
        the drill did it. Of a drill that failed there is no page, and what it had stays: exit status 1.
        """
        from binlog.drills.declared import load_drills, places
        from binlog.drills.runbooks import read_results, stale, write_runbooks

        found = load_drills(places(where))
        results = [each for each in read_results(reports) if each.twin is None]
        if not results:
            do = "binlog drill run all --report DIR"
            raise RefusedError("there are no results of drills", str(reports), do)
        good = [each for each in results if each.passed]
        for each in results:
            if not each.passed:
                note(f"{each.name}: no page, as it failed: {each.failure}")
        if check:
            differences = stale(found, good, folder)
            for difference in differences:
                write_text(*difference.splitlines())
        else:
            differences = []
            for path in write_runbooks(found, good, folder):
                write_text(str(path))
        if differences or len(good) < len(results):
            context.exit(1)

    return command
