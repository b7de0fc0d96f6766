"""``binlog blame``: the events that made an item what it is."""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import Any

import click
import msgspec

from appliers.address import open_store
from appliers.item import Row
from appliers.poison import readable_key
from appliers.store import Reader, vector_of
from appliers.stores.generations import no_table
from binlog.address import LOG_SCHEMES, parse_address
from binlog.cli.announced import open_with_archive
from binlog.cli.diff import KEYS, VALUES, Form, cause_document, without_option
from binlog.cli.options import (
    Bound,
    BoundType,
    archive_option,
    format_option,
    format_time,
    item_key,
    snapshots_option,
)
from binlog.cli.output import json_lines, json_option, note, stdout, write_table, write_text
from binlog.cli.parked import shortened
from binlog.cli.progress import progress
from binlog.cli.rebuild_options import beginning
from binlog.cli.replay import load_rules, open_bases, rules_option
from binlog.cli.verb import Verb
from binlog.errors import TrimmedError
from binlog.fields import check_table
from binlog.json_values import encode_json
from binlog.log import Log
from binlog.target import Target
from binlog.values import decode_value
from snapshots.base import Base
from snapshots.blame import Blame, Told
from snapshots.counterpart import check_rules, check_same_log
from snapshots.folding import Progress, Wanted
from snapshots.starting import check_beginning
from snapshots.touches import Cause

_EVENTS_SHOWN = 50
_MEMORY_BYTES = 8 * 1024 * 1024  # of a document; what is longer waits on the disk


@click.command(
    cls=Verb,
    examples="""
    binlog blame file:log --table users --key '{"id": "ann"}'
    binlog blame file:log --table users --key '{"id": "ann"}' --attr email --json
    binlog blame file:log --table users --key '{"id": "ann"}' --until 2026-01-31T12:00:00Z
    binlog blame sqlite:replica.db --log file:log --table users --key '{"id": "ann"}'
    """,
)
@click.argument("other", metavar="LOG|STORE")
@click.option("--log", metavar="LOG", help="The log that STORE was made from.")
@click.option("--table", required=True, metavar="T", help="The item's table.")
@click.option(
    "--key",
    required=True,
    metavar="JSON",
    callback=item_key,
    help="""The item's key, '{"id": "ann"}'.""",
)
@click.option(
    "--attr",
    "attributes",
    multiple=True,
    metavar="A",
    help="Only what wrote or changed this attribute, and what changed nothing; may be repeated.",
)
@click.option(
    "--until",
    type=BoundType(times=True),
    metavar="V|TIME",
    default="end",
    show_default=True,
    help="Up to this vector or moment of arrival, inclusive; of a STORE, what it has.",
)
@without_option
@archive_option
@snapshots_option
@rules_option
@click.option("--all", "all_", is_flag=True, help=f"All events, not the last {_EVENTS_SHOWN}.")
@format_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    other: str,
    log: str | None,
    table: str,
    key: bytes,
    attributes: tuple[str, ...],
    until: Bound,
    excluded: tuple[str, ...],
    archive: str | None,
    snapshots: str | None,
    appliers: str | None,
    all_: bool,
    output_format: str,
    as_json: bool,
) -> None:
    """List the events that made an item of LOG, or of STORE and the log that it was made from.

    Of each attribute two events are named: the one since which it has its value, and the last that
    wrote it, the same value perhaps. Then the events of the item, in the order of the log, and what
    became of each: applied, or excluded, rejected, parked, waiting; dropped as a duplicate, or
    because it came too late. Of a STORE it is up to the store's vector, without what it leaves out.
    Where LOG has forgotten its beginning it begins in the --archive, or else with the item as the
    nearest of the --snapshots has it.

    Exit status 1 if no event made such an item, or if the STORE holds another one than its events
    make.
    """
    check_table(table)
    is_log = parse_address(other).scheme in LOG_SCHEMES
    if is_log and log is not None:
        raise click.UsageError(f"--log goes with a STORE, and {other} is a log")
    if not is_log:
        if log is None:
            raise click.UsageError("a store keeps items, not their events: --log LOG has them")
        if excluded or until != Bound():
            raise click.UsageError("--exclude and --until go with a LOG: a store has its own")
    rules = load_rules(appliers)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(contextlib.closing(open_with_archive(log or other, archive)))
        wanted = Wanted(
            rules=rules,
            target=until.target(opened.params),
            excluded=excluded,
            bases=open_bases(opened, snapshots, stack),
        )
        stored: Row | None = None
        if not is_log:
            store = stack.enter_context(contextlib.closing(open_store(other, must_exist=True)))
            view = stack.enter_context(store.view())
            wanted, stored = _as_stored(opened, view, wanted, table, key)
        blame = Blame(opened, table, key, wanted, base=_base(opened, snapshots, wanted, stack))
        kept = _chosen(_told(opened, blame), attributes)
        write = _write_json if as_json else _write_text
        count = write(blame, kept, attributes, output_format, everything=all_)
    if not count and blame.item is None:
        note(f"binlog: no event up to there made or touched such an item: {opened.name}")
        context.exit(1)
    if lacking := [name for name in attributes if name not in blame.attributes]:
        note(f"binlog: the item has no attribute {', '.join(lacking)}")
        context.exit(1)
    if not is_log and not _is_same(stored, blame.item):
        note(f"binlog: {other} holds another item than its events make: binlog verify tells more")
        context.exit(1)


