"""``binlog kcl``: run a consumer under the Kinesis Client Library, or print its properties."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from binlog.cli.options import DurationType, archive_option, log_argument, store_argument
from binlog.cli.output import json_option, note, write_json, write_text
from binlog.cli.pace_options import pace_options
from binlog.cli.replay import exclude_option, rules_option
from binlog.cli.verb import Verb
from binlog.errors import RefusedError

if TYPE_CHECKING:
    from consumers.kcl_plan import Plan
    from consumers.pace import Setting

_F = TypeVar("_F", bound=Callable[..., Any])


class Kcl(Verb, click.Group):
    """A verb of two: its help ends with examples, too."""


def _plan_options(function: _F) -> _F:
    options = [
        log_argument,
        store_argument(),
        click.option(
            "--leases",
            metavar="URL",
            help="The application, whose name KCL's lease table has, with the table's own region,"
            " profile, role and endpoint: dynamodb://NAME?region=.. The default name is made of"
            " LOG's and STORE's, and is in LOG's region.",
        ),
        click.option(
            "--worker",
            metavar="NAME",
            help="This worker's name among those of the application, the same after every restart:"
            " under another it waits minutes for the leases of the old one.  [default: the"
            " machine's]",
        ),
        click.option(
            "--profile",
            type=click.Choice(["production", "test"]),
            default="production",
            show_default=True,
            help="Properties to begin with; test is quick to notice and to start, and asks no"
            " service but Kinesis and DynamoDB.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="NAME=VALUE",
            help="A property of KCL. May be given several times.",
        ),
        click.option(
            "--folder",
            metavar="DIR",
            type=click.Path(file_okay=False, path_type=Path),
            help="Where the worker's files are: properties, logs, health.  [default: below"
            " $XDG_STATE_HOME]",
        ),
        click.option(
            "--poison",
            type=click.Choice(["park", "stop"]),
            default="park",
            show_default=True,
            help="What becomes of an event that cannot be applied: park its key and go on, or stop"
            " its shard.",
        ),
        pace_options,
        archive_option,
        exclude_option,
        rules_option,
        click.option(
            "--same-meaning",
            is_flag=True,
            help="The source of the appliers changed, and they compute what they did.",
        ),
        click.option(
            "--segment-every",
            "every_ms",
            metavar="T",
            type=DurationType(),
            help="Where STORE is an archive: how long a record waits at most; see binlog archive"
            " --dry-run for its price.  [default: 1m]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.group(
    cls=Kcl,
    invoke_without_command=True,
    examples="""
    binlog kcl run kinesis://orders dynamodb://replica
    binlog kcl run kinesis://orders?region=eu-west-1 dynamodb://replica?region=us-east-1
    binlog kcl run kinesis://orders s3://kept/orders
    binlog kcl properties kinesis://orders dynamodb://replica > daemon.properties
    """,
)
@click.pass_context
def command(context: click.Context) -> None:
    """Keep a replica with the Kinesis Client Library: workers that share out the shards.

    Start as many workers as you like, each with a --worker of its own; they find each other by the
    lease table. In place of STORE it may be an archive, s3://BUCKET/PREFIX or file:DIR. Needs Java and
    pip install 'kinesis-binlog[kcl]'.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command(
    "run",
    cls=Verb,
    examples="""
    binlog kcl run kinesis://orders dynamodb://replica --worker w1
    binlog kcl run kinesis://orders dynamodb://replica --appliers shop.rules:appliers
    binlog kcl run kinesis://orders dynamodb://replica --max-behind 12h
    binlog kcl run kinesis://orders dynamodb://replica --leases dynamodb://orders-replica?region=eu-west-1
    binlog kcl run kinesis://orders dynamodb://replica --set idleTimeBetweenReadsInMillis=5000
    binlog kcl run kinesis://orders s3://kept/orders --segment-every 5m
    """,
)
@_plan_options
@click.option(
    "--java", metavar="PATH", help="Java's program.  [default: JAVA_HOME's, or the PATH's]"
)
@click.option(
    "--jvm-option", "jvm_options", multiple=True, metavar="OPTION", help="For Java, such as -Xmx1g."
)
def run(*, java: str | None, jvm_options: tuple[str, ...], **options: Any) -> None:
    """Run one worker: the daemon of the KCL, supervised, with a process for each of its shards.

    It goes on until Ctrl-C or SIGTERM, which end it cleanly; a second one ends it at once. A daemon
    that ends is started again, once all of the old one is gone. What it does stands in its folder:
    worker.json and shards/*.json its health, logs/ what was said.
    """
    from consumers.kcl_run import run_worker

    plan = _plan(**options)
    run_worker(
        plan,
        java=java,
        jvm_options=jvm_options,
        ready=lambda: note(f"worker {plan.worker} of {plan.application}: {plan.folder}"),
    )


