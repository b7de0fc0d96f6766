"""DynamoDB in this process, as its clients meet it: the calls that the store makes, and its errors.

The control plane is `dynamodb_tables_double`; here are items. It is strict where the service is: the
shape of a request by the SDK's own model, expressions, key schemas, sizes, nesting, 25 and 100 items a
batch. And it is hostile: reads that are not consistent are stale, pages are short, scans come in no
order, and `faults` do to a call what networks and services do.
"""

# ruff: noqa: N803 - the service's own names of its arguments

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from typing import Any, Literal
from zlib import crc32

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.validate import ParamValidator

from binlog.clock import ManualClock
from tests.stores.dynamodb_conditions import holds, used
from tests.stores.dynamodb_items_double import (
    ITEM_BYTES_MAX,
    Refused,
    checked_item,
    checked_key,
    identity_of,
    size_of,
)
from tests.stores.dynamodb_statements_double import inserted
from tests.stores.dynamodb_tables_double import Double, ServiceError

Kind = Literal[
    "throttle",  # refused for want of capacity
    "unreached",  # no connection
    "lose request",  # no reply, and not done
    "lose reply",  # no reply, and done
    "late",  # no reply, and done when `under_way` is called
    "failure",  # a server's error, not done
    "failure, done",
    "refuse",  # no permission
    "partly",  # a batch leaves out all but the first
]
NOW: tuple[Kind, ...] = ("throttle", "unreached", "lose request", "lose reply", "failure")

_BATCH_WRITE, _BATCH_GET, _STATEMENTS = 25, 100, 25
_READ_UNIT, _WRITE_UNIT = 4096, 1024
_VALIDATED = (
    200  # calls of each kind; from there on every tenth, since it takes longer than the call
)


def refusal(code: str, message: str = "no", status: int = 400, **more: Any) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
            **more,
        },
        "",
    )


@cache
def _model() -> Any:
    from botocore.session import Session

    return Session().get_service_model("dynamodb")


@cache
def _input_of(operation: str) -> Any:
    name = "".join(word.capitalize() for word in operation.split("_"))
    return _model().operation_model(name).input_shape


