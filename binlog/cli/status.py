"""``binlog status``: how far a log is, and a store behind it, partition by partition."""

from __future__ import annotations

import contextlib
import shlex
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from binlog.cli.lag import bytes_text, duration_text, lag_document, lag_lines, runway_text
from binlog.cli.options import DurationType, archive_option, log_argument, store_argument
from binlog.cli.output import json_option, note, write_json, write_table, write_text
from binlog.cli.verb import Verb
from binlog.foreign import Place
from binlog.halt import halted_error
from consumers.lag import Lag, PartitionLag, measure

if TYPE_CHECKING:
    from appliers.store import Generation, Store

FOREIGN_SHOWN = 10  # places of foreign records that a document names
FOREIGN_TOLD = 2  # and a line for people: one has 78 characters


@click.command(
    cls=Verb,
    examples="""
    binlog status file:log
    binlog status file:log sqlite:replica.db
    binlog status file:log sqlite:replica.db --json
    binlog status kinesis://orders dynamodb://copy --over 30s
    """,
)
@log_argument
@store_argument(required=False)
@archive_option
@click.option(
    "--over",
    type=DurationType(),
    metavar="TIME",
    help="Look again after so long, to tell how fast STORE is carried forward and when it has all.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    log: str,
    store: str | None,
    archive: str | None,
    over: int | None,
    as_json: bool,
) -> None:
    """Print the offsets of LOG and, with STORE, how far the store is behind them.

    `lag_seconds` is for how long the oldest event that is not applied has been in the log, `held`
    the frames that wait for an earlier one, `parked` the keys of the store whose events wait behind
    one that could not be applied. With a store only what lies beyond its checkpoints is read. Exit
    status 1 if a key is parked, a partition is halted, the log is damaged, or records lie in it that
    no producer of ours wrote and nobody has relayed; `foreign` then tells how many, and where.

    Of a log that forgets, `runway` is what is left until the oldest event that is not applied leaves
    it: a line tells when that is less than half of what the log keeps, and the exit status is 1 when
    it is less than a quarter. Of a store, `excluded` are the rules of the events that its tables leave
    out, by table.
    """
    if over is not None and store is None:
        raise click.UsageError("--over looks twice at how far a STORE is: name one")
    from appliers.address import open_store
    from binlog.cli.announced import open_with_archive
    from consumers.pacer import read_setting

    with contextlib.ExitStack() as stack:

        @cache
        def find() -> Store:
            found = open_store(store or "", must_exist=True)
            return stack.enter_context(contextlib.closing(found))

        kept = open_with_archive(log, archive, None if store is None else find)
        opened = stack.enter_context(contextlib.closing(kept))
        replica = None if store is None else find()
        found = measure(opened, replica, over_s=(over or 0) / 1000)
        setting = read_setting(replica, store or "")
        excluded = [] if replica is None else [g for g in replica.generations() if g.excluded]
        troubles = [
            str(halted_error(halt, opened.locate(halt.position), log=shlex.quote(log)))
            for halt in found.halts
        ]
    if found.damage is not None:
        troubles.append(str(found.damage))
    if keys := sum(partition.parked for partition in found.partitions):
        waits = "a key is parked" if keys == 1 else f"{keys:,} keys are parked"
        troubles.append(f"{waits}: binlog parked {store} says which and why")
    if found.foreign:
        troubles.append(_foreign_trouble(found.foreign, log, store))
    if as_json:
        foreign = {"foreign": _foreign_document(found.foreign)} if found.foreign else {}
        lags = {} if store is None else lag_document(found, setting)
        without = {} if store is None else {"excluded": _excluded_document(excluded)}
        write_json({"partitions": found.partitions, **lags, **foreign, **without})
    else:
        _write_text(found, with_store=store is not None)
        write_text(*lag_lines(found, setting), *_excluded_lines(excluded))
    warning = runway_text(found, store or "")
    if warning is not None and found.runway == "lifted":
        troubles.append(warning)
    elif warning is not None:
        note(f"binlog: {warning}")
    for trouble in troubles:
        note(f"binlog: {trouble}")
    if troubles:
        context.exit(1)


def _write_text(found: Lag, *, with_store: bool) -> None:
    """The partitions that hold anything, the one furthest behind first, and totals."""
    halted = {halt.partition: halt.rule for halt in found.halts}
    shown = [p for p in found.partitions if p.offset or p.held or p.partition in halted]
    shown.sort(key=lambda p: (-(p.lag_events or 0), -(p.lag_seconds or 0), p.partition))
    forgets = with_store and found.retention_s is not None
    measured = any(each.events_per_second is not None for each in found.consumers)
    store_columns: tuple[str, ...] = ("applied", "behind", "bytes", "for") if with_store else ()
    store_columns += ("runway",) if forgets else ()
    store_columns += ("has all in",) if measured else ()
    write_table(
        ("partition", "offset", *store_columns, "held", "position", "state"),
        [
            (
                p.partition,
                f"{p.offset:,}",
                *(_behind(p) if with_store else ()),
                *((duration_text(p.runway_seconds or 0),) if forgets else ()),
                *((_eta(p),) if measured else ()),
                p.held or "-",
                p.position,
                f"halted: {halted[p.partition]}" if p.partition in halted else "ok",
            )
            for p in shown
        ],
    )
    events = sum(p.offset for p in found.partitions)
    line = f"{events:,} events in {len(shown)} of {len(found.partitions)} partitions"
    if with_store:
        behind = sum(p.lag_events or 0 for p in found.partitions)
        since = max((p.lag_seconds or 0 for p in found.partitions), default=0)
        line += f"; the store is {behind:,} behind" if behind else "; the store has all of them"
        line += f", for {duration_text(since)}" if behind else ""
    halts = f"; {len(halted)} halted" if halted else ""
    write_text("", line + halts)


def _excluded_document(generations: list[Generation]) -> list[dict[str, Any]]:
    """What each of them leaves out for ever. ``open``: of every table that has no other, too."""
    return [
        {"tables": each.tables, "open": each.open, "rules": each.excluded} for each in generations
    ]


def _excluded_lines(generations: list[Generation]) -> list[str]:
    lines = []
    for each in generations:
        names = [*each.tables, *(["any table to come"] if each.open else [])]
        lines.append(f"without, in {', '.join(names)}: {', '.join(each.excluded)}")
    return lines


def _foreign_document(foreign: list[Place]) -> dict[str, Any]:
    return {
        "records": len(foreign),
        "where": [f"{shard}:{sequence}" for shard, sequence in foreign[:FOREIGN_SHOWN]],
    }


def _foreign_trouble(foreign: list[Place], log: str, store: str | None) -> str:
    places = _foreign_document(foreign)["where"][:FOREIGN_TOLD]
    more = f" and {len(foreign) - len(places):,} more" if len(foreign) > len(places) else ""
    records = "a foreign record" if len(foreign) == 1 else f"{len(foreign):,} foreign records"
    see = f"`binlog dump {store} --foreign` shows them, " if store is not None else ""
    return (
        f"{records}: {log} at {', '.join(places)}{more}:"
        f" {see}`binlog relay {log} {log}` makes events of them"
    )


def _behind(lag: PartitionLag) -> tuple[str, str, str, str]:
    size = bytes_text(lag.lag_bytes) if lag.lag_bytes else "-"
    since = duration_text(lag.lag_seconds or 0)
    return f"{lag.applied or 0:,}", f"{lag.lag_events or 0:,}", size, since


def _eta(lag: PartitionLag) -> str:
    return "never" if lag.eta_seconds is None else duration_text(lag.eta_seconds)
