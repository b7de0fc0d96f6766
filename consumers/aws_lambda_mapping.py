"""A function's event source mapping: settings under which records are dropped without a word.

The service gives up records by retry and age limits, filters, and a starting position behind them;
what it has given up is gone for every later invocation, and nothing in the stream says so. So both
the function, when it starts, and ``binlog doctor`` look at the mapping itself, and refuse it.

Source of all settings: https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html
and https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-parameters.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from binlog.aws.account import Account, connector
from binlog.aws.errors import trouble
from binlog.errors import BinlogError
from binlog.health import Finding, found

REPORTS = "ReportBatchItemFailures"
LIST = "lambda:ListEventSourceMappings"
_FOR_EVER = -1
_ATTEMPTS, _READ_TIMEOUT_S = 2, 3.0  # a first invocation waits for it

List = Callable[[str, str], list[dict[str, Any]]]
"""The mappings between a stream and a function, by their ARNs."""


def reports_failures(mapping: Mapping[str, Any]) -> bool:
    """Whether it reads what the function returns; if not, whatever returns has succeeded."""
    return REPORTS in (mapping.get("FunctionResponseTypes") or ())


class _Problem(NamedTuple):
    what: str
    do: str
    loses: Literal["always", "failures"]  # records are passed over, or given up when they failed


def mapping_findings(mapping: Mapping[str, Any]) -> list[Finding]:
    """What is to be said of one mapping, as the service describes it; ``unhealthy`` loses records.

    A setting that the description leaves out has the service's default.
    """
    where = _name_of(mapping)
    made = [Finding("mapping", "unhealthy", p.what, where, p.do) for p in _problems(mapping)]
    state = mapping.get("State", "Enabled")
    if state not in {"Enabled", "Creating", "Enabling", "Updating"}:
        why = mapping.get("StateTransitionReason")
        what = f"it is {state}" + (f": {why}" if why else "")
        made.append(Finding("mapping", "unhealthy", what, where, _update(mapping, "--enabled")))
    if not made:
        factor, size = mapping.get("ParallelizationFactor", 1), mapping.get("BatchSize", 100)
        what = f"nothing is dropped; batches of {size} records, {factor} at a time a shard"
        made.append(Finding("mapping", "ok", what, where))
    if not reports_failures(mapping):
        what = f"FunctionResponseTypes without {REPORTS}: of a batch that fails all comes again"
        do = _update(mapping, f"--function-response-types {REPORTS}")
        made.append(Finding("mapping", "noted", what, where, do))
    result = mapping.get("LastProcessingResult") or ""
    if result.startswith("PROBLEM"):
        do = "the function's log says why"
        made.append(Finding("mapping", "noted", f"the service says {result}", where, do))
    return made


def has_lanes(mapping: Mapping[str, Any]) -> bool:
    """Whether partitions of one shard are delivered apart from one another."""
    return bool(mapping.get("ParallelizationFactor", 1) != 1)


def refusal(mapping: Mapping[str, Any], *, is_running: bool) -> Finding | None:
    """Why a function may not work behind this mapping, if there is a reason.

    To refuse is to fail. Of a store that ``is_running`` (it has a checkpoint) that must not be done
    where what fails is given up after a while (retries, age): it would lose what is refused. So
    there only what is passed over anyway is a reason. A store that has yet to begin finds out by
    itself: its partitions have to begin with the genesis.
    """
    for problem in _problems(mapping):
        if problem.loses == "always" or not is_running:
            return Finding("mapping", "unhealthy", problem.what, _name_of(mapping), problem.do)
    return None


def _problems(mapping: Mapping[str, Any]) -> Iterator[_Problem]:
    """Settings that lose records."""
    again = "make another mapping, with --starting-position TRIM_HORIZON, and delete this one"
    position = mapping.get("StartingPosition", "TRIM_HORIZON")
    if position != "TRIM_HORIZON":
        yield _Problem(
            f"StartingPosition {position}: what was before is never read", again, "always"
        )
    if (mapping.get("FilterCriteria") or {}).get("Filters"):
        what = "FilterCriteria: a record that they leave out counts as done"
        yield _Problem(what, again, "always")
    if window := mapping.get("TumblingWindowInSeconds"):
        what = f"TumblingWindowInSeconds {window}: its states are not kept, so nothing is done"
        yield _Problem(what, _update(mapping, "--tumbling-window-in-seconds 0"), "always")
    retries = mapping.get("MaximumRetryAttempts", _FOR_EVER)
    if retries != _FOR_EVER:
        what = f"MaximumRetryAttempts {retries}: a batch that failed so often is dropped"
        yield _Problem(what, _update(mapping, "--maximum-retry-attempts -1"), "failures")
    age = mapping.get("MaximumRecordAgeInSeconds", _FOR_EVER)
    if age != _FOR_EVER:
        what = f"MaximumRecordAgeInSeconds {age}: a record older than that is dropped"
        yield _Problem(what, _update(mapping, "--maximum-record-age-in-seconds -1"), "failures")
    on_failure = (mapping.get("DestinationConfig") or {}).get("OnFailure") or {}
    destination = on_failure.get("Destination")
    if destination and ":s3:::" not in destination:
        what = f"the on-failure destination {destination} is told of records, and not given them"
        yield _Problem(what, "name an S3 bucket, which gets them whole; or none", "failures")


def _update(mapping: Mapping[str, Any], option: str) -> str:
    return f"aws lambda update-event-source-mapping --uuid {mapping.get('UUID')} {option}"


def _name_of(mapping: Mapping[str, Any]) -> str:
    return f"mapping {mapping.get('UUID')} of kinesis://{stream_of(mapping['EventSourceArn'])}"


def stream_of(arn: str) -> str:
    """The stream of an event source: a stream's ARN, or that of a consumer registered with it."""
    resource = arn.rpartition(":stream/")[2]
    return resource.partition("/")[0]


