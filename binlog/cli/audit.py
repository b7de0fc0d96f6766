"""``binlog audit``: what an archive gives at the checkpoints of stores, held against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from binlog.cli.lag import duration_text
from binlog.cli.options import DurationType
from binlog.cli.output import json_option, note, write_json, write_table, write_text
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from consumers.audit import Audited


@click.command(
    cls=Verb,
    examples="""
    binlog audit s3://kept/orders dynamodb://live
    binlog audit s3://kept/orders dynamodb://live dynamodb://copy --max-age 1h
    binlog audit file:kept sqlite:replica.db --full --json
    """,
)
@click.argument("archive", metavar="ARCHIVE")
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option(
    "--full",
    is_flag=True,
    help="From the first event on, instead of from the end of the nearest segment.",
)
@click.option(
    "--max-age",
    type=DurationType(),
    metavar="TIME",
    help="It is a failure, too, if what a store has was in the log for so long and is not archived.",
)
@click.option(
    "--metrics",
    metavar="NAMESPACE",
    help="Write a line of CloudWatch's embedded metric format for each store to standard error.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    archive: str,
    stores: tuple[str, ...],
    full: bool,
    max_age: int | None,
    metrics: str | None,
    as_json: bool,
) -> None:
    """Recompute, from ARCHIVE, offset, digest and state at every checkpoint of each STORE.

    A consumer that has skipped a record shows it nowhere else: its numbering is dense, and its items
    are wrong. Exit status 1 if a checkpoint is not what the archive gives there, or cannot be compared.
    What is not archived yet is told with its age, and is no difference.
    """
    from consumers.auditing import audit_stores, tell

    found = audit_stores(archive, stores, full=full)
    if metrics is not None:
        tell(found, stores, log=archive, namespace=metrics, write=note)
    bad = [each for each in found if each.outcome in ("differs", "unreadable")]
    late = [each for each in found if max_age is not None and (each.age_s or 0) * 1000 > max_age]
    if as_json:
        write_json(
            {"ok": not bad and not late, "checkpoints": [audited_document(each) for each in found]}
        )
    else:
        _write_text(found, bad, late)
    if bad or late:
        context.exit(1)


def audited_document(audited: Audited) -> dict[str, Any]:
    """One checkpoint as JSON."""
    return {
        "store": audited.store,
        "where": audited.where,
        "partition": audited.partition,
        "offset": audited.offset,
        "outcome": audited.outcome,
        "archived": audited.archived,
        "age_seconds": audited.age_s,
        "detail": audited.detail,
    }


def _write_text(found: Sequence[Audited], bad: Sequence[Audited], late: Sequence[Audited]) -> None:
    shown = [*bad, *(each for each in found if each.outcome == "unarchived")]
    if shown:
        write_table(
            ("checkpoint", "offset", "archived", "outcome", "for", "what"),
            [
                (
                    each.where,
                    f"{each.offset:,}",
                    "-" if each.archived is None else f"{each.archived:,}",
                    "not yet archived" if each.outcome == "unarchived" else each.outcome,
                    "-" if each.age_s is None else duration_text(each.age_s),
                    each.detail,
                )
                for each in shown
            ],
        )
        write_text("")
    same = sum(each.outcome == "same" for each in found)
    write_text(f"{same:,} of {len(found):,} checkpoints are what the archive gives there")
    if late:
        write_text(f"{len(late):,} are not archived for longer than they may be")
    for each in bad[:1]:
        note(
            f"binlog: {each.where}: rebuild the store from the archive, and see why it differs"
            if each.outcome == "differs"
            else f"binlog: {each.where}: binlog check says what is damaged"
        )
