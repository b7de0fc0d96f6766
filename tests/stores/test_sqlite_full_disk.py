"""A disk that is full under a build: its files are gone when it is over, whatever step met it."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from appliers.stores import SQLiteStore
from appliers.stores.sqlite_build import remove_files
from appliers.stores.sqlite_files import connect
from binlog.errors import StorageError
from tests.contracts.store_contract import begun, checkpoint, content, key, put, row

BUILT = {0: checkpoint(0, 9)}


def build(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        store.bind(b"genesis")
        made = store.build(tables=None, fingerprint="", excluded=())
        try:
            part = made.part()
            part.load("users", [(key(f"{n:04}"), row(str(n), 1)) for n in range(2_000)])
            part.close()
            made.adopt([part])
            made.finish(BUILT, tables=["users"])
        except BaseException:
            made.abandon()
            raise


def create(path: Path) -> None:
    with closing(SQLiteStore(path)) as store:
        store.create(tables=None, fingerprint="", excluded=())


def beside(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir() if each.name != f"{path.name}.lock")


@pytest.mark.parametrize("pages", [2, 4, 8, 20, 40])
def test_a_build_of_a_new_store_leaves_nothing_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    """From the first page of its schema on: what it leaves fills the disk that it needs."""

    def small(path: Path, **how: str) -> sqlite3.Connection:
        connection = connect(path, **how)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr("appliers.stores.sqlite_build.connect", small)
    with pytest.raises(StorageError, match="the disk is full"):
        build(tmp_path / "r.db")
    assert beside(tmp_path / "r.db") == []


@pytest.mark.parametrize("first_write", ["a build", "a generation"])
def test_a_store_that_cannot_be_put_in_place_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_write: str
) -> None:
    """The last step counts, too: by then the build says that it is over."""

    def full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "r.db"
    write = build if first_write == "a build" else create
    with pytest.raises(StorageError, match="No space left"):
        write(path)
    assert beside(path) == []


def test_parts_are_gone_though_the_store_has_no_room_to_forget_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a store that is there: its files go first, which makes room for the rest."""
    path = tmp_path / "r.db"
    with closing(SQLiteStore(path)) as store:
        _, generation = begun(lambda: store)
        store.commit(generation, [put("a", 1)], [])
        made = store.build(tables=None, fingerprint="", excluded=())
        part = made.part()
        part.load("users", [(key("b"), row("b", 2))])
        part.close()

        def full(connection: sqlite3.Connection) -> NoReturn:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr("appliers.stores.sqlite.remove_hidden", full)
        with pytest.raises(Exception, match="full"):
            made.abandon()
        assert not [name for name in beside(path) if ".build-" in name]
        assert key("a") in content(store)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """SQLite's journal of a commit with parts attached, by the name that it gives it."""
    for name in ("r.db", f"r.db.build-{'5f' * 16}"):
        (tmp_path / f"{name}-mj549F9E933").touch()
    (tmp_path / "r.db-mj").touch()  # nothing of ours
    return tmp_path / "r.db"


def test_the_journal_of_a_commit_over_parts_is_removed(left: Path) -> None:
    remove_files(left)
    assert beside(left) == ["r.db-mj"]
