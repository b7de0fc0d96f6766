"""``binlog resolve``: decide a halt, by a record in the log that every reader finds."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

import click
import msgspec

from binlog.cli.announced import open_with_archive
from binlog.cli.halted import describe_prospect, find_halts, prospect_document
from binlog.cli.options import archive_option, log_argument
from binlog.cli.output import json_option, write_json, write_text
from binlog.cli.verb import Verb
from binlog.control import resolve_frame
from binlog.errors import ConflictError, StorageError
from binlog.halt import DECISIONS, Halt, Resolution, resolution_for
from binlog.lineage import records_after
from binlog.log import Appended, Failed, Log, Position, Put
from binlog.params import check_partition
from binlog.prospect import prospect
from binlog.reader import Checked
from binlog.resolution import find_counting


@click.command(
    cls=Verb,
    role="operator",
    examples="""
    binlog halted file:log
    binlog resolve file:log 3 0:9128 hold --dry-run
    binlog resolve file:log 3 0:9128 hold
    """,
)
@log_argument
@archive_option
@click.argument("partition", type=int)
@click.argument("position")
@click.argument("decision", type=click.Choice(sorted({d for of in DECISIONS.values() for d in of})))
@click.option("--dry-run", is_flag=True, help="Say what would be written and do; write nothing.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    log: str,
    archive: str | None,
    partition: int,
    position: str,
    decision: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Decide the halt of PARTITION at POSITION, as `binlog halted` names them.

    A RESOLVE record is written into the partition; every reader that meets the halt looks for it,
    so all decide alike. The first one that names a halt counts, and it cannot be taken back:
    look at --dry-run first. Exit status 1 if another one was first and decides otherwise.
    """
    with contextlib.closing(open_with_archive(log, archive)) as opened:
        check_partition(partition, opened.params)
        halt, place = _find(opened, partition, position)
        resolution = resolution_for(halt, decision)
        effect = prospect(opened, halt, place, decision)
        document: dict[str, Any] = {
            "resolve": msgspec.to_builtins(resolution),
            "effect": prospect_document(effect),
        }
        lines = [f"partition {partition} at {position}: {decision}: {describe_prospect(effect)}"]
        counts = True
        if dry_run:
            document["written"] = None
            lines.append("nothing written (dry run)")
        else:
            written = _append(opened, resolution)
            counting, decided = _read_back(opened, halt, place)
            counts = decided == decision
            document |= {
                "written": str(written),
                "counts": str(counting),
                "decision": decided,
            }
            lines.append(f"written at {written}, {opened.locate(written)}")
            if counting == written:
                lines.append("it counts: every reader goes on by it")
            else:
                lines.append(f"another one was first and counts: {decided}, at {counting}")
    if as_json:
        write_json(document)
    else:
        write_text(*lines)
    if not counts:
        context.exit(1)


def _find(log: Log, partition: int, position: str) -> tuple[Halt, Checked]:
    """The halt of that name.

    Raises:
        ConflictError: there is none.
    """
    found = find_halts(log, partition)
    for halt, place in found:
        if str(halt.position) == position:
            return halt, place
    elsewhere = ", ".join(str(halt.position) for halt, _ in found)
    raise ConflictError(
        f"partition {partition} has no halt at {position}",
        log.name,
        f"it is halted at {elsewhere}" if elsewhere else "it is not halted; see binlog halted",
        partition=partition,
        position=position,
    )


def _append(log: Log, resolution: Resolution) -> Position:
    """Write the RESOLVE, durably.

    Raises:
        StorageError: whether it is in the log is not known; `binlog halted` tells.
    """
    frame = resolve_frame(
        log.params,
        log.genesis,
        resolution,
        family=secrets.token_bytes(16),
        now_ms=log.now_ms(),
    )
    [reply] = log.append([Put(resolution.partition, frame)])
    if isinstance(reply, Appended):
        return reply.position
    if isinstance(reply, Failed):
        fate = "was not written" if reply.untouched else "may or may not be written"
        raise StorageError(
            f"the RESOLVE {fate} ({reply.error})", log.name, "see binlog halted, and repeat it"
        ) from reply.error
    raise StorageError("the RESOLVE was refused for its age", log.name, "repeat it")


def _read_back(log: Log, halt: Halt, place: Checked) -> tuple[Position, str]:
    """The RESOLVE that counts for the halt: where it stands and what it decides.

    Raises:
        StorageError: none does.
    """
    records = records_after(log, place.position, halt.partition)
    found = find_counting(halt, records, log.params, log.genesis)
    if found is None:
        raise StorageError("the RESOLVE does not count", log.name, "see binlog halted")
    return found[0], found[1].decision
