"""Sessions of one process life: who numbers the events, and until when.

A session is (family, generation). The family is 128 random bits of one process life, taken at the
first send and not before, so that a process forked from a warm parent takes its own; the
generation counts the sessions of that life. Two processes never share a family: their numbers
would collide, and the sequencer would drop one's events as copies of the other's.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

from binlog.frame import Session
from binlog.params import Params

FAMILY_BYTES = 16


class Lineage:
    """Gives out the sessions of a process life, each once.

    ``entropy`` gives that many random bytes, and ``pid`` names the process; a simulated world
    passes its own.
    """

    def __init__(
        self,
        *,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        pid: Callable[[], int] = os.getpid,
    ) -> None:
        self._entropy = entropy
        self._pid = pid
        self._owner: int | None = None
        self._family = b""
        self._generation = 0

    def begin(self) -> Session:
        """The next session: of a new family in a process that has none yet."""
        if self.is_foreign():
            self._owner = self._pid()
            self._family = self._entropy(FAMILY_BYTES)
            self._generation = 0
        self._generation += 1
        return Session(self._family, self._generation)

    def is_foreign(self) -> bool:
        """Whether the family is another process's: its child, or nobody's yet."""
        return self._owner != self._pid()

    def forget(self) -> None:
        """Take a new family next time: this memory may have been cloned (a restored snapshot)."""
        self._owner = None


class SessionState:
    """A session in use: when it was born, and whether it still takes events.

    Its age is measured on the producer's monotonic clock from the moment *before* its first frame
    was sent, so it is never thought younger than it is, unless the machine was asleep; for that
    there is `in_time`, by the log's own time.
    """

    __slots__ = (
        "_in_time_ms",
        "_renew_at",
        "_too_early_ms",
        "born_ms",
        "ended",
        "launched",
        "name",
    )

    def __init__(self, name: Session, params: Params, now: float, born_ms: int = 0) -> None:
        self.name = name
        self.born_ms = born_ms  # 0: no reply has told it yet
        self.launched = False  # its first frame was sent
        self.ended = False
        self._renew_at = now + renewal_age_s(params)
        self._in_time_ms = params.session_age_ms + tolerance_ms(params)
        self._too_early_ms = params.born_tolerance_ms

    @property
    def is_waiting(self) -> bool:
        """Whether its first frame is still on its way.

        Nothing else of it may be sent then, or the log might stamp it with two births.
        """
        return self.launched and not self.born_ms

    @property
    def renew_at(self) -> float:
        """From when on it takes no more events, alive or not."""
        return self._renew_at

    def takes_events(self, now: float) -> bool:
        """Whether new events may be numbered in it (P2): alive, and younger than A by a margin."""
        return not self.ended and now < self._renew_at

    def in_time(self, arrival_ms: int) -> bool:
        """Whether a frame that arrived then may be called acknowledged (P4).

        Later than A the session may be forgotten before a ghost of the frame lands, so nobody
        can promise that it counts, and counts once. And well before its birth, where a service's
        clock went back, no reader takes it.
        """
        after_birth_ms = arrival_ms - self.born_ms
        return -self._too_early_ms <= after_birth_ms <= self._in_time_ms


def renewal_age_s(params: Params) -> float:
    """The age at which a session stops taking events: four fifths of A, so retries end in time."""
    return params.session_age_ms * 0.8 / 1000


def tolerance_ms(params: Params) -> int:
    """How much later than A still counts; never so much that it comes near L."""
    return min(params.born_tolerance_ms, (params.session_life_ms - params.session_age_ms) // 4)
