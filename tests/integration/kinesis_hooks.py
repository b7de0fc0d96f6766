"""Faults between us and a running Kinesis, by botocore's own events; bounded and seeded."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from binlog.aws.account import Account
from binlog.aws.clients import Connect
from binlog.logs.kinesis_client import connector

PUT = "kinesis.PutRecords"


class Faults:
    """What some of a client's PutRecords meet. ``met`` counts them."""

    def __init__(self, seed: int, *, share: float = 0.3) -> None:
        self.share = share
        self.met: Counter[str] = Counter()
        self._random = Random(seed)
        self._held_back: dict[int, dict[str, Any]] = {}

    def connect(self, url: str) -> Connect:
        """Clients of a server, the one that puts with the faults."""
        make = connector(Account(endpoint=url))

        def connect(puts: bool) -> Any:
            client = make(puts)
            if puts:
                client.meta.events.register(f"before-parameter-build.{PUT}", self._throttle)
                client.meta.events.register(f"before-send.{PUT}", self._lose_request)
                client.meta.events.register(f"after-call.{PUT}", self._answer)
            return client

        return connect

    def _drawn(self, what: str) -> bool:
        if self._random.random() < self.share / 3:
            self.met[what] += 1
            return True
        return False

    def _throttle(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        """Keep a record of several back, and say later that it was throttled."""
        records = params["Records"]
        if len(records) > 1 and self._drawn("throttled"):
            index = self._random.randrange(len(records))
            context["binlog.throttled"] = index
            params["Records"] = records[:index] + records[index + 1 :]

    def _lose_request(self, request: Any, **_: Any) -> None:
        if self._drawn("lost request"):
            raise ConnectionClosedError(endpoint_url=request.url)

    def _answer(self, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        """The reply as it comes back; or not."""
        if self._drawn("lost reply"):
            raise ReadTimeoutError(endpoint_url="lost")
        index = context.get("binlog.throttled")
        if index is not None and "Records" in parsed:
            entry = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "hook"}
            parsed["Records"].insert(index, entry)
