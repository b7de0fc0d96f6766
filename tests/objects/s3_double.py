"""S3 as AWS documents it, in memory, behind the calls of boto3's client that we make.

`Bucket` is the service, `Client` one client of it; several share a bucket. A plan says what goes
wrong with which call, by its number among the puts (or gets) of that client:

========  =====================================================================================
lost      the put landed and its reply did not come (`ConnectionClosedError`)
never     no reply, and it did not land
late      no reply, and it lands right before the client's next call
409       ConditionalRequestConflict; nothing was written
503       SlowDown; nothing was written (so of BadDigest and OperationAborted, by their names)
500       InternalError; it was written (the service says nothing of that)
denied    AccessDenied, with IAM's own words
cut       of a get: the body ends early; of a put: it never came whole, so nothing was written
flip      of a get: a bit of the body is turned
========  =====================================================================================
"""

from __future__ import annotations

import base64
import io
import struct
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import google_crc32c
from botocore.exceptions import ClientError, ConnectionClosedError, IncompleteReadError

AWS = "https://s3.eu-west-1.amazonaws.com"
STAND_IN = "http://127.0.0.1:9000"
PAGE = 1_000


def refusal(code: str, status: int, operation: str, message: str = "") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message or code},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        operation,
    )


class Bucket:
    """The objects, and whether the service keeps to ``If-None-Match``."""

    def __init__(self, *, conditional: bool = True) -> None:
        self.held: dict[str, tuple[bytes, str | None]] = {}
        self.conditional = conditional
        self.lock = threading.Lock()


