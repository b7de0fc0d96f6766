"""What of a DynamoDB store's tables can be wrong, and which harmless calls tell what is permitted.

Nothing is changed. The writes among the calls have a condition that never holds: each costs the
write unit of one that fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from appliers.stores.dynamodb_catalog import CATALOG, Catalog, Place, catalog_of
from appliers.stores.dynamodb_tables_spec import Specification
from binlog.aws.account import Account, connector
from binlog.aws.errors import error_code, trouble
from binlog.aws.identity import ATTEMPTS, READ_TIMEOUT_S
from binlog.aws.permissions import Probe
from binlog.aws.policies import Resource
from binlog.errors import BinlogError
from binlog.health import Finding, State, found

_SHOWN = 3  # tables named in a line
_NOBODY = "binlog-doctor"  # of a key that no row has
_VALUES: Mapping[str, Any] = {"S": _NOBODY, "N": "0", "B": _NOBODY.encode()}


class TableHealth(msgspec.Struct, frozen=True):
    """One physical table as the service describes it; ``None``: may not be asked."""

    name: str
    status: str
    arn: str
    on_demand: bool
    protected: bool
    key: str | None
    ttl: bool | None
    pitr: bool | None


class StoreHealth:
    """The tables of one store, looked at once."""

    def __init__(self, specification: Specification, account: Account, where: str) -> None:
        self.where = where
        self.control = specification.control().physical
        self._client = connector(
            account, "dynamodb", where, total_max_attempts=ATTEMPTS, read_timeout_s=READ_TIMEOUT_S
        )()
        self._catalog: Catalog | None = None

    def close(self) -> None:
        self._client.close()

    @property
    def places(self) -> dict[str, Place]:
        """Where the tables are that hold anything.

        Raises:
            BinlogError: the catalog cannot be read.
        """
        if self._catalog is None:
            reply = self._call("get_item", TableName=self.control, Key=CATALOG, ConsistentRead=True)
            self._catalog = catalog_of(reply.get("Item"), self.where)
        return {name: each for name, each in self._catalog.places.items() if each.physical}

    @property
    def account_id(self) -> str | None:
        """The account that the store's own table is in; ``None`` where it cannot be asked."""
        try:
            arn = self._call("describe_table", TableName=self.control)["Table"]["TableArn"]
        except BinlogError:
            return None
        return str(arn).split(":")[4]

    def _call(self, operation: str, **request: Any) -> Any:
        try:
            return getattr(self._client, operation)(**request)
        except Exception as error:
            raise trouble(error, self.where) from error

    # -- findings ------------------------------------------------------------------------------

    def findings(self) -> Iterator[Finding]:
        """Of all tables, the same thing of several in one line."""
        tables, failed = [], []
        try:
            physical = [self.control, *(str(each.physical) for each in self.places.values())]
        except BinlogError as error:
            yield found("tables", error)
            return
        for name in physical:
            try:
                tables.append(self._look(name))
            except BinlogError as error:
                failed.append(error)
        for each in failed[:_SHOWN]:
            yield found("tables", each)
        if not tables:
            return
        yield from self._statuses(tables)
        yield self._of_some(
            tables,
            "ttl",
            lambda t: bool(t.ttl),
            "unhealthy",
            "a TTL: items vanish without an event",
            "turn it off; let expiry be an event",
            "no table has a TTL",
        )
        yield self._of_some(
            tables,
            "recovery",
            lambda t: t.pitr is False,
            "noted",
            "no point-in-time recovery",
            "pitr = true in the tables file",
            "point-in-time recovery of every table",
        )
        yield self._of_some(
            tables,
            "protection",
            lambda t: not t.protected,
            "noted",
            "no deletion protection",
            "deletion_protection = true in the tables file",
            "every table is protected from deletion",
        )

    def _statuses(self, tables: list[TableHealth]) -> Iterator[Finding]:
        odd = [each for each in tables if each.status not in {"ACTIVE", "UPDATING"}]
        for each in odd[:_SHOWN]:
            do = "enable its key" if "ENCRYPTION" in each.status else "wait, restore it, or rebuild"
            yield Finding("tables", "unhealthy", f"{each.name} is {each.status}", self.where, do)
        if not odd:
            on_demand = sum(each.on_demand for each in tables)
            what = f"{len(tables)} tables with the store's own, {on_demand} of them on demand"
            yield Finding("tables", "ok", what, self.where)

    def _of_some(
        self,
        tables: list[TableHealth],
        check: str,
        is_so: Any,
        state: State,
        what: str,
        do: str,
        otherwise: str,
    ) -> Finding:
        having = [each.name for each in tables if is_so(each)]
        if not having:
            return Finding(check, "ok", otherwise, self.where)
        more = f" and {len(having) - _SHOWN} more" if len(having) > _SHOWN else ""
        return Finding(check, state, f"{', '.join(having[:_SHOWN])}{more}: {what}", self.where, do)

    def _look(self, name: str) -> TableHealth:
        table = self._call("describe_table", TableName=name)["Table"]
        mode = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
        ttl = self._told("describe_time_to_live", name, "TimeToLiveDescription")
        backups = self._told("describe_continuous_backups", name, "ContinuousBackupsDescription")
        recovery = None if backups is None else backups.get("PointInTimeRecoveryDescription", {})
        return TableHealth(
            name=name,
            status=str(table["TableStatus"]),
            arn=str(table["TableArn"]),
            on_demand=mode == "PAY_PER_REQUEST",
            protected=bool(table.get("DeletionProtectionEnabled", False)),
            key=table.get("SSEDescription", {}).get("KMSMasterKeyArn"),
            ttl=None if ttl is None else ttl.get("TimeToLiveStatus", "DISABLED") != "DISABLED",
            pitr=None
            if recovery is None
            else recovery.get("PointInTimeRecoveryStatus") == "ENABLED",
        )

    def _told(self, operation: str, name: str, part: str) -> Any:
        """What a reader may not ask, and can do without."""
        try:
            return self._call(operation, TableName=name)[part]
        except BinlogError as error:
            if "action" in error.details:
                return None
            raise

    # -- permissions ---------------------------------------------------------------------------

    def probes(self, on: Resource) -> Mapping[str, Probe]:
        """Harmless calls on one of the tables of a kind; none where there is no table to ask on."""
        if on == "control":
            return self._probes_on(self.control, {"pk": {"S": _NOBODY}, "sk": {"S": _NOBODY}})
        if on != "tables":
            return {}
        try:
            place = next(iter(self.places.values()), None)
        except BinlogError:
            place = None
        if place is None or place.physical is None or place.keys is None:
            return {}
        key = {name: {kind: _VALUES[kind]} for name, kind in place.keys.attributes}
        return self._probes_on(place.physical, key)

    def _probes_on(self, name: str, key: Mapping[str, Any]) -> Mapping[str, Probe]:
        client, of = self._client, {"TableName": name}
        first, value = next(iter(key.items()))
        names = {"ExpressionAttributeNames": {"#k": first}}
        never = "attribute_exists(#k) AND attribute_not_exists(#k)"
        equal = {"ExpressionAttributeValues": {":v": value}, "KeyConditionExpression": "#k = :v"}

        def put() -> None:
            try:
                client.put_item(**of, Item=dict(key), ConditionExpression=never, **names)
            except Exception as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise

        return {
            "dynamodb:DescribeTable": lambda: client.describe_table(**of),
            "dynamodb:GetItem": lambda: client.get_item(**of, Key=dict(key)),
            "dynamodb:BatchGetItem": lambda: client.batch_get_item(
                RequestItems={name: {"Keys": [dict(key)]}}
            ),
            "dynamodb:Query": lambda: client.query(**of, Limit=1, **equal, **names),
            "dynamodb:Scan": lambda: client.scan(**of, Limit=1),
            "dynamodb:PutItem": put,
            "dynamodb:DescribeTimeToLive": lambda: client.describe_time_to_live(**of),
            "dynamodb:DescribeContinuousBackups": lambda: client.describe_continuous_backups(**of),
        }
