"""What the services and the SDK say, in our words, and whether a call can have done anything.

Each error names the thing and the remedy. The SDK's errors are known by the names of their classes,
so that nobody has to have it installed, nor to wait for it, to read one.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

from binlog.aws.policies import GRANTS, Role, role_for
from binlog.errors import BinlogError, RefusedError, StorageError

# The item is in a transaction of somebody else's, or is being written in another region.
_CONFLICTS = frozenset({"ReplicatedWriteConflictException", "TransactionConflictException"})
# Refused at the door, so certainly nothing was written; later it may pass.
THROTTLES = _CONFLICTS | frozenset(
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
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
# Called a client's error, and says nothing about what was done.
_TIMED_OUT = frozenset({"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"})
_REQUEST_TIMEOUT = 408  # which a proxy says, too
_CLOCK = frozenset({"InvalidSignatureException", "RequestInTheFuture", "RequestTimeTooSkewed"})
_UNKNOWN_KEYS = frozenset(
    {
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)
_MISSING = frozenset({"NoSuchBucket", "ResourceNotFoundException", "TableNotFoundException"})
# Of the SDK: the call was not made.
_NOT_MADE = frozenset(
    {
        "ConnectTimeoutError",
        "CredentialRetrievalError",
        "EndpointConnectionError",
        "NoCredentialsError",
        "ParamValidationError",
        "PartialCredentialsError",
        "SSOError",
        "TokenRetrievalError",
    }
)
_UNREACHABLE = frozenset({"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError"})
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError"})
_SSO = frozenset({"SSOError", "TokenRetrievalError"})

_DENIED = re.compile(
    r"(?:User: (?P<user>\S+) is )?not authorized to perform: (?P<action>[a-z0-9-]+:\w+)"
    r"(?:\s+on resource: (?P<resource>\S+))?"
    r"(?:.*?(?P<explicit>with an explicit deny)(?: in an? (?P<by>[\w -]+?(?:policy|boundary)))?)?"
    r"(?:.*?because no (?P<lacking>[\w -]+?) allows)?",
    re.DOTALL,
)
_STREAM = re.compile(r"kinesis://[^\s:?]+")
_REGION_OF = re.compile(r"//[\w-]+\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.amazonaws\.")
_TABLES = re.compile(r"dynamodb://[^\s:?]+")


class _Thing:
    """What a service's addresses name."""

    def __init__(self, noun: str, made_by: str, more: str) -> None:
        self.noun = noun
        self.made_by = made_by
        self.more = more


_THINGS = {
    "kinesis": _Thing("stream", "binlog init makes one", "add shards"),
    "dynamodb": _Thing(
        "table", "binlog rebuild LOG STORE makes it", "see the table's and the account's limits"
    ),
    "s3": _Thing("bucket", "make it", "spread them"),
}


