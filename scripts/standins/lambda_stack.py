"""The Lambda consumer on the local stack: behind a mapping, under Lambda's own runtime client.

    scripts/stack lambda kinesis://orders dynamodb://live [--appliers shop:shop] [--factor 4]

Until Ctrl-C or SIGTERM; with ``--once`` until all that is in the stream is delivered. Appliers and a
tables file are found in the current folder, as they are in a package. A line an invocation; what the
function writes beside its metrics comes on stderr.

It is built of the parts that the tests of the consumer use: the Runtime API, the mapping that AWS
documents, the one call of Lambda's API that the function makes. What it has delivered it forgets at
its end: the next run delivers the stream from its beginning, as a new mapping does, and the store
drops what it has applied.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from binlog.address import open_log, parse_address
from binlog.clock import SystemClock
from binlog.errors import BinlogError, RefusedError
from binlog.logs.kinesis import kinesis_service
from binlog.logs.kinesis_service import Service
from binlog.spent import VARIABLE as SPENT
from tests.lambda_consumer import event_source_mapping
from tests.lambda_consumer.event_source_mapping import FailedError, SourceShard
from tests.lambda_consumer.lambda_api import LambdaAPI
from tests.lambda_consumer.live_source import LiveSource
from tests.lambda_consumer.runtime_api import Answer, Function, running

FROM = "STACK_FROM"  # the caller's folder, which the script has left
LOGS = "STACK_LOGS"  # where the function's own output is kept while it runs, if not at the stack's
_IDLE_S = 0.1
_LINEAGE_S = 1.0  # a shard's children are found so late at most
_PAUSE_FIRST_S, _PAUSE_MOST_S = 0.2, 10.0
_SHOWN = ("Events", "Writes", "Duplicates", "Parked", "Foreign", "Halted", "Failed")


class Source(LiveSource):
    """Asked for its shards many times a step; the service is asked once a second."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._listed: list[SourceShard] = []
        self._listed_at = float("-inf")

    def shards(self) -> list[SourceShard]:
        if time.monotonic() - self._listed_at >= _LINEAGE_S:
            self._listed, self._listed_at = super().shards(), time.monotonic()
        return self._listed


class Deployed:
    """A function, and what is said of its invocations; waits after a failure, longer and longer."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._told = 0  # bytes of its log
        self._pause_s = 0.0

    def invoke(self, event: dict[str, Any]) -> Any:
        """As the mapping does.

        Raises:
            FailedError: the invocation has failed, or run into its time-out.
        """
        time.sleep(self._pause_s)
        answer = self._function.invoke(event)
        self._tell(event, answer)
        if answer.failed or answer.body.get("batchItemFailures"):
            self._pause_s = min(max(_PAUSE_FIRST_S, 2 * self._pause_s), _PAUSE_MOST_S)
        else:
            self._pause_s = 0.0
        if answer.kind == "init failed":
            raise RefusedError(answer.message)
        if answer.failed:
            raise FailedError(answer.kind)
        return answer.body

    def _tell(self, event: dict[str, Any], answer: Answer) -> None:
        figures: dict[str, Any] = {}
        for line in self._new_lines():
            if line.startswith('{"_aws"'):
                figures = json.loads(line)
            else:
                print(line, file=sys.stderr)
        shown = [f"{name} {figures[name]}" for name in _SHOWN if figures.get(name)]
        if answer.failed:
            shown.append(answer.kind)
        shard = event["Records"][0]["eventID"].partition(":")[0]
        count = len(event["Records"])
        print(f"{shard} {count} records: {', '.join(shown) or 'nothing new'}", flush=True)

    def _new_lines(self) -> list[str]:
        with self._function.log.open("rb") as log:
            log.seek(self._told)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._told += len(whole)
        return whole.decode(errors="replace").splitlines()


def described(settings: event_source_mapping.Settings, arn: str) -> dict[str, Any]:
    """The mapping as Lambda's API describes it to the function."""
    reports = ["ReportBatchItemFailures"] if settings.report_batch_item_failures else []
    return {
        "UUID": "stack",
        "EventSourceArn": arn,
        "State": "Enabled",
        "StartingPosition": "TRIM_HORIZON",
        "FunctionResponseTypes": reports,
        "BatchSize": settings.batch_size,
        "ParallelizationFactor": settings.parallelization,
        "MaximumRetryAttempts": settings.retries,
        "MaximumRecordAgeInSeconds": settings.age_s,
    }


