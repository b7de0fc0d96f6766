"""`doctor` where everything is a file: disk, clock, and whether log and store belong together."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from binlog.clock import ManualClock, SystemClock
from binlog.logs import DirectoryLog
from consumers.health import Doctor
from tests.cli.running import append, binlog


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk with room, whatever the machine's has."""
    usage = SimpleNamespace(total=100 * 2**30, free=50 * 2**30, used=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    return usage


@pytest.fixture
def log(tmp_path: Path) -> str:
    address = f"file:{tmp_path / 'log'}"
    assert binlog("init", address, "--partitions", "4").status == 0
    append(address, *({"id": f"u{n}"} for n in range(20)))
    return address


@pytest.fixture
def store(tmp_path: Path, log: str) -> str:
    address = f"sqlite:{tmp_path / 'replica.db'}"
    assert binlog("rebuild", log, address).status == 0
    return address


def look(*arguments: str, status: int = 0) -> Mapping[str, Mapping[str, Any]]:
    ran = binlog("doctor", *arguments, "--json")
    assert ran.status == status, ran.out + ran.err
    document = json.loads(ran.out)
    assert document["policy"] is None
    assert document["healthy"] == (status == 0)
    return {each["check"]: each for each in document["findings"]}


def test_a_healthy_log_and_its_store(log: str, store: str) -> None:
    """No library of a service is needed for it."""
    found = look(log, store)
    assert {each["state"] for each in found.values()} == {"ok"}
    assert list(found) == ["versions", "disk", "log", "clock", "store"]
    assert found["store"]["what"] == "1 table, 20 events applied"
    assert "4 partitions" in found["log"]["what"]
    assert binlog("doctor", log, store).out.splitlines()[-1] == "healthy: 5 ok"


def test_no_log_and_no_store(log: str, tmp_path: Path) -> None:
    found = look(f"file:{tmp_path}/none", status=1)
    assert found["log"]["state"] == "unhealthy"
    assert "binlog init" in found["log"]["do"]
    found = look(log, f"sqlite:{tmp_path}/none.db", status=1)
    assert (found["log"]["state"], found["store"]["state"]) == ("ok", "unhealthy")
    assert "rebuild" in found["store"]["do"]


def test_a_store_of_another_log(store: str, tmp_path: Path) -> None:
    other = f"file:{tmp_path / 'other'}"
    binlog("init", other, "--partitions", "4")
    found = look(other, store, status=1)
    assert "belongs to log" in found["store"]["what"]


def test_a_full_disk_is_unhealthy(log: str, roomy: SimpleNamespace) -> None:
    """A log that cannot grow acknowledges nothing."""
    usage = roomy
    usage.free = 2**30
    found = look(log, status=1)
    assert found["disk"]["what"] == "1.0 GiB of 100.0 are free"
    usage.free = 3 * 2**30
    assert look(log)["disk"]["state"] == "ok"
    usage.total = usage.free = 255 * 2**20
    assert look(log, status=1)["disk"]["state"] == "unhealthy"


def test_a_folder_that_is_only_readable_is_noted(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    report = Doctor(log).examine()
    assert [each.state for each in report.findings if each.check == "disk"] == ["ok", "noted"]
    assert report.healthy


def test_a_clock_behind_the_logs_is_unhealthy(log: str) -> None:
    """Some writer's was ahead: the log's time stands still until it is passed."""
    with DirectoryLog(log.removeprefix("file:"), clock=ManualClock(0)) as opened:
        now_ms = opened.now_ms()  # when the last record came, whatever time it is by now
    for behind_ms, state in ((1_000, "ok"), (5_000, "noted"), (61_000, "unhealthy")):
        clock = ManualClock(now_ms - behind_ms)
        [found] = [
            each for each in Doctor(log, clock=clock).examine().findings if each.check == "clock"
        ]
        assert found.state == state
    assert Doctor(log, clock=SystemClock()).examine().healthy


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["LOG", "--as=writer"], "producer"),
        (["sqlite:x"], "no log"),
        (["nothing"], "write file:nothing"),
        (["LOG", "nothing"], "write file:nothing"),
        (["LOG", "--other-reads=nan"], "no rate"),
        (["LOG", "--other-reads=2"], "not a stream"),
        (["LOG", "--as=producer"], "not a service's"),
    ],
)
def test_what_cannot_be_asked_is_refused(log: str, arguments: list[str], says: str) -> None:
    ran = binlog("doctor", *[each.replace("LOG", log) for each in arguments])
    assert ran.status == 2, ran.out
    assert says in ran.err
