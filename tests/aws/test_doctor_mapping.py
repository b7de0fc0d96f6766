"""``doctor --function``: whether the mapping that delivers a stream loses records."""

from __future__ import annotations

from typing import Any

import pytest

from tests.aws.aws_double import ACCOUNT_ID, Wire
from tests.aws.test_doctor import healthy, look, of
from tests.cli.running import binlog

__all__ = ["healthy"]  # the fixture
STREAM = f"arn:aws:kinesis:eu-west-1:{ACCOUNT_ID}:stream/orders"
FUNCTION = "--function=orders-applier"
LIST = "lambda.ListEventSourceMappings"


def mapping(**change: Any) -> dict[str, Any]:
    return {
        "UUID": "a1b2",
        "EventSourceArn": STREAM,
        "StartingPosition": "TRIM_HORIZON",
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "State": "Enabled",
        **change,
    }


def test_a_mapping_that_drops_nothing_is_healthy(wire: Wire) -> None:
    """Those of other streams to the same function are of no account; all pages are read."""
    other = mapping(EventSourceArn=f"{STREAM}-2", StartingPosition="LATEST")
    pages: dict[str | None, dict[str, Any]] = {
        None: {"EventSourceMappings": [other], "NextMarker": "more"},
        "more": {"EventSourceMappings": [mapping()]},
    }
    wire.answers[LIST] = lambda asked: pages[asked.get("Marker")]
    document = look(FUNCTION)
    assert "nothing is dropped" in of(document, "mapping", "ok")["what"]
    assert wire.asked()[LIST] == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"MaximumRetryAttempts": 3}, "MaximumRetryAttempts 3"),
        ({"StartingPosition": "LATEST"}, "StartingPosition LATEST"),
        ({"State": "Disabled"}, "it is Disabled"),
    ],
)
def test_a_mapping_that_loses_records_is_not(wire: Wire, change: dict[str, Any], says: str) -> None:
    wire.answers[LIST] = {"EventSourceMappings": [mapping(**change)]}
    found = of(look(FUNCTION, status=1), "mapping", "unhealthy")
    assert says in found["what"]


def test_a_stream_that_nothing_delivers_is_not(wire: Wire) -> None:
    wire.answers[LIST] = {"EventSourceMappings": []}
    found = of(look(FUNCTION, status=1), "mapping", "unhealthy")
    assert "create-event-source-mapping" in found["do"]
    assert STREAM in found["do"]


def test_who_may_not_see_mappings_is_told_the_action(wire: Wire) -> None:
    wire.deny("lambda:ListEventSourceMappings")
    assert "lambda:ListEventSourceMappings" in of(look(FUNCTION), "mapping", "unknown")["what"]


def test_without_a_function_lambda_is_not_asked(wire: Wire) -> None:
    look()
    assert LIST not in wire.asked()


def test_a_directory_is_delivered_by_nobody() -> None:
    ran = binlog("doctor", "file:log", FUNCTION)
    assert ran.status == 2
    assert "--function, and LOG is not a stream" in ran.err
