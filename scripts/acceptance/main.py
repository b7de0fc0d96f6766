"""Runs the contract suites on a real AWS account, and measures what no stand-in can.

    scripts/acceptance-aws --account ID --dry-run      what it would do, and the price
    scripts/acceptance-aws --account ID                says the price, asks, and runs
    scripts/acceptance-aws --account ID --yes-spend    says the price, and runs
    scripts/acceptance-aws --account ID --cleanup      removes what earlier runs have left, and ends
    scripts/acceptance-aws --local                     on stand-ins: proves the script, not AWS

--local takes the stand-ins of `scripts/stack env` where the environment has them, else its own.

It makes streams and tables named binlog-acceptance-RUN-.. with the tag binlog-acceptance=RUN, and
deletes nothing that has not both. It removes them however it ends; what a killed run has left, the
next one removes when it is 6 hours old. Credentials are those of the AWS environment (--profile,
--region). The report is written to --report (acceptance-report) as RUN.json and RUN.md.

Exit status: 0 everything held; 1 something did not, or was left over; 2 refused, nothing was spent;
3 it could not be finished.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom
from typing import Any, Never

from binlog.aws.account import Account as Credentials
from binlog.aws.account import connector as client_maker
from binlog.errors import BinlogError
from binlog.logs.kinesis_client import connector
from binlog.logs.kinesis_price import SHARD_HOUR_DOLLARS, UNIT_DOLLARS
from scripts.acceptance import report as reports
from scripts.acceptance.counting import (
    READ_UNIT_DOLLARS,
    WRITE_UNIT_DOLLARS,
    Calls,
    Part,
    total,
)
from scripts.acceptance.guard import (
    RefusedByGuardError,
    check_account,
    check_endpoints,
    check_spending,
)
from scripts.acceptance.measures import FULL, SMALL, Sizes, measure
from scripts.acceptance.putting import KEYS, PAUSE_S
from scripts.acceptance.resources import STALE_H, Account, Resource, Run
from scripts.acceptance.suites import Case, Ground, Outcome, log_cases, store_cases, try_all
from scripts.standins.install import CANNOT_RUN, CannotRunError
from scripts.standins.server import Server
from scripts.standins.services import KINESIS_LOCAL, MINISTACK, REGION

LOCAL_ACCOUNT = "000000000000"
JOBS = 4  # at most 5 streams may be in the making at a time
SERVED = ("KINESIS", "DYNAMODB")
SUITES = ("log", "store", "measures")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the exit status."""
    options = _options(arguments)
    try:
        with _environment(local=options.local):
            return _run(options)
    except RefusedByGuardError as error:
        _say(f"acceptance-aws: {error}")
        return 2
    except CannotRunError as error:
        print(f"cannot run: {error}")
        return CANNOT_RUN
    except BinlogError as error:
        _say(f"acceptance-aws: {error}")
        return error.exit_status


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="acceptance-aws",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--account", metavar="ID", help="the account that is meant, 12 digits")
    parser.add_argument("--profile", help="of the AWS configuration")
    parser.add_argument("--region")
    parser.add_argument(
        "--yes-spend", action="store_true", help="do not ask: the price is all right"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what it would do, and end")
    parser.add_argument(
        "--cleanup", action="store_true", help="remove what runs have left, and end"
    )
    parser.add_argument("--local", action="store_true", help="on stand-ins")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument(
        "--claims", nargs="+", metavar="WORD", help="only claims whose name holds one of them"
    )
    parser.add_argument("--small", action="store_true", help="shorter measurements")
    parser.add_argument("--report", type=Path, default=Path("acceptance-report"), metavar="DIR")
    return parser.parse_args(arguments)


# -- a run ---------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    credentials = Credentials(profile=options.profile, region=options.region)
    calls = Calls()
    try:
        wanted = options.account or (LOCAL_ACCOUNT if options.local else None)
        sts, kinesis, dynamodb = (
            client_maker(credentials, service, f"{service}://")()
            for service in ("sts", "kinesis", "dynamodb")
        )
        check_endpoints((sts, kinesis, dynamodb), local=options.local)
        check_account(sts, wanted, _ask)
        account = Account(kinesis, dynamodb)
        run = Run.begin(SystemRandom(), datetime.now(UTC))
        ground = Ground(run, account, credentials, _shared(connector(credentials)))
        if options.local:
            # A machine that is busy with other tests is slow; stand-ins are asked what they like.
            ground = ground._replace(reads_per_s=200.0, coarse_ms=30_000, landing_s=0.0)
        if options.cleanup:
            return _clean_up(account)
        cases = _cases(options, ground)
        measures = "measures" in options.only
        sizes = SMALL if options.small else FULL
        estimated = estimate(cases, sizes if measures else None)
        _say_price(estimated, cases, measures=measures)
        if options.dry_run:
            return 0
        check_spending(total(estimated), yes=options.yes_spend or options.local, ask=_ask)
        _sweep(account)
        report = reports.begin(run.id, kinesis.meta.region_name, local=options.local)
        report.estimated = estimated
        _try(report, cases, ground, sizes if measures else None)
        report.counted, report.calls = calls.parts(), dict(calls.calls)
    finally:
        calls.stop()
    for path in reports.write(report, options.report):
        print(path)
    _say(_summary(report))
    if report.not_finished is not None:
        return 3
    return 0 if report.is_good else 1


def _cases(options: argparse.Namespace, ground: Ground) -> list[Case]:
    cases: list[Case] = []
    if "log" in options.only:
        cases += log_cases(ground)
    if "store" in options.only:
        cases += store_cases(ground)
    words = options.claims or [""]
    return [case for case in cases if any(word in case.claim for word in words)]


def _try(
    report: reports.Report, cases: Sequence[Case], ground: Ground, sizes: Sizes | None
) -> None:
    """Fill the report; what was made is removed however this ends."""
    account, run = ground.account, ground.run

    def tell(outcome: Outcome) -> None:
        report.outcomes.append(outcome)
        _say(f"{outcome.result:11} {outcome.seconds:7.1f} s  {outcome.suite}: {outcome.claim}")

    with _interruptible():
        try:
            try_all(cases, JOBS, tell)
            if sizes is not None:
                stream = account.make_stream(run, "measures", 2)
                puts = ground.connect(True)  # noqa: FBT003 - positional in a callable's type
                for each in measure(account, puts, stream, sizes, fan_out=not report.local):
                    report.measures.append(each)
                    _say(f"measured    {each.name}: holds: {each.holds}")
        except KeyboardInterrupt:
            report.not_finished = "interrupted"
        except Exception as error:  # noqa: BLE001 - it is the report
            report.not_finished = " ".join(f"{type(error).__name__}: {error}".split())
    _say("removing what was made")
    try:
        report.left_over = account.clean(lambda each: each.run == run)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - it is the report
        report.left_over = [f"{run.prefix}-* ({error}): repeat with --cleanup"]


def _sweep(account: Account) -> None:
    """Remove what killed runs have left; another one may be at work on the rest."""
    now = datetime.now(UTC)

    def is_stale(each: Resource) -> bool:
        return each.run.age_h(now) >= STALE_H

    for line in account.clean(is_stale):
        _say(f"left from an earlier run: {line}")
    for each in account.find():
        _say(f"there is {each.kind} {each.name} of another run: if it is over, --cleanup")


def _clean_up(account: Account) -> int:
    for each in account.find():
        print(f"{each.kind} {each.name}")
    wrong = account.clean(lambda _: True)
    for line in wrong:
        _say(f"left over: {line}")
    return 1 if wrong else 0


def _summary(report: reports.Report) -> str:
    failed = sum(outcome.result == "failed" for outcome in report.outcomes)
    wrong = sum(each.holds is False for each in report.measures)
    return (
        f"{len(report.outcomes)} claims, {failed} failed; {len(report.measures)} measurements, "
        f"{wrong} not as assumed; {len(report.left_over)} left over; "
        f"about ${total(report.counted):.2f}"
        + (f"; NOT FINISHED: {report.not_finished}" if report.not_finished else "")
    )


# -- the price -----------------------------------------------------------------------------------


def estimate(cases: Sequence[Case], sizes: Sizes | None) -> list[Part]:
    """What a run costs at most, about: every shard is paid for the whole hour that it began."""
    logs = sum(case.suite == "log" and case.why_not is None for case in cases)
    stores = sum(case.suite == "store" and case.why_not is None for case in cases)
    shards, units = float(logs), 200.0 * logs
    if sizes is not None:
        made = 2 + sizes.rounds * (2 + 2 + 1 + 1)
        shards += 2 * made  # as many again for the fan-out consumer, at the same price
        puts_s = sizes.rounds * 4 * (sizes.pause_s + 40)  # a change takes some 30 s
        units += KEYS / PAUSE_S * puts_s + sizes.order_calls * 612
    return [
        Part("Kinesis shard hours", shards, SHARD_HOUR_DOLLARS),
        Part("Kinesis PUT payload units", units, UNIT_DOLLARS),
        Part("DynamoDB write units", 500.0 * stores, WRITE_UNIT_DOLLARS),
        Part("DynamoDB read units", 1_000.0 * stores, READ_UNIT_DOLLARS),
    ]


def _say_price(parts: Sequence[Part], cases: Sequence[Case], *, measures: bool) -> None:
    tried = sum(case.why_not is None for case in cases)
    print(f"{tried} claims{' and the measurements' if measures else ''}; at list prices at most:")
    for part in parts:
        print(
            f"  {part.what:26} {part.amount:10,.0f} x ${part.dollars_each:.8f} = ${part.dollars:.4f}"
        )
    print(f"  {'together':26} {'':10}   {'':11}   ${total(list(parts)):.2f}", flush=True)


# -- around it -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _environment(*, local: bool) -> Iterator[None]:
    """The environment as it is, or that of stand-ins: those it names, or some of our own."""
    if not local:
        yield
        return
    before = dict(os.environ)
    with contextlib.ExitStack() as stack:
        stack.callback(_restore, before)
        kinesis, rest = (os.environ.get(f"AWS_ENDPOINT_URL_{name}") for name in SERVED)
        if not (kinesis and rest):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            servers = [Server(KINESIS_LOCAL, folder)]
            stack.callback(servers[0].kill)
            servers.append(Server(MINISTACK, folder))
            stack.callback(servers[1].kill)
            kinesis, rest = (server.url for server in servers)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL_KINESIS": kinesis,
            "AWS_ENDPOINT_URL_DYNAMODB": rest,
            "AWS_ENDPOINT_URL_STS": rest,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        yield


def _restore(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM as Ctrl-C: what was made is removed after either."""

    def interrupt(*_: object) -> Never:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _shared(connect: Any) -> Any:
    """One pair of clients for all threads: they may share them, and making one takes long."""
    made = {puts: connect(puts) for puts in (False, True)}
    return lambda puts: made[puts]


def _ask(question: str) -> str:
    if not sys.stdin.isatty():
        raise RefusedByGuardError(
            "nobody to ask: give --account ID, and --yes-spend when the price is all right"
        )
    return input(question)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
