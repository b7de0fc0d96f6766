"""Whose credentials these are, until when, and where the account's resources are."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from binlog.aws.account import Account, connector, is_aws, session_of
from binlog.aws.errors import trouble
from binlog.aws.policies import Place
from binlog.errors import BinlogError, RefusedError

ATTEMPTS, READ_TIMEOUT_S = 2, 5.0  # of questions that one can do without
_ACCOUNT_ID = re.compile(r"\d{12}", re.ASCII)
_ASSUMED = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([\w+=,.@-]+)/", re.ASCII)
# How the SDK calls the ways in which it found credentials, of those that it cannot renew.
_FIXED = {
    "env": "the environment",
    "explicit": "the program",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
}


class Identity(msgspec.Struct, frozen=True):
    """Who calls."""

    arn: str
    account_id: str

    @property
    def principal(self) -> str:
        """The user or role whose policies count; a role's path is not in what STS says."""
        match = _ASSUMED.match(self.arn)
        return f"arn:{match[1]}:iam::{match[2]}:role/{match[3]}" if match else self.arn


class Source(msgspec.Struct, frozen=True):
    """Where credentials come from. ``expires_ms`` is ``None`` where nobody says."""

    method: str
    temporary: bool
    renewed: bool
    expires_ms: int | None

    @property
    def words(self) -> str:
        return _FIXED.get(self.method, self.method)


def identity_of(account: Account, where: str) -> Identity:
    """Who STS says that we are; nobody needs a permission to ask it.

    Raises:
        BinlogError: as `trouble` says.
    """
    plain = msgspec.structs.replace(account, endpoint=None)  # that is the other service's
    client = connector(
        plain, "sts", where, total_max_attempts=ATTEMPTS, read_timeout_s=READ_TIMEOUT_S
    )()
    try:
        reply = client.get_caller_identity()
    except Exception as error:
        raise trouble(error, where) from error
    finally:
        client.close()
    return Identity(reply["Arn"], reply["Account"])


def source_of(account: Account, where: str) -> Source | None:
    """Where the account's credentials come from; ``None`` if there are none.

    Raises:
        BinlogError: they could not be got.
    """
    try:
        found = session_of(account, where).session.get_credentials()
        if found is None:
            return None
        frozen = found.get_frozen_credentials()
    except BinlogError:
        raise
    except Exception as error:
        raise trouble(error, where) from error
    # Botocore tells it nobody; without it there is no word of when they end.
    expires: Any = getattr(found, "_expiry_time", None)
    is_renewed = expires is not None or found.method not in _FIXED
    return Source(
        method=str(found.method),
        temporary=bool(frozen.token),
        renewed=is_renewed or (bool(frozen.token) and found.method.endswith("-file")),
        expires_ms=int(expires.astimezone(UTC).timestamp() * 1000)
        if isinstance(expires, datetime)
        else None,
    )


def endpoint_of(account: Account, service: str, where: str) -> str:
    """Where clients of the account send their calls.

    Raises:
        BinlogError: no client can be made.
    """
    client = connector(account, service, where)()
    try:
        return str(client.meta.endpoint_url)
    finally:
        client.close()


def is_stand_in(account: Account, service: str, where: str) -> bool:
    """Whether a service is not AWS's, while STS is: AWS is not asked about what it does not know.

    Raises:
        BinlogError: no client can be made.
    """
    if is_aws(endpoint_of(account, service, where)):
        return False
    return is_aws(endpoint_of(msgspec.structs.replace(account, endpoint=None), "sts", where))


def place_of(account: Account, service: str, where: str, *, account_id: str | None = None) -> Place:
    """Where the account's resources are; STS is asked only for what nothing else says.

    Raises:
        RefusedError: no region, an account id that is none, or a stand-in's, which has none.
        BinlogError: as `identity_of`.
    """
    session = session_of(account, where).session
    region = session.region_name
    if region is None:
        raise RefusedError("no region", where, "add ?region=NAME, or set AWS_REGION")
    if account_id is not None and not _ACCOUNT_ID.fullmatch(account_id):
        raise RefusedError(f"{account_id!r} is no account's id", where, "it has 12 digits")
    if account_id is None and account.role is not None:
        account_id = account.role.split(":")[4]
    if account_id is None and is_stand_in(account, service, where):
        raise RefusedError("a stand-in is in no account", where, "say one: --account ID")
    if account_id is None:
        account_id = identity_of(account, where).account_id
    return Place(partition_of(session, region), region, account_id)


def partition_of(session: Any, region: str) -> str:
    """The part of AWS that a region is in; of a name that nobody knows, the largest."""
    from botocore.exceptions import BotoCoreError

    try:
        return str(session.get_partition_for_region(region))
    except BotoCoreError:
        return "aws"
