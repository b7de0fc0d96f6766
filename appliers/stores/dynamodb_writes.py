"""Conditional writes of items (I1, I2), one `PutItem` each, as many at a time as the service takes.

What may become of one:

* done; or its condition failed, which the caller is told;
* throttled, or refused before it was looked at: made again after a pause;
* no reply (lost, timed out, a server's error): the item is read, strongly consistent. If it is what we
  wrote, the write is done, otherwise it is made again, or its condition fails by now. An attempt
  that lands after all this meets the same condition, so it changes nothing;
* an item that no applier made stands there: refused, never written over.

Tried: ``BatchExecuteStatement``, 25 statements a call. PartiQL has no statement that puts an item
whether or not there is one; INSERT refuses an item that is there, UPDATE one that is not, and
neither removes attributes that one does not know. So a blind put (I1), most of what there is to
write, cannot be said in it. ``BatchWriteItem`` takes no conditions, ``TransactWriteItems`` costs
twice the units.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from appliers.item import Row, Write, condition_holds
from appliers.stores.dynamodb_calls import CONDITION, INVALID, MISSING, Calls
from appliers.stores.dynamodb_items import (
    Attributes,
    Keys,
    key_attributes,
    row_of,
    stored_item,
    unholdable,
)
from appliers.stores.generations import lost_table
from binlog.aws.errors import error_code, was_refused
from binlog.errors import BinlogError
from binlog.values import RESERVED_ATTRIBUTE

_NAMES = {"#b": RESERVED_ATTRIBUTE, "#v": "v", "#p": "p", "#k": "k"}
# An item without `_binlog` has no version to be below another, so it fails every condition.
_OLDER = "#b.#v < :v AND #b.#p = :p AND attribute_not_exists(#b.#k)"
_SAME = "#b.#v = :base AND #b.#p = :p AND attribute_not_exists(#b.#k)"


def condition_of(write: Write, hash_key: str) -> dict[str, Any]:
    """The parameters of `PutItem` that say the condition of a write."""
    row = write.row
    if write.base == 0:
        return {
            "ConditionExpression": "attribute_not_exists(#h)",
            "ExpressionAttributeNames": {"#h": hash_key},
        }
    values = {":p": {"N": str(row.partition)}}
    if write.base is None:
        return {
            "ConditionExpression": f"attribute_not_exists(#h) OR ({_OLDER})",
            "ExpressionAttributeNames": {**_NAMES, "#h": hash_key},
            "ExpressionAttributeValues": values | {":v": {"N": str(row.version)}},
        }
    return {
        "ConditionExpression": _SAME,
        "ExpressionAttributeNames": _NAMES,
        "ExpressionAttributeValues": values | {":base": {"N": str(write.base)}},
    }


class Writer:
    """Writes items of one generation."""

    def __init__(self, calls: Calls, generation: str) -> None:
        self._calls = calls
        self._generation = generation

    def write(self, places: Mapping[str, Keys], writes: Sequence[Write]) -> list[Write]:
        """Those whose condition failed, in the order given; all others are durable.

        Raises:
            ConflictError: somebody else's item stands where one is to be written.
            PoisonError: DynamoDB will never take the item.
            LostError: the table is gone, since another generation has replaced it.
            SpentError: see `Calls.check_unspent`; what was written before stays.
            StorageError: not done, or nobody knows; made again it is harmless.
        """
        failed: set[tuple[str, bytes]] = set()
        mutex = threading.Lock()

        def put(write: Write) -> None:
            self._calls.check_unspent()
            if not self._put(write, places[write.table]):
                with mutex:
                    failed.add((write.table, write.key))

        self._calls.each(put, writes)
        return [write for write in writes if (write.table, write.key) in failed]

    def _put(self, write: Write, keys: Keys) -> bool:
        if write.base and write.row.version <= write.base:
            return False  # a version never goes back, whatever stands there
        item = stored_item(write.key, write.row)
        condition = condition_of(write, keys.schema.hash[0])
        in_doubt = False
        for again in self._calls.tries():
            try:
                self._calls.once(
                    "put_item",
                    TableName=keys.physical,
                    Item=item,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    ReturnConsumedCapacity="TOTAL",
                    **condition,
                )
            except BinlogError:
                raise
            except Exception as error:  # noqa: BLE001 - the SDK's, told apart by `_judge`
                outcome = self._judge(error, write, keys, in_doubt=in_doubt)
                if outcome is not None:
                    return outcome
                in_doubt = in_doubt or not was_refused(error)
                again(error)
            else:
                return True
        raise AssertionError("unreachable")

    def _judge(self, error: Exception, write: Write, keys: Keys, *, in_doubt: bool) -> bool | None:
        """What an error says about the write: done, failed, or ``None``: to be made again."""
        code = error_code(error)
        if code == CONDITION:
            old: Attributes | None = getattr(error, "response", {}).get("Item")
            # Not every stand-in or proxy hands it over; of an absent item there is none.
            row = self._row_of(old, keys) if old else self._stands(write, keys)
            return in_doubt and row == write.row
        if code == MISSING:
            raise lost_table(self._calls.name, self._generation, write.table) from error
        if code == INVALID:
            said = getattr(error, "response", {}).get("Error", {}).get("Message", code)
            raise unholdable(
                write.table, write.key, write.row, " ".join(str(said).split()), self._calls.name
            ) from error
        if was_refused(error):
            return None
        row = self._stands(write, keys)
        if row == write.row:
            return True
        return None if condition_holds(write, row) else False

    def _stands(self, write: Write, keys: Keys) -> Row | None:
        """What is there now, strongly consistent."""
        reply = self._calls.call(
            "get_item",
            TableName=keys.physical,
            Key=key_attributes(write.key),
            ConsistentRead=True,
            ReturnConsumedCapacity="TOTAL",
        )
        return self._row_of(reply.get("Item"), keys)

    def _row_of(self, item: Attributes | None, keys: Keys) -> Row | None:
        return row_of(item, keys, self._calls.name) if item else None
