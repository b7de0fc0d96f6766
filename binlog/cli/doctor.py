"""``binlog doctor``: whether a log, and a store, are set up to go on; and what to do if not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from binlog.aws.policies import ROLES, Role
from binlog.cli.options import RateType, log_argument, store_argument
from binlog.cli.output import json_option, write_json, write_table, write_text
from binlog.cli.verb import Verb
from binlog.errors import RefusedError, StorageError

if TYPE_CHECKING:
    from consumers.health import Report


@click.command(
    cls=Verb,
    examples="""
    binlog doctor file:log sqlite:replica.db
    binlog doctor kinesis://orders
    binlog doctor kinesis://orders?reads=2 sqlite:replica.db --other-reads 2
    binlog doctor kinesis://orders --as producer --json
    binlog doctor kinesis://orders dynamodb://live --as lambda --function orders-applier
    binlog doctor kinesis://orders dynamodb://replica --as kcl
    binlog doctor kinesis://orders --as archive --archive s3://kept/orders
    """,
)
@log_argument
@store_argument(required=False)
@click.option(
    "--as",
    "role",
    type=click.Choice(ROLES),
    help="Whose permissions are looked at (see binlog policy); else a reader's, or with a store"
    " that is a service's an applier's. Of a kcl's machine Java and the jars of the KCL, too.",
)
@click.option(
    "--other-reads",
    type=RateType(),
    multiple=True,
    metavar="R",
    help="GetRecords calls a second and shard that another reader of the stream makes, once for"
    " each; a Lambda function makes 1. LOG's own are its ?reads=.",
)
@click.option(
    "--function",
    metavar="NAME",
    help="The Lambda function that LOG is delivered to: its event source mapping is looked at.",
)
@click.option(
    "--archive",
    metavar="URL",
    help="The archive of LOG: rules that delete or freeze it, versions, who may delete.",
)
@click.option("--snapshots", metavar="URL", help="The same of where snapshots are kept.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    log: str,
    store: str | None,
    role: Role | None,
    other_reads: tuple[float, ...],
    function: str | None,
    archive: str | None,
    snapshots: str | None,
    as_json: bool,
) -> None:
    """Look at credentials, permissions, limits, retention, budgets and clocks. Changes nothing.

    Of a log and a store in files: disk, clock, and whether they belong together. What is broken in
    a log is the business of `check`, how far a store is behind that of `status`. Missing
    permissions come as an IAM policy to paste; they are found by calls that change nothing, and by
    IAM's simulator where it may be asked. Exit status 1 if anything is unhealthy; 3 if nothing is,
    but something could not be looked at.
    """
    from binlog.address import parse_address
    from consumers.health import Doctor

    schemes = [parse_address(each).scheme for each in (log, store) if each is not None]
    if schemes[0] not in ("file", "kinesis"):
        raise RefusedError(f"{log!r} is no log", do="write file:DIR or kinesis://STREAM")
    if other_reads and schemes[0] != "kinesis":
        raise RefusedError("--other-reads, and LOG is not a stream", log, "leave it out")
    kept = [parse_address(each).scheme for each in (archive, snapshots) if each is not None]
    for scheme, url in zip(kept, filter(None, (archive, snapshots)), strict=True):
        if scheme not in ("file", "s3"):
            raise RefusedError(
                f"{url!r} holds no objects", do="write file:DIR or s3://BUCKET/PREFIX"
            )
    if role is not None and not {*schemes, *kept} & {"kinesis", "dynamodb", "s3"}:
        raise RefusedError(f"--as {role}, and LOG is not a service's", log, "leave it out")
    if role is None:
        role = "applier" if "dynamodb" in schemes else "reader"
    if function is not None and schemes[0] != "kinesis":
        raise RefusedError("--function, and LOG is not a stream", log, "leave it out")
    doctor = Doctor(
        log,
        store,
        role=role,
        other_reads=other_reads,
        function=function,
        archive=archive,
        snapshots=snapshots,
    )
    report = doctor.examine()
    if as_json:
        write_json(
            {"healthy": report.healthy, "findings": report.findings, "policy": report.policy}
        )
    else:
        _write_text(report)
    if not report.healthy:
        context.exit(1)
    for each in report.findings:
        if each.state == "failed":
            raise StorageError(f"{each.check}: {each.what}", each.where, each.do)


def _write_text(report: Report) -> None:
    from binlog.health import STATES

    findings = sorted(report.findings, key=lambda each: STATES.index(each.state))
    write_table(
        ("state", "check", "where", "what"),
        [(each.state, each.check, each.where, each.what) for each in findings],
    )
    advice = [each for each in findings if each.do and each.state != "ok"]
    if advice:
        write_text("", "What to do:")
        write_text(*(f"  {each.check}, {each.where or 'here'}: {each.do}" for each in advice))
    if report.policy is not None:
        write_text("", "What is missing, as an IAM policy:", "")
        write_text(*json.dumps(report.policy, indent=2).splitlines())
    counts = [
        f"{count} {state}"
        for state in STATES
        if (count := sum(each.state == state for each in findings))
    ]
    verdict = "healthy" if report.healthy else "not healthy"
    if report.healthy and any(each.state == "failed" for each in findings):
        verdict = "nobody knows"
    write_text("", f"{verdict}: {', '.join(counts)}")
