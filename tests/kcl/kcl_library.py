"""The Kinesis Client Library as far as a processor can tell, without its Java: leases and messages.

One row a lease: where it stands, and whose it is. A process is ours, called as amazon_kclpy calls it;
that it ends by `SystemExit` ends its worker with all of its processes, as in the real daemon. A
process whose lease was taken goes on with what it has in hand, and is told afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from consumers.kcl_shard import CheckpointRefusedError, Delivered, ShardConsumer

BEGIN, END = (-1, 0), (1 << 200, 0)


@dataclass
class Lease:
    """``at`` is the number and part up to which the application is done, inclusive."""

    shard: str
    at: tuple[int, int] = BEGIN
    owner: Process | None = None


@dataclass(eq=False)
class Process:
    """One shard's process of a worker, and how far it has been given records."""

    worker: str
    shard: str
    consumer: ShardConsumer
    given: tuple[int, int]
    over: bool = False
    met: list[str] = field(default_factory=list)


Parts = Callable[[Any], list[Delivered]]
"""What the library makes of one stored record."""


class Library:
    """The application's leases, and its workers' processes."""

    def __init__(self, stream: Any, start: Callable[[], ShardConsumer], parts: Parts) -> None:
        self._stream = stream
        self._start = start
        self._parts = parts
        self.leases: dict[str, Lease] = {}
        self.processes: list[Process] = []
        self.refusals: Callable[[], str | None] = lambda: None
        self.on_checkpoint: Callable[[str, tuple[int, int]], None] = lambda *_: None

    # -- leases ------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Make leases of shards whose parents are all done with."""
        for shard in self._stream.shards.values():
            parents = [self.leases.get(parent) for parent in shard.parents]
            if shard.id not in self.leases and all(p is not None and p.at == END for p in parents):
                self.leases[shard.id] = Lease(shard.id)

    def free(self) -> list[Lease]:
        self.sync()
        return [lease for lease in self.leases.values() if lease.owner is None and lease.at != END]

    def take(self, lease: Lease, worker: str) -> Process | None:
        """Start a process for a lease, whoever has it; ``None`` if it ended at once."""
        process = Process(worker, lease.shard, self._start(), lease.at)
        lease.owner = process
        self.processes.append(process)
        word = "TRIM_HORIZON" if lease.at == BEGIN else str(lease.at[0])
        return process if self._call(process, lambda c: c.initialize(lease.shard, word)) else None

    def owns(self, process: Process) -> bool:
        lease = self.leases[process.shard]
        return lease.owner is process

    # -- messages ----------------------------------------------------------------------------------

    def deliver(self, process: Process, count: int) -> bool:
        """Give the process its next parts, or the shard's end; ``False`` if there was nothing."""
        if not self.owns(process):
            self._call(process, lambda c: c.lease_lost())
            self._leave(process)
            return True
        shard = self._stream.shards[process.shard]
        parts = [
            part
            for record in shard.records
            if record.sequence >= process.given[0]
            for part in self._parts(record)
            if (part.sequence, part.sub) > process.given
        ]
        if not parts:
            if shard.closed_ms is None:
                return False
            self._call(process, lambda c: c.shard_ended(self._checkpointer(process)))
            if self.leases[process.shard].at == END:
                self._leave(process)
            return True
        batch = parts[:count]
        if self._call(process, lambda c: c.process(batch, 0, self._checkpointer(process))):
            process.given = batch[-1].sequence, batch[-1].sub
        return True

    def shut_down(self, process: Process) -> None:
        """A clean hand-over."""
        if self._call(process, lambda c: c.shutdown_requested(self._checkpointer(process))):
            self._call(process, lambda c: c.lease_lost())
            self._leave(process)

    def kill(self, worker: str) -> None:
        """The worker is gone, whatever it was at."""
        for process in [p for p in self.processes if p.worker == worker]:
            self._leave(process)

    def _call(self, process: Process, message: Callable[[ShardConsumer], object]) -> bool:
        """Whether it returned; if it did not, its worker is gone."""
        try:
            message(process.consumer)
        except SystemExit:
            self.kill(process.worker)
            return False
        return not process.over

    def _leave(self, process: Process) -> None:
        process.over = True
        if process in self.processes:
            self.processes.remove(process)
        lease = self.leases[process.shard]
        if lease.owner is process:
            lease.owner = None

    def _checkpointer(self, process: Process) -> Any:
        def checkpoint(sequence: int | None = None, sub: int | None = None) -> None:
            if not self.owns(process):
                raise CheckpointRefusedError("ShutdownException")
            if name := self.refusals():
                raise CheckpointRefusedError(name)
            at = END if sequence is None else (sequence, sub or 0)
            if sequence is None:
                shard = self._stream.shards[process.shard]
                last = [p for r in shard.records[-1:] for p in self._parts(r)][-1:]
                assert shard.closed_ms is not None
                assert all(process.given >= (part.sequence, part.sub) for part in last)
            self.on_checkpoint(process.shard, at)
            self.leases[process.shard].at = at

        return checkpoint
