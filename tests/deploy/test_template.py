"""The template deploys what the code asks for: it is held against the code, not against a copy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from appliers.stores.dynamodb_tables_spec import Specification
from binlog.address import parse_address
from binlog.archive.keys import OWN_PREFIXES
from binlog.aws.account import Account
from binlog.aws.policies import NOTES, Role
from binlog.objects.s3_health import BucketHealth
from consumers import aws_audit, aws_lambda_settings
from consumers.aws_lambda_mapping import mapping_findings, refusal
from consumers.aws_lambda_metrics import DIMENSIONS
from consumers.aws_lambda_settings import settings_of
from consumers.metrics import UNITS
from scripts.deploy import roles
from scripts.deploy.roles import TABLES, TEMPLATE
from tests.cli.running import binlog
from tests.deploy.cloudformation import ACCOUNT_ID, Stack, load

ROOT = Path(__file__).parents[2]
CODE = {"CodeBucket": "code", "CodeKey": "shop.zip"}
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CHOSEN = {
    "StreamName": "Shop.events",
    "StreamMode": "PROVISIONED",
    "Shards": "4",
    "RetentionHours": "48",
    "StreamKeyArn": KEY,
    "CodeVersion": "v1",
    "FunctionName": "shop-live",
    "StorePrefix": "shop-live",
    "Appliers": "tests.cli.rules_for_cli:appliers",
    "SameMeaning": "yes",
    "Poison": "stop",
    "Exclude": '["id=a"]',
    "WindowSeconds": "0",
    "ParallelizationFactor": "10",
    "ReplicaPrefix": "shop-copy",
    "ReplicaRegion": "us-west-2",
    "ReplicaApplication": "shop-kcl",
    "TrustedPrincipal": f"arn:aws:iam::{ACCOUNT_ID}:role/ci",
    "AlarmEmail": "ops@example.com",
    "Audit": "yes",
}


@pytest.fixture(params=["defaults", "everything chosen"])
def stack(request: pytest.FixtureRequest) -> Stack:
    return Stack(load(TEMPLATE), CODE | (CHOSEN if "chosen" in request.param else {}))


# -- roles -----------------------------------------------------------------------------------------


def policies_of(stack: Stack, role: str) -> dict[str, dict[str, Any]]:
    found = stack.properties(role)["Policies"]
    return {each["PolicyName"]: each["PolicyDocument"] for each in found}


def printed(role: Role, log: str, store: str | None, *options: str) -> Any:
    where = [log] if store is None else [log, store]
    ran = binlog("policy", role, *where, "--account", ACCOUNT_ID, *options)
    assert ran.status == 0, ran.err
    return json.loads(ran.out)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("FunctionRole", "lambda"),
        ("ProducerRole", "producer"),
        ("ReplicaRole", "applier"),
        ("OperatorRole", "operator"),
        ("ArchiverRole", "archive"),
        ("AuditRole", "audit"),
    ],
)
def test_a_role_has_what_the_command_prints_for_it(stack: Stack, name: str, role: Role) -> None:
    """Statement by statement: an action that the code learns to call is granted here, too."""
    log, store = stack.outputs["Log"], stack.outputs["Store"]
    options = ["--log-key", KEY if KEY in json.dumps(stack.resources) else "none"]
    if role == "lambda":
        options += ["--function", stack.outputs["FunctionName"]]
    if role == "applier":
        store = re.sub("&?role=[^&]*", "", stack.outputs["StoreOfReplica"])
    if role in {"lambda", "applier", "operator", "archive"}:  # readers, of what the stream forgot
        options += ["--archive", stack.outputs["Archive"]]
    if role == "audit":
        log = stack.outputs["Archive"]
        options = ["--function", stack.outputs["FunctionName"] + "-audit"]
    if role == "operator":
        options += ["--snapshots", re.sub("&?role=[^&]*", "", stack.outputs["Snapshots"])]
    where = None if role in {"producer", "archive"} else store.replace("tables.toml", str(TABLES))
    if where is not None:
        options += ["--store-key", "none"]
    assert policies_of(stack, name)["binlog"] == printed(role, log, where, *options)
    size = sum(len(json.dumps(each)) for each in policies_of(stack, name).values())
    assert size < 10_240  # of a role's inline policies together (IAM quota)


def test_the_roles_are_those_that_their_writer_writes() -> None:
    """`python -m scripts.deploy.roles` mends it."""
    text = TEMPLATE.read_text(encoding="utf-8")
    assert roles.written(text) == text
    assert roles.written(text.replace("kinesis:PutRecords", "kinesis:*")) == text
    with pytest.raises(ValueError, match="not there"):
        roles.written(text.replace(roles.BEGIN, "#"))


def test_in_china_names_end_otherwise() -> None:
    china = Stack(
        load(TEMPLATE),
        CODE | {"StreamKeyArn": KEY.replace("arn:aws:", "arn:aws-cn:")},
        region="cn-north-1",
        partition="aws-cn",
        suffix="amazonaws.com.cn",
    )
    text = json.dumps(policies_of(china, "ProducerRole"))
    assert "kinesis.cn-north-1.amazonaws.com.cn" in text
    assert "arn:aws:" not in text


def test_a_worker_of_the_kcl_has_what_its_page_asks_for(stack: Stack) -> None:
    """docs/kcl-consumer.md names the actions on its own tables, and nothing else may be granted."""
    page = (ROOT / "docs/kcl-consumer.md").read_text(encoding="utf-8")
    asked = page[page.index("on the three tables") :].partition("PutMetricData`")[0]
    wanted = set(re.findall(r"`(?:dynamodb:)?([A-Z][a-z][A-Za-z]+)", asked))
    kcl = policies_of(stack, "ReplicaRole")["kcl"]["Statement"]
    actions = {action for each in kcl for action in each["Action"]}
    assert asked.endswith("`cloudwatch:")
    assert actions == {f"dynamodb:{each}" for each in wanted} | {"cloudwatch:PutMetricData"}
    application = parse_address(stack.outputs["LeasesOfReplica"]).path
    assert all(f"table/{application}" in resource for resource in kcl[0]["Resource"])


def test_who_may_take_a_role(stack: Stack) -> None:
    for name in ("ProducerRole", "ReplicaRole", "OperatorRole", "ArchiverRole"):
        [trust] = stack.properties(name)["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] in (
            {"AWS": CHOSEN["TrustedPrincipal"]},
            {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"},
        )
    for name in ("FunctionRole", "AuditRole"):
        [trust] = stack.properties(name)["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}


# -- the function and its mapping ------------------------------------------------------------------


def described(stack: Stack, **change: Any) -> dict[str, Any]:
    """The mapping as the service describes it."""
    arn = f"arn:aws:kinesis:eu-west-1:{ACCOUNT_ID}:stream/{stack.properties('Stream')['Name']}"
    return {**stack.properties("Mapping"), "UUID": "m1", "EventSourceArn": arn} | change


def test_the_mapping_drops_nothing(stack: Stack) -> None:
    """Neither the function nor `binlog doctor` has anything to say against it."""
    mapping = described(stack)
    [finding] = mapping_findings(mapping)
    assert finding.state == "ok", finding
    assert refusal(mapping, is_running=False) is None
    # Said, and not left to what the service may make its default one day.
    assert (mapping["MaximumRetryAttempts"], mapping["MaximumRecordAgeInSeconds"]) == (-1, -1)
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["BisectBatchOnFunctionError"] is True
    assert "DestinationConfig" not in mapping
    assert any(f.state != "ok" for f in mapping_findings(described(stack, MaximumRetryAttempts=3)))


def environment_of(stack: Stack) -> dict[str, str]:
    found: Mapping[str, Any] = stack.properties("Function")["Environment"]["Variables"]
    assert all(isinstance(value, str) for value in found.values())  # an unquoted `no` is false
    return dict(found)


def test_the_function_takes_its_variables(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its initialisation does: an unknown name, or a value that it refuses, would end it."""
    monkeypatch.syspath_prepend(str(ROOT))
    environment = environment_of(stack)
    settings = settings_of(environment)
    assert settings.stream.path == stack.properties("Stream")["Name"]
    assert settings.metrics is not None
    assert settings.mapping == "check"
    assert environment.keys() <= set(aws_lambda_settings._NAMES)
    if "stop" in environment.values():
        assert "Renamed" in settings.rules.by_type
        assert (settings.poison, settings.same_meaning, settings.excluded) == (
            "stop",
            True,
            ("id=a",),
        )


