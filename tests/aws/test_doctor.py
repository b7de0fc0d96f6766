"""`doctor` on a stream: each thing that can be wrong, by the words of the service itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from binlog.aws import identity
from binlog.aws.account import Account
from binlog.aws.health import clock_finding
from binlog.clock import SystemClock
from binlog.logs.kinesis_genesis import tags_of
from binlog.logs.kinesis_health import StreamHealth, questions
from binlog.params import Params, encode_genesis
from tests.aws.aws_double import ACCOUNT_ID, USER, Refusal, Wire
from tests.cli.running import Ran, binlog

STREAM = f"arn:aws:kinesis:eu-west-1:{ACCOUNT_ID}:stream/orders"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:key/1234abcd"
PARAMS = Params(log_id="1" * 32, partitions=2, frame_bytes_max=1_000_000)
LOG = "kinesis://orders"


def summary(**more: Any) -> Mapping[str, Any]:
    found = {
        "StreamName": "orders",
        "StreamARN": STREAM,
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 168,
        "StreamCreationTimestamp": datetime.now(UTC) - timedelta(hours=1),
        "EnhancedMonitoring": [],
        "OpenShardCount": 2,
        "EncryptionType": "KMS",
        "KeyId": "alias/aws/kinesis",
        "MaxRecordSizeInKiB": 1024,
        "RecordDistributionStrategy": "EXPLICIT",
    }
    return {"StreamDescriptionSummary": found | more}


@pytest.fixture(autouse=True)
def healthy(wire: Wire) -> Wire:
    """A stream with which nothing is wrong, and somebody who may do everything."""
    tags = tags_of(encode_genesis(PARAMS), PARAMS)
    wire.answers |= {
        "sts.GetCallerIdentity": {"Arn": USER, "Account": ACCOUNT_ID, "UserId": "A"},
        "iam.SimulatePrincipalPolicy": lambda asked: {
            "EvaluationResults": [
                {"EvalActionName": action, "EvalDecision": "allowed"}
                for action in asked["ActionNames"]
            ]
        },
        "kinesis.DescribeStreamSummary": summary(),
        "kinesis.ListTagsForStream": {
            "Tags": [{"Key": name, "Value": value} for name, value in tags.items()],
            "HasMoreTags": False,
        },
        "kinesis.ListShards": {"Shards": [{"ShardId": "shardId-1"}]},
        "kinesis.GetShardIterator": {"ShardIterator": "i"},
        "kinesis.GetRecords": {"Records": [], "MillisBehindLatest": 0},
    }
    return wire


def look(*options: str, status: int = 0, log: str = LOG) -> dict[str, Any]:
    ran = binlog("doctor", log, *options, "--json")
    assert ran.status == status, ran.out + ran.err
    document: dict[str, Any] = json.loads(ran.out)
    assert set(document) == {"healthy", "findings", "policy"}
    assert document["healthy"] == (status != 1)
    for each in document["findings"]:
        assert set(each) == {"check", "state", "what", "where", "do"}
        assert each["what"]
        assert each["do"] or each["state"] in {"ok", "noted", "failed"}, each
    return document


def of(document: dict[str, Any], check: str, state: str) -> dict[str, Any]:
    [found] = [
        each for each in document["findings"] if (each["check"], each["state"]) == (check, state)
    ]
    return dict(found)


# -- a healthy one ---------------------------------------------------------------------------------


def test_a_healthy_stream_is_said_to_be_one(wire: Wire) -> None:
    document = look()
    assert {each["state"] for each in document["findings"]} == {"ok"}
    checks = {each["check"] for each in document["findings"]}
    assert checks == {
        "versions",
        "endpoint",
        "credentials",
        "expiry",
        "clock",
        "permissions",
        "log",
        "stream",
        "mode",
        "limits",
        "order",
        "record size",
        "encryption",
        "retention",
        "reads",
    }
    assert document["policy"] is None
    assert of(document, "credentials", "ok")["what"] == USER
    assert of(document, "expiry", "ok")["what"] == "from the environment, and do not expire"
    assert of(document, "mode", "ok")["what"] == "provisioned, 2 open shards for 2 partitions"
    assert of(document, "limits", "ok")["what"].startswith(
        "takes 2 MB and 2,000 records a second; gives 4 MB to all readers;"
    )


def test_nothing_is_changed(wire: Wire) -> None:
    """Reads, and questions."""
    for role in ("producer", "reader", "operator"):
        look("--as", role)
    asked = {name.partition(".")[2] for name in wire.asked()}
    assert all(name.startswith(("Describe", "List", "Get", "Simulate")) for name in asked), asked


def test_people_get_a_table_with_the_worst_first(wire: Wire) -> None:
    wire.answers["kinesis.DescribeStreamSummary"] = summary(RecordDistributionStrategy="AUTO")
    ran: Ran = binlog("doctor", LOG)
    assert ran.status == 1
    lines = ran.out.splitlines()
    assert lines[0].split() == ["state", "check", "where", "what"]
    assert lines[1].startswith("unhealthy")
    assert "  order, kinesis://orders: it keeps no order: set it" in ran.out
    assert lines[-1].startswith("not healthy: ")


# -- permissions -----------------------------------------------------------------------------------


def test_a_missing_permission_comes_as_a_statement_to_paste(wire: Wire) -> None:
    wire.deny("kinesis:GetRecords", STREAM)
    document = look(status=1)
    denied = of(document, "permissions", "unhealthy")
    assert denied["what"].startswith("kinesis:GetRecords is denied (not permitted: kinesis:Get")
    assert document["policy"] == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "MissingStream",
                "Effect": "Allow",
                "Action": ["kinesis:GetRecords"],
                "Resource": STREAM,
            }
        ],
    }
    ran = binlog("doctor", LOG)
    text = ran.out[ran.out.index("{") : ran.out.rindex("}") + 1]
    assert json.loads(text) == document["policy"]


def test_who_may_not_even_describe_it_learns_what_is_missing(wire: Wire) -> None:
    """The stream's ARN is then put together from whose credentials these are."""
    for action in ("DescribeStreamSummary", "ListTagsForStream", "ListShards"):
        wire.deny(f"kinesis:{action}", STREAM)
    document = look(status=1)
    [statement] = document["policy"]["Statement"]
    assert statement["Resource"] == STREAM
    assert statement["Action"] == [
        "kinesis:DescribeStreamSummary",
        "kinesis:ListShards",
        "kinesis:ListTagsForStream",
    ]


