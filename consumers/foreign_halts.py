"""What was decided on a foreign record at which readers halt, for who is not its home (S7).

Where a shard is delivered in lanes, a foreign record comes in a lane that its home partition is not
in, so the home's offset and digest there are not known. They name nothing that the position does not
name as well: whatever RESOLVE lifts the halt of that very record has them right, or nobody's reader
takes it for one.
"""

from __future__ import annotations

from msgspec.structs import replace

from binlog.foreign import home_of
from binlog.halt import FOREIGN, Halt
from binlog.lineage import Searched
from binlog.log import Log, Position, Record, Shard
from binlog.resolution import find_in_log


def decision_on(log: Log, shard: Shard, record: Record, searched: Searched) -> str | Halt:
    """The decision, or the halt that waits for one; its offset and digest are not said.

    Raises:
        DamageError: where a RESOLVE may stand.
    """
    position = Position(shard.id, record.sequence)
    home = home_of(shard, record.partition_key, log.params.partitions)
    if home is None:
        return "divert"  # of a shard that holds no partition: nothing halts there
    halt = Halt(
        log_id=log.params.log_id,
        partition=home,
        position=position,
        rule=FOREIGN,
        session=None,
        offset=0,
        digest="",
        mark=record.arrival_ms,
        detail=f"a foreign record, partition key {record.partition_key!r}",
    )
    found = find_in_log(
        log,
        halt,
        log.params,
        searched,
        fits=lambda r: r.fits(replace(halt, offset=r.offset, digest=r.digest)),
    )
    return halt if found is None else found.decision
