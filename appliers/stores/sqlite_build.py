"""A generation being built in an SQLite file (B1): hidden tables, shown in one transaction.

Rows go into tables called ``_binlog_build_..``. `SQLiteBuild.finish` drops the tables that are
replaced and renames the hidden ones, in one transaction, so readers see the old content until
then. Where there is no file yet, all of this happens in a file beside it without any journal, which
is synced and then renamed into its place: much faster, and nothing to see of a build that died.

What a build that was killed leaves (hidden tables, files ``FILE.build-..``) the next one removes.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, starmap
from operator import itemgetter
from pathlib import Path

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter
from appliers.store import Checkpoint, Generation, Part
from appliers.stores.generations import (
    after_build,
    check_open,
    described,
    tables_of_letters,
    with_tables,
)
from appliers.stores.sqlite_commit import (
    create_table,
    note_table,
    put_checkpoints,
    put_foreign,
    put_generation,
    put_rejections,
    transaction,
)
from appliers.stores.sqlite_errors import translated
from appliers.stores.sqlite_files import connect
from appliers.stores.sqlite_letters import put_letters
from appliers.stores.sqlite_reader import SQLiteReader
from appliers.stores.sqlite_rows import encode_row, insert_rows
from appliers.stores.sqlite_schema import (
    BUILD_PREFIX,
    LETTERS,
    META,
    TABLE,
    names_in,
    quoted,
    sidecars,
    sqlite_name,
    sync_directory,
)
from binlog.foreign import Foreign, Place

_ATTACHED_MAX = 8  # SQLite's own limit is 10 unless it was compiled otherwise
_LOAD_ROWS = 50_000  # of one transaction: what the write-ahead log holds at most
# Rows of one statement: a fifth faster than one by one. Older SQLites bind 999 values at most.
_STATEMENT_ROWS = 64
_KEY: Callable[[tuple[bytes, Row]], bytes] = itemgetter(0)
_OF_TABLES = ("_binlog_rejections", LETTERS)
_ORPHANS = "generation NOT IN (SELECT id FROM _binlog_generations)"


# -- files beside the store ----------------------------------------------------------------------


def new_file(path: Path) -> sqlite3.Connection:
    """A file with the schema, to be filled fast: no journal, no sync, nobody else reads it."""
    connection = connect(path, parameters="mode=rwc")
    try:
        for pragma in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "locking_mode = EXCLUSIVE",
            "cache_size = -65536",  # KiB
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(META)
    except BaseException:
        connection.close()
        raise
    return connection


def put_in_place(connection: sqlite3.Connection, aside: Path, path: Path) -> None:
    """Close a file that `new_file` made and let it be the store, durably, in one step."""
    connection.execute("PRAGMA locking_mode = NORMAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    for leftover in sidecars(path):  # of another file of this name: SQLite would replay it
        leftover.unlink(missing_ok=True)
    aside.replace(path)
    sync_directory(path.parent)


def aside_path(path: Path, generation: str) -> Path:
    """Where a store is built that is not there yet, and by which its parts are named."""
    return path.with_name(f"{path.name}.build-{generation}")


def remove_files(path: Path) -> None:
    """Remove what builds of ``path`` left beside it; only the writer may.

    SQLite's own journal of a commit with parts attached is left by it where the disk is full.
    """
    name = re.escape(path.name)
    of_parts = "-mj[0-9A-F]{9}"
    ours = re.compile(
        rf"{name}\.build-[0-9a-f]{{32}}(\.part-\d+)?(-wal|-shm|-journal|{of_parts})?"
        rf"|{name}{of_parts}"
    )
    for entry in path.parent.iterdir():
        if ours.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def remove_hidden(connection: sqlite3.Connection) -> None:
    """Remove what builds left inside the file."""
    with transaction(connection):
        for name in names_in(connection):
            if name.startswith(BUILD_PREFIX):
                connection.execute(f"DROP TABLE {quoted(name)}")
        for rest in _OF_TABLES:
            connection.execute(f"DELETE FROM {rest} WHERE {_ORPHANS}")  # noqa: S608 - constants


# -- parts ---------------------------------------------------------------------------------------


class SQLitePart:
    """Rows in a file of their own. Sent to another process and back it is the file's path.

    The other process encodes and sorts, and the store takes the rows without Python touching one:
    three times as fast as handing them over and inserting them.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._name = name
        self._connection: sqlite3.Connection | None = None
        self._places: dict[str, str] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return SQLitePart, (self.path, self._name)

    def load(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        ordered = sorted(rows, key=_KEY)
        with translated(self._name):
            connection = self._open()
            place = self._places.get(table)
            if place is None:
                place = self._places[table] = create_table(connection, "", table)
            with transaction(connection):
                load_rows(connection, table, place, ordered)

    def keep(self, foreign: Iterable[Foreign], relayed: Iterable[Place] = ()) -> None:
        with translated(self._name):
            connection = self._open()
            with transaction(connection):
                put_foreign(connection, foreign, relayed)

    def close(self) -> None:
        with translated(self._name):
            self._open().close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = new_file(self.path)
        return self._connection


def load_rows(
    connection: sqlite3.Connection, table: str, place: str, rows: Sequence[tuple[bytes, Row]]
) -> None:
    """Insert rows that are in the order of their keys: at the end of a table each is cheap."""
    whole = len(rows) - len(rows) % _STATEMENT_ROWS
    chunks = (rows[start : start + _STATEMENT_ROWS] for start in range(0, whole, _STATEMENT_ROWS))
    many = (list(chain.from_iterable(starmap(encode_row, chunk))) for chunk in chunks)
    with loaded_once(table):
        connection.executemany(insert_rows(place, count=_STATEMENT_ROWS), many)
        connection.executemany(insert_rows(place), starmap(encode_row, rows[whole:]))


@contextmanager
def loaded_once(table: str) -> Iterator[None]:
    """Raise SQLite's "not unique" as what it means here."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise ValueError(f"a key of table {table} was loaded twice") from error


# -- the build -----------------------------------------------------------------------------------


class SQLiteBuild:
    """A private generation in hidden tables of ``connection``'s file.

    ``done`` is called with the connection when all is committed: it puts a new file in place.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        made: Generation,
        *,
        path: Path,
        name: str,
        done: Callable[[], None],
        undone: Callable[[], None],
    ) -> None:
        self.generation = made.id
        self._connection = connection
        self._made = made
        self._path = path
        self._name = name
        self._done = done
        self._undone = undone
        self._places: dict[str, str] = {}
        self._parts = 0
        self._over = False

    def load(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        check_open(over=self._over)
        place = self._place(table)
        ordered = sorted(rows, key=_KEY)
        with translated(self._name):
            for start in range(0, len(ordered), _LOAD_ROWS):
                with transaction(self._connection):
                    load_rows(self._connection, table, place, ordered[start : start + _LOAD_ROWS])

    def part(self) -> SQLitePart:
        check_open(over=self._over)
        self._parts += 1
        base = aside_path(self._path, self.generation)
        return SQLitePart(base.with_name(f"{base.name}.part-{self._parts}"), self._name)

    def adopt(self, parts: Iterable[Part]) -> None:
        check_open(over=self._over)
        paths = []
        for part in parts:
            if not isinstance(part, SQLitePart):
                raise TypeError(f"{part!r} is no part of this build")
            paths.append(part.path)
        with translated(self._name):
            for start in range(0, len(paths), _ATTACHED_MAX):
                self._merge(paths[start : start + _ATTACHED_MAX])
            for path in paths:
                path.unlink()

    def _merge(self, paths: Sequence[Path]) -> None:
        """Merge sorted tables of several files; SQLite walks them side by side."""
        names: list[str] = []
        try:
            for number, path in enumerate(paths):
                # Opened as it is, or an error: a part that vanished must not count as empty.
                name = f"part_{number}"
                self._connection.execute(f"ATTACH ? AS {name}", (f"{path.as_uri()}?mode=rw",))
                names.append(name)
            for table, sources in sorted(self._sources(names).items()):
                union = " UNION ALL ".join(f"SELECT * FROM {source}" for source in sources)  # noqa: S608
                order = " ORDER BY key_bytes" if len(sources) > 1 else ""  # one: copied as it lies
                target = quoted(self._place(table))
                with transaction(self._connection), loaded_once(table):
                    self._connection.execute(f"INSERT INTO {target} {union}{order}")
            # Seen before the build is finished, and kept if it never is: they are true of the log.
            with transaction(self._connection):
                for name in names:
                    kept = f"SELECT * FROM {name}._binlog_foreign WHERE relayed = "  # noqa: S608 - ours
                    into = "main._binlog_foreign"
                    self._connection.execute(f"INSERT OR IGNORE INTO {into} {kept} 0")
                    self._connection.execute(f"INSERT OR REPLACE INTO {into} {kept} 1")
        finally:
            for name in names:
                self._connection.execute(f"DETACH {name}")

    def _sources(self, names: Sequence[str]) -> dict[str, list[str]]:
        """The SQLite tables of each table in attached files."""
        sources: dict[str, list[str]] = {}
        for name in names:
            places = self._connection.execute(
                f"SELECT name, sqlite_name FROM {name}._binlog_tables"  # noqa: S608 - ours
            )
            for table, place in places.fetchall():
                sources.setdefault(table, []).append(f"{name}.{quoted(place)}")
        return sources

    def reject(self, rejections: Iterable[Rejection]) -> None:
        check_open(over=self._over)
        found = list(rejections)
        with translated(self._name), transaction(self._connection):
            for rejection in found:
                self._place(rejection.table)
            put_rejections(self._connection, self.generation, found)

    def divert(self, letters: Iterable[DeadLetter]) -> None:
        check_open(over=self._over)
        found = list(letters)
        with translated(self._name), transaction(self._connection):
            for table in sorted(tables_of_letters(found)):
                self._place(table)
            put_letters(self._connection, self.generation, found)

    def finish(
        self,
        checkpoints: Mapping[int, Checkpoint],
        *,
        tables: Iterable[str],
        types: Iterable[str] = (),
    ) -> None:
        check_open(over=self._over)
        made = with_tables(self._made, self._places, tables)
        made = described(made, made.fingerprint, types)
        with translated(self._name):
            with transaction(self._connection):
                self._switch(made, checkpoints)
            self._over = True
            self._done()

    def _switch(self, made: Generation, checkpoints: Mapping[int, Checkpoint]) -> None:
        connection = self._connection
        reader = SQLiteReader(connection, self._name)
        old_places = reader.places()
        live = reader.generations()
        kept, gone = after_build(live, made)
        for table in gone:
            connection.execute(f"DROP TABLE IF EXISTS {quoted(old_places[table][1])}")
            connection.execute("DELETE FROM _binlog_tables WHERE name = ?", (table,))
            for rest in _OF_TABLES:
                connection.execute(
                    f"DELETE FROM {rest} WHERE table_name = ? AND generation <> ?",  # noqa: S608 - constants
                    (table, made.id),
                )
        stay = {generation.id for generation in kept}
        connection.executemany(
            "DELETE FROM _binlog_generations WHERE id = ?",
            [(generation.id,) for generation in live if generation.id not in stay],
        )
        put_generation(connection, made)
        for rest in ("_binlog_checkpoints", *_OF_TABLES):
            connection.execute(f"DELETE FROM {rest} WHERE {_ORPHANS}")  # noqa: S608 - constants
        for table in made.tables:
            place = sqlite_name(table, names_in(connection))
            hidden = self._place(table)
            connection.execute(f"ALTER TABLE {quoted(hidden)} RENAME TO {quoted(place)}")
            note_table(connection, made.id, table, place)
        put_checkpoints(connection, made.id, checkpoints.values())

    def abandon(self) -> None:
        if self._over:
            return
        self._over = True
        with translated(self._name):
            self._undone()

    def _place(self, table: str) -> str:
        """The hidden table of ``table``, made when first asked for."""
        with_tables(self._made, [table])
        place = self._places.get(table)
        if place is None:
            place = self._places[table] = f"{BUILD_PREFIX}{len(self._places)}"
            self._connection.execute(TABLE.format(quoted(place)))
        return place
