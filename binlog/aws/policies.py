"""What each role may call, as IAM policies: the one table that policies and `doctor` go by.

A test compares it with what the code calls (`tests/integration/test_aws_policies.py`): a call that
is not here is refused in production, an action that nothing calls is a permission too many.

=========  ==========================================================================
producer   finds the log, appends; reads, to resolve what it could not know (P5)
reader     finds the log and reads it; with a store reads that, too
applier    reads the log, and writes the items and checkpoints of a store
operator   all of that, and makes logs and tables, rebuilds, resolves halts
=========  ==========================================================================

Resources are exact: one stream, a store's control table, and the tables under its prefix or that
its tables file names. A key (KMS) of one's own may be used through the service, for this stream
only; the service's own key needs no permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

Role = Literal["producer", "reader", "applier", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
Resource = Literal["stream", "tables"]


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
_READ = Grant(
    "ReadLog",
    "stream",
    ("kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords"),
    by_service=("kms:Decrypt",),
)
_WRITE = Grant("WriteLog", "stream", ("kinesis:PutRecords",), by_service=("kms:GenerateDataKey",))
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

GRANTS: Mapping[Role, tuple[Grant, ...]] = {
    "producer": (_FIND, _WRITE, _READ),
    "reader": (_FIND, _READ),
    "applier": (_FIND, _READ),
    "operator": (_FIND, _READ, _WRITE, _MAKE),
}


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
    """A stream, or a store's tables: what a role is to have its permissions on.

    ``key`` is the KMS key that encrypts it: an ARN, an id, an alias; ``None`` for none.
    """

    on: Resource
    service: str
    place: Place
    resources: tuple[str, ...]  # ARNs
    key: str | None = None
    context: tuple[str, str] | None = None  # of the key's use: name and value


def stream_target(place: Place, stream: str, key: str | None = None) -> Target:
    """A stream, whose ARN is the context of all that Kinesis asks KMS for."""
    arn = place.arn("kinesis", f"stream/{stream}")
    return Target("stream", "kinesis", place, (arn,), key, ("aws:kinesis:arn", arn))


def tables_target(place: Place, names: Iterable[str], key: str | None = None) -> Target:
    """``names`` are physical ones, with ``*`` for those that are not known yet."""
    arns = tuple(place.arn("dynamodb", f"table/{name}") for name in names)
    return Target("tables", "dynamodb", place, arns, key)


def actions_of(role: Role, on: Resource) -> tuple[str, ...]:
    """What a role calls, sorted; without what the services do on its behalf."""
    return tuple(
        sorted(action for each in GRANTS[role] if each.on == on for action in each.actions)
    )


def role_for(action: str) -> Role | None:
    """The role with the fewest permissions that has this one."""
    having = [
        role
        for role, grants in GRANTS.items()
        if any(action in each.actions + each.by_service for each in grants)
    ]
    return min(having, key=_size, default=None)


def _size(role: Role) -> int:
    return sum(len(each.actions) for each in GRANTS[role])


# -- documents -----------------------------------------------------------------------------------


def policy_of(role: Role, targets: Sequence[Target]) -> dict[str, Any]:
    """The policy document of a role on these targets."""
    statements = []
    for target in targets:
        granted = [each for each in GRANTS[role] if each.on == target.on]
        statements += [statement(each.sid, each.actions, target.resources) for each in granted]
        if target.key is not None and not is_services_own(target.key):
            used = {action for each in granted for action in each.by_service}
            statements += key_statements(used, target, target.key)
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


def key_statements(actions: set[str], target: Target, key: str) -> list[dict[str, Any]]:
    """The key, through the service; what is done with data only for these resources.

    An alias in ``Resource`` would permit nothing on the key: there it is a condition.
    """
    place, name = target.place, key.rpartition(":")[2]
    equals = {"kms:ViaService": place.endpoint_of(target.service)}
    more: dict[str, Any] = {}
    resource = key if key.startswith("arn:") else place.arn("kms", f"key/{key}")
    if name.startswith("alias/"):
        more["ForAnyValue:StringEquals"] = {"kms:ResourceAliases": name}
        resource = place.arn("kms", "key/*")
    context = {}
    if target.context is not None:
        context[f"kms:EncryptionContext:{target.context[0]}"] = target.context[1]
    kind = target.on.capitalize()
    made = []
    for sid, used, bound in (
        (f"UseKeyOf{kind}", actions - _ON_THE_KEY, context),
        (f"SeeKeyOf{kind}", actions & _ON_THE_KEY, {}),
    ):
        if used:
            condition = {"StringEquals": equals | bound} | more
            made.append(statement(sid, used, [resource], Condition=condition))
    return made
