"""`status` and `check`: documents, tables, and when they say no."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliers.address import open_store
from binlog.clock import ManualClock
from binlog.logs import DirectoryLog
from consumers.lag import measure
from tests.check.replicas import append as append_actions
from tests.check.replicas import flip, last_segment, put
from tests.cli.running import append, binlog

PARTITION_KEYS = {
    "partition",
    "offset",
    "applied",
    "lag_events",
    "lag_seconds",
    "held",
    "parked",
    "position",
    "lag_bytes",
    "runway_seconds",
    "eta_seconds",
}
LAG_KEYS = {"sum", "runway", "retention_seconds", "consumers", "pace", "excluded"}


@pytest.fixture
def log(tmp_path: Path) -> str:
    address = f"file:{tmp_path / 'log'}"
    assert binlog("init", address, "--partitions", "4").status == 0
    append(address, *({"id": f"u{n % 20}", "n": n} for n in range(60)))
    return address


@pytest.fixture
def store(tmp_path: Path, log: str) -> str:
    address = f"sqlite:{tmp_path / 'replica.db'}"
    assert binlog("rebuild", log, address).status == 0
    return address


def partitions(*args: str, status: int = 0) -> list[dict[str, Any]]:
    ran = binlog("status", *args, "--json")
    assert ran.status == status, ran.err
    [found] = ran.lines
    assert set(found) == {"partitions"} | (LAG_KEYS if len(args) > 1 else set())
    return list(found["partitions"])


# -- status --------------------------------------------------------------------------------------


def test_status_of_a_log_alone(log: str) -> None:
    """Every partition, with what a store would tell left open."""
    found = partitions(log)
    assert [p["partition"] for p in found] == [0, 1, 2, 3]
    assert all(set(p) == PARTITION_KEYS for p in found)
    assert sum(p["offset"] for p in found) == 60
    assert all((p["applied"], p["lag_events"], p["lag_seconds"]) == (None,) * 3 for p in found)
    assert all((p["held"], p["parked"]) == (0, 0) for p in found)
    assert all(p["position"].startswith("0:") for p in found)


def test_status_tells_how_far_a_store_is_behind(log: str, store: str) -> None:
    """Events by offsets, seconds since the oldest of them arrived; none once it has caught up."""
    assert all(p["applied"] == p["offset"] for p in partitions(log, store))
    assert all(p["lag_events"] == float(p["lag_seconds"]) == 0 for p in partitions(log, store))
    append(log, {"id": "u1", "n": 1}, {"id": "u1", "n": 2})
    behind = [p for p in partitions(log, store) if p["lag_events"]]
    [found] = behind
    assert (found["lag_events"], found["offset"] - found["applied"]) == (2, 2)
    assert float(found["lag_seconds"]) >= 0
    text = binlog("status", log, store).out
    first = text.splitlines()[1].split()
    assert first[:4] == [str(found["partition"]), str(found["offset"]), str(found["applied"]), "2"]
    assert "the store is 2 behind" in text
    binlog("replicate", log, store, "--once")
    assert "the store has all of them" in binlog("status", log, store).out


def test_status_tells_what_a_store_leaves_out(log: str, store: str) -> None:
    """For ever, by every consumer of it: who looks at the table has to know."""
    assert binlog("status", log, store, "--json").lines[0]["excluded"] == []
    exclude = ("--exclude", 'key=users:{"id": "u1"}')
    assert binlog("rebuild", log, store, *exclude).status == 0
    assert binlog("rebuild", log, store, "--table", "users").status == 0
    ran = binlog("status", log, store, "--json")
    rules = ['key=users:{"id":"u1"}']
    assert ran.lines[0]["excluded"] == [{"tables": [], "open": True, "rules": rules}]
    assert f"without, in any table to come: {rules[0]}" in binlog("status", log, store).out
    assert binlog("rebuild", log, store, *exclude).status == 0
    assert f"without, in users, any table to come: {rules[0]}" in binlog("status", log, store).out


def test_a_store_is_as_far_as_the_table_that_is_furthest_behind(log: str, store: str) -> None:
    """Its vector is the least of its generations' (C0)."""
    append(log, {"id": "o1", "n": 1}, table="orders")
    binlog("replicate", log, store, "--once")
    assert not any(p["lag_events"] for p in partitions(log, store))
    binlog("rebuild", log, store, "--table", "orders", "--until", '{"0": 3}')
    found = {p["partition"]: p for p in partitions(log, store)}
    assert found[0]["applied"] == 3
    assert [found[p]["applied"] for p in (1, 2, 3)] == [0, 0, 0]
    assert all(p["lag_events"] == p["offset"] - p["applied"] for p in found.values())


