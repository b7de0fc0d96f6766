"""The grants of roles (`binlog.aws.grants`) as IAM policies, on the resources that addresses name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from binlog.aws.grants import (
    BY_KCL,
    BY_LAMBDA,
    GRANTS,
    ROLES,
    Grant,
    Resource,
    Role,
)

__all__ = [
    "BY_KCL",
    "BY_LAMBDA",
    "GRANTS",
    "NOTES",
    "ONLY_NEW",
    "ROLES",
    "Grant",
    "Place",
    "Resource",
    "Role",
    "Target",
]

NOTES = ("seen/", "through/")
"""Of the objects of an archive those that are replaced, and may be lost (`binlog.archive.keys`)."""
ONLY_NEW: Mapping[str, Any] = {"Condition": {"Null": {"s3:if-none-match": "false"}}}
"""Of a statement: objects are written where none is, and never over one."""
_BY_POWER: tuple[Role, ...] = ("reader", "producer", "applier", "archive", "operator")
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
    prefix: str | None = None  # of a bucket: what may be listed

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


def objects_targets(
    kind: Literal["archive", "snapshots", "data_sets"],
    place: Place,
    path: str,
    keys: Iterable[str] = (),
) -> list[Target]:
    """The objects below ``BUCKET/PREFIX``, and the bucket as far as they are listed.

    What encrypts them is used without a context: it is the bucket's ARN or the object's, as the
    bucket has Bucket Keys or not.
    """
    bucket, _, prefix = path.partition("/")
    begin = f"{prefix}/" if prefix else ""
    arn = f"arn:{place.partition}:s3:::{bucket}"
    listed: Resource = f"{kind}_bucket"  # type: ignore[assignment]
    found = [
        Target(kind, "s3", place, (f"{arn}/{begin}*",), tuple(keys)),
        Target(listed, "s3", place, (arn,), prefix=begin),
    ]
    if kind == "archive":
        notes = tuple(f"{arn}/{begin}{each}*" for each in NOTES)
        found.append(Target("archive_notes", "s3", place, notes))
    return found


def import_targets(place: Place, tables: Iterable[str]) -> list[Target]:
    """What an import of tables of these names, with ``*`` in them, needs beside its data sets."""
    names = tuple(tables)
    jobs = tuple(place.arn("dynamodb", f"table/{name}/import/*") for name in names)
    log = place.arn("logs", "log-group:/aws-dynamodb/*")
    return [
        tables_target("imported", place, names),
        Target("imports", "dynamodb", place, jobs),
        Target("import_list", "dynamodb", place, ("*",)),
        Target("import_log", "logs", place, (log,)),
    ]


def polled_target(stream: Target) -> Target:
    """A log's stream as the mapping of an archiver that is a function polls it."""
    return msgspec.structs.replace(stream, on="polled", keys=())


# -- documents -----------------------------------------------------------------------------------


def policy_of(role: Role, targets: Sequence[Target]) -> dict[str, Any]:
    """The policy document of a role on these targets; those that have no resources are left out."""
    statements: list[dict[str, Any]] = []
    of_keys: dict[Target, set[str]] = {}  # tables of one store share them
    for target in targets:
        granted = [each for each in GRANTS[role] if each.on == target.on]
        if not target.resources or not granted:
            continue
        statements += [
            statement(each.sid, each.actions, target.resources, **_condition(each, target))
            for each in granted
        ]
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


def _condition(grant: Grant, target: Target) -> dict[str, Any]:
    """What narrows a statement beside its resources."""
    if grant.only_new:
        return dict(ONLY_NEW)
    if target.prefix and grant.actions == ("s3:ListBucket",):
        return {"Condition": {"StringLike": {"s3:prefix": f"{target.prefix}*"}}}
    return {}


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
        kind = "Bucket" if target.service == "s3" else kind
        kind += str(number) if len(target.own_keys) > 1 else ""
        for sid, used, bound in (
            (f"UseKeyOf{kind}", actions - _ON_THE_KEY, context),
            (f"SeeKeyOf{kind}", actions & _ON_THE_KEY, {}),
        ):
            if used:
                condition = {"StringEquals": via | bound} | more
                made.append(statement(sid, used, [resource], Condition=condition))
    return made
