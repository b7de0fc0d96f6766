"""``binlog dump``: the items of a table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import click

from appliers.address import open_store
from appliers.stores.generations import no_table
from binlog.cli.options import format_option, store_argument
from binlog.cli.output import json_lines, json_option, stdout
from binlog.cli.verb import Verb
from binlog.json_values import encode_json, plain, typed_item_text
from binlog.values import decode_value

_BATCH_ITEMS = 500


@click.command(
    cls=Verb,
    examples="""
    binlog dump sqlite:replica.db --table orders
    binlog dump sqlite:replica.db --table orders --format dynamodb > orders.jsonl
    """,
)
@store_argument()
@click.option("--table", required=True, metavar="T", help="The table, as the log names it.")
@format_option
@json_option
def command(*, store: str, table: str, output_format: str, as_json: bool) -> None:  # noqa: ARG001 - a line is JSON anyway
    """Print the items of a table of STORE, a line an item, in the order of their keys.

    Items are printed as applications wrote them; deleted ones are left out. All are of one moment,
    also while a replication goes on.
    """
    line = _LINES[output_format]
    with contextlib.closing(open_store(store, must_exist=True)) as opened, opened.view() as view:
        live = view.generations()
        if not any(table in generation.tables for generation in live):
            raise no_table(store, table, live)
        out = stdout()
        lines: list[bytes] = []
        for _, row in view.scan(table):
            if row.data is None:
                continue
            lines.append(line(row.data))
            if len(lines) == _BATCH_ITEMS:
                out.write(json_lines(b"\n".join([*lines, b""])))
                lines.clear()
        out.write(json_lines(b"\n".join([*lines, b""])))


def _plain_line(data: bytes) -> bytes:
    return encode_json(plain(decode_value(data)))


_LINES: dict[str, Callable[[bytes], bytes]] = {"plain": _plain_line, "dynamodb": typed_item_text}
