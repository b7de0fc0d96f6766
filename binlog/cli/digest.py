"""``binlog digest``: what a store holds, in a few numbers that two equal replicas share."""

from __future__ import annotations

import contextlib

import click

from appliers.address import open_store
from appliers.summary import Summary, summarize
from binlog.cli.options import store_argument
from binlog.cli.output import json_option, write_json, write_table, write_text
from binlog.cli.verb import Verb
from binlog.json_values import encode_json
from binlog.vector import Vector

_SHOWN_PARTITIONS = 8


@click.command(
    cls=Verb,
    examples="""
    binlog digest sqlite:replica.db
    binlog digest sqlite:replica.db --json > before.json
    """,
)
@store_argument()
@json_option
def command(*, store: str, as_json: bool) -> None:
    """Print the vector of STORE and, of each table, counts and digest.

    The digest is recomputed from the rows, deleted ones included. Replicas of one log at the same
    vector have the same digests, whatever made them.
    """
    with contextlib.closing(open_store(store, must_exist=True)) as opened:
        summary = summarize(opened)
    if as_json:
        write_json(summary)
    else:
        write_summary(summary)


def write_summary(summary: Summary) -> None:
    """The same for people."""
    write_table(
        ("table", "items", "tombstones", "parked", "digest"),
        [
            (name, table.items, table.tombstones, table.parked, table.digest)
            for name, table in summary.tables.items()
        ],
    )
    write_text("", f"vector {_shown(summary.vector)}")
    for name, table in summary.tables.items():
        if table.vector != summary.vector:
            write_text(f"vector of {name} {_shown(table.vector)}")
        if table.excluded:
            write_text(f"excluded from {name}: {', '.join(table.excluded)}")


def _shown(vector: Vector) -> str:
    """As one would type it, or in short where that would fill the screen."""
    if len(vector) <= _SHOWN_PARTITIONS:
        return encode_json(vector).decode()
    return f"{sum(vector.values()):,} offsets in {len(vector)} partitions (--json has them all)"
