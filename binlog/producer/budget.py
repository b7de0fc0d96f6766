"""How many frames a second may begin in each shard, so that small ones wait and become larger.

A shard takes, and its owner pays for, records; events share one for nothing. A linger of fixed length
is wrong at both ends: at a few events a second it only delays them, at many it makes more records
than the shard takes. With a budget an event waits only while others before it have used it up, and
what gathers meanwhile goes with it: at any rate the wait is as long as it has to be.
"""

from __future__ import annotations

BURST_S = 1.0  # what was not used for so long can be used at once


class Budget:
    """By shard. Times are seconds that never go back."""

    def __init__(self, frames_per_s: float) -> None:
        self._spacing_s = 1 / frames_per_s
        self._used_up: dict[str, float] = {}  # when what was begun is paid for

    def ready_at(self, shard: str) -> float:
        """From when on a frame may begin there; it may be over."""
        return self._used_up.get(shard, 0.0) - BURST_S

    def spend(self, shard: str, now: float) -> None:
        """A frame begins."""
        self._used_up[shard] = max(self._used_up.get(shard, 0.0), now) + self._spacing_s
