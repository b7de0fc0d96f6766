"""Kinesis as a service that is called: clients, errors in our words, and the service's own time.

Two clients. The one that puts makes one attempt a call: the SDK's own retry of a put whose reply
was lost puts it twice, and says that it succeeded. The one for everything else retries by itself.
Both are made where they are first used, and anew in a forked child: connections are not shared.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from binlog.clock import Clock
from binlog.errors import BinlogError, RefusedError, StorageError

PUT_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 20.0
ATTEMPTS = 6  # of calls that may be repeated
DATE_MS = 1_000  # how exact a reply's Date is: it says the second, cut off

Connect = Callable[[bool], Any]
"""Makes a client; given whether it is the one that puts."""

# Refused at the door, so certainly nothing was written; later it may pass.
THROTTLES = frozenset(
    {
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
# Called a client's error, and says nothing about what was done.
_TIMED_OUT = frozenset({"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"})
_CLOCK = frozenset({"InvalidSignatureException", "RequestInTheFuture", "RequestTimeTooSkewed"})
_REQUEST_TIMEOUT = 408  # which a proxy says, too


def connector(region: str | None, profile: str | None, endpoint: str | None) -> Connect:
    """What makes clients for an address; what it leaves out comes from the AWS environment."""
    sessions: dict[int, Any] = {}  # by process; a session takes longer to make than a client

    def connect(puts: bool) -> Any:  # noqa: FBT001 - positional in a callable's type
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise RefusedError(
                "boto3 is not installed", "kinesis://", "pip install 'kinesis-binlog[aws]'"
            ) from error
        if puts:
            config = Config(
                retries={"mode": "standard", "total_max_attempts": 1},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=PUT_TIMEOUT_S,
                tcp_keepalive=True,
            )
        else:
            config = Config(
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
            )
        try:
            session = sessions.get(os.getpid())
            if session is None:
                # boto3 alone among the SDKs does not look at AWS_REGION.
                named = region or os.environ.get("AWS_REGION") or None
                session = boto3.session.Session(profile_name=profile, region_name=named)
                sessions[os.getpid()] = session
            return session.client("kinesis", endpoint_url=endpoint, config=config)
        except (BotoCoreError, ValueError) as error:
            raise trouble(error, "kinesis://") from error

    return connect


class Clients:
    """The two clients of one log in this process. Any thread may ask."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._pid = 0
        self._made: dict[bool, Any] = {}

    @property
    def puts(self) -> Any:
        return self._get(puts=True)

    @property
    def calls(self) -> Any:
        return self._get(puts=False)

    def _get(self, *, puts: bool) -> Any:
        if self._pid == os.getpid() and (made := self._made.get(puts)) is not None:
            return made
        if self._pid != os.getpid():  # the lock may have been held when the parent forked
            self._lock = threading.Lock()
            self._made, self._pid = {}, os.getpid()
        with self._lock:
            if puts not in self._made:
                self._made[puts] = self._connect(puts)
            return self._made[puts]

    def close(self) -> None:
        """Close the connections of this process."""
        if self._pid == os.getpid():
            for client in self._made.values():
                client.close()


class ServiceTime:
    """The service's time: the newest reply's Date, and reckoned on from there.

    Never our own clock (P2), except to be careful. A Date is cut off to the second.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard = (0, 0.0, 0)  # Date, and when, by either clock of ours

    def hear(self, response: Mapping[str, Any]) -> int:
        """The Date of a reply, ms; of one that has none, not earlier than it would say.

        Then our wall clock has a say: while the machine slept, the monotonic one stood still, and
        what arrived too late must not pass for in time (P4).
        """
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        try:
            date = parsedate_to_datetime(headers["date"])
        except (KeyError, TypeError, ValueError):
            date_ms, _, wall_ms = self._heard
            return max(self.now_ms(), date_ms + self._clock.now_ms() - wall_ms) if date_ms else 0
        date_ms = int(date.replace(tzinfo=date.tzinfo or UTC).timestamp()) * 1000
        self._heard = date_ms, self._clock.monotonic(), self._clock.now_ms()
        return date_ms

    def now_ms(self) -> int:
        """At most the service's time now; 0 before the first reply with a Date."""
        date_ms, at, _ = self._heard
        return date_ms + int(max(0.0, self._clock.monotonic() - at) * 1000) if date_ms else 0


# -- errors --------------------------------------------------------------------------------------


def error_code(error: BaseException) -> str:
    """The service's code of an error; empty for one that is not the service's."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return ""
    return str(response.get("Error", {}).get("Code", ""))


def was_refused(error: BaseException) -> bool:
    """Whether a put that ended so has certainly written nothing.

    The service said no, or was never reached. A server's own failure, or a connection that broke
    after it was made, says nothing; nor does what the SDK calls a proxy's failure, which may be a
    connection through one that broke (urllib3 1.26).
    """
    if isinstance(error, BinlogError):
        return isinstance(error, RefusedError)
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if error_code(error) in _TIMED_OUT or status == _REQUEST_TIMEOUT:
            return False
        return error_code(error) in THROTTLES | _EXPIRED or 400 <= status < 500
    from botocore.exceptions import (
        ConnectTimeoutError,
        CredentialRetrievalError,
        EndpointConnectionError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )

    return isinstance(
        error,
        ConnectTimeoutError
        | CredentialRetrievalError
        | EndpointConnectionError
        | NoCredentialsError
        | ParamValidationError
        | PartialCredentialsError,
    )


def trouble(error: BaseException, where: str) -> BinlogError:
    """An error of the service or the SDK in our words, retriable or not."""
    code, said = error_code(error), _message(error)
    if code == "ResourceNotFoundException":
        return RefusedError(
            f"no such stream ({said})", where, "is the region right? binlog init makes one"
        )
    if code.startswith("AccessDenied") or code in {
        "KMSAccessDeniedException",
        "UnrecognizedClientException",
    }:
        return RefusedError(f"not permitted ({said})", where, "grant it to these credentials")
    if code in THROTTLES:
        return StorageError(f"throttled ({code}: {said})", where, "try again later, or add shards")
    if code in _EXPIRED:
        return StorageError(f"the credentials have expired ({said})", where, "renew them")
    if code.startswith("KMS"):
        return StorageError(f"the stream's key cannot be used ({code}: {said})", where)
    if code in _CLOCK:
        return RefusedError(
            f"{code}: {said}", where, "are the credentials whole, and this machine's clock right?"
        )
    response = getattr(error, "response", {}) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    is_ours = 400 <= status < 500 and status != _REQUEST_TIMEOUT and code not in _TIMED_OUT
    if code and is_ours:
        return RefusedError(f"{code}: {said}", where)
    if type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}:
        return RefusedError(said, where, "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its siblings")
    if type(error).__name__ == "ParamValidationError":
        return RefusedError(said, where)
    if type(error).__name__ in {"NoRegionError", "InvalidRegionError"}:
        return RefusedError(said, where, "add ?region=NAME, or set AWS_REGION")
    return StorageError(f"{code or type(error).__name__}: {said}", where, "try again")


def _message(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict) and (said := response.get("Error", {}).get("Message")):
        return " ".join(str(said).split())
    return " ".join(str(error).split())