def test_a_write_is_asked_of_the_simulator_and_not_tried(wire: Wire) -> None:
    wire.answers["iam.SimulatePrincipalPolicy"] = {
        "EvaluationResults": [
            {"EvalActionName": "kinesis:PutRecords", "EvalDecision": "implicitDeny"}
        ]
    }
    document = look("--as=producer", status=1)
    denied = of(document, "permissions", "unhealthy")
    assert "kinesis:PutRecords is denied (IAM's simulator says implicitDeny)" in denied["what"]
    assert document["policy"]["Statement"][0]["Action"] == ["kinesis:PutRecords"]
    [asked] = [params for name, params in wire.calls if name == "iam.SimulatePrincipalPolicy"]
    assert asked["ActionNames"] == ["kinesis:PutRecords"]
    assert asked["PolicySourceArn"] == USER
    assert asked["ResourceArns"] == [STREAM]


def test_what_nobody_may_ask_cannot_be_known(wire: Wire) -> None:
    """And is not called a fault: most applications may not ask IAM."""
    wire.deny("iam:SimulatePrincipalPolicy", USER)
    document = look("--as=producer")
    unknown = of(document, "permissions", "unknown")
    assert "whether kinesis:PutRecords is permitted cannot be known" in unknown["what"]
    assert "iam:SimulatePrincipalPolicy" in unknown["do"]
    assert (
        of(document, "permissions", "ok")["what"] == "5 of the 6 permissions of the role producer"
    )


