"""`doctor --archive` on the stand-in's bucket: what ends an archive is found by the command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from binlog.aws.account import Account, connector
from scripts.standins.server import Server
from tests.cli.running import binlog


@pytest.fixture
def log(tmp_path: Path) -> str:
    ran = binlog("init", f"file:{tmp_path}/log", "--partitions", "2")
    assert ran.status == 0, ran.err
    return f"file:{tmp_path}/log"


def findings(log: str, archive: str, status: int) -> dict[str, dict[str, Any]]:
    ran = binlog("doctor", log, "--archive", archive, "--json")
    assert ran.status == status, ran.out + ran.err
    return {
        each["check"]: each
        for each in json.loads(ran.out)["findings"]
        if each["where"].startswith("s3:")
    }


def test_a_rule_that_would_delete_an_archive_is_found(ministack: Server, log: str) -> None:
    bucket = f"doctor-{os.getpid()}"
    client = connector(Account(endpoint=ministack.url), "s3", "s3://")()
    client.create_bucket(Bucket=bucket)
    url = f"s3://{bucket}/kept/orders?endpoint={ministack.url}"
    before = findings(log, url, 0)
    assert before["bucket"]["state"] == before["lifecycle"]["state"] == "ok"
    assert before["versioning"]["state"] == "noted"
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {
        "ID": "thrift",
        "Status": "Enabled",
        "Filter": {"Prefix": "kept/"},
        "Transitions": [{"Days": 30, "StorageClass": "DEEP_ARCHIVE"}],
        "Expiration": {"Days": 400},
    }
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}
    )
    client.close()
    after = findings(log, url, 1)
    assert after["versioning"]["state"] == "ok"
    assert after["lifecycle"]["state"] == "unhealthy"
    assert "deletes objects after 400 days" in after["lifecycle"]["what"]
    assert "moves objects to DEEP_ARCHIVE after 30 days" in after["lifecycle"]["what"]


def test_a_bucket_that_is_not_there_is_unhealthy(ministack: Server, log: str) -> None:
    found = findings(log, f"s3://no-such-bucket-here/a?endpoint={ministack.url}", 1)
    assert found["bucket"]["state"] == "unhealthy"
    assert "no such bucket" in found["bucket"]["what"]


def test_what_holds_no_objects_is_refused(log: str) -> None:
    ran = binlog("doctor", log, "--archive", "kinesis://orders")
    assert ran.status == 2
    assert "holds no objects" in ran.err
