"""How fast a lazy consumer has to go to be at most so far behind, and no faster.

Who may be hours behind need not follow every peak of the load: it works off by night what came by
day, and its table is paid, or provisioned, for less. How much lies unread nobody can ask a stream, so
the speed is made of two things that are known: how far behind the consumer is, and how dense the log
was where it has just been read, in events a second of the log's own time.

* Far from the bound it goes at the density of the last day, times the square root of how near it is:
  a backlog of `RESTING` of the bound is kept, and a peak is let in.
* From `SOFT` of the bound on that blends into the density of what was read last, which keeps the
  distance as it is; beyond `HARD` it is quicker than that, and so comes nearer again.
* From `LAST` of it on nothing waits any more: after a silence a density says nothing of what comes,
  and the bound is what was promised. Nor does it where what was read held no events.

Measured by ``tests/following/test_max_behind.py`` on days with two peaks: the most that is written a
second is 1.5 to 1.8 times what an oracle would need who knows the whole day, and for a bound of 12 hours
less than half of the load's own peak.

Pure: the caller tells what it has read and asks.
"""

from __future__ import annotations

import math

DAY_S = 86_400.0
RESTING = 0.4
SOFT = 0.7
HARD = 0.95
LAST = 0.98
HURRY = 20.0  # beyond the hard bound: so many times the density a whole bound further
_NEAR = 0.05  # of the bound: what "read last" means
_SAMPLE_S = 1.0  # of the log's time, at least, that a density is taken over


class MaxBehind:
    """At most ``bound_s`` seconds behind, of one source of events (a shard, or a whole log)."""

    def __init__(self, bound_s: float) -> None:
        if not (bound_s > 0 and math.isfinite(bound_s)):
            raise ValueError(f"bound_s {bound_s!r}: seconds, above 0")
        self.bound_s = bound_s
        self._at_ms: int | None = None  # arrival up to which densities are known
        self._events = 0  # read since then
        self._day: float | None = None  # events a second, over about a day
        self._last = 0.0  # and over the last stretch

    def note(self, *, events: int, through_ms: int) -> None:
        """``events`` more were read, the last of which arrived at ``through_ms``, the log's time."""
        if self._at_ms is None:
            self._at_ms = through_ms
            return
        self._events += events
        elapsed_s = (through_ms - self._at_ms) / 1000
        if elapsed_s < _SAMPLE_S:
            return
        density = self._events / elapsed_s
        self._at_ms, self._events = through_ms, 0
        if self._day is None:
            self._day = self._last = density
            return
        self._day += _share(elapsed_s, DAY_S) * (density - self._day)
        self._last += _share(elapsed_s, _NEAR * self.bound_s) * (density - self._last)

    def rate(self, behind_s: float) -> float:
        """Events a second to go on at, being ``behind_s`` behind; infinite where nothing is known."""
        near = max(behind_s, 0.0) / self.bound_s
        if not self._day or near >= LAST:
            return math.inf
        blend = min(1.0, max(0.0, (near - SOFT) / (HARD - SOFT)))
        blend *= blend * (3 - 2 * blend)  # smooth at both ends
        easy = self._day * math.sqrt(near / RESTING)
        quick = max(self._day, self._last) * (1 + HURRY * max(0.0, near - HARD))
        return (1 - blend) * easy + blend * quick


def _share(elapsed_s: float, over_s: float) -> float:
    """The weight of a new value in an average over ``over_s``."""
    return -math.expm1(-elapsed_s / over_s)
