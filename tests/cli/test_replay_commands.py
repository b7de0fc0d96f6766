"""`rebuild` and `replicate`: what they print, what they leave behind, and how they end."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliers.stores import SQLiteStore
from tests.check.replicas import flip, last_segment
from tests.cli.running import LIMIT_S, Started, append, binlog

KEYS = {
    "events",
    "items",
    "vector",
    "tables",
    "seconds",
    "rejected",
    "parked",
    "excluded",
    "duplicates",
}
APPLIERS = ("--appliers", "tests.cli.rules_for_cli:appliers")


def event(item: str, name: str, *, id_: str = "") -> dict[str, Any]:
    return {
        "Action": "Event",
        "Type": "Renamed",
        "Table": "users",
        "Key": {"id": item},
        "Data": {"name": name},
        **({"Id": id_} if id_ else {}),
    }


def document(*args: str) -> dict[str, Any]:
    ran = binlog(*args, "--json")
    assert ran.status == 0, ran.err
    [found] = ran.lines
    return found


def digest(store: str) -> dict[str, Any]:
    return document("digest", store)


@pytest.fixture
def log(tmp_path: Path) -> str:
    """60 puts over 20 users, 3 deletes, one event that is rejected; 4 partitions."""
    address = f"file:{tmp_path / 'log'}"
    assert binlog("init", address, "--partitions", "4").status == 0
    lines: list[dict[str, Any]] = [{"id": f"u{n % 20}", "n": n} for n in range(60)]
    lines += [{"Action": "DeleteItem", "Table": "users", "Key": {"id": f"u{n}"}} for n in range(3)]
    lines += [{"Action": "PutItem", "Key": {"id": "u9"}, "Data": {"n": 1}, "Expect": 0}]
    assert append(address, *lines).status == 0
    return address


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'replica.db'}"


# -- what they print -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb", [("rebuild",), ("rebuild", "--workers", "1"), ("replicate", "--once")]
)
def test_prints_the_document_of_the_contract(log: str, store: str, verb: tuple[str, ...]) -> None:
    """The tables are those that `digest` prints, whichever way they were made."""
    found = document(verb[0], log, store, *verb[1:])
    assert set(found) == KEYS
    assert (found["events"], found["items"]) == (64, 17)
    assert (found["rejected"], found["parked"], found["excluded"], found["duplicates"]) == (
        1,
        0,
        0,
        0,
    )
    assert sum(found["vector"].values()) == 64
    assert {"vector": found["vector"], "tables": found["tables"]} == digest(store)
    assert found["tables"]["users"]["items"] == 17
    assert found["tables"]["users"]["tombstones"] == 3


def test_all_ways_make_the_same_tables(log: str, tmp_path: Path) -> None:
    """By any number of workers, in memory or a file, at once or from a checkpoint."""
    ways = [document("rebuild", log, "memory:", "--workers", str(n)) for n in (1, 2, 5)]
    ways += [
        document("rebuild", log, f"sqlite:{tmp_path / 'a'}"),
        document("replicate", log, "memory:", "--once"),
    ]
    assert all(way["tables"] == ways[0]["tables"] for way in ways)


def test_for_people_a_line_and_a_table(log: str, store: str) -> None:
    """The digest, to compare by eye, and what was rejected."""
    ran = binlog("rebuild", log, store)
    assert ran.status == 0
    assert ran.out.startswith("rebuilt from 64 events")
    assert "1 rejected" in ran.out
    assert digest(store)["tables"]["users"]["digest"] in ran.out
    ran = binlog("replicate", log, store, "--once")
    assert ran.out.startswith("applied 0 events")
    assert ran.err == ""


# -- rebuild -------------------------------------------------------------------------------------


def test_until_a_vector_is_inclusive(log: str, store: str) -> None:
    """The vector that `digest` then prints is the one that was asked for."""
    for vector in ({"0": 3, "2": 1}, {}, {"1": 0}):
        found = document("rebuild", log, store, "--until", json.dumps(vector))
        wanted = {p: offset for p, offset in vector.items() if offset}
        assert found["vector"] == digest(store)["vector"] == wanted
        assert found["events"] == sum(wanted.values())
    assert document("rebuild", log, store, "--until", "end")["events"] == 64


def test_until_a_file_that_holds_the_vector(log: str, store: str, tmp_path: Path) -> None:
    """What `digest --json` gave earlier can be kept and asked for."""
    (tmp_path / "v.json").write_text('{"3": 2}')
    assert document("rebuild", log, store, "--until", f"@{tmp_path / 'v.json'}")["vector"] == {
        "3": 2
    }


def test_until_a_time(log: str, store: str) -> None:
    """Before the first record nothing, in the future everything."""
    assert document("rebuild", log, store, "--until", "2001-01-01T00:00:00Z")["vector"] == {}
    assert document("rebuild", log, store, "--until", "2999-01-01T00:00:00Z")["events"] == 64


@pytest.mark.parametrize("until", ["2001-01-01T00:00:00Z", '{"1": 0}'])
@pytest.mark.parametrize("options", [(), ("--table", "users")])
def test_a_live_store_is_emptied_only_by_who_says_so(
    log: str, store: str, until: str, options: tuple[str, ...]
) -> None:
    """A time with a slip in its year is no wish to lose all items."""
    append(log, {"id": "o1", "n": 1}, table="orders")
    document("rebuild", log, store)
    before = digest(store)
    ran = binlog("rebuild", log, store, "--until", until, *options)
    assert ran.status == 2
    held = "users" if options else "orders, users"
    assert f"no event up to there, and the store would lose what it has of {held}: " in ran.err
    assert digest(store) == before
    assert document("rebuild", log, store, "--until", "{ }", *options)["vector"] == {}
    assert document("rebuild", log, store, "--until", until, *options)["items"] == 0


def test_a_table_that_nothing_names_is_refused(log: str, store: str) -> None:
    """Naming the one that was meant; a store that has it, or `--until {}`, is word enough."""
    append(log, {"id": "o1", "n": 1}, table="orders")
    for into in (store, "memory:"):
        ran = binlog("rebuild", log, into, "--table", "order", "--table", "users")
        assert ran.status == 2
        assert "no event up to there names table order, nor does the store have it: " in ran.err
        assert "was orders meant?" in ran.err
    assert binlog("digest", store).status == 2, "and nothing is made"
    assert document("rebuild", log, store, "--table", "nope", "--until", "{}")["items"] == 0
    assert set(document("rebuild", log, store, "--table", "nope")["tables"]) == {"nope"}


@pytest.mark.parametrize(
    "until", ['{"0": 1000}', '{"4": 1}', '{"0": -1}', "[1]", "{", "2026-13-01T00:00:00Z", "@none"]
)
def test_a_vector_that_the_log_does_not_have_is_refused(log: str, store: str, until: str) -> None:
    """And what was there stays."""
    before = document("rebuild", log, store, "--until", '{"0": 2}')["tables"]
    ran = binlog("rebuild", log, store, "--until", until)
    assert (ran.status, ran.out) == (2, "")
    assert digest(store)["tables"] == before


def test_only_the_named_tables_are_replaced(log: str, store: str) -> None:
    """The other tables keep their content and their vector (C0)."""
    append(log, {"id": "o1", "n": 1}, table="orders")
    document("rebuild", log, store)
    before = digest(store)["tables"]
    append(log, {"id": "o2", "n": 2}, table="orders")
    append(log, {"id": "u1", "n": 2})
    found = document("rebuild", log, store, "--table", "orders")
    assert set(found["tables"]) == {"orders"}
    after = digest(store)["tables"]
    assert after["users"] == before["users"]
    assert after["orders"]["items"] == 2


def test_exclusions_are_recorded_and_counted(log: str, store: str) -> None:
    """By each kind of rule; the store says what is left out of it."""
    found = document(
        "rebuild", log, store, "--exclude", 'key=users:{"id":"u5"}', "--exclude", "type=DeleteItem"
    )
    assert found["excluded"] == 3 + 3
    assert found["tables"]["users"]["excluded"] == ['key=users:{"id":"u5"}', "type=DeleteItem"]
    assert found["tables"]["users"]["tombstones"] == 0
    assert binlog("rebuild", log, store, "--exclude", "colour=red").status == 2


def test_exclusions_that_match_nothing_are_refused_before_anything_is_replaced(
    log: str, store: str
) -> None:
    """A slip in a rule leaves out nothing, and nobody would see it in what comes out."""
    before = document("rebuild", log, store)["tables"]
    ran = binlog("rebuild", log, store, "--exclude", "type=putitem", "--exclude", "id=nobody")
    assert ran.status == 2
    assert "'id=nobody' matches no event up to there (1 more like it)" in ran.err
    assert "'PutItem' is there" in binlog("rebuild", log, store, "--exclude", "type=putitem").err
    assert document("digest", store)["tables"] == before


def test_poison_stops_with_all_that_one_needs(log: str, store: str) -> None:
    """Status 3, the event, and the rule that passes it; the old content stays."""
    before = document("rebuild", log, store, *APPLIERS)["tables"]
    append(log, event("nobody", "Ann", id_="bad-1"))
    ran = binlog("rebuild", log, store, *APPLIERS)
    assert (ran.status, ran.out) == (3, "")
    for part in ("partition ", "offset ", "bad-1", '{"id":"nobody"}', "--exclude id=bad-1"):
        assert part in ran.err
    assert digest(store)["tables"] == before
    found = document("rebuild", log, store, *APPLIERS, "--exclude", "id=bad-1")
    assert found["excluded"] == 1


def test_a_user_event_is_applied(log: str, store: str) -> None:
    """By the object that --appliers names; without it the event is of no account."""
    append(log, event("u9", "Nina"))
    document("rebuild", log, store, *APPLIERS)
    items = {line["id"]: line for line in binlog("dump", store, "--table", "users").lines}
    assert items["u9"]["name"] == "Nina"
    assert "name" not in items["u8"]
    assert "1 of no account" in binlog("rebuild", log, "memory:").out
    for wrong in ("tests.cli.rules_for_cli", "nosuch:thing", "tests.cli.rules_for_cli:rename"):
        assert binlog("rebuild", log, store, "--appliers", wrong).status == 2


def test_damage_stops_with_its_place_and_changes_nothing(log: str, store: str) -> None:
    """What `check` says, too."""
    before = document("rebuild", log, store)["tables"]
    segment = last_segment(log)
    flip(segment, segment.stat().st_size - 20)
    for verb in (("rebuild", log, store), ("rebuild", log, store, "--workers", "1")):
        ran = binlog(*verb)
        assert (ran.status, ran.out) == (3, "")
        assert f"segment {segment.name} byte " in ran.err
    assert digest(store)["tables"] == before


def test_a_store_of_another_log_is_refused(log: str, store: str, tmp_path: Path) -> None:
    """Neither verb mixes two logs in one store."""
    document("rebuild", log, store)
    before = digest(store)
    other = f"file:{tmp_path / 'other'}"
    binlog("init", other, "--partitions", "4")
    for verb in (("rebuild",), ("replicate", "--once")):
        ran = binlog(verb[0], other, store, *verb[1:])
        assert ran.status in (2, 3)
        assert "log" in ran.err
    assert digest(store) == before


@pytest.mark.parametrize(
    "args", [("file:none", "memory:"), ("none", "memory:"), ("memory:", "memory:")]
)
def test_a_log_that_is_not_there_is_refused(args: tuple[str, str]) -> None:
    """With the status of a mistake, and what to type instead."""
    for verb in (("rebuild",), ("replicate", "--once"), ("status",), ("check",)):
        assert binlog(verb[0], *args, *verb[1:]).status == 2


def test_what_a_killed_rebuild_left_is_cleaned_by_the_next(log: str, tmp_path: Path) -> None:
    """The name of a build that died is in nobody's way and does not stay."""
    left = tmp_path / f"replica.db.build-{'0' * 32}.part-1"
    left.write_bytes(b"half of something")
    document("rebuild", log, f"sqlite:{tmp_path / 'replica.db'}")
    assert not left.exists()
    assert {p.name for p in tmp_path.iterdir()} <= {"log", "replica.db", "replica.db.lock"}