def test_the_audit_takes_its_variables_and_tells_the_alarm() -> None:
    """By the dimensions that its metrics have; and an audit that is not done alarms, too."""
    stack = Stack(load(TEMPLATE), CODE | CHOSEN)
    function, alarm = stack.properties("AuditFunction"), stack.properties("DifferingAlarm")
    settings = aws_audit.settings_of(function["Environment"]["Variables"])
    assert settings.archive == stack.outputs["Archive"].partition("?")[0]
    assert settings.stores == (environment_of(stack)["BINLOG_STORE"],)
    dimensions = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
    assert dimensions == {"Log": settings.log, "Store": settings.stores[0]}
    assert settings.log == environment_of(stack)["BINLOG_LOG"]
    assert alarm["TreatMissingData"] == "breaching"
    assert function["Handler"] == f"{aws_audit.__name__}.{aws_audit.handler.__name__}"
    assert stack.properties("AuditSchedule")["ScheduleExpression"] == "rate(1 hour)"
    assert alarm["Period"] * alarm["EvaluationPeriods"] > 3_600 + function["Timeout"]
    assert "AuditFunction" not in defaults().resources


def defaults() -> Stack:
    return Stack(load(TEMPLATE), CODE)


def test_the_handler_and_its_package_are_ours(stack: Stack) -> None:
    from scripts.packaging.lambda_zip import _ARCHITECTURES, Target, _parse

    function = stack.properties("Function")
    module, _, name = function["Handler"].rpartition(".")
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert f"def {name}(event: object, context: Context)" in source
    template = load(TEMPLATE)["Parameters"]
    assert set(template["Architecture"]["AllowedValues"]) == set(_ARCHITECTURES)
    assert Target() == Target(
        template["Runtime"]["Default"].removeprefix("python"), template["Architecture"]["Default"]
    )
    assert function["Timeout"] > 10 * settings_of(environment_of(stack)).reserve_s
    runtimes = [each.removeprefix("python") for each in template["Runtime"]["AllowedValues"]]
    for runtime in runtimes:
        assert _parse(["--python", runtime]).python == runtime
    group = stack.properties("FunctionLog")["LogGroupName"]
    assert group == f"/aws/lambda/{function['FunctionName']}"


