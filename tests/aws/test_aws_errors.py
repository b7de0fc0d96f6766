"""What services and the SDK say, in one line that names the thing and the remedy."""

from __future__ import annotations

import pickle

import botocore.exceptions as sdk
import pytest

from binlog.aws.errors import THROTTLES, advised, error_code, trouble, was_refused
from binlog.errors import BinlogError, RefusedError, StorageError
from tests.aws.aws_double import USER

STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"


def said(
    code: str, message: str = "no", *, status: int = 400, region: str = "eu-west-1"
) -> sdk.ClientError:
    return sdk.ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "Region": region},
        },
        "PutRecords",
    )


def denied(action: str, rest: str = "", resource: str = STREAM) -> sdk.ClientError:
    on = f" on resource: {resource}" if resource else ""
    return said(
        "AccessDeniedException", f"User: {USER} is not authorized to perform: {action}{on}{rest}"
    )


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            said("ResourceNotFoundException", "Stream orders under account 1 not found."),
            RefusedError,
            ("no such stream in eu-west-1 (Stream orders", "is the region right? binlog init"),
        ),
        (
            said("UnrecognizedClientException", "The security token is invalid."),
            RefusedError,
            ("not permitted: the credentials are not known in eu-west-1", "region enabled"),
        ),
        (
            said("InvalidSignatureException", "Credential should be scoped to a valid region."),
            RefusedError,
            ("wrong region", "?region="),
        ),
        (
            said("InvalidSignatureException", "Signature expired: 1 is now earlier than 2"),
            RefusedError,
            ("Signature expired", "clock right? binlog doctor"),
        ),
        (said("RequestTimeTooSkewed"), RefusedError, ("clock right?",)),
        (
            said("ExpiredTokenException", "old"),
            StorageError,
            ("the credentials have expired (old)", "in a file they are read again"),
        ),
        (
            said("ProvisionedThroughputExceededException", "slow"),
            StorageError,
            ("throttled (ProvisionedThroughputExceededException: slow)", "or add shards"),
        ),
        (said("KMSThrottlingException"), StorageError, ("throttled",)),
        (said("LimitExceededException", "200 shards"), StorageError, ("200 shards", "quota")),
        (said("KMSDisabledException", "off"), StorageError, ("the key cannot be used", "enable")),
        (
            said("KMSAccessDeniedException", f"User: {USER} is not authorized to perform: kms:X"),
            RefusedError,
            ("not permitted: kms:X",),
        ),
        (said("ValidationException", "bad"), RefusedError, ("ValidationException: bad",)),
        (said("InternalFailure", "oops", status=500), StorageError, ("InternalFailure: oops",)),
        (said("RequestTimeout", "slow"), StorageError, ("RequestTimeout: slow", "try again")),
        (sdk.NoCredentialsError(), RefusedError, ("no credentials", "AWS_PROFILE")),
        (
            sdk.ProfileNotFound(profile="dev"),
            RefusedError,
            ("the config profile (dev)", "list-profiles", "AWS_PROFILE"),
        ),
        (sdk.NoRegionError(), RefusedError, ("no region: ", "?region=NAME, or set AWS_REGION")),
        (
            sdk.SSOTokenLoadError(profile_name="dev", error_msg="x"),
            StorageError,
            ("aws sso login",),
        ),
        (
            sdk.UnauthorizedSSOTokenError(),
            StorageError,
            ("no session of AWS SSO", "aws sso login"),
        ),
        (
            sdk.CredentialRetrievalError(provider="process", error_msg="broken"),
            StorageError,
            ("broken", "what gives the credentials"),
        ),
        (
            sdk.EndpointConnectionError(endpoint_url="https://kinesis.eu-wset-1.amazonaws.com"),
            StorageError,
            ("cannot be reached", "no region eu-wset-1 is known", "was eu-west-1 meant?"),
        ),
        (
            sdk.EndpointConnectionError(endpoint_url="https://kinesis.eu-west-1.amazonaws.com"),
            StorageError,
            ("cannot be reached", "is the region or endpoint right", "VPC endpoint"),
        ),
        (
            sdk.ConnectTimeoutError(endpoint_url="https://host"),
            StorageError,
            ("cannot be reached", "https://host"),
        ),
        (
            sdk.ReadTimeoutError(endpoint_url="https://host"),
            StorageError,
            ("no reply in time", "try again"),
        ),
        (
            sdk.SSLError(endpoint_url="https://host", error="self-signed"),
            StorageError,
            ("self-signed", "AWS_CA_BUNDLE"),
        ),
        (
            sdk.ParamValidationError(report="odd"),
            RefusedError,
            ("odd",),
        ),
        (OSError("connection reset"), StorageError, ("OSError: connection reset", "try again")),
    ],
)
def test_each_error_has_its_remedy(
    error: Exception, kind: type[BinlogError], says: tuple[str, ...]
) -> None:
    """One line, whose reader knows what to do; retriable where waiting may mend it."""
    found = trouble(error, "kinesis://orders")
    assert type(found) is kind, found
    for part in says:
        assert part in str(found)
    assert "\n" not in str(found)
    assert found.where == "kinesis://orders"


