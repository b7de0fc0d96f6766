"""What of a bucket can end an archive, or snapshots: rules that delete or freeze, rights to do so.

Nothing is changed. What is put here is put under a condition that does not hold, with a checksum that
is wrong, where an object is already: no service writes that, whatever else it ignores.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from binlog.aws.account import Account, connector, is_aws
from binlog.aws.errors import error_code
from binlog.aws.permissions import Probe
from binlog.errors import BinlogError
from binlog.health import Finding, State, found
from binlog.objects.s3 import S3Objects
from binlog.objects.s3_client import translated

# Classes from which nothing can be read before it was restored, which takes hours (Amazon S3 User
# Guide, "Understanding S3 Glacier storage classes"). GLACIER_IR can be read at once.
FROZEN = frozenset({"DEEP_ARCHIVE", "GLACIER"})
_NO_RULES = "NoSuchLifecycleConfiguration"
_NO_LOCK = "ObjectLockConfigurationNotFoundError"
_WRONG = base64.b64encode(b"\0\0\0\1").decode()  # CRC-32C of no bytes is 0


class BucketHealth:
    """One visit to a bucket, and to what is below a prefix of it; `close` it."""

    def __init__(self, path: str, account: Account, where: str, *, client: Any = None) -> None:
        """``path`` is ``BUCKET/PREFIX``.

        Raises:
            BinlogError: no such name, no credentials, no region.
        """
        objects = S3Objects(path, account=account)
        self.bucket, self.prefix = objects.bucket, objects.prefix
        self.where = where
        self._client = client or connector(account, "s3", where, total_max_attempts=2)()
        self._first: str | None = None  # the key of an object that is there

    def close(self) -> None:
        self._client.close()

    # -- what is there -----------------------------------------------------------------------------

    def findings(self, *, region: str | None = None) -> Iterator[Finding]:
        """Of the bucket and its rules. ``region`` is where those are who read and write it."""
        listed = self._listed()
        yield listed
        if listed.state in {"failed", "unhealthy"}:
            return
        yield self._lifecycle()
        yield self._versioning()
        yield self._lock()
        if region is not None:
            yield self._region(region)

    def _listed(self) -> Finding:
        try:
            reply = self._client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is translated
            return found("bucket", translated(error, self.where))
        contents = reply.get("Contents", ())
        self._first = contents[0]["Key"] if contents else None
        what = "it is there" if contents else "it is there, and nothing in it yet"
        return Finding("bucket", "ok", what, self.where)

    def _asked(self, check: str, operation: str, *none: str) -> Mapping[str, Any] | Finding | None:
        """A reply; ``None`` where the service has no such setting; or why it cannot be known."""
        try:
            reply: Mapping[str, Any] = getattr(self._client, operation)(Bucket=self.bucket)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is translated
            if error_code(error) in none:
                return None
            said = translated(error, self.where)
            if "action" in said.details or "not permitted" in said.what:
                what = f"cannot be known: {said.what}"
                do = "look as somebody who may (an operator), or in the console"
                return Finding(check, "unknown", what, self.where, do)
            return found(check, said)
        return reply

    def _lifecycle(self) -> Finding:
        reply = self._asked("lifecycle", "get_bucket_lifecycle_configuration", _NO_RULES)
        if isinstance(reply, Finding):
            return reply
        bad, noted = [], []
        for rule in () if reply is None else reply.get("Rules", ()):
            if rule.get("Status") == "Enabled" and self._is_ours(rule):
                name = f"rule {rule.get('ID', '')!r}"
                bad += [f"{name} {what}" for what in _ends(rule)]
                noted += [f"{name} {what}" for what in _notes(rule)]
        if bad:
            do = "take this prefix out of the rule: what it removes or freezes cannot be read again"
            return Finding("lifecycle", "unhealthy", "; ".join(bad), self.where, do)
        if noted:
            return Finding("lifecycle", "noted", "; ".join(noted), self.where)
        return Finding("lifecycle", "ok", "no rule removes or freezes objects", self.where)

    def _is_ours(self, rule: Mapping[str, Any]) -> bool:
        """Whether a rule is about objects of ours, which have no tags."""
        given = rule.get("Filter", {})
        both = given.get("And", given)
        if both.get("Tag") or both.get("Tags"):
            return False
        prefix = str(both.get("Prefix") or rule.get("Prefix") or "")
        return prefix.startswith(self.prefix) or self.prefix.startswith(prefix)

    def _versioning(self) -> Finding:
        reply = self._asked("versioning", "get_bucket_versioning")
        if isinstance(reply, Finding):
            return reply
        if reply is not None and reply.get("Status") == "Enabled":
            return Finding("versioning", "ok", "what is deleted can be had back", self.where)
        do = "aws s3api put-bucket-versioning --versioning-configuration Status=Enabled"
        what = "not versioned: what somebody deletes is gone"
        return Finding("versioning", "noted", what, self.where, do)

    def _lock(self) -> Finding:
        reply = self._asked("object lock", "get_object_lock_configuration", _NO_LOCK)
        if isinstance(reply, Finding):
            return reply
        if reply and reply.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled":
            return Finding("object lock", "ok", "on", self.where)
        what = "no object lock: whoever may delete can delete it for ever"
        do = "it can be turned on for a bucket that is versioned"
        return Finding("object lock", "noted", what, self.where, do)

    def _region(self, region: str) -> Finding:
        reply = self._asked("region", "get_bucket_location")
        if isinstance(reply, Finding):
            return reply
        # API reference, GetBucketLocation: none is us-east-1, and EU was eu-west-1.
        told = str((reply or {}).get("LocationConstraint") or "us-east-1")
        has = "eu-west-1" if told == "EU" else told
        if has == region:
            return Finding("region", "ok", has, self.where)
        what = f"the bucket is in {has}, and what is kept there comes from {region}"
        do = "each byte is paid for on its way, and is away when either region is"
        return Finding("region", "noted", what, self.where, do)

    # -- permissions -------------------------------------------------------------------------------

    def probes(self, on: str) -> dict[str, Probe]:
        """Harmless calls, by action; ask after `findings`."""
        if on.endswith("_bucket"):
            return {
                "s3:ListBucket": lambda: self._client.list_objects_v2(
                    Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1
                ),
                "s3:GetBucketLocation": self._bucket_probe("get_bucket_location"),
                "s3:GetBucketVersioning": self._bucket_probe("get_bucket_versioning"),
                "s3:GetBucketObjectLockConfiguration": self._bucket_probe(
                    "get_object_lock_configuration"
                ),
                "s3:GetLifecycleConfiguration": self._bucket_probe(
                    "get_bucket_lifecycle_configuration"
                ),
            }
        if self._first is None or on == "archive_notes":
            return {}  # of what is not there the service does not say who may read or write it
        first = self._first
        probes: dict[str, Probe] = {"s3:GetObject": partial(self._read_byte, first)}
        if is_aws(str(self._client.meta.endpoint_url)):
            probes["s3:PutObject"] = lambda: self._client.put_object(
                Bucket=self.bucket, Key=first, Body=b"", IfNoneMatch="*", ChecksumCRC32C=_WRONG
            )
        return probes

    def _read_byte(self, key: str) -> None:
        reply = self._client.get_object(Bucket=self.bucket, Key=key, Range="bytes=0-0")
        reply["Body"].close()

    def _bucket_probe(self, operation: str) -> Probe:
        return lambda: getattr(self._client, operation)(Bucket=self.bucket)


def _ends(rule: Mapping[str, Any]) -> Iterator[str]:
    """How a rule takes objects away."""
    expiration = rule.get("Expiration", {})
    if "Days" in expiration:
        yield f"deletes objects after {expiration['Days']} days"
    if "Date" in expiration:
        yield f"deletes objects on {expiration['Date']:%Y-%m-%d}"
    for each in rule.get("Transitions", ()):
        if each.get("StorageClass") in FROZEN:
            when = f"after {each['Days']} days" if "Days" in each else "on a day"
            yield f"moves objects to {each['StorageClass']} {when}"


def _notes(rule: Mapping[str, Any]) -> Iterator[str]:
    """What else a rule does that costs where much is read."""
    for each in rule.get("Transitions", ()):
        if each.get("StorageClass") not in FROZEN:
            yield f"moves objects to {each.get('StorageClass')}, from where reading costs more"


def deletes_finding(error: BinlogError | None, state: str, where: str) -> Finding:
    """Whether these credentials may delete objects, which nobody needs to who keeps an archive."""
    if error is not None or state == "unknown":
        do = "ask as somebody who may use IAM's simulator"
        return Finding("deletes", "unknown", "who may delete cannot be known", where, do)
    if state == "denied":
        return Finding("deletes", "ok", "these credentials delete nothing", where)
    noted: State = "noted"
    what = "these credentials may delete objects (s3:DeleteObject)"
    return Finding("deletes", noted, what, where, "binlog policy prints a role that may not")
