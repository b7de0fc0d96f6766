"""The template made into a stack, on the stand-in that has CloudFormation: then a log, and events applied.

It knows no metric math, so the alarms that use it are left out here (`tests/deploy` looks at them), and
it does not roll back by policies.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest
import yaml

from binlog.aws.account import Account
from binlog.clock import SystemClock
from binlog.logs.kinesis import kinesis_service
from scripts.deploy.roles import TABLES, TEMPLATE
from scripts.standins.server import Server
from tests.cli.running import append, binlog
from tests.deploy.cloudformation import load
from tests.integration.waiting import PATIENCE_S
from tests.lambda_consumer.event_source_mapping import FailedError, Mapping, Settings
from tests.lambda_consumer.live_source import LiveSource
from tests.lambda_consumer.runtime_api import Function, running

STACK = "binlog"
PARAMETERS = {
    "CodeBucket": "binlog-code",
    "CodeKey": "shop.zip",
    "StreamName": "deployed",
    "StreamMode": "PROVISIONED",
    "Shards": "2",
    "StorePrefix": "deployed-live",
    "FunctionName": "applier",
}


class Deployed:
    """A stack, and clients of what it has made."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.cloudformation = self.client("cloudformation")
        template = load(TEMPLATE)
        kept = {
            name: resource
            for name, resource in template["Resources"].items()
            if "Metrics" not in resource.get("Properties", {})
        }
        assert len(kept) == len(template["Resources"]) - 3
        bucket = self.client("s3")
        bucket.create_bucket(Bucket=PARAMETERS["CodeBucket"])
        bucket.put_object(
            Bucket=PARAMETERS["CodeBucket"], Key=PARAMETERS["CodeKey"], Body=_empty_zip()
        )
        self.cloudformation.create_stack(
            StackName=STACK,
            TemplateBody=yaml.safe_dump(template | {"Resources": kept}),
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in PARAMETERS.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        self.cloudformation.get_waiter("stack_create_complete").wait(
            StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.url)

    def outputs(self) -> dict[str, str]:
        [stack] = self.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


def _empty_zip() -> bytes:
    return b"PK\x05\x06" + bytes(18)


@pytest.fixture
def deployed(ministack: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    for service in ("KINESIS", "DYNAMODB", "LAMBDA", "STS", "IAM"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", ministack.url)
    monkeypatch.chdir(tmp_path)
    shutil.copy(TABLES, tmp_path)
    return Deployed(ministack)


def test_a_stack_is_made_a_log_and_carries_a_store(deployed: Deployed, tmp_path: Path) -> None:
    """Step by step as docs/deploy.md says: the stream becomes a log, and the function applies it."""
    outputs = deployed.outputs()
    log, store = outputs["Log"], outputs["Store"]
    made = binlog("init", log, "--partitions", "4")
    assert made.status == 0, made.err
    assert made.out.startswith("created")
    assert binlog("init", log, "--partitions", "4").out.startswith("exists")
    assert (
        append(log, *({"id": f"o{n}", "total": n} for n in range(20)), table="orders").status == 0
    )

    client = deployed.client("lambda")
    configuration = client.get_function_configuration(FunctionName=outputs["FunctionName"])
    assert configuration["Handler"] == "consumers.aws_lambda.handler"
    variables = configuration["Environment"]["Variables"]
    endpoints = {
        f"AWS_ENDPOINT_URL_{name}": deployed.url for name in ("KINESIS", "DYNAMODB", "LAMBDA")
    }
    service = kinesis_service(PARAMETERS["StreamName"], account=Account(endpoint=deployed.url))
    with running(Function(tmp_path, variables | endpoints, timeout_s=PATIENCE_S)) as function:

        def invoke(event: dict[str, Any]) -> Any:
            answer = function.invoke(event)
            if answer.failed:
                raise FailedError(answer.body)
            return answer.body

        mapping = Mapping(
            LiveSource(service),
            invoke,
            Settings(parallelization=4),
            clock=SystemClock(),
            random=Random(1),
        )
        mapping.run(40)
        assert not [line for line in function.lines() if "mapping." in line]  # it was looked at
    service.clients.close()
    metrics = [json.loads(line) for line in function.lines() if line.startswith('{"_aws"')]
    assert sum(each["Events"] for each in metrics) == 20
    _check_alarms(deployed, metrics[-1])
    verified = binlog("verify", store, log)
    assert verified.status == 0, verified.err
    looked = binlog(
        "doctor", log, store, "--as", "lambda", "--function", outputs["FunctionName"], "--json"
    )
    [mapped] = [f for f in json.loads(looked.out)["findings"] if f["check"] == "mapping"]
    assert mapped["state"] == "ok", mapped


def _check_alarms(deployed: Deployed, written: dict[str, Any]) -> None:
    """The dimensions that the function writes are those that the alarms in the account look at."""
    [declared] = written["_aws"]["CloudWatchMetrics"]
    values = {name: written[name] for name in declared["Dimensions"][0]}
    names = {each["Name"] for each in declared["Metrics"]}
    alarms = deployed.client("cloudwatch").describe_alarms()["MetricAlarms"]
    ours = [each for each in alarms if each["Namespace"] == declared["Namespace"]]
    assert {each["MetricName"] for each in ours} == {
        "Halted",
        "Failed",
        "Parked",
        "Foreign",
    } & names
    for each in ours:
        assert {d["Name"]: d["Value"] for d in each["Dimensions"]} == values
