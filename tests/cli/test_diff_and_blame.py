"""`diff` and `blame`: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from binlog.cli import diff
from tests.cli.running import append, binlog

APPLIERS = ("--appliers", "tests.cli.rules_for_cli:appliers")


@pytest.fixture
def log(tmp_path: Path) -> str:
    address = f"file:{tmp_path / 'log'}"
    assert binlog("init", address, "--partitions", "1").status == 0
    lines: list[dict[str, Any]] = [{"id": f"u{n}", "n": n} for n in range(3)]
    lines += [
        {"Action": "UpdateItem", "Key": {"id": "u0"}, "Data": {"Add": {"n": 5}}, "Id": "wrong"},
        {"Action": "DeleteItem", "Key": {"id": "u1"}},
        {"id": "u2", "n": 2},
        {"id": "u3", "n": None},
    ]
    assert append(address, *lines).status == 0
    return address


@pytest.fixture
def stores(log: str, tmp_path: Path) -> tuple[str, str]:
    """At offset 3, and at the end."""
    before, after = (f"sqlite:{tmp_path / name}.db" for name in ("before", "after"))
    assert binlog("rebuild", log, before, "--until", '{"0": 3}').status == 0
    assert binlog("rebuild", log, after).status == 0
    return before, after


def changes(*args: str) -> dict[str, dict[str, Any]]:
    ran = binlog("diff", *args, "--json")
    assert ran.status == 1, ran.err
    return {each["key"]["id"]: each for each in ran.lines}


# -- diff ----------------------------------------------------------------------------------------


def test_a_line_a_key_says_what_was_and_what_is(log: str, stores: tuple[str, str]) -> None:
    """What is not there is left out, so that null is a value; of a log with the events."""
    found = changes(log, "--at", '{"0": 3}', "--at", "end")
    assert [(key, each["change"]) for key, each in found.items()] == [
        ("u0", "changed"),
        ("u1", "removed"),
        ("u3", "added"),
    ]
    assert found["u0"]["attributes"] == {"n": {"left": 0, "right": 5}}
    assert (found["u0"]["left_version"], found["u0"]["right_version"]) == (1, 4)
    [event] = found["u0"]["events"]
    assert (event["id"], event["offset"], event["type"]) == ("wrong", 4, "UpdateItem")
    assert found["u3"]["attributes"]["n"] == {"right": None}
    assert found["u3"]["left_version"] == 0

    between = changes(*stores)
    assert {key: {**each, "events": []} for key, each in found.items()} == {
        key: {**each, "events": []} for key, each in between.items()
    }
    touched = changes(*stores, "--touched")
    assert touched["u2"]["change"] == "touched"
    typed = binlog("diff", *stores, "--json", "--format", "dynamodb").lines[0]
    assert typed["key"] == {"id": {"S": "u0"}}
    assert typed["attributes"] == {"n": {"left": {"N": "0"}, "right": {"N": "5"}}}


def test_for_people_it_says_the_same_and_the_sum(log: str, stores: tuple[str, str]) -> None:
    """And where nothing changed, that; the exit status is diff(1)'s."""
    ran = binlog("diff", log, "--at", '{"0": 3}', "--at", "end")
    assert ran.status == 1
    assert 'changed users {"id":"u0"}  partition 0, version 1 -> 4\n  n: 0 -> 5\n' in ran.out
    assert "  by partition 0 offset 4" in ran.out
    assert ran.out.endswith(
        "3 keys changed: 1 added, 1 changed, 1 removed; 1 touched, which holds what it held\n"
    )
    same = binlog("diff", stores[0], stores[0])
    assert (same.status, same.out) == (0, "no change\n")
    touched = binlog("diff", log, "--at", '{"0": 5}', "--at", '{"0": 6}')
    assert (touched.status, touched.out) == (0, "no change; 1 touched, which holds what it held\n")


