"""What the verbs share that replay a log into a store: rules, and what they did."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import click

from binlog.cli.digest import write_summary
from binlog.cli.output import write_text
from binlog.errors import RefusedError

if TYPE_CHECKING:
    from appliers.applier import Rules
    from appliers.summary import Summary
    from binlog.log import Log
    from snapshots.adopt_base import KeptBases
    from snapshots.rebuild import Report

rules_option = click.option(
    "--appliers",
    metavar="MODULE:OBJECT",
    help="Your appliers, owners and upcasters; the current directory is searched first.",
)

exclude_option = click.option(
    "--exclude",
    "excluded",
    multiple=True,
    metavar="RULE",
    help="Leave events out: id=ID, type=TYPE, key=TABLE:JSON, session=FAMILY.GENERATION or"
    " offsets=PARTITION:FROM-TO. May be given several times; the store remembers it.",
)

park_option = click.option(
    "--park",
    is_flag=True,
    help="An event that cannot be applied parks its key: it and later ones of it wait (`binlog"
    " parked`), everything else goes on. Without it the first one ends the command.",
)

max_units_option = click.option(
    "--max-units",
    type=click.IntRange(min=1),
    metavar="N",
    help="End with status 3 once N write units of STORE are consumed (dynamodb:).",
)


@runtime_checkable
class Billed(Protocol):
    """A store that is paid by the unit."""

    write_units_max: float


def allow_units(store: object, name: str, units: int | None) -> None:
    """Have ``store`` consume ``units`` at most; ``None``: as many as it takes.

    Raises:
        RefusedError: nothing is paid by the unit there.
    """
    if units is None:
        return
    if not isinstance(store, Billed):
        raise RefusedError("--max-units: nothing is paid by the unit there", name, "leave it out")
    store.write_units_max = units


def open_bases(log: Log, url: str | None, stack: contextlib.ExitStack) -> KeptBases:
    """The bases of adopted tables: at ``url``, if that is given, then where the log says."""
    from binlog.objects.address import open_objects
    from snapshots.adopt_base import KeptBases

    objects = None
    if url is not None:
        objects = stack.enter_context(contextlib.closing(open_objects(url)))
    return stack.enter_context(contextlib.closing(KeptBases(log.genesis, objects)))


def load_rules(appliers: str | None) -> Rules:
    """The rules of ``--appliers``, or the built-in actions alone.

    Raises:
        RefusedError: see `appliers.loading.load_rules`.
    """
    from appliers import loading
    from appliers.applier import NO_RULES

    return NO_RULES if appliers is None else loading.load_rules(appliers)


def report_document(report: Report, summary: Summary) -> dict[str, Any]:
    """What ``rebuild`` and ``replicate`` print: ``items`` are the live ones of ``tables``."""
    counts = report.counts
    tables = {name: summary.tables[name] for name in report.tables}
    return {
        "events": counts.events,
        "items": sum(table.items for table in tables.values()),
        "vector": report.vector,
        "tables": tables,
        "seconds": round(report.seconds, 3),
        "rejected": counts.rejected,
        "parked": counts.parked,
        "excluded": counts.excluded,
        "duplicates": report.duplicates,
    }


def write_report(report: Report, summary: Summary, *, what: str) -> None:
    """The same for people."""
    counts = report.counts
    rate = f", {counts.events / report.seconds:,.0f}/s" if report.seconds > 0.5 else ""
    events = "1 event" if counts.events == 1 else f"{counts.events:,} events"
    write_text(f"{what} {events} in {report.seconds:.1f} s{rate if counts.events > 1 else ''}")
    remarks = [
        (counts.rejected, "rejected: the item was not at the version that they expected"),
        (counts.parked, "parked: they could not be applied, or wait; see binlog parked"),
        (counts.excluded, "excluded by rule"),
        (
            counts.unrouted,
            "of no account here: no applier takes them, or their table is not wanted",
        ),
        (report.duplicates, "dropped as copies"),
    ]
    write_text(*(f"  {count:,} {remark}" for count, remark in remarks if count), "")
    write_summary(summary)
