"""A table as an application sees it: by the documented form of its items, and no code of the project.

What writes a store wrong, and reads it wrong alike, would otherwise be right.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from binlog.drills.action import Item


def plain(value: Mapping[str, Any]) -> Any:
    """A value in DynamoDB's JSON as Python has it; numbers exact.

    Raises:
        ValueError: it is none.
    """
    if len(value) != 1:
        raise ValueError(f"no value of DynamoDB: {value!r}")
    [(kind, content)] = value.items()
    match kind:
        case "S" | "BOOL":
            return content
        case "N":
            return _number(content)
        case "NULL":
            return None
        case "B":
            return _bytes(content)
        case "M":
            return {name: plain(each) for name, each in content.items()}
        case "L":
            return [plain(each) for each in content]
        case "SS":
            return set(content)
        case "NS":
            return {_number(each) for each in content}
        case "BS":
            return {_bytes(each) for each in content}
    raise ValueError(f"no value of DynamoDB: {value!r}")


def _number(text: str) -> int | Decimal:
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else number


def _bytes(content: bytes | str) -> bytes:
    return content if isinstance(content, bytes) else base64.b64decode(content, validate=True)


def seen_in_sqlite(path: Path, table: str) -> Iterator[tuple[str, Item]]:
    """The items of a table in a file, by id, as ``SELECT item FROM TABLE`` gives them."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as database:
        is_there = database.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
        ).fetchone()
        if not is_there:
            return
        rows = database.execute(f'SELECT item FROM "{table}" WHERE tombstone = 0')  # noqa: S608
        for (text,) in rows:
            item = {name: plain(each) for name, each in json.loads(text).items()}
            yield str(item["id"]), item
