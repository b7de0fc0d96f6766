"""``binlog diff``: what changed between two moments, per key and attribute."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click
import msgspec

from appliers.poison import readable_key
from binlog.address import LOG_SCHEMES, parse_address
from binlog.cli.announced import open_with_archive
from binlog.cli.options import (
    Bound,
    BoundType,
    archive_option,
    format_option,
    format_time,
)
from binlog.cli.output import json_lines, json_option, note, stdout, write_table, write_text
from binlog.cli.parked import shortened
from binlog.cli.progress import progress
from binlog.cli.rebuild_options import beginning
from binlog.cli.replay import load_rules, open_bases, rules_option
from binlog.cli.verb import Verb
from binlog.fields import check_table
from binlog.json_values import encode_json, plain, typed, typed_item
from binlog.values import decode_value
from snapshots.diff import Attribute, Change, LogDiff, diff_stores
from snapshots.folding import Progress, Wanted
from snapshots.touches import Cause

_ROWS_MAX = 500  # of a table on a terminal; a pipe and --json have all
_CAUSES_SHOWN = 3

without_option = click.option(
    "--exclude",
    "excluded",
    multiple=True,
    metavar="RULE",
    help="Of a log: without these events, as binlog rebuild has them. May be repeated.",
)

start_option = click.option(
    "--snapshots",
    metavar="URL",
    envvar="BINLOG_SNAPSHOTS",
    show_envvar=True,
    help="Of a log: begin at the nearest snapshot at or before the first moment, file:DIR or"
    " s3://BUCKET/PREFIX.",
)

Form = Callable[[Any], Any]
VALUES: dict[str, Form] = {"plain": plain, "dynamodb": typed}
KEYS: dict[str, Form] = {"plain": plain, "dynamodb": typed_item}


@click.command(
    cls=Verb,
    examples="""
    binlog diff sqlite:yesterday.db sqlite:today.db
    binlog diff sqlite:before.db dynamodb://live --table orders --json
    binlog diff file:log --at 2026-01-31T12:00:00Z --at 2026-01-31T13:00:00Z
    binlog diff file:log --at '{"0": 120, "3": 7}' --at end --appliers shop.rules:appliers
    """,
)
@click.argument("log", metavar="LOG|STORE")
@click.argument("other", metavar="[STORE]", required=False)
@click.option(
    "--at",
    "moments",
    multiple=True,
    type=BoundType(times=True),
    metavar="V|TIME",
    help="Of a log, twice: the two moments, vectors or times of arrival, the earlier one first.",
)
@click.option(
    "--table", "tables", multiple=True, metavar="T", help="Only this table; may be repeated."
)
@without_option
@archive_option
@start_option
@rules_option
@click.option(
    "--touched",
    is_flag=True,
    help="List also what events touched and left as it was.",
)
@format_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    log: str,
    other: str | None,
    moments: tuple[Bound, ...],
    tables: tuple[str, ...],
    excluded: tuple[str, ...],
    archive: str | None,
    snapshots: str | None,
    appliers: str | None,
    touched: bool,
    output_format: str,
    as_json: bool,
) -> None:
    """Tell what changed between two moments of a LOG, or between two stores.

    Two stores of one log may be at any vectors, and made without different events: each key whose
    item differs is told, with the attributes that do and the version of either. Of a log with two
    --at the events are told as well that touched the item in between. Exit status 1 if anything
    changed, as diff(1) has it.

    An item that was written and holds what it held has not changed; nor does a tombstone differ from
    nothing. With --json a line a key: left is what was, right what is, and what is not there is left
    out.
    """
    for table in tables:
        check_table(table)
    counts: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        if other is not None:
            if moments or excluded or appliers:
                option = "--at" if moments else "--exclude" if excluded else "--appliers"
                raise click.UsageError(f"{option} goes with one LOG, and here are two stores")
            changes = _of_stores(stack, log, other, tables)
        else:
            if parse_address(log).scheme not in LOG_SCHEMES:
                raise click.UsageError(f"{log} is a store: name another one beside it")
            if len(moments) != 2:
                raise click.UsageError("give --at twice: from when, and to when")
            wanted = Wanted(
                tables=tuple(sorted(set(tables))) or None,
                rules=load_rules(appliers),
                excluded=excluded,
            )
            changes = _of_log(stack, log, archive, snapshots, moments, wanted)
        told = _counted(changes, counts, touched=touched)
        if as_json:
            out = stdout()
            for change in told:
                document = change_document(change, output_format)
                out.write(json_lines(encode_json(document) + b"\n"))
        else:
            _write_text(told, counts, output_format)
    if counts.total() - counts["touched"]:
        context.exit(1)


def _of_stores(
    stack: contextlib.ExitStack, left: str, right: str, tables: tuple[str, ...]
) -> Iterator[Change]:
    from appliers.address import open_store

    views = []
    for address in (left, right):
        store = stack.enter_context(contextlib.closing(open_store(address, must_exist=True)))
        views.append(stack.enter_context(store.view()))
        for generation in views[-1].generations():
            if generation.excluded:
                names = ", ".join(generation.tables) or "every table"
                note(f"binlog: {address}: {names} without {', '.join(generation.excluded)}")
    return diff_stores(views[0], views[1], tables=tuple(sorted(set(tables))) or None)


def _of_log(
    stack: contextlib.ExitStack,
    address: str,
    archive: str | None,
    snapshots: str | None,
    moments: tuple[Bound, ...],
    wanted: Wanted,
) -> Iterator[Change]:
    log = stack.enter_context(contextlib.closing(open_with_archive(address, archive)))
    first, second = (moment.target(log.params) for moment in moments)
    bases = open_bases(log, snapshots, stack)
    wanted = msgspec.structs.replace(wanted, target=first, poison="park", bases=bases)
    begin = beginning(log, snapshots, wanted, start=None, stack=stack)
    base = None if begin is None else begin.base
    whole = log.size_bytes()
    with progress("folding") as show:

        def advance(now: Progress) -> None:
            show(now.events, fraction=min(1.0, now.log_bytes / whole) if whole else None)

        changes = iter(LogDiff(log, first, second, wanted, base=base, progress=advance))
        head = next(changes, None)  # all is folded by now, and the bar goes before the answer comes
    if head is not None:
        yield head
        yield from changes


def _counted(changes: Iterable[Change], counts: Counter[str], *, touched: bool) -> Iterator[Change]:
    for change in changes:
        kind = change.kind
        counts[kind] += 1
        if touched or kind != "touched":
            yield change


def change_document(change: Change, form: str) -> dict[str, Any]:
    """A change as JSON. Version 0: nothing stands under the key."""
    document: dict[str, Any] = {
        "table": change.table,
        "key": KEYS[form](decode_value(change.key)),
        "partition": change.partition,
        "change": change.kind,
        "left_version": change.left.version if change.left else 0,
        "right_version": change.right.version if change.right else 0,
        "attributes": {each.name: _sides(each, VALUES[form]) for each in change.attributes},
    }
    for side, row in (("left", change.left), ("right", change.right)):
        if row is not None and row.parked:
            document[f"{side}_tail"] = row.tail
    if change.events:
        document["events"] = [cause_document(cause) for cause in change.events]
    return document


def _sides(attribute: Attribute, form: Form) -> dict[str, Any]:
    sides = {"left": attribute.left, "right": attribute.right}
    return {side: form(decode_value(data)) for side, data in sides.items() if data is not None}


def cause_document(cause: Cause) -> dict[str, Any]:
    """An event as JSON, without what it holds; a snapshot in an event's stead is a place alone."""
    if not cause.type:
        return {"partition": cause.partition, "offset": cause.offset}
    return {
        "partition": cause.partition,
        "offset": cause.offset,
        "id": cause.id,
        "type": cause.type,
        "time": format_time(cause.time_ms),
        "arrival": format_time(cause.arrival_ms),
        "session": cause.session,
        "number": cause.number,
    }


