"""What is logged, as lines for people or as JSON, and how much of it a command shows."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal

import pytest

from binlog.logger import get_logger
from tests.cli.running import binlog


def said(caplog: pytest.LogCaptureFixture) -> str:
    return caplog.records[-1].getMessage()


def test_json_is_an_object_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of plain ASCII, whatever somebody logs: a collector reads lines."""
    monkeypatch.setenv("BINLOG_LOG_FORMAT", "json")
    values = {"key": "a\nb\u2028é", "number": Decimal("1.50"), "error": ValueError("no")}
    get_logger("binlog.somewhere").warning("checkpoint.lost", **values)
    line = said(caplog)
    assert line.isascii()
    assert "\n" not in line
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "event": "checkpoint.lost",
        "level": "warning",
        "logger": "binlog.somewhere",
        "key": "a\nb\u2028é",
        "number": "1.50",
        "error": "no",
    }


@pytest.mark.parametrize("value", ["", "console"])
def test_people_read_pairs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    monkeypatch.setenv("BINLOG_LOG_FORMAT", value)
    get_logger("binlog.somewhere").warning("checkpoint.lost", number=1)
    assert said(caplog) == "event='checkpoint.lost' number=1"


def test_what_events_share_is_bound_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BINLOG_LOG_FORMAT", "json")
    bound = get_logger("binlog.somewhere").bind(partition=3, offset=17, lag_s=2.5)
    bound.warning("checkpoint.lost", tries=2)
    found = json.loads(said(caplog))
    assert [found[name] for name in ("partition", "offset", "lag_s", "tries")] == [3, 17, 2.5, 2]


@pytest.mark.parametrize(
    ("name", "value"), [("BINLOG_LOG_FORMAT", "xml"), ("BINLOG_LOG_LEVEL", "loud")]
)
def test_a_command_refuses_what_there_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    ran = binlog("status", "file:nowhere")
    assert ran.status == 2
    assert f"{name}='{value}'" in ran.err


CODE = """
import os
from binlog.logger import get_logger, show_on_stderr
show_on_stderr(os.environ)
get_logger("consumers.pacer").info("pace.adjusted", rate=5)
get_logger("consumers.pacer").debug("step.taken")
get_logger("consumers.pacer").error("pace.lifted")
"""


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("", ["pace.lifted"]),
        ("info", ["pace.adjusted", "pace.lifted"]),
        ("debug", ["pace.adjusted", "step.taken", "pace.lifted"]),
        ("error", ["pace.lifted"]),
    ],
)
def test_a_command_shows_as_much_as_it_is_told_to(level: str, events: list[str]) -> None:
    """On standard error, and nothing of it twice."""
    environment = {"BINLOG_LOG_FORMAT": "json", "BINLOG_LOG_LEVEL": level, "PATH": ""}
    ran = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment
    )
    assert ran.stdout == ""
    assert [json.loads(line)["event"] for line in ran.stderr.splitlines()] == events
