"""Bad input is exit status 2 in one line, by one rule for all verbs; what a log has lost is 3.

The same of streams and tables: `tests/integration/test_bad_input_live.py`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.running import append, binlog

READERS = (["cat"], ["status"], ["check"], ["halted"], ["append"])
REPLAYS = (["rebuild"], ["replicate", "--once"])
BOTH = (*REPLAYS, ["status"], ["check"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two logs, a store of the first, and things that are neither."""
    for name in ("log", "other"):
        assert binlog("init", f"file:{tmp_path / name}", "--partitions=2").status == 0
        append(f"file:{tmp_path / name}", {"id": "a", "n": 1}, {"id": "b"})
    assert binlog("rebuild", f"file:{tmp_path}/log", f"sqlite:{tmp_path}/store.db").status == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mine").touch()
    (tmp_path / "notes.txt").write_text("x" * 200)
    return tmp_path


def refused(*arguments: str, says: str, does: str) -> None:
    ran = binlog(*arguments)
    assert ran.status == 2, (arguments, ran)
    assert not ran.out, arguments
    assert says in ran.err, arguments
    assert does in ran.err, arguments


@pytest.mark.parametrize(
    ("name", "says", "does"),
    [
        ("none", "no log there", "binlog init file:"),
        ("empty", "a directory, but not a log's", "binlog init file:"),
        ("folder", "a directory, but not a log's", "binlog init file:"),
        ("notes.txt", "a file, not the directory of a log", "give a log's directory"),
    ],
)
def test_what_is_no_log_is_so_for_every_verb(place: Path, name: str, says: str, does: str) -> None:
    log, store = f"file:{place / name}", f"sqlite:{place}/store.db"
    for verb, *options in READERS:
        refused(verb, log, *options, says=says, does=does)
    for verb, *options in REPLAYS:
        refused(verb, log, "memory:", *options, says=says, does=does)
    refused("verify", store, log, says=says, does=does)
    refused("resolve", log, "0", "0:1", "skip", says=says, does=does)
    refused("relay", log, f"file:{place}/log", says=says, does=does)
    refused("relay", f"file:{place}/log", log, says=says, does=does)


@pytest.mark.parametrize(
    ("name", "says", "does"),
    [
        ("notes.txt", "not an SQLite file", "name another file"),
        ("folder", "a directory", ""),
    ],
)
def test_what_is_no_store_is_so_for_every_verb(
    place: Path, name: str, says: str, does: str
) -> None:
    log, store = f"file:{place}/log", f"sqlite:{place / name}"
    for verb, *options in BOTH:
        refused(verb, log, store, *options, says=says, does=does)
    for verb, *options in (["digest"], ["dump", "--table=users"]):
        refused(verb, store, *options, says=says, does=does)
    refused("verify", store, f"sqlite:{place}/store.db", says=says, does=does)
    refused("verify", store, log, says=says, does=does)


def test_a_store_of_another_log_is_so_for_every_verb(place: Path) -> None:
    log, store = f"file:{place}/other", f"sqlite:{place}/store.db"
    for verb, *options in BOTH:
        refused(verb, log, store, *options, says="log", does="made from")
    refused("verify", store, log, says="another log", does="name the log that it was made from")


RULES = """
from appliers.applier import Appliers

shop = Appliers()


@shop.on("Seen", table="users", version={version})
def seen(item, event):
    return item
"""


def test_a_store_of_other_rules_is_so_for_every_verb(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, store = f"file:{place}/log", f"sqlite:{place}/ruled.db"
    for version in (1, 2):
        (place / f"rules_of_{version}.py").write_text(RULES.format(version=version))
    monkeypatch.syspath_prepend(str(place))
    seen = {"Action": "Event", "Type": "Seen", "Key": {"id": "a"}}
    assert append(log, seen).status == 0
    assert binlog("rebuild", log, store, "--appliers=rules_of_1:shop").status == 0
    for options in ((), ("--appliers=rules_of_2:shop",)):
        refused("replicate", log, store, "--once", *options, says="made by", does="appliers")
        refused("verify", store, log, *options, says="made by", does="appliers")


def test_a_log_that_lost_its_end_is_a_failure_for_every_verb(place: Path) -> None:
    """No argument mends it: it must not look like a typing mistake to whoever is called at night."""
    log, store = f"file:{place}/log", f"sqlite:{place}/store.db"
    shutil.copytree(place / "log", place / "older")
    append(log, *({"id": f"new{n}"} for n in range(20)))
    assert binlog("replicate", log, store, "--once").status == 0
    shutil.rmtree(place / "log")
    (place / "older").rename(place / "log")
    for arguments in (
        ("replicate", log, store, "--once"),
        ("status", log, store),
        ("verify", store, log),
    ):
        ran = binlog(*arguments)
        assert ran.status == 3, (arguments, ran)
        assert "the store is ahead of the log" in ran.err
        assert "restore the log, or rebuild the store" in ran.err
    ran = binlog("check", log, store)
    assert ran.status == 1
    assert "checkpoint-position" in ran.out
    assert binlog("rebuild", log, store).status == 0, "which is the remedy"


def test_a_refused_line_says_what_to_do_and_where_to_go_on(place: Path) -> None:
    log = f"file:{place}/log"
    ran = binlog("append", log, given=b'{"Table": "users"}\n')
    assert ran.status == 2
    assert "name it in the line (Table) or by --table; then append again from this line" in ran.err
    ran = append(log, {"id": "c"}, b"{")
    assert ran.status == 2
    assert ": line 2: mend it and append again from this line on, those before it are in" in ran.err


def test_key_names_of_an_older_log_replay(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were published before there was a limit, and an exclusion may name them."""
    log, name = f"file:{place}/log", "n" * 300
    with monkeypatch.context() as older:
        older.setattr("binlog.fields._check_key_name", lambda *_: None)
        assert append(log, {name: "a"}, key=name).status == 0
    assert append(log, {name: "b"}, key=name).status == 2
    [document] = binlog("rebuild", log, "memory:", "--json").lines
    assert document["items"] == 3
    rule = f"key=users:{json.dumps({name: 'a'})}"
    [document] = binlog("rebuild", log, "memory:", "--json", f"--exclude={rule}").lines
    assert (document["items"], document["excluded"]) == (2, 1)
