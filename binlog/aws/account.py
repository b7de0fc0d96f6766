"""Who calls a service, and where it is: region, profile, role and endpoint of one address.

Whatever an address leaves out comes from the usual AWS environment. That is boto3's own business
(``AWS_PROFILE``, ``AWS_ENDPOINT_URL_KINESIS``, instance and container roles, SSO), with one
exception: ``AWS_REGION``, at which boto3 alone among the SDKs does not look.

Clients are made, never shared: connections, locks and random states do not survive a fork. What is
expensive to make, and shared by all clients of an account in one process, is its session.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from binlog.aws.counting import count_calls
from binlog.aws.credentials import provide
from binlog.aws.errors import trouble
from binlog.aws.replies import refuse_cut_replies
from binlog.errors import RefusedError

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 20.0
ATTEMPTS = 6  # of calls that may be repeated

# As IAM and STS take them (API references of CreateRole and AssumeRole).
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,576}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_PROFILE = re.compile(r"[^\s\x00-\x1f\[\]]+(?: [^\s\x00-\x1f\[\]]+)*")
_SESSIONS_KEPT = 32
_JSON_SERVICES = frozenset({"dynamodb", "kinesis"})


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The options of an address that say who calls whom; ``None``: what the environment says.

    ``role`` is the ARN of a role that is assumed with whatever credentials there are; STS is called
    at its regional endpoint, or where ``AWS_ENDPOINT_URL_STS`` says. ``endpoint`` is a URL, for one
    in a VPC or a stand-in; ``fips`` takes the service's FIPS 140 endpoint (STS's, too).
    """

    region: str | None = None
    profile: str | None = None
    role: str | None = None
    external_id: str | None = None
    endpoint: str | None = None
    fips: bool = False


ACCOUNT_PARAMETERS: frozenset[str] = frozenset(Account.__struct_fields__)


def account_of(parameters: Mapping[str, str], where: str) -> Account:
    """The account that an address's query parameters name; others than these are not looked at.

    Raises:
        RefusedError: a value that cannot be meant, or two that exclude each other.
    """
    given = {name: value for name, value in parameters.items() if name in ACCOUNT_PARAMETERS}
    _check(given, "region", _REGION, where, "a region's name such as eu-west-1")
    _check(given, "profile", _PROFILE, where, "the name of a profile in ~/.aws/config")
    _check(given, "role", _ROLE, where, "a role's ARN, arn:aws:iam::ACCOUNT:role/NAME; + is %2B")
    _check(given, "external_id", _EXTERNAL_ID, where, "2 to 1,224 of A-Z a-z 0-9 _ + = , . @ : / -")
    if "external_id" in given and "role" not in given:
        raise RefusedError("external_id without a role", where, "add role=ARN")
    fips = given.get("fips", "false")
    if fips not in {"true", "false"}:
        raise RefusedError(f"fips={fips!r}", where, "write fips=true or fips=false")
    endpoint = given.get("endpoint")
    if endpoint is not None:
        _check_endpoint(endpoint, where)
        if fips == "true":
            raise RefusedError(
                "fips and endpoint: an endpoint that is named is taken as it is",
                where,
                "give one of them; the name of a FIPS endpoint in a VPC says that it is one",
            )
    return Account(
        region=given.get("region"),
        profile=given.get("profile"),
        role=given.get("role"),
        external_id=given.get("external_id"),
        endpoint=endpoint,
        fips=fips == "true",
    )


def _check(
    given: Mapping[str, str], name: str, form: re.Pattern[str], where: str, wanted: str
) -> None:
    value = given.get(name)
    if value is not None and not form.fullmatch(value):
        raise RefusedError(f"{name}={value!r}", where, f"write {wanted}")


def _check_endpoint(endpoint: str, where: str) -> None:
    try:
        parts = urlsplit(endpoint)
        is_good = (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and "@" not in parts.netloc
            and not parts.query
            and not parts.fragment
            and not any(character.isspace() for character in endpoint)
        )
    except ValueError:
        is_good = False
    if not is_good:
        raise RefusedError(
            f"endpoint={endpoint!r}", where, "write https://HOST[:PORT], nothing behind it"
        )


# -- clients -------------------------------------------------------------------------------------


