"""Rows of the control table: read strongly consistent, written on a condition, never in doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from appliers.stores.dynamodb_calls import CONDITION, MISSING, Calls
from appliers.stores.dynamodb_items import Attributes
from binlog.aws.errors import error_code, was_refused
from binlog.errors import BinlogError

_BATCH_WRITE = (
    25  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
)


BATCH_GET = (
    100  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
)


class Rows:
    """The rows of one control table, which need not be there to be read."""

    def __init__(self, calls: Calls, table: str) -> None:
        self.calls = calls
        self.table = table

    def exist(self) -> bool:
        """Whether the table is there."""
        key = {"pk": {"S": "store"}, "sk": {"S": "catalog"}}
        return self.calls.call("get_item", MISSING, TableName=self.table, Key=key) is not None

    def get(self, key: Mapping[str, Any]) -> Attributes | None:
        """The row; ``None`` too where there is no table."""
        reply = self.calls.call(
            "get_item",
            MISSING,
            TableName=self.table,
            Key={"pk": key["pk"], "sk": key["sk"]},
            ConsistentRead=True,
            ReturnConsumedCapacity="TOTAL",
        )
        return None if reply is None else reply.get("Item")

    def get_all(self, keys: Sequence[Mapping[str, Any]]) -> list[Attributes]:
        """The rows of these keys that are there, in no order."""
        found: list[Attributes] = []
        for n in range(0, len(keys), BATCH_GET):
            some = [{"pk": key["pk"], "sk": key["sk"]} for key in keys[n : n + BATCH_GET]]
            found += get_batch(self.calls, self.table, some)
        return found

    def query(self, pk: Attributes, *, begins: str = "") -> Iterator[Attributes]:
        """The rows under ``pk`` whose range key begins so, in order."""
        condition, values = "pk = :pk", {":pk": pk}
        if begins:
            condition += " AND begins_with(sk, :sk)"
            values[":sk"] = {"S": begins}
        more: dict[str, Any] = {}
        while True:
            reply = self.calls.call(
                "query",
                MISSING,
                TableName=self.table,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                ReturnConsumedCapacity="TOTAL",
                **more,
            )
            if reply is None:
                return
            yield from reply["Items"]
            if not reply.get("LastEvaluatedKey"):
                return
            more = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    def every_key(self) -> Iterator[Attributes]:
        """The key of every row, in no order."""
        more: dict[str, Any] = {}
        while True:
            reply = self.calls.call(
                "scan",
                TableName=self.table,
                ProjectionExpression="pk, sk",
                ConsistentRead=True,
                ReturnConsumedCapacity="TOTAL",
                **more,
            )
            yield from reply["Items"]
            if not reply.get("LastEvaluatedKey"):
                return
            more = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    def put(self, item: Attributes, *, rev: int) -> bool:
        """Write the row over the one of that ``rev``; 0: over none. Whether it stands there now.

        A write whose reply is lost is made again: if it was done the first time, its condition
        fails, and the row that is found is the one that we wrote.
        """
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if rev:
            condition = {
                "ConditionExpression": "rev = :rev",
                "ExpressionAttributeValues": {":rev": {"N": str(rev)}},
            }
        in_doubt = False
        for again in self.calls.tries():
            try:
                self.calls.once(
                    "put_item",
                    TableName=self.table,
                    Item=item,
                    ReturnConsumedCapacity="TOTAL",
                    **condition,
                )
            except BinlogError:
                raise
            except Exception as error:  # noqa: BLE001 - the SDK's, told apart by `tries`
                if error_code(error) == CONDITION:
                    return in_doubt and self.get(item) == item
                in_doubt = in_doubt or not was_refused(error)
                again(error)
            else:
                return True
        raise AssertionError("unreachable")

    def put_new(self, item: Attributes) -> None:
        """Write the row unless there is one of its key: what is written is written once."""
        self.put(item, rev=0)

    def delete(self, keys: Iterable[Mapping[str, Any]]) -> None:
        """Delete rows that nobody writes any more, whether they are there or not."""
        gone = [{"pk": key["pk"], "sk": key["sk"]} for key in keys]
        batches = [gone[n : n + _BATCH_WRITE] for n in range(0, len(gone), _BATCH_WRITE)]
        self.calls.each(self._delete, batches)

    def _delete(self, keys: Sequence[Attributes]) -> None:
        write_batch(self.calls, self.table, [{"DeleteRequest": {"Key": key}} for key in keys])


def get_batch(calls: Calls, table: str, keys: list[Any]) -> list[Any]:
    """At most 100 items; what a reply leaves out is asked for again."""
    items: list[Any] = []
    left, begun, attempt = keys, calls.clock.monotonic(), 0
    while True:
        request = {table: {"Keys": left, "ConsistentRead": True}}
        reply = calls.call("batch_get_item", RequestItems=request, ReturnConsumedCapacity="TOTAL")
        got = reply["Responses"].get(table, [])
        items += got
        left = reply.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        if not left:
            return items
        if got:  # 16 MB a reply, or what capacity there was: it goes on
            begun, attempt = calls.clock.monotonic(), 0
        else:
            calls.unprocessed(begun, attempt)
            attempt += 1


def write_batch(
    calls: Calls,
    table: str,
    requests: Sequence[Attributes],
    *,
    doubtful: Callable[[], object] = lambda: None,
) -> None:
    """At most 25 unconditional writes that are the same however often they are made.

    ``doubtful`` is called where an attempt may still land when this has returned.
    """
    left, begun, attempt = list(requests), calls.clock.monotonic(), 0
    reply: Mapping[str, Any] = {}
    while left:
        for again in calls.tries():
            try:
                reply = calls.once(
                    "batch_write_item", RequestItems={table: left}, ReturnConsumedCapacity="TOTAL"
                )
            except BinlogError:
                raise
            except Exception as error:  # noqa: BLE001 - the SDK's, told apart by `tries`
                if not was_refused(error):
                    doubtful()
                again(error)
            else:
                break
        done = len(left)
        left = reply.get("UnprocessedItems", {}).get(table, [])
        if len(left) < done:
            begun, attempt = calls.clock.monotonic(), 0
        if left:
            calls.unprocessed(begun, attempt)
            attempt += 1
