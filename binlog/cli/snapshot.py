"""``binlog snapshot``: what a store holds, kept elsewhere, while others go on writing to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from binlog.cli.options import RateType, store_argument
from binlog.cli.output import json_option, note, write_json, write_table, write_text
from binlog.cli.progress import progress
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from appliers.store import Store
    from appliers.survey import Cost
    from snapshots.snapshot_manifest import Manifest

_F = TypeVar("_F", bound=Callable[..., Any])


def dest_argument(name: str = "dest", metavar: str = "DEST") -> Callable[[_F], _F]:
    """The argument DEST: where snapshots are."""
    return click.argument(name, metavar=metavar)


@click.command(
    cls=Verb,
    role="operator",
    examples="""
    binlog snapshot sqlite:replica.db file:snapshots
    binlog snapshot dynamodb://shop s3://backups/shop --rate 200 --workers 8
    binlog snapshot dynamodb://shop s3://backups/shop --rate 200 --dry-run
    binlog snapshot dynamodb://shop s3://backups/shop --json
    """,
)
@store_argument()
@dest_argument()
@click.option(
    "--rate",
    type=RateType(),
    metavar="UNITS",
    help="Consume at most so many read units a second, all workers together (dynamodb:).",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    metavar="N",
    help="Segments of a table that are read at a time (dynamodb:).",
)
@click.option(
    "--anew", is_flag=True, help="Do not go on with a snapshot of STORE that was interrupted."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only tell how much would be read, and what that costs (dynamodb:, list price on demand).",
)
@json_option
def command(
    *,
    store: str,
    dest: str,
    rate: float | None,
    workers: int,
    anew: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take a snapshot of STORE into DEST (file:DIR or s3://BUCKET/PREFIX), while it is written to.

    It is invisible until it is complete. One that was interrupted is gone on with by the next call;
    who does not come back has it removed after a day. Tables that were rebuilt apart have a snapshot
    each. `binlog restore` brings it back, `binlog rebuild --snapshots` begins at it.
    """
    from appliers.address import open_store
    from binlog.errors import ConflictError
    from binlog.objects.address import open_objects
    from snapshots.snapshot_take import take_snapshot

    taken = []
    with (
        contextlib.closing(open_objects(dest)) as objects,
        contextlib.closing(open_store(store, must_exist=True)) as opened,
    ):
        generations = opened.generations()
        if not generations:
            raise ConflictError("the store holds nothing yet", store, "replicate into it first")
        if dry_run:
            _write_plan(
                opened, [generation.id for generation in generations], rate, as_json=as_json
            )
            return
        for generation in generations:
            with progress("reading", unit="rows") as show:
                manifest = take_snapshot(
                    opened,
                    objects,
                    # The only one may be replaced by a rebuild, and is then begun again with.
                    generation=generation.id if len(generations) > 1 else None,
                    rate=rate,
                    workers=workers,
                    anew=anew,
                    progress=show,
                )
            taken.append(manifest)
    if as_json:
        documents = [document(manifest) for manifest in taken]
        write_json({"snapshots": documents})
        return
    for manifest in taken:
        tables = ", ".join(manifest.generation.tables) or "no table yet"
        write_text(f"{manifest.id}  {manifest.rows:,} rows of {tables}")
        if not manifest.is_exact:
            ahead = sum(o - manifest.vector.get(p, 0) for p, o in manifest.exact.items())
            note(f"{manifest.id} was written to meanwhile: {ahead:,} events make it exact")


def _write_plan(store: Store, ids: list[str], rate: float | None, *, as_json: bool) -> None:
    """What would be read."""
    from appliers.survey import Billed, survey

    tables: dict[str, Cost | None] = {}
    for id_ in ids:
        with survey(store, id_, rate=rate) as found:
            for table in found.generation.tables:
                tables[table] = found.size(table) if isinstance(found, Billed) else None
    known = {table: cost for table, cost in tables.items() if cost is not None}
    units = sum(cost.read_units for cost in known.values())
    dollars = sum(cost.dollars for cost in known.values())
    seconds = None if rate is None else round(units / rate)
    if as_json:
        shown = {
            table: {"items": cost.items, "bytes": cost.bytes, "read_units": cost.read_units}
            for table, cost in known.items()
        }
        write_json(
            {
                "would_read": {table: shown.get(table) for table in sorted(tables)},
                "read_units": units,
                "dollars": round(dollars, 6),
                "seconds": seconds,
            }
        )
        return
    write_table(
        ("table", "items", "bytes", "read units", "$ on demand"),
        [
            (
                table,
                *(
                    ("-", "-", "-", "-")
                    if (cost := tables[table]) is None
                    else (cost.items, cost.bytes, cost.read_units, f"{cost.dollars:.6f}")
                ),
            )
            for table in sorted(tables)
        ],
    )
    if known:
        takes = "" if seconds is None else f", {seconds:,} s at --rate {rate:g}"
        write_text(f"about {units:,} read units, ${dollars:.6f}{takes}; counted by the service")


def document(manifest: Manifest) -> dict[str, Any]:
    """A snapshot as JSON."""
    from binlog.cli.options import format_time
    from binlog.vector import without_zeros

    generation = manifest.generation
    return {
        "id": manifest.id,
        "taken": format_time(manifest.taken_ms),
        "began": format_time(manifest.began_ms),
        "store": manifest.store,
        "log": manifest.log_id,
        "generation": generation.id,
        "open": generation.open,
        "excluded": generation.excluded,
        "vector": without_zeros(manifest.vector),
        "exact": without_zeros(manifest.exact),
        "is_exact": manifest.is_exact,
        "tables": {
            name: {
                "items": table.items,
                "tombstones": table.tombstones,
                "parked": table.parked,
                "digest": table.digest,
            }
            for name, table in manifest.tables.items()
        },
        "letters": manifest.letters,
        "rejections": manifest.rejections,
        "foreign": manifest.foreign,
        "bytes": manifest.size_bytes,
        "digest": manifest.digest,
        "adopted": manifest.adopted,
        "without": manifest.without,
    }
