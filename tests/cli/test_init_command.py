"""`binlog init`: a log appears whole, once, and says so when it is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import binlog


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"file:{tmp_path}/log"


def test_says_created_and_then_exists(address: str) -> None:
    first, second = binlog("init", address), binlog("init", address)
    assert (first.status, second.status) == (0, 0)
    assert first.out.startswith(f"created {address}: 64 partitions, log id ")
    assert second.out == first.out.replace("created", "exists", 1)
    assert first.err == second.err == ""


def test_json_has_the_pinned_parameters(address: str) -> None:
    made = json.loads(binlog("init", address, "--partitions=8", "--session-age=5m", "--json").out)
    again = json.loads(
        binlog("init", address, "--partitions=8", "--session-age=300s", "--json").out
    )
    assert made["state"] == "created"
    assert again == made | {"state": "exists"}
    assert made["params"]["partitions"] == 8
    assert made["params"]["session_age_ms"] == 300_000
    assert len(made["params"]["log_id"]) == 32


@pytest.mark.parametrize(
    "options",
    [
        ["--partitions=8"],
        ["--session-age=14m"],
        ["--session-life=2h"],
        ["--id-window=9"],
        ["--hold-frames=9"],
        ["--foreign=skip"],
    ],
)
def test_other_parameters_than_the_logs_are_refused_and_named(
    address: str, options: list[str]
) -> None:
    binlog("init", address)
    ran = binlog("init", address, *options)
    assert ran.status == 2
    assert "found" in ran.err
    assert "expected" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--partitions=0"],
        ["--partitions=-1"],
        ["--partitions=5000"],
        ["--partitions=x"],
        ["--session-age=2h"],
        ["--session-age=0s"],
        ["--session-age=fast"],
        ["--id-window=0"],
        ["--hold-frames=0"],
        ["--foreign=eat"],
    ],
)
def test_parameters_that_cannot_be_are_refused_and_leave_nothing(
    address: str, tmp_path: Path, options: list[str]
) -> None:
    assert binlog("init", address, *options).status == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["log", "kinesis://s", "memory:", "sqlite:x.db", "file:", ""])
def test_refuses_what_is_no_place_for_a_log(address: str) -> None:
    assert binlog("init", address).status == 2


def test_refuses_a_directory_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    ran = binlog("init", f"file:{tmp_path}")
    assert ran.status == 2
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_place_that_cannot_be_written_is_status_3(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    ran = binlog("init", f"file:{tmp_path}/file/log")
    assert ran.status == 3
    assert "Not a directory" in ran.err


def test_one_partition_is_one(tmp_path: Path) -> None:
    ran = binlog("init", f"file:{tmp_path / 'log'}", "--partitions=1")
    assert ": 1 partition, log id " in ran.out
