"""`verify STORE LOG`: a store against what the log makes of its own vectors and exclusions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliers.stores.sqlite_files import connect
from tests.check.replicas import flip, last_segment
from tests.cli.running import append, binlog

APPLIERS = ("--appliers", "tests.cli.rules_for_cli:appliers")


@pytest.fixture
def log(tmp_path: Path) -> str:
    address = f"file:{tmp_path / 'log'}"
    binlog("init", address, "--partitions", "4")
    append(address, *({"id": f"u{n % 20}", "n": n} for n in range(60)))
    append(address, {"Action": "DeleteItem", "Table": "users", "Key": {"id": "u3"}})
    append(address, *({"id": f"o{n}", "n": n} for n in range(5)), table="orders")
    return address


@pytest.fixture
def store(tmp_path: Path, log: str) -> str:
    address = f"sqlite:{tmp_path / 'replica.db'}"
    assert binlog("rebuild", log, address).status == 0
    return address


def verify(store: str, log: str, *more: str) -> tuple[int, dict[str, Any]]:
    ran = binlog("verify", store, log, *more, "--json")
    [found] = ran.lines
    return ran.status, found


def change(tmp_path: Path, statement: str) -> None:
    with closing(sqlite3.connect(tmp_path / "replica.db")) as connection, connection:
        assert connection.execute(statement).rowcount == 1


def test_a_replica_is_what_its_log_says(log: str, store: str) -> None:
    """Also when the log has gone on since: the store's own vector counts."""
    assert verify(store, log) == (
        0,
        {"equal": True, "tables": {"orders": {"differing": []}, "users": {"differing": []}}},
    )
    append(log, {"id": "u1", "n": 99}, {"id": "later", "n": 1})
    assert verify(store, log)[0] == 0
    assert "equal: 25 keys in 2 tables" in binlog("verify", store, log).out


def test_a_changed_and_a_missing_row_are_named(log: str, store: str, tmp_path: Path) -> None:
    """The store is the left side, the log the right one."""
    change(
        tmp_path, "UPDATE users SET item = json_set(item, '$.n.N', '7') WHERE key LIKE '%\"u9\"%'"
    )
    change(tmp_path, "DELETE FROM orders WHERE key LIKE '%o2%'")
    change(tmp_path, "DELETE FROM users WHERE tombstone")
    status, found = verify(store, log)
    assert (status, found["equal"]) == (1, False)
    [order] = found["tables"]["orders"]["differing"]
    assert order["key"] == {"id": "o2"}
    assert order["left"] is None
    assert order["right"] == {"id": "o2", "n": 2}
    users = {entry["key"]["id"]: entry for entry in found["tables"]["users"]["differing"]}
    assert set(users) == {"u9", "u3"}
    assert (users["u9"]["left"]["n"], users["u9"]["right"]["n"]) == (7, 49)
    assert (users["u3"]["left_version"], users["u3"]["right"]) == (0, None)
    assert users["u3"]["right_version"] > 0


def test_each_table_is_rebuilt_as_the_store_has_it(log: str, store: str) -> None:
    """One at another vector and with exclusions, the rest as it was (C0)."""
    binlog(
        "rebuild",
        log,
        store,
        "--table",
        "users",
        "--until",
        '{"0": 4, "1": 9}',
        "--exclude",
        "id=x",
    )
    assert verify(store, log)[0] == 0
    append(log, {"id": "o1", "n": 5}, table="orders")
    binlog("replicate", log, store, "--once")
    assert verify(store, log)[0] == 0


def test_it_needs_the_rules_that_made_it(log: str, store: str) -> None:
    """Other rules make other items: status 2, naming what differs."""
    event = {"Action": "Event", "Type": "Renamed", "Table": "users", "Key": {"id": "u1"}}
    append(log, event | {"Data": {"name": "Ann"}})
    binlog("rebuild", log, store, *APPLIERS)
    assert verify(store, log, *APPLIERS)[0] == 0
    ran = binlog("verify", store, log)
    assert (ran.status, ran.out) == (2, "")
    assert "Renamed" in ran.err
    assert "--appliers" in ran.err


def test_another_log_is_refused(log: str, store: str, tmp_path: Path) -> None:
    """Status 2: there is nothing to compare."""
    other = f"file:{tmp_path / 'other'}"
    binlog("init", other, "--partitions", "4")
    ran = binlog("verify", store, other)
    assert (ran.status, ran.out) == (2, "")
    assert "another log" in ran.err


def test_a_damaged_log_is_a_failure(log: str, store: str) -> None:
    """Status 3 with the place: nobody can say whether they are equal."""
    segment = last_segment(log)
    flip(segment, segment.stat().st_size // 2)
    ran = binlog("verify", store, log)
    assert (ran.status, ran.out) == (3, "")
    assert f"segment {segment.name} byte " in ran.err


@pytest.mark.parametrize("other", ["file:none", "sqlite:none.db", "replica.db", "kinesis://s"])
def test_what_is_not_there_is_refused(store: str, other: str) -> None:
    """Status 2, and nothing is made."""
    assert binlog("verify", store, other).status == 2


@pytest.mark.parametrize("verb", ["verify", "check"])
def test_a_full_temporary_directory_is_neither_the_log_nor_the_store(
    log: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Who frees space where the log is looks for the wrong thing."""

    def small(path: Path, **how: str) -> sqlite3.Connection:
        connection = connect(path, **how)
        connection.execute("PRAGMA max_page_count = 4")
        return connection

    monkeypatch.setattr("appliers.stores.sqlite_build.connect", small)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ran = binlog(verb, *((store, log) if verb == "verify" else (log, store)))
    assert ran.status == 3
    where = f"{tmp_path} (TMPDIR), where what the log says is put together"
    do = "make room there, or set TMPDIR to another directory"
    assert ran.err == f"binlog: the disk is full: {where}: {do}\n"
    assert not list(tmp_path.glob("binlog-*")), "and nothing is left there"


def test_the_bar_is_gone_before_the_answer(
    log: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the two share a line of the terminal, and the bar's last erasure takes the answer away."""
    said: list[str] = []

    @contextmanager
    def bar(what: str) -> Iterator[Callable[..., None]]:
        said.append(f"begins: {what}")
        yield lambda *_, **__: None
        said.append("ends")

    monkeypatch.setattr("binlog.cli.verify.progress", bar)
    monkeypatch.setattr("binlog.cli.verify.write_text", lambda *lines: said.extend(lines))
    assert binlog("verify", store, log).status == 0
    assert said == ["begins: rebuilding to compare", "ends", "equal: 25 keys in 2 tables"]
