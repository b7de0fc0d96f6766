"""How fast a lazy consumer may write: a budget of items a second, spent in advance by batches."""

from __future__ import annotations


class Pace:
    """A bucket of ``rate`` items a second that holds at most one second's worth.

    Pure: the caller passes monotonic time and does the waiting.
    """

    def __init__(self, rate: float, *, now: float) -> None:
        if rate <= 0:
            raise ValueError(f"rate {rate}: above 0 items a second")
        self._rate = rate
        self._level = rate
        self._at = now

    def spend(self, items: int, *, now: float) -> float:
        """Take ``items`` out; returns the seconds to wait before the next batch."""
        self._level = min(self._rate, self._level + (now - self._at) * self._rate) - items
        self._at = now
        return max(0.0, -self._level / self._rate)
