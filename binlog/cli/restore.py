"""``binlog restore``: a snapshot brought back into a store of any kind, in place in one step."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from binlog.cli.options import archive_option, store_argument
from binlog.cli.output import json_option, write_json, write_text
from binlog.cli.progress import progress
from binlog.cli.rebuild import processors
from binlog.cli.rebuild_options import load_options, prepare_load
from binlog.cli.replay import allow_units, load_rules, max_units_option, rules_option
from binlog.cli.snapshot import dest_argument, document
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from binlog.objects.objects import Objects
    from snapshots.snapshot import Snapshot


@click.command(
    cls=Verb,
    role="operator",
    examples="""
    binlog restore file:snapshots sqlite:back.db
    binlog restore s3://backups/shop dynamodb://shop2 kinesis://orders --archive s3://a/orders
    binlog restore s3://backups/shop sqlite:then.db --id 20260131T120000Z-5f0c9a1e
    binlog restore s3://backups/shop dynamodb://shop kinesis://orders --rate 2000 --max-units 500000
    binlog restore s3://backups/shop dynamodb://shop kinesis://orders --dry-run
    """,
)
@dest_argument("dest", "SNAPSHOTS")
@store_argument()
@click.argument("log", metavar="[LOG]", required=False)
@archive_option
@click.option(
    "--id",
    "ids",
    multiple=True,
    metavar="ID",
    help="Which snapshot; without it the newest, along with those of the tables beside it. May be"
    " given several times.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=processors,
    show_default="processors",
    metavar="N",
    help="Processes that share the work.",
)
@max_units_option
@load_options
@click.option("--dry-run", is_flag=True, help="Only tell what would be restored, and replaced.")
@rules_option
@json_option
def command(
    *,
    dest: str,
    store: str,
    log: str | None,
    archive: str | None,
    ids: tuple[str, ...],
    workers: int,
    max_units: int | None,
    rate: float | None,
    import_from: str | None,
    dry_run: bool,
    appliers: str | None,
    as_json: bool,
) -> None:
    """Restore a snapshot of SNAPSHOTS (file:DIR or s3://BUCKET/PREFIX) into STORE.

    Its tables replace those that STORE has, all of them where it holds all tables of its log, in one
    step at the end. A snapshot that was written to while it was taken needs LOG, or --archive: the
    events that make it exact are replayed before anybody sees it. Then `binlog replicate`, Lambda or
    the KCL go on from it.
    """
    from appliers.address import open_store
    from binlog.cli.announced import open_with_archive
    from binlog.objects.address import open_objects
    from snapshots.restore import check_beside, check_needs, restore_all

    rules = load_rules(appliers)
    with contextlib.ExitStack() as stack:
        objects = stack.enter_context(contextlib.closing(open_objects(dest)))
        chosen = _chosen(objects, ids)
        check_beside([each.manifest for each in chosen], objects.name)
        # An archive alone is a log, too.
        first, second = (log, archive) if log is not None else (archive, None)
        opened = None
        if first is not None:
            opened = stack.enter_context(contextlib.closing(open_with_archive(first, second)))
        for each in chosen:
            check_needs(each.manifest, opened, each.name, rules)
        into = stack.enter_context(contextlib.closing(open_store(store)))
        if dry_run:
            _write_plan(chosen, into, as_json=as_json)
            return
        allow_units(into, store, max_units)
        prepare_load(into, store, rate=rate, import_from=import_from)
        with progress("restoring", unit="rows") as show:
            reports = restore_all(
                chosen, into, log=opened, rules=rules, workers=workers, progress=show
            )
    restored = [
        {**document(each.manifest), "replayed": report.counts.events, "reached": report.vector}
        for each, report in zip(chosen, reports, strict=True)
    ]
    if as_json:
        seconds = round(sum(report.seconds for report in reports), 3)
        write_json({"restored": restored, "seconds": seconds})
        return
    for each, report in zip(chosen, reports, strict=True):
        more = f", {report.counts.events:,} events replayed" if report.counts.events else ""
        write_text(f"restored {each.manifest.id}: {each.manifest.rows:,} rows{more}")


def _chosen(objects: Objects, ids: tuple[str, ...]) -> list[Snapshot]:
    """The snapshots asked for, the open generation's first."""
    from snapshots.newest import newest_whole
    from snapshots.snapshot import open_snapshot

    if not ids:
        return newest_whole(objects)
    found = [open_snapshot(objects, id_) for id_ in dict.fromkeys(ids)]
    return sorted(found, key=lambda each: not each.manifest.generation.open)


def _write_plan(chosen: list[Snapshot], store: Any, *, as_json: bool) -> None:
    """What would come, and what would go."""
    from binlog.errors import MismatchError

    bound = store.genesis()
    live = store.generations()
    plan = []
    for each in chosen:
        manifest = each.manifest
        if bound not in (None, manifest.genesis):
            raise MismatchError(
                "the store belongs to another log", store.name, "restore into another store"
            )
        tables = manifest.generation.tables
        gone = sorted(
            table
            for generation in live
            for table in generation.tables
            if manifest.generation.open or table in tables
        )
        plan.append({**document(manifest), "replaces": gone})
        live = [] if manifest.generation.open else live
    if as_json:
        write_json({"would_restore": plan})
        return
    for each, planned in zip(chosen, plan, strict=True):
        manifest = each.manifest
        names = ", ".join(manifest.generation.tables) or "no table yet"
        write_text(f"would restore {manifest.id}: {manifest.rows:,} rows of {names}")
        ahead = sum(manifest.exact.values()) - sum(manifest.vector.values())
        if ahead:
            write_text(f"  and replay {ahead:,} events, which make it exact")
        if planned["replaces"]:
            write_text(f"  in place of {', '.join(planned['replaces'])}")