# -- tables ----------------------------------------------------------------------------------------


def test_the_stores_own_table_is_the_one_that_the_store_expects(stack: Stack) -> None:
    """`owned`: the store compares it, and makes none; every other table is made as events need it."""
    prefix = parse_address(environment_of(stack)["BINLOG_STORE"]).path
    assert environment_of(stack)["BINLOG_STORE"].endswith(f"?tables={TABLES.name}")
    specification = Specification.load(str(TABLES), prefix)
    spec, made = specification.control(), stack.properties("Control")
    assert spec.owned
    assert made["TableName"] == spec.physical
    types = {a["AttributeName"]: a["AttributeType"] for a in made["AttributeDefinitions"]}
    keys = tuple((k["AttributeName"], types[k["AttributeName"]]) for k in made["KeySchema"])
    assert [k["KeyType"] for k in made["KeySchema"]] == ["HASH", "RANGE"]
    assert keys == spec.keys.attributes
    assert not specification.declared
    assert "TimeToLiveSpecification" not in made


@pytest.mark.parametrize("name", ["Stream", "Control", "Archive"])
def test_no_stack_deletes_what_cannot_be_made_again(stack: Stack, name: str) -> None:
    resource = stack.resources[name]
    assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resource["UpdateReplacePolicy"] == "Retain"