def test_a_role_is_asked_for_by_the_role_and_not_by_its_session(wire: Wire) -> None:
    arn = f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/shop/i-0abc"
    wire.answers["sts.GetCallerIdentity"] = {"Arn": arn, "Account": ACCOUNT_ID, "UserId": "A"}
    look("--as=producer")
    [asked] = [params for name, params in wire.calls if name == "iam.SimulatePrincipalPolicy"]
    assert asked["PolicySourceArn"] == f"arn:aws:iam::{ACCOUNT_ID}:role/shop"


def test_the_key_of_a_stream_is_asked_for_by_reading(wire: Wire) -> None:
    wire.answers["kinesis.DescribeStreamSummary"] = summary(KeyId=KEY)
    wire.denied["kinesis.GetRecords"] = Refusal(
        "KMSAccessDeniedException",
        f"User: {USER} is not authorized to perform: kms:Decrypt on resource: {KEY} because no"
        " identity-based policy allows the kms:Decrypt action",
    )
    document = look(status=1)
    assert "kms:Decrypt is denied" in of(document, "permissions", "unhealthy")["what"]
    [statement] = document["policy"]["Statement"]
    assert (statement["Action"], statement["Resource"]) == (["kms:Decrypt"], KEY)
    assert statement["Condition"]["StringEquals"]["kms:EncryptionContext:aws:kinesis:arn"] == STREAM


def test_a_throttled_question_says_nothing_of_permission(wire: Wire) -> None:
    wire.answers["kinesis.GetRecords"] = Refusal("ProvisionedThroughputExceededException")
    wire.deny("iam:SimulatePrincipalPolicy", USER)
    document = look()
    assert "kinesis:GetRecords" in of(document, "permissions", "unknown")["what"]


# -- credentials -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "status", "says"),
    [
        (Refusal("InvalidClientTokenId", "unknown", 403), 1, "credentials are not known"),
        (Refusal("ExpiredToken", "old", 403), 1, "have expired (old)"),
    ],
)
def test_credentials_that_nobody_takes_end_the_visit(
    wire: Wire, refusal: Refusal, status: int, says: str
) -> None:
    wire.answers["sts.GetCallerIdentity"] = refusal
    document = look(status=status)
    [found] = [each for each in document["findings"] if each["check"] == "credentials"]
    assert says in found["what"]
    assert not any(name.startswith("kinesis") for name in wire.asked())


def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    document = look(status=1)
    assert "AWS_PROFILE" in of(document, "credentials", "unhealthy")["do"]


