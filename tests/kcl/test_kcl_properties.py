"""The daemon's properties: nothing that it would drop without a word gets into its file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.errors import RefusedError
from consumers.kcl_properties import (
    NAMES,
    check_properties,
    check_property,
    read_properties,
    write_properties,
)

GOOD = {
    "executableName": "python -m consumers.kcl",
    "streamName": "s",
    "applicationName": "app",
    "AwsCredentialsProvider": "DefaultCredentialsProvider",
    "initialPositionInStream": "TRIM_HORIZON",
}


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [
        ("maxrecords", "maxRecords"),
        ("awsCredentialsProvider", "AwsCredentialsProvider"),
        ("dynamoDbEndpoint", "dynamoDBEndpoint"),
        ("dynamoDBClient.region", "dynamoDbClient.region"),
        ("idleTimeBetweenReadsMillis", "idleTimeBetweenReadsInMillis"),
        ("failOverTime", "failoverTimeMillis"),
        ("consumerName", "fanoutConfig.consumerName"),
        ("pollingConfig.maxRecords", "maxRecords"),
        ("isGracefulLeaseHandoffEnable", "isGracefulLeaseHandoffEnabled"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_that_there_is(
    given_name: str, meant: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        check_property(given_name, "1")
    assert meant in refused.value.do


def test_a_name_that_is_near_to_none_is_refused_as_well() -> None:
    with pytest.raises(RefusedError, match="--known"):
        check_property("zzz", "1")


@pytest.mark.parametrize(
    ("name", "value", "holds"),
    [
        ("cleanupLeasesUponShardCompletion", "false", "true"),
        ("maxRecords", "0", "10000"),
        ("maxRecords", "00", "10000"),
        ("idleTimeBetweenReadsInMillis", "0", "1500"),
        ("workerMetricsEMAAlpha", "0.0", "0.5"),
    ],
)
def test_a_value_that_java_takes_for_none_is_refused_and_what_holds_instead_is_named(
    name: str, value: str, holds: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        check_property(name, value)
    assert holds in refused.value.do


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("disableWorkerMetrics", "false"),  # an object: nothing is taken for none
        ("isGracefulLeaseHandoffEnabled", "false"),
        ("callProcessRecordsEvenForEmptyRecordList", "false"),  # and so is KCL's own default
        ("millisBehindLatestThresholdForReducedTps", "0"),
        ("shutdownGraceMillis", "0"),
        ("staleWorkerMetricsEntryCleanupDuration", "P2DT3H"),
        ("maxThroughputPerHostKBps", "10.5"),
        ("kinesisEndpoint", "http://127.0.0.1:4567"),
    ],
)
def test_a_value_that_is_gone_by_is_taken(name: str, value: str) -> None:
    check_property(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("initialPositionInStream", "LATEST"),
        ("initialPositionInStream", "AT_TIMESTAMP"),
        ("initialPositionInStreamExtended", "1636609142"),
        ("timeoutInSeconds", "30"),
        ("validateSequenceNumberBeforeCheckpointing", "true"),
        ("shardPrioritization", "x"),
        ("workerIdentifier", "w"),
        ("clientVersionConfig", "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1"),
        ("maxRecords", "1e3"),
        ("maxRecords", "-1"),
        ("disableWorkerMetrics", "True"),
        ("staleWorkerMetricsEntryCleanupDuration", "15m"),
        ("staleWorkerMetricsEntryCleanupDuration", "P"),
        ("metricsLevel", "none"),
        ("regionName", "eu west"),
        ("workerId", "a\nb = c"),
        ("workerId", " a"),
        ("applicationName", "a b"),
    ],
)
def test_what_loses_data_or_ends_the_daemon_is_refused(name: str, value: str) -> None:
    with pytest.raises(RefusedError):
        check_property(name, value)


def test_a_file_must_say_where_to_begin() -> None:
    """KCL's default is LATEST: everything before it would never be applied (C1)."""
    check_properties(GOOD)
    for name in GOOD:
        with pytest.raises(RefusedError):
            check_properties({n: v for n, v in GOOD.items() if n != name})


def test_one_region_of_all_beside_one_of_a_client_is_refused() -> None:
    """KCL applies properties in the order of a hash table."""
    with pytest.raises(RefusedError, match="happens to read last"):
        check_properties({**GOOD, "regionName": "eu-west-1", "dynamoDbClient.region": "eu-west-2"})


def test_a_program_that_needs_quotes_is_refused() -> None:
    with pytest.raises(RefusedError, match="split at blanks"):
        check_properties({**GOOD, "executableName": '"/my apps/python" -m consumers.kcl'})


def test_every_name_is_taken_with_some_value() -> None:
    """A name whose check refuses everything would be worse than an unknown one."""
    values = ["true", "7", "0.5", "https://h", "eu-west-1", "PT15M", "abc", "NONE", "POLLING"]
    values += ["TRIM_HORIZON", "CLIENT_VERSION_CONFIG_3X", "PAY_PER_REQUEST"]
    for name in NAMES:
        accepted = []
        for value in values:
            try:
                check_property(name, value)
            except RefusedError:
                continue
            accepted.append(value)
        assert accepted, name


# -- the file ------------------------------------------------------------------------------------

VALUES = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"])).map(
    str.strip
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_what_is_written_is_read_again(properties: dict[str, str]) -> None:
    text = write_properties(properties, {"maxRecords": "why\nand why"})
    assert text.isascii()
    assert read_properties(text) == properties


def test_reads_what_java_reads() -> None:
    """The grammar of java.util.Properties, by its documentation's own examples."""
    text = (
        "# a remark\n! another\n\n  a = b\nc:d\ne f\n"
        "fruits   apple, banana, \\\n         pear\n"
        "k\\=1 = v\\:2\nempty\nu = \\u00e9\\\\ \\ttab\nlast=x\\\\\n"
    )
    assert read_properties(text) == {
        "a": "b",
        "c": "d",
        "e": "f",
        "fruits": "apple, banana, pear",
        "k=1": "v:2",
        "empty": "",
        "u": "é\\ \ttab",
        "last": "x\\",
    }


@pytest.mark.parametrize("text", ["a = 1\na = 2\n", "a = \\u12\n"])
def test_what_can_be_meant_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        read_properties(text)
