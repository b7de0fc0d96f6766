"""A DynamoDB table by its own name, whoever made it: described and read, whole, strongly consistent.

Nothing here writes, but for `PhysicalTable.replace`, which mends what somebody wrote between an
adoption and its first event, on the condition that it is still what was found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from random import Random
from typing import Any

import msgspec

from appliers.stores.dynamodb import Connect
from appliers.stores.dynamodb_calls import CONDITION, MISSING, Calls, Units
from appliers.stores.dynamodb_items import attributes_of, value_of
from appliers.stores.dynamodb_tables_options import keys_of
from appliers.stores.dynamodb_tables_spec import KeySchema
from appliers.stores.dynamodb_writes import unmarked_condition
from binlog.aws.errors import error_code
from binlog.clock import Clock
from binlog.errors import RefusedError
from binlog.values import RESERVED_ATTRIBUTE, decode_value, encode_item

SEGMENTS = 4  # of a scan, each read by a thread
READ_UNIT_BYTES = 4096
PAGE_BYTES = (
    1024 * 1024
)  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html
# Per million read request units, on demand, us-east-1 (https://aws.amazon.com/dynamodb/pricing/).
READ_PRICE_USD = 0.125


class Described(msgspec.Struct, frozen=True):
    """What the service says of a table. Count and size are some six hours old."""

    arn: str
    id: str
    keys: KeySchema
    items: int
    bytes: int
    deletion_protection: bool = False

    @property
    def scan_units(self) -> int:
        """Read units of one strongly consistent scan of all of it."""
        return -(-self.bytes // READ_UNIT_BYTES)


class PhysicalTable:
    """One table; `close` it."""

    def __init__(
        self,
        name: str,
        connect: Connect,
        *,
        where: str,
        clock: Clock | None = None,
        pause: Callable[[float], None] = time.sleep,
        random: Random | None = None,
        width: int = SEGMENTS,
    ) -> None:
        self.name = name
        self.where = where
        self._calls = Calls(
            lambda: connect(True),  # noqa: FBT003 - positional in a callable's type
            where,
            clock=clock,
            pause=pause,
            random=random,
            width=width,
        )
        self._width = width

    @property
    def units(self) -> Units:
        """Consumed so far."""
        return self._calls.units

    def close(self) -> None:
        self._calls.close()

    def describe(self) -> Described:
        """What it is, and that it may be adopted.

        Raises:
            RefusedError: there is none, it is not in use, or it has a TTL.
        """
        reply = self._calls.call("describe_table", MISSING, TableName=self.name)
        if reply is None:
            raise RefusedError(
                f"there is no table {self.name}", self.where, "are name and region right?"
            )
        table = reply["Table"]
        if table["TableStatus"] not in {"ACTIVE", "UPDATING"}:
            raise RefusedError(
                f"the table {self.name} is {table['TableStatus']}", self.where, "wait, or mend that"
            )
        said = self._calls.call("describe_time_to_live", TableName=self.name)
        ttl = said["TimeToLiveDescription"]
        if ttl.get("TimeToLiveStatus", "DISABLED") != "DISABLED":
            raise RefusedError(
                f"the table {self.name} has a TTL ({ttl.get('AttributeName', '')!r}): items would"
                " vanish without an event",
                self.where,
                "turn it off (it takes up to an hour); let expiry be an event",
            )
        return Described(
            arn=table["TableArn"],
            id=table.get("TableId", ""),
            keys=keys_of(table),
            items=int(table.get("ItemCount", 0)),
            bytes=int(table.get("TableSizeBytes", 0)),
            deletion_protection=bool(table.get("DeletionProtectionEnabled")),
        )

    def scan(self, *, rate: float | None = None) -> Iterator[Mapping[str, Any]]:
        """Every item as it is stored, in no order; at most a page a segment is in memory.

        Each page is strongly consistent, and all of them are of no one moment. ``rate`` is read
        units a second.
        """
        begun, units = self._calls.clock.monotonic(), self._calls.units.read
        with ThreadPoolExecutor(self._width, "scan") as pool:
            waiting: dict[Future[Any], int] = {
                pool.submit(self._page, segment, None): segment for segment in range(self._width)
            }
            try:
                while waiting:
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        segment = waiting.pop(future)
                        reply = future.result()
                        if rate is not None:
                            used = self._calls.units.read - units
                            passed = self._calls.clock.monotonic() - begun
                            self._calls.pause(max(0.0, used / rate - passed))
                        if after := reply.get("LastEvaluatedKey"):
                            waiting[pool.submit(self._page, segment, after)] = segment
                        yield from reply["Items"]
            finally:
                for future in waiting:
                    future.cancel()

    def _page(self, segment: int, after: Mapping[str, Any] | None) -> Any:
        more = {} if after is None else {"ExclusiveStartKey": after}
        return self._calls.call(
            "scan",
            TableName=self.name,
            ConsistentRead=True,
            Segment=segment,
            TotalSegments=self._width,
            ReturnConsumedCapacity="TOTAL",
            **more,
        )

    def replace(self, found: Mapping[str, Any] | None, wanted: bytes | None, key: bytes) -> bool:
        """Put ``wanted`` (canonical; ``None``: nothing) in the place of ``found``, as it is stored.

        Whether it was still so. An item that has marks is never touched.
        """
        named = attributes_of(decode_value(key))
        condition: dict[str, Any]
        if found is None:
            condition = {
                "ConditionExpression": "attribute_not_exists(#h)",
                "ExpressionAttributeNames": {"#h": next(iter(named))},
            }
        else:
            condition = unmarked_condition(found)
        request: dict[str, Any]
        if wanted is None:
            operation, request = "delete_item", {"Key": named}
        else:
            operation, request = "put_item", {"Item": attributes_of(decode_value(wanted))}
        with suppress(_FailedError):
            for again in self._calls.tries():
                try:
                    self._calls.once(operation, TableName=self.name, **request, **condition)
                except Exception as error:
                    if error_code(error) == CONDITION:
                        raise _FailedError from error
                    again(error)
                else:
                    return True
        # A lost reply: it may have been we who changed it.
        reply = self._calls.call("get_item", TableName=self.name, Key=named, ConsistentRead=True)
        stands = reply.get("Item")
        if stands is None or wanted is None:
            return stands is None and wanted is None
        if RESERVED_ATTRIBUTE in stands:
            return False
        return encode_item(item_of(stands)) == wanted  # a set comes back in any order


class _FailedError(Exception):
    pass


def item_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a stored item, its marks left as they are."""
    return {name: value_of(value) for name, value in stored.items()}
