"""A table's description in DynamoDB's words and in ours, and what to ask for to get from one to one.

Pure: replies in, requests out (without the table's name).

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_UpdateTable.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from appliers.stores.dynamodb_tables_spec import KeySchema, TableSpec, Units

Request: TypeAlias = dict[str, Any]
Update: TypeAlias = Callable[[TableSpec, Mapping[str, Any]], Request | None]


def keys_of(table: Mapping[str, Any]) -> KeySchema:
    """The key schema of a described table."""
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    names = {each["KeyType"]: each["AttributeName"] for each in table["KeySchema"]}
    hash_key, range_key = names["HASH"], names.get("RANGE")
    return KeySchema(
        (hash_key, types[hash_key]), None if range_key is None else (range_key, types[range_key])
    )


def creation(spec: TableSpec) -> Request:
    """What CreateTable is asked for; all but point-in-time recovery can be had at once."""
    request: Request = {
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in spec.keys.attributes
        ],
        "KeySchema": [
            {"AttributeName": name, "KeyType": role}
            for role, (name, _) in zip(("HASH", "RANGE"), spec.keys.attributes, strict=False)
        ],
        "Tags": [{"Key": key, "Value": value} for key, value in sorted(spec.tags.items())],
        **_billing(spec.billing),
    }
    if spec.deletion_protection is not None:
        request["DeletionProtectionEnabled"] = spec.deletion_protection
    if spec.kms is not None:
        request["SSESpecification"] = _encryption(spec.kms)
    return request


def deletion_protection(spec: TableSpec, table: Mapping[str, Any]) -> Request | None:
    """The UpdateTable that sets it as it is to be; ``None`` where it is so, or nobody cares."""
    wanted = spec.deletion_protection
    if wanted is None or wanted == table.get("DeletionProtectionEnabled", False):
        return None
    return {"DeletionProtectionEnabled": wanted}


def billing(spec: TableSpec, table: Mapping[str, Any]) -> Request | None:
    """The UpdateTable that sets the mode. Units of a provisioned table stay: it may be scaled."""
    if spec.billing is None:
        return None
    mode = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    request = _billing(spec.billing)
    return None if request["BillingMode"] == mode else request


def encryption(spec: TableSpec, table: Mapping[str, Any]) -> Request | None:
    """The UpdateTable that sets the KMS key.

    The service shows a key's ARN only. An alias cannot be compared with it, so it is taken to be
    the one that the table has, if that is any KMS key at all.
    """
    if spec.kms is None:
        return None
    arn = table.get("SSEDescription", {}).get("KMSMasterKeyArn", "")
    is_alias = spec.kms.startswith("alias/") or ":alias/" in spec.kms
    if arn and (is_alias or arn == spec.kms or arn.endswith(f":key/{spec.kms}")):
        return None
    return {"SSESpecification": _encryption(spec.kms)}


UPDATES: tuple[Update, ...] = (deletion_protection, billing, encryption)
"""One UpdateTable each: the service takes one change at a time."""


def recovery(spec: TableSpec, backups: Mapping[str, Any]) -> Request | None:
    """The UpdateContinuousBackups that sets point-in-time recovery as it is to be."""
    if spec.pitr is None:
        return None
    found = backups.get("PointInTimeRecoveryDescription", {})
    enabled = found.get("PointInTimeRecoveryStatus") == "ENABLED"
    wanted: Request = {"PointInTimeRecoveryEnabled": spec.pitr is not False}
    same = enabled == wanted["PointInTimeRecoveryEnabled"]
    if not isinstance(spec.pitr, bool):
        wanted["RecoveryPeriodInDays"] = spec.pitr
        same = same and found.get("RecoveryPeriodInDays") == spec.pitr
    return None if same else {"PointInTimeRecoverySpecification": wanted}


def missing_tags(spec: TableSpec, tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Those that are not there, or otherwise."""
    return [
        {"Key": key, "Value": value}
        for key, value in sorted(spec.tags.items())
        if tags.get(key) != value
    ]


def _billing(wanted: object) -> Request:
    if not isinstance(wanted, Units):
        return {"BillingMode": "PAY_PER_REQUEST"}
    units = {"ReadCapacityUnits": wanted.read, "WriteCapacityUnits": wanted.write}
    return {"BillingMode": "PROVISIONED", "ProvisionedThroughput": units}


def _encryption(key: str) -> Request:
    return {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key}
