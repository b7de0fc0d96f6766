"""The pace of one shard's process: its share of what all of an application's workers may do.

Every shard has a process of its own, and none knows of the others. What each may do is made of the
log's layout: a shard's share of a rate is its share of the partitions. A partition is in one shard at
a time, and a shard's children are not begun before it is done (C4), so the shares of all shards that
are at work add up to one at any moment, through splits and merges, without anybody being asked. A
worker so has as much of the rate as its leases have partitions. What a shard does not need, because
it has nothing to do, no other one takes.

A bound on the distance needs no sharing: each shard keeps to it.

A shard gives 2 MB a second to all its readers together. KCL asks for records by their number, and how
many bytes they have only shows when they are there; but it asks for no more while a few batches wait to
be taken. So what is taken here is what is read of the stream, over some seconds: of `?reads=R` as many
bytes as of calls, R of the 5 that there are, and half of them where a pace is set and nothing is said.
"""

from __future__ import annotations

from binlog.clock import Clock
from binlog.log import Log, Shard
from binlog.logs.kinesis import LAZY_READS_PER_S
from binlog.logs.kinesis_stream import SHARD_BYTES_PER_S, SHARD_READS_PER_S
from consumers.delivery import Outcome
from consumers.pace import Setting
from consumers.pacer import Steering


class ShardPace:
    """`consumers.kcl_shard.Paces` by what is set, in the store or for this worker."""

    def __init__(
        self,
        log: Log,
        store: object,
        setting: Setting,
        shard: Shard,
        clock: Clock,
        *,
        reads: float | None = None,
    ) -> None:
        """``reads`` is what the log's address says of the calls that a shard answers."""
        self._log = log
        self._reads = reads
        self._steering = Steering(
            log,
            store,
            setting,
            clock=clock,
            share=share_of(log, shard),
            budget=self._bytes_per_s,
            shard=shard.id,
        )

    def _bytes_per_s(self, setting: Setting) -> float | None:
        reads = self._reads or (None if setting.is_free else LAZY_READS_PER_S)
        return None if reads is None else SHARD_BYTES_PER_S * reads / SHARD_READS_PER_S

    def behind_s(self, oldest_ms: int) -> float:
        """The age of what arrived then, by the log's time."""
        return max(0, self._log.now_ms() - oldest_ms) / 1000

    def wait_s(self, oldest_ms: int) -> float:
        """Seconds, at most, until to ask again; 0: what arrived then may be applied."""
        return self._steering.wait_s(self.behind_s(oldest_ms))

    def left_s(self, oldest_ms: int | None) -> float | None:
        """Until what arrived then leaves the log; ``None``: of a log that forgets nothing.

        Where nothing is left to apply (``oldest_ms`` is ``None``) it is all that the log keeps.
        """
        kept_s = self._steering.pace.retention_s
        if kept_s is None or oldest_ms is None:
            return kept_s
        return max(0.0, kept_s - self.behind_s(oldest_ms))

    def note(self, done: Outcome, *, through_ms: int, size: int) -> None:
        """So much was done by ``size`` bytes of records, the last of which arrived then."""
        self._steering.pace.note(
            items=done.writes, events=done.events, through_ms=through_ms, size=size
        )

    def page_bytes(self) -> int:
        """How many bytes of records to apply at once, at most."""
        return self._steering.pace.page_bytes()


def share_of(log: Log, shard: Shard) -> float:
    """A shard's part of all partitions; one that holds none has nothing to do, and counts as one."""
    return max(1, len(shard.partitions)) / log.params.partitions
