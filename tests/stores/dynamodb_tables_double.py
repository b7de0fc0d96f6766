"""DynamoDB's control plane, in memory: it takes its time, and shows things late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from binlog.clock import ManualClock


class ServiceError(Exception):
    """As botocore's ClientError looks."""

    def __init__(self, code: str, message: str = "said") -> None:
        super().__init__(f"{code}: {message}")
        self.response = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": 400},
        }


class Double:
    """A client of it. Every change takes ``change_s``; a table is shown ``shown_s`` after it was
    asked for, its tags ``tags_shown_s`` after. ``calls`` are what was asked, by operation.

    ``next_errors`` are raised by the calls to come of an operation, before they do anything.
    """

    def __init__(self, clock: ManualClock, *, change_s: float = 8.0) -> None:
        self.clock = clock
        self.change_s = change_s
        self.shown_s = 0.0
        self.tags_shown_s = 0.0
        self.backups_after_s = 0.0
        self.tables: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.next_errors: dict[str, deque[str]] = {}
        self.before: dict[str, Callable[[], None]] = {}

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [request for name, request in self.calls if name == operation]

    @property
    def changes(self) -> list[str]:
        """What was asked for beside reading."""
        return [name for name, _ in self.calls if not name.startswith(("describe", "list"))]

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith("_"):
            raise AttributeError(operation)

        def call(**request: Any) -> Any:
            if (hook := self.before.pop(operation, None)) is not None:
                hook()
            self.calls.append((operation, request))
            if errors := self.next_errors.get(operation):
                raise ServiceError(errors.popleft())
            return getattr(self, f"_{operation}")(**request)

        return call

    # -- what it does --------------------------------------------------------------------------

    @property
    def _now(self) -> float:
        return self.clock.monotonic()

    def _table(self, name: str) -> dict[str, Any]:
        table = self.tables.get(name)
        if table is None or table.get("gone_at", self._now + 1) <= self._now:
            self.tables.pop(name, None)
            raise ServiceError("ResourceNotFoundException")
        return table

    def _status(self, table: dict[str, Any]) -> str:
        if "gone_at" in table:
            return "DELETING"
        if table.get("fixed"):
            return str(table["fixed"])
        if self._now >= table["ready_at"]:
            return "ACTIVE"
        return "UPDATING" if table["was_ready"] else "CREATING"

    def _busy(self, name: str) -> dict[str, Any]:
        table = self._table(name)
        if self._status(table) != "ACTIVE":
            raise ServiceError("ResourceInUseException")
        return table

    def _create_table(self, *, TableName: str, Tags: Any = (), **given: Any) -> Any:  # noqa: N803
        try:
            self._table(TableName)
        except ServiceError:
            pass
        else:
            raise ServiceError("ResourceInUseException")
        self.tables[TableName] = {
            "given": given,
            "tags": {tag["Key"]: tag["Value"] for tag in Tags},
            "made_at": self._now,
            "ready_at": self._now + self.change_s,
            "was_ready": False,
            "ttl": "DISABLED",
            "pitr": (False, None),
        }
        return {"TableDescription": {}}

    def _describe_table(self, *, TableName: str) -> Any:  # noqa: N803
        table = self._table(TableName)
        if self._now < table["made_at"] + self.shown_s:
            raise ServiceError("ResourceNotFoundException")
        given = table["given"]
        described = {
            "TableStatus": self._status(table),
            "TableArn": f"arn:aws:dynamodb:region:1:table/{TableName}",
            "KeySchema": given["KeySchema"],
            "AttributeDefinitions": given["AttributeDefinitions"],
            "DeletionProtectionEnabled": given.get("DeletionProtectionEnabled", False),
        }
        if given.get("BillingMode") == "PAY_PER_REQUEST":  # the service shows no mode otherwise
            described["BillingModeSummary"] = {"BillingMode": "PAY_PER_REQUEST"}
        if "SSESpecification" in given:
            key = given["SSESpecification"]["KMSMasterKeyId"].rpartition("/")[2]
            described["SSEDescription"] = {"KMSMasterKeyArn": f"arn:aws:kms:region:1:key/{key}"}
        return {"Table": described}

    def _update_table(self, *, TableName: str, **given: Any) -> Any:  # noqa: N803
        table = self._busy(TableName)
        assert len(given.keys() - {"ProvisionedThroughput"}) == 1, "one change at a time"
        table["given"] |= given
        table["was_ready"] = True
        table["ready_at"] = self._now + self.change_s
        return {"TableDescription": {}}

    def _delete_table(self, *, TableName: str) -> Any:  # noqa: N803
        table = self._busy(TableName)
        if table["given"].get("DeletionProtectionEnabled"):
            raise ServiceError("ValidationException", "deletion protection")
        table["gone_at"] = self._now + self.change_s
        return {}

    def _describe_time_to_live(self, *, TableName: str) -> Any:  # noqa: N803
        status = self._table(TableName)["ttl"]
        attribute = {} if status == "DISABLED" else {"AttributeName": "expires"}
        return {"TimeToLiveDescription": {"TimeToLiveStatus": status, **attribute}}

    def _list_tags_of_resource(self, *, ResourceArn: str, NextToken: str = "0") -> Any:  # noqa: N803
        table = self._table(ResourceArn.rpartition("/")[2])
        if self._now < table["made_at"] + self.tags_shown_s:
            return {"Tags": []}
        tags = sorted(table["tags"].items())
        at = int(NextToken)  # pages of two
        reply: dict[str, Any] = {
            "Tags": [{"Key": key, "Value": value} for key, value in tags[at : at + 2]]
        }
        if at + 2 < len(tags):
            reply["NextToken"] = str(at + 2)
        return reply

    def _tag_resource(self, *, ResourceArn: str, Tags: Any) -> Any:  # noqa: N803
        table = self._table(ResourceArn.rpartition("/")[2])
        table["tags"] |= {tag["Key"]: tag["Value"] for tag in Tags}
        return {}

    def _describe_continuous_backups(self, *, TableName: str) -> Any:  # noqa: N803
        on, days = self._table(TableName)["pitr"]
        found: dict[str, Any] = {"PointInTimeRecoveryStatus": "ENABLED" if on else "DISABLED"}
        if days:
            found["RecoveryPeriodInDays"] = days
        return {"ContinuousBackupsDescription": {"PointInTimeRecoveryDescription": found}}

    def _update_continuous_backups(
        self,
        *,
        TableName: str,  # noqa: N803
        PointInTimeRecoverySpecification: dict[str, Any],  # noqa: N803
    ) -> Any:
        table = self._table(TableName)
        if self._now < table["made_at"] + self.backups_after_s:
            raise ServiceError("ContinuousBackupsUnavailableException")
        wanted = PointInTimeRecoverySpecification
        on = wanted["PointInTimeRecoveryEnabled"]
        table["pitr"] = (on, wanted.get("RecoveryPeriodInDays", 35) if on else None)
        return {}