class DynamoDBDouble(Double):
    """One account; `connect` makes its clients. Time is ``clock``'s, which `pause` moves."""

    def __init__(self, *, page_items: int = 7) -> None:
        super().__init__(ManualClock(), change_s=0.0)
        self.page_items = page_items
        self.faults: dict[str, deque[Kind | None]] = {}
        self.weather: Callable[[str], Kind | None] = lambda _: None
        self.hooks: dict[str, Callable[[dict[str, Any]], object]] = {}  # called before an operation
        self.after: dict[str, Callable[[dict[str, Any]], object]] = {}  # and after it
        self.under_way: list[Callable[[], object]] = []
        self.counts: Counter[str] = Counter()
        self.together = 0  # most calls at a time
        self.hands_over_old = True  # with a failed condition
        self.verdict: Callable[[dict[str, Any]], str | None] = lambda _: None  # a statement's error
        self._running = 0
        self._mutex = threading.RLock()
        self._items: dict[str, dict[str, dict[str, Any]]] = {}
        self._stale: dict[str, dict[str, dict[str, Any] | None]] = {}

    def connect(self, once: bool) -> DynamoDBDouble:  # noqa: ARG002
        return self

    def close(self) -> None:
        pass

    def pause(self, seconds: float) -> None:
        with self._mutex:
            self.clock.advance(max(1, round(seconds * 1000)))

    # -- a call --------------------------------------------------------------------------------

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation.startswith("_"):
            raise AttributeError(operation)

        def call(**request: Any) -> Any:
            with self._mutex:
                self._running += 1
                self.together = max(self.together, self._running)
            try:
                return self._called(operation, request)
            finally:
                with self._mutex:
                    self._running -= 1

        return call

    def _called(self, operation: str, request: dict[str, Any]) -> Any:
        if self.counts[operation] < _VALIDATED or self.counts[operation] % 10 == 0:
            report = ParamValidator().validate(request, _input_of(operation))
            assert not report.has_errors(), report.generate_report()
        hook = self.hooks.get(operation)
        if hook is not None:
            hook(request)
        with self._mutex:
            self.counts[operation] += 1
            planned = self.faults.get(operation)
            fault = planned.popleft() if planned else self.weather(operation)
            self._refuse(operation, request, fault)
            reply = self._do(operation, request, partly=fault == "partly")
        after = self.after.get(operation)
        if after is not None:
            after(request)
        if fault in ("lose reply", "failure, done"):
            raise self._lost() if fault == "lose reply" else refusal("InternalServerError", "", 500)
        return reply

    def _refuse(self, operation: str, request: dict[str, Any], fault: Kind | None) -> None:
        match fault:
            case "throttle":
                raise refusal("ProvisionedThroughputExceededException")
            case "unreached":
                raise EndpointConnectionError(endpoint_url="http://double")
            case "lose request":
                raise self._lost()
            case "failure":
                raise refusal("InternalServerError", "", 500)
            case "refuse":
                raise refusal("AccessDeniedException", "not authorized to perform: dynamodb:X")
            case "late":
                self.under_way.append(lambda: self._land(operation, request))
                raise self._lost()
            case _:
                pass

    def _land(self, operation: str, request: dict[str, Any]) -> object:
        """What a call does that nobody waits for."""
        try:
            with self._mutex:
                return self._do(operation, request, partly=False)
        except (ClientError, ServiceError) as error:
            return error

    @staticmethod
    def _lost() -> ReadTimeoutError:
        return ReadTimeoutError(endpoint_url="http://double")

    def _do(self, operation: str, request: dict[str, Any], *, partly: bool) -> Any:
        data = getattr(self, f"_data_{operation}", None)
        if data is None:
            return super().__getattr__(operation)(**request)
        self.calls.append((operation, request))
        if operation.startswith("batch"):
            reply = data(request, partly=partly)
        else:
            reply = data(request)
        moment = datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC)
        headers = {"date": format_datetime(moment, usegmt=True)}
        reply["ResponseMetadata"] = {"HTTPStatusCode": 200, "HTTPHeaders": headers}
        return reply

    # -- items ---------------------------------------------------------------------------------

    def items(self, table: str) -> list[dict[str, Any]]:
        """All items of a table, for a test that looks by itself."""
        return list(self._items.get(table, {}).values())

    def put(self, table: str, item: dict[str, Any]) -> None:
        """As somebody else puts one, without any condition."""
        self._set(table, identity_of(item, self._schema(table)), item)

    def wipe(self, table: str, key: Mapping[str, Any]) -> None:
        self._set(table, identity_of(key, self._schema(table)), None)

    def _schema(self, table: str) -> list[tuple[str, str]]:
        """Attribute and type, hash key first."""
        found = self._table(table)["given"]  # ResourceNotFoundException
        types = {
            each["AttributeName"]: each["AttributeType"] for each in found["AttributeDefinitions"]
        }
        schema = sorted(found["KeySchema"], key=lambda each: each["KeyType"] != "HASH")
        return [(each["AttributeName"], types[each["AttributeName"]]) for each in schema]

    def _set(self, table: str, identity: str, item: dict[str, Any] | None) -> None:
        content = self._items.setdefault(table, {})
        self._stale.setdefault(table, {})[identity] = content.get(identity)
        if item is None:
            content.pop(identity, None)
        else:
            content[identity] = item

    def _get(self, table: str, identity: str, *, consistent: bool) -> dict[str, Any] | None:
        stale = self._stale.get(table, {})
        if not consistent and identity in stale:
            return stale[identity]
        return self._items.setdefault(table, {}).get(identity)

    def _delete_table(self, *, TableName: str) -> Any:
        reply = super()._delete_table(TableName=TableName)
        self._items.pop(TableName, None)
        self._stale.pop(TableName, None)
        return reply

    # -- operations on items -------------------------------------------------------------------

    def _data_put_item(self, request: dict[str, Any]) -> dict[str, Any]:
        table = request["TableName"]
        schema = self._schema(table)
        try:
            item = checked_item(request["Item"], schema)
        except Refused as error:
            raise refusal("ValidationException", str(error)) from error
        identity = identity_of(item, schema)
        old = self._get(table, identity, consistent=True)
        self._condition(request, old)
        self._set(table, identity, item)
        return {"ConsumedCapacity": self._units(table, size_of(item), _WRITE_UNIT)}

    def _data_delete_item(self, request: dict[str, Any]) -> dict[str, Any]:
        table = request["TableName"]
        identity = self._key_of(table, request["Key"])
        old = self._get(table, identity, consistent=True)
        self._condition(request, old)
        self._set(table, identity, None)
        return {"ConsumedCapacity": self._units(table, size_of(old), _WRITE_UNIT)}

    def _condition(self, request: dict[str, Any], old: dict[str, Any] | None) -> None:
        expression = request.get("ConditionExpression")
        names = request.get("ExpressionAttributeNames", {})
        values = request.get("ExpressionAttributeValues", {})
        if expression is None:
            assert not names
            assert not values
            return
        assert used(expression) == names.keys() | values.keys(), "unused or undefined"
        if holds(expression, old or {}, names, values):
            return
        more: dict[str, Any] = {}
        if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and old is not None:
            more = {"Item": old} if self.hands_over_old else {}
        raise refusal("ConditionalCheckFailedException", "The conditional request failed", **more)

    def _data_get_item(self, request: dict[str, Any]) -> dict[str, Any]:
        table, consistent = request["TableName"], request.get("ConsistentRead", False)
        identity = self._key_of(table, request["Key"])
        item = self._get(table, identity, consistent=consistent)
        reply: dict[str, Any] = {"ConsumedCapacity": self._units(table, size_of(item), _READ_UNIT)}
        return reply if item is None else reply | {"Item": item}

    def _key_of(self, table: str, key: dict[str, Any]) -> str:
        schema = self._schema(table)
        try:
            return identity_of(checked_key(key, schema), schema)
        except Refused as error:
            raise refusal("ValidationException", str(error)) from error

    def _data_batch_get_item(self, request: dict[str, Any], *, partly: bool) -> dict[str, Any]:
        ((table, wanted),) = request["RequestItems"].items()
        keys = wanted["Keys"]
        identities = [self._key_of(table, key) for key in keys]
        if len(keys) > _BATCH_GET or len(set(identities)) != len(keys) or not keys:
            raise refusal("ValidationException", "too many, or twice the same")
        count = 1 if partly else len(keys)
        consistent = wanted.get("ConsistentRead", False)
        found = [self._get(table, each, consistent=consistent) for each in identities[:count]]
        left = {table: wanted | {"Keys": keys[count:]}} if keys[count:] else {}
        return {
            # In no order.
            "Responses": {table: [item for item in reversed(found) if item is not None]},
            "UnprocessedKeys": left,
            "ConsumedCapacity": [self._units(table, 1, _READ_UNIT)],
        }

    def _data_batch_write_item(self, request: dict[str, Any], *, partly: bool) -> dict[str, Any]:
        ((table, requests),) = request["RequestItems"].items()
        schema = self._schema(table)
        changes: list[tuple[str, dict[str, Any] | None]] = []
        try:
            for each in requests:
                if "PutRequest" in each:
                    item = checked_item(each["PutRequest"]["Item"], schema)
                    changes.append((identity_of(item, schema), item))
                else:
                    changes.append((self._key_of(table, each["DeleteRequest"]["Key"]), None))
        except Refused as error:
            raise refusal("ValidationException", str(error)) from error
        if not 0 < len(requests) <= _BATCH_WRITE or len(dict(changes)) != len(changes):
            raise refusal("ValidationException", "too many, or twice the same")
        count = 1 if partly else len(changes)
        for identity, change in changes[:count]:
            self._set(table, identity, change)
        units = sum(-(-size_of(change) // _WRITE_UNIT) or 1 for _, change in changes[:count])
        return {
            "UnprocessedItems": {table: requests[count:]} if requests[count:] else {},
            "ConsumedCapacity": [{"TableName": table, "CapacityUnits": float(units)}],
        }

    def _data_batch_execute_statement(
        self, request: dict[str, Any], *, partly: bool
    ) -> dict[str, Any]:
        statements = request["Statements"]
        if not 0 < len(statements) <= _STATEMENTS:
            raise refusal("ValidationException", "too many statements, or none")
        said = [
            self._statement(each, "ThrottlingError" if partly and number else None)
            for number, each in enumerate(statements)
        ]
        return {
            "Responses": [response for response, _ in said],
            "ConsumedCapacity": [units for _, units in said if units],
        }

    def _statement(
        self, statement: dict[str, Any], refused: str | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is said of one, and what it has consumed: a refusal behind the door is paid for."""
        table, item = inserted(statement)
        code = refused or self.verdict(item)
        try:
            schema = self._schema(table)
            item = checked_item(item, schema)
        except Refused as error:
            return {"Error": {"Code": "ValidationError", "Message": str(error)}}, {}
        except (ClientError, ServiceError):
            return {"Error": {"Code": "ResourceNotFound", "Message": table}}, {}
        if code is not None:
            return {"Error": {"Code": code, "Message": "by schedule"}, "TableName": table}, {}
        identity = identity_of(item, schema)
        if self._get(table, identity, consistent=True) is not None:
            said = {"Code": "DuplicateItem", "Message": "Duplicate primary key exists in table"}
            return {"Error": said, "TableName": table}, self._units(table, 1, _WRITE_UNIT)
        self._set(table, identity, item)
        return {"TableName": table}, self._units(table, size_of(item), _WRITE_UNIT)

    def _data_query(self, request: dict[str, Any]) -> dict[str, Any]:
        table = request["TableName"]
        (hash_key, _), (range_key, _) = self._schema(table)
        names = request.get("ExpressionAttributeNames", {})
        values, expression = request["ExpressionAttributeValues"], request["KeyConditionExpression"]
        assert used(expression) == names.keys() | values.keys(), "unused or undefined"
        found = [
            each for each in self._seen(table, request) if holds(expression, each[1], names, values)
        ]
        assert len({item[hash_key]["S"] for _, item in found}) <= 1, "a query is of one hash key"

        def place(item: Mapping[str, Any]) -> bytes:
            text: str = item[range_key]["S"]
            return text.encode()

        return self._page(table, request, found, place)

    def _data_scan(self, request: dict[str, Any]) -> dict[str, Any]:
        table = request["TableName"]
        segment, segments = request.get("Segment", 0), request.get("TotalSegments", 1)
        found = [
            each
            for each in self._seen(table, request)
            if segments == 1 or crc32(each[0].encode()) % segments == segment
        ]
        schema = self._schema(table)
        # An order, and not that of keys.
        reply = self._page(table, request, found, lambda item: identity_of(item, schema)[::-1])
        projected = request.get("ProjectionExpression")
        if projected:
            wanted = [name.strip() for name in projected.split(",")]
            reply["Items"] = [{n: i[n] for n in wanted if n in i} for i in reply["Items"]]
        return reply

    def _seen(self, table: str, request: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        content = self._items.setdefault(table, {})
        if request.get("ConsistentRead", False):
            return list(content.items())
        stale = content | self._stale.get(table, {})
        return [(identity, item) for identity, item in stale.items() if item is not None]

    def _page(
        self,
        table: str,
        request: Mapping[str, Any],
        found: list[tuple[str, dict[str, Any]]],
        place: Callable[[Mapping[str, Any]], Any],
    ) -> dict[str, Any]:
        schema = self._schema(table)
        found = sorted(found, key=lambda each: place(each[1]))
        start = request.get("ExclusiveStartKey")
        if start is not None:  # which may be gone by now
            found = [each for each in found if place(each[1]) > place(start)]
        limit = min(max(self.page_items, len(found) // 10), request.get("Limit", len(found) + 1))
        page = [item for _, item in found[:limit]]
        size = sum(map(size_of, page))
        reply: dict[str, Any] = {"Items": page, "Count": len(page)}
        reply["ConsumedCapacity"] = self._units(table, size, _READ_UNIT)
        if len(page) == limit:  # also where nothing comes after it, as the service does
            last = page[-1]
            reply["LastEvaluatedKey"] = {name: last[name] for name, _ in schema}
        return reply

    @staticmethod
    def _units(table: str, size: int, unit: int) -> dict[str, Any]:
        return {"TableName": table, "CapacityUnits": float(-(-size // unit) or 1)}


__all__ = ["ITEM_BYTES_MAX", "NOW", "DynamoDBDouble", "Kind", "refusal"]
