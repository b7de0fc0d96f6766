"""IAM policies: exact resources, keys through the service only, and one role for each action."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from binlog.aws.policies import (
    BY_KCL,
    GRANTS,
    ROLES,
    Place,
    Role,
    actions_of,
    policy_of,
    role_for,
    stream_target,
)
from tests.aws.aws_double import ACCOUNT_ID, Refusal, Wire
from tests.aws.recording import is_allowed
from tests.cli.running import binlog

LOG = "kinesis://orders"
HERE = Place("aws", "eu-west-1", ACCOUNT_ID)
STREAM = f"arn:aws:kinesis:eu-west-1:{ACCOUNT_ID}:stream/orders"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
IDENTITY = {"Arn": f"arn:aws:iam::{ACCOUNT_ID}:user/ann", "Account": ACCOUNT_ID, "UserId": "A"}
SUMMARY = {
    "StreamName": "orders",
    "StreamARN": STREAM,
    "StreamStatus": "ACTIVE",
    "RetentionPeriodHours": 24,
    "StreamCreationTimestamp": 1_700_000_000,
    "EnhancedMonitoring": [],
    "OpenShardCount": 2,
}


def allowed(document: dict[str, Any]) -> dict[str, set[str]]:
    """The actions, by resource."""
    found: dict[str, set[str]] = {}
    for each in document["Statement"]:
        if each["Effect"] == "Deny":
            continue
        resources = each["Resource"]
        for resource in [resources] if isinstance(resources, str) else resources:
            found.setdefault(resource, set()).update(each["Action"])
    return found


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_its_actions_on_this_stream_and_nothing_else(role: Role) -> None:
    document = policy_of(role, [stream_target(HERE, "orders")])
    assert allowed(document) == {STREAM: set(actions_of(role, "stream"))}
    assert len({each["Sid"] for each in document["Statement"]}) == len(document["Statement"])
    assert len(json.dumps(document)) < 6_144  # of a managed policy, without its blanks


def test_who_reads_may_not_write() -> None:
    """Whoever may put a record may forge any event: it is the one permission that counts."""
    for role in ROLES:
        writes = "kinesis:PutRecords" in actions_of(role, "stream")
        assert writes == (role in {"producer", "relay", "operator"})
    assert not any("*" in action for each in GRANTS.values() for g in each for action in g.actions)


@pytest.mark.parametrize(
    ("role", "actions"),
    [
        ("producer", {"kms:GenerateDataKey", "kms:Decrypt"}),
        ("reader", {"kms:Decrypt"}),
        ("relay", {"kms:GenerateDataKey", "kms:Decrypt"}),
        ("applier", {"kms:Decrypt"}),
    ],
)
def test_a_key_of_ones_own_is_used_through_the_service_for_this_stream(
    role: Role, actions: set[str]
) -> None:
    document = policy_of(role, [stream_target(HERE, "orders", KEY)])
    [statement] = [each for each in document["Statement"] if each["Resource"] == KEY]
    assert set(statement["Action"]) == actions
    assert statement["Condition"] == {
        "StringEquals": {
            "kms:ViaService": "kinesis.eu-west-1.amazonaws.com",
            "kms:EncryptionContext:aws:kinesis:arn": STREAM,
        }
    }


def test_who_sets_a_stream_up_may_look_at_its_key() -> None:
    """DescribeKey has no encryption context: a condition on one would deny it."""
    document = policy_of("operator", [stream_target(HERE, "orders", KEY)])
    of_key = {each["Sid"]: each for each in document["Statement"] if each["Resource"] == KEY}
    assert of_key["SeeKeyOfStream"]["Action"] == ["kms:DescribeKey"]
    assert list(of_key["SeeKeyOfStream"]["Condition"]["StringEquals"]) == ["kms:ViaService"]
    assert "kms:DescribeKey" not in of_key["UseKeyOfStream"]["Action"]


def test_an_alias_is_a_condition_since_as_a_resource_it_permits_nothing() -> None:
    for alias in ("alias/mine", f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:alias/mine"):
        document = policy_of("reader", [stream_target(HERE, "orders", alias)])
        statement = document["Statement"][-1]
        assert statement["Resource"] == f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:key/*"
        assert statement["Condition"]["ForAnyValue:StringEquals"] == {
            "kms:ResourceAliases": "alias/mine"
        }


def test_a_key_by_its_id_is_the_accounts_and_the_services_own_needs_nothing() -> None:
    document = policy_of("reader", [stream_target(HERE, "orders", "1234abcd")])
    assert f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:key/1234abcd" in allowed(document)
    for key in ("alias/aws/kinesis", f"arn:aws:kms:eu-west-1:{ACCOUNT_ID}:alias/aws/kinesis"):
        document = policy_of("reader", [stream_target(HERE, "orders", key)])
        assert list(allowed(document)) == [STREAM]


def test_in_china_the_services_have_other_names() -> None:
    place = Place("aws-cn", "cn-north-1", ACCOUNT_ID)
    document = policy_of("reader", [stream_target(place, "orders", "k")])
    assert all(resource.startswith("arn:aws-cn:") for resource in allowed(document))
    via = document["Statement"][-1]["Condition"]["StringEquals"]["kms:ViaService"]
    assert via == "kinesis.cn-north-1.amazonaws.com.cn"


def test_an_action_is_granted_by_the_smallest_role_that_has_it() -> None:
    assert role_for("kinesis:GetRecords") == "reader"
    assert role_for("kinesis:PutRecords") == "producer"
    assert role_for("kinesis:CreateStream") == "operator"
    assert role_for("kms:Decrypt") == "reader"
    assert role_for("ec2:RunInstances") is None


# -- the command -----------------------------------------------------------------------------------


def test_the_command_asks_whose_account_and_which_key(wire: Wire) -> None:
    wire.answers["sts.GetCallerIdentity"] = IDENTITY
    wire.answers["kinesis.DescribeStreamSummary"] = {
        "StreamDescriptionSummary": SUMMARY | {"EncryptionType": "KMS", "KeyId": KEY}
    }
    ran = binlog("policy", "reader", "kinesis://orders")
    assert ran.status == 0, ran.err
    document = json.loads(ran.out)
    assert document == policy_of("reader", [stream_target(HERE, "orders", KEY)])
    assert ran.out.count("\n") > 10
    assert json.loads(binlog("policy", "reader", "kinesis://orders", "--json").out) == document
    assert binlog("policy", "reader", "kinesis://orders", "--json").out.count("\n") == 1


def test_the_command_asks_nobody_where_all_is_said(wire: Wire) -> None:
    """Whoever writes policies may have no permission yet, and no way there."""
    offline = ("--account=210987654321", "--log-key=none")
    ran = binlog("policy", "producer", "kinesis://orders?region=us-gov-west-1", *offline)
    assert ran.status == 0, ran.err
    assert list(allowed(json.loads(ran.out))) == [
        "arn:aws-us-gov:kinesis:us-gov-west-1:210987654321:stream/orders"
    ]
    role = "role=arn:aws:iam::210987654321:role/x"
    ran = binlog("policy", "reader", f"kinesis://orders?{role}", f"--log-key={KEY}")
    assert "arn:aws:kinesis:eu-west-1:210987654321:stream/orders" in ran.out
    assert KEY in ran.out
    assert not wire.calls


def test_a_stream_that_may_not_be_asked_leaves_a_note(wire: Wire) -> None:
    wire.answers["sts.GetCallerIdentity"] = IDENTITY
    wire.deny("kinesis:DescribeStreamSummary", STREAM)
    ran = binlog("policy", "reader", "kinesis://orders", "--json")
    assert ran.status == 0
    assert allowed(json.loads(ran.out)) == {STREAM: set(actions_of("reader", "stream"))}
    assert "not permitted: kinesis:DescribeStreamSummary" in ran.err
    assert "--log-key" in ran.err


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["writer", "kinesis://s"], 2, "producer"),
        (["producer", "kinesis://s", "sqlite:x"], 2, "a producer needs no store"),
        (["applier", "kinesis://s"], 2, "LOG STORE"),
        (["relay", "kinesis://s", "dynamodb://p"], 2, "is no log"),
        (["relay", "file:old", "file:new"], 2, "nothing here is a service's"),
        (["relay", "kinesis://s", "--inbox-key=none"], 2, "there is no INBOX"),
        (["reader", "kinesis://s", "--inbox-key=none"], 2, "there is no INBOX"),
        (["reader", "file:log"], 2, "nothing here is a service's"),
        (["reader", "file:log", "sqlite:x"], 2, "nothing here is a service's"),
        (["reader", "dynamodb://p"], 2, "is no log"),
        (["reader", "kinesis://s", "--account=1"], 2, "12 digits"),
        (["reader", "kinesis://s"], 2, "credentials are not known"),
    ],
)
def test_what_cannot_be_is_one_line(
    wire: Wire, arguments: list[str], status: int, says: str
) -> None:
    wire.answers["sts.GetCallerIdentity"] = Refusal("InvalidClientTokenId", "unknown", 403)
    ran = binlog("policy", *arguments)
    assert ran.status == status, ran.err
    assert says in ran.err


def test_without_a_region_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    ran = binlog("policy", "reader", "kinesis://s", "--account=123456789012", "--log-key=none")
    assert ran.status == 2
    assert "AWS_REGION" in ran.err


def test_a_relay_reads_its_inbox_and_writes_its_log_and_nothing_else() -> None:
    """Whoever may write to an inbox may write a log's events only through it."""
    inbox = STREAM.replace("orders", "clicks")
    keys = (f"--log-key={KEY}", f"--inbox-key={KEY}9", f"--account={ACCOUNT_ID}")
    ran = binlog("policy", "relay", "kinesis://clicks", "kinesis://orders?reads=2", *keys)
    assert ran.status == 0, ran.err
    document = json.loads(ran.out)
    found = allowed(document)
    assert found[STREAM] == set(actions_of("relay", "stream"))
    assert found[inbox] == set(actions_of("relay", "inbox")) == set(actions_of("reader", "stream"))
    assert found[f"{KEY}9"] == {"kms:Decrypt"}
    assert found[KEY] == {"kms:Decrypt", "kms:GenerateDataKey"}
    assert len({each["Sid"] for each in document["Statement"]}) == len(document["Statement"])