class Body(io.BytesIO):
    """Of a reply; one that ends early says so when it is read, as botocore's does."""

    def __init__(self, data: bytes, *, cut: bool = False) -> None:
        super().__init__(data[: len(data) // 2] if cut else data)
        self._cut = (len(data) // 2, len(data)) if cut else None

    def read(self, size: int | None = -1, /) -> bytes:
        if self._cut is not None:
            raise IncompleteReadError(actual_bytes=self._cut[0], expected_bytes=self._cut[1])
        return super().read(size)


class Client:
    """One client; ``puts`` and ``gets`` are its plans."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        puts: Mapping[int, str] | None = None,
        gets: Mapping[int, str] | None = None,
        endpoint_url: str = AWS,
    ) -> None:
        self.bucket = bucket
        self.plans = {"put": dict(puts or {}), "get": dict(gets or {})}
        self.made: list[str] = []  # the calls, by name
        self.asked: list[dict[str, Any]] = []
        self.meta = SimpleNamespace(endpoint_url=endpoint_url, region_name="eu-west-1")
        self.late: list[dict[str, Any]] = []
        self.lists_by_prefix_only = False  # what is not there is then denied
        self.holds_late = False  # then what is late lands when the test says so
        self.closed = 0

    def _fate(self, verb: str, asked: dict[str, Any]) -> str | None:
        while self.late and not self.holds_late:
            self.land(self.late.pop())
        self.made.append(verb)
        self.asked.append(asked)
        assert asked["Bucket"] == "bucket"
        return self.plans[verb].get(self.made.count(verb)) if verb in self.plans else None

    def land(self, asked: dict[str, Any]) -> bool:
        """Write it, unless the condition fails."""
        with self.bucket.lock:
            condition = asked.get("IfNoneMatch")
            assert condition in {None, "*"}
            if condition and self.bucket.conditional and asked["Key"] in self.bucket.held:
                return False
            self.bucket.held[asked["Key"]] = bytes(asked["Body"]), asked.get("ChecksumCRC32C")
            return True

    def put_object(self, **asked: Any) -> dict[str, Any]:
        fate = self._fate("put", asked)
        lost = ConnectionClosedError(endpoint_url=self.meta.endpoint_url)
        if fate == "denied":
            said = "User: arn:aws:iam::1:user/me is not authorized to perform: s3:PutObject"
            said += ' on resource: "arn:aws:s3:::bucket/a" because no identity-based policy allows'
            raise refusal("AccessDenied", 403, "PutObject", said + " the s3:PutObject action")
        value = struct.pack(">I", google_crc32c.value(bytes(asked["Body"])))
        if asked.get("ChecksumCRC32C", base64.b64encode(value).decode()) != (
            base64.b64encode(value).decode()
        ):
            raise refusal("BadDigest", 400, "PutObject")
        if fate in {"BadDigest", "OperationAborted"}:
            raise refusal(fate, 400 if fate == "BadDigest" else 409, "PutObject")
        if fate == "409":
            raise refusal("ConditionalRequestConflict", 409, "PutObject")
        if fate == "503":
            raise refusal("SlowDown", 503, "PutObject")
        if fate in {"never", "cut"}:
            raise lost
        if fate == "late":
            self.late.append(asked)
            raise lost
        if not self.land(asked):
            raise refusal("PreconditionFailed", 412, "PutObject")
        if fate == "lost":
            raise lost
        if fate == "500":
            raise refusal("InternalError", 500, "PutObject")
        return {}

    def get_object(self, **asked: Any) -> dict[str, Any]:
        fate = self._fate("get", asked)
        if fate == "gone":
            self.bucket.held.pop(asked["Key"], None)
        found = self.bucket.held.get(asked["Key"])
        if fate == "denied" or (found is None and self.lists_by_prefix_only):
            said = "User: arn:aws:iam::1:user/me is not authorized to perform: "
            said += "s3:GetObject" if found is not None else "s3:ListBucket"
            raise refusal("AccessDenied", 403, "GetObject", said)
        if found is None:
            raise refusal("NoSuchKey", 404, "GetObject")
        if fate in {"InvalidObjectState", "NoSuchBucket", "PermanentRedirect"}:
            status = {"InvalidObjectState": 403, "NoSuchBucket": 404}.get(fate, 301)
            raise refusal(fate, status, "GetObject")
        data, checksum = found
        reply: dict[str, Any] = {}
        if (wanted := asked.get("Range")) is not None:
            begin, end = self._range(wanted, len(data))
            reply["ContentRange"] = f"bytes {begin}-{end - 1}/{len(data)}"
            data = data[begin:end]
        elif checksum and asked.get("ChecksumMode") == "ENABLED":
            reply["ChecksumCRC32C"] = checksum
        if fate == "flip":
            data = bytes([data[0] ^ 1]) + data[1:]
        return reply | {"Body": Body(data, cut=fate == "cut"), "ContentLength": len(data)}

    @staticmethod
    def _range(wanted: str, size: int) -> tuple[int, int]:
        """RFC 9110, 14.1.2; S3 answers 416 to what lies beyond the end, and of an empty object."""
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        begin = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if begin >= size or (not first and int(last) == 0):
            raise refusal("InvalidRange", 416, "GetObject")
        assert begin < end, f"{wanted} is no range"
        return begin, end

    def list_objects_v2(self, **asked: Any) -> dict[str, Any]:
        self._fate("list", asked)
        after = asked.get("ContinuationToken") or asked.get("StartAfter", "")
        with self.bucket.lock:
            keys = sorted(
                key
                for key in self.bucket.held
                if key.startswith(asked.get("Prefix", "")) and key > after
            )
        now = datetime.now(UTC)
        reply: dict[str, Any] = {"IsTruncated": len(keys) > PAGE}
        if keys:
            held = self.bucket.held
            reply["Contents"] = [
                {"Key": key, "Size": len(held[key][0]), "LastModified": now} for key in keys[:PAGE]
            ]
        if reply["IsTruncated"]:
            reply["NextContinuationToken"] = keys[PAGE - 1]
        return reply

    def delete_objects(self, **asked: Any) -> dict[str, Any]:
        self._fate("delete", asked)
        keys = [each["Key"] for each in asked["Delete"]["Objects"]]
        assert 0 < len(keys) <= 1_000
        assert asked["Delete"]["Quiet"] is True
        errors = []
        for key in keys:
            if key.endswith("locked"):
                errors.append({"Key": key, "Code": "AccessDenied", "Message": "Access Denied"})
            else:
                self.bucket.held.pop(key, None)
        return {"Errors": errors} if errors else {}

    def close(self) -> None:
        self.closed += 1
