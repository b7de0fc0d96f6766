"""Policies on buckets: exactly a prefix, nothing replaced, nothing deleted but what is to be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from binlog.archive.keys import OWN_PREFIXES
from binlog.aws.policies import (
    GRANTS,
    NOTES,
    ROLES,
    Place,
    import_targets,
    objects_targets,
    policy_of,
    role_for,
)
from tests.aws.aws_double import ACCOUNT_ID
from tests.cli.running import binlog

HERE = Place("aws", "eu-west-1", ACCOUNT_ID)
ARGUMENTS = ("--account", ACCOUNT_ID, "--log-key", "none")
LOG, STORE, ARCHIVE = "kinesis://orders?region=eu-west-1", "dynamodb://live", "s3://kept/a/b"


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")


def printed(*arguments: str) -> dict[str, dict[str, Any]]:
    """The statements of a policy, by their names."""
    ran = binlog("policy", *arguments)
    assert ran.status == 0, ran.err
    found = json.loads(ran.out)["Statement"]
    assert len({each["Sid"] for each in found}) == len(found)
    return {each["Sid"]: each for each in found}


def test_an_archiver_writes_only_where_nothing_is() -> None:
    """Its credentials cannot undo what it has archived: neither replace nor delete it."""
    found = printed("archive", LOG, ARCHIVE, *ARGUMENTS)
    assert found["AddToArchive"]["Action"] == ["s3:PutObject"]
    assert found["AddToArchive"]["Resource"] == "arn:aws:s3:::kept/a/b/*"
    assert found["AddToArchive"]["Condition"] == {"Null": {"s3:if-none-match": "false"}}
    notes = [f"arn:aws:s3:::kept/a/b/{each}*" for each in ("seen/", "through/")]
    assert found["KeepNotes"]["Resource"] == notes
    assert set(NOTES) < set(OWN_PREFIXES), "as an archive names its objects"
    assert not any("Delete" in action for each in found.values() for action in each["Action"])
    assert found["ListArchive"] == {
        "Sid": "ListArchive",
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": "arn:aws:s3:::kept",
        "Condition": {"StringLike": {"s3:prefix": "a/b/*"}},
    }


def test_only_who_keeps_snapshots_or_data_sets_deletes_objects() -> None:
    """And nobody those of an archive: that is for a person to decide."""
    for role in ROLES:
        deletes = {each.on for each in GRANTS[role] if "s3:DeleteObject" in each.actions}
        wanted = {"snapshot": {"snapshots"}, "operator": {"snapshots", "data_sets"}}
        assert deletes == wanted.get(role, set())


def test_who_reads_an_archive_writes_nothing_to_it() -> None:
    for role in ("reader", "relay", "applier", "kcl", "audit", "snapshot"):
        actions = {a for g in GRANTS[role] if g.on.startswith("archive") for a in g.actions}
        assert actions == {"s3:GetObject", "s3:ListBucket"}
    found = printed("reader", LOG, "--archive", ARCHIVE, *ARGUMENTS)
    assert found["ReadArchive"]["Resource"] == "arn:aws:s3:::kept/a/b/*"


def test_a_whole_bucket_is_listed_without_a_condition() -> None:
    found = printed("archive", LOG, "s3://kept", *ARGUMENTS)
    assert found["ReadArchive"]["Resource"] == "arn:aws:s3:::kept/*"
    assert "Condition" not in found["ListArchive"]


def test_an_audit_reads_an_archive_and_checkpoints() -> None:
    found = printed("audit", ARCHIVE, STORE, *ARGUMENTS)
    assert set(found) == {"SeeStore", "ReadArchive", "ListArchive"}
    assert printed("audit", STORE, "--archive", ARCHIVE, *ARGUMENTS) == found


def test_a_snapshot_reads_a_store_and_keeps_snapshots() -> None:
    found = printed("snapshot", STORE, "s3://kept/snapshots", *ARGUMENTS)
    assert set(found) == {"SeeStore", "ReadItems", "KeepSnapshots", "ListSnapshots"}
    assert found["KeepSnapshots"]["Action"] == ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]


def test_an_archiver_that_is_a_function_is_polled_for_and_logs() -> None:
    found = printed("archive", LOG, ARCHIVE, "--function", "keeper", *ARGUMENTS)
    assert {"LetMappingPoll", "SeeMappings", "WriteFunctionLog"} <= set(found)
    assert found["WriteFunctionLog"]["Resource"][0].endswith(":log-group:/aws/lambda/keeper")
    assert "LetMappingPoll" not in printed("archive", LOG, ARCHIVE, *ARGUMENTS)


def test_an_archiver_that_is_a_worker_of_the_kcl_keeps_its_leases() -> None:
    leases = "dynamodb://keeper"
    found = printed("archive", LOG, ARCHIVE, "--leases", leases, *ARGUMENTS)
    table = f"arn:aws:dynamodb:eu-west-1:{ACCOUNT_ID}:table/keeper"
    assert table in found["KeepLeases"]["Resource"]
    assert "PutMetrics" in found
    assert "KeepLeases" not in printed("archive", LOG, ARCHIVE, *ARGUMENTS)
    assert "SeeStore" not in found, "it has no store"


def test_an_import_is_read_and_logged_with_the_callers_permissions() -> None:
    found = printed("operator", LOG, STORE, "--import", "s3://kept/imports", *ARGUMENTS)
    table = f"arn:aws:dynamodb:eu-west-1:{ACCOUNT_ID}:table/live.*"
    assert found["ImportTables"]["Resource"] == table
    assert found["SeeImports"]["Resource"] == f"{table}/import/*"
    assert found["KeepDataSets"]["Resource"] == "arn:aws:s3:::kept/imports/*"
    assert "logs:PutRetentionPolicy" in found["LogImports"]["Action"]
    assert set(printed("operator", LOG, STORE, *ARGUMENTS)).isdisjoint(
        {"ImportTables", "KeepDataSets", "AddToArchive"}
    )


@pytest.mark.parametrize(
    ("role", "actions"),
    [("reader", ["kms:Decrypt"]), ("archive", ["kms:Decrypt", "kms:GenerateDataKey"])],
)
def test_a_buckets_key_is_used_through_s3(role: Any, actions: list[str]) -> None:
    """Whatever the context: with Bucket Keys it is the bucket, else the object."""
    document = policy_of(role, objects_targets("archive", HERE, "kept/a", ["1234abcd"]))
    [statement] = [each for each in document["Statement"] if each["Sid"].startswith("UseKey")]
    assert statement["Sid"] == "UseKeyOfBucket"
    assert statement["Action"] == actions
    assert statement["Resource"] == f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:key/1234abcd"
    assert statement["Condition"] == {
        "StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}
    }


def test_in_china_buckets_have_other_names() -> None:
    place = Place("aws-cn", "cn-north-1", ACCOUNT_ID)
    targets = [
        *objects_targets("data_sets", place, "kept/a"),
        *import_targets(place, ["live.*"]),
    ]
    document = policy_of("operator", targets)
    assert {"arn:aws-cn:s3:::kept/a/*", "arn:aws-cn:s3:::kept"} <= {
        each["Resource"] for each in document["Statement"]
    }


def test_what_objects_need_is_found_by_its_action() -> None:
    assert role_for("s3:GetObject") == "reader"
    assert role_for("s3:PutObject") == "archive"
    assert role_for("s3:DeleteObject") == "operator"
    assert role_for("dynamodb:ImportTable") == "operator"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("archive", LOG), "on a bucket: kinesis://orders?region=eu-west-1: binlog policy archive"),
        (("archive", LOG, STORE), "of what is it"),
        (("archive", ARCHIVE, "s3://b"), "of what is it"),
        (("snapshot", ARCHIVE), "binlog policy snapshot STORE s3://BUCKET/PREFIX"),
        (("audit", STORE), "binlog policy audit s3://BUCKET/PREFIX STORE"),
        (("producer", LOG, "--archive", ARCHIVE), "--archive, and the role is producer"),
        (("reader", LOG, "--import", ARCHIVE), "--import, and the role is reader"),
        (("operator", LOG, "--import", ARCHIVE), "no STORE in DynamoDB"),
        (("reader", LOG, "--bucket-key", "k"), "there is no bucket"),
        (("archive", "file:log", "file:archive"), "nothing here is a service's"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(
    arguments: tuple[str, ...], says: str
) -> None:
    ran = binlog("policy", *arguments, *ARGUMENTS)
    assert ran.status == 2
    assert says in ran.err
    assert ran.err.count("\n") == 1
