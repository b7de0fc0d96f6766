"""``binlog snapshots``: which there are, which of them stay, and whether they are whole."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from binlog.cli.options import archive_option, format_time
from binlog.cli.output import json_option, note, write_json, write_table, write_text
from binlog.cli.progress import progress
from binlog.cli.snapshot import dest_argument, document
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from binlog.objects.objects import Objects
    from snapshots.retention import Facts, Kept
    from snapshots.snapshot import Unreadable
    from snapshots.snapshot_manifest import Manifest


@click.command(
    cls=Verb,
    role="operator",
    examples="""
    binlog snapshots s3://backups/shop
    binlog snapshots file:snapshots --json
    binlog snapshots file:snapshots --check
    binlog snapshots s3://backups/shop --keep 24h:1h,30d:1d,all:4w
    binlog snapshots s3://backups/shop --keep 30d:1d --log kinesis://orders --archive s3://a/orders --yes
    """,
)
@dest_argument()
@click.option(
    "--check",
    is_flag=True,
    help="Read all of them and compare every byte; with --log, their checkpoints with the log, too.",
)
@click.option(
    "--keep",
    metavar="POLICY",
    help="Which stay: of the last 24 hours one an hour, of 30 days one a day, of all others one in"
    " four weeks is 24h:1h,30d:1d,all:4w. Ages count from the newest. Without --yes only told.",
)
@click.option(
    "--log",
    metavar="LOG",
    help="The log that they are of. With --keep: one that still has its beginning needs no oldest.",
)
@archive_option
@click.option("--yes", is_flag=True, help="Remove what does not stay.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed; the default.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    dest: str,
    check: bool,
    keep: str | None,
    log: str | None,
    archive: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List the snapshots in DEST: when, how far, how large; those that cannot be read as well.

    --keep thins them out. Whatever the policy, there stay: the newest, the base of an adopted table,
    and the oldest, where the log has forgotten what comes before it or is not named.
    """
    from binlog.objects.address import open_objects

    if (yes or dry_run) and keep is None:
        raise click.UsageError("--yes and --dry-run go with --keep")
    if log is not None and keep is None and not check:
        raise click.UsageError("--log goes with --keep or --check")
    if yes and dry_run:
        raise click.UsageError("--yes or --dry-run, not both")
    if keep is not None and check:
        raise click.UsageError("--check or --keep, not both")
    with contextlib.closing(open_objects(dest)) as objects:
        if check:
            _check(context, objects, log, archive, as_json=as_json)
        elif keep is not None:
            _keep(objects, keep, log, archive, yes=yes, as_json=as_json)
        else:
            _list(context, objects, as_json=as_json)


# -- list ----------------------------------------------------------------------------------------


def _list(context: click.Context, objects: Objects, *, as_json: bool) -> None:
    found, unreadable = _read(objects)
    if as_json:
        write_json(
            {
                "snapshots": [document(manifest) for manifest in found],
                "unreadable": [{"id": u.id, "error": str(u.error)} for u in unreadable],
            }
        )
    else:
        _write(found)
        for each in unreadable:
            note(f"{each.id}: {each.error}")
        if not found and not unreadable:
            note(f"{objects.name}: no snapshot is finished there")
    if unreadable:
        context.exit(1)


def _read(objects: Objects) -> tuple[list[Manifest], list[Unreadable]]:
    from snapshots.snapshot import age, snapshots_and_unreadable
    from snapshots.snapshot_manifest import Manifest

    found, unreadable = [], []
    for each in snapshots_and_unreadable(objects):
        if isinstance(each, Manifest):
            found.append(each)
        else:
            unreadable.append(each)
    return sorted(found, key=age), unreadable


