"""What KCL hands over, turned into the records that the log holds.

KCL looks into every record. What bears the mark of the Kinesis Producer Library it takes apart, and
hands over the parts, numbered from 0 under the record's sequence number. To us, and to every other
reader of the log, such a record is one foreign record, kept whole. So what may be a part, which is
whatever is not ours or has a neighbour under its number, is read again from the stream.
"""

from __future__ import annotations

from collections.abc import Sequence

from binlog.log import Log, Position, Record, Shard
from binlog.logger import get_logger
from consumers.delivery import record_of
from consumers.kcl_shard import Delivered

_logger = get_logger(__name__)


class Records:
    """Turns what is delivered of one shard, in its order, into records."""

    def __init__(self, log: Log, shard: Shard) -> None:
        self._log = log
        self._shard = shard
        self._before = -1  # the last record of the log that is known: where to read again from

    def __call__(self, delivered: Sequence[Delivered]) -> list[Record]:
        """The records of ``delivered``; each once.

        Raises:
            BinlogError: they could not be read again.
        """
        records: list[Record] = []
        parted: set[int] = set()  # numbers that more than one came under
        for each in delivered:
            if records and records[-1].sequence == each.sequence:
                parted.add(each.sequence)
                continue
            if each.sub:
                parted.add(each.sequence)  # the first parts came in the batch before
            records.append(self._record(each))
        again = [r.sequence for r in records if r.partition < 0 or r.sequence in parted]
        if again:
            whole = self._read_again(records, again)
            records = [whole.get(r.sequence, r) for r in records]
        if records:
            self._before = records[-1].sequence
        return records

    def _record(self, each: Delivered) -> Record:
        return record_of(
            self._shard,
            sequence=each.sequence,
            arrival_s=each.arrival_ms / 1000,
            partition_key=each.partition_key,
            data=each.data,
            partitions=self._log.params.partitions,
        )

    def _read_again(self, records: Sequence[Record], wanted: Sequence[int]) -> dict[int, Record]:
        """Those records as they stand in the log.

        One that it has forgotten meanwhile is left as it was delivered.
        """
        known = [r.sequence for r in records if r.partition >= 0 and r.sequence < wanted[0]]
        place = Position(self._shard.id, known[-1] if known else self._before)
        found: dict[int, Record] = {}
        left = set(wanted)
        while left:
            page = self._log.read(place, bytes_max=1024 * 1024)
            for record in page.records:
                if record.sequence in left:
                    found[record.sequence] = record
            last = page.records[-1].sequence if page.records else -1
            left = {sequence for sequence in left if sequence > last}
            if page.caught_up or page.next == place:
                break
            place = page.next
        for sequence in sorted(set(wanted) - found.keys()):
            _logger.warning("foreign.forgotten", shard=self._shard.id, sequence=sequence)
        return found
