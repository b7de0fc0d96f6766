"""Change records as DynamoDB itself writes them into a Kinesis stream, as events of a table.

::

    {"eventName": "INSERT" | "MODIFY" | "REMOVE", "tableName": "Users-2023", "eventID": ..,
     "dynamodb": {"Keys": {..}, "NewImage": {..}, "OldImage": {..},
                  "ApproximateCreationDateTime": 1700000000000000,
                  "ApproximateCreationDateTimePrecision": "MICROSECOND"}, ..}

(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/kds.html.) Each holds the whole item
after the change, so it becomes a PutItem of that, or a DeleteItem: applied again, or onto an item that
has it already, nothing is another. What the stream says twice is in the log twice, and says the same.

The service does not promise their order, not even of one item ("might appear out of order"). A change
that comes after a later one of its item makes the item older until the next change of it: the table
itself tells (`docs/adopt.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from binlog.actions import ActionBuilder
from binlog.envelope import DELETE_ITEM, PUT_ITEM, Envelope
from binlog.errors import RefusedError
from binlog.fields import check_table
from binlog.foreign import relay_id
from binlog.json_values import parse_line, untyped_item
from binlog.relay.inbox import Inbound
from binlog.values import RESERVED_ATTRIBUTE

_PUTS = frozenset({"INSERT", "MODIFY"})
_PER_MS = {"MILLISECOND": 1, "MICROSECOND": 1_000}


class Changes:
    """Converts the change records of one table; ``table`` is what the log calls it."""

    def __init__(self, table: str) -> None:
        self._table = check_table(table)
        self._physical: str | None = None

    def __call__(self, inbound: Inbound) -> Sequence[Envelope]:
        """The event of a record.

        Raises:
            RefusedError: it is no change record, of another table than those before, without the
                item as it is now, or of a change that a log has made.
        """
        record = parse_line(inbound.data)
        change = record.get("dynamodb") if type(record) is dict else None
        if type(change) is not dict or "Keys" not in change:
            raise RefusedError("no change record of a DynamoDB table")
        self._check_table(record.get("tableName"))
        name = record.get("eventName")
        key = untyped_item(change["Keys"])
        action: dict[str, Any] = {"Table": self._table, "Key": key}
        if name in _PUTS:
            if "NewImage" not in change:
                raise RefusedError(f"{name} without the item as it is now (NewImage)")
            item = untyped_item(change["NewImage"])
            if RESERVED_ATTRIBUTE in item:
                raise RefusedError(
                    f"a change that a log has made (it has {RESERVED_ATTRIBUTE})",
                    do="a table that a log is applied to is not to be relayed into it",
                )
            action |= {"Action": PUT_ITEM, "Data": item}
        elif name == "REMOVE":
            action["Action"] = DELETE_ITEM
        else:
            raise RefusedError(f"a change of the kind {name!r}")
        base = relay_id((inbound.lane, inbound.number))
        builder = ActionBuilder(new_id=lambda: base)
        return builder.build(action, _time_ms(change, inbound.arrival_ms))

    def _check_table(self, physical: object) -> None:
        if self._physical is None and isinstance(physical, str):
            self._physical = physical
        if physical != self._physical:
            raise RefusedError(
                f"a change of the table {physical!r}, and those before it were of {self._physical!r}",
                do="give each table a stream of its own",
            )


def _time_ms(change: dict[str, Any], otherwise: int) -> int:
    """When it was made, by the service; its precision is said where it is not the usual one."""
    made = change.get("ApproximateCreationDateTime")
    if type(made) is not int or made < 0:
        return otherwise
    precision = change.get("ApproximateCreationDateTimePrecision")
    if precision is None:
        precision = "MICROSECOND" if made >= 10**14 else "MILLISECOND"
    return made // _PER_MS.get(precision, 1)