def error_code(error: BaseException) -> str:
    """The service's code of an error; empty for one that is not the service's."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return ""
    return str(response.get("Error", {}).get("Code", ""))


def was_refused(error: BaseException) -> bool:
    """Whether a call that ended so has certainly done nothing.

    The service said no, or was never reached. A server's own failure, or a connection that broke
    after it was made, says nothing; nor does what the SDK calls a proxy's failure, which may be a
    connection through one that broke (urllib3 1.26).
    """
    if isinstance(error, BinlogError):
        return isinstance(error, RefusedError)
    if isinstance(getattr(error, "response", None), dict):
        status = _status(error)
        if error_code(error) in _TIMED_OUT or status == _REQUEST_TIMEOUT:
            return False
        return error_code(error) in THROTTLES | EXPIRED or 400 <= status < 500
    return bool(_NOT_MADE & _names(error))


def trouble(error: BaseException, where: str) -> BinlogError:
    """An error of a service or the SDK in our words, retriable or not.

    ``code`` of it is the service's, empty where there is none; what else its message names is an
    attribute, too: ``action`` and ``resource`` of a denial, ``grants`` where a policy of ours would
    do (see `advised`), ``region`` that was asked.
    """
    if isinstance(error, BinlogError):
        return error
    if "CredentialRetrievalError" in _names(error) and error.__cause__ is not None:
        return _of_role(error, where)
    if error_code(error):
        return _of_service(error, where)
    return _of_sdk(error, where)


# -- what a service said -------------------------------------------------------------------------


def _of_service(error: BaseException, where: str) -> BinlogError:
    code, said, region = error_code(error), _message(error), _region(error)
    thing = _THINGS.get(where.partition(":")[0], _Thing("resource", "", ""))
    known: dict[str, Any] = {"code": code, "region": region}
    asked = f" in {region}" if region else ""
    if code in _MISSING:
        do = f"is the region right? {thing.made_by}".rstrip()
        return RefusedError(f"no such {thing.noun}{asked} ({said})", where, do, **known)
    if code.startswith("AccessDenied") or code in {"KMSAccessDeniedException", "403"}:
        return _denied(error, where, known)
    if code in _UNKNOWN_KEYS:
        return RefusedError(
            f"not permitted: the credentials are not known{asked} ({said})",
            where,
            "are they whole, of this account's partition, and the region enabled for the account?",
            **known,
        )
    if code in _CONFLICTS:
        return StorageError(f"another request has it ({code}: {said})", where, "try again", **known)
    if code in THROTTLES:
        more = f", or {thing.more}" if thing.more else ""
        if code == "LimitExceededException":  # of calls a second, or of what an account may have
            more = ", or ask for a higher quota of the account"
        do = f"try again later{more}"
        return StorageError(f"throttled ({code}: {said})", where, do, **known)
    if code in EXPIRED:
        return StorageError(
            f"the credentials have expired ({said})",
            where,
            "renew them (in a file they are read again, in the environment they are not)",
            **known,
        )
    if code.startswith("KMS"):
        do = "enable the key, or ask who owns it; binlog doctor looks at it"
        return StorageError(f"the key cannot be used ({code}: {said})", where, do, **known)
    if "valid region" in said:
        return RefusedError(
            f"wrong region: the endpoint is not one of {region or 'that region'} ({said})",
            where,
            "set ?region= to the endpoint's own",
            **known,
        )
    if code in _CLOCK:
        return RefusedError(
            f"{code}: {said}",
            where,
            "are the credentials whole, and this machine's clock right? binlog doctor measures it",
            **known,
        )
    is_ours = 400 <= _status(error) < 500 and _status(error) != _REQUEST_TIMEOUT
    if is_ours and code not in _TIMED_OUT:
        return RefusedError(f"{code}: {said}", where, **known)
    return StorageError(f"{code}: {said}", where, "try again", **known)


def _denied(error: BaseException, where: str, known: dict[str, Any]) -> RefusedError:
    """Who was refused what, as IAM said, and what grants it."""
    said = _message(error)
    match = _DENIED.search(said)
    if match is None:
        return RefusedError(
            f"not permitted ({said})",
            where,
            _grant("", where),
            action=_operation(error),
            resource="",
            grants=True,
            **known,
        )
    action, resource = match["action"], (match["resource"] or "").strip("'\"")
    what = f"not permitted: {action}" + (f" on {resource}" if resource else "")
    what += f", for {match['user']}" if match["user"] else ""
    grants = False
    if match["explicit"]:
        what += ", by an explicit deny" + (f" in a {match['by']}" if match["by"] else "")
        do = "no grant helps against a deny: whoever wrote it has to lift it"
    elif action == "sts:AssumeRole":
        do = "the role's trust policy has to name these credentials, and the external id if it asks"
    elif match["lacking"] and "identity" not in match["lacking"]:
        what += f", since no {match['lacking']} allows it"
        do = f"the {match['lacking']} has to allow it, too"
    else:
        do, grants = _grant(action, where), True
    known |= {"action": action, "resource": resource, "grants": grants}
    return RefusedError(what, where, do, **known)


def advised(error: BinlogError, role: Role, *addresses: str) -> BinlogError:
    """The same denial, advising the policy of a role on addresses as somebody typed them.

    As it is, where it is no denial, no policy of ours would do, or the role has no such permission
    either: then the smallest that has it stays advised.
    """
    if not error.details.get("grants"):
        return error
    action = str(error.details.get("action", ""))
    has = {a for each in GRANTS[role] for a in each.actions + each.by_service}
    if ":" in action and action not in has:
        return error
    names = " ".join(shlex.quote(each) for each in addresses)
    do = f"binlog policy {role} {names} prints what grants it"
    return type(error)(error.what, error.where, do, **error.details)


def _grant(action: str, where: str) -> str:
    """The command that prints the policy in which the action is."""
    role = role_for(action) or "ROLE"
    found = _STREAM.search(where)
    log, store = found[0] if found else "LOG", _TABLES.search(where)
    names = f"{role} {log}" + (f" {store[0]}" if store else "")
    return f"binlog policy {names} prints what grants it"


def _of_role(error: BaseException, where: str) -> BinlogError:
    """Why the credentials of a role did not come."""
    cause = error.__cause__
    if cause is None:
        raise AssertionError("unreachable")
    found = trouble(cause, where)
    role = str(getattr(error, "kwargs", {}).get("provider", "the role"))
    return type(found)(f"{role}: {found.what}", where, found.do, **found.details)


# -- what the SDK said ---------------------------------------------------------------------------


def _of_sdk(error: BaseException, where: str) -> BinlogError:
    names, said = _names(error), _message(error)
    kind = type(error).__name__
    if "ProfileNotFound" in names:
        do = "name one that `aws configure list-profiles` shows, in ?profile= or AWS_PROFILE"
        return RefusedError(said, where, do)
    if names & _NO_CREDENTIALS:
        do = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its siblings"
        return RefusedError(f"no credentials ({said})", where, do)
    if names & _SSO:
        return StorageError(
            f"no session of AWS SSO ({said})", where, "aws sso login --profile NAME"
        )
    if "CredentialRetrievalError" in names:
        return StorageError(said, where, "try again, or mend what gives the credentials")
    if "ParamValidationError" in names:
        return RefusedError(said, where)
    if "NoRegionError" in names:
        return RefusedError("no region", where, "add ?region=NAME, or set AWS_REGION")
    if "InvalidRegionError" in names:
        return RefusedError(said, where, "set ?region= or AWS_REGION to a region's name")
    if names & {"EndpointProviderError", "UnknownEndpointError", "UnknownFIPSEndpointError"}:
        return RefusedError(said, where, "has the service this kind of endpoint in the region?")
    if names & _UNREACHABLE:
        do = "is the region or endpoint right, and a way there: network, proxy, VPC endpoint?"
        return StorageError(f"cannot be reached ({said})", where, _mistyped(said) or do)
    if "ReadTimeoutError" in names:
        return StorageError(f"no reply in time ({said})", where, "try again")
    if "SSLError" in names:
        return StorageError(
            f"no trust in its certificate ({said})", where, "set AWS_CA_BUNDLE, if it is your own"
        )
    return StorageError(f"{kind}: {said}", where, "try again")


def _mistyped(said: str) -> str:
    """What to do where an address names a region that the SDK has never heard of; else nothing.

    It stays an error that may pass: a region may be younger than the SDK.
    """
    found = _REGION_OF.search(said)
    if found is None:
        return ""
    known = _regions()
    if not known or found[1] in known:
        return ""
    near = difflib.get_close_matches(found[1], known, 1)
    meant = f"was {near[0]} meant?" if near else "see `aws account list-regions`"
    return f"no region {found[1]} is known to this botocore: {meant}"


@cache
def _regions() -> list[str]:
    """All that the SDK knows."""
    try:
        from botocore.session import Session

        core = Session()
        return [
            region
            for partition in core.get_available_partitions()
            for region in core.get_available_regions("dynamodb", partition)
        ]
    except Exception:  # noqa: BLE001 - it is for a hint only
        return []


# -- parts of an error ---------------------------------------------------------------------------


def _names(error: BaseException) -> frozenset[str]:
    return frozenset(kind.__name__ for kind in type(error).__mro__)


def _metadata(error: BaseException) -> Mapping[str, Any]:
    response = getattr(error, "response", None)
    found = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return found if isinstance(found, dict) else {}


def _status(error: BaseException) -> int:
    return int(_metadata(error).get("HTTPStatusCode", 0))


def _region(error: BaseException) -> str:
    return str(_metadata(error).get("Region", ""))


def _operation(error: BaseException) -> str:
    return str(getattr(error, "operation_name", ""))


def _message(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict) and (said := response.get("Error", {}).get("Message")):
        return " ".join(str(said).split()).rstrip(".")
    said = " ".join(str(error).split()).rstrip(".")
    # A sentence of the SDK's becomes a part of ours; what begins with a name stays.
    return said[:1].lower() + said[1:] if said[1:2].islower() else said
