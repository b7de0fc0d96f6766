"""The plan of one KCL worker: the properties that its daemon is given, and where its files are.

Stream, lease table and target have a region and credentials each: those of the log's address, of
``--leases``, and of the store's. The Java SDK finds its way by other rules than boto3 (it knows
``AWS_REGION`` and not ``AWS_DEFAULT_REGION``, and asks no ``role=``), so what boto3 has found for an
address is written into the file.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from binlog.address import Address, parse_address
from binlog.aws.account import Account, connector, is_aws
from binlog.aws.credentials import ROLE_SESSION
from binlog.errors import RefusedError
from binlog.logs.kinesis import LAZY_READS_PER_S
from consumers.kcl_properties import check_properties, check_property
from consumers.kcl_settings import Settings

Profile = Literal["test", "production"]

_TABLE_MAX = 255 - len("-CoordinatorState")
_WORD = re.compile(r"[^A-Za-z0-9_.-]+")

# Batches stay short: a lost lease, and the daemon's end, wait for the one at work.
_COMMON = {
    "initialPositionInStream": "TRIM_HORIZON",
    "retrievalMode": "POLLING",
    "maxRecords": "1000",
    "callProcessRecordsEvenForEmptyRecordList": "true",
    "processingLanguage": f"python/{sys.version_info.major}.{sys.version_info.minor}",
}
PROFILES: Mapping[Profile, Mapping[str, str]] = {
    "production": {
        "metricsLevel": "SUMMARY",
        "idleTimeBetweenReadsInMillis": "400",
        "millisBehindLatestThresholdForReducedTps": "1000",
        "shutdownGraceMillis": "5000",
    },
    # Seconds where the other waits for minutes, and no service asked that no stand-in is.
    "test": {
        "metricsLevel": "NONE",
        "disableWorkerMetrics": "true",
        "idleTimeBetweenReadsInMillis": "250",
        "failoverTimeMillis": "2000",
        "leaseAssignmentIntervalMillis": "1000",
        "shardSyncIntervalMillis": "2000",
        "parentShardPollIntervalMillis": "500",
        "taskBackoffTimeMillis": "200",
        "workerMetricsReporterFreqInMillis": "1000",
        "inMemoryWorkerMetricsCaptureFrequencyMillis": "500",
        "varianceBalancingFrequency": "1",
        "gracefulLeaseHandoffTimeoutMillis": "5000",
        "shutdownGraceMillis": "3000",
    },
}
# KCL asks for records by their number, so often a second. What a shard takes of small records, 1,000 a
# second (service limit), has to be less than that, or a replica falls behind until the stream forgets:
# so 400 of them 2.5 times a second. How many bytes they are is `consumers.kcl_pace`'s business.
_SHARD_RECORDS_PER_S = 1_000
_IDLE_MIN_MS = 200  # KCL takes less for that much
_AT_THE_END_MS = 1_000  # who has all asks no more often than Lambda does
REMARKS = {
    "initialPositionInStream": "never LATEST: a replica begins at the log's first record",
    "retrievalMode": "KCL's DEFAULT is enhanced fan-out, which is paid for",
    "maxRecords": "a lost lease and the daemon's end wait for the batch at work",
    "idleTimeBetweenReadsInMillis": "a shard answers 5 calls a second to all of its readers together",
    "callProcessRecordsEvenForEmptyRecordList": "a quiet shard is told from one that is not read",
    "shutdownGraceMillis": "0, KCL's default, kills on SIGTERM; long ones delay every restart",
    "disableWorkerMetrics": "else KCL looks for the metadata of an EC2 instance",
}
# Ours: what --set would undo.
_OURS = {
    "executableName": "it is this project's processor",
    "streamName": "it is LOG's",
    "streamArn": "the stream is LOG's",
    "applicationName": "it is the name in --leases",
    "tableName": "it is the name in --leases",
    "workerId": "give --worker",
    "initialPositionInStream": "it is TRIM_HORIZON",
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One worker. ``leases`` names the application: KCL's lease table, the same for all workers."""

    settings: Settings
    worker: str
    folder: Path
    leases: Address | None = None
    profile: Profile = "production"
    overrides: Mapping[str, str] = {}

    @property
    def application(self) -> str:
        return default_application(self.settings) if self.leases is None else self.leases.path

    @property
    def account(self) -> Account:
        """KCL's own: the stream's, but for its endpoint, where nothing else is said."""
        if self.leases is None:
            stream = parse_address(self.settings.log).account
            return msgspec.structs.replace(stream, endpoint=None)
        return self.leases.account

    @property
    def leader_table(self) -> str:
        """Where the lock of the application's leader is."""
        default = f"{self.application}-CoordinatorState"
        return self.overrides.get("coordinatorStateTableName", default)

    def properties(self) -> dict[str, str]:
        """What stands in the daemon's file. No service is called.

        Raises:
            RefusedError: something that KCL cannot do, or would not go by.
        """
        self.settings.check()
        check_worker(self.worker)
        stream = parse_address(self.settings.log)
        leases = self.account
        own = {
            "executableName": f"{sys.executable} -m consumers.kcl",
            "streamName": stream.path,
            "applicationName": self.application,
            "workerId": self.worker,
            **_credentials("", stream.account, self.settings.log),
            **_credentials("DynamoDB", leases, "--leases"),
            **_credentials("CloudWatch", leases, "--leases"),
            **_service("kinesis", "kinesisClient", stream.account, self.settings.log),
            **_service("dynamodb", "dynamoDbClient", leases, "--leases"),
            **_service("cloudwatch", "cloudWatchClient", leases, "--leases"),
            **_COMMON,
            **PROFILES[self.profile],
        }
        if stream.reads is not None or not self.settings.setting.is_free:
            own.update(_reading(stream.reads or LAZY_READS_PER_S))
        if self.profile == "test":
            own.setdefault("cloudWatchClient.endpointOverride", "http://127.0.0.1:1")
        for name, value in self.overrides.items():
            if name in _OURS:
                raise RefusedError(f"--set {name}", do=f"leave it out: {_OURS[name]}")
            check_property(name, value, "--set")
        own.update(self.overrides)
        check_properties(own)
        return own