# -- for people ------------------------------------------------------------------------------------


def _write_text(changes: Iterator[Change], counts: Counter[str], form: str) -> None:
    if is_terminal():
        rows: list[tuple[object, ...]] = []
        more = 0
        for change in changes:
            if len(rows) < _ROWS_MAX:
                rows += _table_rows(change, form)
            else:
                more += 1
        if rows:
            write_table(("change", "table", "key", "attribute", "was", "is", "by"), rows)
            write_text("")
        if more:
            write_text(f"and {more:,} more keys: a pipe, or --json, has all of them", "")
    else:
        for change in changes:
            write_text(*_lines(change, form))
    touched = counts.pop("touched", 0)
    total = counts.total()
    parts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    line = f"{total:,} {'key' if total == 1 else 'keys'} changed: {parts}" if total else "no change"
    held = "holds what it" if touched == 1 else "hold what they"
    write_text(line + (f"; {touched:,} touched, which {held} held" if touched else ""))
    counts["touched"] = touched


def is_terminal() -> bool:
    """Whether a person reads it."""
    return sys.stdout.isatty()


def _table_rows(change: Change, form: str) -> list[tuple[object, ...]]:
    head = (change.kind, change.table, shortened(readable_key(change.key)[1]))
    by = shortened(_by(change))
    rows = [
        (each.name, shortened(_shown(each.left, form)), shortened(_shown(each.right, form)))
        for each in change.attributes
    ] or [("", "", "")]
    return [
        (*(head if number == 0 else ("", "", "")), *cells, by if number == 0 else "")
        for number, cells in enumerate(rows)
    ]


def _lines(change: Change, form: str) -> Iterator[str]:
    versions = [0 if row is None else row.version for row in (change.left, change.right)]
    key = readable_key(change.key)[1]
    place = f"partition {change.partition}, version {versions[0]} -> {versions[1]}"
    yield f"{change.kind} {change.table} {key}  {place}"
    for each in change.attributes:
        yield f"  {each.name}: {_shown(each.left, form)} -> {_shown(each.right, form)}"
    for cause in change.events:
        yield f"  by {_event(cause)}"


def _shown(data: bytes | None, form: str) -> str:
    return "-" if data is None else encode_json(VALUES[form](decode_value(data))).decode()


def _by(change: Change) -> str:
    if not change.events:
        return f"version {change.right.version if change.right else 0}"
    few = [f"{each.type} {each.partition}:{each.offset}" for each in change.events[-_CAUSES_SHOWN:]]
    more = len(change.events) - len(few)
    return f"{', '.join(few)}{f' and {more:,} before' if more else ''}"


def _event(cause: Cause) -> str:
    return (
        f"partition {cause.partition} offset {cause.offset}  {format_time(cause.arrival_ms)}"
        f"  {cause.type}  id {cause.id}  session {cause.session}"
    )
