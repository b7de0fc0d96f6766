"""``binlog adopt`` from outside: what it says, does, does again, and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.adoption.adoption_world import items
from tests.cli.running import Ran, append, binlog


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a log and a file of items; commands run in it."""
    monkeypatch.chdir(tmp_path)
    assert binlog("init", "file:log", "--partitions", "4").status == 0
    write(tmp_path, items(12))
    return tmp_path


def write(place: Path, content: dict[str, Any]) -> None:
    lines = [json.dumps(each) for each in content.values()]
    (place / "users.jsonl").write_text("".join(f"{line}\n" for line in lines))


def adopt(*options: str) -> Ran:
    args = ("adopt", "file:users.jsonl", "file:log", "--key", "id", "--snapshots", "file:kept")
    return binlog(*args, *options)


def dumped(store: str, table: str = "users") -> dict[str, Any]:
    ran = binlog("dump", store, "--table", table)
    assert ran.status == 0, ran.err
    return {line["id"]: line for line in map(json.loads, ran.out.splitlines())}


def test_nothing_is_written_without_yes(place: Path) -> None:
    """It says what it would take, and that is all."""
    ran = adopt()
    assert ran.status == 0
    assert "4 ADOPT records" in ran.out
    assert "--yes does it" in ran.err
    assert not (place / "kept").exists()
    assert binlog("cat", "file:log", "--control").out == ""


def test_an_adopted_table_is_rebuilt_replicated_verified_and_checked(place: Path) -> None:
    ran = adopt("--yes", "--json")
    assert ran.status == 0, ran.err
    [document] = ran.lines
    assert (document["table"], document["items"], document["records"]) == ("users", 12, 4)
    assert document["vector"] == {"0": 1, "1": 1, "2": 1, "3": 1}
    append("file:log", {"Action": "PutItem", "Data": {"id": "k003", "n": 99}})
    append("file:log", {"Action": "DeleteItem", "Key": {"id": "k004"}}, table="users")
    wanted = {**items(12), "k003": {"id": "k003", "n": 99}}
    del wanted["k004"]
    assert binlog("rebuild", "file:log", "sqlite:a.db").status == 0
    assert binlog("replicate", "file:log", "sqlite:b.db", "--once").status == 0
    assert dumped("sqlite:a.db") == dumped("sqlite:b.db") == wanted
    tables = [binlog("digest", f"sqlite:{n}.db", "--json").lines[0] for n in "ab"]
    assert tables[0] == tables[1]
    assert tables[0]["tables"]["users"]["items"] == 11
    assert binlog("verify", "sqlite:a.db", "sqlite:b.db").status == 0
    assert binlog("verify", "sqlite:a.db", "file:log").status == 0
    ran = binlog("check", "file:log", "sqlite:b.db", "--json")
    assert ran.status == 0, ran.out


def test_again_is_the_same(place: Path) -> None:
    """A second run finds the base and the records that stand."""
    [first] = adopt("--yes", "--json").lines
    [second] = adopt("--yes", "--json").lines
    assert (second["found"], second["records"]) == (True, 0)
    for name in ("base", "digest", "vector", "items"):
        assert first[name] == second[name]
    [plan] = adopt("--json").lines
    assert (plan["base"], plan["records"]) == (first["base"], 0)


def test_a_file_that_changed_since_is_not_said_to_be_adopted(place: Path) -> None:
    """The base in the log counts; who runs it again for a new line is told that nobody read it."""
    assert "not read again" not in adopt("--yes").err
    write(place, items(13))
    ran = adopt("--yes")
    assert (ran.status, "12 items" in ran.out) == (0, True)
    assert "not read again" in ran.err


def test_records_are_shown_with_control(place: Path) -> None:
    adopt("--yes")
    ran = binlog("cat", "file:log", "--control", "--table", "users", "--json")
    said = [(line["partition"], line["type"], line["data"]["table"]) for line in ran.lines]
    assert said == [(p, "binlog.adopt", "users") for p in range(4)]


def test_a_base_that_moved_is_named_and_found(place: Path) -> None:
    """The record names where it was written; --snapshots says where it is."""
    adopt("--yes")
    (place / "kept").rename(place / "moved")
    ran = binlog("rebuild", "file:log", "sqlite:a.db")
    assert ran.status == 2
    assert "is not there" in ran.err
    assert "--snapshots" in ran.err


