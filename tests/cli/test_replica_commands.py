"""`dump`, `digest` and `verify`: what they print of stores, and how they end."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from appliers.digest import TableDigest
from appliers.item import Row
from appliers.stores import SQLiteStore
from binlog.json_values import item_data
from binlog.values import encode_item
from tests.cli.running import append, binlog
from tests.contracts.store_contract import checkpoint, key, row
from tests.stores.test_verify import fill

HOSTILE = {
    "id": "é\u0000\u2028'\"",
    "n": Decimal("12345678901234567890123456789012345.678"),
    "tenth": Decimal("0.1"),
    "big": 10**37 + 1,
    "bin": b"\0\xff",
    "set": {"b", "a"},
    "nested": [None, True, {"x": -5}],
}


def store(path: Path, rows: dict[str, Row], **more: Any) -> str:
    with closing(SQLiteStore(path)) as made:
        fill(made, {"orders": rows, "empty": {}}, **more)
    return f"sqlite:{path}"


@pytest.fixture
def one(tmp_path: Path) -> str:
    rows = {f"k{n}": row(f"k{n}", n + 1, gone=n == 3) for n in range(5)}
    return store(tmp_path / "one.db", rows)


# -- dump ----------------------------------------------------------------------------------------


def test_dump_prints_living_items_in_key_order_every_digit_kept(tmp_path: Path) -> None:
    """Canonical key bytes: a short text before a long one, whatever the letters."""
    rows = {name: row(name, 1) for name in ("b", "aa", "c")}
    rows["gone"] = row("gone", 9, gone=True)
    rows["z" * 40] = Row(2, 0, encode_item(HOSTILE | {"id": "z" * 40}))
    address = store(tmp_path / "s.db", rows)
    for extra in ([], ["--json"]):
        ran = binlog("dump", address, "--table", "orders", *extra)
        assert ran.status == 0
        assert [line["id"] for line in ran.lines] == ["b", "c", "aa", "z" * 40]
        last = ran.lines[-1]
        assert (last["n"], last["tenth"]) == (str(HOSTILE["n"]), "0.1")
        assert last["big"] == 10**37 + 1
        assert (last["bin"], last["set"], last["nested"]) == (
            "AP8=",
            ["a", "b"],
            [None, True, {"x": -5}],
        )
        assert "_binlog" not in last


def test_dump_as_dynamodb_loses_nothing(tmp_path: Path) -> None:
    """What is dumped can be loaded into a table and have the same digest."""
    address = store(tmp_path / "s.db", {"x": Row(2, 0, encode_item(HOSTILE))})
    ran = binlog("dump", address, "--table", "orders", "--format", "dynamodb", "--json")
    assert item_data(ran.out) == encode_item(HOSTILE)
    assert json.loads(ran.out)["bin"] == {"B": "AP8="}


def test_dump_prints_every_item_of_many(tmp_path: Path) -> None:
    """Lines go out in batches; none is lost at the seams."""
    rows = {f"k{n}": row(f"k{n}", 1) for n in range(1_501)}
    address = store(tmp_path / "s.db", rows)
    assert {line["id"] for line in binlog("dump", address, "--table", "orders").lines} == set(rows)
    assert binlog("dump", address, "--table", "empty").out == ""


def test_dump_of_a_table_that_is_not_there_names_those_that_are(one: str) -> None:
    """An empty answer would be a wrong one."""
    ran = binlog("dump", one, "--table", "Orders")
    assert ran.status == 2
    assert ran.out == ""
    assert "no table Orders" in ran.err
    assert "it has empty, orders" in ran.err
    assert binlog("dump", one).status == 2


# -- digest --------------------------------------------------------------------------------------


def test_digest_prints_the_document_of_the_contract(one: str) -> None:
    """Counts, digest, vector and exclusions of each table, recomputed from its rows."""
    ran = binlog("digest", one, "--json")
    assert ran.status == 0
    [document] = ran.lines
    rows = [(key(f"k{n}"), row(f"k{n}", n + 1, gone=n == 3)) for n in range(5)]
    same = {"vector": {"0": 9}, "excluded": [], "parked": 0}
    assert document == {
        "vector": {"0": 9},
        "tables": {
            "empty": {"items": 0, "tombstones": 0, "digest": "0" * 64} | same,
            "orders": {
                "items": 4,
                "tombstones": 1,
                "digest": TableDigest("orders").add(rows).hexdigest(),
            }
            | same,
        },
    }


def test_digest_shows_a_table_that_stands_elsewhere(tmp_path: Path, one: str) -> None:
    """The store's vector is the least of its tables' (C0)."""
    with closing(SQLiteStore(tmp_path / "one.db")) as made:
        rows = {"a": row("a", 1, parked=True, tail=4)}
        fill(made, {"users": rows}, named=["users"], at=checkpoint(0, 4), excluded=("type=x",))
    [document] = binlog("digest", one, "--json").lines
    assert document["vector"] == {"0": 4}
    assert document["tables"]["orders"]["vector"] == {"0": 9}
    assert document["tables"]["users"]["vector"] == {"0": 4}
    assert document["tables"]["users"]["excluded"] == ["type=x"]
    assert document["tables"]["users"]["parked"] == 1
    text = binlog("digest", one).out
    assert document["tables"]["users"]["digest"] in text
    assert 'vector of orders {"0":9}' in text
    assert "excluded from users: type=x" in text


def test_digest_says_of_a_damaged_row_which_it_is(tmp_path: Path, one: str) -> None:
    """There is no digest of what cannot be read."""
    with closing(sqlite3.connect(tmp_path / "one.db")) as connection:
        connection.execute("UPDATE orders SET item = 'oops' WHERE version = 2")
        connection.commit()
    for verb in (["digest"], ["dump", "--table", "orders"]):
        ran = binlog(verb[0], one, *verb[1:], "--json")
        assert ran.status == 3
        assert 'key {"id":{"S":"k1"}}' in ran.err


# -- verify --------------------------------------------------------------------------------------


def test_verify_says_equal(tmp_path: Path, one: str) -> None:
    """Also of two whose files are nothing like each other."""
    rows = {f"k{n}": row(f"k{n}", n + 1, gone=n == 3) for n in (4, 3, 2, 1, 0)}
    two = store(tmp_path / "two.db", rows)
    ran = binlog("verify", one, two, "--json")
    assert (ran.status, ran.lines) == (
        0,
        [{"equal": True, "tables": {"empty": {"differing": []}, "orders": {"differing": []}}}],
    )
    ran = binlog("verify", one, two)
    assert (ran.status, ran.out) == (0, "equal: 5 keys in 2 tables\n")


@pytest.mark.parametrize("spool_bytes", [10, 1_000_000])
def test_verify_names_each_differing_key_with_both_sides(
    tmp_path: Path, one: str, spool_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed, a missing, an added, a deleted and a broken row; the document stays whole."""
    monkeypatch.setattr("binlog.cli.verify._MEMORY_BYTES", spool_bytes)
    rows = {f"k{n}": row(f"k{n}", n + 1, gone=n == 3) for n in range(5) if n != 1}
    rows["k0"] = row("k0", 7)
    rows["k2"] = row("k2", 3, gone=True)
    rows["k9"] = row("k9", 9, parked=True, tail=11)
    two = store(tmp_path / "two.db", rows)
    with closing(sqlite3.connect(tmp_path / "two.db")) as connection:
        connection.execute("UPDATE orders SET item = '' WHERE key LIKE '%k4%'")
        connection.commit()
    ran = binlog("verify", one, two, "--json")
    assert ran.status == 1
    [document] = ran.lines
    assert document["equal"] is False
    assert document["tables"]["empty"] == {"differing": []}
    found = {d.pop("key")["id"]: d for d in document["tables"]["orders"]["differing"]}
    assert list(found) == ["k0", "k1", "k2", "k4", "k9"]
    assert found["k0"] == {
        "left": {"id": "k0", "at": 1},
        "right": {"id": "k0", "at": 7},
        "left_version": 1,
        "right_version": 7,
    }
    assert found["k1"]["left_version"] == 2
    assert (found["k1"]["right"], found["k1"]["right_version"]) == (None, 0)
    assert (found["k2"]["right"], found["k2"]["right_version"]) == (None, 3)
    assert "damaged" in found["k4"]["right_damage"]
    assert (found["k9"]["left"], found["k9"]["left_version"]) == (None, 0)
    assert (found["k9"]["left_parked"], found["k9"]["right_parked"]) == (0, 1)
    text = binlog("verify", one, two)
    assert text.status == 1
    assert text.out.endswith("different: 5 of 6 keys in 2 tables\n")
    assert text.out.count("\n") == 16
    assert '  left   version 3  {"at":3,"id":"k2"}\n  right  version 3, deleted\n' in text.out


