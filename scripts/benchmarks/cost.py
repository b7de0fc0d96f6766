"""What it costs: the monthly bill, packing, checkpoints and table writes, as tables and documents."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from scripts.benchmarks.cost_figures import (
    CHECKPOINT_GOAL,
    LINGERS_S,
    NORMAL,
    PACKING_GOAL,
    PAGES,
    RATES,
    SMALL,
    Line,
    Packing,
    Replay,
    Share,
    Sizes,
    bill,
    event_bytes,
    full_load,
    hour_share,
    live_share,
    packing,
    replay,
)
from scripts.benchmarks.cost_prices import PRICES

KEYS = ("bill", "packing", "checkpoints", "replay")
_ITEMS_PER_EVENT = 0.6  # of the hour of states, where the bill has not been counted
_CROWD_PARTITIONS = (4, 16)

DESCRIPTION = """\
Counts what the services bill, on doubles of both and a simulated clock: the real producer, engine
and stores make every call. The same seed gives the same figures on every machine; nothing is timed.
Takes some five minutes; a quarter of one with --small, whose figures are noisier.

  scripts/bench --cost
  scripts/bench --cost --only bill --rate 20 --producers 50
  scripts/bench --cost --small --json cost.json

Exit status: 0 the goals are met, 1 one is missed, 2 usage.
"""


class Goal(msgspec.Struct, frozen=True):
    """One of the goals, and whether it is met."""

    what: str
    found: str
    goal: str
    met: bool


class Section(msgspec.Struct, frozen=True):
    """One table, for people. Numbers are text by now."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Report(msgspec.Struct):
    """All that was counted."""

    sizes: Sizes
    event_bytes: float
    bill: list[Line] = []
    packing: list[Packing] = []
    full: Packing | None = None
    checkpoints: list[Share] = []  # lived through
    hours: list[Share] = []  # of one partition
    replay: list[Replay] = []


def count(sizes: Sizes, keys: Sequence[str]) -> Report:
    """Run what was asked for."""
    report = Report(sizes, event_bytes(sizes))
    if "bill" in keys:
        report.bill = bill(sizes)
    if "packing" in keys:
        report.packing = [packing(rate, linger, sizes) for rate in RATES for linger in LINGERS_S]
        report.full = full_load(sizes)
    if "checkpoints" in keys:
        ours = report.bill[0] if report.bill else None
        rate = sizes.scene.producers * sizes.scene.rate
        items = ours.write_units_s / rate if ours else _ITEMS_PER_EVENT
        report.checkpoints = [live_share(partitions, sizes) for partitions in _CROWD_PARTITIONS]
        report.hours = [hour_share(partitions, items, sizes) for partitions in _CROWD_PARTITIONS]
    if "replay" in keys:
        report.replay = [replay(page_bytes, sizes) for page_bytes in PAGES]
    return report


def goals(report: Report) -> list[Goal]:
    """Those of what was counted."""
    found: list[Goal] = []
    if report.bill:
        ours, plain, twice, regions = report.bill
        for mine, other in ((ours, plain), (twice, regions)):
            found.append(
                Goal(
                    f"{mine.name}, below {other.name}",
                    f"{_money(mine.total)} of {_money(other.total)}",
                    "below",
                    mine.total < other.total,
                )
            )
    if report.full is not None:
        per_unit = report.full.events / report.full.units
        found.append(
            Goal(
                "payload units at full load, of one record an event",
                f"1/{per_unit:.0f}",
                f"≤ 1/{PACKING_GOAL:.0f}",
                per_unit >= PACKING_GOAL,
            )
        )
    found += [
        Goal(
            f"checkpoint units, {share.sessions:,} sessions, {share.partitions} partitions",
            f"{share.share:.2%}",
            f"≤ {CHECKPOINT_GOAL:.0%}",
            share.share <= CHECKPOINT_GOAL,
        )
        for share in (*report.checkpoints, *report.hours)
    ]
    found += [
        Goal(
            f"write units of a replay by pages of {one.page_bytes // 1024:,} KiB",
            f"{one.write_units:,}",
            f"= {one.distinct:,} keys a batch",
            one.write_units == one.distinct,
        )
        for one in report.replay
    ]
    return found


# -- for people ----------------------------------------------------------------------------------


def sections(report: Report) -> list[Section]:
    """The tables."""
    found = []
    if report.bill:
        found.append(_bill_section(report))
    if report.packing and report.full is not None:
        found.append(_packing_section(report, report.full))
    if report.checkpoints:
        found.append(_checkpoint_section(report))
    if report.replay:
        found.append(
            Section(
                "DynamoDB write units of a replay",
                ("page", "events", "batches", "keys a batch, summed", "write units", "an event"),
                [
                    (
                        f"{one.page_bytes // 1024:,} KiB",
                        f"{one.events:,}",
                        f"{one.batches:,}",
                        f"{one.distinct:,}",
                        f"{one.write_units:,}",
                        f"{one.write_units / one.events:.3f}",
                    )
                    for one in report.replay
                ],
            )
        )
    found.append(
        Section(
            "Goals",
            ("goal", "found", "wanted", ""),
            [(g.what, g.found, g.goal, "met" if g.met else "missed") for g in goals(report)],
        )
    )
    return found