@pytest.mark.parametrize("how", ["option", "environment"])
def test_check_finds_a_base_that_moved(
    place: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Where --snapshots says, as every reader does; without it the store cannot be compared."""
    adopt("--yes")
    assert binlog("rebuild", "file:log", "sqlite:a.db").status == 0
    (place / "kept").rename(place / "moved")
    assert binlog("check", "file:log", "sqlite:a.db").status == 1
    options = ("--snapshots", "file:moved") if how == "option" else ()
    if not options:
        monkeypatch.setenv("BINLOG_SNAPSHOTS", "file:moved")
    ran = binlog("check", "file:log", "sqlite:a.db", *options)
    assert ran.status == 0, ran.out


def test_events_of_the_table_in_the_log_are_refused(place: Path) -> None:
    append("file:log", {"id": "k003", "n": 99})
    ran = adopt("--yes")
    assert ran.status == 2
    assert "has events of table users already" in ran.err
    assert not (place / "kept").exists()


def test_another_name_is_another_table(place: Path) -> None:
    append("file:log", {"id": "k003", "n": 99})
    assert adopt("--yes", "--as", "people").status == 0
    assert binlog("rebuild", "file:log", "sqlite:a.db").status == 0
    assert dumped("sqlite:a.db", "people") == items(12)
    assert dumped("sqlite:a.db") == {"k003": {"id": "k003", "n": 99}}


@pytest.mark.parametrize("options", [(), ("--yes",)])
def test_a_table_that_is_adopted_under_another_name_is_told(
    place: Path, options: tuple[str, ...]
) -> None:
    """Allowed, as the way out of an adoption that went wrong; never without a word."""
    adopt("--yes")
    assert "already" not in adopt(*options).err, "the same name is the same adoption"
    ran = adopt("--as", "users2", *options)
    assert ran.status == 0
    assert "file:users.jsonl is in this log as users already: as users2 too" in ran.err
    other = ("adopt", "file:users.jsonl", "file:log", "--key", "id", "--snapshots", "file:other")
    assert "already" not in binlog(*other, "--as", "users3").err, "nothing is known of it there"


def test_check_lists_what_was_written_since(place: Path) -> None:
    """A file has no marks: whatever is not the base's is listed."""
    adopt("--yes")
    assert adopt("--check").status == 0
    content = items(13)
    content["k001"]["n"] = 7
    del content["k002"]
    write(place, content)
    ran = adopt("--check", "--json")
    assert ran.status == 1
    found = {each["key"]["id"]: each["kind"] for each in ran.lines[0]["strays"]}
    assert found == {"k001": "changed", "k002": "gone", "k012": "new"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"n": 1}', "without its key attribute 'id'"),
        ('{"id": 5}', "of another key"),
        ('{"id": "a", "_binlog": 1}', "has an attribute _binlog already"),
        ('{"id": ""}', "is empty"),
        ("[1]", "no item"),
        ("{", "no JSON"),
        ('{"id": "a", "t": "%s"}' % ("x" * 409_200), "'_binlog'|bytes"),
    ],
)
def test_an_item_that_no_log_holds_is_named(place: Path, line: str, says: str) -> None:
    """Nothing is written: to leave it out would be to lose it."""
    with (place / "users.jsonl").open("a") as file:
        file.write(line + "\n")
    ran = adopt("--yes")
    assert ran.status == 2, ran
    assert any(part in ran.err for part in says.split("|")), ran.err
    assert "line 13" in ran.err
    assert binlog("cat", "file:log", "--control").out == ""


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("dynamodb://T", "file:log", "--export", "file:x", "--scan"), "--scan, or --export"),
        (("file:users.jsonl", "file:log"), "--key"),
        (("file:users.jsonl", "file:log", "sqlite:a.db", "--key", "id"), "only a DynamoDB store"),
        (("sqlite:a.db", "file:log"), "is no table"),
        (("file:none", "file:log", "--key", "id"), "No such file"),
        (("file:users.jsonl", "file:log", "--key", "id", "--restore", "x"), "--check"),
        (("file:users.jsonl", "file:log", "--key", "id", "--check"), "does not adopt"),
        (("file:users.jsonl", "file:log", "--key", "id", "--as", "x"), "the table name"),
        (("file:users.jsonl", "file:nolog", "--key", "id"), "nolog"),
    ],
)
def test_bad_input_is_refused(place: Path, args: tuple[str, ...], says: str) -> None:
    ran = binlog("adopt", *args, "--snapshots", "file:kept")
    assert ran.status == 2, ran
    assert says in ran.err
