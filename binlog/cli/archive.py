"""``binlog archive``: keep what a log will forget, once or for ever."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from binlog.address import parse_address
from binlog.cli.options import (
    DurationType,
    RateType,
    absolute_address,
    length_text,
    log_argument,
)
from binlog.cli.output import json_option, note, write_json, write_table, write_text
from binlog.cli.progress import progress
from binlog.cli.replicate import stopped_by_signals
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from binlog.archive.archiver import Report
    from binlog.log import Log
    from binlog.params import Params

_LANES = ("partition", "offset", "segments", "records", "events", "bytes")


@click.command(
    cls=Verb,
    role="archive",
    examples="""
    binlog archive file:log file:archive --once
    binlog archive kinesis://orders s3://kept/orders
    binlog archive kinesis://orders s3://kept/orders --segment-every 5m --announce
    binlog archive kinesis://orders s3://kept/orders --dry-run --rate 2000
    """,
)
@log_argument
@click.argument("into", metavar="ARCHIVE")
@click.option("--once", is_flag=True, help="End at the log's end, instead of following it.")
@click.option(
    "--segment-every",
    "every_ms",
    metavar="T",
    type=DurationType(),
    default="1m",
    show_default=True,
    help="How long a record waits at most, such as 10s or 5m. Each T costs a write for each partition"
    " that had records: --dry-run shows the price.",
)
@click.option(
    "--segment-bytes",
    "bytes_max",
    metavar="N",
    type=click.IntRange(min=64 * 1024, max=4 * 1024**3),
    default=64 * 1024 * 1024,
    show_default=True,
    help="How large a segment becomes before it is compressed, mostly to a fifth: then it is cut before"
    " its time.",
)
@click.option(
    "--announce",
    "is_announced",
    is_flag=True,
    help="Write a PARAMS record into each partition that names the archive, so that readers find it.",
)
@click.option(
    "--dry-run", is_flag=True, help="Write nothing: print what several T would cost a month."
)
@click.option(
    "--rate",
    metavar="R",
    type=RateType(),
    help="With --dry-run: for so many events a second. Without it every partition is always busy.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    log: str,
    into: str,
    once: bool,
    every_ms: int,
    bytes_max: int,
    is_announced: bool,
    dry_run: bool,
    rate: float | None,
    as_json: bool,
) -> None:
    """Keep the records of LOG in ARCHIVE, file:DIR or s3://BUCKET/PREFIX, made if there is none.

    It goes on with new records until Ctrl-C or SIGTERM, which end it cleanly: what was read is
    archived. It may be killed at any time and goes on where the archive ends; several at once do no
    harm, and whichever is quicker writes the next segment. What LOG has forgotten is then read from
    the archive, by every verb that takes --archive.
    """
    if rate is not None and not dry_run:
        raise click.UsageError("--rate is for --dry-run: an archiver is as fast as the log")
    if not every_ms:
        raise click.UsageError("--segment-every is above 0, each record would be a segment")
    from binlog.address import open_log
    from binlog.archive.archive import Archive
    from binlog.archive.archiver import Archiving, archive
    from binlog.objects.address import open_objects

    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(contextlib.closing(open_log(log)))
        objects = stack.enter_context(contextlib.closing(open_objects(into)))
        if dry_run:
            _write_prices(opened.params, log, into, every_ms / 1000, rate, as_json=as_json)
            return
        stop = stack.enter_context(stopped_by_signals())
        kept = Archive.create(objects, opened.params, opened.genesis)
        how = Archiving(
            once=once,
            segment_every_s=every_ms / 1000,
            segment_bytes_max=bytes_max,
            announced=_to_announce(into) if is_announced else None,
        )
        what = "archiving" if once else "following"
        with progress(what, unit="records") as show:
            report = archive(opened, kept, how, stop=stop, progress=show)
        halts = [_halt_line(opened, log, report)] if report.halts else []
    if as_json:
        write_json(report_document(report, into))
    else:
        _write_report(report)
    for line in halts:
        note(f"binlog: {line}")
    if halts:
        context.exit(1)


def _to_announce(into: str) -> str:
    """A directory by its whole path; what an address of a service says beside its name is kept."""
    return absolute_address(into) if parse_address(into).scheme == "file" else into


def _halt_line(opened: Log, log: str, report: Report) -> str:
    from binlog.halt import halted_error

    halt = report.halts[0]
    count = len(report.halts)
    more = "" if count == 1 else f" (and {count - 1} more partitions)"
    return f"{halted_error(halt, opened.locate(halt.position), log=log)}{more}"


# -- the answer ------------------------------------------------------------------------------------


def report_document(report: Report, into: str) -> dict[str, Any]:
    """The report as ``--json`` prints it; of the partitions those that the run wrote anything of."""
    return {
        "archive": into,
        "segments": report.total("segments"),
        "records": report.total("records"),
        "events": report.total("events"),
        "bytes": report.total("bytes"),
        "raw_bytes": report.total("raw_bytes"),
        "read_bytes": report.read_bytes,
        "lost": report.total("lost"),
        "announced": report.announced,
        "seconds": round(report.seconds, 3),
        "vector": {str(partition): offset for partition, offset in report.vector.items()},
        "partitions": [
            {name: getattr(lane, name) for name in _LANES} for lane in report.lanes if lane.segments
        ],
        "halted": [
            {"partition": halt.partition, "position": str(halt.position), "rule": halt.rule}
            for halt in report.halts
        ],
    }


def _write_report(report: Report) -> None:
    written = [lane for lane in report.lanes if lane.segments]
    if written:
        write_table(
            _LANES,
            [
                (
                    lane.partition,
                    *(f"{getattr(lane, name):,}" for name in _LANES[1:]),
                )
                for lane in written
            ],
        )
    segments, events = report.total("segments"), report.total("events")
    size, read = report.total("bytes"), report.read_bytes
    lost = report.total("lost")
    others = f"; others were quicker {lost:,} times" if lost else ""
    write_text(
        f"{events:,} events in {segments:,} segments of {len(written)} partitions,"
        f" {size:,} bytes of {read:,} read, in {report.seconds:.1f} s{others}",
        f"archived: {sum(report.vector.values()):,} events of {len(report.vector)} partitions",
    )


# -- the price -------------------------------------------------------------------------------------


def _write_prices(
    params: Params, log: str, into: str, every_s: float, rate: float | None, *, as_json: bool
) -> None:
    from binlog.archive import price

    is_paid = into.startswith("s3:")
    found = price.choices(every_s, partitions=params.partitions, rate=rate, paid=is_paid)
    if as_json:
        names = price.Choice.__struct_fields__
        rows = [{name: _rounded(getattr(each, name)) for name in names} for each in found]
        write_json(
            {
                "log": log,
                "archive": into,
                "state": "reckoned",
                "segment_every_s": every_s,
                "partitions": params.partitions,
                "rate": rate,
                "choices": rows,
            }
        )
        return
    write_table(
        ("T", "writes/month", "objects/month", "MB/month", "$ writes", "$ kept, a month of it", ""),
        [
            (
                length_text(each.segment_every_s),
                f"{each.puts_month:,}",
                f"{each.objects_month:,}",
                f"{each.bytes_month / 1e6:,.1f}",
                f"{each.put_dollars:,.2f}",
                f"{each.kept_dollars:,.2f}",
                "<- --segment-every" if each.segment_every_s == every_s else "",
            )
            for each in found
        ],
    )
    if rate is None:
        busy = "every partition busy all the time, events not counted: give --rate R"
    else:
        busy = f"{rate:,g} events/s, each {price.EVENT_BYTES:g} B in a segment as scripts/bench measured"
    paid = "list prices" if is_paid else "a directory costs its disk alone"
    write_text(f"reckoned for {params.partitions} partitions; {busy}; {paid}")


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value
