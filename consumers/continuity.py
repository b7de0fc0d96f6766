"""Whether what is delivered goes on where the rows stand, after a pause as long as a stream remembers.

Who is delivered to does not choose where reading goes on. A mapping that was disabled for a day, or a
function that failed for a day, goes on with the oldest record that is left: what the stream forgot in
between is in no batch, and nothing in the batches says so.

A service delivers a lane of a shard in order: where one partition of a batch was carried up to a record,
every record of the batch's other partitions before it was delivered, too. So if the newest place of any
of them is younger than the shortest retention that there is, nothing can be missing. That is all there
is to look at, once a partition, from then on by what was carried here. Otherwise the log is asked: what
comes after that place, if the log still knows, has to be what is delivered; if it does not, nobody can
tell, and the consumer stops, as one that reads the log itself does (C1).
"""

from __future__ import annotations

from collections.abc import Sequence

from appliers.store import Checkpoint, Sink
from binlog.clock import Clock
from binlog.errors import TrimmedError
from binlog.log import Log, Position, Record
from binlog.sequencer_state import SequencerState

KEPT_MS = 23 * 3_600_000  # an hour below the shortest retention: clocks, and what is under way


class Continuity:
    """Of one store behind one log, in one process."""

    def __init__(self, log: Log, store: Sink, clock: Clock) -> None:
        self._log = log
        self._store = store
        self._clock = clock
        self._carried_ms: dict[int, int] = {}  # arrival of the newest record, by partition

    def check(self, shard: str, records: Sequence[Record]) -> None:
        """Before records of a lane are applied.

        Raises:
            TrimmedError: there may be, or are, records between the rows and these.
        """
        partitions = {record.partition for record in records if record.partition >= 0}
        now_ms = max(self._clock.now_ms(), self._log.now_ms())
        if not partitions or self._is_young(self._newest(partitions), now_ms):
            return
        for generation in self._store.generations():
            rows = self._store.checkpoints(generation.id, sorted(partitions))
            if not rows:
                continue  # it begins with the genesis, which the sequencer asks for
            for partition, row in rows.items():
                known_ms = self._carried_ms.get(partition, 0)
                self._carried_ms[partition] = max(known_ms, _arrival_ms(row))
            row = max(rows.values(), key=_arrival_ms)
            if not self._is_young(_arrival_ms(row), now_ms):
                self._look(shard, row, records, frozenset(partitions))

    def note(self, records: Sequence[Record]) -> None:
        """They are applied, all of them."""
        for record in records:
            if record.partition >= 0:
                known_ms = self._carried_ms.get(record.partition, 0)
                self._carried_ms[record.partition] = max(known_ms, record.arrival_ms)

    def _newest(self, partitions: set[int]) -> int:
        return max(self._carried_ms.get(partition, 0) for partition in partitions)

    @staticmethod
    def _is_young(arrival_ms: int, now_ms: int) -> bool:
        return now_ms - arrival_ms < KEPT_MS

    def _look(
        self, shard: str, row: Checkpoint, records: Sequence[Record], partitions: frozenset[int]
    ) -> None:
        """That the log has nothing of theirs between the newest row and what is delivered."""
        after = Position(shard, row.sequence if row.shard == shard else -1)
        ours = (r.sequence for r in records if r.partition >= 0 and r.sequence > after.sequence)
        first = next(ours, None)
        while first is not None:
            try:
                page = self._log.read(after, partitions=partitions, bytes_max=1)
            except TrimmedError as error:
                do = "rebuild from a snapshot or an archive; to a quiet log append now and then"
                raise _missing("records may be missing", error.where or str(after), do) from error
            for record in page.records:
                if record.partition < 0:
                    continue
                if record.sequence < first:
                    where = self._log.locate(Position(shard, record.sequence))
                    do = "binlog rebuild LOG STORE, and it goes on from there"
                    raise _missing("records were passed over", where, do)
                return
            if page.caught_up:
                return
            after = page.next


def _arrival_ms(row: Checkpoint) -> int:
    """Up to when at least everything was carried."""
    return max(SequencerState.decode(row.state).mark, row.seen_ms or 0)


def _missing(what: str, where: str, do: str) -> TrimmedError:
    what += " between the store's place and what is delivered: nothing was, for a day or more"
    return TrimmedError(what, where, do)