def test_a_second_writer_is_told_who_writes(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clear error, not two writers; the five seconds are the store's own test."""
    path = tmp_path / "replica.db"
    with closing(SQLiteStore(path)) as held:
        held.lock()
        monkeypatch.setattr("appliers.stores.writer_lock.WriterLock._wait", _refuse)
        for verb in (("rebuild",), ("replicate", "--once")):
            ran = binlog(verb[0], log, f"sqlite:{path}", *verb[1:])
            assert ran.status == 3
            assert "writes to the store" in ran.err


def _refuse(lock: Any, descriptor: int, wait_s: float) -> None:
    assert wait_s == 5.0
    raise lock._busy(descriptor, wait_s)


# -- replicate -----------------------------------------------------------------------------------


def test_replicate_resumes_at_its_checkpoint(log: str, store: str) -> None:
    """Only what is new is applied, and the result is that of a rebuild."""
    assert document("replicate", log, store, "--once")["events"] == 64
    assert document("replicate", log, store, "--once")["events"] == 0
    append(log, {"id": "new", "n": 1}, {"id": "u5", "n": 2})
    found = document("replicate", log, store, "--once")
    assert found["events"] == 2
    assert found["tables"] == document("rebuild", log, "memory:")["tables"]


def test_replicate_goes_on_from_a_rebuild(log: str, store: str) -> None:
    """Also from a point in time within a frame."""
    document("rebuild", log, store, "--until", '{"0": 2, "1": 5}')
    found = document("replicate", log, store, "--once")
    assert found["events"] == 64 - 7
    assert found["tables"] == document("rebuild", log, "memory:")["tables"]


def test_replicate_keeps_the_exclusions_of_its_store(log: str, store: str) -> None:
    """They are recorded there; other ones are refused, not taken or dropped silently."""
    document("replicate", log, store, "--once", "--exclude", "type=DeleteItem")
    append(log, {"Action": "DeleteItem", "Table": "users", "Key": {"id": "u4"}})
    found = document("replicate", log, store, "--once")
    assert found["excluded"] == 1
    assert found["tables"]["users"]["tombstones"] == 0
    ran = binlog("replicate", log, store, "--once", "--exclude", "id=x")
    assert ran.status == 2
    assert "type=DeleteItem" in ran.err


def test_replicate_applies_what_lies_before_poison(log: str, store: str) -> None:
    """Then it stops with status 3 there, at every try."""
    append(log, event("nobody", "Ann", id_="bad-1"), {"id": "after", "n": 1})
    for _ in range(2):
        ran = binlog("replicate", log, store, "--once", *APPLIERS)
        assert ran.status == 3
        assert "bad-1" in ran.err
    assert digest(store)["tables"]["users"]["items"] >= 17


def test_replicate_applies_what_lies_before_damage(log: str, store: str) -> None:
    """Status 3 with the place."""
    append(log, {"id": "last", "n": 1})
    segment = last_segment(log)
    flip(segment, segment.stat().st_size - 20)
    ran = binlog("replicate", log, store, "--once")
    assert ran.status == 3
    assert f"segment {segment.name} byte " in ran.err
    assert sum(digest(store)["vector"].values()) == 64


def test_replicate_refuses_other_rules(log: str, store: str) -> None:
    """A table that one code made is not continued by another."""
    append(log, event("u9", "Nina"))
    document("replicate", log, store, "--once", *APPLIERS)
    ran = binlog("replicate", log, store, "--once")
    assert ran.status == 2
    assert "Renamed" in ran.err


@pytest.mark.parametrize("rate", ["0", "-1", "many"])
def test_a_rate_is_above_zero(log: str, rate: str) -> None:
    """Zero items a second would never end."""
    assert binlog("replicate", log, "memory:", "--once", "--rate", rate).status == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_ends_cleanly_when_asked(
    log: str, tmp_path: Path, number: signal.Signals
) -> None:
    """What came meanwhile is applied and committed, the report printed, the status 0."""
    path = tmp_path / "replica.db"
    with Started("replicate", log, f"sqlite:{path}", "--json", cwd=tmp_path) as running:
        running.wait_until(lambda: applied(path) == 64)
        append(log, {"id": "late", "n": 1})
        running.wait_until(lambda: applied(path) == 65)
        running.send_signal(number)
        out, err = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0, err
    assert json.loads(out)["events"] == 65
    assert err == b""


def applied(path: Path) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        return int(
            connection.execute("SELECT total(applied) FROM _binlog_checkpoints").fetchone()[0]
        )


def test_copies_are_counted_in_events(tmp_path: Path) -> None:
    """What was appended again under its own ids, and asked for the window, is there once (P6)."""
    log = f"file:{tmp_path / 'log'}"
    binlog("init", log, "--partitions", "2")
    lines = "".join(
        json.dumps(
            {
                "Id": f"e{n}",
                "Table": "users",
                "Key": {"id": f"u{n}"},
                "Data": {"n": n},
                "Action": "PutItem",
            }
        )
        + "\n"
        for n in range(7)
    )
    for _ in range(3):
        assert binlog("append", log, "--id-window", given=lines).status == 0
    for found in (
        document("rebuild", log, "memory:"),
        document("replicate", log, "memory:", "--once"),
    ):
        assert (found["events"], found["duplicates"], found["items"]) == (7, 14, 7)


@pytest.mark.parametrize("verb", ["rebuild", "replicate"])
def test_units_of_a_store_without_any_cannot_be_limited(
    verb: str, log: str, tmp_path: Path
) -> None:
    """Whoever asks for it relies on it."""
    store = tmp_path / "replica.db"
    ran = binlog(verb, log, f"sqlite:{store}", "--max-units", "5")
    assert ran.status == 2
    assert "nothing is paid by the unit there" in ran.err
    assert not store.exists()
