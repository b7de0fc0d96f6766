"""Who calls, and whereto: what an address may say, and what the clients that come of it do."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from binlog.address import parse_address
from binlog.aws import credentials
from binlog.aws.account import ACCOUNT_PARAMETERS, Account, account_of, connector
from binlog.aws.errors import trouble, was_refused
from binlog.errors import RefusedError, StorageError
from tests.aws.aws_double import Refusal, Wire

ROLE = "arn:aws:iam::123456789012:role/team/reader"
DESCRIBED = {"OpenShardCount": 1, "ShardLimit": 200}


def assumed(number: int, *, minutes: float = 60) -> Mapping[str, Any]:
    return {
        "Credentials": {
            "AccessKeyId": f"AKIDROLE{number}",
            "SecretAccessKey": "secret",
            "SessionToken": "token",
            "Expiration": datetime.now(UTC) + timedelta(minutes=minutes),
        },
        "AssumedRoleUser": {
            "Arn": "arn:aws:sts::123456789012:assumed-role/reader/binlog",
            "AssumedRoleId": "AROA:binlog",
        },
    }


# -- what an address may say -----------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["kinesis", "dynamodb", "s3"])
def test_every_service_takes_every_parameter_of_an_account(scheme: str) -> None:
    """The log in one account and the store in another is two addresses, and nothing else."""
    url = f"{scheme}://name?region=eu-west-1&profile=dev&role={ROLE}&external_id=a/b&fips=true"
    assert parse_address(url).account == Account(
        region="eu-west-1", profile="dev", role=ROLE, external_id="a/b", fips=True
    )
    endpoint = "https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com"
    assert parse_address(f"{scheme}://name?endpoint={endpoint}").account.endpoint == endpoint


def test_what_is_not_given_is_the_environments_business() -> None:
    assert account_of({}, "x") == Account()
    assert account_of({"reads": "2"}, "x") == Account()
    assert set(Account.__struct_fields__) == ACCOUNT_PARAMETERS


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("region=no where", "region='no where'"),
        ("region=EU-WEST-1", "EU-WEST-1"),
        ("profile=", "'profile' that is unknown or empty"),
        ("profile=a%0Ab", "profile="),
        ("role=reader", "role='reader'"),
        ("role=arn:aws:iam::123:role/x", "arn:aws:iam::ACCOUNT:role/NAME"),
        ("role=arn:aws:iam::123456789012:user/x", "role="),
        (f"role={ROLE}+x", "+ is %2B"),
        ("external_id=abc", "external_id without a role"),
        (f"role={ROLE}&external_id=a", "external_id='a'"),
        ("endpoint=localhost:4567", "https://HOST[:PORT]"),
        ("endpoint=http://user:secret@host", "https://HOST[:PORT]"),
        ("endpoint=https://host/?x=1", "https://HOST[:PORT]"),
        ("endpoint=https://host:port", "https://HOST[:PORT]"),
        ("fips=yes", "fips=true or fips=false"),
        ("fips=true&endpoint=https://host", "give one of them"),
        ("region=a&region=b", "twice"),
        ("endpiont=https://host", "'endpiont' that is unknown"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(query: str, says: str) -> None:
    """A parameter that is taken silently and does nothing sends data to the wrong account."""
    for scheme in ("kinesis", "dynamodb"):
        with pytest.raises(RefusedError) as raised:
            parse_address(f"{scheme}://name?{query}")
        assert says in str(raised.value)


def test_each_service_has_its_own_parameters_besides() -> None:
    assert parse_address("dynamodb://p?tables=t.toml").tables == "t.toml"
    assert parse_address("kinesis://s?reads=2").reads == 2
    for url in ("dynamodb://p?reads=2", "kinesis://s?tables=t.toml", "s3://b?tables=t"):
        with pytest.raises(RefusedError, match="unknown"):
            parse_address(url)


# -- clients ---------------------------------------------------------------------------------------


def test_a_client_has_the_options_that_were_asked_for() -> None:
    connect = connector(
        Account(region="eu-west-3"),
        "dynamodb",
        "dynamodb://p",
        total_max_attempts=1,
        connect_timeout_s=1.5,
        read_timeout_s=7,
        connections=42,
    )
    config = connect().meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 1}
    assert (config.connect_timeout, config.read_timeout) == (1.5, 7)
    assert config.max_pool_connections == 42
    assert config.user_agent_extra.startswith("binlog")
    assert connect() is not connect()


def test_endpoints_are_the_addresss_then_the_environments_then_the_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def url(**options: Any) -> str:
        return str(connector(Account(**options), "kinesis", "x")().meta.endpoint_url)

    assert url() == "https://kinesis.eu-west-1.amazonaws.com"
    assert url(fips=True, region="us-east-1") == "https://kinesis-fips.us-east-1.amazonaws.com"
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:1")
    assert url() == "http://127.0.0.1:1"
    assert url(endpoint="https://vpce.example") == "https://vpce.example"


def test_fips_beside_an_endpoint_of_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The SDK would take the endpoint, and say nothing."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:1")
    with pytest.raises(RefusedError, match=r"fips=true, and .* http://127\.0\.0\.1:1"):
        connector(Account(fips=True), "kinesis", "kinesis://s")()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "https://x.kinesis-fips.vpce.example")
    connector(Account(fips=True), "kinesis", "kinesis://s")()


def test_an_endpoint_of_the_environment_that_is_none_is_refused_with_where_to_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "localhost:4567")
    with pytest.raises(RefusedError, match=r"Invalid endpoint: localhost:4567.*AWS_ENDPOINT_URL"):
        connector(Account(), "kinesis", "kinesis://s")()


def test_an_error_says_which_region_was_asked(wire: Wire) -> None:
    """Most missing streams are in another region."""
    wire.answers["kinesis.DescribeLimits"] = Refusal("ResourceNotFoundException", "Stream s")
    client = connector(Account(region="ap-south-1"), "kinesis", "kinesis://s")()
    with pytest.raises(Exception, match="Stream s") as raised:
        client.describe_limits()
    error = trouble(raised.value, "kinesis://s")
    assert str(error).startswith("no such stream in ap-south-1 (Stream s): kinesis://s: is the")


def test_one_session_serves_an_account_until_the_environment_changes(
    monkeypatch: pytest.MonkeyPatch, wire: Wire
) -> None:
    """A session costs more than a client, and a role that is assumed once is enough."""
    wire.answers["kinesis.DescribeLimits"] = DESCRIBED
    wire.answers["sts.AssumeRole"] = assumed(1)
    for _ in range(3):
        connector(Account(role=ROLE), "kinesis", "x")().describe_limits()
    connector(Account(role=ROLE), "kinesis", "y", total_max_attempts=1)().describe_limits()
    assert wire.asked() == {"kinesis.DescribeLimits": 4, "sts.AssumeRole": 1}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    connector(Account(role=ROLE), "kinesis", "x")().describe_limits()
    assert wire.asked()["sts.AssumeRole"] == 2


def test_a_forked_child_makes_sessions_of_its_own(wire: Wire) -> None:
    """Their locks may have been held by a thread that the child does not have."""
    wire.answers["kinesis.DescribeLimits"] = DESCRIBED
    connect = connector(Account(), "kinesis", "x")
    connect()
    from binlog.aws import account as module

    module._sessions._lock.acquire()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            threading.Timer(60, os._exit, (2,)).start()
            if not module._sessions._lock.locked():  # else it would wait for ever
                connect().describe_limits()
                status = 0
        finally:
            os._exit(status)
    module._sessions._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_no_boto3_is_said_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "botocore.config", None)
    with pytest.raises(RefusedError, match=r"kinesis-binlog\[aws\]"):
        connector(Account(), "kinesis", "kinesis://s")()


# -- roles -----------------------------------------------------------------------------------------


def test_a_role_is_assumed_with_its_external_id_by_the_environments_credentials(
    wire: Wire,
) -> None:
    wire.answers["kinesis.DescribeLimits"] = DESCRIBED
    wire.answers["sts.AssumeRole"] = assumed(1)
    account = Account(role=ROLE, external_id="shop-7")
    connector(account, "kinesis", "x")().describe_limits()
    assert wire.calls[-1] == (
        "sts.AssumeRole",
        {"RoleArn": ROLE, "RoleSessionName": "binlog", "ExternalId": "shop-7"},
    )
    assert wire.keys == ["AKIDENV", "AKIDROLE1"]
    assert wire.hosts[0] == "sts.eu-west-1.amazonaws.com"


def test_the_credentials_of_a_role_are_renewed_before_they_expire(wire: Wire) -> None:
    """A replica runs for months; a role's credentials live an hour."""
    renewed = iter(range(1, 9))
    wire.answers["kinesis.DescribeLimits"] = DESCRIBED
    wire.answers["sts.AssumeRole"] = lambda _: assumed(next(renewed), minutes=14)
    client = connector(Account(role=ROLE), "kinesis", "x")()
    for _ in range(3):
        client.describe_limits()
    by_role = [key for key in wire.keys if key.startswith("AKIDROLE")]
    assert by_role[0] != by_role[-1]


