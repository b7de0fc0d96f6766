"""What KCL hands over, turned into the records that the log holds.

KCL looks into every record. What bears the mark of the Kinesis Producer Library it takes apart, and
hands over the parts, numbered from 0 under the record's sequence number. To us, and to every other
reader of the log, such a record is one foreign record, kept whole. So what may be a part, which is
whatever is not ours or has a neighbour under its number, is read again from the stream.
"""

from __future__ import annotations

from collections.abc import Sequence

from binlog.frame import MAGIC
from binlog.log import Log, Position, Record, Shard
from binlog.logger import get_logger
from consumers.delivery import record_of
from consumers.kcl_shard import Delivered

_logger = get_logger(__name__)


class Records:
    """Turns what is delivered of one shard, in its order, into records.

    ``after`` is the record at which KCL went on, perhaps in the middle of it; -1 for the beginning.
    """

    def __init__(self, log: Log, shard: Shard, after: int = -1) -> None:
        self._log = log
        self._shard = shard
        self._known = [-1, after]  # records of the log, or its beginning: where to read again from
        self._given = -1  # the last that was given, whole

    def __call__(self, delivered: Sequence[Delivered]) -> list[Record]:
        """The records of ``delivered``; each once.

        Raises:
            BinlogError: they could not be read again.
        """
        records: list[Record] = []
        parted: set[int] = set()  # numbers that more than one came under
        for each in delivered:
            if each.sequence == self._given:
                continue
            if records and records[-1].sequence == each.sequence:
                parted.add(each.sequence)
                continue
            if each.sub:
                parted.add(each.sequence)  # the first parts came in the batch before
            records.append(self._record(each))
        again = [
            r.sequence
            for r in records
            if r.partition < 0 or r.sequence in parted or not r.data.startswith(MAGIC)
        ]
        if again:
            whole = self._read_again(records, again)
            records = [whole.get(r.sequence, r) for r in records]
        if records:
            self._given = records[-1].sequence
            self._known = [*self._known[-1:], *(r.sequence for r in records)][-2:]
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
        known = [*self._known, *(r.sequence for r in records)]
        place = Position(self._shard.id, max(k for k in known if k < wanted[0]))
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
