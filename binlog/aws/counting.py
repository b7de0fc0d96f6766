"""What the clients of this process ask of services, and what that consumes: see `binlog.spent`.

Every try is a request of its own, since each is answered, and paid for, by itself. What it consumes
is what the service says (``ConsumedCapacity``, which is asked for with every call that can tell);
where it says nothing, the documented rounding:

* a write whose condition fails consumes by the item that stands there, at least a unit; here one,
  and two an item of a transaction that is cancelled
  (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html);
* a record that is accepted is as many PUT payload units as there are 25 KiB in it, begun
  (https://aws.amazon.com/kinesis/data-streams/pricing/).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from binlog.spent import Book, book

PUT_UNIT_BYTES = 25 * 1024
READS = frozenset({"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"})
WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
STATEMENTS = frozenset({"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"})
_LOOKED_AT = {
    "dynamodb": READS | WRITES | STATEMENTS,
    "kinesis": {"PutRecord", "PutRecords", "CreateStream", "UpdateShardCount"},
}
# A shard that is made is paid for the hour that it begins in; so is one that is read by a consumer
# of its own (enhanced fan-out).
_SHARDS_MADE = {"SplitShard": 2, "MergeShards": 1, "SubscribeToShard": 1}
_CONDITION_UNITS = 1.0
_CANCELLED_UNITS = 2.0


def count_calls(client: Any, service: str, *, aws: bool) -> None:
    """Have each request of ``client`` written down, if anybody asks for it, see `binlog.spent.book`.

    ``aws``: it goes to the service itself.
    """
    written = book()
    if written is None:
        return
    counter = _Counter(service, written, aws=aws)
    events = client.meta.events
    # By name: handlers of a whole service come after those of an operation, of which one shows the
    # SDK less than is sent (`binlog.logs.kinesis_serializing`).
    for operation in _LOOKED_AT.get(service, ()):
        events.register_first(f"before-parameter-build.{service}.{operation}", counter.asked)
    events.register_first("before-send", counter.sent)
    events.register_first("response-received", counter.got)


class _Counter:
    """Of one client. A call is sent and answered in one thread, a try after the other."""

    def __init__(self, service: str, book: Book, *, aws: bool) -> None:
        self._service = service
        self._book = book
        self._aws = aws
        self._under_way = threading.local()

    def asked(self, params: dict[str, Any], **_: Any) -> None:
        """Of a call whose arguments matter, before its first try."""
        if self._service == "dynamodb":
            params.setdefault("ReturnConsumedCapacity", "TOTAL")
        self._under_way.params = {**params}  # a copy: see above

    def sent(self, request: Any, event_name: str, **_: Any) -> None:
        """One try."""
        self._under_way.number = self._book.next()
        self._book.write(
            sent=self._under_way.number,
            call=f"{self._service} {event_name.rpartition('.')[2]}",
            aws=self._aws,
            bytes=_body_bytes(request),
        )

    def got(
        self,
        response_dict: Mapping[str, Any] | None,
        parsed_response: Mapping[str, Any] | None,
        event_name: str,
        **_: Any,
    ) -> None:
        """What came of a try; nothing came where there is no response."""
        number, self._under_way.number = getattr(self._under_way, "number", None), None
        if number is None or response_dict is None:  # never sent: no credentials, say
            return
        operation, reply = event_name.rpartition(".")[2], parsed_response or {}
        used: Mapping[str, float] = {}
        if self._service == "dynamodb" and operation in _LOOKED_AT["dynamodb"]:
            used = _capacity(operation, self._under_way.params, reply)
        elif self._service == "kinesis" and response_dict["status_code"] < 300:
            params = self._under_way.params if operation in _LOOKED_AT["kinesis"] else {}
            used = _put(operation, params, reply)
        self._book.write(
            got=number,
            status=int(response_dict["status_code"]),
            bytes=_length(response_dict.get("headers", {}), response_dict.get("body")),
            **used,
        )


def _capacity(
    operation: str, params: Mapping[str, Any], reply: Mapping[str, Any]
) -> dict[str, float]:
    said = reply.get("ConsumedCapacity") or ()
    units = sum(
        float(each.get("CapacityUnits", 0.0))
        for each in ([said] if isinstance(said, Mapping) else said)
    )
    code = reply.get("Error", {}).get("Code")
    if code == "ConditionalCheckFailedException":
        units += _CONDITION_UNITS
    elif code == "TransactionCanceledException":
        units += _CANCELLED_UNITS * len(params.get("TransactItems", ()))
    is_read = operation in READS or (operation in STATEMENTS and _selects(params))
    return {"read_units": units} if is_read else {"write_units": units}


def _selects(params: Mapping[str, Any]) -> bool:
    statements = params.get("Statements") or params.get("TransactStatements") or [params]
    return all(each["Statement"].lstrip()[:6].upper() == "SELECT" for each in statements)


def _put(operation: str, params: Mapping[str, Any], reply: Mapping[str, Any]) -> dict[str, int]:
    if operation == "PutRecord":
        return {"put_units": _units(params)}
    if operation == "PutRecords":
        told = zip(params["Records"], reply.get("Records", ()), strict=False)
        return {"put_units": sum(_units(each) for each, said in told if not said.get("ErrorCode"))}
    if operation == "CreateStream":
        return {"shard_hours": int(params.get("ShardCount", 0))}
    if operation == "UpdateShardCount":
        return {"shard_hours": int(params["TargetShardCount"])}
    return {"shard_hours": _SHARDS_MADE.get(operation, 0)}


def _units(record: Mapping[str, Any]) -> int:
    return -(-(len(record["Data"]) + len(record["PartitionKey"].encode())) // PUT_UNIT_BYTES)


def _body_bytes(request: Any) -> int:
    return _length(request.headers, request.body)


def _length(headers: Mapping[str, Any], body: Any) -> int:
    for name in ("X-Amz-Decoded-Content-Length", "Content-Length"):
        if (said := headers.get(name)) is not None:
            return int(said)
    return len(body) if isinstance(body, bytes | bytearray | str) else 0
