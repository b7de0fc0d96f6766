"""Which rows of an engine are worth writing: of places that moved, and of those looked at anew.

A log that forgets (`binlog.log.Forgets`) has forgotten in a day what nobody looked at, so a place must
not only be right but recent. Of a partition that stays where it is, because the log is quiet, the row
says when its end was seen there. Of one that stays in a log that is never quiet, the row goes along
with the others' pages. Both once in `REFRESH_MS` and partition: a row may be paid for, and what it
says may be so much older than what the consumer knew when it died.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from appliers.store import Checkpoint
from binlog.log import Forgets, Log

REFRESH_MS = 3_600_000  # of the log's own time
LOOK_MS = 60_000  # between two looks for old rows

Place = tuple[str, int, int]


class Rows:
    """What the rows of one engine's partitions say, as it last read or wrote them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._forgets = isinstance(log, Forgets)
        self._places: dict[int, Place] = {}
        self._seen_ms: dict[int, int | None] = {}
        self._written_ms: dict[int, int] = {}
        self.begun: set[int] = set()
        """Partitions that have a row."""
        self._joined: set[int] = set()
        self._look_at_ms = 0

    def start(self, places: Mapping[int, Place], rows: Mapping[int, Checkpoint]) -> None:
        """It stands at ``places``, by these ``rows``; a partition without one at its beginning."""
        now_ms = self._log.now_ms() if self._forgets else 0
        self._look_at_ms = 0
        self._places = dict(places)
        self.begun = set(rows)
        self._joined = {partition for partition, row in rows.items() if row.joined}
        self._seen_ms = {p: rows[p].seen_ms if p in rows else None for p in places}
        self._written_ms = {
            p: now_ms if seen is None else seen for p, seen in self._seen_ms.items()
        }

    @property
    def places(self) -> Mapping[int, Place]:
        """What the rows say, by partition."""
        return self._places

    @property
    def joined(self) -> AbstractSet[int]:
        """Partitions whose rows say that what follows is going to be delivered."""
        return self._joined

    def is_news(
        self, partition: int, place: Place, seen_ms: int | None, *, joined: bool = False
    ) -> bool:
        """Whether a row is worth it: somewhere else, or an end that was seen long after the last."""
        if self._places[partition] != place or (joined and partition not in self._joined):
            return True
        before_ms = self._seen_ms[partition]
        return seen_ms is not None and (before_ms is None or seen_ms >= before_ms + REFRESH_MS)

    def kept(self, row: Checkpoint) -> Checkpoint:
        """A row to be written, with what was known of its place: of one that stays nothing is lost."""
        before_ms = self._seen_ms[row.partition]
        stays = self._places[row.partition] == (row.shard, row.sequence, row.applied)
        if not stays or before_ms is None or (row.seen_ms or 0) >= before_ms:
            return row
        return msgspec.structs.replace(row, seen_ms=before_ms)

    def old(self) -> list[int]:
        """Partitions whose rows were not written for `REFRESH_MS`, in a log that forgets."""
        if not self._forgets or (now_ms := self._log.now_ms()) < self._look_at_ms:
            return []
        edge_ms = now_ms - REFRESH_MS
        self._look_at_ms = now_ms + LOOK_MS
        return sorted(p for p, written_ms in self._written_ms.items() if written_ms <= edge_ms)

    def note(self, written: Sequence[Checkpoint]) -> None:
        """Rows that stand now."""
        now_ms = self._log.now_ms() if self._forgets and written else 0
        for row in written:
            self._places[row.partition] = row.shard, row.sequence, row.applied
            self.begun.add(row.partition)
            if row.joined:
                self._joined.add(row.partition)
            self._seen_ms[row.partition] = row.seen_ms
            self._written_ms[row.partition] = now_ms
