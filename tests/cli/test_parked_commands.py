"""`--park`, `parked`, `redrive`, and what `status` and `check` say of parked keys."""

from __future__ import annotations

import linecache
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cli.running import Ran, binlog

RULES = """
from appliers.applier import ApplierError, Appliers

appliers = Appliers()

@appliers.on("Paid", table="orders")
def pay(item, event):
    {check}
    return {{**(item or event.key), "paid": [*(item or {{}}).get("paid", ()), event.data]}}
"""
BROKEN = "if event.data == 2: raise ApplierError('two is not liked')"
LINES = [
    {
        "Action": "Event",
        "Type": "Paid",
        "Table": "orders",
        "Key": {"id": "a"},
        "Data": 1,
        "Id": "i1",
    },
    {
        "Action": "Event",
        "Type": "Paid",
        "Table": "orders",
        "Key": {"id": "a"},
        "Data": 2,
        "Id": "i2",
    },
    {
        "Action": "Event",
        "Type": "Paid",
        "Table": "orders",
        "Key": {"id": "a"},
        "Data": 3,
        "Id": "i3",
    },
    {
        "Action": "Event",
        "Type": "Paid",
        "Table": "orders",
        "Key": {"id": "b"},
        "Data": 3,
        "Id": "i4",
    },
]


@pytest.fixture
def parked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A log and a store in which a key is parked; the applier is the module `parking_rules`."""
    monkeypatch.chdir(tmp_path)
    write_rules(BROKEN)
    log, store = f"file:{tmp_path / 'log'}", f"sqlite:{tmp_path / 'a.db'}"
    assert binlog("init", log, "--partitions", "2").status == 0
    Path("lines").write_bytes(b"\n".join(map(msgspec.json.encode, LINES)))
    assert binlog("append", log, "lines").status == 0
    stopped = with_rules("replicate", log, store, "--once")
    assert stopped.status == 3
    assert "two is not liked" in stopped.err
    assert with_rules("rebuild", log, f"sqlite:{tmp_path / 'b.db'}").status == 3
    done = with_rules("replicate", log, store, "--once", "--park", "--json")
    assert done.status == 0
    assert done.lines[0]["parked"] == 2
    return log, store


def write_rules(check: str) -> None:
    """In one process a module's source is remembered, also by what hashes it."""
    sys.modules.pop("parking_rules", None)
    linecache.clearcache()
    Path("parking_rules.py").write_text(RULES.format(check=check), encoding="utf-8")


def with_rules(*arguments: str) -> Ran:
    return binlog(*arguments, "--appliers", "parking_rules:appliers")


def test_parked_lists_the_keys_and_why(parked: tuple[str, str]) -> None:
    log, store = parked
    ran = binlog("parked", store, "--json")
    assert ran.status == 1
    [found] = ran.lines[0]["parked"]
    assert found == {
        "table": "orders",
        "key": {"id": "a"},
        "alone": False,
        "events": 2,
        "partition": found["partition"],
        "offset": 2,
        "last_offset": 3,
        "id": "i2",
        "type": "Paid",
        "reason": "two is not liked",
    }
    text = binlog("parked", store)
    assert (text.status, "two is not liked" in text.out) == (1, True)
    assert binlog("parked", store, "--table", "other").status == 0
    ran = binlog("status", log, store, "--json")
    assert ran.status == 1
    assert sum(each["parked"] for each in ran.lines[0]["partitions"]) == 1
    assert "a key is parked" in ran.err
    digest = binlog("digest", store, "--json").lines[0]
    assert digest["tables"]["orders"]["parked"] == 1


def test_a_rebuild_that_parks_is_the_same_and_check_is_content(
    parked: tuple[str, str], tmp_path: Path
) -> None:
    log, store = parked
    other = f"sqlite:{tmp_path / 'b.db'}"
    assert with_rules("rebuild", log, other, "--park").status == 0
    assert binlog("verify", store, other).status == 0
    assert with_rules("verify", store, log).status == 0
    assert with_rules("check", log, store).status == 0
    assert binlog("digest", store).out == binlog("digest", other).out


