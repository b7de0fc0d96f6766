"""The row of a DynamoDB store that says what its consumers are to go by (`appliers.store.Adjustable`).

It stands beside the catalog and not in it: who sets it needs no turn, and whoever writes to the store
meanwhile finds its catalog as it was. ``rev`` counts the settings; none is written over unread, so of
two at a time one is the last, and an attempt that lands late changes nothing.
"""

from __future__ import annotations

from appliers.stores.dynamodb_catalog import damaged
from appliers.stores.dynamodb_items import Attributes
from appliers.stores.dynamodb_rows import Rows
from appliers.stores.generations import no_store_yet
from binlog.errors import BusyError

PACE = {"pk": {"S": "store"}, "sk": {"S": "pace"}}
_TRIES_MAX = 8


def read_pace(rows: Rows, name: str) -> bytes | None:
    """What is set; ``None`` too where there is no store."""
    return _setting(rows.get(PACE), name)[0]


def write_pace(rows: Rows, name: str, setting: bytes | None) -> None:
    """Set it.

    Raises:
        ConflictError: there is no store. BusyError: others set it at the same time, again and again.
    """
    if not rows.exist():
        raise no_store_yet(name)
    for _ in range(_TRIES_MAX):
        rev = _setting(rows.get(PACE), name)[1]
        item: Attributes = PACE | {"rev": {"N": str(rev + 1)}}
        if setting is not None:
            item["setting"] = {"S": setting.decode()}
        if rows.put(item, rev=rev):
            return
    raise BusyError("others set the pace at the same time", name, "see what is set now")


def _setting(item: Attributes | None, name: str) -> tuple[bytes | None, int]:
    if item is None:
        return None, 0
    try:
        setting = item["setting"]["S"].encode() if "setting" in item else None
        return setting, int(item["rev"]["N"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(f"the pace is damaged ({error})", name) from error
