"""``binlog adopt``: a table that is full becomes the log's, its items at the version of a record."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binlog.cli.adopt_output import (
    adopted_document,
    key_text,
    plan_of,
    stray_document,
    write_adopted,
    write_plan,
)
from binlog.cli.options import (
    RateType,
    absolute_address,
    archive_option,
    key_names,
    log_argument,
    store_argument,
)
from binlog.cli.output import json_option, note, write_json, write_text
from binlog.cli.progress import progress
from binlog.cli.verb import Verb
from binlog.errors import RefusedError

if TYPE_CHECKING:
    from appliers.stores.dynamodb import DynamoDBStore
    from appliers.stores.dynamodb_physical import Described, PhysicalTable
    from binlog.address import Address
    from binlog.log import Log
    from snapshots.adopt import Adopted, Adopting
    from snapshots.adopt_base import Stray
    from snapshots.adopt_sources import FileSource, Source, TableSource


@click.command(
    cls=Verb,
    role="operator",
    examples="""
    binlog adopt dynamodb://Users-2023 kinesis://shop --as users --snapshots s3://kept/shop
    binlog adopt dynamodb://Users-2023 kinesis://shop --as users --snapshots s3://kept/shop --yes
    binlog adopt dynamodb://Users-2023 kinesis://shop --snapshots s3://kept/shop --export s3://exported --yes
    binlog adopt dynamodb://Users-2023 kinesis://shop 'dynamodb://shop?tables=shop.toml' --snapshots s3://kept/shop --yes
    binlog adopt dynamodb://Users-2023 kinesis://shop --as users --snapshots s3://kept/shop --check
    binlog adopt file:users.jsonl file:log --as users --key id --snapshots file:snapshots --yes
    """,
)
@click.argument("table", metavar="TABLE")
@log_argument
@store_argument(required=False)
@click.option(
    "--snapshots",
    "snapshots_url",
    required=True,
    metavar="URL",
    help="Where the base is kept: file:DIR or s3://BUCKET/PREFIX. For as long as the log is.",
)
@click.option("--as", "name", metavar="NAME", help="What the log calls the table.")
@click.option(
    "--export",
    "export_url",
    metavar="URL",
    help="Read DynamoDB's own export of it, in the folder of its manifest-summary.json.",
)
@click.option("--scan", is_flag=True, help="Read the table itself, strongly consistent (default).")
@click.option(
    "--key",
    "key",
    metavar="ATTR[,ATTR]",
    callback=key_names,
    help="The key attributes of a file's items.",
)
@click.option(
    "--moving",
    is_flag=True,
    help="Its writers go on, and `binlog relay --format changes` brings in what they change: it is"
    " not compared. Not with STORE.",
)
@click.option("--rate", type=RateType(), metavar="N", help="Read units a second, at most.")
@click.option("--dry-run", is_flag=True, help="Say what it takes and costs; it does without --yes.")
@click.option("--yes", is_flag=True, help="Do it.")
@click.option("--check", is_flag=True, help="List what was written to the table since, by others.")
@click.option(
    "--restore",
    "restore_to",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --check: keep what was written in FILE, for binlog append, and put the base back.",
)
@archive_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    table: str,
    log: str,
    store: str | None,
    snapshots_url: str,
    name: str | None,
    export_url: str | None,
    scan: bool,
    key: tuple[str, ...] | None,
    moving: bool,
    rate: float | None,
    dry_run: bool,
    yes: bool,
    check: bool,
    restore_to: Path | None,
    archive: str | None,
    as_json: bool,
) -> None:
    """Adopt TABLE, a DynamoDB table with items in it, into LOG.

    All of it is written as a base, compared with the table again, and named by a record in every
    partition of LOG: from there on the items are the log's. Rebuilds and replicas begin with the base;
    with STORE, whose tables file declares the table as owned, the table itself goes on as the replica.
    Its writers have to be stopped until this is done, and then write to LOG. Run again it goes on where it
    was. Nothing is written without --yes.
    """
    if scan and export_url:
        raise click.UsageError("--scan, or --export")
    if dry_run and yes:
        raise click.UsageError("--dry-run, or --yes")
    if moving and store is not None:
        raise click.UsageError("--moving: no STORE goes on with a table that others write to")
    if restore_to is not None and not check:
        raise click.UsageError("--restore goes with --check")
    from binlog.address import open_log, parse_address
    from binlog.clock import SystemClock
    from binlog.objects.address import open_objects
    from snapshots.adopt import Adopting

    address = parse_address(table)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(contextlib.closing(open_log(log, archive)))
        objects = stack.enter_context(contextlib.closing(open_objects(snapshots_url)))
        into = _store(store, address, stack)
        physical, described, live = _table(address, key, rate, stack)
        called = _name(name, address, into)
        source = live if export_url is None else _export(export_url, described, stack)
        show = stack.enter_context(progress("adopting", unit="items"))
        adopting = Adopting(
            opened,
            objects,
            called,
            live,
            address=absolute_address(snapshots_url),
            clock=SystemClock(),
            show=lambda step, done: show(done, what=step),
        )
        if check:
            _check(context, adopting, called, physical, restore_to, as_json=as_json)
            return
        if into is not None:
            into.check_adoptable(called, address.path)
        plan = plan_of(
            adopting,
            opened.params.partitions,
            called,
            live,
            described,
            is_export=export_url is not None,
        )
        for other in adopting.known_as(live):
            # No refusal: another name is the way out of a first adoption that went wrong.
            note(
                f"{table} is in this log as {other} already: as {called} too, its items are there"
                " twice, and only one of the two can go on with the table in place"
            )
        if not yes:
            write_plan(plan, as_json=as_json)
            return
        adopted = adopting.run(source, moving=moving)
        if into is not None and address.scheme == "dynamodb":
            _take_over(into, opened, adopting, adopted, address.path)
        units = 0.0 if physical is None else physical.units.read
    document = adopted_document(adopted, store, units)
    if as_json:
        write_json(document)
    else:
        write_adopted(adopted, opened.name, store, units)


# -- what is named -------------------------------------------------------------------------------


def _store(store: str | None, table: Address, stack: contextlib.ExitStack) -> DynamoDBStore | None:
    if store is None:
        return None
    from appliers.address import open_store
    from appliers.stores.dynamodb import DynamoDBStore

    opened = stack.enter_context(contextlib.closing(open_store(store)))
    if not isinstance(opened, DynamoDBStore) or table.scheme != "dynamodb":
        raise RefusedError(
            "only a DynamoDB store goes on with a table in place, and only with DynamoDB's",
            store,
            "leave STORE out; then binlog rebuild LOG STORE begins it with the base",
        )
    return opened


def _table(
    address: Address, key: tuple[str, ...] | None, rate: float | None, stack: contextlib.ExitStack
) -> tuple[PhysicalTable | None, Described | None, TableSource | FileSource]:
    """The table itself."""
    from snapshots.adopt_sources import FileSource, TableSource

    if address.scheme == "file":
        if key is None:
            raise click.UsageError("a file of items needs --key")
        return None, None, FileSource(address.path, key)
    if address.scheme != "dynamodb":
        raise RefusedError(
            f"{address} is no table", do="write dynamodb://TABLE, its own name, or file:FILE"
        )
    from appliers.stores.dynamodb import connect_to
    from appliers.stores.dynamodb_physical import PhysicalTable

    where = str(address)
    physical = stack.enter_context(
        contextlib.closing(
            PhysicalTable(address.path, connect_to(address.account, where), where=where)
        )
    )
    described = physical.describe()
    return physical, described, TableSource(physical, described, rate=rate)


def _export(url: str, described: Described | None, stack: contextlib.ExitStack) -> Source:
    from binlog.objects.address import open_objects
    from snapshots.adopt_export import Export
    from snapshots.adopt_sources import ExportSource

    if described is None:
        raise click.UsageError("--export is of a DynamoDB table")
    objects = stack.enter_context(contextlib.closing(open_objects(url)))
    return ExportSource(Export(objects), described)


def _name(given: str | None, table: Address, into: DynamoDBStore | None) -> str:
    """What the log calls it: as told, as the store's tables file does, or its own name."""
    from binlog.fields import check_table

    name = given or (into.name_of_owned(table.path) if into is not None else None)
    if name is None:
        name = Path(table.path).stem if table.scheme == "file" else table.path
    return check_table(name)


