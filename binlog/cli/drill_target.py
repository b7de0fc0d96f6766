"""``binlog drill``: drills on services of a real account, and what is left of those that were killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from binlog.cli.drill_names import REAL, refuse_elsewhere
from binlog.cli.output import note, write_text
from binlog.cli.verb import Verb
from binlog.errors import BusyError

if TYPE_CHECKING:
    from binlog.drills.declared import Declared
    from binlog.drills.target import Target

_F = TypeVar("_F", bound=Callable[..., Any])

ledger_option = click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("binlog-drills-made.jsonl"),
    show_default=True,
    metavar="FILE",
    help="With --target: what is made is written there first.",
)


def target_options(function: _F) -> _F:
    """The options of a game day."""
    for option in (
        ledger_option,
        click.option("--yes-spend", is_flag=True, help="Do not ask: the price is all right."),
        click.option(
            "--account",
            metavar="ID",
            help="The account that is meant, 12 digits; else it is asked.",
        ),
        click.option(
            "--target",
            "targets",
            multiple=True,
            metavar="FILE.toml|URL",
            help="On real services: kinesis://, dynamodb:// and s3:// addresses whose names begin "
            "with binlog-drill, or a file with them. See --dry-run for plan and price.",
        ),
    ):
        function = option(function)
    return function


def real_target(
    targets: Sequence[str],
    drills: Sequence[Declared],
    *,
    account: str | None,
    agreed: bool,
    dry_run: bool,
    ledger: Path,
    say: Callable[[str], object],
) -> Callable[[Path], Target]:
    """What makes the targets of a game day, after all that has to be true and agreed to.

    ``say`` is told the plan and the price.

    Raises:
        RefusedError: something is not; nothing was made.
    """
    from binlog.drills.game_day import MadeLedger, game_day
    from binlog.drills.targets.real import agree, real_maker

    day, made = game_day(targets), MadeLedger(ledger)
    refuse_elsewhere(drills, REAL)
    for entry in made.open_runs():
        note(f"{ledger}: {entry.run} is not over, or has left something: see binlog drill clean")
    meant = agree(
        day,
        drills,
        account=account,
        agreed=agreed,
        dry_run=dry_run,
        say=say,
    )
    return real_maker(day, meant, made)


@click.command(
    "clean",
    cls=Verb,
    role=None,
    examples="""
    binlog drill clean
    binlog drill clean --ledger game-day/made.jsonl
    """,
)
@ledger_option
def clean_command(*, ledger: Path) -> None:
    """Remove what killed drills have left on services, by the ledger of what they made.

    A drill that ends, is interrupted or fails removes what it made itself. Only what is called
    NAME-RUN, with a RUN of the ledger, is ever removed.
    """
    from binlog.drills.game_day import MadeLedger
    from binlog.drills.targets.real import clean_up

    made = MadeLedger(ledger)
    if not made.open_runs():
        note(f"{ledger}: nothing is left" if ledger.exists() else f"{ledger}: no such file here")
        return
    left = clean_up(made, lambda line: write_text(f"removing {line}"))
    for line in left:
        write_text(f"left: {line}")
    if left:
        raise BusyError(f"{len(left)} not removed", str(ledger), "run it again later")