def test_verify_can_show_types(tmp_path: Path) -> None:
    """In plain JSON a text and the same bytes may look alike, and differ all the same."""
    one = store(tmp_path / "one.db", {"a": Row(1, 0, encode_item({"id": "AA=="}))})
    two = store(tmp_path / "two.db", {"a": Row(1, 0, encode_item({"id": b"\0"}))})
    [plain] = binlog("verify", one, two, "--json").lines
    [found] = plain["tables"]["orders"]["differing"]
    assert found["left"] == found["right"]
    [typed] = binlog("verify", one, two, "--json", "--format", "dynamodb").lines
    [found] = typed["tables"]["orders"]["differing"]
    assert (found["left"], found["right"]) == ({"id": {"S": "AA=="}}, {"id": {"B": "AA=="}})


def test_verify_names_a_table_that_one_side_lacks(tmp_path: Path, one: str) -> None:
    """Even an empty one: a replica has it, or is another."""
    with closing(SQLiteStore(tmp_path / "two.db")) as made:
        fill(made, {"orders": {f"k{n}": row(f"k{n}", n + 1, gone=n == 3) for n in range(5)}})
    ran = binlog("verify", one, f"sqlite:{tmp_path}/two.db", "--json")
    assert ran.status == 1
    [document] = ran.lines
    assert document["tables"]["empty"] == {"differing": [], "lacking": "right"}
    assert (
        "the right store does not have it" in binlog("verify", one, f"sqlite:{tmp_path}/two.db").out
    )


