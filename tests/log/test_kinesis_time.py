"""The service's time by its replies: which of them are believed about what."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from binlog.logs.kinesis_client import ServiceTime

HOUR_MS = 3_600_000
T = 1_700_000_000_000


class TwoClocks:
    """Wall and monotonic time of a machine that may be frozen: then only the wall clock goes on."""

    def __init__(self) -> None:
        self.wall_ms = 5 * HOUR_MS  # of no matter
        self.monotonic_ms = 0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.monotonic_ms / 1000

    def advance(self, ms: int, *, frozen: bool = False) -> None:
        self.wall_ms += ms
        self.monotonic_ms += 0 if frozen else ms


def reply(at_ms: int) -> dict[str, Any]:
    date = formatdate(at_ms / 1000, usegmt=True)
    return {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}


def test_of_the_last_two_replies_the_earlier_one_is_agreed() -> None:
    """A session born in the future halts every reader; one born too early only ends sooner."""
    clock = TwoClocks()
    time = ServiceTime(clock)
    assert time.agreed_ms() == 0
    time.hear(reply(T))
    assert time.agreed_ms() == T
    clock.advance(10_000)
    time.hear(reply(T + HOUR_MS))
    assert time.now_ms() == T + HOUR_MS
    assert time.agreed_ms() == T + 10_000
    clock.advance(10_000)
    time.hear(reply(T + 20_000))
    assert time.agreed_ms() == T + 20_000
    clock.advance(10_000)
    time.hear(reply(T + 30_000 + HOUR_MS))
    time.hear(reply(T + 30_000 + HOUR_MS))
    assert time.agreed_ms() == T + 30_000 + HOUR_MS  # two of them: so it is


def test_after_a_freeze_the_first_reply_is_believed() -> None:
    """What was heard before it is reckoned on by a clock that stood still."""
    clock = TwoClocks()
    time = ServiceTime(clock)
    time.hear(reply(T))
    clock.advance(HOUR_MS, frozen=True)
    assert time.agreed_ms() == T
    time.hear(reply(T + HOUR_MS))
    assert time.agreed_ms() == T + HOUR_MS
