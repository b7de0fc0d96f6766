"""What is true of the store in an SQLite file alone."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliers.item import Row, Write
from appliers.stores import SQLiteStore
from appliers.stores.sqlite_schema import APPLICATION_ID, FORMAT, sqlite_name
from binlog.errors import BusyError, DamageError, MismatchError, StorageError, UpgradeError
from binlog.values import encode_item
from tests.contracts.store_contract import GENESIS, begun, checkpoint, content, key, put, row
from tests.stores.processes import Say, as_nobody, forked, passes, wait_for_the_end
from tests.stores.soundness import assert_sound


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "it's a %41 store?.db"
    if (tmp_path / "it's a %41 store?.db").exists():
        assert_sound(tmp_path / "it's a %41 store?.db")


def by_hand(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """What a person with the sqlite3 command sees and does."""
    with closing(sqlite3.connect(path)) as connection:
        rows: list[tuple[object, ...]] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        return rows


def made(path: Path, **versions: int) -> str:
    with closing(SQLiteStore(path)) as store:
        _, generation = begun(lambda: store)
        store.commit(generation, [put(n, v) for n, v in versions.items()], [checkpoint(0, 9)])
        return generation


# -- readable by hand ----------------------------------------------------------------------------


def test_a_table_is_an_sqlite_table_of_its_name_with_key_and_item_as_json(path: Path) -> None:
    """Whoever stands before a broken machine has sqlite3 and not us."""
    item = {"id": "a", "n": 10**37, "b": b"\0\xff", "s": "it's\0\n"}
    with closing(SQLiteStore(path)) as store:
        _, generation = begun(lambda: store)
        writes = [
            Write("my-orders.v1", key("a"), Row(7, 2, encode_item(item)), 0),
            Write("my-orders.v1", key("b"), Row(8, 3, None, parked=True, tail=9), 0),
        ]
        store.commit(generation, writes, [])
    columns = "key, version, partition, tombstone, parked, tail, item, typeof(key_bytes)"
    types = "typeof(key), typeof(version), typeof(tombstone), typeof(item)"
    first, second = by_hand(path, f'SELECT {columns}, {types} FROM "my-orders.v1" ORDER BY key')
    assert first[:6] == ('{"id":{"S":"a"}}', 7, 2, 0, 0, 0)
    assert json.loads(str(first[6])) == {
        "id": {"S": "a"},
        "n": {"N": str(10**37)},
        "b": {"B": "AP8="},
        "s": {"S": "it's\0\n"},
    }
    assert first[7:] == ("blob", "text", "integer", "integer", "text")
    assert second[:7] == ('{"id":{"S":"b"}}', 8, 3, 1, 1, 9, None)


def test_tables_that_differ_by_case_and_reserved_names_are_kept_apart(path: Path) -> None:
    """To SQLite `Users` and `users` are one table, and `sqlite_x` is nobody's."""
    names = ["Users", "users", "USERS", "sqlite_users", "_binlog_meta", "_BINLOG_tables", "select"]
    with closing(SQLiteStore(path)) as store:
        _, generation = begun(lambda: store)
        for number, table in enumerate(names, 1):
            store.commit(generation, [put("a", number, table=table)], [])
        build = store.build(tables=names[:3], fingerprint="", excluded=())
        for number, table in enumerate(names[:3], 11):
            build.load(table, [(key("a"), row("a", number))])
        build.finish({}, tables=[])
        found = {table: content(store, table)[key("a")].version for table in names}
    assert list(found.values()) == [11, 12, 13, 4, 5, 6, 7]
    assert by_hand(path, 'SELECT version FROM "select"') == [(7,)]
    kept = by_hand(path, "SELECT name, sqlite_name FROM _binlog_tables ORDER BY name")
    assert [place for _, place in kept] == [
        "USERS", "Users~2", "~_BINLOG_tables", "~_binlog_meta", "select", "~sqlite_users", "users~3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "taken", "wanted"),
    [
        ("users", [], "users"),
        ("users", ["user", "users2"], "users"),
        ("users", ["USERS", "users~2"], "users~3"),
        ("SQLite_x", [], "~SQLite_x"),
        ("_Binlog_x", ["~_binlog_X"], "~_Binlog_x~2"),
    ],
)
def test_the_sqlite_name_is_the_tables_own_wherever_it_is_free(
    table: str, taken: list[str], wanted: str
) -> None:
    """A number only where two names collide."""
    assert sqlite_name(table, taken) == wanted


