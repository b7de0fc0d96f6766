"""`check` finds each of a table of damages in a store, by rule and place, and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from appliers.applier import Appliers
from appliers.item import Row
from appliers.store import vector_of
from appliers.stores import MemoryStore, SQLiteStore
from binlog.envelope import Event
from binlog.errors import ConflictError
from binlog.logs.directory_check import Finding
from binlog.params import Params
from binlog.target import Target
from binlog.values import encode_value
from consumers.local import Following, replicate
from snapshots.check import check, check_log
from snapshots.rebuild import Wanted, rebuild
from tests.check.replicas import add, append, make_log, make_store, opened, put

Break = Callable[[sqlite3.Connection], object]


def found(log: str, path: Path) -> list[Finding]:
    with closing(SQLiteStore(path, name="sqlite:replica")) as store:
        return list(check(log, store))


@pytest.fixture
def log(tmp_path: Path) -> str:
    return make_log(tmp_path / "log")


@pytest.fixture
def path(tmp_path: Path, log: str) -> Path:
    make_store(log, tmp_path / "replica.db")
    return tmp_path / "replica.db"


def sql(*statements: str) -> Break:
    def run(connection: sqlite3.Connection) -> None:
        for statement in statements:
            changed = connection.execute(statement).rowcount
            assert changed > 0, f"{statement} changed nothing"

    return run


def swap_digests(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT partition, digest FROM _binlog_checkpoints").fetchall()
    digests = [digest for _, digest in rows]
    for (partition, _), digest in zip(rows, digests[1:] + digests[:1], strict=True):
        connection.execute(
            "UPDATE _binlog_checkpoints SET digest = ? WHERE partition = ?", (digest, partition)
        )


def move_back(connection: sqlite3.Connection) -> None:
    """Everything of a checkpoint stays but the place where reading goes on."""
    [(sequence,)] = connection.execute(
        "SELECT sequence FROM _binlog_checkpoints WHERE partition = 0"
    )
    connection.execute(
        "UPDATE _binlog_checkpoints SET sequence = ? WHERE partition = 0", (str(int(sequence) - 1),)
    )


U1 = """WHERE key = '{"id":{"S":"u1"}}'"""
DAMAGES: dict[str, tuple[Break, set[str], str]] = {
    # what is done: the rules that must be named, and a place that must be
    "a value changed": (
        sql(f"UPDATE users SET item = json_set(item, '$.n.N', '5') {U1}"),
        {"fold"},
        'table users key {"id":"u1"}',
    ),
    "a row deleted": (sql(f"DELETE FROM users {U1}"), {"fold"}, 'table users key {"id":"u1"}'),
    "a row added": (
        sql(
            'INSERT INTO users SELECT x\'81a26964a27a7a\', \'{"id":{"S":"zz"}}\', version,'
            ' partition, 0, 0, 0, \'{"id":{"S":"zz"}}\' FROM users LIMIT 1'
        ),
        {"fold", "partition"},
        'table users key {"id":"zz"}',
    ),
    "an item that is no JSON": (
        sql(f"UPDATE users SET item = 'oops' {U1}"),
        {"row", "fold"},
        'table users key {"id":"u1"}',
    ),
    "an item of another key": (
        sql(f"UPDATE users SET item = json_set(item, '$.id.S', 'u2') {U1}"),
        {"item", "fold"},
        'table users key {"id":"u1"}',
    ),
    "a version lowered": (
        sql(f"UPDATE users SET version = version - 1 {U1}"),
        {"fold"},
        'table users key {"id":"u1"}',
    ),
    "a version beyond the checkpoint": (
        sql(f"UPDATE users SET version = 100000 {U1}"),
        {"version", "fold"},
        'table users key {"id":"u1"}',
    ),
    "a version of another timeline": (
        sql(f"UPDATE users SET version = version + (1 << 48) {U1}"),
        {"version", "fold"},
        'table users key {"id":"u1"}',
    ),
    "a tombstone brought back": (
        sql(
            'UPDATE users SET tombstone = 0, item = \'{"id":{"S":"u3"}}\' WHERE tombstone'
            """ AND key LIKE '%u3%'"""
        ),
        {"fold"},
        'table users key {"id":"u3"}',
    ),
    "an item made a tombstone": (
        sql(f"UPDATE users SET tombstone = 1, item = NULL {U1}"),
        {"fold"},
        'table users key {"id":"u1"}',
    ),
    "a tombstone removed": (
        sql("DELETE FROM users WHERE tombstone AND key LIKE '%u3%'"),
        {"fold"},
        'table users key {"id":"u3"}',
    ),
    "another partition": (
        sql(f"UPDATE users SET partition = (partition + 1) % 3 {U1}"),
        {"partition"},
        'table users key {"id":"u1"}',
    ),
    "a parked mark": (
        sql(f"UPDATE users SET parked = 1, tail = 7 {U1}"),
        {"parked", "fold"},
        'table users key {"id":"u1"}',
    ),
    "a table emptied": (sql("DELETE FROM orders"), {"fold"}, "table orders key"),
    "a table gone": (
        sql("DELETE FROM _binlog_tables WHERE name = 'orders'"),
        {"fold"},
        "table orders",
    ),
    "a table that the log does not have": (
        lambda connection: connection.executescript(
            "CREATE TABLE ghosts AS SELECT * FROM orders;"
            "INSERT INTO _binlog_tables SELECT 'ghosts', generation, 'ghosts'"
            " FROM _binlog_tables LIMIT 1;"
        ),
        {"fold", "partition", "version"},
        "table ghosts",
    ),
    "digests swapped": (swap_digests, {"checkpoint-digest"}, "partition 0"),
    "an offset moved": (
        sql("UPDATE _binlog_checkpoints SET offset = offset - 1 WHERE partition = 1"),
        {"checkpoint-offset"},
        "partition 1",
    ),
    "applied moved back": (
        sql("UPDATE _binlog_checkpoints SET applied = applied - 1 WHERE partition = 1"),
        {"checkpoint-applied", "version", "fold"},
        "partition 1",
    ),
    "applied moved on": (
        sql("UPDATE _binlog_checkpoints SET applied = applied + 1 WHERE partition = 1"),
        {"checkpoint-applied"},
        "partition 1",
    ),
    "a checkpoint moved to no record": (move_back, {"checkpoint-position"}, "partition 0"),
    "a checkpoint moved beyond the log": (
        sql("UPDATE _binlog_checkpoints SET sequence = '99999999' WHERE partition = 0"),
        {"checkpoint-position"},
        "partition 0",
    ),
    "a checkpoint of another shard": (
        sql("UPDATE _binlog_checkpoints SET shard = 'elsewhere' WHERE partition = 0"),
        {"checkpoint-position"},
        "partition 0",
    ),
    "a checkpoint that is no number": (
        sql("UPDATE _binlog_checkpoints SET sequence = 'three' WHERE partition = 0"),
        {"checkpoint"},
        "sqlite:replica",
    ),
    "a state cut short": (
        sql("UPDATE _binlog_checkpoints SET state = x'91' WHERE partition = 2"),
        {"checkpoint-state"},
        "partition 2",
    ),
    "a rejection forgotten": (
        sql("DELETE FROM _binlog_rejections"),
        {"rejection"},
        'table users key {"id":"u1"}',
    ),
    "a rejection made up": (
        sql("UPDATE _binlog_rejections SET expected = 77"),
        {"rejection"},
        'table users key {"id":"u1"}',
    ),
    "a fingerprint of other rules": (
        sql("""UPDATE _binlog_generations SET fingerprint = '{"format":1,"actions":9}'"""),
        {"fingerprint"},
        "sqlite:replica",
    ),
    "two open generations": (
        sql(
            "INSERT INTO _binlog_generations (id, open, fingerprint, excluded, types)"
            " SELECT '00', 1, fingerprint, '[]', '[]' FROM _binlog_generations"
        ),
        {"generation"},
        "sqlite:replica",
    ),
}


def test_a_store_as_it_was_made_has_no_findings(log: str, path: Path) -> None:
    """Else what follows would prove nothing."""
    assert found(log, path) == []


@pytest.mark.parametrize("what", DAMAGES)
def test_check_finds(what: str, log: str, path: Path) -> None:
    """Each damage gives exactly the findings of its rules, and names the place."""
    damage, rules, where = DAMAGES[what]
    with closing(sqlite3.connect(path)) as connection, connection:
        damage(connection)
    findings = found(log, path)
    assert {finding.rule for finding in findings} == rules
    assert any(where in finding.where for finding in findings), findings
    assert all(finding.broken for finding in findings)


def test_check_goes_on_after_a_finding(log: str, path: Path) -> None:
    """Damages in items, checkpoints and rejections are all reported at once."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for what in ("a value changed", "a tombstone removed", "digests swapped"):
            DAMAGES[what][0](connection)
        DAMAGES["a rejection forgotten"][0](connection)
    findings = found(log, path)
    assert {f.rule for f in findings} == {"fold", "checkpoint-digest", "rejection"}
    assert sum(f.rule == "fold" for f in findings) == 2
    assert sum(f.rule == "checkpoint-digest" for f in findings) == 3