def _bill_section(report: Report) -> Section:
    scene = report.sizes.scene
    rows: list[tuple[str, ...]] = []
    counted: list[tuple[str, str]] = [
        ("records a second", "records_s"),
        ("payload units a second", "put_units_s"),
        ("shards", "shards"),
        ("table write units a second", "write_units_s"),
        ("checkpoint write units a second", "checkpoint_units_s"),
        ("read units a second", "read_units_s"),
    ]
    for title, name in counted:
        rows.append((title, *(f"{getattr(line, name):,.4g}" for line in report.bill)))
    for name in report.bill[0].dollars:
        cells = (line.dollars.get(name) for line in report.bill)
        rows.append((f"{name}, $", *("" if c is None else _money(c) for c in cells)))
    rows.append(("a month", *(_money(line.total) for line in report.bill)))
    return Section(
        f"A month of {scene.producers:,} producers x {scene.rate:g} events/s of "
        f"{report.event_bytes:.0f} B",
        ("", *(line.name for line in report.bill)),
        rows,
    )


def _packing_section(report: Report, full: Packing) -> Section:
    rows = [
        (
            f"{one.rate:,g} events/s",
            f"{one.linger_s:g} s",
            f"{one.events / one.records:,.1f}",
            f"{one.record_bytes:,.0f}",
            f"{one.per_million:,.0f}",
            f"1/{1e6 / one.per_million:,.1f}",
        )
        for one in report.packing
    ]
    rows.append(
        (
            "full load",
            "any",
            f"{full.events / full.records:,.1f}",
            f"{full.record_bytes:,.0f}",
            f"{full.per_million:,.0f}",
            f"1/{1e6 / full.per_million:,.1f}",
        )
    )
    return Section(
        f"PUT payload units, one producer, {report.sizes.scene.partitions} partitions",
        ("rate", "linger", "events a record", "bytes", "units a million events", "of one each"),
        rows,
    )


def _checkpoint_section(report: Report) -> Section:
    def row(what: str, share: Share) -> tuple[str, ...]:
        return (
            what,
            f"{share.sessions:,}",
            f"{share.partitions}",
            f"{share.events:,}",
            f"{share.table_units:,}",
            f"{share.checkpoint_units:,}",
            f"{share.share:.2%}",
        )

    hours = f"{report.sizes.crowd_hours:g} h of one partition's states"
    return Section(
        "Checkpoint write units",
        ("", "sessions", "partitions", "events", "table units", "checkpoint units", "share"),
        [row("all calls of a consumer", share) for share in report.checkpoints]
        + [row(hours, share) for share in report.hours],
    )


def _money(dollars: float) -> str:
    return f"{dollars:,.2f}"


def print_report(console: Console, report: Report) -> None:
    """The tables, for people."""
    for section in sections(report):
        table = Table(title=section.title, box=box.SIMPLE_HEAD, title_justify="left")
        for place, column in enumerate(section.columns):
            table.add_column(column, justify="right" if place else "left")
        for row in section.rows:
            table.add_row(*row)
        console.print(table)
    console.print(_prices(), style="dim", highlight=False)


def markdown(report: Report) -> str:
    """The tables, for a README."""
    lines: list[str] = []
    for section in sections(report):
        lines += [f"**{section.title}**", ""]
        lines.append("| " + " | ".join(section.columns) + " |")
        lines.append("|---" + "|---:" * (len(section.columns) - 1) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in section.rows]
        lines.append("")
    return "\n".join([*lines, _prices(), ""])


def _prices() -> str:
    each = "; ".join(
        f"{price.dollars * scale:g} $ for {'a million of 1' if scale > 1 else '1'} {price.unit}"
        for price in PRICES.values()
        for scale in (1e6 if price.dollars < 1e-3 else 1,)
    )
    reads = {price.read for price in PRICES.values()}
    return (
        f"List prices of us-east-1, {', '.join(sorted(reads))}, from secondary sources: {each}. "
        "Not counted: compute, storage, transfer between regions, retention beyond 24 h."
    )


def document(report: Report) -> bytes:
    """All of it, for programs."""
    content: dict[str, Any] = msgspec.to_builtins(report)
    content["goals"] = msgspec.to_builtins(goals(report))
    content["prices"] = msgspec.to_builtins(PRICES)
    return msgspec.json.format(msgspec.json.encode(content)) + b"\n"


def main(arguments: Sequence[str]) -> int:
    """Count, print, and say by the status whether the goals are met."""
    options = _parse(arguments)
    sizes = SMALL if options.small else NORMAL
    changes = {
        name: value
        for name in ("producers", "rate", "partitions", "linger_s", "poll_s", "keys", "seed")
        if (value := getattr(options, name)) is not None
    }
    scene = msgspec.structs.replace(sizes.scene, **changes)
    report = count(msgspec.structs.replace(sizes, scene=scene), options.only or KEYS)
    if options.markdown:
        sys.stdout.write(markdown(report))
    else:
        print_report(Console(width=None if sys.stdout.isatty() else 140), report)
    if options.json:
        Path(options.json).write_bytes(document(report))
    return 0 if all(goal.met for goal in goals(report)) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench --cost",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--small", action="store_true", help="a few seconds, for CI")
    parser.add_argument("--only", action="append", choices=KEYS, help="these (repeatable)")
    parser.add_argument("--producers", type=int, metavar="N")
    parser.add_argument("--rate", type=float, metavar="R", help="events a second and producer")
    parser.add_argument("--partitions", type=int, metavar="P")
    parser.add_argument("--linger", dest="linger_s", type=float, metavar="S")
    parser.add_argument("--poll", dest="poll_s", type=float, metavar="S", help="of the consumer")
    parser.add_argument("--keys", type=int, metavar="N", help="of the table, Zipf")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    for name in ("producers", "rate", "partitions", "poll_s", "keys"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            parser.error(f"--{name.removesuffix('_s')} {value}: above 0")
    return options