def test_a_view_made_by_hand_outlives_a_rebuild(path: Path) -> None:
    """People put views beside our tables; a rebuild must neither fail on one nor break it."""
    made(path, a=1)
    by_hand(path, "CREATE VIEW live AS SELECT key, version FROM orders WHERE NOT tombstone")
    with closing(SQLiteStore(path)) as store:
        build = store.build(tables=None, fingerprint="", excluded=())
        build.load("orders", [(key("b"), row("b", 5))])
        build.finish({}, tables=["live"])
    assert by_hand(path, "SELECT * FROM live") == [('{"id":{"S":"b"}}', 5)]


# -- changed by hand -----------------------------------------------------------------------------


def test_a_table_that_was_dropped_by_hand_is_rebuilt(path: Path) -> None:
    """The rebuild is the remedy for it; it must not need the table that it replaces."""
    made(path, a=1)
    by_hand(path, "DROP TABLE orders")
    with closing(SQLiteStore(path)) as store:
        build = store.build(tables=None, fingerprint="", excluded=())
        build.load("orders", [(key("b"), row("b", 5))])
        build.finish({}, tables=["orders"])
        assert [name for name, _ in store.scan("orders")] == [key("b")]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE orders SET item = 'oops' WHERE key LIKE '%b%'",
        "UPDATE orders SET item = x'ff' WHERE key LIKE '%b%'",
        "UPDATE orders SET item = NULL WHERE key LIKE '%b%'",
        'UPDATE orders SET item = \'{"id": {"N": "1e999"}}\' WHERE key LIKE \'%b%\'',
        "UPDATE orders SET version = 'seven' WHERE key LIKE '%b%'",
        "UPDATE orders SET tail = 1.5 WHERE key LIKE '%b%'",
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_the_scan_goes_on_after_it(
    tmp_path: Path, change: str
) -> None:
    """Read as absent, it would be taken for deleted."""
    path = tmp_path / "store.db"
    generation = made(path, a=1, b=2, c=3)
    by_hand(path, change)
    with closing(SQLiteStore(path)) as store:
        scan = store.scan("orders")
        assert next(scan)[0] == key("a")
        with pytest.raises(DamageError, match='"S":"b"') as caught:
            next(scan)
        assert (caught.value.table, caught.value.key) == ("orders", key("b"))
        assert [k for k, _ in store.scan("orders", after=key("b"))] == [key("c")]
        with pytest.raises(DamageError, match="rebuild"):
            store.read(generation, "orders", [key("b")])


@pytest.mark.parametrize(
    "change", ["DROP TABLE orders", "ALTER TABLE orders RENAME COLUMN tail TO tale"]
)
def test_a_store_that_lacks_a_part_says_so(tmp_path: Path, change: str) -> None:
    """And never answers as if there were nothing."""
    path = tmp_path / "store.db"
    made(path, a=1)
    by_hand(path, change)
    with closing(SQLiteStore(path)) as store, pytest.raises(DamageError, match="by hand"):
        list(store.scan("orders"))


@pytest.mark.parametrize("change", ["sequence = ''", "applied = 'x'", "offset = -1"])
def test_a_damaged_checkpoint_is_never_read_as_from_the_start(tmp_path: Path, change: str) -> None:
    """Everything would be applied again, or worse, some of it."""
    path = tmp_path / "store.db"
    generation = made(path, a=1)
    by_hand(path, f"UPDATE _binlog_checkpoints SET {change}")
    with closing(SQLiteStore(path)) as store:
        with pytest.raises(DamageError, match="checkpoint"):
            store.checkpoints(generation)
        with pytest.raises(DamageError, match="checkpoint"):
            store.commit(generation, [], [checkpoint(0, 99)])


