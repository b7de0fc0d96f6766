"""A log that forgets: the world's, as a stream with a retention shows it.

What is forgotten is a prefix of each shard, by arrival; a closed shard of which nothing is left is
not listed any more once it was closed for as long. Of a place whose own record is forgotten nobody can tell what went after it, so
to read on from there is refused, unless the end was seen there late enough (`binlog.log.Forgets`).
The world's log itself keeps everything: the reference reads that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from binlog.errors import TrimmedError
from binlog.log import Page, Position, Put, Reply, Shard
from binlog.testing.world.log import WorldLog
from binlog.testing.world.producers import FOUND_MS

WITHOUT_END = 1 << 60
SLACK_MS = 2 * FOUND_MS  # by which a record may be found later than it arrived


@dataclass
class _Past:
    """What all handles have in common."""

    forgotten: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By shard: the last sequence number that is forgotten, and the latest arrival of these."""
    closings: dict[str, int] = field(default_factory=dict)
    """When a shard was found closed, ms."""
    unlisted: set[str] = field(default_factory=set)


class ForgetfulLog:
    """One handle on it; `open` gives another, which saw no ends yet."""

    def __init__(self, log: WorldLog, past: _Past | None = None) -> None:
        self.params = log.params
        self.genesis = log.genesis
        self.name = log.name
        self._log = log
        self._past = _Past() if past is None else past
        self._forgotten = self._past.forgotten
        self._seen: dict[Position, int] = {}

    def open(self) -> ForgetfulLog:
        """As another process would."""
        return ForgetfulLog(self._log, self._past)

    def forget(self, through_ms: int) -> int:
        """Forget what arrived until then, and everything before that; how many records it were."""
        count = 0
        for shard in self._log.shards():
            after, latest = self._forgotten.get(shard.id, (-1, -1))
            page = self._log.read(Position(shard.id, after), bytes_max=WITHOUT_END)
            old = [i for i, record in enumerate(page.records) if record.arrival_ms <= through_ms]
            # A record that is found late stands behind younger ones, and goes after them.
            young = [i for i, record in enumerate(page.records) if record.arrival_ms > through_ms]
            end = min(young[0] if young else len(page.records), old[-1] + 1 if old else 0)
            if not end:
                continue
            gone = page.records[:end]
            latest = max(latest, *[record.arrival_ms for record in gone])
            self._forgotten[shard.id] = gone[-1].sequence, latest
            count += end
        for shard in self.shards():
            if self._past.closings.get(shard.id, through_ms + 1) <= through_ms and self._is_empty(
                shard
            ):
                self._past.unlisted.add(shard.id)
        return count

    def is_whole(self) -> bool:
        """Whether nothing is forgotten."""
        return not self._forgotten

    def edges(self) -> dict[str, int]:
        """By shard, the last sequence number that is forgotten."""
        return {shard: sequence for shard, (sequence, _) in self._forgotten.items()}

    # -- the protocol ----------------------------------------------------------------------------

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        return self._log.append(frames)

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page:
        edge, latest = self._forgotten.get(after.shard, (-1, -1))
        # A child's beginning is a place like any other: it may have had records.
        if edge >= 0 and after.sequence <= edge:
            seen = self._seen.get(after, -1)
            if after.sequence < edge or seen <= latest + SLACK_MS:
                raise self._trimmed(after)
        if after.shard not in {shard.id for shard in self.shards()}:
            raise self._trimmed(after)
        page = self._log.read(after, partitions=partitions, bytes_max=bytes_max, wait_s=wait_s)
        if page.caught_up and not page.closed:
            self._seen[page.next] = max(self._seen.get(page.next, -1), self._log.now_ms())
        return page

    def _trimmed(self, after: Position) -> TrimmedError:
        return TrimmedError(
            f"the record {after.sequence} has left it",
            f"shard {after.shard} of {self.name}",
            "begin from an archive or a snapshot",
        )

    def shards(self) -> list[Shard]:
        past, found = self._past, self._log.shards()
        for shard in found:
            if shard.closed:
                past.closings.setdefault(shard.id, self._log.now_ms())
        return [shard for shard in found if shard.id not in past.unlisted]

    def _is_empty(self, shard: Shard) -> bool:
        edge, _ = self._forgotten.get(shard.id, (-1, -1))
        return not self._log.read(Position(shard.id, edge), bytes_max=1).records

    def locate(self, position: Position) -> str:
        return self._log.locate(position)

    def stamp(self, position: Position) -> bytes:  # noqa: ARG002
        """As of a stream: its sequence numbers never repeat."""
        return b""

    def size_bytes(self) -> int:
        return self._log.size_bytes()

    def now_ms(self) -> int:
        return self._log.now_ms()

    def close(self) -> None:
        """Nothing is held."""

    # -- what a stream forgets -------------------------------------------------------------------

    def seen_ms(self, place: Position) -> int | None:
        return self._seen.get(place)

    def note_seen(self, place: Position, seen_ms: int) -> None:
        self._seen[place] = max(self._seen.get(place, -1), seen_ms)

    def retention_s(self) -> float:
        return 24 * 3600.0