@command.command(
    "properties",
    cls=Verb,
    examples="""
    binlog kcl properties kinesis://orders dynamodb://replica --worker w1
    binlog kcl properties --known
    binlog kcl properties --check daemon.properties
    """,
)
@click.option(
    "--known",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, wanted: _list_known(context) if wanted else None,
    help="List the properties that there are, and end.",
)
@click.option(
    "--check",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, path: None if path is None else _check_file(context, path),
    help="Look at a file of your own for what KCL would drop without a word, and end.",
)
@json_option
@_plan_options
def properties(*, as_json: bool, **options: Any) -> None:
    """Print the properties for a daemon that you start yourself, and the environment it needs."""
    from consumers.kcl_plan import REMARKS
    from consumers.kcl_properties import write_properties

    plan = _plan(**options)
    made, environment = plan.properties(), plan.settings.environment()
    if as_json:
        write_json({"properties": made, "environment": environment})
        return
    write_text(*(f"# export {name}='{value}'" for name, value in environment.items()), "")
    write_text(*write_properties(made, REMARKS).splitlines())


def _list_known(context: click.Context) -> None:
    from consumers.kcl_properties import NAMES

    write_text(*sorted(NAMES, key=str.lower))
    context.exit()


def _check_file(context: click.Context, path: Path) -> None:
    from consumers.kcl_properties import check_properties, read_properties

    found = read_properties(path.read_text(encoding="latin-1"), str(path))
    check_properties(found, str(path))
    write_text(f"{path}: {len(found)} properties, all known")
    context.exit()


def _plan(
    *,
    log: str,
    store: str,
    leases: str | None,
    worker: str | None,
    profile: Literal["test", "production"],
    assignments: tuple[str, ...],
    folder: Path | None,
    poison: Literal["park", "stop"],
    excluded: tuple[str, ...],
    appliers: str | None,
    same_meaning: bool,
    setting: Setting,
    every_ms: int | None,
    archive: str | None,
) -> Plan:
    from msgspec.structs import replace

    from binlog.address import parse_address
    from consumers.kcl_plan import Plan, default_folder, parse_leases
    from consumers.kcl_settings import ARCHIVE_SCHEMES, SEGMENT_EVERY_S, Settings

    overrides: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name.strip() in overrides:
            raise RefusedError(f"--set {assignment}", do="write NAME=VALUE, each name once")
        overrides[name.strip()] = value.strip()
    settings = Settings(
        log=log,
        store=store,
        appliers=appliers,
        poison=poison,
        excluded=excluded,
        same_meaning=same_meaning,
        setting=setting,
    )
    target = parse_address(store)
    if target.scheme in ARCHIVE_SCHEMES:
        if appliers is not None or excluded or same_meaning or poison != "park":
            raise RefusedError(
                f"appliers, rules or poison, and the archive {store}",
                do="an archive keeps records: leave them out",
            )
        url = _absolute(store)
        every_s = SEGMENT_EVERY_S if every_ms is None else every_ms / 1000
        settings = replace(settings, store="", archive=url, segment_every_s=every_s)
    elif archive is not None:
        settings = replace(settings, older=_absolute(archive))
    if every_ms is not None and settings.archive is None:
        raise RefusedError("--segment-every", do="it is for an archive: name one in place of STORE")
    settings.check()
    plan = Plan(
        settings=settings,
        worker=platform.node() if worker is None else worker,
        folder=Path(),
        leases=None if leases is None else parse_leases(leases),
        profile=profile,
        overrides=overrides,
    )
    place = folder or default_folder(plan.application, plan.worker, os.environ)
    place = place.absolute()
    return replace(plan, folder=place, settings=replace(settings, folder=place))


def _absolute(url: str) -> str:
    """An address as the daemon's processes can use it, which stand elsewhere."""
    from binlog.address import parse_address

    address = parse_address(url)
    return f"file:{Path(address.path).absolute()}" if address.scheme == "file" else url
