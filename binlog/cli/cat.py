"""``binlog cat``: the events of a log as every reader numbers them."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import click

from binlog.cli.announced import open_with_archive
from binlog.cli.errors import one_line
from binlog.cli.options import (
    Bound,
    BoundType,
    appliers_option,
    archive_option,
    format_option,
    format_time,
    item_key,
    log_argument,
)
from binlog.cli.output import json_lines, json_option, stdout
from binlog.cli.verb import Verb
from binlog.envelope import CONTROL_PREFIX, UPDATE_ITEM, Event
from binlog.errors import DamageError
from binlog.events import event_at
from binlog.json_values import encode_json, plain, typed_any, typed_item
from binlog.log import Log
from binlog.ordered import OrderedRuns
from binlog.params import Params, check_partition
from binlog.partition import ordering_key, partition_of
from binlog.reader import Reader
from binlog.run import Run
from binlog.schema import NO_SCHEMAS, Schemas
from binlog.target import Target, check_within
from binlog.vector import Vector

FOLLOW_S = 1.0


@click.command(
    cls=Verb,
    examples="""
    binlog cat file:log
    binlog cat file:log --table users --key '{"id": "ann"}' --json
    binlog cat file:log --partition 17 --after '{"17": 1000}' --json
    binlog cat file:log --through 2026-01-31T12:00:00Z
    binlog cat kinesis://orders --archive s3://kept/orders --key '{"id": "ann"}' --table users
    binlog cat file:log --follow --type OrderPlaced --appliers shop.rules:appliers
    """,
)
@log_argument
@archive_option
@click.option("--table", metavar="T", help="Only events of this table.")
@click.option(
    "--key", metavar="JSON", callback=item_key, help="""Only of this key, '{"id": "ann"}'."""
)
@click.option("--partition", type=click.IntRange(min=0), metavar="N", help="Only this partition.")
@click.option("--type", "event_type", metavar="T", help="Only this type, such as PutItem.")
@click.option(
    "--after", type=BoundType(times=False), metavar="V", help="Only after this vector, exclusive."
)
@click.option(
    "--through",
    type=BoundType(times=True),
    metavar="V|TIME",
    default="end",
    help="Only up to this vector or moment of arrival, inclusive.",
)
@click.option("--follow", is_flag=True, help="Go on with new events as they arrive.")
@click.option("--control", is_flag=True, help="Show the log's own records as well.")
@appliers_option
@format_option
@json_option
def command(
    *,
    log: str,
    archive: str | None,
    table: str | None,
    key: bytes | None,
    partition: int | None,
    event_type: str | None,
    after: Bound | None,
    through: Bound,
    follow: bool,
    control: bool,
    appliers: str | None,
    output_format: str,
    as_json: bool,
) -> None:
    """Print the events of LOG, partition by partition, in the order of their offsets.

    A vector V is JSON such as '{"0": 12}', in which a partition that is left out stands at 0;
    or @FILE; or end. With --follow, new events are printed as they arrive.
    """
    schemas = _load_schemas(appliers)
    with contextlib.closing(open_with_archive(log, archive)) as opened:
        params = opened.params
        chosen = Selection(
            table=table,
            key=key,
            event_type=event_type,
            control=control,
            after=(after.vector(params) if after else None) or {},
        )
        partitions = _partitions(params, partition, table, key)
        target = through.target(params)
        form = _json_line if as_json else _text_line
        printer = Printer(chosen, schemas, params.timeline, _FORMATS[output_format], form)
        runs = OrderedRuns(opened, partitions=partitions, target=target)
        from_end = after is not None and after.vector_json is None
        for run in runs:
            if not from_end:
                printer.print(run)
        printer.flush()
        if follow:
            runs.raise_stops()
            _follow(opened, runs, target, printer)
        else:
            runs.finish()
            check_within(opened, chosen.after, runs.vector, partitions, what="--after")


def _load_schemas(appliers: str | None) -> Schemas:
    if appliers is None:
        return NO_SCHEMAS
    from appliers.loading import load_rules

    return load_rules(appliers).schemas


def _partitions(
    params: Params, partition: int | None, table: str | None, key: bytes | None
) -> list[int]:
    """Those that can hold what is asked for: an event's table and key say where it is."""
    wanted = range(params.partitions)
    if partition is not None:
        wanted = range(check_partition(partition, params), partition + 1)
    if table is not None and key is not None:
        home = partition_of(ordering_key(table, key), params.partitions)
        return [home] if home in wanted else []
    return list(wanted)


