"""`doctor --archive` in an account: permissions of the role on the bucket, and who may delete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from binlog.aws.account import Account
from binlog.objects.s3_health import BucketHealth
from consumers import health
from tests.aws.aws_double import ACCOUNT_ID, USER, Wire
from tests.cli.running import binlog
from tests.objects.s3_double import Bucket
from tests.objects.test_s3_health import Asked


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What is asked of S3 is asked of a double; STS and IAM answer at the wire."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    held = Bucket()
    held.held["kept/archive.json"] = b"{}", None
    client = Asked(held)

    def made(path: str, account: Account, where: str) -> BucketHealth:
        return BucketHealth(path, account, where, client=client)

    monkeypatch.setattr(health, "BucketHealth", made)
    return client


@pytest.fixture(autouse=True)
def account(wire: Wire) -> Wire:
    wire.answers |= {
        "sts.GetCallerIdentity": {"Arn": USER, "Account": ACCOUNT_ID, "UserId": "A"},
        "iam.SimulatePrincipalPolicy": lambda asked: {
            "EvaluationResults": [
                {
                    "EvalActionName": action,
                    "EvalDecision": "implicitDeny" if "Delete" in action else "allowed",
                }
                for action in asked["ActionNames"]
            ]
        },
    }
    return wire


@pytest.fixture
def log(tmp_path: Path) -> str:
    ran = binlog("init", f"file:{tmp_path}/log", "--partitions", "2")
    assert ran.status == 0, ran.err
    return f"file:{tmp_path}/log"


def looked(log: str, *options: str, status: int = 0) -> dict[str, Any]:
    ran = binlog("doctor", log, "--archive", "s3://bucket/kept", "--json", *options)
    assert ran.status == status, ran.out + ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def of(found: dict[str, Any], check: str) -> dict[str, Any]:
    [one] = [e for e in found["findings"] if e["check"] == check and e["where"].startswith("s3:")]
    return dict(one)


def test_an_archivers_bucket_that_is_in_order(log: str, bucket: Asked) -> None:
    found = looked(log, "--as", "archive")
    assert of(found, "permissions")["state"] == "ok"
    assert of(found, "deletes") == {
        "check": "deletes",
        "state": "ok",
        "what": "these credentials delete nothing",
        "where": "s3://bucket/kept",
        "do": "",
    }
    assert found["policy"] is None
    assert bucket.bucket.held == {"kept/archive.json": (b"{}", None)}


def test_what_is_denied_comes_as_a_policy_to_paste(log: str, bucket: Asked) -> None:
    bucket.plans["put"] = dict.fromkeys(range(99), "denied")
    found = looked(log, "--as", "archive", status=1)
    assert "s3:PutObject is denied" in of(found, "permissions")["what"]
    [statement] = found["policy"]["Statement"]
    assert statement["Action"] == ["s3:PutObject"]
    assert statement["Resource"] == "arn:aws:s3:::bucket/kept/*"
    assert statement["Condition"] == {"Null": {"s3:if-none-match": "false"}}


def test_a_reader_is_not_asked_for_what_it_does_not_do(log: str, bucket: Asked) -> None:
    bucket.plans["put"] = dict.fromkeys(range(99), "denied")
    assert of(looked(log, "--as", "reader"), "permissions")["state"] == "ok"
    assert "put" not in bucket.made


def test_rights_to_delete_an_archive_are_noted(log: str, bucket: Asked, account: Wire) -> None:
    account.answers["iam.SimulatePrincipalPolicy"] = lambda asked: {
        "EvaluationResults": [
            {"EvalActionName": action, "EvalDecision": "allowed"} for action in asked["ActionNames"]
        ]
    }
    found = of(looked(log, "--as", "archive"), "deletes")
    assert found["state"] == "noted"
    assert "s3:DeleteObject" in found["what"]
    account.deny("iam:SimulatePrincipalPolicy")
    assert of(looked(log, "--as", "archive"), "deletes")["state"] == "unknown"