def test_no_way_to_sts_is_no_fault(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VPC with an endpoint for Kinesis often has none for STS."""
    monkeypatch.setattr(identity, "ATTEMPTS", 1)
    wire.answers["sts.GetCallerIdentity"] = EndpointConnectionError(endpoint_url="https://sts")
    document = look()
    assert "cannot be known" in of(document, "credentials", "unknown")["what"]
    assert "AWS_ENDPOINT_URL_STS" in of(document, "credentials", "unknown")["do"]


def test_temporary_credentials_that_nobody_renews_are_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    noted = of(look(), "expiry", "noted")
    assert noted["what"] == (
        "temporary, from the environment, and nobody renews them; nobody says when they expire"
    )
    assert "role" in noted["do"]


def test_the_credentials_of_a_role_are_renewed(wire: Wire) -> None:
    wire.answers["sts.AssumeRole"] = {
        "Credentials": {
            "AccessKeyId": "AKIDROLE",
            "SecretAccessKey": "s",
            "SessionToken": "t",
            # Minutes are rounded: nearly one may pass until it is looked at.
            "Expiration": datetime.now(UTC) + timedelta(minutes=60, seconds=29),
        },
        "AssumedRoleUser": {
            "Arn": f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/r/binlog",
            "AssumedRoleId": "A",
        },
    }
    document = look(log=f"{LOG}?role=arn:aws:iam::{ACCOUNT_ID}:role/r")
    what = of(document, "expiry", "ok")["what"]
    assert what.startswith("from assume-role, renewed; expire at 20")
    assert what.endswith(", in 60 min")


# -- the stream ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("described", "check", "state", "says", "status"),
    [
        ({"StreamStatus": "DELETING"}, "stream", "unhealthy", "DELETING", 1),
        ({"StreamStatus": "UPDATING"}, "stream", "noted", "UPDATING", 0),
        ({"RecordDistributionStrategy": "AUTO"}, "order", "unhealthy", "AUTO", 1),
        ({"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}, "mode", "ok", "on demand, 2 open", 0),
        ({"OpenShardCount": 3}, "mode", "noted", "3 open shards for 2 partitions", 0),
        ({"MaxRecordSizeInKiB": 900}, "record size", "unhealthy", "900 KiB", 1),
        ({"MaxRecordSizeInKiB": 10240}, "record size", "noted", "10,240 KiB", 0),
        ({"EncryptionType": "NONE"}, "encryption", "noted", "not encrypted at rest", 0),
        ({"RetentionPeriodHours": 24}, "retention", "noted", "24 h", 0),
        (
            {"StreamCreationTimestamp": datetime(2020, 1, 1, tzinfo=UTC)},
            "beginning",
            "noted",
            "forgotten its first records",
            0,
        ),
    ],
)
def test_what_a_stream_is_and_what_is_wrong_with_it(
    wire: Wire, described: Mapping[str, Any], check: str, state: str, says: str, status: int
) -> None:
    wire.answers["kinesis.DescribeStreamSummary"] = summary(**described)
    document = look(status=status)
    found = of(document, check, state)
    assert says in found["what"]
    assert found["where"] == LOG


def test_a_botocore_that_does_not_know_a_limit_says_so(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older one drops what it does not know from the reply: all would look well."""
    described = dict(summary()["StreamDescriptionSummary"])
    del described["RecordDistributionStrategy"], described["MaxRecordSizeInKiB"]
    wire.answers["kinesis.DescribeStreamSummary"] = {"StreamDescriptionSummary": described}
    assert of(look(), "order", "ok")
    assert "1,024 KiB" in of(look(), "record size", "ok")["what"]
    monkeypatch.setattr("binlog.logs.kinesis_health._members", lambda _: frozenset())
    for check in ("order", "record size"):
        unknown = of(look(), check, "unknown")
        assert "unknown to this botocore" in unknown["what"]
        assert unknown["do"] == "pip install -U botocore"


def test_no_such_stream_and_one_that_is_no_log(wire: Wire) -> None:
    wire.answers["kinesis.ListTagsForStream"] = {"Tags": [], "HasMoreTags": False}
    document = look(status=1)
    assert "a stream, but no log" in of(document, "log", "unhealthy")["what"]
    assert of(document, "stream", "ok")
    wire.deny("iam:SimulatePrincipalPolicy", USER)
    gone = Refusal("ResourceNotFoundException", "Stream orders under account 1 not found.")
    for name in list(wire.answers):
        if name.startswith("kinesis"):
            wire.answers[name] = gone
    document = look(status=1)
    assert "no such stream in eu-west-1" in of(document, "stream", "unhealthy")["what"]
    assert of(document, "permissions", "unknown")["what"].startswith("whether kinesis:GetRecords")


def test_a_service_that_does_not_answer_is_a_failure_and_no_verdict(wire: Wire) -> None:
    for name in list(wire.answers):
        if name.startswith("kinesis"):
            wire.answers[name] = ReadTimeoutError(endpoint_url="https://kinesis")
    document = look(status=3)
    assert "no reply in time" in of(document, "stream", "failed")["what"]


def test_plain_http_to_another_machine_is_unhealthy() -> None:
    document = look(log=f"{LOG}?endpoint=http://kinesis.example", status=1)
    assert "not encrypted" in of(document, "endpoint", "unhealthy")["what"]


# -- clock and budgets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "state", "says", "status"),
    [
        (0, "ok", "agrees", 0),
        # What passes between question and reply is nobody's: up to 45 s of it is no matter here.
        (-50, "noted", "s ahead of the service's", 0),
        (50, "noted", "s behind the service's", 0),
        (-600, "unhealthy", "s ahead of the service's", 1),
        (600, "unhealthy", "s behind the service's", 1),
    ],
)
def test_the_clock_is_compared_with_the_services_date(
    wire: Wire, seconds: int, state: str, says: str, status: int
) -> None:
    wire._now = lambda: datetime.now(UTC) + timedelta(seconds=seconds)
    found = of(look(status=status), "clock", state)
    assert says in found["what"]


