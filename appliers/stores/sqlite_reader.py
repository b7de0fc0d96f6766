"""Reading an open SQLite file: the newest, or one moment within a read transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter, Item
from appliers.store import Checkpoint, Generation
from appliers.stores.generations import lost_generation, lost_table
from appliers.stores.sqlite_errors import translated
from appliers.stores.sqlite_files import connect
from appliers.stores.sqlite_letters import read_letters
from appliers.stores.sqlite_rows import SELECTED, decode_rows, select_rows
from appliers.stores.sqlite_schema import quoted, sidecars
from binlog.errors import DamageError
from binlog.foreign import Foreign, Place

_KEYS_MAX = 500  # of one statement; older SQLites bind 999 values at most
_NOT_WRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, also where the directory cannot be written.

    Read-write at first, since the last one to leave a file in WAL mode tidies up behind it.
    """
    connection = connect(path)
    try:
        connection.execute("PRAGMA query_only = 1")
        connection.execute("SELECT 1 FROM _binlog_meta LIMIT 1").fetchall()
    except sqlite3.OperationalError as error:
        connection.close()
        wal = sidecars(path)[0]
        if error.sqlite_errorcode & 0xFF not in _NOT_WRITABLE:
            raise
        if wal.exists() and wal.stat().st_size:
            raise  # content that only who may write the directory can see
        connection = connect(path, parameters="mode=ro&immutable=1")
    return connection


