"""`status`, `check`, `halted`, `resolve`: what they print and how they end."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from binlog.log import Put
from binlog.logs import DirectoryLog
from binlog.logs.block import encode_block, signature
from binlog.logs.note import Note, decode_note, encode_note
from tests.acceptance.acceptance_support import (
    World,
    binlog,
    dump,
    inside,
    inside_refused,
    ok,
    refused,
    vector_of,
)

STATUS = [
    "partition",
    "offset",
    "applied",
    "lag_events",
    "lag_seconds",
    "held",
    "parked",
    "position",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("operation"))
    world.put(*({"id": f"k{n}"} for n in range(30)))
    world.rebuild(world.store("behind"))
    world.put(*({"id": f"k{n}", "again": True} for n in range(30)))
    world.rebuild(world.store("here"))
    return world


# -- status --------------------------------------------------------------------------------------


def test_status_shows_each_partition(world: World) -> None:
    end = vector_of(world.events())
    rows = ok("status", world.log, "--json").document["partitions"]
    assert [row["partition"] for row in rows] == [0, 1, 2, 3]
    for row in rows:
        assert set(STATUS) <= set(row)
        assert row["offset"] == end.get(str(row["partition"]), 0)
        assert row["held"] == 0
    behind = ok("status", world.log, world.store("behind"), "--json").document["partitions"]
    applied = ok("digest", world.store("behind"), "--json").document["vector"]
    assert any(row["lag_events"] for row in behind)
    for row in behind:
        assert list(row)[: len(STATUS)] == STATUS  # what was there first stays, as it was
        partition = str(row["partition"])
        assert (row["offset"], row["applied"]) == (end.get(partition, 0), applied.get(partition, 0))
        assert row["lag_events"] == row["offset"] - row["applied"]
        assert (row["lag_seconds"] > 0) == (row["lag_events"] > 0)
        assert row["parked"] == 0
    here = ok("status", world.log, world.store("here"), "--json").document["partitions"]
    assert all(row["lag_events"] == row["lag_seconds"] == 0 for row in here)
    assert "behind" in ok("status", world.log, world.store("behind")).out


# -- check ---------------------------------------------------------------------------------------


def test_check_of_what_is_sound_finds_nothing(world: World) -> None:
    assert ok("check", world.log, "--json").document == {"ok": True, "findings": []}
    for name in ("behind", "here"):
        document = ok("check", world.log, world.store(name), "--json").document
        assert document == {"ok": True, "findings": []}
    assert "ok" in ok("check", world.log).out


def test_check_reports_every_finding_of_a_store(world: World) -> None:
    shutil.copy(world.directory / "here.db", world.directory / "bad.db")
    with contextlib.closing(sqlite3.connect(world.directory / "bad.db")) as connection:
        connection.execute("DELETE FROM users WHERE key LIKE '%k5\"%'")
        connection.execute("UPDATE users SET version = 999999 WHERE key LIKE '%k6\"%'")
        connection.execute("UPDATE users SET item = '{' WHERE key LIKE '%k7\"%'")
        connection.execute("UPDATE _binlog_checkpoints SET offset = offset + 1 WHERE partition = 0")
        connection.commit()
    ran = binlog("check", world.log, world.store("bad"), "--json")
    assert ran.status == 1
    document = ran.document
    assert list(document) == ["ok", "findings"]
    assert document["ok"] is False
    assert all(list(finding) == ["rule", "where", "detail"] for finding in document["findings"])
    everything = json.dumps(document["findings"])
    for trace in ("k6", "k7", "partition 0"):
        assert trace in everything


# -- halted, resolve -----------------------------------------------------------------------------


def write_rubbish(world: World, partition: int) -> None:
    """A durable block, sound in itself, that holds no frame: no producer of ours writes one."""
    with contextlib.closing(DirectoryLog(world.path)) as log:
        log_id = bytes.fromhex(log.params.log_id)
    note_path = world.path / "note"
    note = decode_note(note_path.read_bytes(), log_id)
    data = b"no frame of ours"
    block = encode_block(
        signature(log_id, 0), note.end, note.arrival_ms, [Put(partition, data)], [data]
    )
    with world.segments()[0].open("r+b") as segment:
        segment.seek(note.end)
        segment.write(block)
    moved = Note(note.counter + 1, note.segment, note.end + len(block), note.arrival_ms)
    slot, at = encode_note(moved, log_id)
    with note_path.open("r+b") as file:
        file.seek(at)
        file.write(slot)


@pytest.fixture
def halted(tmp_path: Path) -> World:
    """A log whose partition 1 holds a record that nobody can read, and goes on behind it."""
    world = World(tmp_path, partitions=3)
    world.put(*({"id": f"k{n}", "run": 1} for n in range(12)))
    write_rubbish(world, partition=1)
    world.put(*({"id": f"k{n}", "run": 2} for n in range(12)))
    return world


def test_a_halt_stops_its_partition_is_listed_and_resolved(halted: World) -> None:
    ran = binlog("halted", halted.log, "--json")
    assert ran.status == 1
    [halt] = ran.document["halts"]
    assert (halt["partition"], halt["rule"]) == (1, "undecodable")
    options = {decision["decision"] for decision in halt["decisions"]}
    assert "skip" in options
    assert halt["position"] in inside("halted", halted.log).out

    stopped = binlog("cat", halted.log, "--json")
    assert stopped.status == 3
    assert "partition 1" in stopped.err
    assert "resolve" in stopped.err
    shown: dict[int, int] = {}
    for event in stopped.lines:
        shown[event["partition"]] = event["offset"]
    assert shown[1] == halt["offset"]
    assert "partition 1" in inside_refused(3, "rebuild", halted.log, "memory:")
    refused(3, "replicate", halted.log, halted.store("one"), "--once")
    assert inside("status", halted.log, "--json").status == 1
    checked = inside("check", halted.log, "--json")
    assert checked.status == 1
    assert [finding["rule"] for finding in checked.document["findings"]] == ["halt"]

    place = [halted.log, "1", halt["position"]]
    dry = ok("resolve", *place, "skip", "--dry-run", "--json").document
    assert dry["written"] is None
    assert inside("halted", halted.log).status == 1
    inside_refused(2, "resolve", *place, "accept")  # not a decision about this rule
    inside_refused(2, "resolve", halted.log, "0", halt["position"], "skip")
    inside_refused(2, "resolve", halted.log, "1", "0:1", "skip")
    inside_refused(2, "resolve", halted.log, "99", halt["position"], "skip")
    written = ok("resolve", *place, "skip", "--json").document
    assert written["decision"] == "skip"

    assert ok("halted", halted.log, "--json").document == {"halts": []}
    events = halted.events()
    assert len(events) == 24
    assert [e for e in halted.events("--control") if e["type"].startswith("binlog.")]
    report = halted.rebuild(halted.store("two"))
    assert halted.replicate(halted.store("one"))["tables"] == report["tables"]
    assert all(item["run"] == 2 for item in dump(halted.store("one")))
    inside_refused(2, "resolve", *place, "skip")  # it is not halted any more
    assert ok("check", halted.log, halted.store("one"), "--json").document["ok"] is True


def test_a_log_without_halts_says_so(world: World) -> None:
    assert ok("halted", world.log, "--json").document == {"halts": []}
    assert ok("halted", world.log).out.count("\n") == 1


def test_status_of_a_damaged_log_is_unhealthy(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.path, tmp_path / "log")
    [segment] = (tmp_path / "log").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    ran = binlog("status", f"file:{tmp_path}/log", "--json")
    assert ran.status in (1, 3)
    assert "segment" in ran.err
    kept: dict[str, Any] = binlog("check", f"file:{tmp_path}/log", "--json").document
    assert kept["ok"] is False