def test_check_follows_each_generation_at_its_own_vector(tmp_path: Path, log: str) -> None:
    """A table rebuilt up to an earlier vector and without an event is right as it is (C0)."""
    path = tmp_path / "several.db"
    with opened(log) as source, closing(SQLiteStore(path)) as store:
        replicate(source, store, Following(once=True))
        part = Wanted(
            tables=("users",),
            target=Target(vector={0: 5, 2: 3}),
            excluded=("id=nobody",),
            idle_exclusions="allow",
        )
        rebuild(source, store, part)
    assert found(log, path) == []
    with opened(log) as source, closing(SQLiteStore(path)) as store:
        append(source, [add("u5", 1), put("o77", 1, table="orders")])
        replicate(source, store, Following(once=True))
        vectors = [vector_of(store.checkpoints(g.id)) for g in store.generations()]
        assert vectors[0] == vectors[1]
    assert found(log, path) == []
    with closing(sqlite3.connect(path)) as connection, connection:
        DAMAGES["a value changed"][0](connection)
    [finding] = found(log, path)
    assert finding.rule == "fold"


def test_check_takes_a_cut_frame_for_what_it_is(tmp_path: Path, log: str) -> None:
    """A vector may end within a frame (C2): applied is then ahead of the record boundary."""
    for applied in range(1, 12):
        path = tmp_path / f"cut{applied}.db"
        make_store(log, path, Wanted(target=Target(vector={0: applied, 1: applied})))
        assert found(log, path) == []


