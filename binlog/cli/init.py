"""``binlog init``: make a log and pin what every reader must know."""

from __future__ import annotations

import contextlib
import secrets
from typing import Literal

import click
import msgspec

from binlog.address import open_log, parse_address
from binlog.cli.options import DurationType, RateType, log_argument
from binlog.cli.output import json_option, write_json, write_text
from binlog.cli.verb import Verb
from binlog.errors import RefusedError
from binlog.logs.directory_genesis import create_directory_log
from binlog.params import Params

_DEFAULTS = Params(log_id="0" * 32)


@click.command(
    cls=Verb,
    examples="""
    binlog init file:log
    binlog init file:/var/lib/shop/log --partitions 16
    binlog init file:log --session-age 5m --session-life 30m --json
    """,
)
@log_argument
@click.option(
    "--partitions",
    type=int,
    default=_DEFAULTS.partitions,
    show_default=True,
    help="Ordered sub-logs; as many workers can share the work at most.",
)
@click.option(
    "--session-age",
    type=DurationType(),
    default="15m",
    show_default=True,
    help="After this a producer's session takes no more events and is renewed.",
)
@click.option(
    "--session-life",
    type=DurationType(),
    default="1h",
    show_default=True,
    help="A frame that lands later than this after its session's start is dropped.",
)
@click.option(
    "--id-window",
    type=click.IntRange(min=1),
    default=_DEFAULTS.id_window,
    show_default=True,
    help="Recent event ids that a partition remembers, for producers that ask for it.",
)
@click.option(
    "--hold-frames",
    type=click.IntRange(min=1),
    default=_DEFAULTS.hold_frames_max,
    show_default=True,
    help="Frames that may wait in a partition for a missing one before it halts.",
)
@click.option(
    "--foreign",
    type=click.Choice(["divert", "halt", "skip"]),
    default=_DEFAULTS.foreign,
    show_default=True,
    help="What readers do with records that another program put into the stream.",
)
@click.option(
    "--rate",
    type=RateType(),
    metavar="R",
    help="Events a second, to size a log that is paid for. A directory costs nothing.",
)
@click.option(
    "--producers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that append, for the same purpose.",
)
@json_option
def command(
    *,
    log: str,
    partitions: int,
    session_age: int,
    session_life: int,
    id_window: int,
    hold_frames: int,
    foreign: Literal["divert", "halt", "skip"],
    rate: float | None,  # noqa: ARG001 (no log that can be made so far is paid for)
    producers: int | None,  # noqa: ARG001
    as_json: bool,
) -> None:
    """Make LOG, in one step, and pin its parameters: they cannot be changed later.

    Repeated with equal parameters it says that the log exists, and succeeds; with others it is
    refused with status 2.
    """
    try:
        params = Params(
            log_id=secrets.token_hex(16),
            partitions=partitions,
            session_age_ms=session_age,
            session_life_ms=session_life,
            id_window=id_window,
            hold_frames_max=hold_frames,
            foreign=foreign,
        )
    except ValueError as error:
        raise RefusedError(str(error), log, "see binlog init --help") from error
    address = parse_address(log)
    if address.scheme != "file":
        raise RefusedError(f"{log!r} is no log that can be made here", do="write file:DIR")
    state = create_directory_log(address.path, params)
    with contextlib.closing(open_log(log)) as made:
        pinned = made.params
    if as_json:
        document = {"log": str(address), "state": state, "params": msgspec.to_builtins(pinned)}
        write_json(document)
    else:
        write_text(f"{state} {address}: {pinned.partitions} partitions, log id {pinned.log_id}")
