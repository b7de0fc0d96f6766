"""``binlog rebuild``: tables anew from the log, in parallel, put in place in one step."""

from __future__ import annotations

import contextlib

import click

from binlog.cli.options import (
    Bound,
    BoundType,
    archive_option,
    log_argument,
    store_argument,
)
from binlog.cli.output import json_option, write_json
from binlog.cli.progress import progress
from binlog.cli.rebuild_options import (
    beginning,
    kept_work,
    load_options,
    prepare_load,
    start_document,
    start_options,
    write_plan,
    write_start,
)
from binlog.cli.replay import (
    allow_units,
    exclude_option,
    load_rules,
    max_units_option,
    open_bases,
    park_option,
    report_document,
    rules_option,
    write_report,
)
from binlog.cli.verb import Verb
from binlog.cpus import cpus


def processors() -> int:
    """How many this process may use."""
    return cpus()


@click.command(
    cls=Verb,
    role="operator",
    examples="""
    binlog rebuild file:log sqlite:replica.db
    binlog rebuild file:log sqlite:replica.db --table orders --workers 8
    binlog rebuild file:log sqlite:yesterday.db --until 2026-01-31T12:00:00Z
    binlog rebuild file:log sqlite:replica.db --exclude id=8c1f --exclude 'key=users:{"id": "ann"}'
    binlog rebuild file:log memory: --json
    binlog rebuild file:log sqlite:replica.db --snapshots file:snapshots --dry-run
    binlog rebuild kinesis://orders dynamodb://copy --snapshots s3://backups/orders --rate 2000
    binlog rebuild file:log sqlite:replica.db --appliers shop.rules:appliers
    """,
)
@log_argument
@store_argument()
@archive_option
@click.option(
    "--table", "tables", multiple=True, metavar="T", help="Only this table; may be repeated."
)
@click.option(
    "--until",
    type=BoundType(times=True),
    metavar="V|TIME",
    default="end",
    show_default=True,
    help="Up to this vector or moment of arrival, inclusive. '{}' makes the tables empty; another that"
    " is before the first event is refused where the store holds something.",
)
@exclude_option
@park_option
@max_units_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=processors,
    show_default="processors",
    metavar="N",
    help="Processes that share the partitions.",
)
@start_options
@load_options
@rules_option
@json_option
def command(
    *,
    log: str,
    store: str,
    archive: str | None,
    tables: tuple[str, ...],
    until: Bound,
    excluded: tuple[str, ...],
    park: bool,
    max_units: int | None,
    workers: int,
    snapshots: str | None,
    start: str | None,
    work: str | None,
    dry_run: bool,
    rate: float | None,
    import_from: str | None,
    appliers: str | None,
    as_json: bool,
) -> None:
    """Rebuild tables of STORE from LOG; without --table, all of them.

    It begins at the nearest snapshot of --snapshots that fits, at or before the target, or at the
    log's beginning; --dry-run tells at which, and why at no other.

    The tables are replaced in one step at the end. Until then readers see what was there before,
    and that stays if the rebuild fails or is killed. An event that cannot be applied stops it with
    status 3, naming the event and the --exclude that passes it, unless --park lets its key wait.
    """
    from appliers.address import open_store
    from appliers.summary import summarize
    from binlog.cli.announced import open_with_archive
    from binlog.fields import check_table
    from snapshots.rebuild import Progress, Wanted, plan_digest, rebuild

    rules = load_rules(appliers)
    for table in tables:
        check_table(table)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(contextlib.closing(open_with_archive(log, archive)))
        wanted = Wanted(
            tables=tuple(sorted(set(tables))) or None,
            target=until.target(opened.params),
            rules=rules,
            excluded=excluded,
            idle="allow" if until.is_nothing else "refuse",
            poison="park" if park else "stop",
            bases=open_bases(opened, snapshots, stack),
        )
        begin = beginning(opened, snapshots, wanted, start=start, stack=stack)
        if dry_run:
            write_plan(begin, as_json=as_json)
            return
        into = stack.enter_context(contextlib.closing(open_store(store)))
        allow_units(into, store, max_units)
        prepare_load(into, store, rate=rate, import_from=import_from)
        digest = "" if begin is None else begin.digest
        kept = kept_work(work, store, plan_digest(opened, wanted, start=digest), stack=stack)
        whole = opened.size_bytes()
        with progress("rebuilding") as show:

            def advance(now: Progress) -> None:
                show(now.events, fraction=now.log_bytes / whole if whole else None)

            report = rebuild(
                opened,
                into,
                wanted,
                workers=workers,
                base=None if begin is None else begin.base,
                work=kept,
                progress=advance,
            )
        summary = summarize(into)
    if as_json:
        write_json(report_document(report, summary) | start_document(begin, report=report))
    else:
        write_start(report, begin)
        write_report(report, summary, what="rebuilt from")