@pytest.mark.parametrize(
    ("mine", "others", "state", "says", "status"),
    [
        ("", (), "ok", "5 of 5 GetRecords calls a second and shard: nothing is left", 0),
        ("?reads=2", (), "ok", "2 of 5", 0),
        ("?reads=2", ("2",), "ok", "2 + 2 of 5", 0),
        ("", ("1",), "unhealthy", "5 + 1 of 5 GetRecords calls a second and shard: 1 too", 1),
        ("?reads=2", ("2", "2"), "unhealthy", "1 too many", 1),
        ("?reads=1", ("1", "1"), "noted", "3 readers of a full shard need 3 MB/s of its 2", 0),
    ],
)
def test_the_budgets_of_all_readers_are_added_up(
    mine: str, others: tuple[str, ...], state: str, says: str, status: int
) -> None:
    options = [f"--other-reads={each}" for each in others]
    found = of(look(*options, status=status, log=f"{LOG}{mine}"), "reads", state)
    assert says in found["what"]


def test_a_stand_in_is_not_asked_for_by_a_real_sts(wire: Wire) -> None:
    """Else a laptop's story would wait for the internet, with somebody's real credentials."""
    for endpoint, status in (("http://127.0.0.1:4567", 0), ("http://localstack:4566", 1)):
        document = look(log=f"{LOG}?endpoint={endpoint}", status=status)
        assert "stand-in" in of(document, "credentials", "ok")["what"]
    assert not any(name.startswith(("sts", "iam")) for name in wire.asked())
    vpc = "https://vpce-0a.kinesis.eu-west-1.vpce.amazonaws.com"
    assert of(look(log=f"{LOG}?endpoint={vpc}"), "credentials", "ok")["what"] == USER


# -- retention against lag -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read_h_ago", "state", "what", "do"),
    [
        (
            1,
            "ok",
            "last read 60 min ago in some partition; the stream forgets that place in 23.0",
            "",
        ),
        (11.9, "ok", "in 12.1 h", ""),
        (12.1, "unhealthy", "in 11.9 h", "binlog replicate, faster; or aws kinesis increase"),
        (23, "unhealthy", "in 60 min", "to a quiet log append now and then"),
        (24.1, "unhealthy", "and the stream keeps 24 h", "an archive or a snapshot"),
    ],
)
def test_a_store_has_to_read_within_half_of_the_retention(
    wire: Wire, read_h_ago: float, state: str, what: str, do: str
) -> None:
    """What the stream forgets before it was applied is gone; and so is the place to go on from."""
    wire.answers["kinesis.DescribeStreamSummary"] = summary(RetentionPeriodHours=24)
    stream = StreamHealth(questions("orders", Account(), SystemClock()), SystemClock())
    now_ms = 1_800_000_000_000
    found = stream.retention(now_ms - round(read_h_ago * 3_600_000), now_ms)
    assert found.state == state
    assert what in found.what
    assert do in found.do


def test_a_date_is_cut_off_to_the_second() -> None:
    """A clock that is right would be called up to a second fast."""
    second_ms = 1_800_000_000_000
    date = format_datetime(datetime.fromtimestamp(second_ms / 1000, UTC), usegmt=True)
    reply = {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}
    for asked_ms, heard_ms, skew in (
        (second_ms + 900, second_ms + 950, None),
        (second_ms - 300, second_ms - 100, None),  # the reply was under way for some of it
        (second_ms - 3_000, second_ms + 5_000, None),
        (second_ms + 5_000, second_ms + 5_100, "4.0 s ahead"),
        (second_ms - 5_100, second_ms - 5_000, "5.0 s behind"),
    ):
        found = clock_finding(reply, asked_ms, heard_ms, LOG)
        assert (found.state == "ok") == (skew is None), found
        assert skew is None or skew in found.what
    assert clock_finding({}, 0, 0, LOG).state == "unhealthy"
