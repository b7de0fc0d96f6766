"""Where a relay reads: lanes of records, each with numbers that grow along it.

A lane is a shard of a stream, its numbers the stream's sequence numbers; or, where another log is
relayed, a partition and its offsets. Within a lane the order is kept. A child shard is read when
its parents are read to their ends, so the order per partition key is kept across a reshard, too.

Where reading begins is told from outside, lane by lane (`Inbox.go_on`): an inbox keeps no state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from binlog.archive.archived_log import ArchivedLog
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.log import Log, Page, Position, Record, Shard
from binlog.partition import partition_key as fixed_key
from binlog.reader import Reader

PAGE_BYTES = 1024 * 1024


class Inbound(msgspec.Struct, frozen=True, gc=False):
    """One record to be relayed. ``events`` holds what it is already, where it came from a log."""

    lane: str
    number: int
    partition_key: str
    arrival_ms: int
    data: bytes
    event: Envelope | None = None


class Batch(msgspec.Struct, frozen=True):
    """Consecutive records of one lane; with them relayed, all of it up to ``through`` is."""

    lane: str
    records: list[Inbound]
    through: int


class Inbox(Protocol):
    """A source of records.

    * ``identity`` names it for ever: what was relayed from it is found by that.
    * ``go_on`` is called before the first read, with the last number relayed in each lane, and
      again where reading has to begin anew.
    * ``read`` gives the next batch; ``None`` if there is nothing more now, having waited up to
      ``wait_s`` for it.
    """

    name: str  # the address, for messages
    identity: str

    def go_on(self, done: Mapping[str, int]) -> None: ...

    def read(self, *, wait_s: float = 0.0) -> Batch | None: ...

    def locate(self, lane: str, number: int) -> str:
        """Where a record is, for messages."""

    def close(self) -> None: ...


class Shards:
    """Walks the shards of a stream, parents first, each from where it was left."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._over: set[str] = set()
        self._turn: list[str] = []

    # What a kind of stream does its own way.

    def list_shards(self) -> Sequence[Shard]:
        raise NotImplementedError

    def read_shard(self, after: Position, wait_s: float) -> Page:
        raise NotImplementedError

    def inbound(self, shard: str, record: Record) -> Inbound | None:
        """The record to relay; ``None`` to pass it by."""
        raise NotImplementedError

    def go_on(self, done: Mapping[str, int]) -> None:
        self._done = dict(done)
        self._over, self._turn = set(), []

    def read(self, *, wait_s: float = 0.0) -> Batch | None:
        """One look into every shard that may have something, beginning after the last that had."""
        self._turn = self._turn or self._readable()
        while self._turn:
            shard = self._turn.pop(0)
            after = Position(shard, self._done.get(shard, -1))
            page = self.read_shard(after, 0.0 if self._turn else wait_s)
            self._done[shard] = page.next.sequence
            if not page.caught_up:
                self._turn.append(shard)
            elif page.closed:
                self._over.add(shard)
                self._turn += [s for s in self._readable() if s not in self._turn]
            found = [each for record in page.records if (each := self.inbound(shard, record))]
            if found:
                return Batch(shard, found, page.next.sequence)
        return None

    def _readable(self) -> list[str]:
        """The shards that are not over, but whose parents are, as far as they are still listed."""
        shards = {shard.id: shard for shard in self.list_shards()}
        return [
            shard.id
            for shard in shards.values()
            if shard.id not in self._over
            and all(parent in self._over or parent not in shards for parent in shard.parents)
        ]


class ForeignInbox(Shards):
    """The foreign records of the log itself, whichever partition is their home.

    Raises:
        RefusedError: the log's policy is to skip them.
    """

    def __init__(self, log: Log) -> None:
        super().__init__()
        if log.params.foreign == "skip":
            raise RefusedError(
                "this log skips foreign records, as it was made to",
                log.name,
                "relay from another stream, or make the log with --foreign divert",
            )
        self.name = log.name
        self.identity = ""
        self._log = log
        # Of no partition: what is left are the foreign ones, which are for everybody. In an archive
        # they are kept with the partition that is their home.
        self._wanted = None if isinstance(log, ArchivedLog) else frozenset[int]()

    def list_shards(self) -> Sequence[Shard]:
        return self._log.shards()

    def read_shard(self, after: Position, wait_s: float) -> Page:
        return self._log.read(after, partitions=self._wanted, bytes_max=PAGE_BYTES, wait_s=wait_s)

    def inbound(self, shard: str, record: Record) -> Inbound | None:
        if record.partition >= 0:
            return None
        return Inbound(shard, record.sequence, record.partition_key, record.arrival_ms, record.data)

    def locate(self, lane: str, number: int) -> str:
        return self._log.locate(Position(lane, number))

    def close(self) -> None:
        """The log is its opener's to close."""


class LogInbox:
    """The events of another log, each as it is; control records stay behind.

    Raises:
        What `binlog.reader.Reader` raises; a halt ends the reading, and is raised.
    """

    def __init__(self, log: Log) -> None:
        self.name = log.name
        self.identity = f"log:{log.params.log_id}"
        self._log = log
        self._reader = Reader(log, page_bytes=PAGE_BYTES)
        self._done: dict[str, int] = {}
        self._batches: list[Batch] = []

    def go_on(self, done: Mapping[str, int]) -> None:
        self._done = dict(done)
        self._reader = Reader(self._log, page_bytes=PAGE_BYTES)
        self._batches = []

    def read(self, *, wait_s: float = 0.0) -> Batch | None:
        while not self._batches:
            runs = self._reader.read(wait_s=wait_s)
            if runs is None:
                self._reader.raise_halts()
                return None
            for run in runs:
                lane = fixed_key(run.partition)
                done = self._done.get(lane, 0)
                found = [
                    Inbound(lane, offset, "", run.arrival_ms, b"", envelope)
                    for offset, envelope in enumerate(run.columns.envelopes(), run.first_offset)
                    if offset > done and not envelope.is_control
                ]
                if found:
                    self._batches.append(Batch(lane, found, run.last_offset))
        return self._batches.pop(0)

    def locate(self, lane: str, number: int) -> str:
        return f"{self.name} partition {int(lane[1:])} offset {number}"

    def close(self) -> None:
        self._log.close()
