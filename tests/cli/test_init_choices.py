"""`binlog init kinesis://` without partitions: what a few choices come to, and nothing is made."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.running import binlog


def test_shows_choices_and_recommends_one() -> None:
    ran = binlog("init", "kinesis://orders", "--rate=1000", "--producers=10")
    assert ran.status == 0
    heading, *rows, measured, last = ran.out.splitlines()
    for word in ("partitions", "linger", "latency", "$/month"):
        assert word in heading
    assert len(rows) == 15
    assert "198 B each, 40.5 B in a full record" in measured, "of what the figures are"
    assert "recommended: --partitions 4" in last


def test_json_has_the_choices() -> None:
    ran = binlog("init", "kinesis://orders", "--rate=1000", "--producers=10", "--json")
    document = json.loads(ran.out)
    assert document["state"] == "reckoned"
    assert document["recommended"] == 4
    assert {each["partitions"] for each in document["choices"]} == {1, 4, 16, 64, 256}
    assert max(len(figure) for figure in re.findall(r"\d+\.(\d+)", ran.out)) <= 3
    assert {each["linger_s"] for each in document["choices"]} == {0.05, 1.0, 5.0}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give --partitions N"),
        (["--producers=3"], "give --partitions N"),
        (["--rate=0"], "--rate"),
        (["--rate=5", "--retention=1h"], "whole hours"),
    ],
)
def test_a_stream_needs_to_know_how_many(arguments: list[str], says: str) -> None:
    ran = binlog("init", "kinesis://orders", *arguments)
    assert ran.status == 2
    assert says in ran.err
