"""What a fold keeps of one item, and what the built-in actions make of it.

An entry is ``(version, content)``, the canonical fold of the item's events up to the version. The
content is canonical bytes, or, after an UpdateItem, the decoded item with a bound of its size,
``(version, item, size)``: encoded when somebody asks for it, which for most never happens because
a later event replaces it. PutItem and DeleteItem are not decoded at all.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from appliers.actions import GROWTH_FACTOR, SIZE_FACTOR, change_item, check_size
from appliers.poison import readable_key
from appliers.routing import Op
from binlog.errors import DamageError, RefusedError
from binlog.values import ITEM_BYTES_FREE, decode_value, encode_item

Entry: TypeAlias = "tuple[int, bytes | None] | tuple[int, dict[str, Any], int]"
Items: TypeAlias = "dict[bytes, Entry]"

ABSENT: Entry = (0, None)
_PUT, _DELETE = Op.PUT, Op.DELETE  # names of a module are found faster than an enumeration's


def act(op: Op, items: Items, key: bytes, version: int, data: bytes | None) -> None:
    """One built-in action on one item.

    Raises:
        RefusedError: the action does not fit the item, or is none.
        DamageError: the bytes are no value.
    """
    if op is _DELETE:
        if data is not None:
            raise RefusedError("a DeleteItem with data")
        items[key] = (version, None)
        return
    if not data:
        raise RefusedError("it has no data")
    if op is _PUT:
        items[key] = (version, data)
        return
    entry = items.get(key, ABSENT)
    content = entry[1]
    if len(entry) == 3:
        item, size = content, entry[2]
    elif content is None:
        item, size = None, SIZE_FACTOR * len(key)
    else:
        item, size = decode_value(content), SIZE_FACTOR * len(content)  # type: ignore[arg-type]
        if type(item) is not dict:
            raise RefusedError("the item is no map")
    item = change_item(item, decode_value(data), key)  # type: ignore[arg-type]
    size += GROWTH_FACTOR * len(data)
    if size > ITEM_BYTES_FREE:
        size = check_size(item)
    items[key] = (version, item, size)


def content_of(table: str, key: bytes, entry: Entry) -> bytes | None:
    """Canonical bytes of an entry's item, ``None`` for a tombstone or nothing.

    Raises:
        DamageError: it holds what no producer writes.
    """
    content = entry[1]
    if type(content) is not dict:
        return content  # type: ignore[return-value]  # the other two
    try:
        return encode_item(content)
    except RefusedError as error:
        raise DamageError(
            f"values that no producer writes ({error.what})",
            f"item {readable_key(key)[1]} of {table}, version {entry[0]}",
        ) from error