def _base(
    log: Log, snapshots: str | None, wanted: Wanted, stack: contextlib.ExitStack
) -> Base | None:
    """A snapshot to begin at, where the log has forgotten its beginning; else it tells all."""
    if snapshots is None:
        return None
    try:
        check_beginning(log)
    except TrimmedError:
        begin = beginning(log, snapshots, wanted, start=None, stack=stack)
        return None if begin is None else begin.base
    return None


def _as_stored(
    log: Log, view: Reader, wanted: Wanted, table: str, key: bytes
) -> tuple[Wanted, Row | None]:
    """What the store says of the item, and of how its table was made."""
    check_same_log(log, view)
    live = view.generations()
    for generation in live:
        if table in generation.tables:
            check_rules([generation], wanted.rules, view.name)
            target = Target(vector=vector_of(view.checkpoints(generation.id)))
            wanted = msgspec.structs.replace(wanted, target=target, excluded=generation.excluded)
            return wanted, view.read(generation.id, table, [key]).get(key)
    raise no_table(view.name, table, live)


def _told(log: Log, blame: Blame) -> Iterator[Told]:
    """The events; the bar goes when they end, before the answer comes."""
    whole = log.size_bytes()
    with progress("reading") as show:

        def advance(now: Progress) -> None:
            show(now.events, fraction=min(1.0, now.log_bytes / whole) if whole else None)

        blame.progress = advance
        yield from blame.events()


def _chosen(events: Iterator[Told], attributes: tuple[str, ...]) -> Iterator[Told]:
    """Those that have to do with the attributes; what changed nothing may have been meant to."""
    for told in events:
        if (
            not attributes
            or told.outcome != "applied"
            or told.deleted
            or not {*told.values, *told.written}.isdisjoint(attributes)
        ):
            yield told


def _is_same(stored: Row | None, made: Row | None) -> bool:
    if stored is None or made is None:
        return stored is made
    return msgspec.structs.replace(stored, partition=made.partition) == made


# -- JSON ------------------------------------------------------------------------------------------


def _write_json(
    blame: Blame,
    events: Iterator[Told],
    attributes: tuple[str, ...],
    form: str,
    *,
    everything: bool,  # noqa: ARG001  a document has all
) -> int:
    """The document, known to be whole before its first byte; how many events it has."""
    count = 0
    with SpooledTemporaryFile(_MEMORY_BYTES) as body:
        for count, told in enumerate(events, 1):
            body.write(b"," if count > 1 else b"")
            body.write(json_lines(encode_json(told_document(told, VALUES[form]))))
        head = encode_json(_item_document(blame, attributes, form))
        out = stdout()
        out.write(json_lines(head[:-1]) + b',"events":[')
        body.seek(0)
        shutil.copyfileobj(body, out)
        out.write(b"]}\n")
    return count


