"""The environment of a function: what it may say, and what is refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from binlog.errors import RefusedError
from consumers.aws_lambda_settings import RESERVE_S, Settings, settings_of

BASE = {"BINLOG_LOG": "kinesis://orders", "BINLOG_STORE": "dynamodb://live"}
APPLIERS = """
from appliers.applier import Appliers

shop = Appliers()


@shop.on("Paid", table="orders", version=1)
def paid(item, event):
    return {**event.key, "paid": True}
"""


def test_two_variables_are_enough() -> None:
    found = settings_of(BASE | {"AWS_REGION": "eu-west-1", "PATH": "/bin"})
    assert found == Settings(log="kinesis://orders", store="dynamodb://live")
    assert (found.poison, found.mapping, found.metrics) == ("park", "check", "binlog")
    assert (found.excluded, found.same_meaning, found.reserve_s) == ((), False, RESERVE_S)


def test_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_of_a_function.py").write_text(APPLIERS)
    monkeypatch.syspath_prepend(tmp_path)
    found = settings_of(
        {
            "BINLOG_LOG": "kinesis://orders?region=eu-west-1",
            "BINLOG_STORE": " dynamodb://live ",
            "BINLOG_APPLIERS": "shop_of_a_function:shop",
            "BINLOG_POISON": "stop",
            "BINLOG_EXCLUDE": '["id=a", "key=orders:{\\"id\\": \\"x,y\\"}"]',
            "BINLOG_SAME_MEANING": "yes",
            "BINLOG_MAPPING": "trust",
            "BINLOG_RESERVE_S": "2.5",
            "BINLOG_METRICS": "Shop/Replica",
        }
    )
    assert found.store == "dynamodb://live"
    assert found.stream.account.region == "eu-west-1"
    assert found.rules != Settings(log="", store="").rules
    assert found.excluded == ("id=a", 'key=orders:{"id": "x,y"}')
    assert (found.poison, found.same_meaning, found.mapping) == ("stop", True, "trust")
    assert (found.reserve_s, found.metrics) == (2.5, "Shop/Replica")


def test_rules_may_stand_one_a_line() -> None:
    assert settings_of(BASE | {"BINLOG_EXCLUDE": "id=a\n  type=T \n"}).excluded == (
        "id=a",
        "type=T",
    )


INITIALISED = """
import consumers.aws_lambda
from binlog.logger import get_logger

get_logger("consumers.delivery").info("batch.applied", partition=3)
get_logger("consumers.delivery").error("batch.failed", partition=3)
"""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, ["event='batch.failed' partition=3"]),
        ({"BINLOG_LOG_FORMAT": "json"}, ["batch.failed"]),
        (
            {"BINLOG_LOG_FORMAT": "json", "BINLOG_LOG_LEVEL": "info"},
            ["batch.applied", "batch.failed"],
        ),
        ({"BINLOG_LOG_FORMAT": "xml"}, "write one of console, json"),
        ({"BINLOG_LOG_LEVEL": "loud"}, "BINLOG_LOG_LEVEL='loud'"),
    ],
)
def test_a_function_logs_as_it_is_told_to(given: dict[str, str], said: list[str] | str) -> None:
    """A log group is searched by fields: then a line is an object, and nothing stands before it."""
    environment = (
        BASE | given | {"AWS_REGION": "eu-west-1", "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    ran = subprocess.run(
        # As the runtime does it, whose own handler puts its words before a line.
        [
            sys.executable,
            "-c",
            f"import logging; logging.basicConfig(format='[X] %(message)s'){INITIALISED}",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    lines = ran.stderr.splitlines()
    if isinstance(said, str):
        assert said in lines[-1]
    elif given:
        assert [json.loads(line)["event"] for line in lines] == said
    else:
        assert lines == [f"[X] {line}" for line in said]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"BINLOG_LOG": ""}, "BINLOG_LOG is not set"),
        ({"BINLOG_STORE": ""}, "BINLOG_STORE is not set"),
        ({"BINLOG_LOG": "orders"}, "BINLOG_LOG: 'orders' is no address"),
        ({"BINLOG_LOG": "file:orders"}, "write kinesis://STREAM"),
        ({"BINLOG_LOG": "kinesis://a?nope=1"}, "unknown or empty"),
        ({"BINLOG_STORE": "sqlite:/tmp/x.db"}, "ends with it: write dynamodb://PREFIX"),
        ({"BINLOG_STORE": "memory:"}, "write dynamodb://PREFIX"),
        ({"BINLOG_APPLIERS": "nope"}, "BINLOG_APPLIERS: the appliers 'nope'"),
        ({"BINLOG_APPLIERS": "no_such_module:x"}, "there is no module 'no_such_module'"),
        ({"BINLOG_APPLIERS": "json:dumps"}, "BINLOG_APPLIERS: it is a function"),
        ({"BINLOG_POISON": "skip"}, "write park or stop"),
        ({"BINLOG_SAME_MEANING": "true"}, "write no or yes"),
        ({"BINLOG_MAPPING": "no"}, "write check or trust"),
        ({"BINLOG_EXCLUDE": "everything"}, "BINLOG_EXCLUDE: the exclusion 'everything'"),
        ({"BINLOG_EXCLUDE": "[1]"}, "BINLOG_EXCLUDE: Expected `str`"),
        ({"BINLOG_RESERVE_S": "soon"}, "write seconds, 0.1 to 60"),
        ({"BINLOG_RESERVE_S": "0"}, "write seconds, 0.1 to 60"),
        ({"BINLOG_RESERVE_S": "nan"}, "write seconds, 0.1 to 60"),
        ({"BINLOG_METRICS": "AWS/Lambda"}, "BINLOG_METRICS"),
        ({"BINLOG_METRICS": "a b"}, "BINLOG_METRICS"),
        ({"BINLOG_POISSON": "park"}, "is BINLOG_POISON meant?"),
        ({"BINLOG_X": "1"}, "known are BINLOG_LOG"),
    ],
)
def test_refuses_in_one_line_with_the_remedy(change: dict[str, str], says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        settings_of(BASE | change)
    text = str(caught.value)
    assert says in text
    assert "\n" not in text


def test_metrics_may_be_left_out() -> None:
    assert settings_of(BASE | {"BINLOG_METRICS": "none"}).metrics is None