class SQLiteReader:
    """Reads by a connection that stays its owner's."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self.name = name

    def genesis(self) -> bytes | None:
        found: bytes | None = self._one("SELECT value FROM _binlog_meta WHERE name = 'genesis'")
        return found

    def pace(self) -> bytes | None:
        found: bytes | None = self._one("SELECT value FROM _binlog_meta WHERE name = 'pace'")
        return found

    def generations(self) -> list[Generation]:
        rows = self._all(
            "SELECT id, open, fingerprint, excluded, types, name FROM _binlog_generations"
            " LEFT JOIN _binlog_tables ON generation = id ORDER BY number, name"
        )
        found: dict[str, Generation] = {}
        for id_, open_, fingerprint, excluded, types, table in rows:
            known = found.get(id_)
            found[id_] = Generation(
                id=id_,
                tables=(*(known.tables if known else ()), *([table] if table else ())),
                open=bool(open_),
                fingerprint=fingerprint,
                excluded=msgspec.json.decode(excluded, type=tuple[str, ...]),
                types=msgspec.json.decode(types, type=tuple[str, ...]),
            )
        return list(found.values())

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]:
        self.check_live(generation)
        few = "" if partitions is None else f"AND partition IN ({', '.join(map(str, partitions))})"
        rows = self._all(
            f"SELECT partition, shard, sequence, offset, applied, {self._seen()}, digest, state"  # noqa: S608 - constants and numbers
            f" FROM _binlog_checkpoints WHERE generation = ? {few} ORDER BY partition",
            generation,
        )
        return {row[0]: self._checkpoint(generation, *row) for row in rows}

    def positions(self, generation: str) -> dict[int, Checkpoint]:
        """The checkpoints without their states, which may be large."""
        rows = self._all(
            f"SELECT partition, shard, sequence, offset, applied, {self._seen()}"  # noqa: S608 - constants
            " FROM _binlog_checkpoints WHERE generation = ?",
            generation,
        )
        return {row[0]: self._checkpoint(generation, *row) for row in rows}

    def _seen(self) -> str:
        """What to select: a store of an earlier format has no such column until it is written."""
        columns = self._all("SELECT name FROM pragma_table_info('_binlog_checkpoints')")
        return "seen_ms" if ("seen_ms",) in columns else "NULL"

    def _checkpoint(
        self,
        generation: str,
        partition: int,
        shard: str,
        sequence: str,
        offset: int,
        applied: int,
        seen_ms: int | None,
        digest: bytes = b"",
        state: bytes = b"",
    ) -> Checkpoint:
        try:
            if min(partition, offset, applied, seen_ms or 0) >= 0:
                return Checkpoint(
                    partition, shard, int(sequence), offset, applied, digest, state, seen_ms
                )
            why = "a number below 0"
        except (TypeError, ValueError) as error:
            why = str(error)
        # Never read as "from the start".
        raise DamageError(
            f"a checkpoint of generation {generation} is damaged ({why})",
            self.name,
            "was it changed by hand? rebuild the store",
            partition=partition,
        )

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
        self.check_live(generation)
        owner, sqlite_name = self.places().get(table, (generation, ""))
        if owner != generation:
            raise lost_table(self.name, generation, table)
        return self.rows(table, sqlite_name, keys) if sqlite_name else {}

    def rows(self, table: str, sqlite_name: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
        """The rows of these keys that are in an SQLite table."""
        found: dict[bytes, Row] = {}
        with translated(self.name):
            for start in range(0, len(keys), _KEYS_MAX):
                some = keys[start : start + _KEYS_MAX]
                marks = ", ".join("?" * len(some))
                cursor = self._connection.execute(
                    f"SELECT {SELECTED} FROM {quoted(sqlite_name)} WHERE key_bytes IN ({marks})",  # noqa: S608 - quoted
                    some,
                )
                found.update(decode_rows(cursor, table, self.name))
        return found

    def scan(self, table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]:
        place = self.places().get(table)
        if place is None:
            return
        with translated(self.name):
            cursor = self._connection.execute(*select_rows(place[1], after=after))
            yield from decode_rows(cursor, table, self.name)

    def rejections(self, table: str | None = None) -> Iterator[Rejection]:
        with translated(self.name):
            # Joined, since a build that goes on writes its own here before it is live.
            cursor = self._connection.execute(
                "SELECT partition, offset, table_name, key_bytes, id, expected, found"
                " FROM _binlog_rejections JOIN _binlog_tables USING (generation)"
                " WHERE table_name = name AND (?1 IS NULL OR name = ?1)"
                " ORDER BY table_name, partition, offset, key_bytes",
                (table,),
            )
            for row in cursor:
                yield Rejection(*row)

    def letters(
        self, table: str | None = None, *, item: Item | None = None
    ) -> Iterator[DeadLetter]:
        with translated(self.name):
            yield from read_letters(self._connection, table, item)

    def foreign(self) -> Iterator[Foreign]:
        if not self._one("SELECT 1 FROM sqlite_master WHERE name = '_binlog_foreign'"):
            return  # of an earlier format, and not written since
        with translated(self.name):
            cursor = self._connection.execute(
                "SELECT shard, sequence, partition_key, arrival_ms, data FROM _binlog_foreign"
                " WHERE NOT relayed ORDER BY shard, length(sequence), sequence"
            )
            for shard, sequence, key, arrival_ms, data in cursor:
                yield Foreign(shard, int(sequence), key, arrival_ms, data)

    def relayed(self) -> Iterator[Place]:
        if not self._one("SELECT 1 FROM sqlite_master WHERE name = '_binlog_foreign'"):
            return
        with translated(self.name):
            cursor = self._connection.execute(
                "SELECT shard, sequence FROM _binlog_foreign WHERE relayed"
                " ORDER BY shard, length(sequence), sequence"
            )
            for shard, sequence in cursor:
                yield shard, int(sequence)

    def places(self) -> dict[str, tuple[str, str]]:
        """Of each table that somebody has: its generation, and its SQLite table."""
        rows = self._all("SELECT name, generation, sqlite_name FROM _binlog_tables")
        return {name: (generation, sqlite_name) for name, generation, sqlite_name in rows}

    def check_live(self, generation: str) -> bool:
        """Whether the generation is open.

        Raises:
            LostError: it is not live.
        """
        found = self._one("SELECT open FROM _binlog_generations WHERE id = ?", generation)
        if found is None:
            raise lost_generation(self.name, generation)
        return bool(found)

    def _all(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        with translated(self.name):
            return self._connection.execute(statement, arguments).fetchall()

    def _one(self, statement: str, *arguments: object) -> Any:
        rows = self._all(statement, *arguments)
        return rows[0][0] if rows else None
