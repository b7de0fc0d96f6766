"""The handler under Lambda's own runtime client: deployed as it is, on running stand-ins."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest

from binlog.aws.account import Account
from binlog.clock import SystemClock
from binlog.logs.kinesis import kinesis_service
from scripts.standins.server import Server
from tests.cli.running import append, binlog
from tests.integration.kinesis_streams import merge, split
from tests.integration.waiting import PATIENCE_S
from tests.lambda_consumer.event_source_mapping import (
    STREAM_ARN,
    FailedError,
    Mapping,
    Settings,
)
from tests.lambda_consumer.forwarder import Forwarder
from tests.lambda_consumer.lambda_api import LambdaAPI
from tests.lambda_consumer.live_source import LiveSource
from tests.lambda_consumer.runtime_api import Function, running

PARTITIONS = 8
USERS = [f"u{number}" for number in range(40)]


class Deployment:
    """A log, a store, and a function with all its environment variables."""

    def __init__(
        self, folder: Path, stream: str, kinesis: Server, dynamodb: Server, api: LambdaAPI
    ) -> None:
        self.folder = folder
        self.log, self.store = f"kinesis://{stream}", f"dynamodb://{stream}"
        self.service = kinesis_service(stream, account=Account(endpoint=kinesis.url))
        self.source = LiveSource(self.service)
        self.environment = {
            "BINLOG_LOG": self.log,
            "BINLOG_STORE": self.store,
            "AWS_ENDPOINT_URL_KINESIS": kinesis.url,
            "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url,
            "AWS_ENDPOINT_URL_LAMBDA": api.url,
        }

    def function(self, **options: Any) -> Function:
        environment = self.environment | options.pop("environment", {})
        return Function(self.folder, environment, **{"timeout_s": PATIENCE_S} | options)

    def mapping(self, invoke: Callable[[dict[str, Any]], Any], **settings: Any) -> Mapping:
        how = Settings(**settings)
        return Mapping(self.source, invoke, how, clock=SystemClock(), random=Random(1))


def mapping_of(stream: str, **change: Any) -> dict[str, Any]:
    return {
        "UUID": "m1",
        "EventSourceArn": STREAM_ARN.format(stream),
        "StartingPosition": "TRIM_HORIZON",
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        **change,
    }


@pytest.fixture
def deployment(
    kinesis_local: Server,
    ministack: Server,
    stream_name: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployment]:
    stream = stream_name()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)
    with LambdaAPI([mapping_of(stream)]).running() as api:
        made = Deployment(tmp_path, stream, kinesis_local, ministack, api)
        made.api = api  # type: ignore[attr-defined]
        ok(binlog("init", made.log, "--partitions", str(PARTITIONS), "--shards", "2"))
        yield made
        with contextlib.suppress(Exception):
            made.service.call("delete_stream", StreamName=stream)


def ok(ran: Any) -> Any:
    assert ran.status == 0, ran.err
    return ran


def add(log: str, names: list[str]) -> None:
    lines: list[bytes | dict[str, Any]] = [
        {"Action": "UpdateItem", "Key": {"id": name}, "Data": {"Add": {"n": 1}}} for name in names
    ]
    ok(append(log, *lines))


def invoking(function: Function, met: dict[str, int]) -> Callable[[dict[str, Any]], Any]:
    def invoke(event: dict[str, Any]) -> Any:
        answer = function.invoke(event)
        met[answer.kind] = met.get(answer.kind, 0) + 1
        if answer.failed:
            raise FailedError(answer.kind)
        return answer.body

    return invoke


def test_a_function_carries_a_store_through_freezes_kills_and_reshards(
    deployment: Deployment,
) -> None:
    """Frozen between invocations, killed by time-outs and at random; the shards split and merge."""
    random, met, added = Random(7), dict[str, int](), 300
    with running(deployment.function()) as function:
        mapping = deployment.mapping(
            invoking(function, met), parallelization=4, batch_size=20, bisect=True
        )
        for step in range(5):
            add(deployment.log, random.choices(USERS, k=60))
            mapping.step()
            if step == 1:
                split(deployment.service, 0)
            if step == 2:
                function.kill()  # between two invocations
            if step == 3:
                merge(deployment.service, 1)
            mapping.step()
            if step in {2, 4}:  # in the middle of one, however fast the machine is
                killed, kept = met.get("timed out", 0), function.timeout_s
                function.timeout_s = 0.05
                while met.get("timed out", 0) == killed:
                    function.timeout_s /= 2
                    mapping.step()
                    add(deployment.log, random.choices(USERS, k=20))
                    added += 20
                function.timeout_s = kept
        mapping.run(500)
        assert function.cold_starts >= 4
    assert met.get("response", 0) > 5
    assert "init failed" not in met
    # One that was killed may have applied what it never told, and the last lines may be under way.
    metrics = [json.loads(line) for line in function.lines() if line.startswith('{"_aws"')]
    assert sum(each.get("Events", 0) for each in metrics) > 0
    copy = f"sqlite:{deployment.folder}/copy.db"
    ok(binlog("replicate", deployment.log, copy, "--once"))
    ok(binlog("verify", deployment.store, copy))
    dumped = ok(binlog("dump", deployment.store, "--table", "users"))
    assert sum(int(each["n"]) for each in dumped.lines) == added


def test_a_snapshot_is_restored_and_works(deployment: Deployment) -> None:
    """SnapStart: initialisation is frozen before the first event, and what it holds is taken up."""
    add(deployment.log, USERS[:5])
    met: dict[str, int] = {}
    with running(deployment.function(snap_start=True)) as function:
        deployment.mapping(invoking(function, met)).run(50)
    assert set(met) == {"response"}
    dumped = ok(binlog("dump", deployment.store, "--table", "users"))
    assert len(dumped.lines) == 5


def test_a_mapping_is_asked_for_over_the_api(deployment: Deployment) -> None:
    """LATEST is refused, a denial is worked with, and both are one line in the log."""
    api: LambdaAPI = deployment.api  # type: ignore[attr-defined]
    stream = deployment.service.stream
    api.mappings = [mapping_of(stream, StartingPosition="LATEST")]
    add(deployment.log, USERS[:3])
    events: list[dict[str, Any]] = []
    deployment.mapping(events.append).run(10)
    with running(deployment.function()) as function:
        first = events[0]["Records"][0]["kinesis"]["sequenceNumber"]
        answer = function.invoke(events[0])
        assert answer.body == {"batchItemFailures": [{"itemIdentifier": first}]}
        assert any("StartingPosition LATEST" in line for line in function.lines())
        assert "FunctionName=applier" in api.asked[0] or "function%3Aapplier" in api.asked[0]
        api.mappings = None
        assert function.invoke(events[0]).body == {"batchItemFailures": []}
        [told] = [line for line in function.lines() if "mapping.unknown" in line]
        assert "binlog policy lambda" in told


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"BINLOG_LOG": ""}, "BINLOG_LOG is not set"),
        ({"BINLOG_STORE": "sqlite:x.db"}, "write dynamodb://PREFIX"),
        ({"BINLOG_APPLIERS": "nowhere:x"}, "there is no module 'nowhere'"),
        ({"BINLOG_POISSON": "park"}, "is BINLOG_POISON meant?"),
    ],
)
def test_a_wrong_setting_fails_the_initialisation_in_one_line(
    tmp_path: Path, change: dict[str, str], says: str
) -> None:
    """A deployment shows it, and not the first event."""
    environment = {"BINLOG_LOG": "kinesis://orders", "BINLOG_STORE": "dynamodb://live"} | change
    with running(Function(tmp_path, environment)) as function:
        answer = function.invoke({})
    assert answer.kind == "init failed"
    assert says in answer.message
    assert "\n" not in answer.message


def test_initialisation_calls_nobody(tmp_path: Path) -> None:
    """No log, no store, no network: it waits for its first event all the same."""
    environment = {"BINLOG_LOG": "kinesis://orders", "BINLOG_STORE": "dynamodb://live"}
    nobody = {f"AWS_ENDPOINT_URL_{name}": "http://127.0.0.1:1" for name in ("KINESIS", "DYNAMODB")}
    with running(Function(tmp_path, environment | nobody)) as function:
        answer = function.invoke({"key1": "value1"})
    assert answer.kind == "error"
    assert answer.message.startswith("no event of a stream")


def test_a_process_that_dies_in_an_invocation_is_known_at_once(tmp_path: Path) -> None:
    """The service does not wait for the time-out then, and the next invocation has a new one."""
    body = "import os\ndef handler(event, context):\n    return event or os.kill(os.getpid(), 9)\n"
    (tmp_path / "dying.py").write_text(body)
    with running(Function(tmp_path, {}, handler="dying.handler", timeout_s=PATIENCE_S)) as function:
        assert function.invoke(0).kind == "exited"
        assert function.invoke(1).body == 1
        assert function.cold_starts == 2


def test_a_frozen_environment_does_nothing(tmp_path: Path) -> None:
    """What the tests call frozen is: its process gets no time."""
    environment = {"BINLOG_LOG": "kinesis://orders", "BINLOG_STORE": "dynamodb://live"}
    with running(Function(tmp_path, environment)) as function:
        function.invoke({})
        stat = Path(f"/proc/{function.process_id}/stat")
        before = stat.read_text().split()
        time.sleep(0.1)
        after = stat.read_text().split()
    assert before[2] == after[2] == "T"
    assert before[13:15] == after[13:15]


@pytest.mark.parametrize("how", ["reset", pytest.param("silent", marks=pytest.mark.slow)])
def test_connections_that_died_while_it_was_frozen_cost_an_attempt(
    deployment: Deployment, ministack: Server, how: Literal["reset", "silent"]
) -> None:
    """A silent one costs its time-out, 5 s, and no more; nothing fails."""
    met: dict[str, int] = {}
    with Forwarder(ministack.url).running() as way:
        environment = {"AWS_ENDPOINT_URL_DYNAMODB": way.url}
        with running(deployment.function(environment=environment)) as function:
            mapping = deployment.mapping(invoking(function, met))
            add(deployment.log, USERS[:10])
            mapping.run(20)
            assert way.cut(how) > 0
            before = way.made
            add(deployment.log, USERS[:10])
            mapping.run(20)
            assert way.made > before
    assert set(met) == {"response"}
    dumped = ok(binlog("dump", deployment.store, "--table", "users"))
    assert {int(each["n"]) for each in dumped.lines} == {2}
