"""Rows to SQLite's columns and back. The order of the columns is `sqlite_schema.COLUMNS`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import TypeAlias

from appliers.item import Row
from appliers.stores.sqlite_schema import COLUMNS, quoted
from binlog.errors import BinlogError, DamageError, RefusedError
from binlog.json_values import item_data, typed_item_text

Columns: TypeAlias = tuple[bytes, str, int, int, int, int, int, str | None]

# As bytes: msgspec reads these as they are, and text that somebody broke stays readable.
SELECTED = "key_bytes, version, partition, tombstone, parked, tail, CAST(item AS BLOB)"
_FETCH_ROWS = 1_000


def encode_row(key: bytes, row: Row) -> Columns:
    """The columns of one row.

    Raises:
        DamageError: not canonical bytes of a map.
    """
    data = row.data
    return (
        key,
        typed_item_text(key).decode(),
        row.version,
        row.partition,
        data is None,
        row.parked,
        row.tail,
        None if data is None else typed_item_text(data).decode(),
    )


def decode_rows(cursor: sqlite3.Cursor, table: str, name: str) -> Iterator[tuple[bytes, Row]]:
    """The rows that a ``SELECT`` of `SELECTED` gives, a thousand in memory at a time.

    Raises:
        DamageError: with ``table`` and ``key``: a row that holds no item (changed by hand?).
    """
    while rows := cursor.fetchmany(_FETCH_ROWS):
        for key, version, partition, tombstone, parked, tail, item in rows:
            if type(version) is not int or type(tail) is not int or type(key) is not bytes:
                raise damaged_row("a column of another type", table, key, name)
            try:
                data = None if tombstone else item_data(item)
            except (RefusedError, TypeError) as error:
                raise damaged_row(error, table, key, name) from error
            yield key, Row(version, partition, data, parked != 0, tail)


def damaged_row(why: object, table: str, key: object, name: str) -> DamageError:
    """A row that cannot be what was written. Without ``key`` where that is no key at all."""
    shown = repr(key)
    details: dict[str, object] = {"table": table}
    if isinstance(key, bytes):
        details["key"] = key
        try:
            shown = typed_item_text(key).decode()
        except BinlogError:
            shown = f"of bytes {key.hex()}"
    return DamageError(
        f"table {table} holds a damaged row, key {shown} ({why})",
        name,
        "was it changed by hand? rebuild the store",
        **details,
    )


def select_rows(sqlite_name: str, *, after: bytes | None) -> tuple[str, tuple[bytes, ...]]:
    """The statement, and its arguments, that gives a table's rows in the order of their keys."""
    where, arguments = ("", ()) if after is None else (" WHERE key_bytes > ?", (after,))
    return f"SELECT {SELECTED} FROM {quoted(sqlite_name)}{where} ORDER BY key_bytes", arguments  # noqa: S608 - quoted


def insert_rows(sqlite_name: str, *, count: int = 1) -> str:
    """The unconditional insert of ``count`` rows, whose columns follow one another."""
    marks = ", ".join("?" * len(COLUMNS.split(",")))
    rows = ", ".join([f"({marks})"] * count)
    return f"INSERT INTO {quoted(sqlite_name)} ({COLUMNS}) VALUES {rows}"  # noqa: S608 - quoted
