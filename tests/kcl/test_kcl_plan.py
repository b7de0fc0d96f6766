"""A worker's plan: three accounts apart, names, and what of it KCL cannot do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from binlog.errors import RefusedError
from consumers.kcl_plan import Plan, check_worker, default_application, default_folder, parse_leases
from consumers.kcl_properties import check_properties
from consumers.kcl_settings import Settings, settings_of
from tests.cli.running import binlog

ROLE = "arn:aws:iam::123456789012:role/reader"
LOG, STORE = "kinesis://orders?region=eu-west-1", "dynamodb://replica?region=us-west-2"


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of nobody, and no address that a developer's shell may hold."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


def plan(log: str = LOG, store: str = STORE, **more: Any) -> Plan:
    given = {"worker": "w1", "folder": Path("/nowhere"), **more}
    return Plan(settings=Settings(log=log, store=store), **given)


def test_stream_leases_and_target_are_configured_apart() -> None:
    made = plan(
        log=f"{LOG}&role={ROLE}&external_id=abc",
        leases=parse_leases("dynamodb://app?region=ap-south-1"),
    ).properties()
    assert made["kinesisClient.region"] == "eu-west-1"
    assert made["dynamoDbClient.region"] == made["cloudWatchClient.region"] == "ap-south-1"
    assert made["AwsCredentialsProvider"] == (
        f"StsAssumeRoleCredentialsProvider|{ROLE}|binlog|endpointRegion=eu-west-1|externalId=abc"
    )
    assert made["AwsCredentialsProviderDynamoDB"] == "DefaultCredentialsProvider"
    assert "us-west-2" not in str(made)
    assert "regionName" not in made


def test_leases_are_the_streams_business_where_nobody_says_otherwise() -> None:
    made = plan(log=f"{LOG}&role={ROLE}").properties()
    assert made["dynamoDbClient.region"] == "eu-west-1"
    assert made["AwsCredentialsProviderDynamoDB"] == made["AwsCredentialsProvider"]


def test_an_endpoint_of_an_address_or_of_the_environment_gets_into_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Java SDK does not look where boto3 does."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:4566")
    made = plan(log=f"{LOG}&endpoint=http://127.0.0.1:4567").properties()
    assert made["kinesisClient.endpointOverride"] == "http://127.0.0.1:4567"
    assert made["dynamoDbClient.endpointOverride"] == "http://127.0.0.1:4566"
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB")
    assert not [name for name in plan().properties() if name.endswith("endpointOverride")]


def test_region_comes_from_the_environment_as_it_does_for_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "sa-east-1")
    assert plan(log="kinesis://orders").properties()["kinesisClient.region"] == "sa-east-1"


@pytest.mark.parametrize("profile", ["production", "test"])
def test_both_profiles_are_gone_by_and_begin_at_the_beginning(profile: Any) -> None:
    made = plan(profile=profile).properties()
    check_properties(made)
    assert made["initialPositionInStream"] == "TRIM_HORIZON"
    assert made["retrievalMode"] == "POLLING"
    assert made["callProcessRecordsEvenForEmptyRecordList"] == "true"
    assert int(made["shutdownGraceMillis"]) > 0


def test_what_was_set_counts_more_than_the_profile() -> None:
    overrides = {"maxRecords": "50", "coordinatorStateTableName": "other"}
    made = plan(overrides=overrides)
    assert made.properties()["maxRecords"] == "50"
    assert made.leader_table == "other"
    assert plan().leader_table == "binlog.orders.replica-CoordinatorState"


@pytest.mark.parametrize(
    "more",
    [
        {"log": "file:log"},
        {"store": "sqlite:a.db"},
        {"log": f"{LOG}&role={ROLE}&external_id=a=b"},
        {"worker": "a b"},
        {"worker": ""},
        {"overrides": {"workerId": "w2"}},
        {"overrides": {"initialPositionInStream": "TRIM_HORIZON"}},
        {"overrides": {"streamArn": "arn:aws:kinesis:x"}},
        {"overrides": {"nosuch": "1"}},
        {"overrides": {"regionName": "eu-west-1"}},
    ],
)
def test_what_kcl_cannot_do_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        plan(**more).properties()


def test_a_profile_and_a_role_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[profile p]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    made = plan(log="kinesis://orders?profile=p").properties()
    assert made["AwsCredentialsProvider"] == "ProfileCredentialsProvider|p"
    with pytest.raises(RefusedError, match="into the profile"):
        plan(log=f"kinesis://orders?profile=p&role={ROLE}").properties()


def test_an_applications_name_is_a_tables_and_one_for_a_store() -> None:
    names = {
        default_application(Settings(log=LOG, store=store))
        for store in ("dynamodb://a", "dynamodb://b", "dynamodb://" + "c" * 250)
    }
    assert len(names) == 3
    assert all(len(f"{name}-CoordinatorState") <= 255 for name in names)
    for url in (
        "dynamodb://a b",
        "kinesis://a",
        f"dynamodb://{'a' * 250}",
        "dynamodb://a?tables=x",
    ):
        with pytest.raises(RefusedError):
            parse_leases(url)


def test_workers_have_folders_of_their_own() -> None:
    places = {default_folder(a, w, {"XDG_STATE_HOME": "/s"}) for a in "ab" for w in "ab"}
    assert len(places) == 4
    check_worker("a.b-c_1")


# -- the children's environment --------------------------------------------------------------------


def test_a_child_reads_what_its_supervisor_says() -> None:
    settings = Settings(
        log=LOG,
        store=STORE,
        appliers="shop.rules:appliers",
        poison="stop",
        excluded=("id=a", "type=T\nU"),
        same_meaning=True,
        folder=Path("/some where"),
    )
    assert settings_of(settings.environment()) == settings
    assert settings_of(Settings(log=LOG, store=STORE).environment()) == Settings(
        log=LOG, store=STORE
    )


def test_a_child_hears_nothing_that_its_supervisor_does_not_know() -> None:
    """Else it would fold by the appliers of whatever else this shell is set up for."""
    around = {
        "BINLOG_APPLIERS": "old:shop",
        "BINLOG_EXCLUDE": "type=T",
        "BINLOG_POISON": "stop",
        "BINLOG_SAME_MEANING": "yes",
        "BINLOG_RATE": "1",
        "BINLOG_ARCHIVE": "s3://other/archive",
        "BINLOG_LOG_FORMAT": "json",
        "PATH": "/bin",
    }
    settings = Settings(log="kinesis://orders", store="dynamodb://replica")
    given = settings.environment_of_children(around)
    assert settings_of(given) == settings
    assert {name: given.get(name) for name in around if around[name] == given.get(name)} == {
        "BINLOG_LOG_FORMAT": "json",
        "PATH": "/bin",
    }


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BINLOG_LOGS", "x", "BINLOG_LOG"),
        ("BINLOG_STORE", "", "dynamodb://PREFIX"),
        ("BINLOG_STORE", "sqlite:x.db", "dynamodb://PREFIX"),
        ("BINLOG_POISON", "ignore", "park or stop"),
        ("BINLOG_EXCLUDE", "nonsense", "="),
        ("BINLOG_EXCLUDE", "[1]", "write"),
    ],
)
def test_a_childs_environment_is_checked(name: str, value: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        settings_of({"BINLOG_LOG": LOG, "BINLOG_STORE": STORE, name: value})


# -- the command -----------------------------------------------------------------------------------


def test_the_command_prints_a_file_that_it_finds_good(tmp_path: Path) -> None:
    made = binlog("kcl", "properties", LOG, STORE, "--worker", "w1", "--folder", str(tmp_path))
    assert made.status == 0
    file = tmp_path / "daemon.properties"
    file.write_text(made.out)
    checked = binlog("kcl", "properties", "--check", str(file))
    assert checked.status == 0, checked.err
    file.write_text(made.out + "maxrecords = 5\n")
    checked = binlog("kcl", "properties", "--check", str(file))
    assert checked.status == 2
    assert checked.err.count("\n") == 1
    assert "write maxRecords" in checked.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["file:log", STORE], "kinesis://STREAM"),
        ([LOG, "sqlite:a.db"], "dynamodb://PREFIX"),
        ([LOG, STORE, "--set", "maxRecords"], "NAME=VALUE"),
        ([LOG, STORE, "--set", "maxRecord=1"], "maxRecords"),
        ([LOG, STORE, "--leases", "app"], "dynamodb"),
        ([LOG, STORE, "--exclude", "nonsense"], "="),
    ],
)
def test_bad_input_is_one_line_with_the_remedy(words: list[str], says: str) -> None:
    done = binlog("kcl", "properties", *words)
    assert done.status == 2
    assert done.err.count("\n") == 1, done.err
    assert says in done.err


def test_without_java_the_line_says_what_to_install(tmp_path: Path) -> None:
    done = binlog("kcl", "run", LOG, STORE, "--java", "/no/java", "--folder", str(tmp_path))
    assert done.status == 2
    assert "--java" in done.err.splitlines()[-1]
