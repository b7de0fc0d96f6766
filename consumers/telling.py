"""What an engine says while it works: each line with partition, offset and lag, bound once.

``offset`` is where the partition stands, or the event that a line is about; ``lag_s`` how long ago,
by the log's own time, all was read that there was to read: 0 at the end. It is left out while that
is not known. Nothing is computed that nobody listens to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from appliers.batch import Batch
from appliers.item import Write
from appliers.store import Checkpoint
from binlog.halt import Halt
from binlog.log import Log
from binlog.logger import get_logger
from binlog.reader import Reader
from binlog.vector import offset_of

PARKED_TOLD = 10  # events of a batch that could not be applied, each in a line of its own

_logger = get_logger("consumers.engine")


class Telling:
    """Of one engine; ``store`` is its target's address."""

    def __init__(self, log: Log, store: str) -> None:
        self._log = log
        self._store = store

    def _of(self, reader: Reader, partition: int, offset: int) -> Any:
        """The logger for lines about an event or a place."""
        through = reader.through_ms()
        lag = {} if through is None else {"lag_s": self._seconds_since(through)}
        return _logger.bind(partition=partition, offset=offset, **lag)

    def _seconds_since(self, ms: int) -> float:
        return max(0, self._log.now_ms() - ms) / 1000

    def halted(self, reader: Reader, halt: Halt) -> None:
        """A rule has stopped a partition."""
        self._of(reader, halt.partition, halt.offset).warning(
            "partition.halted", rule=halt.rule, place=self._log.locate(halt.position)
        )

    def lost(self, reader: Reader) -> None:
        """Somebody else moved what the engine stood on; it starts over."""
        if _logger.is_heard("warning"):
            vector = reader.vector()
            partition = min(vector, default=-1)
            self._of(reader, partition, vector.get(partition, 0)).warning(
                "checkpoint.lost", store=self._store, partitions=len(reader.partitions)
            )

    def failed(self, reader: Reader, failed: Sequence[Write], attempt: int) -> None:
        """Items were not as they had been read; it reads them again. The first one is named."""
        if _logger.is_heard("info"):
            first = failed[0].row
            self._of(reader, first.partition, offset_of(first.version)).info(
                "writes.failed", table=failed[0].table, count=len(failed), attempt=attempt
            )

    def parked(self, reader: Reader, batch: Batch) -> None:
        """Events that could not be applied, and now wait."""
        told = [letter for letter in batch.letters if letter.reason]
        for letter in told[:PARKED_TOLD]:
            self._of(reader, letter.partition, letter.offset).warning(
                "event.parked",
                table=letter.table,
                id=letter.id,
                type=letter.type,
                alone=letter.alone,
                reason=letter.reason,
            )
        if len(told) > PARKED_TOLD:
            _logger.warning("events.parked", count=len(told))

    def advanced(self, reader: Reader, batch: Batch, places: Sequence[Checkpoint]) -> None:
        """The checkpoints that a commit moved, one by one; the batch was that of all of them."""
        if _logger.is_heard("debug"):
            for place in places:
                self._of(reader, place.partition, place.applied).debug(
                    "checkpoint.advanced",
                    partitions=len(places),
                    events=batch.counts.events,
                    writes=len(batch.writes),
                )
