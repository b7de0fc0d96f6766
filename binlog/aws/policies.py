"""What each role may call, as IAM policies: the one table that policies and `doctor` go by.

A test compares it with what the code calls (`tests/integration/test_aws_policies.py`): a call that
is not here is refused in production, an action that nothing calls is a permission too many.

=========  ==========================================================================
producer   finds the log, appends; reads, to resolve what it could not know (P5)
reader     finds the log and reads it; with a store reads that, too
relay      reads an inbox; appends to the log, and reads there what it relayed
applier    reads the log, writes a store's items and checkpoints; makes a table for what is new
lambda     the same as a function: its mapping reads the stream for it; it looks at that, and logs
kcl        the same as a worker of the KCL, which keeps its leases in tables and puts metrics
operator   all of that, and makes logs, changes and deletes tables, rebuilds, resolves halts
=========  ==========================================================================

Resources are exact: one stream, a store's control table, and the tables under its prefix or that
its tables file names. A key (KMS) of one's own may be used through the service, for this stream
only; the service's own key needs no permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

Role = Literal["producer", "reader", "relay", "applier", "lambda", "kcl", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
_BY_POWER: tuple[Role, ...] = ("reader", "producer", "applier", "operator")
Resource = Literal[
    "stream",
    "inbox",
    "control",
    "tables",
    "owned",
    "models",
    "mappings",
    "function_log",
    "leases",
    "metrics",
]
"""A log's stream; one that is relayed from; a store's own table; its items' tables; those of them that
others make; those that are only looked at, to make one like them; a function's event source mappings,
and where it writes its log; the KCL's tables of leases, and its metrics."""


class Grant(msgspec.Struct, frozen=True):
    """Actions on one kind of resource, and the actions on its key that the service makes of them.

    ``by_service`` are made on the caller's behalf, under the caller's permissions.
    """

    sid: str
    on: Resource
    actions: tuple[str, ...]
    by_service: tuple[str, ...] = ()


_FIND = Grant("FindLog", "stream", ("kinesis:DescribeStreamSummary", "kinesis:ListTagsForStream"))
# Developer Guide, "Permissions to use user-generated KMS keys": producers need GenerateDataKey,
# consumers Decrypt, administrators DescribeKey.
_READ_LOG = Grant(
    "ReadLog",
    "stream",
    ("kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords"),
    by_service=("kms:Decrypt",),
)
# A log that is relayed from is found as any other; a plain stream is looked at in the same way.
_READ_INBOX = Grant(
    "ReadInbox", "inbox", (*_FIND.actions, *_READ_LOG.actions), by_service=_READ_LOG.by_service
)
_WRITE_LOG = Grant(
    "WriteLog", "stream", ("kinesis:PutRecords",), by_service=("kms:GenerateDataKey",)
)
_MAKE = Grant(
    "MakeLog",
    "stream",
    (
        "kinesis:CreateStream",
        "kinesis:AddTagsToStream",
        "kinesis:IncreaseStreamRetentionPeriod",
        "kinesis:StartStreamEncryption",
    ),
    by_service=("kms:DescribeKey",),
)

