"""`doctor` on a store in DynamoDB: tables, and permissions by calls that cannot change anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.aws.aws_double import ACCOUNT_ID, USER, Refusal, Wire
from tests.cli.running import binlog

CONTROL, USERS = "live.binlog", "live.users"
STORE = "dynamodb://live"
PLACES = {"users": {"physical": USERS, "keys": {"hash": ["id", "N"]}}}


def arn(name: str) -> str:
    return f"arn:aws:dynamodb:eu-west-1:{ACCOUNT_ID}:table/{name}"


def described(**more: Any) -> Any:
    return lambda asked: {
        "Table": {
            "TableName": asked["TableName"],
            "TableArn": arn(asked["TableName"]),
            "TableStatus": "ACTIVE",
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
            "DeletionProtectionEnabled": True,
        }
        | more
    }


@pytest.fixture(autouse=True)
def healthy(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Tables with which nothing is wrong, and somebody who may do everything."""
    monkeypatch.setattr("appliers.stores.dynamodb_health.catalog_of", lambda *_: _Catalog(PLACES))
    monkeypatch.setattr("consumers.health.Doctor._oldest_needed", lambda *_: None)
    wire.answers |= {
        "sts.GetCallerIdentity": {"Arn": USER, "Account": ACCOUNT_ID, "UserId": "A"},
        "iam.SimulatePrincipalPolicy": lambda asked: {
            "EvaluationResults": [
                {"EvalActionName": action, "EvalDecision": "allowed"}
                for action in asked["ActionNames"]
            ]
        },
        "dynamodb.DescribeTable": described(),
        "dynamodb.DescribeTimeToLive": {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}},
        "dynamodb.DescribeContinuousBackups": {
            "ContinuousBackupsDescription": {
                "ContinuousBackupsStatus": "ENABLED",
                "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"},
            }
        },
        "dynamodb.GetItem": {},
        "dynamodb.BatchGetItem": {"Responses": {}, "UnprocessedKeys": {}},
        "dynamodb.Query": {"Items": []},
        "dynamodb.Scan": {"Items": []},
        "dynamodb.PutItem": Refusal("ConditionalCheckFailedException"),
    }
    return wire


class _Catalog:
    def __init__(self, places: Mapping[str, Any]) -> None:
        from appliers.stores.dynamodb_catalog import Place
        from appliers.stores.dynamodb_tables_spec import KeySchema

        self.places = {
            name: Place(each["physical"], KeySchema(tuple(each["keys"]["hash"])))
            for name, each in places.items()
        }


@pytest.fixture
def log(tmp_path: Path) -> str:
    url = f"file:{tmp_path}/log"
    assert binlog("init", url, "--partitions=1").status == 0
    return url


def look(log: str, *options: str, status: int = 0) -> dict[str, Any]:
    ran = binlog("doctor", log, STORE, *options, "--json")
    assert ran.status == status, ran.out + ran.err
    document: dict[str, Any] = json.loads(ran.out)
    return document


def of(document: dict[str, Any], check: str, state: str) -> dict[str, Any]:
    [found] = [
        each
        for each in document["findings"]
        if (each["check"], each["state"], each["where"]) == (check, state, STORE)
    ]
    return dict(found)


def test_healthy_tables_are_said_to_be_so(log: str, wire: Wire) -> None:
    document = look(log)
    assert of(document, "tables", "ok")["what"] == (
        "2 tables with the store's own, 2 of them on demand"
    )
    for check in ("ttl", "recovery", "protection", "credentials"):
        assert of(document, check, "ok")
    assert of(document, "permissions", "ok")["what"] == "all 24 permissions of the role applier"
    assert document["policy"] is None


def test_no_write_can_happen(log: str, wire: Wire) -> None:
    """Each has a condition that no item meets, on a key that no item has."""
    look(log, "--as=operator")
    changing = {
        name
        for name in wire.asked()
        if not name.partition(".")[2].startswith(
            ("Get", "BatchGet", "Query", "Scan", "Desc", "Sim")
        )
    }
    assert changing == {"dynamodb.PutItem"}
    puts = [params for name, params in wire.calls if name == "dynamodb.PutItem"]
    assert {each["TableName"] for each in puts} == {CONTROL, USERS}
    for each in puts:
        assert each["ConditionExpression"] == "attribute_exists(#k) AND attribute_not_exists(#k)"
    assert next(each["Item"] for each in puts if each["TableName"] == USERS) == {"id": {"N": "0"}}


@pytest.mark.parametrize(
    ("answer", "check", "state", "says", "status"),
    [
        (
            {
                "dynamodb.DescribeTimeToLive": {
                    "TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED"}
                }
            },
            "ttl",
            "unhealthy",
            "live.binlog, live.users: a TTL",
            1,
        ),
        (
            {"dynamodb.DescribeTable": described(DeletionProtectionEnabled=False)},
            "protection",
            "noted",
            "no deletion protection",
            0,
        ),
        (
            {
                "dynamodb.DescribeContinuousBackups": {
                    "ContinuousBackupsDescription": {"ContinuousBackupsStatus": "ENABLED"}
                }
            },
            "recovery",
            "noted",
            "no point-in-time recovery",
            0,
        ),
    ],
)
def test_what_is_wrong_with_tables(
    log: str,
    wire: Wire,
    answer: Mapping[str, Any],
    check: str,
    state: str,
    says: str,
    status: int,
) -> None:
    wire.answers |= answer
    found = of(look(log, status=status), check, state)
    assert says in found["what"]
    assert found["do"]


def test_a_table_whose_key_is_gone(log: str, wire: Wire) -> None:
    status = "INACCESSIBLE_ENCRYPTION_CREDENTIALS"
    wire.answers["dynamodb.DescribeTable"] = lambda asked: described(
        **({"TableStatus": status} if asked["TableName"] == USERS else {})
    )(asked)
    found = of(look(log, status=1), "tables", "unhealthy")
    assert (found["what"], found["do"]) == (f"{USERS} is {status}", "enable its key")


def test_missing_permissions_of_both_kinds_of_tables_come_as_one_policy(
    log: str, wire: Wire
) -> None:
    wire.deny("dynamodb:PutItem", arn(USERS))
    wire.answers["iam.SimulatePrincipalPolicy"] = lambda asked: {
        "EvaluationResults": [
            {
                "EvalActionName": action,
                "EvalDecision": "implicitDeny" if "Create" in action else "allowed",
            }
            for action in asked["ActionNames"]
        ]
    }
    document = look(log, status=1)
    granted = {
        each["Sid"]: (each["Action"], each["Resource"]) for each in document["policy"]["Statement"]
    }
    actions = ["dynamodb:CreateTable", "dynamodb:PutItem"]
    assert granted == {
        "MissingControl": (actions, arn(CONTROL)),
        "MissingTables": (actions, arn("live.*")),
    }


def test_a_table_that_is_not_there_is_no_denial(log: str, wire: Wire) -> None:
    gone = Refusal("ResourceNotFoundException", "Requested resource not found")
    for name in list(wire.answers):
        if name.startswith("dynamodb"):
            wire.answers[name] = gone
    document = look(log, status=1)
    assert "no such table" in of(document, "tables", "unhealthy")["what"]
    assert document["policy"] is None


def test_where_iam_may_not_be_asked_what_no_call_tells_is_unknown(log: str, wire: Wire) -> None:
    wire.deny("iam:SimulatePrincipalPolicy", USER)
    document = look(log)
    unknown = of(document, "permissions", "unknown")
    assert "dynamodb:CreateTable" in unknown["what"]
    assert "dynamodb:PutItem" not in unknown["what"]