def test_a_renewal_that_fails_leaves_what_is_valid_still(wire: Wire) -> None:
    """STS may be away for a few minutes, and nothing needs it yet."""
    wire.answers["kinesis.DescribeLimits"] = DESCRIBED
    wire.answers["sts.AssumeRole"] = assumed(1, minutes=12)  # time to renew, and no need yet
    client = connector(Account(role=ROLE), "kinesis", "x")()
    client.describe_limits()
    wire.answers["sts.AssumeRole"] = Refusal("AccessDenied", "gone", 403)
    client.describe_limits()
    assert wire.keys[-1] == "AKIDROLE1"


def test_a_role_by_fips_asks_a_fips_sts(wire: Wire) -> None:
    wire.answers["kinesis.DescribeLimits"] = DESCRIBED
    wire.answers["sts.AssumeRole"] = assumed(1)
    account = Account(role=ROLE, fips=True, region="us-east-1")
    connector(account, "kinesis", "x")().describe_limits()
    assert len(wire.hosts) == 2
    assert all("-fips.us-east-1.amazonaws.com" in host for host in wire.hosts)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (
            Refusal(
                "AccessDenied",
                "User: arn:aws:iam::1:user/a is not authorized to perform: sts:AssumeRole on "
                f"resource: {ROLE}",
                403,
            ),
            RefusedError,
            f"AssumeRole {ROLE}: not permitted: sts:AssumeRole on {ROLE}, for arn:aws:iam::1:user/a:",
        ),
        (Refusal("ExpiredToken", "old", 403), StorageError, "have expired (old)"),
        (ReadTimeoutError(endpoint_url="https://sts"), StorageError, "no reply in time"),
    ],
)
def test_a_role_that_cannot_be_assumed_says_so_and_nothing_was_sent(
    wire: Wire, answer: Any, kind: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put whose credentials did not come was certainly not made: its frame is not in doubt."""
    monkeypatch.setattr(credentials, "_STS_ATTEMPTS", 1)
    wire.answers["sts.AssumeRole"] = answer
    client = connector(Account(role=ROLE), "kinesis", "kinesis://s")()
    with pytest.raises(Exception, match="AssumeRole") as raised:
        client.describe_limits()
    assert was_refused(raised.value)
    error = trouble(raised.value, "kinesis://s")
    assert isinstance(error, kind)
    assert says in str(error)
    assert wire.asked()["kinesis.DescribeLimits"] == 1


# -- files -----------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setattr(credentials, "LOOK_EVERY_S", 0.0)
    return path


def write(path: Path, key: str, token: str = "t") -> None:
    """As tools do: a new file in the place of the old."""
    new = path.with_suffix(".new")
    token = f"aws_session_token={token}\n" if token else ""
    new.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key=s\n{token}")
    new.rename(path)


def test_session_credentials_in_a_file_are_read_again_when_it_changes(
    file: Path, wire: Wire
) -> None:
    """The tools that put them there do so every hour, and the SDK reads them once."""
    wire.answers["kinesis.DescribeLimits"] = DESCRIBED
    write(file, "AKID1")
    client = connector(Account(), "kinesis", "x")()
    client.describe_limits()
    write(file, "AKID2")
    client.describe_limits()
    file.write_text("[default]\n")  # being written
    client.describe_limits()
    write(file, "AKID3")
    client.describe_limits()
    assert wire.keys == ["AKID1", "AKID2", "AKID2", "AKID3"]


def test_a_file_that_did_not_change_is_not_read_again(
    file: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.answers["kinesis.DescribeLimits"] = DESCRIBED
    write(file, "AKID1")
    client = connector(Account(), "kinesis", "x")()
    monkeypatch.setattr(credentials.Files, "_read", lambda _: pytest.fail("read again"))
    for _ in range(3):
        client.describe_limits()
    monkeypatch.setattr(credentials, "LOOK_EVERY_S", 3600.0)
    write(file, "AKID2")
    client.describe_limits()
    assert wire.keys == ["AKID1"] * 4