def test_a_relay_of_a_logs_own_foreign_records_has_one_stream() -> None:
    one = ("--account=123456789012", "--log-key=none")
    alone = binlog("policy", "relay", "kinesis://orders", *one)
    both = binlog("policy", "relay", "kinesis://orders?reads=1", "kinesis://orders", *one)
    assert alone.status == 0, alone.err
    assert alone.out == both.out
    [resource] = allowed(json.loads(alone.out))
    assert resource.endswith(":stream/orders")
    from_files = binlog("policy", "relay", "kinesis://clicks", "file:log", *one, "--inbox-key=none")
    assert list(allowed(json.loads(from_files.out))) == [resource.replace("orders", "clicks")]


def test_a_function_may_see_its_mappings_and_write_its_own_log() -> None:
    """Beside what every applier may; mappings have no ARN that the listing of them could be bound to."""
    options = (f"--account={ACCOUNT_ID}", "--log-key=none", "--function=live-applier")
    ran = binlog("policy", "lambda", LOG, "dynamodb://live", *options)
    assert ran.status == 0, ran.err
    found = allowed(json.loads(ran.out))
    group = f"arn:aws:logs:eu-west-1:{ACCOUNT_ID}:log-group:/aws/lambda/live-applier"
    assert found["*"] == {"lambda:ListEventSourceMappings"}
    assert found[group] == found[f"{group}:*"] == set(actions_of("lambda", "function_log"))
    assert found[STREAM] == {*actions_of("applier", "stream"), "kinesis:DescribeStream"}
    applier = binlog("policy", "applier", LOG, "dynamodb://live", *options[:2])
    of_applier = allowed(json.loads(applier.out))
    assert {k: v for k, v in found.items() if k in of_applier and k != STREAM} == {
        k: v for k, v in of_applier.items() if k != STREAM
    }
    anybody = binlog("policy", "lambda", LOG, "dynamodb://live", *options[:2])
    assert group.replace("live-applier", "*") in allowed(json.loads(anybody.out))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lambda", LOG], "binlog policy lambda LOG STORE"),
        (["lambda", "file:log", "dynamodb://live"], "write kinesis://STREAM"),
        (
            ["applier", LOG, "dynamodb://live", "--function=x"],
            "--function, and the role is applier",
        ),
    ],
)
def test_a_policy_of_a_function_needs_a_stream_and_a_store(arguments: list[str], says: str) -> None:
    ran = binlog("policy", *arguments)
    assert ran.status == 2
    assert says in ran.err


