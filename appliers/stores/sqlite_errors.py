"""SQLite's errors, and the operating system's under it, in our words: translated here only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from binlog.errors import BinlogError, BusyError, DamageError, StorageError

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_DO = {
    sqlite3.SQLITE_FULL: "free some space and run it again: what was committed is there",
    sqlite3.SQLITE_READONLY: "make the file and its directory writable",
    sqlite3.SQLITE_CANTOPEN: "see that the directory exists and may be written",
    sqlite3.SQLITE_PERM: "see the permissions of the file and its directory",
}
_WHAT = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the store is read-only",
}
_DO_ELSE = "see the disk and its free space, and run it again: what was committed is there"


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise what SQLite says of the store ``name`` as one of our errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, name) from error
    except OSError as error:
        raise storage_error(error, name) from error


def storage_error(error: OSError, name: str) -> StorageError:
    """The operating system refused something beside the database."""
    return StorageError(f"the store cannot be written ({error.strerror})", name, _DO_ELSE)


def translate(error: sqlite3.Error, name: str) -> BinlogError:
    """Our error for SQLite's; the code decides, its text is passed on."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _BUSY:
        return BusyError("somebody else writes to the store", name, "try again when they are done")
    if code in _DAMAGED:
        return DamageError(
            f"the file is damaged ({error})", name, "rebuild it from the log under another name"
        )
    if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_MISMATCH):
        return DamageError(
            f"the store lacks what it should have ({error})",
            name,
            "was it changed by hand? rebuild it from the log under another name",
        )
    return StorageError(
        _WHAT.get(code, f"the store cannot be read or written ({error})"),
        name,
        _DO.get(code, _DO_ELSE),
    )