def test_stores_made_without_some_events_are_compared_and_it_is_said(
    log: str, stores: tuple[str, str], tmp_path: Path
) -> None:
    """It shows what an exclusion is worth before the live table is rebuilt with it."""
    tried = f"sqlite:{tmp_path / 'tried.db'}"
    assert binlog("rebuild", log, tried, "--exclude", "id=wrong").status == 0
    ran = binlog("diff", stores[1], tried, "--json")
    [change] = ran.lines
    assert change["attributes"] == {"n": {"left": 5, "right": 0}}
    assert f"{tried}: users without id=wrong" in ran.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("LOG",), "give --at twice"),
        (("LOG", "--at", "end"), "give --at twice"),
        (("LOG", "--at", "end", "--at", '{"0": 3}'), "the second moment is before the first"),
        (("LOG", "--at", '{"0": 3}', "--at", '{"0": 99}'), "the log ends at 7"),
        (("STORE",), "is a store: name another one"),
        (("STORE", "STORE", "--at", "end"), "--at goes with one LOG"),
        (("STORE", "STORE", "--table", "nobody"), "neither store has a table nobody"),
        (("LOG", "--at", '{"0": 3}', "--at", "end", "--exclude", "id=x"), "matches no event"),
    ],
)
def test_what_is_no_two_moments_is_refused(
    log: str, stores: tuple[str, str], args: tuple[str, ...], says: str
) -> None:
    """With status 2, and nothing told."""
    given = [log if arg == "LOG" else stores[0] if arg == "STORE" else arg for arg in args]
    ran = binlog("diff", *given, "--json")
    assert (ran.status, ran.out) == (2, "")
    assert says in ran.err