def test_a_trigger_that_swallows_a_write_is_found(tmp_path: Path) -> None:
    """A write that changed nothing must not be counted as applied."""
    path = tmp_path / "store.db"
    generation = made(path, a=1)
    by_hand(
        path,
        "CREATE TRIGGER t BEFORE INSERT ON orders WHEN new.version = 5"
        " BEGIN SELECT RAISE(IGNORE); END",
    )
    with closing(SQLiteStore(path)) as store:
        with pytest.raises(DamageError, match="trigger"):
            store.commit(generation, [put("b", 5)], [checkpoint(0, 10)])
        assert set(content(store)) == {key("a")}
        assert store.checkpoints(generation) == {0: checkpoint(0, 9)}


def test_damage_of_the_file_is_damage(tmp_path: Path) -> None:
    """Pages of garbage are reported as such, with what to do."""
    path = tmp_path / "store.db"
    made(path, **{f"k{n}": 1 for n in range(500)})
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with closing(SQLiteStore(path)) as store, pytest.raises(DamageError, match="damaged"):
        list(store.scan("orders"))


# -- what is no store ----------------------------------------------------------------------------


def test_refuses_a_file_that_is_no_store_and_leaves_it_alone(tmp_path: Path) -> None:
    """The wrong file name must never cost somebody a database."""
    foreign = tmp_path / "foreign.db"
    by_hand(foreign, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
    text = tmp_path / "notes.txt"
    text.write_text("remember the milk " * 50)
    short = tmp_path / "short"
    short.write_bytes(b"SQLite format 3\0")
    for path, says in ((foreign, "no store of binlog"), (text, "not an SQLite"), (short, "not an")):
        before = path.read_bytes()
        with pytest.raises(MismatchError, match=says):
            SQLiteStore(path)
        assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["foreign.db", "notes.txt", "short"]


def test_refuses_a_newer_format(path: Path) -> None:
    """What a newer version wrote would be misread, then overwritten."""
    made(path, a=1)
    by_hand(path, f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(UpgradeError, match=f"format {FORMAT + 1}.* up to {FORMAT}"):
        SQLiteStore(path)


def test_an_empty_file_is_no_store_yet(path: Path) -> None:
    """`mktemp` makes one, and nothing is lost by replacing it."""
    path.touch()
    made(path, a=1)
    assert by_hand(path, "PRAGMA application_id") == [(APPLICATION_ID,)]


def test_the_journal_of_a_removed_store_is_not_replayed_into_a_new_one(tmp_path: Path) -> None:
    """`rm store.db` leaves `store.db-wal`, whose pages belong to another file."""
    path = tmp_path / "store.db"
    store = SQLiteStore(path)
    _, generation = begun(lambda: store)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    wal = path.with_name("store.db-wal")
    leftover = wal.read_bytes()
    assert leftover
    store.close()
    path.unlink()
    wal.write_bytes(leftover)
    made(path, b=2)
    with closing(SQLiteStore(path)) as again:
        assert content(again) == {key("b"): row("b", 2)}
    assert_sound(path)


# -- writers and readers -------------------------------------------------------------------------


def test_a_second_process_is_told_who_writes_and_gets_the_lock_when_that_one_dies(
    path: Path,
) -> None:
    """A killed writer leaves no lock behind."""
    made(path, a=1)
    holder = SQLiteStore(path)

    def hold(say: Say) -> None:
        holder.lock()
        wait_for_the_end(say)

    with closing(SQLiteStore(path)) as store:
        with forked(hold) as (pid, said):
            assert said() == b"!"
            with pytest.raises(BusyError, match=f"process {pid} writes") as caught:
                store.lock(wait_s=0.03)
            assert caught.value.pid == pid
        store.lock(wait_s=0)


def test_a_forked_child_does_not_keep_the_lock_of_a_parent_that_was_killed(path: Path) -> None:
    """Workers of a rebuild outlive their parent; the store must not stay locked by them."""

    def lock_and_fork(say: Say) -> None:
        SQLiteStore(path).lock()
        child = os.fork()
        if not child:
            wait_for_the_end(say)
        say(b"%d" % child)
        wait_for_the_end(say)

    with forked(lock_and_fork) as (_, said):
        heard = b""
        while heard.count(b"!") < 2:
            heard += said()
        with closing(SQLiteStore(path)) as store, pytest.raises(BusyError):
            store.lock(wait_s=0)
    child = int(heard.replace(b"!", b""))
    try:
        os.kill(child, 0)  # it is there
        with closing(SQLiteStore(path)) as store:
            store.lock(wait_s=0)
    finally:
        os.kill(child, 9)


def test_somebody_who_writes_by_hand_is_waited_for_and_then_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sqlite3 does not know our lock, and we must not hang on its transaction."""
    monkeypatch.setattr("appliers.stores.sqlite_files.WAIT_S", 0.02)
    generation = made(path, a=1)
    with closing(SQLiteStore(path)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="somebody else"):
            store.commit(generation, [put("b", 1)], [])
        other.execute("ROLLBACK")
        assert store.commit(generation, [put("b", 1)], []) == []


def test_a_commit_that_returned_is_synced(path: Path) -> None:
    """With anything less than FULL a power cut takes back what was acknowledged."""
    generation = made(path)
    with closing(SQLiteStore(path)) as store:
        store.commit(generation, [], [checkpoint(0, 10)])
        connection = store._connection
        assert connection is not None
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_new_file_is_synced_before_its_name_and_its_name_before_the_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed without a sync, a store could be there after a power cut and be empty."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append("directory" if target == path.parent else "file")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    with closing(SQLiteStore(path)) as store:
        store.bind(GENESIS)
        build = store.build(tables=None, fingerprint="", excluded=())
        build.load("orders", [(key("a"), row("a", 1))])
        assert steps == []
        build.finish({}, tables=[])
        assert steps == ["file", "rename", "directory"]
        assert content(store) == {key("a"): row("a", 1)}


def test_a_part_that_vanished_is_an_error(path: Path) -> None:
    """Attached again as an empty file, its rows would be missing without a word."""
    with closing(SQLiteStore(path)) as store:
        store.bind(GENESIS)
        build = store.build(tables=None, fingerprint="", excluded=())
        part = build.part()
        part.load("orders", [(key("a"), row("a", 1))])
        part.close()
        part.path.unlink()
        with pytest.raises(StorageError):
            build.adopt([part])
        build.abandon()
    assert not path.exists()


# -- places that cannot be written ---------------------------------------------------------------


def read_only(path: Path) -> None:
    """Nobody may write there, and everybody may get there: pytest's own folders are private."""
    path.chmod(0o444)
    path.parent.chmod(0o555)
    for parent in path.parent.parents:
        if parent == Path(tempfile.gettempdir()) or parent.stat().st_mode & 0o005 == 0o005:
            break
        parent.chmod(0o755)


def test_a_read_only_store_is_read_and_not_written(tmp_path: Path) -> None:
    """A replica on a mounted backup can be dumped and verified; a writer is told at once."""
    directory = tmp_path / "backup"
    directory.mkdir()
    path = directory / "store.db"
    generation = made(path, a=1)
    path.with_name("store.db.lock").chmod(0o444)
    read_only(path)

    def work() -> None:
        with closing(SQLiteStore(path)) as store:
            assert content(store) == {key("a"): row("a", 1)}
            assert store.checkpoints(generation) == {0: checkpoint(0, 9)}
            with pytest.raises(StorageError, match="written"):
                store.commit(generation, [put("b", 1)], [])
        with closing(SQLiteStore(directory / "new.db")) as store:
            store.bind(GENESIS)
            raise AssertionError("made a store in a read-only directory")

    def refused() -> None:
        with pytest.raises(StorageError, match="written"):
            work()

    try:
        assert passes(as_nobody(refused))
    finally:
        directory.chmod(0o755)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """One line and no trace."""
    with closing(SQLiteStore(tmp_path / "no" / "store.db")) as store:
        assert store.generations() == []
        with pytest.raises(StorageError, match="directory"):
            store.bind(GENESIS)