def test_redrive_says_first_and_then_does(parked: tuple[str, str], tmp_path: Path) -> None:
    log, store = parked
    ran = with_rules("redrive", store, "--yes", "--json")
    assert ran.status == 1
    [found] = ran.lines[0]["redriven"]
    assert (found["outcome"], found["left"]) == ("stays", 2)
    assert found["stopped"]["id"] == "i2"
    write_rules("pass")
    assert with_rules("redrive", store).status == 2
    ran = with_rules("redrive", store, "--same-meaning")
    assert ran.status == 0
    assert "nothing was written" in ran.err
    assert binlog("parked", store).status == 1
    ran = with_rules("redrive", store, "--same-meaning", "--yes", "--key", '{"id": "a"}', "--json")
    assert ran.status == 0
    assert ran.lines[0]["redriven"][0]["outcome"] == "back"
    assert binlog("parked", store, "--json").lines[0] == {"parked": []}
    other = f"sqlite:{tmp_path / 'b.db'}"
    assert with_rules("rebuild", log, other).status == 0
    assert binlog("verify", store, other).status == 0
    assert with_rules("status", log, store).status == 2  # it takes no appliers
    assert binlog("status", log, store).status == 0


@pytest.mark.parametrize(
    ("statement", "rule", "says"),
    [
        ("DELETE FROM _binlog_letters", "parked", "no dead letter of it is there"),
        ("DELETE FROM _binlog_letters WHERE version = 2", "parked", "says no reason"),
        ("DELETE FROM _binlog_letters WHERE version = 2", "letter", "is missing among"),
        ("DELETE FROM _binlog_letters WHERE version = 3", "parked", "its tail is 3"),
        ("UPDATE orders SET parked = 0, tail = 0", "letter", "not parked"),
        ("UPDATE orders SET parked = 0", "parked", "not parked, and has a tail"),
        ("UPDATE orders SET tail = 1 WHERE parked", "parked", "not beyond its version"),
        ("UPDATE orders SET tail = 9 WHERE parked", "parked", "ahead of its partition"),
        ("UPDATE _binlog_letters SET event = x'00'", "letter", "is another one in the log"),
        (
            "UPDATE _binlog_letters SET version = 1 WHERE version = 2",
            "parked",
            "in the item already",
        ),
    ],
)
def test_check_finds_what_does_not_belong_together(
    parked: tuple[str, str], tmp_path: Path, statement: str, rule: str, says: str
) -> None:
    log, store = parked
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(statement)
        connection.commit()
    ran = with_rules("check", log, store, "--json")
    assert ran.status == 1
    found: list[dict[str, Any]] = ran.lines[0]["findings"]
    assert any(each["rule"] == rule and says in each["detail"] for each in found), found


def test_a_dry_run_that_is_meant_is_refused() -> None:
    assert binlog("redrive", "sqlite:a.db", "--dry-run", "--yes").status == 2


def test_an_event_that_never_fits_is_left_out_and_recorded(parked: tuple[str, str]) -> None:
    """Without a rebuild; what comes out verifies against the log by the rule that is recorded."""
    log, store = parked
    parks = with_rules("replicate", log, store, "--once", "--park")
    assert parks.status == 0, parks.err
    refused = with_rules("redrive", store, "--without", "i2", "--table", "orders")
    assert (refused.status, "--without is for all" in refused.err) == (2, True)
    unknown = with_rules("redrive", store, "--without", "i9")
    assert (unknown.status, "no event 'i9' waits" in unknown.err) == (2, True)
    ran = with_rules("redrive", store, "--without", "i2", "--yes", "--json")
    assert ran.status == 0, ran.err
    [document] = ran.lines
    [rule] = document["without"]
    assert rule.startswith("offsets=")
    assert [each["outcome"] for each in document["redriven"]] == ["back"]
    assert with_rules("verify", store, log).status == 0
    [status] = binlog("status", log, store, "--json").lines
    assert status["excluded"] == [{"tables": ["orders"], "open": True, "rules": [rule]}]
