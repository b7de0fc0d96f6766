"""The curves: every now and then, how much is acknowledged and how much of it is applied."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise

from binlog.drills.result import Sample

EVERY_S = 0.2
SAMPLES_MAX = 1_200


class Curves:
    """Samples from a thread of its own, and not while somebody holds `quiet`."""

    def __init__(
        self,
        clock: Callable[[], float],
        acknowledged: Callable[[], int],
        applied: Callable[[], int | None],
    ) -> None:
        self._clock = clock
        self._acknowledged = acknowledged
        self._applied = applied
        self._stop = threading.Event()
        self.quiet = threading.Lock()
        self._points: list[tuple[float, int, int | None]] = []
        self._thread = threading.Thread(target=self._run, name="curves", daemon=True)
        self._thread.start()

    def stop(self) -> tuple[Sample, ...]:
        """All of it, rates reckoned; at most `SAMPLES_MAX`, evenly thinned out."""
        self._stop.set()
        self._thread.join(10)
        points = self._points
        step = max(1, -(-len(points) // SAMPLES_MAX))
        points = points[::step]
        found = []
        for before, now in pairwise(points):
            passed = now[0] - before[0]
            applied = (
                None
                if now[2] is None or before[2] is None
                else max(0.0, (now[2] - before[2]) / passed)
            )
            lag = None if now[2] is None else max(0, now[1] - now[2])
            found.append(
                Sample(
                    t_s=round(now[0], 3),
                    events_s=round((now[1] - before[1]) / passed, 1),
                    applied_s=None if applied is None else round(applied, 1),
                    lag_events=lag,
                )
            )
        return tuple(found)

    def _run(self) -> None:
        pause_s = EVERY_S
        while not self._stop.wait(pause_s):
            with self.quiet:
                began = time.monotonic()
                acknowledged = self._acknowledged()
                self._points.append((self._clock(), acknowledged, self._applied()))
                # Who looks takes time from those that are looked at: a fifth of it at most.
                pause_s = max(EVERY_S, 4 * (time.monotonic() - began))
