"""What readers before this one saw of the ends of shards: told by who reads on from a checkpoint.

A claim is "whatever comes after this record of this shard arrived at that time or later". It was true
when it was made and stays so, so it can be kept anywhere and told again, also twice, or late, or by a
consumer that others have overtaken. What is believed of it is decided by `ShardReader`, whenever it
reads: nothing that arrived since can have been forgotten yet, by the shortest retention there is.
"""

from __future__ import annotations

import heapq
import threading

from binlog.partition import PARTITIONS_MAX

CLAIMS_MAX = 8 * PARTITIONS_MAX  # of one stream: a partition has one for each of its generations


class SeenEnds:
    """Of one stream. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int], int] = {}

    def forget(self) -> None:
        """In a forked child: the lock may have been held."""
        self._lock = threading.Lock()

    def note(self, shard: str, after: int, seen_ms: int) -> None:
        """Keep a claim, if there is no better one; of too many the oldest go."""
        with self._lock:
            known = self._seen
            known[shard, after] = max(seen_ms, known.get((shard, after), 0))
            if len(known) > CLAIMS_MAX:
                for place in heapq.nsmallest(CLAIMS_MAX // 8, known, key=lambda each: known[each]):
                    del known[place]

    def of(self, shard: str, after: int) -> int | None:
        """When, service's time in ms; ``None`` if nobody has told."""
        return self._seen.get((shard, after))