# -- the bucket ------------------------------------------------------------------------------------


class _BucketOfStack:
    """Answers what `binlog doctor --archive` asks of a bucket, from the template's properties."""

    def __init__(self, properties: dict[str, Any]) -> None:
        self._properties = properties

    def list_objects_v2(self, **_: Any) -> dict[str, Any]:
        return {}

    def get_bucket_lifecycle_configuration(self, **_: Any) -> dict[str, Any]:
        rules = self._properties["LifecycleConfiguration"]["Rules"]
        return {"Rules": [each | {"ID": each["Id"]} for each in rules]}

    def get_bucket_versioning(self, **_: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._properties["VersioningConfiguration"]
        return found

    def get_object_lock_configuration(self, **_: Any) -> dict[str, Any]:
        return {}


def test_the_bucket_is_one_that_doctor_finds_nothing_wrong_with(stack: Stack) -> None:
    """No rule of it removes or freezes what is current; what somebody deletes can be had back."""
    properties = stack.properties("Archive")
    client = _BucketOfStack(properties)
    for url in (stack.outputs["Archive"], stack.outputs["Snapshots"]):
        path = parse_address(url).path.replace("<Archive>", "made")
        health = BucketHealth(path, Account(), url, client=client)
        states = {each.check: each.state for each in health.findings()}
        assert states == {
            "bucket": "ok",
            "lifecycle": "ok",
            "versioning": "ok",
            "object lock": "noted",
        }
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}


def test_nobody_replaces_or_deletes_what_is_archived(stack: Stack) -> None:
    """But for notes, which are put again and again; and what is new may be written."""
    policy = stack.properties("ArchivePolicy")
    assert policy["Bucket"] == "<Archive>"
    of = {each["Sid"]: each for each in policy["PolicyDocument"]["Statement"]}
    assert {each["Effect"] for each in of.values()} == {"Deny"}
    replaced, deleted = of["NothingArchivedIsReplaced"], of["NothingArchivedIsDeleted"]
    assert replaced["Condition"]["Null"] == {"s3:if-none-match": "true"}
    assert set(deleted["Action"]) == {"s3:DeleteObject", "s3:DeleteObjectVersion"}
    begin = f"arn:aws:s3:::{parse_address(stack.outputs['Archive']).path}/"
    for statement in (replaced, deleted):
        kept = {each.removeprefix(begin).removesuffix("*") for each in statement["Resource"]}
        assert kept == set(OWN_PREFIXES) - set(NOTES), "as an archive names its objects"


def test_a_stream_is_as_it_was_asked_for() -> None:
    chosen = Stack(load(TEMPLATE), CODE | CHOSEN).properties("Stream")
    assert chosen["ShardCount"] == 4
    assert chosen["StreamEncryption"]["KeyId"] == KEY
    plain = defaults().properties("Stream")
    assert "ShardCount" not in plain
    assert plain["StreamEncryption"]["KeyId"] == "alias/aws/kinesis"


@pytest.mark.parametrize(
    "wrong",
    [
        {"StreamKeyArn": "alias/mine"},
        {"RetentionHours": "12"},
        {"Appliers": "shop.py"},
        {"Poison": "skip"},
        {"ParallelizationFactor": "11"},
        {"StorePrefix": "a/b"},
        {"AlarmEmail": "nobody"},
        {"Nothing": "x"},
    ],
)
def test_refuses_parameters_that_would_fail_later(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"refused|no such"):
        Stack(load(TEMPLATE), CODE | wrong)