def test_a_worker_of_the_kcl_keeps_the_leases_that_it_runs_by() -> None:
    """The tables of that application, in its account and region; and no stream's but its own."""
    store = "dynamodb://live?region=us-west-2"
    options = (f"--account={ACCOUNT_ID}", "--log-key=none")
    found = allowed(json.loads(binlog("policy", "kcl", LOG, store, *options).out))
    table = f"arn:aws:dynamodb:eu-west-1:{ACCOUNT_ID}:table/binlog.orders.live"
    assert found.pop("*") == {"cloudwatch:PutMetricData"}
    for each in (table, f"{table}/index/*", f"{table}-CoordinatorState"):
        assert (
            found.pop(each)
            == set(actions_of("kcl", "leases"))
            == BY_KCL - {"cloudwatch:PutMetricData"}
        )
    found.pop(f"{table}-WorkerMetricStats")
    applier = binlog("policy", "applier", LOG, store, *options)
    assert found == allowed(json.loads(applier.out))
    elsewhere = ("--leases", "dynamodb://mine?region=eu-north-1")
    named = binlog("policy", "kcl", LOG, store, *options, *elsewhere)
    assert f"arn:aws:dynamodb:eu-north-1:{ACCOUNT_ID}:table/mine" in allowed(json.loads(named.out))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["kcl", LOG], "binlog policy kcl LOG STORE"),
        (["kcl", "file:log", "dynamodb://live"], "write kinesis://STREAM"),
        (["kcl", LOG, "sqlite:live.db"], "workers of the KCL share a store"),
        (["kcl", LOG, "dynamodb://live", "--leases", "file:x"], "write dynamodb://APPLICATION"),
        (["applier", LOG, "dynamodb://live", "--leases=x"], "--leases, and the role is applier"),
    ],
)
def test_a_policy_of_the_kcl_needs_what_it_works_on(arguments: list[str], says: str) -> None:
    ran = binlog("policy", *arguments)
    assert ran.status == 2
    assert says in ran.err


