"""What of an account can be wrong: credentials, permissions, the SDK, this machine's clock."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

from binlog.aws.account import Account
from binlog.aws.errors import trouble
from binlog.aws.identity import (
    Identity,
    Source,
    identity_of,
    is_stand_in,
    source_of,
)
from binlog.aws.permissions import SIMULATE, Permission
from binlog.aws.policies import Role
from binlog.clock import Clock
from binlog.errors import BinlogError
from binlog.health import Finding, State

EXPIRES_SOON_MS = 10 * 60_000
SKEW_NOTED_MS, SKEW_UNHEALTHY_MS = 3_000, 60_000  # signatures are refused from 5 minutes on
_DATE_MS = 1_000  # how exact a reply's Date is: the second, cut off
_SDK_MIN = (1, 35)


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine: a stand-in's."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def endpoint_finding(url: str, where: str) -> Finding:
    """Whether what is sent there can be read on its way."""
    if url.startswith("https:") or is_loopback(url):
        return Finding("endpoint", "ok", url, where)
    return Finding("endpoint", "unhealthy", f"{url} is not encrypted", where, "write https://")


# -- credentials -----------------------------------------------------------------------------------


def credentials_findings(
    account: Account, service: str, where: str, clock: Clock
) -> tuple[list[Finding], Identity | None]:
    """Whose credentials these are and until when; and who that is, where it can be known.

    Raises:
        BinlogError: there are none that can be used: nothing else can be looked at.
    """
    source = source_of(account, where)
    if source is None:
        from botocore.exceptions import NoCredentialsError

        raise trouble(NoCredentialsError(), where)
    expiry = _expiry(source, where, clock)
    if is_stand_in(account, service, where):
        who = Finding("credentials", "ok", "not AWS: a stand-in takes any", where)
        return [who], None
    try:
        identity = identity_of(account, where)
    except BinlogError as error:
        if not error.retriable or error.details.get("code"):
            raise
        what = f"whose they are cannot be known ({error.what})"
        do = "is there a way to STS (AWS_ENDPOINT_URL_STS, a VPC endpoint)?"
        return [Finding("credentials", "unknown", what, where, do), expiry], None
    return [Finding("credentials", "ok", identity.arn, where), expiry], identity


def _expiry(source: Source, where: str, clock: Clock) -> Finding:
    if not source.temporary:
        what = f"from {source.words}, and do not expire"
        return Finding("expiry", "ok", what, where)
    left_ms = None if source.expires_ms is None else source.expires_ms - clock.now_ms()
    until = "nobody says when they expire"
    if source.expires_ms is not None and left_ms is not None:
        at = datetime.fromtimestamp(source.expires_ms / 1000, UTC)
        until = f"expire at {at:%Y-%m-%dT%H:%M:%SZ}, in {left_ms / 60_000:.0f} min"
    if source.renewed:
        return Finding("expiry", "ok", f"from {source.words}, renewed; {until}", where)
    state: State = "unhealthy" if left_ms is not None and left_ms < EXPIRES_SOON_MS else "noted"
    return Finding(
        "expiry",
        state,
        f"temporary, from {source.words}, and nobody renews them; {until}",
        where,
        "for what runs for long take a role, SSO, or a file that is rewritten",
    )


# -- permissions -----------------------------------------------------------------------------------


def permission_findings(role: Role, permissions: Sequence[Permission], where: str) -> list[Finding]:
    """What is denied, one finding each; what cannot be known, in one; else that all is there."""
    denied = [each for each in permissions if each.state == "denied"]
    unknown = [each for each in permissions if each.state == "unknown"]
    findings = [
        Finding(
            "permissions",
            "unhealthy",
            f"{each.action} is denied ({each.why})",
            where,
            f"the role {role} needs it; the policy that grants it comes with this",
        )
        for each in denied
    ]
    if unknown:
        reasons = sorted({each.why for each in unknown})
        actions = ", ".join(sorted({each.action for each in unknown}))
        findings.append(
            Finding(
                "permissions",
                "unknown",
                f"whether {actions} is permitted cannot be known ({'; '.join(reasons)})",
                where,
                f"try it, or ask as somebody who may {SIMULATE}",
            )
        )
    allowed = len(permissions) - len(denied) - len(unknown)
    if allowed and not denied:
        of = f"{allowed} of the {len(permissions)}" if unknown else f"all {allowed}"
        findings.append(Finding("permissions", "ok", f"{of} permissions of the role {role}", where))
    return findings


# -- clock, versions -------------------------------------------------------------------------------


def clock_finding(reply: Mapping[str, Any], before_ms: int, after_ms: int, where: str) -> Finding:
    """How far our clock is from a service's, by a reply's Date and when it was asked and heard."""
    try:
        header = reply["ResponseMetadata"]["HTTPHeaders"]["date"]
        date = parsedate_to_datetime(header)
    except (KeyError, TypeError, ValueError):
        return Finding(
            "clock", "unhealthy", "its replies have no Date", where, "does a proxy take it away?"
        )
    date_ms = int(date.replace(tzinfo=date.tzinfo or UTC).timestamp()) * 1000
    # It was between the two, and the Date is up to a second younger than it says.
    ahead_ms = before_ms - (date_ms + _DATE_MS), after_ms - date_ms
    skew_ms = 0 if ahead_ms[0] <= 0 <= ahead_ms[1] else min(ahead_ms, key=abs)
    return skew_finding(skew_ms, where, "the service's")


def skew_finding(skew_ms: int, where: str, whose: str) -> Finding:
    """Ours is ``skew_ms`` ahead of another clock, or behind, at least."""
    word = "ahead of" if skew_ms > 0 else "behind"
    what = f"this machine's clock is {abs(skew_ms) / 1000:.1f} s {word} {whose}"
    do = "let NTP (chrony, systemd-timesyncd) set it"
    if abs(skew_ms) >= SKEW_UNHEALTHY_MS:
        return Finding("clock", "unhealthy", what, where, do)
    if abs(skew_ms) >= SKEW_NOTED_MS:
        return Finding("clock", "noted", what, where, do)
    return Finding("clock", "ok", f"this machine's clock agrees with {whose}", where)


def sdk_finding() -> Finding:
    """The SDK, and whether it is one that knows what is asked here."""
    try:
        boto3, botocore = version("boto3"), version("botocore")
    except PackageNotFoundError:
        return Finding("versions", "unhealthy", "no boto3", "", "pip install 'kinesis-binlog[aws]'")
    what = f"boto3 {boto3}, botocore {botocore}"
    if tuple(int(part) for part in boto3.split(".")[:2]) < _SDK_MIN:
        do = f"pip install 'boto3>={'.'.join(map(str, _SDK_MIN))}'"
        return Finding("versions", "unhealthy", what, "", do)
    return Finding("versions", "ok", what)