def test_the_template_can_be_given_as_it_is() -> None:
    """Above 51,200 bytes it would have to lie in a bucket (CloudFormation quotas)."""
    assert TEMPLATE.stat().st_size < 51_200


# -- alarms ----------------------------------------------------------------------------------------


def alarms_of(stack: Stack) -> dict[str, dict[str, Any]]:
    return stack.of_type("AWS::CloudWatch::Alarm")


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics that an alarm looks at, each with its dimensions."""
    if "Metrics" not in alarm:
        return [alarm]
    return [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each]


def test_alarms_of_ours_are_on_what_the_function_writes(stack: Stack) -> None:
    """A name, or the value of a dimension, that is another than the function's is never breached."""
    environment = environment_of(stack)
    wanted = dict(
        zip(DIMENSIONS, (environment["BINLOG_LOG"], environment["BINLOG_STORE"]), strict=True)
    )
    ours = [
        metric
        for alarm in alarms_of(stack).values()
        for metric in metrics_of(alarm)
        if not metric["Namespace"].startswith("AWS/")
    ]
    names = {"Halted", "Failed", "Parked", "Foreign"}
    if "DifferingAlarm" in stack.resources:
        names.add("Differing")
    assert {metric["MetricName"] for metric in ours} == names
    for metric in ours:
        assert metric["Namespace"] == environment["BINLOG_METRICS"]
        assert metric["MetricName"] in UNITS
        assert {d["Name"]: d["Value"] for d in metric["Dimensions"]} == wanted


def test_a_halted_partition_alarms_within_a_minute(stack: Stack) -> None:
    alarm = alarms_of(stack)["HaltedAlarm"]
    assert alarm["Period"] * alarm["EvaluationPeriods"] <= 60
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")
    assert alarm["TreatMissingData"] == "ignore"  # the shard's back-off may leave a minute out


def test_every_alarm_is_told_and_is_on_something_of_the_stack(stack: Stack) -> None:
    named = {
        "StreamName": stack.properties("Stream")["Name"],
        "FunctionName": stack.properties("Function")["FunctionName"],
        "TableName": stack.properties("Control")["TableName"],
    }
    for name, alarm in alarms_of(stack).items():
        assert alarm["AlarmActions"] == ["<Alarms>"], name
        assert "TreatMissingData" in alarm, name
        assert alarm.get("DatapointsToAlarm", 1) <= alarm["EvaluationPeriods"], name
        for metric in metrics_of(alarm):
            if metric["Namespace"].startswith("AWS/"):
                [dimension] = metric["Dimensions"]
                assert dimension["Value"] == named[dimension["Name"]], name
    emails = stack.of_type("AWS::SNS::Subscription")
    assert [each["Endpoint"] for each in emails.values()] in ([], [CHOSEN["AlarmEmail"]])


@pytest.mark.parametrize(
    ("name", "age_h", "rings"),
    [
        ("RunwayAlarm", 10, False),
        ("RunwayAlarm", 25, True),
        ("ReadersRunwayAlarm", 25, False),
        ("ReadersRunwayAlarm", 30, True),
    ],
)
def test_the_runway_is_what_is_left_of_the_retention(name: str, age_h: int, *, rings: bool) -> None:
    """Of 48 hours; the age is in milliseconds. A lazy replica may use half of it."""
    alarm = alarms_of(Stack(load(TEMPLATE), CODE | CHOSEN))[name]
    [expression] = [each["Expression"] for each in alarm["Metrics"] if "Expression" in each]
    left = eval(expression, {"age": age_h * 3_600_000})
    assert alarm["ComparisonOperator"] == "LessThanThreshold"
    assert (left < alarm["Threshold"]) is rings


def test_the_page_and_the_template_name_the_same_alarms() -> None:
    """docs/deploy.md has a line for each."""
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    everything = Stack(load(TEMPLATE), CODE | CHOSEN)
    assert set(re.findall(r"`(\w+Alarm)`", page)) == set(alarms_of(everything))
