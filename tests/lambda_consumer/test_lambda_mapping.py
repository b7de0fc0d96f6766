"""A mapping that loses records is told from one that does not, setting by setting."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.aws_lambda_mapping import is_of, mapping_findings, refusal, stream_of

STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
GOOD: dict[str, Any] = {
    "UUID": "a1b2",
    "EventSourceArn": STREAM,
    "FunctionArn": "arn:aws:lambda:eu-west-1:123456789012:function:applier",
    "StartingPosition": "TRIM_HORIZON",
    "BatchSize": 500,
    "ParallelizationFactor": 4,
    "MaximumRetryAttempts": -1,
    "MaximumRecordAgeInSeconds": -1,
    "BisectBatchOnFunctionError": True,
    "TumblingWindowInSeconds": 0,
    "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::failures"}},
    "FilterCriteria": None,
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
    "State": "Enabled",
    "LastProcessingResult": "OK",
}
SQS = "arn:aws:sqs:eu-west-1:123456789012:failures"
ALWAYS: list[tuple[dict[str, Any], str]] = [
    ({"StartingPosition": "LATEST"}, "StartingPosition LATEST"),
    ({"StartingPosition": "AT_TIMESTAMP"}, "StartingPosition AT_TIMESTAMP"),
    ({"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}}, "FilterCriteria"),
    ({"TumblingWindowInSeconds": 30}, "TumblingWindowInSeconds 30"),
]
FAILURES: list[tuple[dict[str, Any], str]] = [
    ({"MaximumRetryAttempts": 0}, "MaximumRetryAttempts 0"),
    ({"MaximumRetryAttempts": 10_000}, "MaximumRetryAttempts 10000"),
    ({"MaximumRecordAgeInSeconds": 60}, "MaximumRecordAgeInSeconds 60"),
    ({"DestinationConfig": {"OnFailure": {"Destination": SQS}}}, "failures is told of records"),
]


@pytest.mark.parametrize(
    "mapping",
    [
        GOOD,
        {
            "UUID": "a1b2",
            "EventSourceArn": STREAM,
            "FunctionResponseTypes": GOOD["FunctionResponseTypes"],
        },
        GOOD | {"DestinationConfig": {"OnFailure": {}}},
        GOOD | {"DestinationConfig": None, "FilterCriteria": {"Filters": []}},
        GOOD | {"State": "Updating"},
    ],
)
def test_a_mapping_that_drops_nothing_is_ok(mapping: dict[str, Any]) -> None:
    """The service's own defaults among them, which is what it leaves out."""
    [found] = mapping_findings(mapping)
    assert found.state == "ok"
    assert "nothing is dropped" in found.what
    assert found.where == "mapping a1b2 of kinesis://orders"
    assert refusal(mapping, is_running=False) is None


@pytest.mark.parametrize(("change", "says"), ALWAYS + FAILURES)
def test_what_loses_records_is_unhealthy_with_its_remedy(change: dict[str, Any], says: str) -> None:
    [found] = mapping_findings(GOOD | change)
    assert (found.check, found.state) == ("mapping", "unhealthy")
    assert says in found.what
    assert "\n" not in found.what + found.do
    assert found.do
    refused = refusal(GOOD | change, is_running=False)
    assert refused is not None
    assert refused.what == found.what


@pytest.mark.parametrize(("change", "says"), ALWAYS)
def test_a_running_store_is_refused_what_is_passed_over_anyway(
    change: dict[str, Any], says: str
) -> None:
    """To fail keeps what has not been delivered yet."""
    refused = refusal(GOOD | change, is_running=True)
    assert refused is not None
    assert says in refused.what


@pytest.mark.parametrize(("change", "says"), FAILURES)
def test_a_running_store_is_not_refused_where_refusing_would_lose(
    change: dict[str, Any], says: str
) -> None:
    """Behind such a mapping to fail is to lose the batch, after so many attempts or so long."""
    assert refusal(GOOD | change, is_running=True) is None


def test_every_problem_is_found_at_once() -> None:
    changes: dict[str, Any] = {}
    for change, _ in (*ALWAYS[1:], *FAILURES[1:]):
        changes.update(change)
    assert len(mapping_findings(GOOD | changes)) == len(ALWAYS) + len(FAILURES) - 2


def test_a_mapping_that_reads_no_reports_is_noted() -> None:
    """Nothing is lost: the function fails as a whole then. But all of the batch comes again."""
    ok, noted = mapping_findings(GOOD | {"FunctionResponseTypes": []})
    assert (ok.state, noted.state) == ("ok", "noted")
    assert "--function-response-types ReportBatchItemFailures" in noted.do


@pytest.mark.parametrize("state", ["Disabled", "Disabling", "Deleting"])
def test_a_mapping_that_delivers_nothing_is_unhealthy(state: str) -> None:
    reason = "User action"
    [found] = mapping_findings(GOOD | {"State": state, "StateTransitionReason": reason})
    assert found.state == "unhealthy"
    assert f"{state}: {reason}" in found.what


def test_the_services_own_problem_is_told() -> None:
    problem = "PROBLEM: Function call failed"
    found = mapping_findings(GOOD | {"LastProcessingResult": problem})[-1]
    assert (found.state, problem in found.what) == ("noted", True)


def test_a_registered_consumer_is_of_its_stream() -> None:
    """With enhanced fan-out the event source is the consumer."""
    consumer = f"{STREAM}/consumer/fast:1700000000"
    assert stream_of(consumer) == stream_of(STREAM) == "orders"
    assert is_of({"EventSourceArn": consumer}, STREAM)
    assert not is_of({"EventSourceArn": f"{STREAM}2"}, STREAM)
