"""So many write units a second, for what has no need to be faster: a leaky bucket.

What was consumed is known only from the replies, so each write waits until those before it are paid
for; with several calls under way at once the rate is exceeded by those at most, and then made up for.
Time in which nothing is written is not saved up.
"""

from __future__ import annotations

import math


class WriteRate:
    """Write units a second that may be consumed; the caller says when and how many were. No clock."""

    def __init__(self) -> None:
        self.units_per_s = math.inf
        self._owed = 0.0  # units that are consumed and not paid for by time yet
        self._units = 0.0
        self._at: float | None = None

    def wait_s(self, units: float, now: float) -> float:
        """Seconds to wait before the next write; ``units`` were consumed so far, ever."""
        if self.units_per_s == math.inf:
            return 0.0
        if self._at is None:
            self._at, self._units = now, units
        passed_s = max(0.0, now - self._at)
        self._owed = max(0.0, self._owed - passed_s * self.units_per_s) + units - self._units
        self._at, self._units = max(now, self._at), units
        return self._owed / self.units_per_s
