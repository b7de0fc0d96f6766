"""Objects in a bucket of S3, below a prefix.

`put_new` is PutObject with ``If-None-Match: *`` (Amazon S3 User Guide, "Add preconditions to S3
operations with conditional requests"). What its answers mean:

=====================  ====================================================================
200                    written
412                    something stands there: read whether it is ours (a repeated put is told
                       this about its own first attempt)
409                    another write or a delete of the key was going on: put again
lost, 5xx, throttled   unknown: put the same bytes again, and be told by 412 what stands
=====================  ====================================================================

A put that lands late can only land where nothing stands, or be the same bytes, so repeating it is
safe. How the bucket encrypts (SSE-S3, SSE-KMS) is the bucket's own setting: no call says it.

Others speak this API, too, and some ignore the condition, which would replace a segment without a
word. So of an endpoint that is not AWS's the first object that we write is put once more under the
same condition: who does not answer 412 then is not written to any more.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import count
from random import Random
from typing import Any

from binlog.aws.account import Account, is_aws
from binlog.aws.clients import Clients, Connect
from binlog.aws.errors import THROTTLES, error_code, was_refused
from binlog.errors import BinlogError, RefusedError, StorageError, TooLargeError
from binlog.objects.objects import Entry, check_key, clamp
from binlog.objects.s3_client import body_of, checksum, connector, is_absent, translated

OBJECT_BYTES_MAX = 5 * 1024**3  # of one PutObject ("Amazon S3 multipart upload limits")
DELETE_KEYS_MAX = 1_000  # of one DeleteObjects (API reference)
WRITE_ATTEMPTS = 8
READ_ATTEMPTS = 4  # of the body; the SDK repeats what fails before it
_PAUSE_FIRST_S, _PAUSE_MOST_S = 0.1, 5.0
# API reference, "Bucket naming rules"; the alias of an access point is one, too.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_EXPRESS = ("--x-s3", "--xa-s3")  # directory buckets list in no order
_PREFIX = re.compile(r"[A-Za-z0-9_.=!*'()@:$,&;+-]+(?:/[A-Za-z0-9_.=!*'()@:$,&;+-]+)*")
_PREFIX_BYTES_MAX = 400
_STANDS = frozenset({"412", "PreconditionFailed"})
_CONFLICT = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})
# The body was not what it was when it was sent (Amazon S3 API reference, "Error responses").
_DAMAGED = frozenset({"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch"})
_NO_RANGE = "InvalidRange"
_DENIED = frozenset({"403", "AccessDenied"})

Pause = Callable[[float], None]


class S3Objects:
    """Below ``s3://BUCKET/PREFIX``; without a prefix the whole bucket."""

    def __init__(
        self,
        path: str,
        *,
        account: Account | None = None,
        connect: Connect | None = None,
        pause: Pause = time.sleep,
        random: Random | None = None,
    ) -> None:
        self.name = f"s3://{path}"
        self.bucket, _, prefix = path.partition("/")
        _check(self.bucket, prefix, self.name)
        self.prefix = f"{prefix}/" if prefix else ""
        self.account = account or Account()
        self.clients = Clients(connect or connector(self.account, self.name))
        self._pause = pause
        self._random = random or Random()
        self._is_proven: bool | None = None  # that the endpoint keeps to If-None-Match

    # -- writing -----------------------------------------------------------------------------------

    def put_new(self, key: str, data: bytes) -> bool:
        where = self._where(key, data)
        for attempt in count(1):
            error = self._put(key, data, IfNoneMatch="*")
            if error is None:
                self._prove(key, data)
                return True
            code = error_code(error)
            if code in _STANDS:
                found = self.get(key)
                if found is not None:
                    self._is_proven = True
                    return found == data
                # It was deleted in between, or hides behind a delete marker: put again.
            elif code not in _CONFLICT and not _may_pass(error):
                raise _upgrade(error, where) from error
            if attempt == WRITE_ATTEMPTS:
                raise _given_up(error, where) from error
            self._rest(attempt)
        raise AssertionError("unreachable")

    def put(self, key: str, data: bytes) -> None:
        where = self._where(key, data)
        for attempt in count(1):
            error = self._put(key, data)
            if error is None:
                return
            if not _may_pass(error):
                raise translated(error, where) from error
            if attempt == WRITE_ATTEMPTS:
                raise _given_up(error, where) from error
            self._rest(attempt)

    def _put(self, key: str, data: bytes, **condition: str) -> Exception | None:
        """One attempt; what it failed with."""
        client = self.clients.puts
        try:
            client.put_object(
                Bucket=self.bucket,
                Key=self.prefix + key,
                Body=data,
                ChecksumCRC32C=checksum(data),
                **condition,
            )
        except Exception as error:  # noqa: BLE001 - the caller judges it
            return error
        return None

    def _prove(self, key: str, data: bytes) -> None:
        """That the endpoint refuses to write where something stands; AWS's does.

        Raises:
            RefusedError: it does not; the same bytes were put in their own place.
        """
        if self._is_proven is None:
            self._is_proven = is_aws(str(self.clients.puts.meta.endpoint_url))
        if self._is_proven:
            return
        error = self._put(key, data, IfNoneMatch="*")
        if error is None:
            raise RefusedError(
                "the endpoint writes over what stands there (it ignores If-None-Match)",
                self.name,
                "take a service that has conditional writes; what it was told to keep it may lose",
            )
        self._is_proven = error_code(error) in _STANDS  # else it is asked another time

    def _rest(self, attempt: int) -> None:
        most = min(_PAUSE_MOST_S, _PAUSE_FIRST_S * 2 ** (attempt - 1))
        self._pause(most * (0.5 + self._random.random() / 2))

    # -- reading -----------------------------------------------------------------------------------

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        clamp(0, start, length)
        where = self._where(key)
        if start < 0 and length is not None:  # no Range says that; -N is the last N bytes
            tail = self._read(key, {"Range": f"bytes={start}"}, where)
            if tail is None:
                return None
            return tail[:length]
        options = {"Range": _range(start, length)} if start or length is not None else {}
        found = self._read(key, options, where)
        return found[:length] if found is not None else None

    def _read(self, key: str, options: dict[str, str], where: str) -> bytes | None:
        whole = {"ChecksumMode": "ENABLED"} if not options else {}
        for attempt in count(1):
            try:
                reply = self.clients.calls.get_object(
                    Bucket=self.bucket, Key=self.prefix + key, **options, **whole
                )
                return body_of(reply, where)
            except BinlogError as error:
                if attempt == READ_ATTEMPTS:
                    raise
                cause: BinlogError = error
            except Exception as error:
                if is_absent(error):
                    return None
                if error_code(error) in {_NO_RANGE, "416"}:
                    return b""
                if error_code(error) in _DENIED and self._is_missing(key):
                    return None
                cause = translated(error, where)
                if not cause.retriable or error_code(error) or attempt == READ_ATTEMPTS:
                    raise cause from error
            self._rest(attempt)
        raise AssertionError("unreachable")

    def _is_missing(self, key: str) -> bool:
        """Whether there is no such object, by a listing.

        Who may list below a prefix only is told of what is not there that it is denied: the question
        whether it may list the bucket is asked without a prefix then.
        """
        try:
            reply = self.clients.calls.list_objects_v2(
                Bucket=self.bucket, Prefix=self.prefix + key, MaxKeys=1
            )
        except Exception:  # noqa: BLE001 - the denial itself is told
            return False
        return all(each["Key"] != self.prefix + key for each in reply.get("Contents", ()))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        # A start before the prefix is none: the service takes the later of the two.
        options = {"StartAfter": self.prefix + after} if after else {}
        while True:
            try:
                reply = self.clients.calls.list_objects_v2(
                    Bucket=self.bucket, Prefix=self.prefix + prefix, **options
                )
            except Exception as error:
                raise translated(error, self.name) from error
            for found in reply.get("Contents", ()):
                key = found["Key"][len(self.prefix) :]
                if key and not key.endswith("/"):  # what consoles make for folders
                    yield Entry(key, int(found["Size"]), _ms(found["LastModified"]))
            if not reply.get("IsTruncated"):
                return
            options = {"ContinuationToken": reply["NextContinuationToken"]}

    # -- the rest ----------------------------------------------------------------------------------

    def delete(self, keys: Iterable[str]) -> None:
        for some in _batches(map(check_key, keys)):
            try:
                reply = self.clients.calls.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": self.prefix + key} for key in some], "Quiet": True},
                )
            except Exception as error:
                raise translated(error, self.name) from error
            for failed in reply.get("Errors", ()):
                self._raise(failed)

    def _raise(self, failed: dict[str, Any]) -> None:
        code, key = failed.get("Code", ""), failed.get("Key", "")
        if code in {"NoSuchKey", "NotFound"}:
            return
        what = f"not deleted: {failed.get('Message', code)} ({code})"
        where = f"s3://{self.bucket}/{key}"
        if code.startswith("AccessDenied"):
            do = "grant s3:DeleteObject, or lift the lock of the object"
            raise RefusedError(what, where, do, code=code)
        raise StorageError(what, where, "try again", code=code)

    def close(self) -> None:
        self.clients.close()

    def _where(self, key: str, data: bytes = b"") -> str:
        check_key(key)
        where = f"s3://{self.bucket}/{self.prefix}{key}"
        if len(data) > OBJECT_BYTES_MAX:
            raise TooLargeError(
                f"{len(data)} bytes, above the {OBJECT_BYTES_MAX} of one object", where
            )
        return where