def _write(manifests: Sequence[Manifest], why: Sequence[str] | None = None) -> None:
    if not manifests:
        return
    columns = ["id", "taken", "tables", "rows", "offsets", "exact", "size", "digest"]
    rows: list[list[Any]] = [
        [
            m.id,
            format_time(m.taken_ms),
            _tables(m),
            f"{m.rows:,}",
            f"{sum(m.vector.values()):,}",
            "yes" if m.is_exact else f"+{sum(m.exact.values()) - sum(m.vector.values()):,}",
            size_text(m.size_bytes),
            f"{m.digest[:12]}",
        ]
        for m in manifests
    ]
    if why is not None:
        columns.append("stays")
        for row, reason in zip(rows, why, strict=True):
            row.append(reason)
    write_table(columns, rows)


def _tables(manifest: Manifest) -> str:
    names = ", ".join(manifest.generation.tables) or "none yet"
    return f"{names} (adopted)" if manifest.adopted is not None else names


def size_text(size: int) -> str:
    """Bytes for people."""
    number, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{size} B" if unit == "B" else f"{number:.1f} {unit}"


# -- keep ----------------------------------------------------------------------------------------


def _keep(
    objects: Objects, policy: str, log: str | None, archive: str | None, *, yes: bool, as_json: bool
) -> None:
    from binlog.cli.announced import open_with_archive
    from snapshots.retention import drop, parse_policy, thin

    terms = parse_policy(policy)
    found, unreadable = _read(objects)
    facts: Facts | None = None
    with contextlib.ExitStack() as stack:
        if log is not None:
            from snapshots.retention_facts import RetentionFacts

            opened = stack.enter_context(contextlib.closing(open_with_archive(log, archive)))
            facts = RetentionFacts(opened, objects, found)
        judged = thin(found, terms, facts=facts)
    gone = [each.manifest for each in judged if not each.stays]
    if yes:
        drop(objects, gone)
    _write_kept(judged, unreadable, done=yes, as_json=as_json)


def _write_kept(
    judged: Sequence[Kept], unreadable: Sequence[Unreadable], *, done: bool, as_json: bool
) -> None:
    gone = [each.manifest for each in judged if not each.stays]
    if as_json:
        write_json(
            {
                "kept": [
                    {"id": each.manifest.id, "reasons": each.reasons}
                    for each in judged
                    if each.stays
                ],
                "removed": [manifest.id for manifest in gone],
                "bytes": sum(manifest.size_bytes for manifest in gone),
                "dry_run": not done,
                "unreadable": [each.id for each in unreadable],
            }
        )
        return
    goes = "removed" if done else "would go"
    _write([each.manifest for each in judged], ["; ".join(each.reasons) or goes for each in judged])
    for each in unreadable:
        note(f"{each.id} stays, it cannot be read: {each.error}")
    size = size_text(sum(manifest.size_bytes for manifest in gone))
    write_text(
        f"{goes}: {len(gone)} of {len(judged)}, {size}" + ("" if done else "; --yes removes them")
    )


# -- check ---------------------------------------------------------------------------------------


def _check(
    context: click.Context, objects: Objects, log: str | None, archive: str | None, *, as_json: bool
) -> None:
    from binlog.cli.announced import open_with_archive
    from snapshots.check_snapshots import check_against_log, check_snapshots, check_some_of

    with contextlib.ExitStack() as stack:
        opened = None
        if log is not None:
            opened = stack.enter_context(contextlib.closing(open_with_archive(log, archive)))
            check_some_of(objects, opened)
        with progress("checking") as show:
            findings = list(check_snapshots(objects, progress=show))
        if opened is not None:
            with progress("walking the log") as show:
                findings += check_against_log(objects, opened, tick=show)
    is_broken = any(finding.broken for finding in findings)
    if as_json:
        shown = [{"rule": f.rule, "where": f.where, "detail": f.detail} for f in findings]
        write_json({"ok": not is_broken, "findings": shown})
    else:
        for finding in findings:
            mark = "broken" if finding.broken else "noted"
            write_text(f"{mark:6} {finding.rule}: {finding.where}: {finding.detail}")
        write_text("damaged" if is_broken else "ok")
    if is_broken:
        context.exit(1)
