"""``binlog dump``: the items of a table, or the foreign records that a store keeps."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable

import click
import msgspec

from appliers.address import open_store
from appliers.stores.generations import no_table
from binlog.cli.options import format_option, format_time, store_argument
from binlog.cli.output import json_lines, json_option, stdout
from binlog.cli.verb import Verb
from binlog.foreign import Foreign
from binlog.json_values import encode_json, plain, typed_item_text
from binlog.values import decode_value

_BATCH_ITEMS = 500


@click.command(
    cls=Verb,
    examples="""
    binlog dump sqlite:replica.db --table orders
    binlog dump sqlite:replica.db --table orders --format dynamodb > orders.jsonl
    binlog dump sqlite:replica.db --foreign
    """,
)
@store_argument()
@click.option("--table", metavar="T", help="The table, as the log names it.")
@click.option(
    "--foreign",
    is_flag=True,
    help="Instead of a table: the records of the stream that no producer of ours wrote and nobody"
    " has relayed, each as JSON with its data in base64.",
)
@format_option
@json_option
def command(
    *,
    store: str,
    table: str | None,
    foreign: bool,
    output_format: str,
    as_json: bool,  # noqa: ARG001 - a line is JSON anyway
) -> None:
    """Print the items of a table of STORE, a line an item, in the order of their keys.

    Items are printed as applications wrote them; deleted ones are left out. All are of one moment,
    also while a replication goes on.
    """
    if (table is None) is not foreign:
        raise click.UsageError("give --table T, or --foreign")
    line = _LINES[output_format]
    with contextlib.closing(open_store(store, must_exist=True)) as opened, opened.view() as view:
        if table is None:
            for record in view.foreign():
                stdout().write(json_lines(_foreign_line(record) + b"\n"))
            return
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


def _foreign_line(record: Foreign) -> bytes:
    return msgspec.json.encode(
        {
            "shard": record.shard,
            "sequence": str(record.sequence),  # up to 56 digits, which few JSON readers keep
            "partition_key": record.partition_key,
            "arrival": format_time(record.arrival_ms),
            "data": base64.b64encode(record.data).decode(),
        }
    )


def _plain_line(data: bytes) -> bytes:
    return encode_json(plain(decode_value(data)))


_LINES: dict[str, Callable[[bytes], bytes]] = {"plain": _plain_line, "dynamodb": typed_item_text}
