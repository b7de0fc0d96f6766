"""``binlog redrive``: put events that wait back, in order; first only say what would come of it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import click

from appliers.poison import readable_key
from binlog.cli.options import item_key, store_argument
from binlog.cli.output import json_option, note, write_json, write_table, write_text
from binlog.cli.parked import shortened, waiting_document
from binlog.cli.replay import load_rules, rules_option
from binlog.cli.verb import Verb
from consumers.redrive import Redrive, Redriven

_WORDS = {
    "back": "all applied",
    "partly": "some applied",
    "stays": "stays parked",
    "gone": "nothing left to apply",
    "rebuild": "rebuild the table",
}
_RULES_SHOWN = 3


@click.command(
    cls=Verb,
    role="applier",
    examples="""
    binlog parked sqlite:replica.db
    binlog redrive sqlite:replica.db --appliers shop.rules:appliers --same-meaning
    binlog redrive sqlite:replica.db --appliers shop.rules:appliers --same-meaning --yes
    binlog redrive sqlite:replica.db --without 8c1f --yes
    """,
)
@store_argument()
@click.option("--table", "tables", metavar="T", multiple=True, help="Only of these tables.")
@click.option(
    "--key", metavar="JSON", callback=item_key, help="""Only this key, '{"id": "ann"}'."""
)
@rules_option
@click.option(
    "--same-meaning",
    is_flag=True,
    help="The source of the appliers changed, and of all other events they compute what they did.",
)
@click.option(
    "--without",
    metavar="ID",
    multiple=True,
    help="Leave that event out, for ever: one that waits, and that no other item took. May be"
    " repeated.",
)
@click.option("--dry-run", is_flag=True, help="Say what would come of it; it does without --yes.")
@click.option("--yes", is_flag=True, help="Do it.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    store: str,
    tables: tuple[str, ...],
    key: bytes | None,
    appliers: str | None,
    same_meaning: bool,
    without: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Fold the events that wait behind parked keys of STORE onto their items, by today's appliers.

    Each key's events in their order, up to the first that still cannot be applied; a key with none
    left is parked no longer. Workers of Lambda and KCL may go on meanwhile; binlog replicate, which
    has a store to itself, is to be stopped first. Nothing is written without --yes. Exit status 1 if
    anything stays.

    With --without an event that can never be applied is passed over, and its offset joins the rules that
    the tables are made under, as if they had been rebuilt with --exclude. Where that alone would not do,
    because another item took the event say, it is refused.
    """
    from appliers.address import open_store

    if dry_run and yes:
        raise click.UsageError("--dry-run, or --yes")
    if without and (tables or key is not None):
        raise click.UsageError("--without is for all that wait: leave out --table and --key")
    rules = load_rules(appliers)
    with contextlib.closing(open_store(store, must_exist=True)) as opened:
        redrive = Redrive(
            opened,
            rules,
            tables=tables or None,
            key=key,
            without=without,
            same_meaning=same_meaning,
            dry_run=not yes,
        )
        done = list(redrive.run())
    if as_json:
        left_out = {"without": [each.rule for each in redrive.left_out]} if without else {}
        redriven = [redriven_document(each) for each in done]
        write_json({"written": yes, "redriven": redriven, **left_out})
    else:
        _write_text(done, nothing="nothing is parked" + " of these" * bool(tables or key))
        if any(each.applied or each.outcome == "gone" for each in done) and not yes:
            note("binlog: nothing was written; --yes does it")
        for event in redrive.left_out:
            note(f"binlog: event {event.id} is left out{'' if yes else ' then'}: {event.rule}")
    if not all(each.is_done for each in done):
        context.exit(1)


def redriven_document(done: Redriven) -> dict[str, Any]:
    """What became of a key as JSON; ``stopped`` is the event that still cannot be applied."""
    stopped = done.stopped
    return {
        **waiting_document(done.waiting),
        "outcome": done.outcome,
        "applied": done.applied,
        "rejected": done.rejected,
        "left": done.left,
        "stopped": None
        if stopped is None
        else {
            "offset": stopped.offset,
            "id": stopped.id,
            "type": stopped.type,
            "reason": stopped.reason,
            "exclude": f"offsets={stopped.partition}:{stopped.offset}-{stopped.offset}",
        },
    }


def _write_text(done: Sequence[Redriven], *, nothing: str) -> None:
    if not done:
        write_text(nothing)
        return
    write_table(
        ("table", "key", "partition", "events", "applied", "left", "outcome", "stopped at", "why"),
        [
            (
                each.waiting.table or "-",
                shortened(readable_key(each.waiting.key)[1]),
                each.waiting.partition,
                f"{each.waiting.count:,}",
                f"{each.applied:,}",
                f"{each.left:,}" if each.left else "-",
                _outcome(each),
                "-" if each.stopped is None else f"offset {each.stopped.offset}",
                _why(each),
            )
            for each in done
        ],
    )
    stays = [each for each in done if each.outcome in ("partly", "stays")]
    stopped = [each.stopped for each in stays if each.stopped is not None]
    if not stopped:
        return
    few = [f"--exclude offsets={x.partition}:{x.offset}-{x.offset}" for x in stopped[:_RULES_SHOWN]]
    more = "" if len(stopped) <= _RULES_SHOWN else f" and so on, {len(stopped):,} of them (--json)"
    write_text(
        "",
        "what stays needs other appliers; an event that never can be applied is passed by --without ID, or",
        f"  binlog rebuild LOG STORE {' '.join(few)}{more}",
    )


def _outcome(done: Redriven) -> str:
    if done.waiting.alone and done.outcome in ("partly", "stays"):
        return "stays, alone"
    return _WORDS[done.outcome]


def _why(done: Redriven) -> str:
    if done.stopped is not None:
        return shortened(done.stopped.reason)
    return "" if done.is_done else "its dead letters are not there: binlog check"
