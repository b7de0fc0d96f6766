"""Lines of metrics are what CloudWatch's embedded metric format asks for."""

from __future__ import annotations

import json

import pytest

from consumers.aws_lambda_metrics import DIMENSIONS, Metrics
from consumers.metrics import UNITS

# StandardUnit of the API reference, as far as they are used.
_STANDARD_UNITS = {"Count", "Milliseconds", "Seconds", "Bytes", "None"}


def test_a_line_declares_every_value_that_it_has() -> None:
    lines: list[str] = []
    metrics = Metrics("binlog", log="kinesis://orders", store="dynamodb://live", write=lines.append)
    values = dict.fromkeys(UNITS, 1.5) | {"Events": 7}
    metrics.tell(values, now_ms=1_700_000_000_123, Shard="shardId-1", RequestId="r")
    [line] = lines
    assert "\n" not in line
    whole = json.loads(line)
    meta = whole.pop("_aws")
    [declared] = meta["CloudWatchMetrics"]
    assert meta["Timestamp"] == 1_700_000_000_123
    assert declared["Namespace"] == "binlog"
    assert declared["Dimensions"] == [list(DIMENSIONS)]
    assert len(declared["Metrics"]) <= 100  # of the format
    for metric in declared["Metrics"]:
        assert metric["Unit"] in _STANDARD_UNITS
        assert isinstance(whole[metric["Name"]], int | float)
    assert {m["Name"] for m in declared["Metrics"]} == set(UNITS)
    assert all(isinstance(whole[name], str) for name in DIMENSIONS)
    assert (whole["Shard"], whole["RequestId"], whole["Events"]) == ("shardId-1", "r", 7)


def test_what_is_not_told_is_not_declared() -> None:
    lines: list[str] = []
    Metrics("n", log="l", store="s", write=lines.append).tell({"Failed": 3}, now_ms=1)
    [declared] = json.loads(lines[0])["_aws"]["CloudWatchMetrics"]
    assert declared["Metrics"] == [{"Name": "Failed", "Unit": "Count"}]


def test_a_figure_without_a_unit_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Metrics("n", log="l", store="s", write=print).tell({"Speed": 3}, now_ms=1)