def test_a_terminal_has_a_table_of_the_first_and_the_sum_of_all(
    log: str, stores: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person reads a screen; nothing but a screen is ever in memory."""
    monkeypatch.setattr(diff, "is_terminal", lambda: True)
    ran = binlog("diff", log, "--at", '{"0": 3}', "--at", "end")
    assert ran.status == 1
    head, *rows = ran.out.splitlines()
    assert head.split() == ["change", "table", "key", "attribute", "was", "is", "by"]
    assert rows[0].split() == [
        "changed",
        "users",
        '{"id":"u0"}',
        "n",
        "0",
        "5",
        "UpdateItem",
        "0:4",
    ]
    assert rows[1].split()[:3] == ["removed", "users", '{"id":"u1"}']
    assert rows[2].split() == ["n", "1", "-"]
    assert rows[-1].startswith("3 keys changed")
    monkeypatch.setattr(diff, "_ROWS_MAX", 1)
    few = binlog("diff", *stores)
    assert few.out.count("users") == 1
    assert "and 2 more keys: a pipe, or --json, has all of them" in few.out
    assert few.out.endswith(
        "3 keys changed: 1 added, 1 changed, 1 removed; 1 touched, which holds what it held\n"
    )


def test_an_archive_and_snapshots_are_nearer_beginnings_and_no_other_answers(
    log: str, stores: tuple[str, str], tmp_path: Path
) -> None:
    """What has left the log is there, and what is folded already is not folded again."""
    archive, kept = f"file:{tmp_path / 'archive'}", f"file:{tmp_path / 'snapshots'}"
    assert binlog("archive", log, archive, "--once").status == 0
    assert binlog("snapshot", stores[0], kept).status == 0
    moments = ("--at", '{"0": 3}', "--at", "end")
    expected = binlog("diff", log, *moments, "--json").out
    assert binlog("diff", archive, *moments, "--json").out == expected
    assert binlog("diff", log, "--archive", archive, *moments, "--json").out == expected
    assert binlog("diff", log, "--snapshots", kept, *moments, "--json").out == expected
    item = ("--table", "users", "--key", '{"id": "u0"}', "--json")
    blamed = binlog("blame", log, *item).out
    assert binlog("blame", archive, *item).out == blamed
    assert binlog("blame", log, "--archive", archive, "--snapshots", kept, *item).out == blamed


# -- blame ---------------------------------------------------------------------------------------


def document(*args: str, item: str = "u0", status: int = 0) -> dict[str, Any]:
    ran = binlog("blame", *args, "--table", "users", "--key", json.dumps({"id": item}), "--json")
    assert ran.status == status, ran.err
    [found] = ran.lines
    return found


def test_it_names_the_event_behind_each_attribute(log: str) -> None:
    """With id and session, by which an exclusion names it."""
    found = document(log)
    assert (found["partition"], found["version"], found["item"]) == (0, 4, {"id": "u0", "n": 5})
    assert found["attributes"]["n"]["since"]["id"] == "wrong"
    assert found["attributes"]["id"]["since"]["offset"] == 1
    assert [(e["offset"], e["outcome"], e["set"]) for e in found["events"]] == [
        (1, "applied", {"id": "u0", "n": 0}),
        (4, "applied", {"n": 5}),
    ]
    only = document(log, "--attr", "id")
    assert list(only["attributes"]) == ["id"]
    assert [e["offset"] for e in only["events"]] == [1]
    gone = document(log, item="u1")
    assert (gone["item"], gone["version"], gone["attributes"]) == (None, 5, {})
    assert gone["events"][-1]["deleted"]


def test_of_a_store_it_is_up_to_where_that_is_and_without_what_it_leaves_out(
    log: str, stores: tuple[str, str], tmp_path: Path
) -> None:
    """Else it would explain an item that nobody has."""
    assert document(stores[0], "--log", log)["version"] == 1
    tried = f"sqlite:{tmp_path / 'tried.db'}"
    assert binlog("rebuild", log, tried, "--exclude", "id=wrong").status == 0
    found = document(tried, "--log", log)
    assert found["item"] == {"id": "u0", "n": 0}
    assert [(e["outcome"], e.get("detail")) for e in found["events"]] == [
        ("applied", None),
        ("excluded", "by id=wrong"),
    ]


def test_an_item_that_its_events_do_not_make_is_told(
    log: str, stores: tuple[str, str], tmp_path: Path
) -> None:
    """A store that was written to by hand: blaming an event for it would be wrong."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(stores[0].removeprefix("sqlite:"))) as db, db:
        names = [n for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        [table] = [n for n in names if "users" in n]
        item = db.execute(f'SELECT item FROM "{table}"').fetchone()[0]
        changed = item.replace('"N":"0"', '"N":"8"')
        db.execute(f'UPDATE "{table}" SET item = ? WHERE item = ?', (changed, item))
    ran = binlog(
        "blame", stores[0], "--log", log, "--table", "users", "--key", '{"id": "u0"}', "--json"
    )
    assert ran.status == 1
    assert "holds another item than its events make" in ran.err


def test_for_people_it_is_two_tables(log: str) -> None:
    """The attributes, and the events."""
    assert append(log, {"id": "u0", "n": 5}).status == 0
    ran = binlog("blame", log, "--table", "users", "--key", '{"id": "u0"}')
    assert ran.status == 0
    head, attributes, events = ran.out.split("\n\n")
    assert head == 'users {"id":"u0"}: partition 0, version 8'
    [_, _, n] = attributes.splitlines()
    assert n.split()[:3] == ["n", "5", "4"]
    assert n.endswith("again by offset 8")
    assert [line.split()[0] for line in events.splitlines()] == ["offset", "1", "4", "8"]
    assert events.splitlines()[-1].endswith("as it was")


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (("LOG", "--key", '{"id": "nobody"}'), 1, "no event up to there"),
        (("LOG", "--key", '{"id": "u0"}', "--attr", "m"), 1, "the item has no attribute m"),
        (("STORE", "--key", '{"id": "u0"}'), 2, "--log LOG has them"),
        (("LOG", "--log", "LOG", "--key", '{"id": "u0"}'), 2, "--log goes with a STORE"),
        (("STORE", "--log", "LOG", "--key", '{"id": "u0"}', "--until", "{}"), 2, "go with a LOG"),
        (("LOG", "--key", '{"id": "u0"}', "--until", '{"0": 99}'), 2, "the log ends at 7"),
        (("LOG", "--key", "nothing"), 2, "nothing"),
    ],
)
def test_what_cannot_be_blamed_is_told(
    log: str, stores: tuple[str, str], args: tuple[str, ...], status: int, says: str
) -> None:
    """In a line, with the remedy."""
    given = [log if arg == "LOG" else stores[0] if arg == "STORE" else arg for arg in args]
    ran = binlog("blame", *given, "--table", "users")
    assert ran.status == status
    assert says in ran.err
