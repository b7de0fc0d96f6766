"""The lock of the application's leader, when the daemon that held it under our name is gone.

One worker of an application gives out the leases of shards that are new or whose owner is gone. Who
that is stands in a lock's row, and a daemon that died leaves it behind. Its successor has its shards
again after seconds, and waits for the lock, its own, for two minutes (measured, KCL 3.1.3: a split in
that time is not followed). So a supervisor, that knows that no daemon of its name is left, takes the
row away first.
"""

from __future__ import annotations

from typing import Any

from binlog.aws.errors import error_code
from binlog.logger import get_logger

LEADER = "Leader"

_logger = get_logger(__name__)


def release_leader(dynamodb: Any, table: str, worker: str) -> bool:
    """Delete the lock of ``worker``; whether there was one. Nothing is as bad as not starting."""
    try:
        dynamodb.delete_item(
            TableName=table,
            Key={"key": {"S": LEADER}},
            ConditionExpression="ownerName = :worker",
            ExpressionAttributeValues={":worker": {"S": worker}},
        )
    except Exception as error:  # noqa: BLE001 (it only takes longer then)
        code = error_code(error)
        # Another's, or none; an application without tables yet.
        if code not in {"ConditionalCheckFailedException", "ResourceNotFoundException"}:
            _logger.warning("leader.kept", table=table, error=str(error))
        return False
    _logger.info("leader.released", table=table, worker=worker)
    return True