# -- stores ----------------------------------------------------------------------------------------

TABLES = """
[control]
kms = "alias/control"

[tables.users]
physical = "people"
kms = "alias/people"

[tables.stock]
physical = "Stock-1QX2"
owned = true

[tables.copies]
like = "Users-2023"
"""


def table(name: str) -> str:
    return f"arn:aws:dynamodb:eu-west-1:{ACCOUNT_ID}:table/{name}"


@pytest.fixture
def store(tmp_path: Path) -> str:
    file = tmp_path / "tables.toml"
    file.write_text(TABLES)
    return f"dynamodb://live?tables={file}"


def policy(role: str, *arguments: str) -> dict[str, Any]:
    ran = binlog("policy", role, LOG, *arguments, f"--account={ACCOUNT_ID}", "--log-key=none")
    assert ran.status == 0, ran.err
    document: dict[str, Any] = json.loads(ran.out)
    return document


def test_a_stores_tables_are_those_under_its_prefix_and_those_that_its_file_names(
    store: str,
) -> None:
    found = allowed(policy("applier", store, "--store-key=none"))
    own = {table("live.*"), table("people"), table("people.*")}
    assert (
        set(found) == {STREAM, table("live.binlog"), table("Stock-1QX2"), table("Users-2023")} | own
    )
    for resource in own:
        assert found[resource] == set(actions_of("applier", "tables"))
    assert found[table("live.binlog")] == set(actions_of("applier", "control"))
    assert found[table("Users-2023")] == {"dynamodb:DescribeTable"}
    assert allowed(policy("applier", "dynamodb://live")).keys() == {
        *(STREAM, table("live.binlog"), table("live.*"))
    }


