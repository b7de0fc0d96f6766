"""One commit: conditional writes and the checkpoints that follow from them, all or nothing.

The conditions stand in the SQL, so that a batch is a few ``executemany`` and no row is read in
Python. SQLite counts the rows that changed; where the count is short, a condition failed: all is
rolled back, and only then each item is looked at to name the writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from appliers.item import Rejection, Write, condition_holds
from appliers.letters import DeadLetter, LetterPlace
from appliers.store import Checkpoint, Generation
from appliers.stores.generations import check_moves, lost_table, tables_of
from appliers.stores.sqlite_letters import have_letters, put_letters
from appliers.stores.sqlite_reader import SQLiteReader
from appliers.stores.sqlite_rows import encode_row, insert_rows
from appliers.stores.sqlite_schema import (
    FOREIGN_TABLE,
    FORMAT,
    LETTERS_TABLE,
    SEEN_COLUMN,
    TABLE,
    names_in,
    quoted,
    sqlite_name,
)
from binlog.errors import DamageError
from binlog.foreign import Foreign, Place
from binlog.json_values import typed_item_text

_REPLACE = """
 ON CONFLICT (key_bytes) DO UPDATE SET version = excluded.version,
    tombstone = excluded.tombstone, parked = excluded.parked, tail = excluded.tail,
    item = excluded.item
 WHERE version < excluded.version AND partition = excluded.partition AND parked = 0
"""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, with the file's write lock from the start; durable on return."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have rolled back by itself (disk full)
            connection.execute("ROLLBACK")
        raise


class _ConditionFailedError(Exception):
    """Some write of the transaction changed nothing."""


def commit(
    connection: sqlite3.Connection,
    reader: SQLiteReader,
    generation: str,
    writes: Sequence[Write],
    checkpoints: Sequence[Checkpoint],
    rejections: Sequence[Rejection],
    tables: Iterable[str],
    foreign: Iterable[Foreign],
    relayed: Iterable[Place],
    letters: Sequence[DeadLetter] = (),
    settled: Iterable[LetterPlace] = (),
) -> list[Write]:
    """`Store.commit` on an open file; where a condition fails, nothing at all is applied."""
    try:
        with transaction(connection):
            open_ = reader.check_live(generation)
            check_moves(
                reader.name, checkpoints, reader.positions(generation) if checkpoints else {}
            )
            wanted = tables_of(writes, rejections, tables, letters)
            places = _places(connection, reader, generation, wanted, open_=open_)
            for table, group in _by_table(writes):
                _write(connection, places[table], group)
            put_checkpoints(connection, generation, checkpoints)
            put_rejections(connection, generation, rejections)
            put_letters(connection, generation, letters, settled)
            put_foreign(connection, foreign, relayed)
    except _ConditionFailedError:
        return _failed(connection, reader, writes)
    return []


def _places(
    connection: sqlite3.Connection,
    reader: SQLiteReader,
    generation: str,
    wanted: set[str],
    *,
    open_: bool,
) -> dict[str, str]:
    """The SQLite table of each table that is written, made if need be."""
    known = reader.places()
    places = {}
    for table in sorted(wanted):
        owner, place = known.get(table, (None, ""))
        if owner is None and open_:
            place = create_table(connection, generation, table)
        elif owner != generation:
            raise lost_table(reader.name, generation, table)
        places[table] = place
    return places


def _by_table(writes: Sequence[Write]) -> Iterator[tuple[str, list[Write]]]:
    groups: dict[str, list[Write]] = {}
    for write in writes:
        groups.setdefault(write.table, []).append(write)
    return iter(groups.items())


def _write(connection: sqlite3.Connection, place: str, writes: list[Write]) -> None:
    """The writes of one table; raise `_ConditionFailedError` if one changes nothing (I1, I2)."""
    writes.sort(key=lambda write: write.key)  # neighbours share pages
    insert = insert_rows(place)
    if not all(write.moves_on for write in writes):
        raise _ConditionFailedError
    puts, births, folds, marks = _sorted(writes)
    replace = f"""
        UPDATE {quoted(place)} SET version = ?1, tombstone = ?3, parked = ?4, tail = ?5, item = ?6
        WHERE key_bytes = ?7 AND version = ?8 AND version < ?1 AND partition = ?2 AND parked = 0
    """  # noqa: S608 - quoted
    mark = f"""
        UPDATE {quoted(place)} SET version = ?1, tombstone = ?3, parked = ?4, tail = ?5, item = ?6
        WHERE key_bytes = ?7 AND version = ?8 AND partition = ?2 AND parked = ?9 AND tail = ?10
    """  # noqa: S608 - quoted
    for statement, rows in (
        (insert + _REPLACE, puts),
        (insert + " ON CONFLICT DO NOTHING", births),
        (replace, folds),
        (mark, marks),
    ):
        if rows and connection.executemany(statement, rows).rowcount != len(rows):
            raise _ConditionFailedError


def _sorted(writes: Iterable[Write]) -> tuple[list[tuple[Any, ...]], ...]:
    """Blind puts, items that are to be new, folds, and what changes a mark: by their condition."""
    puts: list[tuple[Any, ...]] = []
    births: list[tuple[Any, ...]] = []
    folds: list[tuple[Any, ...]] = []
    marks: list[tuple[Any, ...]] = []
    for write in writes:
        row = encode_row(write.key, write.row)
        if write.base is None:
            puts.append(row)
        elif write.tail is not None or write.row.version == write.base:
            found = (write.tail is not None, write.tail or 0)
            # What is to be parked though nothing is there yet.
            is_birth = write.base == 0 and write.tail is None
            (births if is_birth else marks).append(
                row if is_birth else (*row[2:], write.key, write.base, *found)
            )
        elif write.base == 0:
            births.append(row)
        else:
            folds.append((*row[2:], write.key, write.base))
    return puts, births, folds, marks


def _failed(
    connection: sqlite3.Connection, reader: SQLiteReader, writes: Sequence[Write]
) -> list[Write]:
    """The writes whose condition does not hold, now that nothing of the batch is applied."""
    failed = []
    with transaction(connection):  # nobody changes an item while we look
        places = reader.places()
        for table, group in _by_table(writes):
            _, place = places.get(table, ("", ""))  # none: the batch was to make it
            found = reader.rows(table, place, [w.key for w in group]) if place else {}
            failed += [w for w in group if not condition_holds(w, found.get(w.key))]
    if not failed:
        raise DamageError(
            "a conditional write changed nothing, and its condition holds",
            reader.name,
            "was the store changed by hand (a trigger)? rebuild it",
        )
    return failed


def create_table(connection: sqlite3.Connection, generation: str, table: str) -> str:
    """Make the SQLite table of one table of the log, and give its name."""
    place = sqlite_name(table, names_in(connection))
    connection.execute(TABLE.format(quoted(place)))
    note_table(connection, generation, table, place)
    return place


def note_table(connection: sqlite3.Connection, generation: str, table: str, place: str) -> None:
    """Write down whose the table is, and where."""
    connection.execute("INSERT INTO _binlog_tables VALUES (?, ?, ?)", (table, generation, place))


def put_generation(connection: sqlite3.Connection, generation: Generation) -> None:
    """Write down a generation, without its tables."""
    connection.execute(
        "INSERT INTO _binlog_generations (id, open, fingerprint, excluded, types)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            generation.id,
            generation.open,
            generation.fingerprint,
            msgspec.json.encode(generation.excluded).decode(),
            msgspec.json.encode(generation.types).decode(),
        ),
    )


def put_checkpoints(
    connection: sqlite3.Connection, generation: str, checkpoints: Iterable[Checkpoint]
) -> None:
    """Write the checkpoints over those that stand; that they move on is the caller's to see."""
    connection.executemany(
        """
        INSERT OR REPLACE INTO _binlog_checkpoints
            (generation, partition, shard, sequence, offset, applied, digest, state, seen_ms)
        VALUES (:generation, :partition, :shard, :sequence, :offset, :applied, :digest, :state,
            :seen_ms)
        """,
        [
            {
                **msgspec.structs.asdict(checkpoint),
                "generation": generation,
                "sequence": str(checkpoint.sequence),
            }
            for checkpoint in checkpoints
        ],
    )