def test_the_lag_counts_from_the_oldest_event_that_is_not_applied(tmp_path: Path) -> None:
    """By the log's own time, whatever came later."""
    address = f"file:{tmp_path / 'log'}"
    binlog("init", address, "--partitions", "1")
    store = f"sqlite:{tmp_path / 'replica.db'}"
    binlog("replicate", address, store, "--once")
    with closing(DirectoryLog(tmp_path / "log")) as opened:
        start = opened.now_ms()
    clock = ManualClock(start + 60_000)
    with closing(DirectoryLog(tmp_path / "log", clock=clock)) as opened:
        append_actions(opened, [put("a", 1)])
        clock.advance(20_000)
        append_actions(opened, [put("a", 2)])
        clock.advance(10_000)
        with closing(open_store(store)) as replica:
            [found] = measure(opened, replica).partitions
    assert (found.lag_events, found.lag_seconds) == (2, 30.0)


def test_status_says_no_where_a_log_is_damaged(log: str, store: str) -> None:
    """Status 1, what can be read, and one line that names the place."""
    append(log, {"id": "u1", "n": 1})
    segment = last_segment(log)
    flip(segment, segment.stat().st_size - 20)
    ran = binlog("status", log, "--json")
    assert ran.status == 1
    assert sum(p["offset"] for p in ran.lines[0]["partitions"]) == 60
    assert ran.err.count("\n") == 1
    assert f"segment {segment.name} byte " in ran.err
    assert binlog("status", log, store).status == 1


def test_status_refuses_a_store_that_is_ahead(log: str, store: str, tmp_path: Path) -> None:
    """A log that lost its end is not one that the store is up to date with."""
    segment = last_segment(log)
    append(log, {"id": "u1", "n": 1})
    binlog("replicate", log, store, "--once")
    with closing(sqlite3.connect(tmp_path / "replica.db")) as connection, connection:
        connection.execute(
            "UPDATE _binlog_checkpoints SET sequence = ?", (str(segment.stat().st_size + 100),)
        )
    ran = binlog("status", log, store)
    assert ran.status == 3
    assert "ahead of the log" in ran.err


def test_status_of_a_store_that_is_not_there_is_refused(log: str, tmp_path: Path) -> None:
    """And it is not made."""
    assert binlog("status", log, f"sqlite:{tmp_path / 'none.db'}").status == 2
    assert not (tmp_path / "none.db").exists()


# -- check ---------------------------------------------------------------------------------------


def check(*args: str) -> tuple[int, dict[str, Any]]:
    ran = binlog("check", *args, "--json")
    [found] = ran.lines
    assert set(found) == {"ok", "findings"}
    assert all(set(f) == {"rule", "where", "detail"} for f in found["findings"])
    return ran.status, found


def test_check_says_ok(log: str, store: str) -> None:
    """Status 0 and an empty list."""
    assert check(log) == (0, {"ok": True, "findings": []})
    assert check(log, store) == (0, {"ok": True, "findings": []})
    assert binlog("check", log, store).out == "ok: log and store keep every invariant\n"


def test_check_names_the_damage(log: str) -> None:
    """Segment, byte and partition; status 1."""
    segment = last_segment(log)
    flip(segment, segment.stat().st_size - 20)
    status, found = check(log)
    assert (status, found["ok"]) == (1, False)
    [finding] = found["findings"]
    assert finding["rule"] == "damage"
    for part in (f"segment {segment.name}", "byte ", "partition "):
        assert part in finding["where"]
    text = binlog("check", log)
    assert text.status == 1
    assert "not ok: 1 finding (1 damage)" in text.out


def test_check_mentions_a_torn_tail_and_says_ok(log: str) -> None:
    """Status 0: nothing that was acknowledged is harmed; the next append takes it away."""
    with last_segment(log).open("ab") as file:
        file.write(bytes(5_000))
    status, found = check(log)
    assert (status, found["ok"]) == (0, True)
    assert [f["rule"] for f in found["findings"]] == ["torn-tail"]
    assert "noted  torn-tail" in binlog("check", log).out
    append(log, {"id": "u1", "n": 1})
    status, found = check(log)
    assert (status, found["ok"]) == (0, True)
    assert "torn-tail" not in {f["rule"] for f in found["findings"]}


def test_check_names_the_item(log: str, store: str, tmp_path: Path) -> None:
    """A value that somebody changed by hand."""
    with closing(sqlite3.connect(tmp_path / "replica.db")) as connection, connection:
        connection.execute(
            "UPDATE users SET item = json_set(item, '$.n.N', '12345') WHERE key LIKE '%\"u7\"%'"
        )
    status, found = check(log, store)
    assert status == 1
    [finding] = found["findings"]
    assert finding["rule"] == "fold"
    assert 'table users key {"id":"u7"}' in finding["where"]
    assert "12345" in finding["detail"]


def test_check_of_a_log_that_cannot_be_opened_is_an_answer(log: str, tmp_path: Path) -> None:
    """Not an error: the question was what is wrong with it."""
    flip(tmp_path / "log" / "GENESIS", 3)
    status, found = check(log)
    assert (status, found["ok"]) == (1, False)
    assert found["findings"]
