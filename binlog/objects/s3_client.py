"""S3 as a service that is called: its clients, and what its replies and errors say of objects.

Two clients. The one that puts makes one attempt a call, and we repeat: a put whose reply was lost,
repeated behind our back, answers "exists" about our own object. The other repeats by itself.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

import google_crc32c

from binlog.aws.account import ATTEMPTS, Account
from binlog.aws.account import connector as aws_connector
from binlog.aws.clients import Connect
from binlog.aws.errors import error_code, trouble
from binlog.errors import BinlogError, DamageError, RefusedError, StorageError

READ_TIMEOUT_S = 60.0  # a segment of many megabytes is answered when the service has all of it
CONNECTIONS = 16
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_MOVED = frozenset({"301", "307", "AuthorizationHeaderMalformed", "PermanentRedirect"})
_ARCHIVED = "InvalidObjectState"


def connector(account: Account, where: str) -> Connect:
    """What makes the clients of an account; errors name ``where``."""

    def connect(is_for_puts: bool) -> Any:  # noqa: FBT001  the type says it
        return aws_connector(
            account,
            "s3",
            where,
            total_max_attempts=1 if is_for_puts else ATTEMPTS,
            read_timeout_s=READ_TIMEOUT_S,
            connections=CONNECTIONS,
        )()

    return connect


def checksum(data: bytes) -> str:
    """CRC-32C as S3's header has it; the service refuses a body that differs."""
    return base64.b64encode(struct.pack(">I", google_crc32c.value(data))).decode()


def is_absent(error: BaseException) -> bool:
    """Whether the service said that there is no such object (in a bucket that there is)."""
    return error_code(error) in _ABSENT


def body_of(reply: Mapping[str, Any], where: str) -> bytes:
    """The whole body of a GetObject, held against what its headers say.

    A checksum comes with whole objects that were written with one; ranges are checked by whoever
    knows what is in them.

    Raises:
        StorageError: it was cut, or damaged on its way.
    """
    with reply["Body"] as body:
        data = bytes(body.read())
    length = reply.get("ContentLength", len(data))
    if len(data) != length:
        raise StorageError(f"{len(data)} bytes of {length} came", where, "try again")
    wanted = reply.get("ChecksumCRC32C")
    if wanted and "ContentRange" not in reply and "-" not in wanted and wanted != checksum(data):
        raise DamageError(
            "the bytes are not those of the checksum that S3 holds", where, "read it again"
        )
    return data


def translated(error: BaseException, where: str) -> BinlogError:
    """An error of S3 or the SDK in our words."""
    code = error_code(error)
    if code in _MOVED:
        return RefusedError(
            f"the bucket is in another region ({code})",
            where,
            "set ?region= to the bucket's own: aws s3api get-bucket-location",
            code=code,
        )
    if code == _ARCHIVED:
        return RefusedError(
            "the object is in an archive class of S3 (Glacier), where it cannot be read",
            where,
            "restore it (aws s3api restore-object), and take the prefix out of the lifecycle rule",
            code=code,
        )
    found = trouble(error, where)
    if found.details.get("code") == "NoSuchBucket":
        return RefusedError("no such bucket", where, "make it, or name another", code=code)
    return found
