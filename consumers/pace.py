"""How fast a lazy consumer may write: a budget of items a second, spent in advance by batches."""

from __future__ import annotations


class Pace:
    """A bucket of ``rate`` items a second, empty at first, that holds a tenth of a second's worth.

    So no second sees much more than ``rate``, the first one and one after a quiet hour included;
    what it holds makes up for the time that a batch itself takes. Pure: the caller passes
    monotonic time and does the waiting.
    """

    def __init__(self, rate: float, *, now: float) -> None:
        if rate <= 0:
            raise ValueError(f"rate {rate}: above 0 items a second")
        self._rate = rate
        self._level = 0.0
        self._at = now

    def spend(self, items: int, *, now: float) -> float:
        """Take ``items`` out; returns the seconds to wait before the next batch."""
        earned = (now - self._at) * self._rate
        self._level = min(self._rate / 10, self._level + earned) - items
        self._at = now
        return max(0.0, -self._level / self._rate)
