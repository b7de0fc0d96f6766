"""``binlog halted``: which partitions stand still, why, and what each decision would do."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from binlog.cli.announced import open_with_archive
from binlog.cli.options import archive_option, log_argument
from binlog.cli.output import json_option, write_json, write_table, write_text
from binlog.cli.verb import Verb
from binlog.halt import Halt
from binlog.horizon import horizon_of
from binlog.log import Log
from binlog.prospect import Prospect, prospects
from binlog.reader import Checked, Reader


@click.command(
    cls=Verb,
    examples="""
    binlog halted file:log
    binlog halted file:log --json
    binlog halted kinesis://orders --archive s3://kept/orders
    """,
)
@log_argument
@archive_option
@json_option
@click.pass_context
def command(context: click.Context, *, log: str, archive: str | None, as_json: bool) -> None:
    """List the halts of LOG that nobody has decided, with what each decision would do.

    A partition halts at a record that a rule does not know what to do with; every reader stops
    there, and the other partitions go on. Exit status 1 if there is any.

    A log is read from its beginning for that. What a stream has forgotten is read in its archive.
    """
    with contextlib.closing(open_with_archive(log, archive)) as opened:
        found = [
            (halt, opened.locate(halt.position), prospects(opened, halt, place))
            for halt, place in find_halts(opened)
        ]
    if as_json:
        write_json({"halts": [halt_document(*each) for each in found]})
    else:
        _write_text(log, found)
    if found:
        context.exit(1)


def find_halts(log: Log, partition: int | None = None) -> list[tuple[Halt, Checked]]:
    """The undecided halts, by partition, each with where its reader stands, just before it."""
    wanted = None if partition is None else [partition]
    reader = Reader(log, partitions=wanted, horizon=horizon_of(log))
    while reader.read() is not None:
        pass
    return [(halt, reader.checkpoint(p)) for p, halt in sorted(reader.halts.items())]


def halt_document(halt: Halt, where: str, prospects_: list[Prospect]) -> dict[str, Any]:
    """A halt as JSON. ``numbers`` are those missing, inclusive; the harmless decision first."""
    return {
        "partition": halt.partition,
        "position": str(halt.position),
        "where": where,
        "rule": halt.rule,
        "session": halt.session,
        "offset": halt.offset,
        "digest": halt.digest,
        "detail": halt.detail,
        "numbers": None if halt.numbers is None else list(halt.numbers),
        "decisions": [prospect_document(prospect) for prospect in prospects_],
    }


def prospect_document(prospect: Prospect) -> dict[str, Any]:
    """A decision and what it would do, as JSON."""
    stop = prospect.next_halt
    return {
        "decision": prospect.decision,
        "accepted": prospect.accepted,
        "dropped": prospect.dropped,
        "given_up": None if prospect.given_up is None else list(prospect.given_up),
        "late": prospect.late,
        "closed": prospect.closed,
        "loses_nothing": prospect.loses_nothing,
        "next_halt": None if stop is None else {"position": str(stop.position), "rule": stop.rule},
    }


def describe_prospect(prospect: Prospect) -> str:
    """What a decision would do, in words."""
    if prospect.loses_nothing:
        parts = ["loses nothing: the missing frame lies ahead"]
    elif prospect.decision == "hold":
        parts = ["waits: the missing frame is not in the log so far"]
    else:
        parts = []
        if prospect.dropped is None:
            parts.append("drops the record: how many events it held cannot be known")
        elif prospect.dropped:
            parts.append(f"drops {_events(prospect.dropped)} that the log holds")
        if prospect.given_up:
            parts.append(f"gives up the numbers {prospect.given_up[0]} to {prospect.given_up[1]}")
        if prospect.late:
            parts.append(f"of which {_events(prospect.late)} lie ahead and would be lost")
        if prospect.closed:
            frames = f"{prospect.closed:,} frame{'s' * (prospect.closed != 1)}"
            parts.append(f"closes the earlier generations: {frames} of them would be lost")
        if not parts:
            parts.append("drops nothing that the log holds")
    parts.append(f"{_events(prospect.accepted)} get offsets")
    if prospect.next_halt is not None:
        stop = prospect.next_halt
        parts.append(f"then halts again at {stop.position} ({stop.rule})")
    return ", ".join(parts)


def _events(count: int) -> str:
    return f"{count:,} event{'s' * (count != 1)}"


def _write_text(log: str, found: list[tuple[Halt, str, list[Prospect]]]) -> None:
    if not found:
        write_text("no partition is halted")
        return
    write_table(
        ("partition", "position", "rule", "session", "after offset", "missing", "detail"),
        [
            (
                halt.partition,
                halt.position,
                halt.rule,
                halt.session,
                halt.offset,
                None if halt.numbers is None else f"{halt.numbers[0]} to {halt.numbers[1]}",
                halt.detail,
            )
            for halt, _, _ in found
        ],
    )
    for halt, where, tried in found:
        write_text("", f"partition {halt.partition} stands before {where}; one of:")
        width = max(len(prospect.decision) for prospect in tried)
        for prospect in tried:
            write_text(
                f"  binlog resolve {log} {halt.partition} {halt.position}"
                f" {prospect.decision:{width}}  {describe_prospect(prospect)}"
            )