def test_what_others_made_is_never_created_changed_or_deleted(store: str) -> None:
    for role in ("applier", "operator"):
        actions = allowed(policy(role, store, "--store-key=none"))[table("Stock-1QX2")]
        assert not {a for a in actions if "Table" in a} - {"dynamodb:DescribeTable"}
        assert "dynamodb:PutItem" in actions


def test_only_an_operator_deletes_tables_and_never_the_stores_own(store: str) -> None:
    """It is under the same prefix, and with it all checkpoints would go."""
    for role in ("reader", "applier"):
        assert "dynamodb:DeleteTable" not in json.dumps(policy(role, store))
    document = policy("operator", store, "--store-key=none")
    denied = [each for each in document["Statement"] if each["Effect"] == "Deny"]
    assert [(each["Action"], each["Resource"]) for each in denied] == [
        (["dynamodb:DeleteTable"], table("live.binlog"))
    ]
    assert is_allowed(document, "dynamodb:DeleteTable", "live.users.1a2b3c4d")
    assert not is_allowed(document, "dynamodb:DeleteTable", "live.binlog")
    assert not is_allowed(document, "dynamodb:DeleteTable", "other.users")


def test_a_reader_of_a_store_writes_nothing(store: str) -> None:
    for actions in allowed(policy("reader", store)).values():
        assert all(
            action.split(":")[1].startswith(
                ("Get", "BatchGet", "Query", "Scan", "List", "Describe", "Decrypt")
            )
            for action in actions
        ), actions


def test_the_keys_of_tables_are_those_that_are_declared_once_each(store: str) -> None:
    document = policy("applier", store)
    aliases = [
        each["Condition"]["ForAnyValue:StringEquals"]["kms:ResourceAliases"]
        for each in document["Statement"]
        if "kms:Decrypt" in each["Action"]
    ]
    assert aliases == ["alias/control", "alias/people"]
    sids = [each["Sid"] for each in document["Statement"]]
    assert len(set(sids)) == len(sids)
    for each in document["Statement"]:
        if "kms:Decrypt" in each["Action"]:
            assert each["Condition"]["StringEquals"] == {
                "kms:ViaService": "dynamodb.eu-west-1.amazonaws.com"
            }
    [one] = [
        s
        for s in policy("reader", store, f"--store-key={KEY}")["Statement"]
        if s["Resource"] == KEY
    ]
    assert one["Action"] == ["kms:Decrypt"]
    assert len(json.dumps(policy("operator", store), separators=(",", ":"))) < 6_144


def test_a_log_in_files_and_a_store_that_is_a_services(store: str) -> None:
    ran = binlog("policy", "applier", "file:log", store, f"--account={ACCOUNT_ID}")
    assert ran.status == 0, ran.err
    assert STREAM not in ran.out
    assert table("live.binlog") in ran.out
