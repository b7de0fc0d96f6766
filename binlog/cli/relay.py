"""``binlog relay``: bring records of another stream, or foreign ones, in as events."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Literal

import click

from binlog.cli.announced import open_with_archive
from binlog.cli.options import archive_option, line_options
from binlog.cli.output import json_option, note, write_json, write_text
from binlog.cli.progress import progress
from binlog.cli.replicate import stopped_by_signals
from binlog.cli.verb import Verb


@click.command(
    cls=Verb,
    role="relay",
    examples="""
    binlog relay kinesis://orders kinesis://orders --once --format raw --type Sample
    binlog relay kinesis://clicks file:log --format json --type Click
    binlog relay kinesis://changes file:log --table users --key id --on-error keep
    binlog relay kinesis://orders kinesis://orders --archive s3://kept/orders
    binlog relay kinesis://users-changes kinesis://shop --format changes --table users --follow
    binlog relay file:old file:new --once --json
    """,
)
@click.argument("inbox", metavar="INBOX")
@click.argument("log", metavar="LOG")
@archive_option
@line_options
@click.option(
    "--format",
    "payload",
    type=click.Choice(["actions", "items", "dynamodb", "json", "raw", "changes"]),
    default="actions",
    show_default=True,
    help="What a record holds. actions, items, dynamodb: lines as binlog append takes them; json:"
    " a JSON value, and raw: bytes, that become the data of an event of --type; changes: what DynamoDB"
    " itself writes about --table.",
)
@click.option("--type", "event_type", metavar="T", help="The events' type, for json and raw.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "keep"]),
    default="stop",
    show_default=True,
    help="At a record that is no event. stop: end before it; keep: put it whole into LOG as a"
    " control record (binlog cat --control) and go on.",
)
@click.option(
    "--once/--follow",
    default=True,
    show_default=True,
    help="End when all is relayed that is there, or go on with what comes.",
)
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Go on with what is there, where INBOX has forgotten records that were not relayed.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    inbox: str,
    log: str,
    archive: str | None,
    table: str | None,
    keys: tuple[str, ...] | None,
    payload: Any,
    event_type: str | None,
    on_error: Literal["stop", "keep"],
    once: bool,
    accept_loss: bool,
    as_json: bool,
) -> None:
    """Publish the records of INBOX in LOG, each exactly once.

    INBOX is a stream of records that others write (kinesis://STREAM); or LOG itself, whose foreign
    records it then is; or another log, of which every event is relayed as it is. An event's id is
    relay/SHARD/SEQUENCE of its record.

    The relay keeps no state: what was relayed it reads in LOG, so it may be killed at any time and
    started again, and a second one by mistake does no harm. There is no order between what is
    relayed and what others append to LOG. Exit status 1 if a record was kept as no event.
    """
    from binlog.relay import Relay, make_convert
    from binlog.relay.opening import open_inbox

    convert = make_convert(payload=payload, table=table, key_names=keys, event_type=event_type)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(contextlib.closing(open_with_archive(log, archive)))
        source = stack.enter_context(
            contextlib.closing(open_inbox(inbox, opened, accept_loss=accept_loss))
        )
        relay = Relay(source, opened, convert, on_error=on_error)
        stop = stack.enter_context(stopped_by_signals())
        show = stack.enter_context(progress("relaying"))
        report = relay.run(once=once, stop=stop, progress=show)
    seconds = round(time.monotonic() - began, 3)
    if as_json:
        write_json(
            {
                "records": report.records,
                "events": report.events,
                "present": report.present,
                "unreadable": report.unreadable,
                "seconds": seconds,
            }
        )
    else:
        write_text(
            f"{report.events:,} event{'s' * (report.events != 1)} of {report.records:,}"
            f" record{'s' * (report.records != 1)} relayed in {seconds:.1f} s"
            + (f"; {report.present:,} were there before" if report.present else "")
        )
    if report.unreadable:
        note(
            f"binlog: {report.unreadable:,} records that are no events: {inbox}: kept in {log},"
            " see `binlog cat --control --type binlog.relay`"
        )
        context.exit(1)
