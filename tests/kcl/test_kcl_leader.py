"""The leader's lock is taken away where it is our dead daemon's, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from consumers.kcl_leader import release_leader


class Table:
    """One row, deleted on the condition that this one and only caller uses."""

    def __init__(self, owner: str | None, error: Exception | None = None) -> None:
        self.owner = owner
        self.error = error

    def delete_item(self, **request: Any) -> None:
        if self.error is not None:
            raise self.error
        assert request["Key"] == {"key": {"S": "Leader"}}
        condition = request.get("ConditionExpression")
        assert condition in {None, "ownerName = :worker"}
        if condition and request["ExpressionAttributeValues"] != {":worker": {"S": self.owner}}:
            raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "DeleteItem")
        self.owner = None


@pytest.mark.parametrize(
    ("owner", "released", "left"), [("w1", True, None), ("w2", False, "w2"), (None, False, None)]
)
def test_takes_away_its_own_alone(owner: str | None, released: bool, left: str | None) -> None:
    """Another worker's leader is alive: without its lock there would be two."""
    table = Table(owner)
    assert release_leader(table, "app-CoordinatorState", "w1") is released
    assert table.owner == left


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "DeleteItem"),
        ClientError({"Error": {"Code": "AccessDeniedException"}}, "DeleteItem"),
        EndpointConnectionError(endpoint_url="http://x"),
    ],
)
def test_a_lock_that_stays_keeps_nobody_from_starting(error: Exception) -> None:
    assert release_leader(Table("w1", error), "app-CoordinatorState", "w1") is False
