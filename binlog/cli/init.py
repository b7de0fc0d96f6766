"""``binlog init``: make a log and pin what every reader must know."""

from __future__ import annotations

import contextlib
import secrets
from typing import Literal

import click
import msgspec

from binlog.address import open_log, parse_address
from binlog.cli.init_kinesis import StreamWishes, make_stream_log, show_choices
from binlog.cli.options import DurationType, RateType, log_argument
from binlog.cli.output import json_option, write_json, write_text
from binlog.cli.verb import Verb
from binlog.errors import RefusedError
from binlog.logs.directory_genesis import create_directory_log
from binlog.params import Params

_DEFAULTS = Params(log_id="0" * 32)


@click.command(
    cls=Verb,
    role="operator",
    examples="""
    binlog init file:log
    binlog init file:/var/lib/shop/log --partitions 16
    binlog init file:log --session-age 5m --session-life 30m --json
    binlog init kinesis://orders --rate 1000 --producers 10
    binlog init kinesis://orders --partitions 16 --shards 4 --retention 7d --encrypt
    """,
)
@log_argument
@click.option(
    "--partitions",
    type=int,
    help="Ordered sub-logs; as many workers can share the work at most. In a directory"
    f" {_DEFAULTS.partitions} if not given; on Kinesis it has a price, and has to be given.",
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
    help="Events a second, all producers together: without --partitions, what a few choices come"
    " to on Kinesis, and nothing is made. A directory costs nothing.",
)
@click.option(
    "--producers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that append, for the same purpose.",
)
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    metavar="M",
    help="Kinesis: make the stream, provisioned, with this many shards.",
)
@click.option("--on-demand", is_flag=True, help="Kinesis: make the stream, on demand.")
@click.option(
    "--retention",
    type=DurationType(),
    metavar="TIME",
    help="Kinesis: how long the stream keeps records, in whole hours, 24h to 365d.",
)
@click.option(
    "--encrypt",
    is_flag=False,
    flag_value="alias/aws/kinesis",
    metavar="[KEY]",
    help="Kinesis: encrypt the stream, by the service's own key if none is named.",
)
@json_option
def command(
    *,
    log: str,
    partitions: int | None,
    session_age: int,
    session_life: int,
    id_window: int,
    hold_frames: int,
    foreign: Literal["divert", "halt", "skip"],
    rate: float | None,
    producers: int | None,
    shards: int | None,
    on_demand: bool,
    retention: int | None,
    encrypt: str | None,
    as_json: bool,
) -> None:
    """Make LOG, in one step, and pin its parameters: they cannot be changed later.

    Repeated with equal parameters it says that the log exists, and succeeds; with others it is
    refused with status 2. A stream that is there, and empty of other logs, becomes a log as it is.
    """
    address = parse_address(log)
    stream = StreamWishes(
        shards=shards, on_demand=on_demand, retention_ms=retention, kms_key=encrypt
    )
    if address.scheme == "kinesis":
        if partitions is None:
            show_choices(log, rate, producers, stream, as_json=as_json)
            return
    elif stream.given:
        raise RefusedError(f"{stream.given} is for a stream", log, "write kinesis://STREAM")
    try:
        params = Params(
            log_id=secrets.token_hex(16),
            partitions=_DEFAULTS.partitions if partitions is None else partitions,
            session_age_ms=session_age,
            session_life_ms=session_life,
            id_window=id_window,
            hold_frames_max=hold_frames,
            foreign=foreign,
        )
    except ValueError as error:
        raise RefusedError(str(error), log, "see binlog init --help") from error
    if address.scheme == "kinesis":
        state, pinned = make_stream_log(address, params, stream)
    elif address.scheme == "file":
        state = create_directory_log(address.path, params)
        with contextlib.closing(open_log(log)) as made:
            pinned = made.params
    else:
        raise RefusedError(
            f"{log!r} is no log that can be made here", do="write file:DIR or kinesis://STREAM"
        )
    if as_json:
        document = {"log": str(address), "state": state, "params": msgspec.to_builtins(pinned)}
        write_json(document)
    else:
        count = "1 partition" if pinned.partitions == 1 else f"{pinned.partitions} partitions"
        write_text(f"{state} {address}: {count}, log id {pinned.log_id}")
