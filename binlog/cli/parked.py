"""``binlog parked``: which keys wait behind an event that could not be applied, and why."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import click

from appliers.poison import readable_key
from binlog.cli.options import store_argument
from binlog.cli.output import json_option, write_json, write_table, write_text
from binlog.cli.verb import Verb
from binlog.json_values import plain
from consumers.redrive import Waiting, waiting_in

_SHOWN_CHARS = 60


@click.command(
    cls=Verb,
    examples="""
    binlog parked sqlite:replica.db
    binlog parked sqlite:replica.db --table orders --json
    """,
)
@store_argument()
@click.option("--table", metavar="T", help="Only of this table.")
@json_option
@click.pass_context
def command(context: click.Context, *, store: str, table: str | None, as_json: bool) -> None:
    """List the keys of STORE that are parked: an event could not be applied, later ones wait.

    The item is as it was before that event. `binlog redrive` puts the events back, in order, once
    the applier is mended; a rebuild with --exclude passes one that never can be. An event that is
    "alone" has no item that could be parked for it: nothing waits behind it. "offset" and "why" are
    of the first event that waits. Exit status 1 if there is any.
    """
    from appliers.address import open_store

    with contextlib.closing(open_store(store, must_exist=True)) as opened, opened.view() as view:
        found = list(waiting_in(view, table))
    if as_json:
        write_json({"parked": [waiting_document(each) for each in found]})
    else:
        _write_text(
            found, nothing="nothing is parked" if table is None else f"nothing is parked of {table}"
        )
    if found:
        context.exit(1)


def waiting_document(waiting: Waiting) -> dict[str, Any]:
    """What waits of one key, as JSON; ``offset``, ``id``, ``type`` and ``reason`` of the first."""
    return {
        "table": waiting.table,
        "key": key_document(waiting.key),
        "partition": waiting.partition,
        "alone": waiting.alone,
        "events": waiting.count,
        "offset": waiting.first.offset,
        "last_offset": waiting.last_offset,
        "id": waiting.first.id,
        "type": waiting.first.type,
        "reason": waiting.reason,
    }


def key_document(key: bytes) -> Any:
    """A key as JSON shows it; bytes that are none as text."""
    named = readable_key(key)[0]
    return repr(named) if isinstance(named, bytes) else plain(named)


def shortened(text: str) -> str:
    """At most a column's width of it."""
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."


def _write_text(found: Sequence[Waiting], *, nothing: str) -> None:
    if not found:
        write_text(nothing)
        return
    write_table(
        ("table", "key", "partition", "offset", "events", "type", "why"),
        [
            (
                waiting.table or "-",
                shortened(readable_key(waiting.key)[1]),
                waiting.partition,
                waiting.first.offset,
                "alone" if waiting.alone else f"{waiting.count:,}",
                waiting.first.type,
                shortened(waiting.reason),
            )
            for waiting in found
        ],
    )
    events = sum(waiting.count for waiting in found)
    told = f"{events:,} {'event waits' if events == 1 else 'events wait'}, of {len(found):,} "
    told += "key" if len(found) == 1 else "keys"
    write_text("", f"{told}; binlog redrive says what would come of putting them back")