def test_verify_refuses_what_is_not_meant_to_be_equal(tmp_path: Path, one: str) -> None:
    """Exit 2 with both vectors, not a million differences."""
    two = store(tmp_path / "two.db", {}, at=checkpoint(0, 7))
    ran = binlog("verify", one, two, "--json")
    assert (ran.status, ran.out) == (2, "")
    assert "partition 0: 9 and 7" in ran.err


# -- what is no store ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [["digest"], ["dump", "--table", "t"], ["verify"]])
def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path, one: str, verb: list[str]) -> None:
    """Nothing is made by asking."""
    text = tmp_path / "notes.txt"
    text.write_text("x" * 200)
    other = [one] if verb == ["verify"] else []
    for address, status, says in (
        (f"sqlite:{tmp_path}/absent.db", 2, "there is no store"),
        (f"sqlite:{text}", 2, "not an SQLite file"),
        (f"sqlite:{tmp_path}", 2, "a directory"),
        (str(tmp_path / "one.db"), 2, "write sqlite:"),
        ("postgres:x", 2, "unknown scheme"),
        ("kinesis://x", 2, "no store's address"),
    ):
        ran = binlog(verb[0], address, *other, *verb[1:], "--json")
        assert (ran.status, ran.out) == (status, ""), ran.err
        assert says in ran.err
    assert not (tmp_path / "absent.db").exists()


def test_from_the_log_to_the_same_digest_by_two_ways(tmp_path: Path) -> None:
    """The whole way once: append, rebuild and replicate, digest, dump, verify."""
    log, one, two = f"file:{tmp_path}/log", f"sqlite:{tmp_path}/1.db", f"sqlite:{tmp_path}/2.db"
    assert binlog("init", log, "--partitions", "4").status == 0
    lines = [{"id": f"u{n % 7}", "n": n} for n in range(40)]
    deletion = {"Action": "DeleteItem", "Key": {"id": "u3"}}
    assert append(log, *lines, deletion).status == 0
    assert binlog("rebuild", log, one, "--json").status == 0
    assert binlog("replicate", log, two, "--once", "--json").status == 0
    digests = [json.loads(binlog("digest", each, "--json").out) for each in (one, two)]
    assert digests[0] == digests[1]
    assert digests[0]["tables"]["users"]["items"] == 6
    assert digests[0]["tables"]["users"]["tombstones"] == 1
    dumped = binlog("dump", one, "--table", "users").lines
    assert dumped == [{"id": f"u{n}", "n": 35 + n if n < 5 else 28 + n} for n in (0, 1, 2, 4, 5, 6)]
    assert binlog("verify", one, two).status == 0
