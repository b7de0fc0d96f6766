"""What a store looks like inside an SQLite file, and how to know one.

The file's header names it: application id "BLOG" at byte 68, format at byte 60 (``user_version``).
Each table of the log is one SQLite table, as far as possible of the same name, for people::

    sqlite3 FILE 'select key, version, item from "orders" where not tombstone limit 5'

    key_bytes   BLOB     canonical bytes of the key, the order of the table
    key         TEXT     the same as DynamoDB JSON, to read; what counts is key_bytes
    version     INTEGER  of the last event folded into it
    partition   INTEGER
    tombstone   INTEGER  1: deleted, and item is null
    parked      INTEGER  1: an event could not be applied, later ones wait behind it
    tail        INTEGER  version of the last event that waits
    item        TEXT     the whole item as DynamoDB JSON, key attributes included

Beside them::

    _binlog_meta         genesis: the bytes of the log's genesis record; pace: what its consumers
                         are to go by, JSON
    _binlog_generations  the live generations: id, open, fingerprint, excluded and types (JSON)
    _binlog_tables       which table is of which generation, and the SQLite table that it is in
    _binlog_checkpoints  how far each partition is applied in each generation; a sequence number
                         has up to 56 digits, so it is text; seen_ms: when the log was seen to end
                         there, null where nobody knows (format 3)
    _binlog_rejections   events whose expected version was not the item's
    _binlog_letters      events that wait behind a parked item, or stand alone; event: the whole of it
                         (`appliers.letters`), msgpack (format 3)
    _binlog_foreign      records of the stream that are nobody's of this log, whole; of one that was
                         relayed only its place (format 2)

No column is NUMERIC: that affinity rewrites the text '1.0'. Names of SQLite tables do not
differ by case and names of a log's tables do, so `sqlite_name` gives the second of ``Users`` and
``users`` a number after a tilde, which no table name of a log can hold.

``WITHOUT ROWID`` and pages of 4 KB were measured: rows in key order make a scan sequential; larger
pages load 10 % faster and commit 25 % slower, since every page that a commit touches is written.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from appliers.stores.sqlite_files import header_of
from binlog.errors import MismatchError, StorageError, UpgradeError

APPLICATION_ID = int.from_bytes(b"BLOG", "big")
FORMAT = 3  # 1 had no foreign records, 2 no `seen_ms` and letters; the first writer adds them
PREFIX = "_binlog_"
BUILD_PREFIX = "_binlog_build_"

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100

SEEN_COLUMN = "seen_ms INTEGER"
FOREIGN_TABLE = """
CREATE TABLE _binlog_foreign (
    shard TEXT NOT NULL, sequence TEXT NOT NULL, partition_key TEXT NOT NULL,
    arrival_ms INTEGER NOT NULL, data BLOB NOT NULL, relayed INTEGER NOT NULL,
    PRIMARY KEY (shard, sequence)) WITHOUT ROWID;
"""
LETTERS = "_binlog_letters"
LETTERS_TABLE = f"""
CREATE TABLE {LETTERS} (
    generation TEXT NOT NULL, table_name TEXT NOT NULL, partition INTEGER NOT NULL,
    key_bytes BLOB NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, alone INTEGER NOT NULL,
    id TEXT NOT NULL, type TEXT NOT NULL, reason TEXT NOT NULL, event BLOB NOT NULL,
    PRIMARY KEY (generation, table_name, partition, key_bytes, alone, version)) WITHOUT ROWID;
"""
META = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
CREATE TABLE _binlog_meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE _binlog_generations (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, open INTEGER NOT NULL,
    fingerprint TEXT NOT NULL, excluded TEXT NOT NULL, types TEXT NOT NULL);
CREATE TABLE _binlog_tables (
    name TEXT PRIMARY KEY, generation TEXT NOT NULL, sqlite_name TEXT NOT NULL UNIQUE);
CREATE TABLE _binlog_checkpoints (
    generation TEXT NOT NULL, partition INTEGER NOT NULL, shard TEXT NOT NULL,
    sequence TEXT NOT NULL, offset INTEGER NOT NULL, applied INTEGER NOT NULL,
    digest BLOB NOT NULL, state BLOB NOT NULL, {SEEN_COLUMN},
    PRIMARY KEY (generation, partition));
CREATE TABLE _binlog_rejections (
    generation TEXT NOT NULL, table_name TEXT NOT NULL, partition INTEGER NOT NULL,
    offset INTEGER NOT NULL, key_bytes BLOB NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL,
    expected INTEGER NOT NULL, found INTEGER NOT NULL,
    PRIMARY KEY (generation, table_name, partition, offset, key_bytes)) WITHOUT ROWID;
{LETTERS_TABLE}{FOREIGN_TABLE}"""

TABLE = """
CREATE TABLE {} (
    key_bytes BLOB NOT NULL PRIMARY KEY, key TEXT NOT NULL, version INTEGER NOT NULL,
    partition INTEGER NOT NULL, tombstone INTEGER NOT NULL, parked INTEGER NOT NULL,
    tail INTEGER NOT NULL, item TEXT) WITHOUT ROWID
"""
COLUMNS = "key_bytes, key, version, partition, tombstone, parked, tail, item"


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def sqlite_name(table: str, taken: Iterable[str]) -> str:
    """The SQLite table for ``table``: its own name wherever that is free.

    ``taken`` are the names of whatever else is in the file.
    """
    lowered = {name.lower() for name in taken}
    name = table
    if table.lower().startswith(("sqlite_", PREFIX)):  # SQLite's, and ours
        name = f"~{table}"
    number = 1
    candidate = name
    while candidate.lower() in lowered:
        number += 1
        candidate = f"{name}~{number}"
    return candidate


def names_in(connection: sqlite3.Connection) -> list[str]:
    """The names of everything in the file."""
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]


def is_there(path: Path) -> bool:
    """Whether there is a store in the file, judged by its header alone.

    A file that does not exist or is empty is none yet; nothing is lost by making one there.

    Raises:
        MismatchError: the file is something else.
        UpgradeError: a store of a newer format.
        StorageError: it cannot be read.
    """
    try:
        header = header_of(path, _HEADER_BYTES)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(
            f"cannot read the store ({error.strerror})", f"sqlite:{path}", "see its permissions"
        ) from error
    if header is None:
        return True  # open here: it was looked at before, and a store is put in place as a whole
    if not header:
        return False
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise MismatchError("not an SQLite file", f"sqlite:{path}", "name another file")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise MismatchError(
            "an SQLite file, but no store of binlog", f"sqlite:{path}", "name another file"
        )
    found = int.from_bytes(header[60:64], "big")
    if found > FORMAT:
        raise UpgradeError(
            f"store format {found}, this code knows up to {FORMAT}",
            f"sqlite:{path}",
            "upgrade binlog",
            found=found,
            expected=FORMAT,
        )
    return True


def sidecars(path: Path) -> list[Path]:
    """What SQLite keeps beside the file.

    Left over from another file of that name, a journal would be replayed into the new one.
    """
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in the directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
