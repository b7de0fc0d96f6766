"""Faults on the Kinesis double: what boto3's client makes of them, without a network.

The SDK's own retries are here, too: six attempts for calls that may be repeated, one for puts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    IncompleteReadError,
    ReadTimeoutError,
)

from binlog.clock import ManualClock
from scripts.standins.proxy_faults import Broken, How, Reply, Request
from scripts.standins.proxy_intruder import Intruder
from tests.log.kinesis_double import KinesisDouble

ATTEMPTS = 6
PUT_TIMEOUT_MS, READ_TIMEOUT_MS = 5_000, 20_000
_URL = "http://localhost"
_RETRIED = {"ProvisionedThroughputExceededException", "LimitExceededException"}


class FaultyKinesis:
    """One client of the double. ``puts``: the one that makes one attempt a call."""

    def __init__(
        self, double: KinesisDouble, intruder: Intruder, clock: ManualClock, *, puts: bool
    ) -> None:
        self._double = double
        self._intruder = intruder
        self._clock = clock
        self._puts = puts

    def close(self) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not hasattr(self._double, name):
            raise AttributeError(name)
        operation = "".join(part.capitalize() for part in name.split("_"))

        def call(**request: Any) -> Any:
            attempts = 1 if self._puts else ATTEMPTS
            for left in reversed(range(attempts)):
                try:
                    return self._once(name, operation, request)
                except ClientError as error:
                    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    code = error.response["Error"]["Code"]
                    if not left or (status < 500 and code not in _RETRIED):
                        raise
                except (
                    ConnectionClosedError,
                    EndpointConnectionError,
                    IncompleteReadError,
                    ReadTimeoutError,
                ):
                    if not left:
                        raise
                self._clock.advance(500)
            raise AssertionError("unreachable")

        return call

    def _once(self, name: str, operation: str, request: Request) -> Any:
        def forward(changed: Request) -> Reply:
            try:
                answer = getattr(self._double, name)(**changed)
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                return Reply(status, {}, {"error": error})
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            body = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
            return Reply(200, headers, body)

        try:
            reply = self._intruder.handle(operation, request, forward)
        except Broken as broken:
            raise self._broken(broken) from broken
        if reply.status != 200:
            raise reply.body.get("error") or ClientError(
                {
                    "Error": {"Code": reply.body["__type"], "Message": reply.body["message"]},
                    "ResponseMetadata": {
                        "HTTPStatusCode": reply.status,
                        "HTTPHeaders": dict(reply.headers),
                    },
                },
                operation,
            )
        return {**reply.body, "ResponseMetadata": {"HTTPHeaders": dict(reply.headers)}}

    def _broken(self, broken: Broken) -> Exception:
        if broken.how == "silence":
            self._clock.advance(PUT_TIMEOUT_MS if self._puts else READ_TIMEOUT_MS)
        return sdk_error(broken.how, _URL)


def sdk_error(how: How, url: str) -> Exception:
    """What the SDK raises for it."""
    made: Exception
    if how == "silence":
        made = ReadTimeoutError(endpoint_url=url)
    elif how == "unreached":
        made = EndpointConnectionError(endpoint_url=url)
    elif how == "cut":
        made = IncompleteReadError(actual_bytes=1, expected_bytes=2)
    else:
        made = ConnectionClosedError(endpoint_url=url)
    return made
