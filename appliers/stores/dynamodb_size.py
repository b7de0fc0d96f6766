"""How large a table is, as the service counts it every few hours, and what reading it costs."""

from __future__ import annotations

import msgspec

from appliers.stores.dynamodb_calls import MISSING, Calls
from binlog.aws.errors import error_code
from binlog.errors import BinlogError

UNIT_BYTES = 4096
"""Of a strongly consistent read unit; developerguide, "Read and write operations"."""
DOLLARS_A_MILLION = 0.125
"""Read request units on demand; list price of us-east-1, 2026, from secondary sources."""


class Size(msgspec.Struct, frozen=True):
    """A table, tombstones included. ``read_units``: of a strongly consistent scan of all of it."""

    items: int
    bytes: int
    read_units: int

    @property
    def dollars(self) -> float:
        """What the scan costs on demand."""
        return self.read_units * DOLLARS_A_MILLION / 1e6


def size_of(calls: Calls, physical: str) -> Size | None:
    """As it was counted last, up to six hours ago (API_TableDescription).

    ``None`` of one that is gone, or that we may read and not describe: no reading needs that.
    """
    try:
        table = calls.call("describe_table", TableName=physical)["Table"]
    except BinlogError as error:
        if error_code(error.__cause__ or error) not in (MISSING, "AccessDeniedException"):
            raise
        return None
    size = int(table.get("TableSizeBytes", 0))
    return Size(int(table.get("ItemCount", 0)), size, -(-size // UNIT_BYTES))