def put_rejections(
    connection: sqlite3.Connection, generation: str, rejections: Iterable[Rejection]
) -> None:
    """Record each rejection once, however often its event is seen."""
    connection.executemany(
        """
        INSERT OR IGNORE INTO _binlog_rejections
            (generation, table_name, partition, offset, key_bytes, key, id, expected, found)
        VALUES (:generation, :table, :partition, :offset, :key, :text, :id, :expected, :found)
        """,
        [
            {
                **msgspec.structs.asdict(rejection),
                "generation": generation,
                "text": typed_item_text(rejection.key).decode(),
            }
            for rejection in rejections
        ],
    )


def put_foreign(
    connection: sqlite3.Connection, foreign: Iterable[Foreign], relayed: Iterable[Place]
) -> None:
    """Keep each foreign record once, however often it is met; of one that is relayed the place."""
    connection.executemany(
        "INSERT OR IGNORE INTO _binlog_foreign VALUES (?, ?, ?, ?, ?, 0)",
        [(f.shard, str(f.sequence), f.partition_key, f.arrival_ms, f.data) for f in foreign],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO _binlog_foreign VALUES (?, ?, '', 0, x'', 1)",
        [(shard, str(sequence)) for shard, sequence in relayed],
    )


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Give a store of an earlier format what it lacks, or find that somebody did."""
    with transaction(connection):
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found < 2:
            connection.execute(FOREIGN_TABLE)
        if found < 3:
            connection.execute(f"ALTER TABLE _binlog_checkpoints ADD COLUMN {SEEN_COLUMN}")
        if not have_letters(connection):
            connection.execute(LETTERS_TABLE)
        if found < FORMAT:
            connection.execute(f"PRAGMA user_version = {FORMAT}")


def put_pace(connection: sqlite3.Connection, setting: bytes | None) -> None:
    """`Adjustable.set_pace`: one row, in a transaction of its own."""
    with transaction(connection):
        connection.execute("DELETE FROM _binlog_meta WHERE name = 'pace'")
        if setting is not None:
            connection.execute("INSERT INTO _binlog_meta VALUES ('pace', ?)", (setting,))