def connector(
    account: Account,
    service: str,
    where: str,
    *,
    total_max_attempts: int = ATTEMPTS,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    read_timeout_s: float = READ_TIMEOUT_S,
    connections: int = 10,
) -> Callable[[], Any]:
    """What makes boto3's clients of a service: a new one at every call. Any thread may call it.

    Whoever keeps a client keeps it by process id. One attempt (``total_max_attempts=1``) is for
    calls that must not be made twice behind one's back. The credentials of a role renew
    themselves, at best a quarter of an hour before they expire. Errors of a client say which region
    it asked: ``error.response["ResponseMetadata"]["Region"]``.

    Raises (what it returns, when called):
        RefusedError: no boto3, no such profile, no region.
    """

    def connect() -> Any:
        try:
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise _no_boto3(where) from error
        config = Config(
            retries={"mode": "standard", "total_max_attempts": total_max_attempts},
            connect_timeout=connect_timeout_s,
            read_timeout=read_timeout_s,
            max_pool_connections=connections,
            tcp_keepalive=True,
            use_fips_endpoint=account.fips or None,
            user_agent_extra=_user_agent(),
        )
        try:
            client = session_of(account, where).client(
                service, endpoint_url=account.endpoint, config=config
            )
        except BotoCoreError as error:
            raise trouble(error, where) from error
        except ValueError as error:  # botocore's word for an endpoint or a region that is none
            remedy = "see AWS_ENDPOINT_URL and its siblings: https://HOST[:PORT]; and the region"
            raise RefusedError(str(error), where, remedy) from error
        if account.fips:
            _check_fips(str(client.meta.endpoint_url), where)
        region = client.meta.region_name

        def name_region(parsed: dict[str, Any], **_: Any) -> None:
            parsed.setdefault("ResponseMetadata", {})["Region"] = region

        client.meta.events.register_last("after-call", name_region)
        if service in _JSON_SERVICES:
            refuse_cut_replies(client, service, total_max_attempts)
        count_calls(client, service, aws=is_aws(str(client.meta.endpoint_url)))
        return client

    return connect


def is_aws(url: str) -> bool:
    """Whether an endpoint is the service's own, in a VPC or not, by its name."""
    host = urlsplit(url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _check_fips(url: str, where: str) -> None:
    """The SDK lets an endpoint of the environment, or of a profile, win without a word."""
    # In some regions (us-gov-*) the ordinary endpoints are the FIPS ones.
    if "fips" not in url and not is_aws(url):
        raise RefusedError(
            f"fips=true, and the environment or the profile names an endpoint, {url}",
            where,
            "unset that (AWS_ENDPOINT_URL and the like), or leave out fips",
        )


# -- sessions ------------------------------------------------------------------------------------


class _Locked:
    """A session of which one thread at a time makes a client: they are not made for several."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self._lock = threading.Lock()

    def client(self, service: str, **options: Any) -> Any:
        with self._lock:
            return self.session.client(service, **options)


class _Sessions:
    """The sessions of this process, by account and by the environment they were made in."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Give up all: in a forked child, where a lock may be held by nobody who is there."""
        self._lock = threading.Lock()
        self._made: dict[Any, _Locked] = {}

    def get(self, account: Account) -> _Locked:
        environment = frozenset(each for each in os.environ.items() if each[0].startswith("AWS_"))
        key = account, os.environ.get("HOME"), environment
        with self._lock:
            made = self._made.get(key)
            if made is None:
                made = _Locked(_new_session(account))
                if len(self._made) >= _SESSIONS_KEPT:
                    self._made.pop(next(iter(self._made)))
                self._made[key] = made
            return made


_sessions = _Sessions()
os.register_at_fork(after_in_child=_sessions.forget)


def session_of(account: Account, where: str) -> Any:
    """The session of an account in this process; ``session`` of it is boto3's.

    Raises:
        RefusedError: no boto3, no such profile.
    """
    try:
        return _sessions.get(account)
    except ImportError as error:
        raise _no_boto3(where) from error


def _new_session(account: Account) -> Any:
    import boto3
    from botocore.session import Session

    core = Session(profile=account.profile)
    region = account.region or os.environ.get("AWS_REGION") or None
    if region is not None:
        core.set_config_variable("region", region)
    provide(core, role=account.role, external_id=account.external_id, fips=account.fips)
    return boto3.session.Session(botocore_session=core)


def _no_boto3(where: str) -> RefusedError:
    return RefusedError("boto3 is not installed", where, "pip install 'kinesis-binlog[aws]'")


@cache
def _user_agent() -> str:
    from importlib.metadata import PackageNotFoundError, version  # a tenth of a command's start

    try:
        return f"binlog/{version('kinesis-binlog')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "binlog"
