"""A process that has a store open looks at its file without losing the locks that it has on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from appliers.stores import SQLiteStore
from appliers.stores.sqlite_files import connect
from appliers.stores.sqlite_schema import is_there
from binlog.address import open_log
from binlog.changes import put_item
from binlog.logs import create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from consumers.local import Following, replicate

# What `binlog status` does beside a consumer: it comes, reads, and leaves. The last one to leave a
# file tidies up behind it, and who takes itself for the last one is told so by locks alone.
VISITOR = """
import sqlite3, sys
from contextlib import closing
with closing(sqlite3.connect(sys.argv[1])) as visitor:
    print(visitor.execute("SELECT count(*) FROM orders").fetchone()[0])
"""


def visited(path: Path) -> int:
    """How many items another process finds."""
    found = subprocess.run(
        [sys.executable, "-I", "-c", VISITOR, str(path)], check=True, capture_output=True, text=True
    )
    return int(found.stdout)


def _scanned(path: Path, store: SQLiteStore) -> None:
    assert list(store.scan("orders"))


def _another(path: Path, store: SQLiteStore) -> None:
    with closing(SQLiteStore(path)) as other:
        assert other.generations()


def _asked(path: Path, store: SQLiteStore) -> None:
    assert store.exists


@pytest.mark.parametrize("look", [_asked, _scanned, _another])
def test_a_look_at_the_file_leaves_the_consumer_its_locks(
    tmp_path: Path, look: Callable[[Path, SQLiteStore], None]
) -> None:
    """Without them a visitor took the write-ahead log away, and what was committed then was lost."""
    create_directory_log(tmp_path / "log", Params(log_id="5d" * 16, partitions=1))
    path = tmp_path / "store.db"
    with (
        closing(open_log(f"file:{tmp_path / 'log'}")) as log,
        Producer(log) as producer,
        closing(SQLiteStore(path)) as store,
    ):
        for number in range(1, 4):
            producer.append(put_item("orders", {"id": str(number)}, key="id"))
            replicate(log, store, Following(once=True))
            look(path, store)
            assert visited(path) == number
            assert path.with_name("store.db-wal").exists()
    assert not path.with_name("store.db-wal").exists()  # the last one was the consumer


def test_a_file_that_is_open_here_no_more_is_looked_at_by_its_header(tmp_path: Path) -> None:
    """What is known to be open would else be believed to be a store for ever."""
    path = tmp_path / "store.db"
    with closing(SQLiteStore(path)) as store:
        store.create(tables=("orders",), fingerprint="", excluded=())
    connection = connect(path)
    assert is_there(path)
    connection.close()  # and somebody still holds it
    path.write_bytes(b"")
    assert not is_there(path)
    del connection
