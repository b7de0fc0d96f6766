"""The properties of a MultiLangDaemon: which there are, what they take, and the file they stand in.

The daemon takes whatever it is given without a word: an unknown name is dropped, and so is a value
that equals the default of its Java type (``false``, ``0``), whatever KCL's own default is. So every
name is known here, with what it takes, and what would be without effect is refused.

Read in the classes of `amazon-kinesis-client-multilang` 3.1.3, `MultiLangDaemonConfiguration` and
its beans, and tried on them. Names of 3.5 are not in it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from binlog.errors import RefusedError

Check = Callable[[str], str]  # what is wrong with a value; empty for nothing

_WHOLE = re.compile(r"\d{1,18}")
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,12})?")
_DURATION = re.compile(r"P(?=[\dT])(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")
_URL = re.compile(r"https?://[^\s/]+/?")
_REGION = re.compile(r"[a-z0-9-]{1,63}")
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_LINE_ENDS = re.compile(r"[\r\n\0]")


def _matches(pattern: re.Pattern[str], what: str) -> Check:
    return lambda value: "" if pattern.fullmatch(value) else f"is no {what}"


def _one_of(*choices: str) -> Check:
    return lambda value: "" if value in choices else f"is none of {', '.join(choices)}"


def _text(value: str) -> str:
    return "" if value else "is empty"


_flag = _one_of("true", "false")
_whole = _matches(_WHOLE, "whole number")
_number = _matches(_NUMBER, "number")
_table = _matches(_TABLE, "table's name: 3 to 255 of A-Z a-z 0-9 _ . -")
_url = _matches(_URL, "URL such as https://HOST[:PORT]")
_region = _matches(_REGION, "region's name such as eu-west-1")
_billing = _one_of("PAY_PER_REQUEST", "PROVISIONED")


class Property(NamedTuple):
    """What a property takes.

    ``dropped``: the value that KCL takes for none, since it is the default of the field's Java
    type; ``default`` is what holds instead. A field of an object type (Boolean, Long) has no such
    value, and neither has one whose default is the same.
    """

    check: Check
    dropped: str | None = None
    default: str = ""


def _count(default: str) -> Property:
    return Property(_whole, None if default == "0" else "0", default)


_KNOWN: Mapping[str, Property] = {
    # the daemon itself
    "executableName": Property(_text),
    "processingLanguage": Property(_text),
    "maxActiveThreads": Property(_whole),
    "streamName": Property(_text),
    "streamArn": Property(_text),
    "applicationName": Property(_table),
    "tableName": Property(_table),
    "workerId": Property(_text),
    "initialPositionInStream": Property(_one_of("TRIM_HORIZON")),
    "shutdownGraceMillis": Property(_whole),
    # services
    "AwsCredentialsProvider": Property(_text),
    "AwsCredentialsProviderDynamoDB": Property(_text),
    "AwsCredentialsProviderCloudWatch": Property(_text),
    "regionName": Property(_region),
    "kinesisEndpoint": Property(_url),
    "dynamoDBEndpoint": Property(_url),
    **{
        f"{client}.{name}": Property(check)
        for client in ("kinesisClient", "dynamoDbClient", "cloudWatchClient")
        for name, check in (
            ("region", _region),
            ("endpointOverride", _url),
            ("fipsEnabled", _one_of("true")),
        )
    },
    # reading
    "retrievalMode": Property(_one_of("POLLING", "FANOUT", "DEFAULT")),
    "maxRecords": _count("10000"),
    "idleTimeBetweenReadsInMillis": _count("1500"),
    "millisBehindLatestThresholdForReducedTps": _count("0"),
    "retryGetRecordsInSeconds": Property(_whole),
    "maxGetRecordsThreadPool": Property(_whole),
    "fanoutConfig.consumerArn": Property(_text),
    "fanoutConfig.consumerName": Property(_text),
    "fanoutConfig.maxDescribeStreamSummaryRetries": _count("10"),
    "fanoutConfig.maxDescribeStreamConsumerRetries": _count("10"),
    "fanoutConfig.registerStreamConsumerRetries": _count("10"),
    "fanoutConfig.retryBackoffMillis": _count("1000"),
    "callProcessRecordsEvenForEmptyRecordList": Property(_flag),
    "listShardsBackoffTimeInMillis": _count("1500"),
    "maxListShardsRetryAttempts": _count("50"),
    # leases
    "failoverTimeMillis": _count("10000"),
    "leaseAssignmentIntervalMillis": _count("20000"),
    "enablePriorityLeaseAssignment": Property(_flag),
    "leaseTableDeletionProtectionEnabled": Property(_flag),
    "leaseTablePitrEnabled": Property(_flag),
    "shardSyncIntervalMillis": _count("60000"),
    "cleanupLeasesUponShardCompletion": Property(_flag, "false", "true"),
    "ignoreUnexpectedChildShards": Property(_flag),
    "maxLeasesForWorker": _count("2147483647"),
    "maxLeasesToStealAtOneTime": _count("1"),
    "initialLeaseTableReadCapacity": _count("10"),
    "initialLeaseTableWriteCapacity": _count("10"),
    "maxLeaseRenewalThreads": _count("20"),
    "gracefulLeaseHandoffTimeoutMillis": Property(_whole),
    "isGracefulLeaseHandoffEnabled": Property(_flag),
    # coordination
    "parentShardPollIntervalMillis": _count("10000"),
    "skipShardSyncAtWorkerInitializationIfLeasesExist": Property(_flag),
    "schedulerInitializationBackoffTimeMillis": _count("1000"),
    "clientVersionConfig": Property(
        _one_of("CLIENT_VERSION_CONFIG_3X", "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X")
    ),
    "taskBackoffTimeMillis": _count("500"),
    "logWarningForTaskAfterMillis": Property(_whole),
    # metrics, of KCL's own
    "metricsLevel": Property(_one_of("NONE", "SUMMARY", "DETAILED")),
    "metricsBufferTimeMillis": _count("10000"),
    "metricsMaxQueueSize": _count("10000"),
    "metricsEnabledDimensions": Property(_text),
    # balance between workers
    "inMemoryWorkerMetricsCaptureFrequencyMillis": _count("1000"),
    "workerMetricsReporterFreqInMillis": _count("30000"),
    "noOfPersistedMetricsPerWorkerMetrics": _count("10"),
    "disableWorkerMetrics": Property(_flag),
    "maxThroughputPerHostKBps": Property(_number, "0", "no limit"),
    "dampeningPercentage": _count("60"),
    "reBalanceThresholdPercentage": _count("10"),
    "allowThroughputOvershoot": Property(_flag),
    "varianceBalancingFrequency": _count("3"),
    "workerMetricsEMAAlpha": Property(_number, "0", "0.5"),
    "staleWorkerMetricsEntryCleanupDuration": Property(
        _matches(_DURATION, "length of time such as PT15M or P2D")
    ),
    # its two other tables
    **{
        f"{table}{name}": given
        for table in ("workerMetrics", "coordinatorState")
        for name, given in (
            ("TableName", Property(_table)),
            ("BillingMode", Property(_billing)),
            ("ReadCapacity", _count("0")),
            ("WriteCapacity", _count("0")),
            ("PointInTimeRecoveryEnabled", Property(_flag)),
            ("DeletionProtectionEnabled", Property(_flag)),
            ("Tags", Property(_text)),
        )
    },
}

NAMES: tuple[str, ...] = tuple(_KNOWN)

# Properties that the daemon knows, and that no replica is to be run with.
_REFUSED = {
    "initialPositionInStreamExtended": (
        "a replica begins at its checkpoint or at the log's first record, never at a moment"
    ),
    "timeoutInSeconds": "it halts the daemon in the middle of a batch that takes longer",
    "validateSequenceNumberBeforeCheckpointing": "KCL 3 reads it and does nothing with it",
    "shardPrioritization": "it takes an object, and a file holds text",
    "workerIdentifier": "write workerId",
}


def check_property(name: str, value: str, where: str = "") -> None:
    """Nothing, if the daemon takes that value and goes by it.

    Raises:
        RefusedError: it would not, or nobody should; with the nearest name that there is.
    """
    if name in _REFUSED:
        raise RefusedError(f"the property {name}: {_REFUSED[name]}", where, "leave it out")
    known = _KNOWN.get(name)
    if known is None:
        raise RefusedError(
            f"there is no property {name!r}, and KCL would say nothing", where, _nearest(name)
        )
    if _LINE_ENDS.search(value) or value != value.strip():
        raise RefusedError(f"the property {name}={value!r}", where, "write it on one line")
    if name == "initialPositionInStream" and value in {"LATEST", "AT_TIMESTAMP"}:
        raise RefusedError(
            f"{name}={value}: what comes before would never be applied", where, "TRIM_HORIZON"
        )
    if wrong := known.check(value):
        raise RefusedError(f"the property {name}: {value!r} {wrong}", where, "mend that")
    if known.dropped is not None and _is_same(value, known.dropped):
        raise RefusedError(
            f"the property {name}={value} would be without effect: KCL takes it for none",
            where,
            f"its default holds then, {known.default}: give another value, or leave it out",
        )


def _is_same(value: str, dropped: str) -> bool:
    return value == dropped or (dropped == "0" and not value.strip("0."))


def _nearest(name: str) -> str:
    """What to write instead: letters' case first, which is what one gets wrong most."""
    folded = {known.lower(): known for known in NAMES}
    if found := folded.get(name.lower()):
        return f"write {found}"
    # A bean's own name is needed before it, and only there.
    tails = {known.rpartition(".")[2].lower(): known for known in NAMES}
    if found := tails.get(name.rpartition(".")[2].lower()):
        return f"write {found}"
    near = difflib.get_close_matches(name.lower(), folded, 1, cutoff=0.5)
    return f"is {folded[near[0]]} meant?" if near else "binlog kcl properties --known lists them"


