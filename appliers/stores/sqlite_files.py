"""Connections to SQLite files, and looks at a file that take nobody's locks away.

POSIX gives a process its locks on a file, and takes all of them when it closes any descriptor of that
file (https://www.sqlite.org/howtocorrupt.html, "locks canceled by a separate thread doing close()").
SQLite knows, and closes none while it has another connection to the file; whoever opens a file that is
a database of this process and closes it again has no such excuse. A connection that lost its lock so is
nobody's: the next process that leaves takes itself for the last one and removes the write-ahead log, and
what is committed from then on goes into a file without a name.

So the header of a file is read by a descriptor only while no connection of this process is open to it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from urllib.parse import quote
from weakref import WeakSet

WAIT_S = 5.0  # for another process's hand on the file
_File = tuple[int, int]  # device and inode: a name may come to be another file's


class Connection(sqlite3.Connection):
    """One that is known to be open, until it is closed or nobody holds it any more."""

    file: _File | None = None

    def close(self) -> None:
        """As any; known to be open until it is not, since the last one may have much to tidy up."""
        super().close()
        with _changing:
            if self.file is not None and (known := _open.get(self.file)) is not None:
                known.discard(self)
                if not known:
                    del _open[self.file]


_changing = threading.RLock()
_open: dict[_File, WeakSet[Connection]] = {}


def _in_child() -> None:
    """Another thread may have held it where the process was copied."""
    global _changing  # noqa: PLW0603 - one a process
    _changing = threading.RLock()


os.register_at_fork(after_in_child=_in_child)


def connect(path: Path, *, parameters: str = "mode=rw") -> sqlite3.Connection:
    """A connection in autocommit: transactions are begun and ended in words."""
    with _changing:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?{parameters}",
            uri=True,
            isolation_level=None,
            timeout=WAIT_S,
            check_same_thread=False,
            cached_statements=256,
            factory=Connection,
        )
        connection.file = _file_at(path)
        if connection.file is not None:
            _open.setdefault(connection.file, WeakSet()).add(connection)
    return connection


def header_of(path: Path, size: int) -> bytes | None:
    """The first ``size`` bytes of a file; ``None`` if it is open here, as the database that it is.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    with _changing:
        file = _file_at(path)
        if file is not None and _open.get(file):
            return None
        with path.open("rb") as opened:
            return opened.read(size)


def _file_at(path: Path) -> _File | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
