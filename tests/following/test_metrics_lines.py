"""Figures as lines: the names of a function's, one every few seconds, none lost at the end."""

from __future__ import annotations

import json
from pathlib import Path

from binlog.clock import ManualClock
from consumers.aws_lambda_metrics import Metrics
from consumers.metrics_lines import Several, Summed
from tests.cli.running import append, binlog


def test_pages_are_summed_up_to_a_line() -> None:
    """Sums add up, of what stands for a moment the last one counts."""
    clock = ManualClock()
    lines: list[str] = []
    told = Summed(Metrics("ns", log="l", store="s", write=lines.append), clock, every_s=10)
    for number in range(1, 5):
        clock.advance(4_000)
        values = {"Events": 2, "Behind": 100 * number}
        told.tell(values, now_ms=clock.now_ms(), page=number)
    [line] = map(json.loads, lines)
    assert (line["Events"], line["Behind"], line["page"]) == (6, 300, 3)
    told.flush()
    told.flush()
    assert [json.loads(each)["Events"] for each in lines] == [6, 2]
    [declared] = line["_aws"]["CloudWatchMetrics"]
    assert declared["Dimensions"] == [["Log", "Store"]]
    assert [each["Name"] for each in declared["Metrics"]] == ["Events", "Behind"]


def test_all_are_told() -> None:
    """Who keeps a file may have lines as well."""
    lines: list[str] = []
    each = [Metrics("ns", log="l", store="s", write=lines.append) for _ in range(2)]
    Several(each).tell({"Events": 1}, now_ms=1)
    assert len(lines) == 2


def test_replicate_adds_lines_to_a_file_and_ends_with_one(tmp_path: Path) -> None:
    """Beside whatever stands in it: the agent follows it."""
    log, store = f"file:{tmp_path / 'log'}", f"sqlite:{tmp_path / 'a.db'}"
    assert binlog("init", log, "--partitions", "1").status == 0
    append(log, {"id": "a"}, {"id": "b"})
    file, kept = tmp_path / "emf", tmp_path / "kept.json"
    file.write_text("{}\n")
    ran = binlog("replicate", log, store, "--once", f"--emf={file}", f"--metrics={kept}")
    assert ran.status == 0, ran.err
    first, *lines = map(json.loads, file.read_text().splitlines())
    assert first == {}
    assert sum(line.get("Events", 0) for line in lines) == 2
    assert {(line["Log"], line["Store"]) for line in lines} == {(log, store)}
    assert json.loads(kept.read_text())["events"] == 2
    refused = binlog("replicate", log, store, "--once", f"--emf={tmp_path}/none/emf")
    assert (refused.status, "--emf" in refused.err) == (2, True)
