"""``binlog replicate``: carry a store forward from its checkpoints, once or for ever."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from binlog.cli.options import archive_option, log_argument, snapshots_option, store_argument
from binlog.cli.output import json_option, write_json
from binlog.cli.pace_options import pace_options
from binlog.cli.progress import progress
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
from binlog.errors import BinlogError, RefusedError

if TYPE_CHECKING:
    from consumers.metrics import Metrics
    from consumers.pace import Setting


@click.command(
    cls=Verb,
    role="applier",
    examples="""
    binlog replicate file:log sqlite:replica.db --once
    binlog replicate file:log sqlite:replica.db
    binlog replicate file:log sqlite:replica.db --rate 500
    binlog replicate kinesis://orders dynamodb://copy --max-behind 12h
    binlog replicate file:log sqlite:replica.db --once --json --appliers shop.rules:appliers
    """,
)
@log_argument
@store_argument()
@archive_option
@click.option("--once", is_flag=True, help="End at the log's end, instead of following it.")
@pace_options
@exclude_option
@park_option
@max_units_option
@snapshots_option
@rules_option
@click.option(
    "--same-meaning",
    is_flag=True,
    help="The source of the appliers changed, and they compute what they did.",
)
@click.option(
    "--alone",
    is_flag=True,
    help="The workers that shared the store (Lambda, KCL) are gone for good.",
)
@click.option(
    "--metrics",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep figures in that file, JSON, replaced once a second: events, writes, parked, behind_ms,"
    " runway_ms, rested_ms and others.",
)
@click.option(
    "--emf",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add them to that file every ten seconds, a line in CloudWatch's embedded metric format:"
    " /dev/stderr in a container, or what the CloudWatch agent follows.",
)
@json_option
def command(
    *,
    log: str,
    store: str,
    archive: str | None,
    once: bool,
    setting: Setting,
    excluded: tuple[str, ...],
    park: bool,
    max_units: int | None,
    snapshots: str | None,
    appliers: str | None,
    same_meaning: bool,
    alone: bool,
    metrics: Path | None,
    emf: Path | None,
    as_json: bool,
) -> None:
    """Apply to STORE what LOG has beyond the store's checkpoints; a new store begins at zero.

    It goes on with new events until Ctrl-C or SIGTERM, which end it cleanly: what was applied is
    committed, and the report is printed. Items and checkpoint change together, so it may be killed
    at any time and goes on where it was. --exclude is for a store that is made here.
    """
    if once and setting.max_behind_s is not None:
        raise click.UsageError("--once ends at the log's end, and --max-behind keeps away from it")
    from appliers.address import open_store
    from appliers.summary import summarize
    from binlog.cli.announced import open_with_archive
    from consumers.local import Following, replicate
    from consumers.metrics_lines import Several

    rules = load_rules(appliers)
    with contextlib.ExitStack() as stack:
        into = stack.enter_context(contextlib.closing(open_store(store)))
        opened = stack.enter_context(
            contextlib.closing(open_with_archive(_sharing(log, setting), archive, lambda: into))
        )
        allow_units(into, store, max_units)
        how = Following(
            once=once,
            setting=setting,
            rules=rules,
            excluded=excluded,
            poison="park" if park else "stop",
            same_meaning=same_meaning,
            alone=alone,
            bases=open_bases(opened, snapshots, stack),
        )
        with stopped_by_signals() as stop, progress("replicating" if once else "following") as show:
            with _figures(metrics, log, store) as kept, _lines(emf, log, store) as lines:
                told = [each for each in (kept, lines) if each is not None]
                report = replicate(
                    opened,
                    into,
                    how,
                    stop=stop,
                    progress=show,
                    metrics=Several(told) if told else None,
                )
        summary = summarize(into)
    if as_json:
        write_json(report_document(report, summary))
    else:
        write_report(report, summary, what="applied")


def _sharing(log: str, setting: Setting) -> str:
    """The log's address; who is behind on purpose leaves half of a stream's reads to others."""
    from binlog.address import parse_address

    if setting.is_free or (address := parse_address(log)).scheme != "kinesis" or address.reads:
        return log
    from binlog.logs.kinesis import LAZY_READS_PER_S

    return f"{log}{'&' if '?' in log else '?'}reads={LAZY_READS_PER_S:g}"


@contextlib.contextmanager
def _figures(path: Path | None, log: str, store: str) -> Iterator[Metrics | None]:
    """Where the figures go; the file says how the run ended.

    Raises:
        RefusedError: it cannot be written.
    """
    if path is None:
        yield None
        return
    from binlog.clock import SystemClock
    from consumers.metrics import MetricsFile

    if not path.absolute().parent.is_dir():
        raise RefusedError(f"no folder for {path}", "--metrics", "make it first")
    kept = MetricsFile(path, SystemClock(), log=log, store=store)
    try:
        yield kept
    except BinlogError as error:
        kept.save(state="failed", error=str(error))
        raise
    kept.save(state="ended")


@contextlib.contextmanager
def _lines(path: Path | None, log: str, store: str) -> Iterator[Metrics | None]:
    """The same as lines, added to a file; the last one however the run ends.

    Raises:
        RefusedError: it cannot be written.
    """
    if path is None:
        yield None
        return
    from binlog.clock import SystemClock
    from consumers.aws_lambda_metrics import Metrics as EmbeddedMetrics
    from consumers.metrics_lines import Summed

    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror}", "--emf", "name one to write to") from error
    with file:

        def write(line: str) -> None:
            with contextlib.suppress(OSError):  # a disk that is full stops no replica
                file.write(f"{line}\n")
                file.flush()

        lines = Summed(EmbeddedMetrics("binlog", log=log, store=store, write=write), SystemClock())
        try:
            yield lines
        finally:
            lines.flush()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """Whether somebody asked us to end; who asks twice does not want to wait."""
    asked = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before[number])

    before: dict[int, Any] = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
