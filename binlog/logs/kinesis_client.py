"""Kinesis as a service that is called: its clients, and the service's own time.

Two clients. The one that puts makes one attempt a call: the SDK's own retry of a put whose reply
was lost puts it twice, and says that it succeeded. The one for everything else retries by itself.
Both are made where they are first used, and anew in a forked child: connections are not shared.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from binlog.aws.account import CONNECT_TIMEOUT_S, Account
from binlog.aws.account import connector as aws_connector
from binlog.aws.clients import Connect
from binlog.clock import Clock

PUT_TIMEOUT_S = 5.0
PUT_TIMEOUT_LAMBDA_S, PUT_CONNECT_LAMBDA_S = 2.0, 1.0  # an attempt has to end in the invocation
AGREED = 2  # replies by whose Dates what cannot be taken back is timed
AWAKE_MS = 2_000  # by which our two clocks may differ
DATE_MS = 1_000  # how exact a reply's Date is: it says the second, cut off


def is_in_lambda() -> bool:
    """Whether this process is a Lambda function's, and may be frozen whenever a handler returns."""
    return bool(os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))


def connector(account: Account, where: str = "kinesis://") -> Connect:
    """What makes the clients of an account; errors name ``where``."""
    in_lambda = is_in_lambda()
    puts = aws_connector(
        account,
        "kinesis",
        where,
        total_max_attempts=1,
        connect_timeout_s=PUT_CONNECT_LAMBDA_S if in_lambda else CONNECT_TIMEOUT_S,
        read_timeout_s=PUT_TIMEOUT_LAMBDA_S if in_lambda else PUT_TIMEOUT_S,
    )
    calls = aws_connector(account, "kinesis", where)
    return lambda is_for_puts: puts() if is_for_puts else calls()


class ServiceTime:
    """The service's time: the newest reply's Date, and reckoned on from there.

    Never our own clock (P2), except to be careful. A Date is cut off to the second.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard = (0, 0.0, 0)  # Date, and when, by either clock of ours
        self._agreed: tuple[tuple[int, float, int], ...] = ()  # the last few of them

    def hear(self, response: Mapping[str, Any]) -> int:
        """The Date of a reply, ms; of one that has none, not earlier than it would say.

        Then our wall clock has a say: while the machine slept, the monotonic one stood still, and
        what arrived too late must not pass for in time (P4).
        """
        date_ms = date_of(response)
        if date_ms is None:
            last_ms, _, wall_ms = self._heard
            return max(self.now_ms(), last_ms + self._clock.now_ms() - wall_ms) if last_ms else 0
        heard = date_ms, self._clock.monotonic(), self._clock.now_ms()
        awake = [old for old in self._agreed if _is_awake_since(old, heard)]
        self._agreed = (*awake[1 - AGREED :], heard)
        self._heard = heard
        return date_ms

    def now_ms(self) -> int:
        """At most the service's time now; 0 before the first reply with a Date."""
        return self._reckoned(self._heard)

    def agreed_ms(self) -> int:
        """The same by the last two replies, the earlier of them: one that lies is not believed.

        For what cannot be taken back: a session that is born in the future halts every reader, and
        what is taken for newer than it is may be forgotten unnoticed.
        """
        return min([self._reckoned(heard) for heard in self._agreed], default=0)

    def _reckoned(self, heard: tuple[int, float, int]) -> int:
        date_ms, at, _ = heard
        return date_ms + int(max(0.0, self._clock.monotonic() - at) * 1000) if date_ms else 0


def date_of(response: Mapping[str, Any]) -> int | None:
    """The Date of a reply, ms; ``None``: it has none."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        date = parsedate_to_datetime(headers["date"])
    except (KeyError, TypeError, ValueError):
        return None
    return int(date.replace(tzinfo=date.tzinfo or UTC).timestamp()) * 1000


def _is_awake_since(old: tuple[int, float, int], now: tuple[int, float, int]) -> bool:
    """Whether both clocks of ours have gone on alike: the machine was not asleep (or frozen)."""
    return abs((now[2] - old[2]) - (now[1] - old[1]) * 1000) < AWAKE_MS
