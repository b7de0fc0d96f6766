"""``binlog check``: every broken invariant of a log, and of a store made from it."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import click

from binlog.cli.options import archive_option, log_argument, store_argument
from binlog.cli.output import json_option, write_json, write_text
from binlog.cli.progress import progress
from binlog.cli.rebuild import processors
from binlog.cli.replay import load_rules, rules_option
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from binlog.cli.progress import Show
    from binlog.logs.directory_check import Finding


@click.command(
    cls=Verb,
    examples="""
    binlog check file:log
    binlog check file:log sqlite:replica.db
    binlog check file:log sqlite:replica.db --appliers shop.rules:appliers --json
    binlog check s3://kept/orders
    binlog check kinesis://orders --archive s3://kept/orders --snapshots s3://kept/snapshots
    """,
)
@log_argument
@store_argument(required=False)
@archive_option
@click.option(
    "--snapshots",
    metavar="URL",
    envvar="BINLOG_SNAPSHOTS",
    show_envvar=True,
    help="Snapshots of LOG, file:DIR or s3://BUCKET/PREFIX: every byte of them, too, and whether LOG"
    " gives their checkpoints. Bases of adopted tables are looked for there as well.",
)
@rules_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    log: str,
    store: str | None,
    archive: str | None,
    snapshots: str | None,
    appliers: str | None,
    as_json: bool,
) -> None:
    """Walk LOG, and STORE, and report every broken invariant. Changes nothing.

    Of the log: every byte, every event, the numbering, halts. LOG may be an archive; with --archive
    both are walked, and have to be one history: no gap, no overlap. Of the store: that it can be read,
    that its checkpoints are what the log gives there, and that every item is the fold of its
    events, which is rebuilt into a temporary file (see TMPDIR). Exit status 1 if anything is broken;
    what is only worth a mention, such as a torn tail, is no such thing.
    """
    from appliers.address import open_store
    from binlog.objects.address import open_objects
    from snapshots.adopt_base import KeptBases
    from snapshots.check import check

    rules = load_rules(appliers)
    with contextlib.ExitStack() as stack:
        replica = None
        if store is not None:
            replica = stack.enter_context(contextlib.closing(open_store(store, must_exist=True)))
        bases = None
        genesis = None if replica is None else replica.genesis()
        if snapshots is not None and genesis is not None:
            objects = stack.enter_context(contextlib.closing(open_objects(snapshots)))
            bases = stack.enter_context(contextlib.closing(KeptBases(genesis, objects)))
        show = stack.enter_context(progress("checking"))
        found = list(
            check(
                log,
                replica,
                archive=archive,
                bases=bases,
                rules=rules,
                workers=processors(),
                tick=lambda what, count: show(count, what=what),
            )
        )
        if snapshots is not None:
            found += _check_snapshots(snapshots, log, archive, found, show, stack)
    broken = [finding for finding in found if finding.broken]
    if as_json:
        findings = [{"rule": f.rule, "where": f.where, "detail": f.detail} for f in found]
        write_json({"ok": not broken, "findings": findings})
    else:
        _write_text(found, broken, store)
    if broken:
        context.exit(1)


def _check_snapshots(
    url: str,
    log: str,
    archive: str | None,
    found: list[Finding],
    show: Show,
    stack: contextlib.ExitStack,
) -> list[Finding]:
    """What is wrong with snapshots; held against the log where that can be read to its end."""
    from binlog.cli.announced import open_with_archive
    from binlog.objects.address import open_objects
    from snapshots.check_snapshots import check_against_log, check_snapshots

    objects = stack.enter_context(contextlib.closing(open_objects(url)))
    more = list(check_snapshots(objects, progress=lambda n: show(n, what="reading snapshots")))
    if not any(finding.rule == "damage" for finding in found):
        opened = stack.enter_context(contextlib.closing(open_with_archive(log, archive)))
        more += check_against_log(
            objects, opened, tick=lambda n: show(n, what="walking the log for snapshots")
        )
    return more


def _write_text(found: list[Finding], broken: list[Finding], store: str | None) -> None:
    for finding in sorted(found, key=lambda finding: not finding.broken):
        mark = "broken" if finding.broken else "noted"
        write_text(f"{mark:6} {finding.rule}: {finding.where}: {finding.detail}")
    what = "log" if store is None else "log and store"
    if not broken:
        write_text(
            f"ok: {what} keep every invariant" if store else "ok: the log keeps every invariant"
        )
        return
    rules = Counter(finding.rule for finding in broken)
    counted = ", ".join(f"{count:,} {rule}" for rule, count in rules.most_common())
    write_text("", f"not ok: {len(broken):,} finding{'s' * (len(broken) != 1)} ({counted})")
