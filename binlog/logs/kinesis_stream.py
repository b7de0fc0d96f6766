"""What the readers of all shards of one stream share: its service, what it has forgotten, memory.

How old a thing may be and still be there is judged by the shortest retention that there is: the
stream's own may be lowered at any time, and what is older is gone at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from binlog.errors import TrimmedError
from binlog.log import Shard
from binlog.logs.kinesis_horizon import Horizons, StreamHorizon
from binlog.logs.kinesis_seen import SeenEnds
from binlog.logs.kinesis_service import Service

RETENTION_MIN_MS = 24 * 3_600_000  # the shortest that there is
SHARD_READS_PER_S = 5.0  # GetRecords calls that a shard answers, and
SHARD_BYTES_PER_S = 2_000_000  # gives, to all its readers together (service limits)
EDGE_MS = 15 * 60_000  # what is forgotten in less than that is looked at twice
CALL_BYTES_MAX = 10 * 1024 * 1024  # that a GetRecords gives at most (service limit)
KEPT_BYTES_MAX = 256 * 1024 * 1024  # of records, over all shards of a stream


class Keeper(Protocol):
    """Who keeps records in memory."""

    def release(self) -> bool:
        """Keep none any more; ``False`` if that cannot be just now."""


class Stream:
    """What the readers of all shards of one stream share."""

    def __init__(
        self,
        service: Service,
        *,
        partitions: int,
        created_ms: int,
        reads_per_s: float,
        check_open: Callable[[], None],
    ) -> None:
        self.service = service
        self.name = service.name
        self.clock = service.clock
        self.pause = service.pause
        self.spacing_s = 1 / reads_per_s
        self.bytes_per_s = SHARD_BYTES_PER_S * reads_per_s / SHARD_READS_PER_S
        self.check_open = check_open  # raises when the log was closed
        self.throttled = 0  # GetRecords calls
        self.seen = SeenEnds()
        self.horizons = Horizons()
        self._partitions = partitions
        self._created_ms = created_ms
        self._kept: dict[Keeper, int] = {}  # bytes, the longest not read first
        self._keeping = threading.Lock()

    def shards(self, **options: Any) -> list[Shard]:
        begun = self.horizons.begun()
        found = self.service.shards(self._partitions, **options)
        for horizon in begun if not options else ():
            horizon.hear_shards(found)
        return found

    def horizon(self) -> StreamHorizon:
        """Where the stream is now."""
        return self.horizons.begin(StreamHorizon(self.name, self.shards, self.clock, self.pause))

    def may_have_forgotten(self) -> bool:
        """Whether anything at all can have left the retention yet, our time being a bit behind."""
        return self.service.time.now_ms() > self._created_ms + RETENTION_MIN_MS - EDGE_MS

    def is_kept(self, since_ms: int) -> bool:
        """Whether nothing that arrived at ``since_ms`` or later can have been forgotten yet."""
        edge_ms = self.service.time.now_ms() - RETENTION_MIN_MS
        return not self.may_have_forgotten() or since_ms > edge_ms + EDGE_MS

    def keep(self, reader: Keeper, size: int) -> None:
        """Note what a reader keeps; beyond `KEPT_BYTES_MAX` those not read for longest give up."""
        with self._keeping:
            self._kept.pop(reader, None)
            self._kept[reader] = size
            over = sum(self._kept.values()) - KEPT_BYTES_MAX
            for other in list(self._kept) if over > 0 else ():
                if over <= 0 or other is reader:
                    break
                if other.release():
                    over -= self._kept.pop(other)

    def has_room(self, calls: int) -> bool:
        """Whether what so many more calls give can be kept without taking others' place."""
        with self._keeping:
            size = sum(self._kept.values())
        return size + calls * CALL_BYTES_MAX <= KEPT_BYTES_MAX // 2

    def forget(self) -> None:
        """In a forked child: the lock may have been held."""
        self._keeping = threading.Lock()
        self._kept = {}
        self.seen.forget()
        self.horizons.forget()


def trimmed(what: str, where: str) -> TrimmedError:
    """The error for a place that the stream has forgotten."""
    return TrimmedError(
        f"the stream's retention is over: {what}",
        where,
        "rebuild from a snapshot or an archive; raise the retention",
    )
