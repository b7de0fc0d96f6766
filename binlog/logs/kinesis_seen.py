"""What readers before this one saw of the ends of shards: told by who reads on from a checkpoint.

A claim is "whatever comes after this record of this shard arrived at that time or later". It was true
when it was made and stays so, so it can be kept anywhere and told again, also twice, or late, or by a
consumer that others have overtaken. What is believed of it is decided by `ShardReader`, whenever it
reads: nothing that arrived since can have been forgotten yet, by the shortest retention there is.
"""

from __future__ import annotations

CLAIMS_MAX = 4_096  # of one stream: a partition has one for each of its generations


class SeenEnds:
    """Of one stream. Any thread may use it."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], int] = {}  # replaced, never changed

    def note(self, shard: str, after: int, seen_ms: int) -> None:
        """Keep a claim, if there is no better one; of too many the oldest goes."""
        known = dict(self._seen)
        known[shard, after] = max(seen_ms, known.get((shard, after), 0))
        if len(known) > CLAIMS_MAX:
            del known[min(known, key=lambda place: known[place])]
        self._seen = known

    def of(self, shard: str, after: int) -> int | None:
        """When, service's time in ms; ``None`` if nobody has told."""
        return self._seen.get((shard, after))
