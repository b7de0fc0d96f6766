"""A store in one SQLite file: items and checkpoints change in the same transaction.

Invariants, beside those of `appliers.stores.generations`:

* whatever moves a checkpoint is synced before `SQLiteStore.commit` returns (write-ahead log,
  ``synchronous = FULL``);
* a file of the store's name is a whole store from its first moment: it is made aside and renamed;
* only the holder of ``FILE.lock`` writes; what it did is checked inside each transaction all the
  same, so a lock that does not lock (a network file system) costs an error and no data.

How it looks inside is in `appliers.stores.sqlite_schema`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from appliers.item import Rejection, Row, Write
from appliers.letters import DeadLetter, Item, LetterPlace
from appliers.store import Checkpoint, Generation, Reader
from appliers.stores.generations import (
    check_binding,
    check_creation,
    check_unique,
    described,
    lost_generation,
    new_generation,
    no_store_yet,
)
from appliers.stores.sqlite_build import (
    SQLiteBuild,
    aside_path,
    new_file,
    put_in_place,
    remove_files,
    remove_hidden,
)
from appliers.stores.sqlite_commit import (
    bring_up_to_date,
    commit,
    create_table,
    put_generation,
    put_pace,
    transaction,
)
from appliers.stores.sqlite_errors import translated
from appliers.stores.sqlite_files import connect
from appliers.stores.sqlite_reader import SQLiteReader, connect_to_read
from appliers.stores.sqlite_schema import META, is_there
from appliers.stores.writer_lock import WriterLock
from binlog.foreign import Foreign, Place

_WRITER = (
    "journal_mode = WAL",  # made so; a copy by VACUUM INTO is not
    "synchronous = FULL",
    # Four times SQLite's own: with 500 writes a commit a third faster, and 16 MB on the disk.
    "wal_autocheckpoint = 4000",  # pages
    "journal_size_limit = 67108864",  # bytes that stay after a bulk load
    "cache_size = -32768",  # KiB
    # A view that people made on a table must not stop a build from replacing the table.
    "legacy_alter_table = 1",
)


class SQLiteStore:
    """A `Store` in the file ``path``, which is made by the first write."""

    keeps_moments = True

    def __init__(self, path: str | Path, *, name: str | None = None) -> None:
        self.name = name or f"sqlite:{path}"
        self._path = Path(path).absolute()
        self._lock = WriterLock(self._path, self.name)
        self._genesis: bytes | None = None  # bound to, though nothing is written yet
        self._connection: sqlite3.Connection | None = None
        self._empty: sqlite3.Connection | None = None  # what is read while there is no file
        self._aside: sqlite3.Connection | None = None  # of a build where there is no file
        self._writable = False
        is_there(self._path)  # refuses what is no store before anybody waits for a lock

    @property
    def exists(self) -> bool:
        """Whether the file is there; reading a store that is not finds it empty."""
        return is_there(self._path)

    # -- reading ---------------------------------------------------------------------------------

    def genesis(self) -> bytes | None:
        return self._newest().genesis() or self._genesis

    def generations(self) -> list[Generation]:
        return self._newest().generations()

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]:
        return self._newest().checkpoints(generation, partitions)

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
        return self._newest().read(generation, table, keys)

    def scan(self, table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]:
        with self.view() as view:
            yield from view.scan(table, after=after)

    def rejections(self, table: str | None = None) -> Iterator[Rejection]:
        with self.view() as view:
            yield from view.rejections(table)

    def letters(
        self, table: str | None = None, *, item: Item | None = None
    ) -> Iterator[DeadLetter]:
        with self.view() as view:
            yield from view.letters(table, item=item)

    def foreign(self) -> Iterator[Foreign]:
        with self.view() as view:
            yield from view.foreign()

    @contextmanager
    def view(self) -> Iterator[Reader]:
        # A connection of its own: one transaction of it is one moment, whatever we write here.
        with translated(self.name):
            connection = connect_to_read(self._path) if self.exists else _nothing()
        try:
            with translated(self.name):
                connection.execute("BEGIN")
                connection.execute("SELECT 1 FROM _binlog_meta").fetchall()  # the moment
            yield SQLiteReader(connection, self.name)
        finally:
            connection.close()

    def _newest(self) -> SQLiteReader:
        if self._connection is None:
            with translated(self.name):
                if not self.exists:
                    self._empty = self._empty or _nothing()
                    return SQLiteReader(self._empty, self.name)
                self._connection = connect_to_read(self._path)
        return SQLiteReader(self._connection, self.name)

    def pace(self) -> bytes | None:
        return self._newest().pace()

    # -- writing ---------------------------------------------------------------------------------

    def set_pace(self, setting: bytes | None) -> None:
        if not self.exists:
            raise no_store_yet(self.name)
        with translated(self.name):
            # Beside whoever holds the lock: SQLite puts the two transactions one after the other.
            connection = connect(self._path)
            try:
                put_pace(connection, setting)
            finally:
                connection.close()

    def lock(self, *, wait_s: float = 5.0) -> None:
        self._lock.acquire(wait_s)

    def bind(self, genesis: bytes) -> None:
        bound = self.genesis()
        check_binding(self.name, bound, genesis)
        if bound is None:
            self.lock()
            self._genesis = genesis
            if self.exists:
                self._writing()

    def create(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Generation:
        generation = new_generation(tables, fingerprint, excluded)
        connection = self._writing()
        with translated(self.name), transaction(connection):
            check_creation(self.name, self.generations(), generation)
            put_generation(connection, generation)
            for table in generation.tables:
                create_table(connection, generation.id, table)
        return generation

    def describe(
        self,
        generation: str,
        *,
        fingerprint: str,
        types: Iterable[str],
        excluded: Iterable[str] = (),
    ) -> None:
        connection = self._writing()
        reader = SQLiteReader(connection, self.name)
        with translated(self.name), transaction(connection):
            known = next((g for g in reader.generations() if g.id == generation), None)
            if known is None:
                raise lost_generation(self.name, generation)
            made = described(known, fingerprint, types, excluded)
            connection.execute(
                "UPDATE _binlog_generations SET fingerprint = ?, types = ?, excluded = ? WHERE id = ?",
                (
                    made.fingerprint,
                    msgspec.json.encode(made.types).decode(),
                    msgspec.json.encode(made.excluded).decode(),
                    generation,
                ),
            )

    def commit(
        self,
        generation: str,
        writes: Sequence[Write],
        checkpoints: Sequence[Checkpoint],
        *,
        rejections: Sequence[Rejection] = (),
        tables: Iterable[str] = (),
        foreign: Sequence[Foreign] = (),
        relayed: Sequence[Place] = (),
        letters: Sequence[DeadLetter] = (),
        settled: Sequence[LetterPlace] = (),
    ) -> list[Write]:
        check_unique(writes)
        connection = self._writing()
        reader = SQLiteReader(connection, self.name)
        with translated(self.name):
            return commit(
                connection,
                reader,
                generation,
                writes,
                checkpoints,
                rejections,
                tables,
                foreign,
                relayed,
                letters,
                settled,
            )

    def build(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> SQLiteBuild:
        made = new_generation(tables, fingerprint, excluded)
        self.lock()
        with translated(self.name):
            remove_files(self._path)
            if not self.exists:
                return self._build_aside(made)
            connection = self._writing()
            remove_hidden(connection)

        def undone() -> None:
            remove_files(self._path)  # first: on a full disk it makes room for the other
            remove_hidden(connection)

        return SQLiteBuild(
            connection, made, path=self._path, name=self.name, done=lambda: None, undone=undone
        )

    def _build_aside(self, made: Generation) -> SQLiteBuild:
        aside = aside_path(self._path, made.id)
        with self._nothing_left():
            connection = self._aside = new_file(aside)
            self._put_genesis(connection)

        def done() -> None:
            self._disconnect()
            with self._nothing_left():
                put_in_place(connection, aside, self._path)

        def undone() -> None:
            connection.close()
            remove_files(self._path)

        return SQLiteBuild(
            connection, made, path=self._path, name=self.name, done=done, undone=undone
        )

    def close(self) -> None:
        if self._aside is not None:  # a build that nobody finished; the next one removes it
            self._aside.close()
        self._disconnect()
        self._lock.release()

    def _writing(self) -> sqlite3.Connection:
        """The connection that may write: locked, the file made, bound to its log."""
        self.lock()
        if self._connection is not None and self._writable:
            return self._connection
        self._disconnect()
        with translated(self.name):
            if not self.exists:
                self._make()
            connection = connect(self._path)
            for pragma in _WRITER:
                connection.execute(f"PRAGMA {pragma}")
            bring_up_to_date(connection)
            self._connection, self._writable = connection, True
            bound = self._newest().genesis()
            if self._genesis is not None:
                check_binding(self.name, bound, self._genesis)
                if bound is None:
                    with transaction(connection):
                        self._put_genesis(connection)
        return connection

    def _make(self) -> None:
        """An empty store, whole or not at all."""
        remove_files(self._path)
        aside = aside_path(self._path, new_generation(None, "", ()).id)
        with self._nothing_left():
            connection = new_file(aside)
            self._put_genesis(connection)
            put_in_place(connection, aside, self._path)

    @contextmanager
    def _nothing_left(self) -> Iterator[None]:
        """Remove the files of a build that ended badly: a disk that was full may be so of them."""
        try:
            yield
        except BaseException:
            remove_files(self._path)
            raise

    def _put_genesis(self, connection: sqlite3.Connection) -> None:
        if self._genesis is not None:
            connection.execute("INSERT INTO _binlog_meta VALUES ('genesis', ?)", (self._genesis,))

    def _disconnect(self) -> None:
        for connection in (self._connection, self._empty):
            if connection is not None:
                connection.close()
        self._connection, self._empty, self._writable = None, None, False


def _nothing() -> sqlite3.Connection:
    """What a store that is not there yet holds."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(META)
    return connection
