"""A store in an SQLite file whose process is killed, or whose disk is full, at any moment."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliers.item import Row, Write
from appliers.store import Checkpoint
from appliers.stores import SQLiteStore
from binlog.errors import StorageError
from binlog.values import encode_item
from tests.contracts.build_contract import state
from tests.contracts.store_contract import GENESIS, begun, content, key, put, row
from tests.stores.processes import Say, forked, passes, wait_for_the_end
from tests.stores.soundness import assert_sound


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "store.db"
    if (tmp_path / "store.db").exists():
        assert_sound(tmp_path / "store.db")


def begin(path: Path) -> str:
    with closing(SQLiteStore(path)) as store:
        return begun(lambda: store)[1]


def applied(store: SQLiteStore, generation: str) -> int:
    """The offset of the checkpoint; the items must be exactly those up to it."""
    found = store.checkpoints(generation)
    offset = found[0].applied if found else 0
    versions = sorted(row.version for row in content(store).values())
    assert versions == list(range(1, offset + 1))
    return offset


def commits(store: SQLiteStore, generation: str, start: int) -> Iterator[int]:
    """Commit items one by one, each with its checkpoint; yields what is acknowledged."""
    for offset in range(start, 100_000):
        item = encode_item({"id": f"k{offset}", "payload": "x" * 3_000})
        write = Write("orders", key(f"k{offset}"), Row(offset, 0, item), None)
        place = Checkpoint(0, "s0", offset, offset, offset, b"", b"")
        assert store.commit(generation, [write], [place]) == []
        yield offset


# -- killed --------------------------------------------------------------------------------------


def test_a_writer_that_is_killed_leaves_every_acknowledged_commit_whole(path: Path) -> None:
    """State and position belong together at every moment: a new one with the old other is loss."""
    generation = begin(path)
    acknowledged = 0

    def work(say: Say) -> None:
        with closing(SQLiteStore(path)) as store:
            for offset in commits(store, generation, acknowledged + 1):
                say(b"%d " % offset)

    for _ in range(4):
        with forked(work) as (pid, said):
            heard = b""
            while heard.count(b" ") < 30:
                heard += said()
            os.kill(pid, signal.SIGKILL)
            while more := said():
                heard += more
        last = int(heard.split()[-1])
        with closing(SQLiteStore(path)) as store:
            found = applied(store, generation)
        assert last <= found <= last + 1
        acknowledged = found


@pytest.mark.parametrize("exists", [False, True])
def test_a_build_that_is_killed_leaves_what_was_there_and_the_next_one_tidies(
    path: Path, exists: bool
) -> None:
    """Half a table must never be seen, and the disk not fill with attempts."""
    if exists:
        generation = begin(path)
        with closing(SQLiteStore(path)) as store:
            store.commit(generation, [put("old", 1)], [])
    with closing(SQLiteStore(path)) as store:
        before = state(store)

    def work(say: Say) -> None:
        store = SQLiteStore(path)
        store.bind(GENESIS)
        build = store.build(tables=None, fingerprint="", excluded=())
        build.load("orders", [(key(f"k{n}"), row(f"k{n}", 1)) for n in range(500)])
        part = build.part()
        part.load("users", [(key("a"), row("a", 1))])
        part.close()
        build.adopt([part])
        build.part().load("users", [(key("b"), row("b", 1))])
        wait_for_the_end(say)

    for _ in range(2):
        with forked(work) as (_, said):
            assert said() == b"!"
        assert path.exists() == exists
        assert any(".build-" in entry.name for entry in path.parent.iterdir())
        with closing(SQLiteStore(path)) as store:
            assert state(store) == before
    with closing(SQLiteStore(path)) as store:
        store.bind(GENESIS)
        build = store.build(tables=None, fingerprint="", excluded=())
        build.load("orders", [(key("new"), row("new", 2))])
        build.finish({}, tables=[])
        assert content(store) == {key("new"): row("new", 2)}
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["store.db", "store.db.lock"]
    if not exists:  # nothing of the dead attempts came along
        assert path.stat().st_size < 100_000


@pytest.mark.parametrize("step", ["put_generation", "note_table", "put_checkpoints"])
def test_a_switch_that_fails_half_way_changes_nothing(
    path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables dropped and not yet replaced, or rows without their checkpoints, must not be seen."""
    generation = begin(path)
    with closing(SQLiteStore(path)) as store:
        store.commit(generation, [put("old", 1)], [Checkpoint(0, "s0", 1, 1, 1, b"", b"")])
        before = state(store)
        build = store.build(tables=None, fingerprint="", excluded=())
        build.load("orders", [(key("new"), row("new", 1))])
        build.load("users", [(key("new"), row("new", 1))])

        def fail(*_: object) -> None:
            raise OSError(5, "pulled the plug")

        monkeypatch.setattr(f"appliers.stores.sqlite_build.{step}", fail)
        with pytest.raises(StorageError, match="pulled the plug"):
            build.finish({}, tables=[])
        assert state(store) == before
        monkeypatch.undo()
        build.finish({}, tables=[])
        assert set(content(store)) == {key("new")}


