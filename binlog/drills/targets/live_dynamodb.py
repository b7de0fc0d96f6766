"""A DynamoDB table as its readers see it, also while it is written to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from binlog.drills.seen import plain
from binlog.errors import RefusedError

CONTROL = "binlog"  # ``PREFIX.binlog`` has a store's checkpoints, and its catalog


def read_live(client: Any, prefix: str, table: str) -> dict[str, dict[str, Any]]:
    """The items by id, no tombstones.

    A store cannot be read as of a moment while somebody writes to it, so it is read as an
    application does.
    """
    from appliers.stores.dynamodb_reading import LiveTables

    try:
        found = list(LiveTables(client, prefix).table(table).scan(ConsistentRead=True))
    except (client.exceptions.ResourceNotFoundException, RefusedError):
        return {}  # not made yet, dropped, or of a store brought back to before its first event
    return {item["id"]["S"]: {n: plain(v) for n, v in item.items()} for item in found}


def stored_bytes(value: Any) -> bytes:
    """All texts and bytes in an item as the service gives it, names too, one behind the other."""
    if isinstance(value, Mapping):
        return b"".join(stored_bytes(each) + b"\n" for pair in value.items() for each in pair)
    if isinstance(value, list | set | tuple):
        return b"".join(stored_bytes(each) + b"\n" for each in value)
    return value if isinstance(value, bytes) else str(value).encode()
