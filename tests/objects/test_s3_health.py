"""`doctor` on a bucket: what would end an archive is found, and nothing is touched."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from binlog.aws.account import Account
from binlog.aws.permissions import probe
from binlog.errors import StorageError
from binlog.health import Finding
from binlog.objects.s3_health import BucketHealth, deletes_finding
from tests.objects.s3_double import STAND_IN, Bucket, Client, refusal

WHERE = "s3://bucket/kept/orders"


class Asked(Client):
    """A bucket with settings; those that are ``None`` are not there."""

    lifecycle: list[dict[str, Any]] | None = None
    versioning: str | None = None
    lock: bool = False
    location: str | None = "eu-west-1"
    denied: frozenset[str] = frozenset()

    def _refuse(self, action: str) -> None:
        self.made.append(action)
        if action in self.denied:
            said = f"User: arn:aws:iam::1:user/me is not authorized to perform: s3:{action}"
            raise refusal("AccessDenied", 403, action, said)

    def get_bucket_lifecycle_configuration(self, **_: Any) -> dict[str, Any]:
        self._refuse("GetLifecycleConfiguration")
        if self.lifecycle is None:
            raise refusal("NoSuchLifecycleConfiguration", 404, "GetBucketLifecycleConfiguration")
        return {"Rules": self.lifecycle}

    def get_bucket_versioning(self, **_: Any) -> dict[str, Any]:
        self._refuse("GetBucketVersioning")
        return {} if self.versioning is None else {"Status": self.versioning}

    def get_object_lock_configuration(self, **_: Any) -> dict[str, Any]:
        self._refuse("GetBucketObjectLockConfiguration")
        if not self.lock:
            raise refusal("ObjectLockConfigurationNotFoundError", 404, "GetObjectLockConfiguration")
        return {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}

    def get_bucket_location(self, **_: Any) -> dict[str, Any]:
        self._refuse("GetBucketLocation")
        return {"LocationConstraint": self.location}


@pytest.fixture
def client() -> Asked:
    bucket = Bucket()
    bucket.held["kept/orders/archive.json"] = b"{}", None
    return Asked(bucket)


def health(client: Asked) -> BucketHealth:
    return BucketHealth("bucket/kept/orders", Account(), WHERE, client=client)


def of(client: Asked, check: str, region: str | None = None) -> Finding:
    (found,) = [each for each in health(client).findings(region=region) if each.check == check]
    return found


def rule(**more: Any) -> dict[str, Any]:
    return {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}} | more


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (rule(Expiration={"Days": 30}), "rule 'r' deletes objects after 30 days"),
        (
            rule(Expiration={"Date": datetime(2027, 1, 2, tzinfo=UTC)}),
            "rule 'r' deletes objects on 2027-01-02",
        ),
        (
            rule(Transitions=[{"Days": 90, "StorageClass": "GLACIER"}]),
            "rule 'r' moves objects to GLACIER after 90 days",
        ),
        (
            rule(Transitions=[{"Days": 1, "StorageClass": "DEEP_ARCHIVE"}]),
            "moves objects to DEEP_ARCHIVE",
        ),
        (rule(Filter={"Prefix": "kept/"}, Expiration={"Days": 1}), "deletes objects"),
        (rule(Filter={"Prefix": "kept/orders/chain/p0001"}, Expiration={"Days": 1}), "deletes"),
        (
            rule(
                Filter={"And": {"Prefix": "kept/", "ObjectSizeGreaterThan": 1}},
                Expiration={"Days": 1},
            ),
            "deletes",
        ),
        ({"ID": "old", "Status": "Enabled", "Prefix": "kept", "Expiration": {"Days": 1}}, "'old'"),
    ],
)
def test_a_rule_that_removes_or_freezes_objects_is_unhealthy(
    wanted: dict[str, Any], says: str, client: Asked
) -> None:
    client.lifecycle = [rule(ID="harmless"), wanted]
    found = of(client, "lifecycle")
    assert found.state == "unhealthy"
    assert says in found.what
    assert "harmless" not in found.what
    assert found.do


@pytest.mark.parametrize(
    "harmless",
    [
        rule(Status="Disabled", Expiration={"Days": 1}),
        rule(Filter={"Prefix": "logs/"}, Expiration={"Days": 1}),
        rule(Filter={"Prefix": "kept/orders-of-others/"}, Expiration={"Days": 1}),
        rule(Filter={"Tag": {"Key": "temporary", "Value": "yes"}}, Expiration={"Days": 1}),
        rule(
            Filter={"And": {"Prefix": "", "Tags": [{"Key": "t", "Value": "y"}]}},
            Expiration={"Days": 1},
        ),
        rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}),
        rule(NoncurrentVersionExpiration={"NoncurrentDays": 30}),
        rule(Expiration={"ExpiredObjectDeleteMarker": True}),
    ],
)
def test_a_rule_that_takes_nothing_of_ours_is_none(harmless: dict[str, Any], client: Asked) -> None:
    client.lifecycle = [harmless]
    assert of(client, "lifecycle").state == "ok"
    client.lifecycle = None
    assert of(client, "lifecycle").state == "ok"


def test_a_class_that_can_be_read_is_only_noted(client: Asked) -> None:
    client.lifecycle = [rule(Transitions=[{"Days": 30, "StorageClass": "GLACIER_IR"}])]
    found = of(client, "lifecycle")
    assert found.state == "noted"
    assert "GLACIER_IR" in found.what


def test_what_keeps_objects_is_a_hint(client: Asked) -> None:
    assert of(client, "versioning").state == of(client, "object lock").state == "noted"
    client.versioning, client.lock = "Enabled", True
    assert of(client, "versioning").state == of(client, "object lock").state == "ok"
    client.versioning = "Suspended"
    assert of(client, "versioning").state == "noted"


@pytest.mark.parametrize(
    ("location", "region", "state"),
    [
        ("eu-west-1", "eu-west-1", "ok"),
        ("EU", "eu-west-1", "ok"),
        (None, "us-east-1", "ok"),
        ("eu-west-1", "us-east-1", "noted"),
    ],
)
def test_a_bucket_in_another_region_is_noted(
    location: str | None, region: str, state: str, client: Asked
) -> None:
    client.location = location
    assert of(client, "region", region).state == state


def test_what_may_not_be_looked_at_is_unknown_and_says_which_right_is_missing(
    client: Asked,
) -> None:
    """An archiver may not: an operator may."""
    client.denied = frozenset({"GetLifecycleConfiguration"})
    found = of(client, "lifecycle")
    assert found.state == "unknown"
    assert "s3:GetLifecycleConfiguration" in found.what
    assert of(client, "versioning").state == "noted", "one does not keep the others from it"


def test_a_bucket_that_is_not_there_is_the_only_finding(client: Asked) -> None:
    def missing(**_: Any) -> dict[str, Any]:
        raise refusal("NoSuchBucket", 404, "ListObjectsV2")

    client.list_objects_v2 = missing  # type: ignore[method-assign]
    (found,) = health(client).findings()
    assert (found.check, found.state) == ("bucket", "unhealthy")
    assert "no such bucket" in found.what


@pytest.mark.parametrize("conditional", [True, False])
def test_looking_at_permissions_writes_nothing(conditional: bool, client: Asked) -> None:
    """Not even where the service ignores the condition, or somebody deletes the object meanwhile."""
    client.bucket.conditional = conditional
    looked = health(client)
    list(looked.findings())
    before = dict(client.bucket.held)
    for gone in (False, True):
        if gone:
            client.bucket.held.clear()
            before = {}
        found = probe(looked.probes("archive")) | probe(looked.probes("archive_bucket"))
        assert client.bucket.held == before
        assert found["s3:PutObject"].state == "allowed"
        assert found["s3:ListBucket"].state == "allowed"
    client.plans["put"] = dict.fromkeys(range(99), "denied")
    assert probe(looked.probes("archive"))["s3:PutObject"].state == "denied"


def test_of_a_stand_in_nothing_is_put_at_all(client: Asked) -> None:
    client.meta.endpoint_url = STAND_IN
    looked = health(client)
    list(looked.findings())
    assert "s3:PutObject" not in looked.probes("archive")


def test_an_archive_that_is_empty_is_told_by_its_listing_only(client: Asked) -> None:
    client.bucket.held.clear()
    looked = health(client)
    assert "nothing in it yet" in next(looked.findings()).what
    assert looked.probes("archive") == {}


def test_rights_to_delete_are_noted() -> None:
    assert deletes_finding(None, "allowed", WHERE).state == "noted"
    assert deletes_finding(None, "denied", WHERE).state == "ok"
    assert deletes_finding(None, "unknown", WHERE).state == "unknown"
    assert deletes_finding(StorageError("no"), "unknown", WHERE).state == "unknown"
