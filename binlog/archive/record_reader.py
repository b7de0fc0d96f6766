"""Reads a log as every reader does, and hands each record on to the cutter of its partition.

Halts, the search for what lifts them, the homes of foreign records and the lineage of shards are the
reader's own; so what is archived is, record by record, what other readers were given. A partition is
archived up to the record that halts it. One of which the log has forgotten something is left out from
there (`trimmed`): nothing is archived behind a hole.
"""

from __future__ import annotations

from collections.abc import Mapping

from binlog.archive.cutter import Cutter
from binlog.errors import TrimmedError
from binlog.lineage import Lineage
from binlog.log import Log, Page, Position, Record, note_seen
from binlog.pages import Pages
from binlog.reader import PAGE_BYTES, Reader
from binlog.run import Run
from binlog.standing import Start


class RecordReader(Reader):
    """Of the partitions that ``cutters`` are of, from ``starts`` on: their positions, mostly."""

    def __init__(
        self,
        log: Log,
        cutters: Mapping[int, Cutter],
        starts: Mapping[int, Start],
        *,
        pages: Pages | None = None,
        lineage: Lineage | None = None,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        super().__init__(
            log,
            partitions=cutters,
            starts=starts,
            pages=pages,
            lineage=lineage,
            page_bytes=page_bytes,
        )
        # What lies in a shard that holds no partition has no place in any partition's order.
        self._homeless = None
        self._cutters = cutters
        self.trimmed: dict[int, TrimmedError] = {}
        for partition, cutter in cutters.items():
            self.sequencers[partition] = cutter.sequencer

    def reset(self, partition: int, start: Start | None = None) -> None:
        """Go on where the partition's cutter stands: another archiver was quicker.

        ``start``: that place, or one behind it before which nothing more of the partition is.
        """
        cutter = self._cutters[partition]
        self.sequencers[partition] = cutter.sequencer
        self._positions[partition] = cutter.position
        self._applied[partition] = cutter.sequencer.offset
        self.halts.pop(partition, None)
        self.trimmed.pop(partition, None)
        self._done.discard(partition)
        self._ended.discard(partition)
        self._bounds.reached.discard(partition)
        if start is not None:
            self._positions[partition] = start.position
            note_seen(self._log, start.position, start.seen_ms)

    def position(self, partition: int) -> Position:
        """Up to where the log was read for it; beyond its last record nothing of it was there."""
        return self._positions[partition]

    # -- what is handed on -----------------------------------------------------------------------

    def _feed(self, shard: str, record: Record, wanted: set[int], runs: list[Run]) -> None:
        partition = record.partition
        before, known = self._positions[partition], len(runs)
        try:
            super()._feed(shard, record, wanted, runs)
        except TrimmedError as error:
            self._leave(partition, error)
            wanted.discard(partition)
            return
        after = self._positions[partition]
        if after != before and after.sequence == record.sequence:
            self._cutters[partition].take(shard, record, runs[known:])

    def _meet_foreign(self, shard: str, record: Record, wanted: set[int]) -> None:
        known = len(self.foreign)
        before = {partition: self._positions[partition] for partition in wanted}
        super()._meet_foreign(shard, record, wanted)
        if len(self.foreign) == known:
            return
        for partition, position in before.items():
            if self._positions[partition] != position:  # its home
                self._cutters[partition].take(shard, record, ())

    # -- what is forgotten -----------------------------------------------------------------------

    def _read_page(self, shard: str, wait_s: float) -> tuple[Page, set[int]]:
        while True:
            try:
                return super()._read_page(shard, wait_s)
            except TrimmedError as error:
                place = self._place(shard)
                for partition in self._wanted(shard):
                    if self._positions[partition] == place:
                        self._leave(partition, error)
                if not self._wanted(shard):
                    return Page([], place, caught_up=True), set()

    def _leave(self, partition: int, error: TrimmedError) -> None:
        self.trimmed[partition] = error
        self._done.add(partition)
