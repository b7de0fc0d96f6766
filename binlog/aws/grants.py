"""What each role may call: the one table that policies and `doctor` go by.

A test compares it with what the code calls (`tests/integration/test_aws_policies.py`): a call that
is not here is refused in production, an action that nothing calls is a permission too many.

=========  ==========================================================================
producer   finds the log, appends; reads, to resolve what it could not know (P5)
reader     finds the log and reads it; with a store reads that, too
relay      reads an inbox; appends to the log, and reads there what it relayed
applier    reads the log, writes a store's items and checkpoints; makes a table for what is new
lambda     the same as a function: its mapping reads the stream for it; it looks at that, and logs
kcl        the same as a worker of the KCL, which keeps its leases in tables and puts metrics
archive    reads the log, adds to an archive; never changes or deletes anything of it
audit      reads an archive, and the checkpoints of stores
snapshot   reads a store, adds snapshots and removes them
operator   all of that, and makes logs, changes and deletes tables, rebuilds, resolves halts
=========  ==========================================================================

Resources are exact: one stream, a store's control table, and the tables under its prefix or that
its tables file names. A key (KMS) of one's own may be used through the service, for this stream
only; the service's own key needs no permission.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

Role = Literal[
    "producer",
    "reader",
    "relay",
    "applier",
    "lambda",
    "kcl",
    "archive",
    "audit",
    "snapshot",
    "operator",
]
ROLES: tuple[Role, ...] = get_args(Role)
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
    "archive",
    "archive_notes",
    "archive_bucket",
    "snapshots",
    "snapshots_bucket",
    "data_sets",
    "data_sets_bucket",
    "imported",
    "imports",
    "import_list",
    "import_log",
    "polled",
]
"""A log's stream; one that is relayed from; a store's own table; its items' tables; those of them that
others make; those that are only looked at, to make one like them; a function's event source mappings,
and where it writes its log; the KCL's tables of leases, and its metrics; the objects of an archive, those of
them that are replaced, the objects of snapshots, and of data sets to import, and the bucket of each; the tables that the service imports, its
imports of them, the list of all, and where it logs them; a stream that a mapping polls for an archiver."""


class Grant(msgspec.Struct, frozen=True):
    """Actions on one kind of resource, and the actions on its key that the service makes of them.

    ``by_service`` are made on the caller's behalf, under the caller's permissions.
    """

    sid: str
    on: Resource
    actions: tuple[str, ...]
    by_service: tuple[str, ...] = ()
    only_new: bool = False  # of objects: written where none is, and never over one


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

# An archiver never replaces nor removes anything: whoever holds its credentials cannot either (Amazon S3
# User Guide, "Enforce conditional writes on Amazon S3 buckets").
_GET = ("s3:GetObject",)
_PUT = ("s3:GetObject", "s3:PutObject")
_LIST = ("s3:ListBucket",)
_DECRYPT, _ENCRYPT = ("kms:Decrypt",), ("kms:Decrypt", "kms:GenerateDataKey")
_READ_ARCHIVE = (
    Grant("ReadArchive", "archive", _GET, by_service=_DECRYPT),
    Grant("ListArchive", "archive_bucket", _LIST),
)
_ADD_TO_ARCHIVE = (
    *_READ_ARCHIVE,
    Grant("AddToArchive", "archive", ("s3:PutObject",), by_service=_ENCRYPT, only_new=True),
    Grant("KeepNotes", "archive_notes", ("s3:PutObject",)),
)
_READ_SNAPSHOTS = (
    Grant("ReadSnapshots", "snapshots", _GET, by_service=_DECRYPT),
    Grant("ListSnapshots", "snapshots_bucket", _LIST),
)
_KEEP_SNAPSHOTS = (
    Grant("KeepSnapshots", "snapshots", (*_PUT, "s3:DeleteObject"), by_service=_ENCRYPT),
    Grant("ListSnapshots", "snapshots_bucket", _LIST),
)
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataImport.Requesting.html: the
# service reads the bucket and writes its log with the caller's permissions.
_IMPORT = (
    Grant("KeepDataSets", "data_sets", (*_PUT, "s3:DeleteObject"), by_service=_ENCRYPT),
    Grant("ListDataSets", "data_sets_bucket", _LIST),
    Grant("ImportTables", "imported", ("dynamodb:ImportTable",)),
    Grant("SeeImports", "imports", ("dynamodb:DescribeImport",)),
    Grant("ListImports", "import_list", ("dynamodb:ListImports",)),
    Grant(
        "LogImports",
        "import_log",
        (
            *("logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogGroups"),
            *("logs:DescribeLogStreams", "logs:PutLogEvents", "logs:PutRetentionPolicy"),
        ),
    ),
)
# Whether what is archived stays: `doctor` asks.
_SEE_BUCKET = Grant(
    "SeeBucket",
    "archive_bucket",
    (
        *("s3:GetBucketLocation", "s3:GetBucketObjectLockConfiguration"),
        *("s3:GetBucketVersioning", "s3:GetLifecycleConfiguration"),
    ),
)
BY_IMPORTS = frozenset(_IMPORT[-1].actions)
"""What DynamoDB itself calls for whoever has it import a table."""

GRANTS: Mapping[Role, tuple[Grant, ...]] = {
    "producer": (_FIND, _WRITE_LOG, _READ_LOG),
    "reader": (_FIND, _READ_LOG, *_READING, *_READ_ARCHIVE, *_READ_SNAPSHOTS),
    "relay": (_FIND, _WRITE_LOG, _READ_LOG, _READ_INBOX, *_READ_ARCHIVE),
    "applier": (_FIND, _READ_LOG, *_APPLYING, *_READ_ARCHIVE, *_READ_SNAPSHOTS),
    "lambda": (
        *(_FIND, _READ_LOG, _BE_POLLED, *_APPLYING),
        *(*_READ_ARCHIVE, _SEE_MAPPINGS, _WRITE_FUNCTION_LOG),
    ),
    "kcl": (_FIND, _READ_LOG, *_APPLYING, *_READ_ARCHIVE, _KEEP_LEASES, _PUT_METRICS),
    "archive": (
        *(_FIND, _READ_LOG, *_ADD_TO_ARCHIVE),
        *(msgspec.structs.replace(_BE_POLLED, on="polled"), _SEE_MAPPINGS, _WRITE_FUNCTION_LOG),
        *(_KEEP_LEASES, _PUT_METRICS),
    ),
    "audit": (_FIND, _READ_LOG, _SEE_CONTROL, *_READ_ARCHIVE, _WRITE_FUNCTION_LOG),
    "snapshot": (_FIND, _READ_LOG, *_READING, *_READ_ARCHIVE, *_KEEP_SNAPSHOTS),
    "operator": (
        *(_FIND, _READ_LOG, _WRITE_LOG, _MAKE),
        *(*_APPLYING, _SWEEP_CONTROL, _CHANGE_TABLES),
        *(*_ADD_TO_ARCHIVE, _SEE_BUCKET, *_KEEP_SNAPSHOTS, *_IMPORT),
    ),
}
