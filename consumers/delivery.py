"""Delivered records: a worker applies what a service hands it of a log's shards.

Lambda and KCL hand over records of one shard, in order, and hand over the shard's rest when they are
told that these are done. So this is the same engine, whose pages are what was delivered. Invariants:

* a call begins with the catalog and the rows of its partitions as they are now: what a worker
  remembers of earlier calls is never where it stands;
* a record is done when its items, then the row of its partition, are durable (C3). `Outcome` follows
  from the rows that stand, not from what was tried;
* a partition is carried through its shards in the order of its lineage (C4): a row that stands in an
  ancestor of the delivered shard goes through what the log has of that shard, to its end;
* records that are behind a row are dropped, in whichever shard;
* foreign records are kept whole, each once, before anything else of a call, and whatever the rows say:
  where a shard is delivered in lanes, a record's home is in another one;
* nothing of a partition is applied after what failed in it; the others go on.

Is there a gap between a row and what is delivered? The service hands over, after what one of us has done,
what comes next. So there is none behind a row that such work has made. Behind one that somebody else made
there may be: a rebuild's generation begins where the rebuild read to, and what came after that may have
been handed over, and be done, in the generation before. Such a row has not *joined* (`Checkpoint`): its
partition is first carried, from the log itself, to the log's end as it is then. Whatever was handed over
before the new generation was there lies before that end; whatever is handed over later meets the new one.
"""

from __future__ import annotations

from collections.abc import Sequence

from appliers.store import Shareable, Sink
from binlog.clock import Clock, SystemClock
from binlog.errors import ConflictError
from binlog.lineage import Lineage
from binlog.log import Log, Record, Shard
from binlog.partition import partition_from_key
from consumers.budget import Budget
from consumers.continuity import Continuity
from consumers.engines import Engines
from consumers.turn import Tools, Turn
from consumers.working import Outcome, Working

__all__ = ["Outcome", "Worker", "Working", "record_of"]


def record_of(
    shard: Shard,
    *,
    sequence: int,
    arrival_s: float,
    partition_key: str,
    data: bytes,
    partitions: int,
) -> Record:
    """A delivered record as every reader of the log gets it: arrival is the same whole ms."""
    partition = partition_from_key(partition_key)
    ours = partition is not None and partition < partitions and partition in shard.partitions
    return Record(
        sequence,
        round(arrival_s * 1000),
        partition if partition is not None and ours else -1,
        data,
        "" if ours else partition_key,
    )


class Worker:
    """Applies what is delivered of the shards of one log to one store, beside other workers.

    One thread at a time. The store is shared (`Shareable`).

    Raises:
        ConflictError: a store that has one writer.
        MismatchError: a store of another log.
    """

    def __init__(self, log: Log, store: Sink, how: Working, *, clock: Clock | None = None) -> None:
        if not isinstance(store, Shareable):
            raise ConflictError(
                "several workers cannot write to this kind of store",
                store.name,
                "name a dynamodb:// store, or follow the log with binlog replicate",
            )
        store.share()
        store.bind(log.genesis)
        lineage = Lineage(log)
        clock = SystemClock() if clock is None else clock
        self.continuity = Continuity(log, clock)
        budget = Budget(clock)
        lineage.searched.check = budget.check
        self._tools = Tools(
            log,
            store,
            how,
            lineage,
            budget,
            self.continuity,
            Engines(log, store, how.rules, lineage, poison=how.poison),
        )

    def shard(self, shard: str) -> Shard:
        """The shard of that id, for `record_of`.

        Raises:
            MismatchError: the log does not list it.
        """
        return self._tools.lineage.find(shard)

    def heard(self, shard: str) -> None:
        """Note that who delivers the shard has read on, and there was nothing (`Continuity`)."""
        self.continuity.heard(shard)

    def apply(
        self,
        shard: str,
        records: Sequence[Record],
        *,
        deadline: float | None = None,
        closed: bool = False,
    ) -> Outcome:
        """Apply records of one shard, which come in its order and without a gap of their lane.

        ``deadline`` is a monotonic time of the clock by which it is to be back: it stops before, with
        what it has not begun reported. ``closed``: the shard has ended behind these records, and all
        of it was delivered here or done by others; its partitions then go on to its children.
        """
        self._tools.budget.begin(deadline)
        turn = Turn(self._tools, shard, records, closed=closed)
        turn.run()
        return turn.outcome()