def _take_over(
    into: DynamoDBStore, log: Log, adopting: Adopting, adopted: Adopted, physical: str
) -> None:
    """Step 5: the store notes it."""
    from snapshots.adopt_base import KeptBases, most_of

    bases = KeptBases(log.genesis, adopting.objects)
    adoption = adopted.at.adoption
    into.bind(log.genesis)
    into.adopt(
        adopted.at,
        physical,
        most_of(bases.open(adoption), log.params.partitions),
        lambda partition: bases.rows(adoption, partition),
        timeline=log.params.timeline,
    )


# -- check ---------------------------------------------------------------------------------------


def _check(
    context: click.Context,
    adopting: Adopting,
    name: str,
    physical: PhysicalTable | None,
    restore_to: Path | None,
    *,
    as_json: bool,
) -> None:
    """Say what differs from the base without an event of it; mend it, where that is asked for."""
    from snapshots.adopt_restore import restore

    adoption = adopting.standing()
    if adoption is None:
        raise RefusedError(f"the log does not adopt table {name}", do="adopt it first")
    found = adopting.strays(adopting.base_of(adoption), touched=True)
    shown: list[dict[str, Any]] = []
    count = 0

    def tell(stray: Stray) -> None:
        nonlocal count
        count += 1
        shown.append(stray_document(stray))
        if not as_json:
            write_text(f"{shown.pop()['kind']:8} {key_text(stray)}")

    if restore_to is None:
        for stray in found:
            tell(stray)
        mended = None
    else:
        if physical is None:
            raise click.UsageError("--restore is for a DynamoDB table")
        mended = restore(found, adoption, physical, restore_to, tell=tell)
    if as_json:
        write_json(
            {
                "table": name,
                "base": adoption.base,
                "strays": shown,
                "restored": None if mended is None else mended.restored,
                "moved": None if mended is None else mended.moved,
            }
        )
    elif mended is not None:
        moved = f", {mended.moved} were changed again meanwhile" if mended.moved else ""
        write_text(
            f"{mended.kept} kept in {restore_to}, {mended.restored} put back{moved}",
            f"then: binlog append LOG {restore_to} --format dynamodb",
        )
    elif not count:
        write_text(f"table {name} is as it was adopted, but for what events made")
    if count if mended is None else mended.moved:
        context.exit(1)