def environment_of(
    options: argparse.Namespace, api: LambdaAPI, variables: Mapping[str, str]
) -> dict[str, str]:
    """The function's variables: its settings, and where the services are."""
    # A drill knows what is its own, and counts what it spends, by variables of its name.
    kept = ("AWS_", "DRILL_")
    found = {name: value for name, value in variables.items() if name.startswith(kept)}
    found |= {"BINLOG_LOG": options.log, "BINLOG_STORE": options.store}
    found |= {"BINLOG_APPLIERS": options.appliers, "BINLOG_POISON": options.poison}
    return found | {"AWS_ENDPOINT_URL_LAMBDA": api.url}


def run(options: argparse.Namespace, variables: Mapping[str, str], home: Path) -> None:
    """Deliver, until it is ended, or with ``once`` until all is delivered.

    Raises:
        RefusedError: no such log, or settings that the function refuses.
        KeyboardInterrupt: it was to end.
    """
    address = parse_address(options.log)
    if address.scheme != "kinesis":
        raise RefusedError("a function has a stream's records", options.log, "kinesis://STREAM")
    if parse_address(options.store).scheme != "dynamodb":
        raise RefusedError("a function writes to DynamoDB", options.store, "dynamodb://PREFIX")
    open_log(options.log).close()  # no log: said now, and not by the function's first failure
    settings = event_source_mapping.Settings(
        batch_size=options.batch_size,
        window_s=options.window,
        parallelization=options.factor,
        bisect=True,
    )
    with contextlib.ExitStack() as held:
        service = kinesis_service(address.path, account=address.account)
        held.callback(service.clients.close)
        source = Source(service)
        api = held.enter_context(LambdaAPI([described(settings, source.arn)]).running())
        folder = Path(variables.get(FROM, "."))
        function = Function(folder, environment_of(options, api, variables), timeout_s=60.0)
        logs = Path(variables.get(LOGS, home))
        logs.mkdir(parents=True, exist_ok=True)
        function.log = logs / f"lambda-{os.getpid()}.log"
        held.callback(function.log.unlink, missing_ok=True)
        held.enter_context(running(function))
        mapping = event_source_mapping.Mapping(
            source,
            Deployed(function).invoke,
            settings,
            clock=SystemClock(),
            random=Random(),
        )
        while mapping.step() or mapping.is_due() or not options.once:
            if not mapping.stuck():
                time.sleep(_IDLE_S)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM is as Ctrl-C: what was started here is ended, too."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str], variables: Mapping[str, str], home: Path) -> int:
    """The command; the exit status. ``variables``: the environment, with where the services are."""
    options = _parse(arguments)
    if importlib.util.find_spec("awslambdaric") is None:
        print("cannot run: awslambdaric is missing (it is for Linux)")
        return 77
    os.environ |= variables
    os.environ.pop(SPENT, None)  # what the mapping reads is Lambda's own, and on nobody's bill
    try:
        with _ended_by_signals():
            run(options, variables, home)
    except KeyboardInterrupt:
        return 0
    except BinlogError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 3 if error.retriable else 2
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stack lambda", description=(__doc__ or "").strip())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("log", metavar="LOG")
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--appliers", default="", metavar="MODULE:OBJECT")
    parser.add_argument("--poison", default="park", choices=["park", "stop"])
    parser.add_argument("--factor", type=int, default=4, choices=range(1, 11), metavar="1-10")
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--window", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--once", action="store_true")
    return parser.parse_args(arguments)
