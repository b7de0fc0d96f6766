"""`scripts/acceptance-aws` works: on stand-ins, since what it is for costs money."""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest

from scripts.acceptance.main import main
from scripts.standins.server import Server


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch, kinesis_local: Server, ministack: Server) -> None:
    """As after ``eval "$(scripts/stack env)"``."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)


CLAIMS = ["begins_with_the_genesis", "I4_a_tombstone", "arrival_never_goes_back"]


def test_the_script_runs_measures_reports_and_cleans_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few claims of each suite, every measurement; and nothing is left."""
    status = main(["--local", "--small", "--claims", *CLAIMS, "--report", str(tmp_path)])
    said = capsys.readouterr()
    assert status == 0, said.err
    [path] = tmp_path.glob("*.json")
    report = json.loads(path.read_text())
    assert {(each["suite"], each["result"]) for each in report["outcomes"]} == {
        ("log", "held"),
        ("log", "not claimed"),
        ("store", "held"),
    }
    measures = {each["name"]: each for each in report["measures"]}
    assert [(name, each["holds"]) for name, each in measures.items()] == [
        ("growth", True),
        ("arrivals", True),
        ("dates", True),
        ("order", None),
    ]
    assert measures["growth"]["figures"]["changes of shard seen by a key"] >= 8
    assert len(measures["arrivals"]["figures"]["readers"]) == 3
    assert (report["local"], report["left_over"], report["not_finished"]) == (True, [], None)
    assert report["calls"]["kinesis:CreateStream"] == 2
    assert report["calls"]["kinesis:DeleteStream"] >= 2
    text = path.with_suffix(".md").read_text()
    assert "says nothing of AWS" in text
    assert "| Kinesis shard hours |" in text
    assert said.out.index("together") < said.out.index(str(path)), "the price first"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--account", "210987654321"], "are of account 000000000000, not of 210987654321"),
        (["--dry-run"], ""),
    ],
)
def test_nothing_is_made_without_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    status = main(["--local", "--report", str(tmp_path / "report"), *options])
    said = capsys.readouterr()
    assert status == (2 if says else 0)
    assert says in said.err
    assert ("together" in said.out) == (not says)
    assert not (tmp_path / "report").exists()
    pages = boto3.client("kinesis").get_paginator("list_streams").paginate()
    streams = [name for page in pages for name in page["StreamNames"]]
    assert not [name for name in streams if name.startswith("binlog-acceptance")]


def test_a_stand_in_is_not_taken_for_aws(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, kinesis_local: Server
) -> None:
    """Whatever the shell still holds."""
    status = main(["--account", "000000000000", "--yes-spend", "--report", str(tmp_path)])
    assert status == 2
    assert f"{kinesis_local.url} is not AWS" in capsys.readouterr().err