def default_application(settings: Settings) -> str:
    """A name for what has none: of the stream and what it fills, whose progress the leases are."""
    stream, store = parse_address(settings.log).path, parse_address(settings.target).path
    name = f"binlog.{stream}.{_WORD.sub('-', store)}"
    if len(name) > _TABLE_MAX:
        mark = hashlib.sha256(name.encode()).hexdigest()[:12]
        name = f"{name[: _TABLE_MAX - 13]}.{mark}"
    return name


def parse_leases(url: str) -> Address:
    """``dynamodb://APPLICATION?region=..&role=..``.

    Raises:
        RefusedError: it is none, or not the name of a table.
    """
    if not url.startswith("dynamodb://") or (address := parse_address(url)).tables is not None:
        raise RefusedError(f"--leases {url}", do="write dynamodb://APPLICATION[?region=..]")
    check_property("applicationName", address.path, "--leases")
    if len(address.path) > _TABLE_MAX:
        raise RefusedError(
            f"--leases: a name of {len(address.path)} characters",
            do=f"KCL adds to it: at most {_TABLE_MAX}",
        )
    return address


def check_worker(worker: str) -> None:
    """Nothing, if that can be a worker's name.

    Raises:
        RefusedError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", worker):
        raise RefusedError(f"--worker {worker!r}", do="write 1 to 128 of A-Z a-z 0-9 _ . -")


def default_folder(application: str, worker: str, environment: Mapping[str, str]) -> Path:
    """Where a worker's files are: below the user's state, by application and worker."""
    state = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state, "binlog", "kcl", application, worker).expanduser()


def _reading(reads: float) -> dict[str, str]:
    """How to read a shard by so many calls a second, and still all that can be written into it."""
    idle_ms = max(_IDLE_MIN_MS, math.ceil(1000 / reads))
    records = min(int(_COMMON["maxRecords"]), math.ceil(_SHARD_RECORDS_PER_S * idle_ms / 1000))
    return {
        "maxRecords": str(records),
        "idleTimeBetweenReadsInMillis": str(idle_ms),
        "millisBehindLatestThresholdForReducedTps": str(max(idle_ms, _AT_THE_END_MS)),
    }


def _credentials(which: str, account: Account, where: str) -> dict[str, str]:
    """The provider that finds for the Java SDK what the address names."""
    name = f"AwsCredentialsProvider{which}"
    if account.role is None:
        if account.profile is None:
            return {name: "DefaultCredentialsProvider"}
        if re.search(r"[|,]", account.profile):
            raise RefusedError(
                f"profile={account.profile}", where, "KCL takes no profile with , or | in its name"
            )
        return {name: f"ProfileCredentialsProvider|{account.profile}"}
    if account.profile is not None:
        raise RefusedError(
            "profile and role: KCL assumes a role with the environment's credentials only",
            where,
            "put role_arn into the profile, and leave role out; or set AWS_PROFILE",
        )
    parts = ["StsAssumeRoleCredentialsProvider", account.role, ROLE_SESSION]
    parts.append(f"endpointRegion={_client('sts', account, where).meta.region_name}")
    if account.external_id is not None:
        # KCL splits at these, and drops what it cannot split without a word.
        if re.search(r"[=,|]", account.external_id):
            raise RefusedError(
                f"external_id={account.external_id}", where, "KCL takes none with = , or | in it"
            )
        parts.append(f"externalId={account.external_id}")
    if "," in account.role:
        raise RefusedError(f"role={account.role}", where, "KCL takes none with , in its name")
    return {name: "|".join(parts)}


def _service(service: str, client: str, account: Account, where: str) -> dict[str, str]:
    """Region and endpoint of a service, as boto3 has found them."""
    if service == "cloudwatch":
        account = msgspec.structs.replace(account, endpoint=None)
    meta = _client(service, account, where).meta
    found = {f"{client}.region": meta.region_name}
    if account.fips:
        found[f"{client}.fipsEnabled"] = "true"
    elif account.endpoint is not None or not is_aws(meta.endpoint_url):
        found[f"{client}.endpointOverride"] = meta.endpoint_url
    return found


def _client(service: str, account: Account, where: str) -> Any:
    if service == "sts":
        account = msgspec.structs.replace(account, endpoint=None, role=None, external_id=None)
    return connector(account, service, where)()
