"""``binlog drill list``."""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from binlog.cli.drill_names import drills_option, load
from binlog.cli.output import json_option, write_json, write_table, write_text
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from binlog.drills.declared import Declared

WIDE = 120  # columns; on a narrower terminal a drill has two lines, and no cell is broken


@click.command(
    "list",
    cls=Verb,
    role=None,
    examples="""
    binlog drill list
    binlog drill list --drills ops/drills --json
    """,
)
@drills_option
@json_option
def list_command(*, where: tuple[str, ...], as_json: bool) -> None:
    """List the drills, where they can take place, and their goals."""
    found = list(load(where).values())
    if as_json:
        write_json([_document(each) for each in found])
        return
    if sys.stdout.isatty() and get_terminal_size().columns < WIDE:
        _write_pairs(found)
        return
    write_table(
        ("drill", "what happens", "on", "may lose", "back in"),
        [
            (
                each.name,
                each.title,
                ", ".join(each.on),
                f"{each.goals.rpo_events:,}",
                f"{each.goals.rto_s:g} s",
            )
            for each in found
        ],
    )


def _write_pairs(found: list[Declared]) -> None:
    width = max(len(each.name) for each in found)
    for each in found:
        lost = f"may lose {each.goals.rpo_events:,}" if each.goals.rpo_events else "loses nothing"
        where = f"on {', '.join(each.on)}; {lost}, back in {each.goals.rto_s:g} s"
        write_text(f"{each.name:{width}}  {each.title}", f"{'':{width}}  {where}")


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