@pytest.mark.parametrize(
    ("rest", "what", "do"),
    [
        (
            " because no identity-based policy allows the kinesis:PutRecords action",
            f"not permitted: kinesis:PutRecords on {STREAM}, for {USER}",
            "binlog policy producer kinesis://orders prints what grants it",
        ),
        ("", f"not permitted: kinesis:PutRecords on {STREAM}, for {USER}", "binlog policy"),
        (
            " because no VPC endpoint policy allows the kinesis:PutRecords action",
            "since no VPC endpoint policy allows it",
            "the VPC endpoint policy has to allow it",
        ),
        (
            " because no permissions boundary allows the kinesis:PutRecords action",
            "since no permissions boundary allows it",
            "the permissions boundary has to",
        ),
        (
            " with an explicit deny in a service control policy",
            "by an explicit deny in a service control policy",
            "no grant helps",
        ),
        (" with an explicit deny", "by an explicit deny", "no grant helps"),
    ],
)
def test_a_denial_names_action_resource_and_what_would_grant_it(
    rest: str, what: str, do: str
) -> None:
    """IAM says all of it in a sentence that nobody reads to its end."""
    found = trouble(denied("kinesis:PutRecords", rest), "kinesis://orders")
    assert what in found.what
    assert do in found.do
    assert found.action == "kinesis:PutRecords"
    assert found.resource == STREAM
    assert found.region == "eu-west-1"


def test_a_denial_in_other_words_names_the_operation_that_was_called() -> None:
    found = trouble(said("AccessDenied", "Access Denied", status=403), "s3://b")
    assert (found.what, found.action) == ("not permitted (Access Denied)", "PutRecords")


def test_the_grant_is_of_the_role_that_has_the_action_and_of_what_was_asked() -> None:
    for where, do in (
        ("shard s-1 of kinesis://orders", "binlog policy reader kinesis://orders prints"),
        ("dynamodb://live: table live.users", "binlog policy reader LOG dynamodb://live prints"),
        ("", "binlog policy reader LOG prints"),
    ):
        assert trouble(denied("kinesis:GetRecords"), where).do.startswith(do)
    odd = trouble(denied("ec2:Run"), "kinesis://orders")
    assert odd.do.startswith("binlog policy ROLE kinesis://orders")


def test_the_advice_is_of_the_role_that_was_at_work_if_it_has_the_action() -> None:
    """A producer that may not look for its log is no reader, and whoever made it no producer."""
    denial = trouble(denied("kinesis:DescribeStreamSummary"), "kinesis://orders")
    assert denial.do.startswith("binlog policy reader ")
    better = advised(denial, "producer", "kinesis://orders?region=eu-west-1&reads=1")
    assert type(better) is RefusedError
    assert better.do == (
        "binlog policy producer 'kinesis://orders?region=eu-west-1&reads=1' prints what grants it"
    )
    assert (better.what, better.details) == (denial.what, denial.details)
    other = trouble(denied("kinesis:PutRecords"), "kinesis://orders")
    assert advised(other, "reader", "kinesis://orders") is other  # it would not grant that
    unnamed = trouble(said("AccessDenied", "Access Denied", status=403), "kinesis://s")
    assert advised(unnamed, "relay", "kinesis://i", "kinesis://s").do.startswith(
        "binlog policy relay kinesis://i kinesis://s "
    )
    for hopeless in (
        trouble(denied("kinesis:PutRecords", " with an explicit deny"), "kinesis://orders"),
        trouble(denied("kinesis:PutRecords", " because no VPC endpoint policy allows it"), ""),
        trouble(said("ResourceNotFoundException"), "kinesis://orders"),
    ):
        assert advised(hopeless, "producer", "kinesis://orders") is hopeless


def test_what_is_missing_is_what_the_address_names() -> None:
    for where, noun in (("dynamodb://p", "table"), ("kinesis://s", "stream"), ("", "resource")):
        found = trouble(said("ResourceNotFoundException"), where)
        assert found.what.startswith(f"no such {noun} in eu-west-1")


def test_an_error_keeps_its_parts_through_a_pool() -> None:
    """Workers of a rebuild raise through pickles."""
    found = trouble(denied("kinesis:GetRecords"), "kinesis://orders")
    again = pickle.loads(pickle.dumps(found))
    assert (str(again), again.action, again.code) == (str(found), found.action, found.code)


def test_an_error_of_ours_stays_what_it_is() -> None:
    mine = RefusedError("no", "there")
    assert trouble(mine, "elsewhere") is mine


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (said("AccessDeniedException"), True),
        (said("ExpiredTokenException"), True),
        (said("InternalFailure", status=500), False),
        (said("RequestTimeout"), False),
        (said("PriorRequestNotComplete"), False),
        (said("", status=408), False),
        (sdk.NoCredentialsError(), True),
        (sdk.CredentialRetrievalError(provider="p", error_msg="e"), True),
        (sdk.UnauthorizedSSOTokenError(), True),
        (sdk.EndpointConnectionError(endpoint_url="u"), True),
        (sdk.ConnectTimeoutError(endpoint_url="u"), True),
        (sdk.ReadTimeoutError(endpoint_url="u"), False),
        (sdk.ConnectionClosedError(endpoint_url="u"), False),
        (sdk.ProxyConnectionError(proxy_url="u"), False),
        (sdk.SSLError(endpoint_url="u", error="e"), False),
        (OSError("reset"), False),
    ],
)
def test_only_what_was_certainly_not_done_counts_as_refused(
    error: Exception, refused: bool
) -> None:
    """Taken for refused, a frame that landed would be published again."""
    assert was_refused(error) is refused


@pytest.mark.parametrize("code", sorted(THROTTLES))
def test_a_throttle_was_refused_and_may_pass(code: str) -> None:
    for status in (400, 503):
        error = said(code, status=status)
        assert error_code(error) == code
        assert was_refused(error)
        assert trouble(error, "dynamodb://p").retriable