def _check(bucket: str, prefix: str, name: str) -> None:
    if not _BUCKET.fullmatch(bucket):
        raise RefusedError(f"{bucket!r} is no bucket's name", name, "write s3://BUCKET/PREFIX")
    if bucket.endswith(_EXPRESS):
        raise RefusedError(
            "a directory bucket lists in no order", name, "name a general purpose bucket"
        )
    if prefix and (not _PREFIX.fullmatch(prefix) or len(prefix) > _PREFIX_BYTES_MAX):
        raise RefusedError(
            f"{prefix!r} is no prefix",
            name,
            f"names with single / between them, at most {_PREFIX_BYTES_MAX} characters",
        )


def _range(start: int, length: int | None) -> str:
    if start < 0:
        return f"bytes={start}"
    if length is None:
        return f"bytes={start}-"
    return f"bytes={start}-{start + max(length, 1) - 1}"  # none at all cannot be said


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for key in keys:
        batch.append(key)
        if len(batch) == DELETE_KEYS_MAX:
            yield batch
            batch = []
    if batch:
        yield batch


def _may_pass(error: Exception) -> bool:
    """Whether the same put may be made again: it may have been done, or may be done later."""
    if error_code(error) in THROTTLES | _DAMAGED | _CONFLICT:
        return True
    return not was_refused(error) or (not error_code(error) and translated(error, "").retriable)


def _given_up(error: Exception, where: str) -> BinlogError:
    found = translated(error, where)
    if error_code(error) in _DAMAGED:
        what = f"the bytes were damaged on their way, again and again ({error_code(error)})"
        return StorageError(what, where, "look at this machine's memory and network")
    if error_code(error) in _STANDS | _CONFLICT:
        return StorageError(
            "others write and delete this object all the time", where, "find out who, and stop them"
        )
    return found


def _upgrade(error: Exception, where: str) -> BinlogError:
    found = translated(error, where)
    if "IfNoneMatch" in found.what:
        return RefusedError(
            "this boto3 knows no conditional writes", where, 'pip install -U "boto3>=1.35.2"'
        )
    if error_code(error) in {"NotImplemented", "501"}:
        do = "take a service that has them (If-None-Match)"
        return RefusedError("the endpoint has no conditional writes", where, do)
    return found


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