def check_properties(properties: Mapping[str, str], where: str = "") -> None:
    """Nothing, if the daemon goes by each of them, and together.

    Raises:
        RefusedError: as `check_property`; or two that exclude each other.
    """
    for name, value in properties.items():
        check_property(name, value, where)
    for name in ("executableName", "applicationName", "AwsCredentialsProvider"):
        if name not in properties:
            raise RefusedError(f"the property {name} is missing", where, "it has no default")
    if "streamName" not in properties and "streamArn" not in properties:
        raise RefusedError("neither streamName nor streamArn", where, "name the stream")
    if "initialPositionInStream" not in properties:
        raise RefusedError(
            "initialPositionInStream is missing, and KCL's default is LATEST",
            where,
            "write TRIM_HORIZON",
        )
    regions = [name for name in properties if name.endswith("Client.region")]
    if regions and "regionName" in properties:
        raise RefusedError(
            f"regionName beside {regions[0]}: whichever KCL happens to read last counts",
            where,
            "give kinesisClient.region, dynamoDbClient.region and cloudWatchClient.region alone",
        )
    executable = properties["executableName"]
    if re.search(r"[\"'\\]", executable):
        raise RefusedError(
            f"executableName={executable}: it is split at blanks, and quotes are taken as they are",
            where,
            "give a program without blanks in its path",
        )


