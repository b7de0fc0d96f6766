"""Figures have one name and one unit, whoever tells them; a file of them is whole at any moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from binlog.clock import ManualClock
from consumers.kcl_health import ShardHealth
from consumers.metrics import LAST, UNITS, Metrics, MetricsFile, field_of
from tests.cli.running import append, binlog

# Of a health file, what is no figure.
NO_FIGURES = {"shard", "pid", "state", "at_ms", "started_ms", "checkpoint", "error", "where", "do"}
NO_FIGURES |= {"exit_status", "batches"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def kept(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_shards_health_file_has_the_same_figures() -> None:
    """Who watches both a function and KCL's workers watches one thing."""
    assert set(ShardHealth.__struct_fields__) - NO_FIGURES <= {field_of(name) for name in UNITS}


def test_a_fields_name_says_its_unit() -> None:
    assert {name: field_of(name) for name in ("Events", "Behind", "Rested")} == {
        "Events": "events",
        "Behind": "behind_ms",
        "Rested": "rested_ms",
    }
    assert len({field_of(name) for name in UNITS}) == len(UNITS)
    assert set(UNITS) >= LAST


def test_sums_grow_and_moments_are_replaced(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "m.json"
    told: Metrics = MetricsFile(path, clock, log="file:log")
    for number in (5, 7):
        clock.advance(2_000)
        values = {"Events": number, "Rested": 0.6, "Behind": number * 1000.4, "Halted": 1}
        told.tell(values, now_ms=clock.now_ms(), note=number)
    found = kept(path)
    assert (found["events"], found["rested_ms"]) == (12, 2)
    assert (found["behind_ms"], found["halted"], found["note"]) == (7_003, 1, 7)
    assert (found["writes"], found["log"], found["state"]) == (0, "file:log", "working")
    assert found["at_ms"] - found["started_ms"] == 4_000
    assert "runway_ms" not in found  # nobody has said so, and 0 would be an alarm


def test_a_file_is_written_once_a_second_and_at_the_end(tmp_path: Path, clock: ManualClock) -> None:
    """A page takes milliseconds; and what was told last is what stays."""
    path = tmp_path / "m.json"
    told = MetricsFile(path, clock)
    for _ in range(10):
        clock.advance(10)
        told.tell({"Events": 1}, now_ms=clock.now_ms())
    assert kept(path)["events"] == 0
    clock.advance(1_000)
    told.tell({"Events": 1}, now_ms=clock.now_ms())
    assert kept(path)["events"] == 11
    told.tell({"Events": 1}, now_ms=clock.now_ms())
    told.save(state="ended")
    assert (kept(path)["events"], kept(path)["state"]) == (12, "ended")
    assert [each.name for each in tmp_path.iterdir()] == ["m.json"]


def test_a_figure_that_the_table_has_not_is_a_mistake(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(KeyError):
        MetricsFile(tmp_path / "m.json", clock).tell({"Speed": 1}, now_ms=0)


def test_a_disk_that_is_full_stops_nothing(tmp_path: Path, clock: ManualClock) -> None:
    told = MetricsFile(tmp_path / "gone" / "m.json", clock)
    clock.advance(2_000)
    told.tell({"Events": 1}, now_ms=0)


# -- of `binlog replicate` -----------------------------------------------------------------------


def test_replicate_keeps_its_figures(tmp_path: Path) -> None:
    """The sums are those of its report."""
    log, path = f"file:{tmp_path / 'log'}", tmp_path / "figures.json"
    binlog("init", log, "--partitions", "2")
    append(log, *({"id": f"u{n % 5}", "n": n} for n in range(30)))
    store = f"sqlite:{tmp_path / 'replica.db'}"
    ran = binlog("replicate", log, store, "--once", "--metrics", str(path), "--json")
    assert ran.status == 0, ran.err
    found = kept(path)
    assert found["events"] == ran.lines[0]["events"] == 30
    assert found["writes"] == 5
    assert (found["log"], found["store"], found["state"]) == (log, store, "ended")
    assert found["behind_ms"] >= 0


def test_a_run_that_fails_says_so_there(tmp_path: Path) -> None:
    log, path = f"file:{tmp_path / 'log'}", tmp_path / "figures.json"
    binlog("init", log, "--partitions", "1")
    append(log, {"id": "a", "n": "text"})
    append(log, b'{"Action": "UpdateItem", "Key": {"id": "a"}, "Data": {"Add": {"n": 1}}}')
    store = f"sqlite:{tmp_path / 'replica.db'}"
    ran = binlog("replicate", log, store, "--once", "--metrics", str(path))
    assert ran.status == 3
    found = kept(path)
    assert (found["state"], found["events"]) == ("failed", 1)
    assert found["error"] in ran.err


def test_refuses_a_file_without_a_folder(tmp_path: Path) -> None:
    """Before anything is applied."""
    log = f"file:{tmp_path / 'log'}"
    binlog("init", log, "--partitions", "1")
    words = ("replicate", log, "memory:", "--once", "--metrics", str(tmp_path / "no" / "m.json"))
    ran = binlog(*words)
    assert ran.status == 2
    assert "no folder" in ran.err
