"""KCL's three tables with the leases of a stream, as KCL 3.1.3 makes them: seconds instead of half a minute."""

from __future__ import annotations

from typing import Any


def seed_leases(dynamodb: Any, kinesis: Any, application: str, stream: str) -> None:
    """Make the tables of an application and a lease for each open shard, from the beginning."""
    _table(dynamodb, application, "leaseKey", index="leaseOwner")
    _table(dynamodb, f"{application}-CoordinatorState", "key")
    _table(dynamodb, f"{application}-WorkerMetricStats", "wid")
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        keys = shard["HashKeyRange"]
        dynamodb.put_item(
            TableName=application,
            Item={
                "leaseKey": {"S": shard["ShardId"]},
                "leaseCounter": {"N": "0"},
                "ownerSwitchesSinceCheckpoint": {"N": "0"},
                "checkpoint": {"S": "TRIM_HORIZON"},
                "checkpointSubSequenceNumber": {"N": "0"},
                "startingHashKey": {"S": keys["StartingHashKey"]},
                "endingHashKey": {"S": keys["EndingHashKey"]},
            },
        )


def leases(dynamodb: Any, application: str) -> dict[str, dict[str, Any]]:
    """The lease rows by shard; other rows of the table (KCL 3.5 has some) are left out."""
    rows = dynamodb.scan(TableName=application, ConsistentRead=True)["Items"]
    return {
        row["leaseKey"]["S"]: row
        for row in rows
        if row.get("entityType", {"S": "LEASE"})["S"] == "LEASE"
    }


def _table(dynamodb: Any, name: str, key: str, index: str | None = None) -> None:
    more: dict[str, Any] = {}
    attributes = [{"AttributeName": key, "AttributeType": "S"}]
    if index is not None:
        attributes.append({"AttributeName": index, "AttributeType": "S"})
        more["GlobalSecondaryIndexes"] = [
            {
                "IndexName": "LeaseOwnerToLeaseKeyIndex",
                "KeySchema": [
                    {"AttributeName": index, "KeyType": "HASH"},
                    {"AttributeName": key, "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ]
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=attributes,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        **more,
    )