def is_of(mapping: Mapping[str, Any], stream_arn: str) -> bool:
    """Whether it reads that stream, by itself or as a registered consumer (fan-out)."""
    arn = str(mapping.get("EventSourceArn", ""))
    return arn == stream_arn or arn.startswith(f"{stream_arn}/")


def list_mappings(
    stream_arn: str, function: str, *, account: Account | None = None
) -> list[dict[str, Any]]:
    """The mappings from a stream, or a registered consumer of it, to a function.

    ``function`` is its name or ARN, with the alias or version if it has one: mappings are made with
    one of these. The account is the function's own; ``account`` names another region or endpoint.

    Raises:
        BinlogError: not permitted (`LIST`), no such function, or not reached.
    """
    where = f"function {function}"
    connect = connector(
        account or Account(),
        "lambda",
        where,
        total_max_attempts=_ATTEMPTS,
        read_timeout_s=_READ_TIMEOUT_S,
    )
    client = connect()
    listed: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    try:
        while True:
            reply = client.list_event_source_mappings(FunctionName=function, **more)
            listed += [m for m in reply["EventSourceMappings"] if is_of(m, stream_arn)]
            if not (marker := reply.get("NextMarker")):
                return listed
            more = {"Marker": marker}
    except Exception as error:
        raise trouble(error, where) from error
    finally:
        client.close()


def look_at(stream_arn: str, function: str, account: Account) -> list[Finding]:
    """What ``doctor`` finds of the mappings between a stream and a function."""
    plain = Account(
        region=account.region, profile=account.profile
    )  # the function's account is ours
    try:
        mappings = list_mappings(stream_arn, function, account=plain)
    except BinlogError as error:
        if error.details.get("action") is None:
            return [found("mapping", error)]
        return [Finding("mapping", "unknown", error.what, f"function {function}", error.do)]
    if not mappings:
        what, where = f"nothing delivers the stream to {function}", f"function {function}"
        do = (
            f"aws lambda create-event-source-mapping --function-name {function} --event-source-arn"
            f" {stream_arn} --starting-position TRIM_HORIZON --function-response-types {REPORTS}"
        )
        return [Finding("mapping", "unhealthy", what, where, do)]
    return [each for mapping in mappings for each in mapping_findings(mapping)]