# A table's key has to let whoever makes it hand it on to the service by a grant; Developer Guide,
# "Encryption at rest: how it works", key policy for a customer managed key.
_SEE_CONTROL = Grant(
    "SeeStore", "control", ("dynamodb:GetItem", "dynamodb:Query"), by_service=("kms:Decrypt",)
)
_KEEP_CONTROL = Grant(
    "KeepStore",
    "control",
    ("dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:PutItem"),
)
_SWEEP_CONTROL = Grant("SweepStore", "control", ("dynamodb:Scan", "dynamodb:UpdateTable"))
_MADE = (
    "dynamodb:CreateTable",
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:ListTagsOfResource",
    "dynamodb:TagResource",
    "dynamodb:UpdateContinuousBackups",
)
_MADE_KEY = (
    "kms:CreateGrant",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
_MAKE_CONTROL = Grant("MakeStore", "control", _MADE, by_service=_MADE_KEY)
_MAKE_TABLES = Grant("MakeTables", "tables", _MADE, by_service=_MADE_KEY)
_CHANGE_TABLES = Grant(
    "ChangeTables",
    "tables",
    ("dynamodb:BatchWriteItem", "dynamodb:DeleteTable", "dynamodb:UpdateTable"),
)
_LOOK = ("dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive")
_READ = ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan")
_APPLY = (
    *("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PartiQLInsert"),
    *("dynamodb:PutItem", "dynamodb:Scan"),
)


def _items(sid: str, actions: tuple[str, ...], look: tuple[str, ...] = ()) -> tuple[Grant, ...]:
    """On the tables that we make, and on those that others make and that we only look at."""
    tables = Grant(sid, "tables", actions, by_service=("kms:Decrypt",))
    owned = Grant(f"{sid}OfOthers", "owned", actions + look, by_service=("kms:Decrypt",))
    return tables, owned


_MODELS = Grant("SeeModels", "models", ("dynamodb:DescribeTable",))
_READING = (_SEE_CONTROL, *_items("ReadItems", _READ))
_APPLYING = (
    *(_SEE_CONTROL, _KEEP_CONTROL, _MAKE_CONTROL, _MAKE_TABLES, _MODELS),
    *_items("ApplyItems", _APPLY, _LOOK),
)

# Of what the managed policy AWSLambdaKinesisExecutionRole has beside, a mapping that polls needs one
# action (Developer Guide, "Using Lambda to process records from Kinesis", execution role).
_BE_POLLED = Grant("LetMappingPoll", "stream", ("kinesis:DescribeStream",))
_SEE_MAPPINGS = Grant("SeeMappings", "mappings", ("lambda:ListEventSourceMappings",))
_WRITE_FUNCTION_LOG = Grant(
    "WriteFunctionLog",
    "function_log",
    ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
)
BY_LAMBDA = frozenset((*_BE_POLLED.actions, *_WRITE_FUNCTION_LOG.actions))
"""What Lambda itself calls under the function's role."""

# docs/kcl-consumer.md. Metrics have no names that could be granted.
_KEEP_LEASES = Grant(
    "KeepLeases",
    "leases",
    (
        *("dynamodb:CreateTable", "dynamodb:DescribeTable", "dynamodb:UpdateTable"),
        *("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"),
        *("dynamodb:Scan", "dynamodb:Query"),
    ),
)
_PUT_METRICS = Grant("PutMetrics", "metrics", ("cloudwatch:PutMetricData",))
BY_KCL = frozenset((*_KEEP_LEASES.actions, *_PUT_METRICS.actions))
"""What the KCL calls, beside what a reader of the stream does."""

GRANTS: Mapping[Role, tuple[Grant, ...]] = {
    "producer": (_FIND, _WRITE_LOG, _READ_LOG),
    "reader": (_FIND, _READ_LOG, *_READING),
    "relay": (_FIND, _WRITE_LOG, _READ_LOG, _READ_INBOX),
    "applier": (_FIND, _READ_LOG, *_APPLYING),
    "lambda": (
        *(_FIND, _READ_LOG, _BE_POLLED, *_APPLYING),
        *(_SEE_MAPPINGS, _WRITE_FUNCTION_LOG),
    ),
    "kcl": (_FIND, _READ_LOG, *_APPLYING, _KEEP_LEASES, _PUT_METRICS),
    "operator": (
        *(_FIND, _READ_LOG, _WRITE_LOG, _MAKE),
        *(*_APPLYING, _SWEEP_CONTROL, _CHANGE_TABLES),
    ),
}
# The store's own table is under its prefix, as those are that a rebuild deletes.
_DELETE = "dynamodb:DeleteTable"
_ON_THE_KEY = frozenset({"kms:CreateGrant", "kms:DescribeKey"})  # and not on anybody's data


class Place(msgspec.Struct, frozen=True):
    """Where resources are: the parts that all their ARNs share."""

    partition: str  # aws, aws-cn, aws-us-gov ..
    region: str
    account_id: str

    def arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"

    def endpoint_of(self, service: str) -> str:
        """The service's name in ``kms:ViaService``."""
        suffix = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        return f"{service}.{self.region}.{suffix}"


class Target(msgspec.Struct, frozen=True):
    """A stream, or tables of a store: what a role is to have its permissions on.

    ``keys`` are the KMS keys that encrypt it: ARNs, ids, aliases.
    """

    on: Resource
    service: str
    place: Place
    resources: tuple[str, ...]  # ARNs
    keys: tuple[str, ...] = ()
    context: tuple[str, str] | None = None  # of a key's use: name and value

    @property
    def own_keys(self) -> tuple[str, ...]:
        """Those that need a permission."""
        return tuple(key for key in self.keys if not is_services_own(key))


def stream_target(
    place: Place, stream: str, key: str | None = None, *, on: Resource = "stream"
) -> Target:
    """A log's stream, or an inbox's; its ARN is the context of all that Kinesis asks KMS for."""
    arn = place.arn("kinesis", f"stream/{stream}")
    keys = () if key is None else (key,)
    return Target(on, "kinesis", place, (arn,), keys, ("aws:kinesis:arn", arn))


def tables_target(
    on: Resource, place: Place, names: Iterable[str], keys: Iterable[str] = ()
) -> Target:
    """``names`` are physical ones, with ``*`` for those that are not known yet."""
    arns = tuple(place.arn("dynamodb", f"table/{name}") for name in names)
    return Target(on, "dynamodb", place, arns, tuple(keys))


def actions_of(role: Role, on: Resource) -> tuple[str, ...]:
    """What a role calls, sorted; without what the services do on its behalf."""
    return tuple(sorted({a for each in GRANTS[role] if each.on == on for a in each.actions}))


def role_for(action: str) -> Role | None:
    """The role that may do the least of those that have this action."""
    for role in _BY_POWER:
        if any(action in each.actions + each.by_service for each in GRANTS[role]):
            return role
    return None


def function_targets(place: Place, name: str) -> list[Target]:
    """A function: its mappings, which have no names that could be granted, and its log group.

    ``name`` may be ``*``.
    """
    group = place.arn("logs", f"log-group:/aws/lambda/{name}")
    return [
        Target("mappings", "lambda", place, ("*",)),
        Target("function_log", "logs", place, (group, f"{group}:*")),
    ]


def lease_targets(place: Place, application: str) -> list[Target]:
    """What the KCL keeps for an application: its tables with their indexes, and its metrics."""
    table = f"table/{application}"
    names = (table, f"{table}/index/*", f"{table}-CoordinatorState", f"{table}-WorkerMetricStats")
    return [
        Target("leases", "dynamodb", place, tuple(place.arn("dynamodb", each) for each in names)),
        Target("metrics", "cloudwatch", place, ("*",)),
    ]


# -- documents -----------------------------------------------------------------------------------


def policy_of(role: Role, targets: Sequence[Target]) -> dict[str, Any]:
    """The policy document of a role on these targets; those that have no resources are left out."""
    statements: list[dict[str, Any]] = []
    of_keys: dict[Target, set[str]] = {}  # tables of one store share them
    for target in targets:
        granted = [each for each in GRANTS[role] if each.on == target.on]
        if not target.resources or not granted:
            continue
        statements += [statement(each.sid, each.actions, target.resources) for each in granted]
        if role == "operator" and target.on == "control":
            kept = statement("KeepTheStore", [_DELETE], target.resources)
            statements.append(kept | {"Effect": "Deny"})
        user = target
        if target.context is None:
            user = msgspec.structs.replace(target, on="control", resources=())
        of_keys.setdefault(user, set()).update(a for each in granted for a in each.by_service)
    for user, actions in of_keys.items():
        statements += key_statements(actions, user)
    return document(statements)


def document(statements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A policy document of statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(
    sid: str, actions: Iterable[str], resources: Sequence[str], **more: Any
) -> dict[str, Any]:
    """One that allows; ``more``: a condition."""
    allowed: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": sorted(actions)}
    return allowed | {"Resource": resources[0] if len(resources) == 1 else list(resources)} | more


def is_services_own(key: str) -> bool:
    """Whether everybody who may use the service in the account may use that key."""
    return key.rpartition(":")[2].startswith("alias/aws/")


def key_statements(actions: set[str], target: Target) -> list[dict[str, Any]]:
    """A target's keys, through the service; what is done with data only for these resources.

    An alias in ``Resource`` would permit nothing on the key: there it is a condition.
    """
    place, made = target.place, []
    via = {"kms:ViaService": place.endpoint_of(target.service)}
    context = {}
    if target.context is not None:
        context[f"kms:EncryptionContext:{target.context[0]}"] = target.context[1]
    for number, key in enumerate(target.own_keys, 1):
        name = key.rpartition(":")[2]
        more: dict[str, Any] = {}
        resource = key if key.startswith("arn:") else place.arn("kms", f"key/{key}")
        if name.startswith("alias/"):
            more["ForAnyValue:StringEquals"] = {"kms:ResourceAliases": name}
            resource = place.arn("kms", "key/*")
        kind = {"stream": "Stream", "inbox": "Inbox"}.get(target.on, "Store")
        kind += str(number) if len(target.own_keys) > 1 else ""
        for sid, used, bound in (
            (f"UseKeyOf{kind}", actions - _ON_THE_KEY, context),
            (f"SeeKeyOf{kind}", actions & _ON_THE_KEY, {}),
        ):
            if used:
                condition = {"StringEquals": via | bound} | more
                made.append(statement(sid, used, [resource], Condition=condition))
    return made
