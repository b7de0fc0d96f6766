"""Dead letters in an SQLite file. What a column holds is in `sqlite_schema`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from appliers.letters import DeadLetter, Item, LetterPlace
from appliers.stores.sqlite_schema import LETTERS
from binlog.json_values import typed_item_text

_COLUMNS = "table_name, partition, key_bytes, version, alone, id, type, reason, event"
# Joined, since a build that goes on writes its own here before it is live.
_LIVE = """
 generation IN (SELECT id FROM _binlog_generations) AND (table_name = ''
    OR EXISTS (SELECT 1 FROM _binlog_tables AS t WHERE t.name = table_name
        AND t.generation = l.generation))
"""


def have_letters(connection: sqlite3.Connection) -> bool:
    """Whether the file has a table for them: of an earlier format, and not written since, it has not."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (LETTERS,))
    return found.fetchone() is not None


def read_letters(
    connection: sqlite3.Connection, table: str | None, item: Item | None = None
) -> Iterator[DeadLetter]:
    """Those of live generations, as `Reader.letters` says."""
    if not have_letters(connection):
        return
    cursor = connection.execute(
        f"SELECT {_COLUMNS} FROM {LETTERS} AS l WHERE {_LIVE}"  # noqa: S608 - constants
        " AND (?1 IS NULL OR table_name = ?1)"
        " AND (?2 IS NULL OR (partition = ?2 AND key_bytes = ?3))"
        " ORDER BY table_name, partition, key_bytes, alone, version",
        (table, *(item or (None, None))),
    )
    for name, partition, key, version, alone, *rest in cursor:
        yield DeadLetter(name, partition, key, version, bool(alone), *rest)


def put_letters(
    connection: sqlite3.Connection,
    generation: str,
    letters: Iterable[DeadLetter],
    settled: Iterable[LetterPlace] = (),
) -> None:
    """Keep letters, each in the place of the one that was there, and keep others no longer."""
    connection.executemany(
        f"INSERT OR REPLACE INTO {LETTERS} (generation, key, {_COLUMNS})"  # noqa: S608 - constants
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(generation, typed_item_text(each.key).decode()),
                *(each.table, each.partition, each.key, each.version, each.alone),
                *(each.id, each.type, each.reason, each.event),
            )
            for each in letters
        ],
    )
    connection.executemany(
        f"DELETE FROM {LETTERS} WHERE generation = ? AND table_name = ? AND partition = ?"  # noqa: S608 - a constant
        " AND key_bytes = ? AND version = ? AND alone = ?",
        [(generation, *place) for place in settled],
    )