def test_check_of_a_store_with_rules_needs_them(tmp_path: Path, log: str) -> None:
    """What cannot be recomputed is not called right: it is mentioned, and the rest is checked."""
    appliers = Appliers()

    @appliers.on("Touched", table="users")
    def touch(item: dict[str, object] | None, event: Event) -> dict[str, object]:
        return {**(item or {}), **event.key, "touched": True}

    path = tmp_path / "ruled.db"
    make_store(log, path, Wanted(rules=appliers.build()))
    assert found(log, path) == []  # a type that was never met
    with opened(log) as source:
        touched = {"Action": "Event", "Type": "Touched", "Table": "users", "Data": None}
        append(source, [{**touched, "Key": {"id": "u1"}}])
    make_store(log, path, Wanted(rules=appliers.build()))
    with closing(SQLiteStore(path)) as store:
        assert list(check(log, store, rules=appliers.build())) == []
    [finding] = found(log, path)
    assert (finding.rule, finding.broken) == ("fingerprint", False)
    assert "users were not compared" in finding.detail
    assert "--appliers" in finding.detail
    with closing(sqlite3.connect(path)) as connection, connection:
        DAMAGES["a value changed"][0](connection)
        connection.execute("DELETE FROM orders WHERE key LIKE '%o3%'")
    assert [f.rule for f in found(log, path)] == ["fingerprint", "fold"]
    with closing(SQLiteStore(path)) as store:
        assert [f.rule for f in check(log, store, rules=appliers.build())] == ["fold", "fold"]
        other = Appliers()
        other.on("Touched", table="users", version=2)(touch)
        findings = list(check(log, store, rules=other.build()))
        assert [(f.rule, f.broken) for f in findings] == [("fingerprint", True)]


def test_check_refuses_a_store_of_another_log(tmp_path: Path, path: Path) -> None:
    """Every row would be a finding, and none would say what is wrong."""
    other = make_log(tmp_path / "other", params=Params(log_id="0b" * 16))
    with closing(SQLiteStore(path)) as store, pytest.raises(ConflictError, match="another log"):
        list(check(other, store))
    with closing(SQLiteStore(tmp_path / "new.db")) as store, pytest.raises(ConflictError):
        list(check(other, store))


def test_a_store_in_memory_is_checked_the_same(log: str) -> None:
    """Also what SQLite cannot hold: bytes that are no canonical item."""
    with opened(log) as source:
        store = MemoryStore()
        rebuild(source, store, Wanted())
        assert list(check_log(source, store)) == []
        rows = store._content.tables["users"]
        key = encode_value({"id": "u1"})
        good = rows[key]
        assert good.data is not None
        item = b"\x83\xa1n\x01\xa2id\xa2u1\xa1a\x01"  # names out of order
        rows[key] = Row(good.version, good.partition, item)
        findings = list(check_log(source, store))
        assert {f.rule for f in findings} == {"item", "fold"}
        assert "canonical" in findings[0].detail
