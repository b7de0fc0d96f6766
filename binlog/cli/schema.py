"""``binlog schema``: a lock file of all event types and versions, written and checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from binlog.cli.output import json_option, note, write_json, write_text
from binlog.cli.verb import Verb

if TYPE_CHECKING:
    from appliers.lock.finding import Finding


class Schema(Verb, click.Group):
    """A verb of two: its help ends with examples, too."""


_file_argument = click.argument(
    "file",
    metavar="[FILE]",
    default="schema.lock.json",
    type=click.Path(dir_okay=False, path_type=Path),
)


@click.group(
    cls=Schema,
    invoke_without_command=True,
    examples="""
    binlog schema lock shop:shop
    git add schema.lock.json
    binlog schema check shop:shop
    """,
)
@click.pass_context
def command(context: click.Context) -> None:
    """Lock the schemas of your events, and check code against the lock.

    The lock file holds every type and schema version that your appliers declare, the shape of their
    data, and golden events with what they upcast and fold to. Commit it beside the code: events
    are in logs for ever, so no version is ever taken out of it.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command(
    "lock",
    cls=Verb,
    role=None,
    examples="""
    binlog schema lock shop:shop
    binlog schema lock shop.rules:appliers schemas/shop.lock.json --dry-run
    binlog schema lock shop:shop --key order --key Shipped=order,parcel
    binlog schema lock shop:shop --same-meaning
    binlog schema lock shop:shop --unpublished Placed@2
    """,
)
@click.argument("appliers", metavar="MODULE:OBJECT")
@_file_argument
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="[TYPE=]ATTR[,ATTR]",
    help="The key attributes of golden events, of all types or of one; by default id.",
)
@click.option(
    "--same-meaning",
    is_flag=True,
    help="You vouch: functions whose source changed under the same version compute what they did.",
)
@click.option(
    "--unpublished",
    multiple=True,
    metavar="TYPE[@N]",
    help="You vouch: no log holds events of this type, or of its schemas from N on. Lock it anew.",
)
@click.option(
    "--retire",
    "retired",
    multiple=True,
    metavar="[TYPE]:TABLE",
    help="Forget the applier of TYPE for TABLE, or, without a type, the owner of TABLE.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be locked; write nothing.")
@json_option
@click.pass_context
def lock_command(
    context: click.Context,
    *,
    appliers: str,
    file: Path,
    keys: tuple[str, ...],
    same_meaning: bool,
    unpublished: tuple[str, ...],
    retired: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write FILE, or extend it by what the appliers declare.

    What is locked stays: a change that old events do not fit is refused, with status 1 and one
    finding a line, and nothing is written.
    """
    from appliers.loading import load_rules
    from appliers.lock.file import read_lock, write_lock
    from appliers.lock.finding import Words
    from appliers.lock.locking import Vouched, extend

    rules = load_rules(appliers)
    lock = read_lock(file)
    vouched = Vouched(same_meaning=same_meaning, unpublished=unpublished, retired=retired)
    found = extend(lock, rules, Words(appliers, str(file)), vouched=vouched, keys=_parse_keys(keys))
    breaking = [finding for finding in found.findings if finding.breaking]
    written = found.lock is not None and found.changed and not dry_run
    if written and found.lock is not None:
        write_lock(file, found.lock)
    if as_json:
        write_json(
            {
                **_document(found.findings),
                "remarks": found.remarks,
                "changed": found.changed,
                "written": written,
            }
        )
    else:
        _write_findings(breaking)
        if not breaking:
            _write_locked(found.findings, file, new=lock is None, changed=found.changed)
            if dry_run and found.changed:
                write_text("nothing written (dry run)")
        for remark in found.remarks:
            note(f"note: {remark}")
    if breaking:
        context.exit(1)


@command.command(
    "check",
    cls=Verb,
    role=None,
    examples="""
    binlog schema check shop:shop
    binlog schema check shop:shop --complete
    binlog schema check shop.rules:appliers schemas/shop.lock.json --json
    """,
)
@click.argument("appliers", metavar="MODULE:OBJECT")
@_file_argument
@click.option("--complete", is_flag=True, help="What is not locked yet is a finding, too: for CI.")
@json_option
@click.pass_context
def check_command(
    context: click.Context, *, appliers: str, file: Path, complete: bool, as_json: bool
) -> None:
    """Check the appliers against FILE; write nothing.

    Status 1, and one finding a line, if events that may be in logs do not fit any more: an
    incompatible change without a new schema version, an upcaster or type that is gone, an applier
    that computes something else under the same version. Status 0 if all fit; what is not locked
    yet is noted.
    """
    from appliers.loading import load_rules
    from appliers.lock.check import check
    from appliers.lock.file import read_lock
    from appliers.lock.finding import Words
    from binlog.errors import RefusedError

    rules = load_rules(appliers)
    words = Words(appliers, str(file))
    lock = read_lock(file)
    if lock is None:
        raise RefusedError(
            "there is no lock file", str(file), f"write it and commit it: {words.lock_command}"
        )
    found = check(lock, rules, words)
    failing = [finding for finding in found if finding.breaking or complete]
    if as_json:
        write_json(_document(found, complete=complete))
    else:
        _write_findings(failing)
        for finding in found:
            if finding not in failing:
                note(f"note: {finding}")
        if not failing:
            events = sum(len(v.golden) for entry in lock.types.values() for v in entry.versions)
            types = len(lock.types)
            write_text(
                f"ok: {types} type{'s' * (types != 1)} and {events} golden "
                f"event{'s' * (events != 1)} are as locked"
            )
    if failing:
        context.exit(1)


def _document(found: list[Finding], *, complete: bool = False) -> dict[str, Any]:
    failing = [finding for finding in found if finding.breaking or complete]
    behind = [finding for finding in found if not (finding.breaking or complete)]
    return {
        "ok": not failing,
        "findings": [finding.document() for finding in failing],
        "behind": [finding.document() for finding in behind],
    }


def _write_findings(found: list[Finding]) -> None:
    write_text(*map(str, found))


def _write_locked(found: list[Finding], file: Path, *, new: bool, changed: bool) -> None:
    write_text(*(finding.what for finding in found))
    if not changed:
        write_text(f"{file} is up to date")
    else:
        write_text(f"{file}: {'written' if new else 'extended'}; commit it beside the code")


def _parse_keys(given: tuple[str, ...]) -> dict[str, list[str]]:
    """Key attributes by event type, "" for all.

    Raises:
        click.UsageError: not one or two names.
    """
    keys = {}
    for text in given:
        event_type, _, names = text.rpartition("=")
        attributes = names.split(",")
        if not all(attributes) or len(attributes) > 2:
            raise click.UsageError(f"--key {text!r}: one or two attributes, ATTR or ATTR,ATTR")
        keys[event_type] = attributes
    return keys
