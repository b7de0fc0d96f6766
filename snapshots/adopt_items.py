"""The items of a table that is to be adopted: checked one by one, before anything is made of them.

An item has to be one that the log could have put: values of the model, its key attributes those of
the table and of their types, its size within what leaves room for the marks, and none of them there
yet. What is not is refused with its key: to leave an item out of a base would be to lose it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from appliers.poison import readable_key
from appliers.stores.dynamodb_tables_spec import KeySchema
from binlog.errors import ConflictError, RefusedError, TooLargeError
from binlog.fields import encode_key
from binlog.values import RESERVED_ATTRIBUTE, encode_item, encode_value

SHOWN_MAX = 10
"""Items that are named one by one in a message or an answer."""


class Totals(msgspec.Struct):
    """What was read of a source."""

    items: int = 0
    bytes: int = 0  # of canonical items


class ItemCheck:
    """Checks the items of one table, and gives them in canonical bytes."""

    def __init__(self, table: str, keys: KeySchema, where: str) -> None:
        """``where`` names the source for messages."""
        self._table = table
        self._keys = keys
        self._names = tuple(name for name, _ in keys.attributes)
        self._where = where

    def key(self, item: Mapping[str, Any]) -> bytes:
        """The key of a stored item, whatever else it holds."""
        return encode_value({name: item[name] for name in self._names})

    def __call__(self, item: Mapping[str, Any], place: str = "") -> tuple[bytes, bytes]:
        """Its key and itself, canonical.

        Raises:
            RefusedError: the log could not hold it. ConflictError: a log's marks are on it.
        """
        where = f"{self._where}: {place}" if place else self._where
        missing = [name for name in self._names if name not in item]
        if missing:
            raise RefusedError(
                f"an item of {self._table} without its key attribute {missing[0]!r}",
                where,
                "is it an item of that table?",
                table=self._table,
            )
        named = {name: item[name] for name in self._names}
        if misfit := self._keys.misfit(named):
            raise RefusedError(
                f"an item of {self._table} of another key: {misfit}",
                where,
                f"the table's is {self._keys}: is it an export of that table?",
                table=self._table,
            )
        shown = _shown(named)
        if RESERVED_ATTRIBUTE in item:
            raise ConflictError(
                f"the item {shown} of {self._table} has an attribute {RESERVED_ATTRIBUTE} already",
                where,
                "a log keeps its marks there: is the table a replica? then it needs no adoption; an"
                " attribute of yours has to get another name first",
                table=self._table,
            )
        try:
            return encode_key(named, self._names), encode_item(item)
        except RefusedError as error:
            do = error.do or "the log holds what DynamoDB does, less room for its marks"
            kind = TooLargeError if isinstance(error, TooLargeError) else RefusedError
            raise kind(
                f"the item {shown} of {self._table}: {error.what}",
                where,
                f"{do}; mend the item, or take it out of the table",
                table=self._table,
            ) from error


def _shown(named: Mapping[str, Any]) -> str:
    try:
        return readable_key(encode_value(dict(named)))[1]
    except RefusedError:
        return repr(dict(named))