def _item_document(blame: Blame, attributes: tuple[str, ...], form: str) -> dict[str, Any]:
    row, value = blame.item, VALUES[form]
    item = None if row is None or row.data is None else decode_value(row.data)
    return {
        "table": blame.table,
        "key": KEYS[form](decode_value(blame.key)),
        "partition": blame.partitions[0] if len(blame.partitions) == 1 else None,
        "version": 0 if row is None else row.version,
        "item": None if item is None else KEYS[form](item),
        "tail": row.tail if row is not None and row.parked else None,
        "attributes": {
            name: {
                "value": value(decode_value(origin.value)),
                "since": cause_document(origin.since),
                "writer": cause_document(origin.writer),
            }
            for name, origin in blame.attributes.items()
            if not attributes or name in attributes
        },
    }


def told_document(told: Told, form: Form) -> dict[str, Any]:
    """An event and what came of it. The offset of one that the log's readers drop is null."""
    document = {**cause_document(told.cause), "outcome": told.outcome}
    if not told.cause.offset:
        document["offset"] = None
    if told.detail:
        document["detail"] = told.detail
    document["set"] = {
        name: form(decode_value(data)) for name, data in told.values.items() if data is not None
    }
    document["removed"] = [name for name, data in told.values.items() if data is None]
    document["deleted"] = told.deleted
    return document


# -- for people ------------------------------------------------------------------------------------


def _write_text(
    blame: Blame,
    events: Iterator[Told],
    attributes: tuple[str, ...],
    form: str,
    *,
    everything: bool,
) -> int:
    kept: deque[Told] = deque(maxlen=None if everything else _EVENTS_SHOWN)
    count = 0
    for told in events:
        count += 1
        kept.append(told)
    if not count:
        return 0
    row = blame.item
    where = f"{blame.table} {readable_key(blame.key)[1]}"
    if row is None:
        write_text(f"{where}: nothing", "")
    else:
        marks = "" if row.data is not None else ", deleted"
        marks += f", parked up to offset {row.tail}" if row.parked else ""
        write_text(f"{where}: partition {row.partition}, version {row.version}{marks}", "")
    shown = [
        (
            name,
            shortened(_text(origin.value, form)),
            *_cells(origin.since),
            "" if origin.writer == origin.since else f"again by offset {origin.writer.offset}",
        )
        for name, origin in blame.attributes.items()
        if not attributes or name in attributes
    ]
    if shown:
        write_table(("attribute", "value", "offset", "arrival", "type", "id", "written"), shown)
        write_text("")
    if count > len(kept):
        write_text(f"the last {len(kept):,} of {count:,} events (--all):")
    write_table(
        ("offset", "arrival", "type", "id", "session", "outcome", "what"),
        [
            (*_cells(told.cause), told.cause.session, told.outcome, _what(told, form))
            for told in kept
        ],
    )
    return count


def _cells(cause: Cause) -> tuple[object, ...]:
    if not cause.type:
        return cause.offset, "-", "snapshot", "-"
    return cause.offset or "-", format_time(cause.arrival_ms), cause.type, cause.id


def _what(told: Told, form: str) -> str:
    if told.detail:
        return shortened(told.detail)
    if told.deleted:
        return "the item is gone" if told.values else "nothing was there"
    changes = [
        name if data is None else f"{name}={_text(data, form)}"
        for name, data in told.values.items()
    ]
    gone = [name for name, data in told.values.items() if data is None]
    shown = ", ".join(c for c in changes if c not in gone)
    shown += f"{'; ' if shown else ''}without {', '.join(gone)}" if gone else ""
    return shortened(shown or "as it was")


def _text(data: bytes, form: str) -> str:
    return encode_json(VALUES[form](decode_value(data))).decode()