# -- the file ------------------------------------------------------------------------------------


def write_properties(
    properties: Mapping[str, str], remarks: Mapping[str, str] | None = None
) -> str:
    """The text of a properties file; ``remarks`` stand before the names that they are of."""
    lines = []
    for name, value in properties.items():
        if remarks and name in remarks:
            lines += ["", *(f"# {line}" for line in remarks[name].splitlines())]
        lines.append(f"{name} = {_escape(value)}")
    return "\n".join(lines).lstrip("\n") + "\n"


def _escape(value: str) -> str:
    escaped = value.replace("\\", "\\\\")
    return "".join(
        each if " " <= each <= "~" else "".join(f"\\u{unit:04x}" for unit in _utf16(each))
        for each in escaped
    )


def _utf16(character: str) -> Iterator[int]:
    raw = character.encode("utf-16-be", "surrogatepass")
    return (int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2))


def read_properties(text: str, where: str = "") -> dict[str, str]:
    """The properties of a file, as Java reads it; the last of two of a name counts for Java.

    Raises:
        RefusedError: a name stands there twice, or an escape is none.
    """
    found: dict[str, str] = {}
    for line in _logical_lines(text):
        name, value = _split(line)
        name, value = _unescape(name, where), _unescape(value, where)
        if name in found:
            raise RefusedError(f"the property {name} stands there twice", where, "keep one")
        found[name] = value.rstrip(" \t\f")
    return found


def _logical_lines(text: str) -> Iterator[str]:
    pending = ""
    for raw in re.split(r"\r\n|\n|\r", text):
        line = raw.lstrip(" \t\f")
        if not pending and line[:1] in {"", "#", "!"}:
            continue
        pending += line
        trailing = len(pending) - len(pending.rstrip("\\"))
        if trailing % 2:
            pending = pending[:-1]
            continue
        yield pending
        pending = ""
    if pending:
        yield pending


def _split(line: str) -> tuple[str, str]:
    match = re.match(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", line, re.DOTALL)
    assert match is not None  # it matches anything
    return match[1], match[2]


def _unescape(text: str, where: str) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[1] is not None:
            return chr(int(match[1], 16))
        if match[0] == "\\u":
            raise RefusedError(f"{text!r} has a \\u without four digits", where, "write \\\\u")
        return {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(match[0][1:], match[0][1:])

    unescaped = re.sub(r"\\u([0-9a-fA-F]{4})|\\.", replace, text, flags=re.DOTALL)
    return unescaped.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