def test_files_that_only_look_like_ours_are_left_alone(path: Path) -> None:
    """A person's backup beside the store is nobody's leftover."""
    names = ["store.db.build-notes", "store.db.build-" + "a" * 31, "x.store.db.build-" + "a" * 32]
    for name in names:
        path.with_name(name).touch()
    ours = path.with_name(f"store.db.build-{'a' * 32}.part-3-journal")
    ours.touch()
    with closing(SQLiteStore(path)) as store:
        store.build(tables=None, fingerprint="", excluded=()).finish({}, tables=["orders"])
    assert not ours.exists()
    assert all(path.with_name(name).exists() for name in names)


# -- full ----------------------------------------------------------------------------------------


def limited(bytes_max: int, work: Callable[[], object]) -> Callable[[], object]:
    """``work`` with files of at most so many bytes; for a child."""

    def limit_and_work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))
        work()

    return limit_and_work


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    assert ".db" in str(error)
    return str(error)


def until_refused(running: Iterator[int], done: int) -> tuple[int, StorageError]:
    """The last that was acknowledged, and why there is no further one."""
    while True:
        try:
            done = next(running)
        except StorageError as error:
            return done, error


def test_a_full_database_loses_nothing_and_goes_on_when_there_is_room(path: Path) -> None:
    """SQLite rolls back by itself here; the handle must survive that."""
    generation = begin(path)
    with closing(SQLiteStore(path)) as store:
        running = commits(store, generation, 1)
        done = [next(running) for _ in range(3)][-1]
        connection = store._connection
        assert connection is not None
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 5}")
        done, error = until_refused(running, done)
        assert "the disk is full" in one_line(error)
        assert applied(store, generation) == done
        connection.execute("PRAGMA max_page_count = 1000000")
        assert next(commits(store, generation, done + 1)) == done + 1
        assert applied(store, generation) == done + 1


def test_a_commit_that_the_disk_refuses_is_not_acknowledged_and_nothing_else_is_lost(
    path: Path,
) -> None:
    """An error of the operating system in the middle of a write."""
    generation = begin(path)
    told = path.with_name("told")

    def work() -> None:
        with closing(SQLiteStore(path)) as store:
            done, error = until_refused(commits(store, generation, 1), 0)
            assert one_line(error)
            assert applied(store, generation) == done
            told.write_text(str(done))

    assert passes(limited(200_000, work))
    with closing(SQLiteStore(path)) as store:
        found = applied(store, generation)
        assert int(told.read_text()) == found > 0
        assert next(commits(store, generation, found + 1)) == found + 1


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.99])
def test_a_build_that_the_disk_refuses_leaves_what_was_there(
    path: Path, exists: bool, share: float
) -> None:
    """At its start, in the middle and at its end."""
    with closing(SQLiteStore(path.with_name("model.db"))) as store:
        build_much(store)
    bytes_max = int(path.with_name("model.db").stat().st_size * share)
    if exists:
        generation = begin(path)
        with closing(SQLiteStore(path)) as store:
            store.commit(generation, [put("old", 1)], [])
    with closing(SQLiteStore(path)) as store:
        before = state(store)

    def work() -> None:
        with closing(SQLiteStore(path)) as store:
            with pytest.raises(StorageError) as caught:
                build_much(store)
            assert one_line(caught.value)

    assert passes(limited(bytes_max, work))
    with closing(SQLiteStore(path)) as store:
        assert state(store) == before
        assert path.exists() == exists
        build_much(store)
        assert len(content(store)) == 6_000


def build_much(store: SQLiteStore) -> None:
    """About 2 MB, a third of it by a part."""
    rows = [(key(f"k{n}"), row(f"k{n}", n + 1)) for n in range(6_000)]
    store.bind(GENESIS)
    build = store.build(tables=None, fingerprint="", excluded=())
    try:
        part = build.part()
        part.load("orders", rows[:2_000])
        part.close()
        build.load("orders", rows[2_000:])
        build.load("users", rows)
        build.adopt([part])
        build.finish({}, tables=[])
    except BaseException:
        build.abandon()
        raise
