"""Frames between two attempts: how long each of them rests (P3).

After an attempt whose outcome nobody knows a frame is sent again by full-jitter back-off: what is
behind it waits for it. After a throttle it waits for its turn in the budget of its shard instead
(`binlog.producer.budget`), which shrinks with every throttle: a back-off beside it would only let
those who came later go first, again and again.
"""

from __future__ import annotations

from random import Random

from binlog.producer.budget import Budget
from binlog.producer.lane import Flight
from binlog.producer.options import ProducerOptions


class Resting:
    """All of a producer's. Times are seconds that never go back."""

    def __init__(self, options: ProducerOptions, random: Random, budget: Budget | None) -> None:
        self._options = options
        self._random = random
        self._budget = budget
        self._flights: dict[int, Flight] = {}  # by partition
        self._throttled: dict[int, str] = {}  # the shard that each of these waits for

    def add(self, flight: Flight, now: float, *, throttled_by: str | None) -> None:
        """An attempt has failed; ``throttled_by`` is the shard that refused it, if one did."""
        options, partition = self._options, flight.partition
        bound = options.retry_first_s
        if throttled_by is not None and self._budget is not None:
            self._throttled[partition] = throttled_by  # its turn is what keeps it back
        else:
            bound *= 2.0 ** min(flight.attempts - 1, 60)
        flight.retry_at = now + self._random.uniform(0.0, min(options.retry_most_s, bound))
        self._flights[partition] = flight

    def take(self, now: float, count_max: int) -> list[Flight]:
        """Those whose next attempt is due."""
        taken: list[Flight] = []
        for partition, flight in list(self._flights.items()) if self._flights else ():
            if len(taken) == count_max:
                break
            if flight.retry_at > now or self._turn_of(partition) > now:
                continue
            if (shard := self._throttled.pop(partition, None)) is not None and self._budget:
                self._budget.spend(shard, now)
            taken.append(flight)
            del self._flights[partition]
        return taken

    def drop(self, partition: int) -> None:
        """Its frame's outcome is decided."""
        if self._flights:
            self._flights.pop(partition, None)
            self._throttled.pop(partition, None)

    def times(self) -> list[float]:
        """When each of them is due."""
        return [max(f.retry_at, self._turn_of(p)) for p, f in self._flights.items()]

    def _turn_of(self, partition: int) -> float:
        shard = self._throttled.get(partition)
        return 0.0 if shard is None or self._budget is None else self._budget.ready_at(shard)