def _follow(log: Log, runs: OrderedRuns, target: Target, printer: Printer) -> None:
    """Print what arrives after ``runs``, until the target is reached or somebody stops us."""
    reader = Reader(log, partitions=runs.partitions, starts=runs.starts, target=target)
    wanted = target.vector
    while wanted is None or any(reader.vector().get(p, 0) < n for p, n in wanted.items()):
        # Before the read: a moment that had passed by then is reached when nothing comes.
        past = target.time_ms is not None and log.now_ms() > target.time_ms
        found = reader.read(wait_s=FOLLOW_S)
        for run in found or ():
            printer.print(run)
        printer.flush()
        reader.raise_halts()
        if found is None and past:
            return


class Selection:
    """Which events to print, decided from the columns before anything is decoded."""

    def __init__(
        self,
        *,
        table: str | None,
        key: bytes | None,
        event_type: str | None,
        control: bool,
        after: Vector,
    ) -> None:
        self.after = after
        self._table = table
        self._key = key
        self._type = event_type
        self._control = control

    def indexes(self, run: Run) -> list[int]:
        """The places in ``run`` of the events that are asked for."""
        columns = run.columns
        kinds = [self._takes(*kind) for kind in columns.kinds]
        skip = max(0, self.after.get(run.partition, 0) - run.first_offset + 1)
        key = self._key
        return [
            index
            for index in range(skip, len(columns))
            if kinds[columns.index[index]] and (key is None or columns.keys[index] == key)
        ]

    def _takes(self, event_type: str, _schema: int, table: str) -> bool:
        return (
            (self._table is None or table == self._table)
            and (self._type is None or event_type == self._type)
            and (self._control or not event_type.startswith(CONTROL_PREFIX))
        )


# -- the forms -----------------------------------------------------------------------------------

Form = Callable[[object, str], Any]
Line = Callable[[Event, Form], bytes]


def _as_plain(value: object, _event_type: str) -> Any:
    return plain(value)


def _as_typed(value: object, event_type: str) -> Any:
    """DynamoDB JSON, in the shape that ``append --format dynamodb`` reads."""
    if event_type == UPDATE_ITEM and type(value) is dict:
        return {
            section: typed_item(content) if type(content) is dict else content
            for section, content in value.items()
        }
    return typed_any(value)


_FORMATS: dict[str, Form] = {"plain": _as_plain, "dynamodb": _as_typed}


class Printer:
    """Writes the selected events of runs to standard output."""

    def __init__(
        self, selection: Selection, schemas: Schemas, timeline: int, form: Form, line: Line
    ) -> None:
        self._selection = selection
        self._schemas = schemas
        self._timeline = timeline
        self._form = form
        self._line = line
        self._out = stdout()

    def print(self, run: Run) -> None:
        form, line = self._form, self._line
        lines = []
        try:
            for index in self._selection.indexes(run):
                event = event_at(run, index, self._schemas, timeline=self._timeline)
                try:
                    lines.append(line(event, form))
                except (AttributeError, TypeError, RecursionError) as error:
                    raise DamageError(
                        f"what no item can hold ({error})",
                        f"partition {event.partition}, offset {event.offset}",
                        "no producer of ours wrote it",
                    ) from error
        finally:  # what lies before an event that cannot be shown is shown
            self._out.write(b"".join(lines))

    def flush(self) -> None:
        self._out.flush()


def _json_line(event: Event, form: Form) -> bytes:
    document = {
        "partition": event.partition,
        "offset": event.offset,
        "version": event.version,
        "id": event.id,
        "type": event.type,
        "schema": event.schema,
        "table": event.table or None,
        "key": form(event.key, ""),
        "time": format_time(event.time_ms),
        "arrival": format_time(event.arrival_ms),
        "data": None if event.data is None else form(event.data, event.type),
        "meta": None if event.meta is None else form(event.meta, ""),
        "session": event.session,
        "number": event.number,
    }
    return json_lines(encode_json(document) + b"\n")


def _text_line(event: Event, form: Form) -> bytes:
    fields = [
        f"{event.partition:>4} {event.offset:>8}",
        format_time(event.arrival_ms),
        f"{event.type:<10}",
        event.table or "-",
        encode_json(form(event.key, "")).decode(),
    ]
    if event.expect is not None:
        fields.append(f"expect {event.expect}")
    if event.data is not None:
        fields.append(encode_json(form(event.data, event.type)).decode())
    line = one_line("  ".join(fields))
    width = _terminal_width()
    if width is not None and len(line) > width:
        line = line[: width - 1] + "…"  # whole with --json, and in a pipe
    return line.encode(errors="backslashreplace") + b"\n"


@cache
def _terminal_width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
