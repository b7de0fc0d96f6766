"""The row of a DynamoDB store that says what its consumers are to go by (`appliers.store.Adjustable`).

It stands beside the catalog and not in it: who sets it needs no turn, and whoever writes to the store
meanwhile finds its catalog as it was. ``rev`` counts the settings; none is written over unread, so of
two at a time one is the last, and an attempt that lands late changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliers.stores.dynamodb_catalog import damaged
from appliers.stores.dynamodb_items import Attributes
from appliers.stores.dynamodb_rows import Rows
from appliers.stores.generations import no_store_yet
from binlog.errors import BusyError

PACE = {"pk": {"S": "store"}, "sk": {"S": "pace"}}
_TRIES_MAX = 8


def read_pace(rows: Rows, name: str) -> bytes | None:
    """What is set; ``None`` too where there is no store."""
    return pace_of(rows.get(PACE), name)[0]


def write_pace(rows: Rows, name: str, setting: bytes | None) -> None:
    """Set it.

    Raises:
        ConflictError: there is no store. BusyError: others set it at the same time, again and again.
    """
    if not rows.exist():
        raise no_store_yet(name)
    for _ in range(_TRIES_MAX):
        rev = pace_of(rows.get(PACE), name)[1]
        if rows.put(pace_item(setting, rev + 1), rev=rev):
            return
    raise BusyError("others set the pace at the same time", name, "see what is set now")


def pace_item(setting: bytes | None, rev: int) -> Attributes:
    """The row that says it, or that nothing is set."""
    item: Attributes = PACE | {"rev": {"N": str(rev)}}
    return item if setting is None else item | {"setting": {"S": setting.decode()}}


def pace_of(item: Mapping[str, Any] | None, name: str) -> tuple[bytes | None, int]:
    """What a row says, and its ``rev``; nothing and 0 where there is none.

    Raises:
        DamageError: it is no such row.
    """
    if item is None:
        return None, 0
    try:
        setting = item["setting"]["S"].encode() if "setting" in item else None
        return setting, int(item["rev"]["N"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(f"the pace is damaged ({error})", name) from error
