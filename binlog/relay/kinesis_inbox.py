"""A Kinesis stream that is no log, as an inbox: its shards, read by the log's own shard reader.

What has left the stream's retention is noticed where the relay had been there before: what comes
after the last record that was relayed is believed only if nothing between can be forgotten
(`binlog.logs.kinesis_reader`). Where it never was, it begins with what is there.
"""

from __future__ import annotations

from collections.abc import Sequence

from binlog.errors import TrimmedError
from binlog.log import Page, Position, Record, Shard
from binlog.logs.kinesis_reader import ShardReader
from binlog.logs.kinesis_service import Service
from binlog.logs.kinesis_stream import Stream
from binlog.partition import partition_key
from binlog.relay.inbox import PAGE_BYTES, Inbound, Shards


class StreamInbox(Shards):
    """The records of the stream of ``service``.

    ``accept_loss``: go on with what is there, where records have been forgotten unread.

    Raises:
        RefusedError: no such stream, or no permission.
    """

    def __init__(self, service: Service, *, reads_per_s: float, accept_loss: bool = False) -> None:
        super().__init__()
        summary = service.describe()
        self.name = service.name
        self.identity = (
            f"kinesis:{summary.log_id}"  # of this stream, not of a later one of its name
        )
        self._service = service
        self._accept_loss = accept_loss
        self._stream = Stream(
            service,
            partitions=1,
            created_ms=summary.created_ms,
            reads_per_s=reads_per_s,
            check_open=lambda: None,
        )
        self._readers: dict[str, _ShardReader] = {}

    def list_shards(self) -> Sequence[Shard]:
        return self._stream.shards()

    def read_shard(self, after: Position, wait_s: float) -> Page:
        reader = self._readers.get(after.shard)
        if reader is None:
            for shard in self._stream.shards():
                self._readers.setdefault(shard.id, _ShardReader(self._stream, shard))
            reader = self._readers[after.shard]
        try:
            page = reader.read(after.sequence, None, PAGE_BYTES)
        except TrimmedError as error:
            if not self._accept_loss:
                raise TrimmedError(
                    f"{error.what}, and what came after it may never have been relayed",
                    error.where,
                    "relay with --accept-loss, which goes on with what is there",
                ) from error
            page = _ShardReader(self._stream, reader.shard).read(-1, None, PAGE_BYTES)
        if not page.records and page.caught_up and not page.closed and wait_s > 0:
            self._service.pause(wait_s)
        return page

    def inbound(self, shard: str, record: Record) -> Inbound:
        key = record.partition_key if record.partition < 0 else partition_key(record.partition)
        return Inbound(shard, record.sequence, key, record.arrival_ms, record.data)

    def locate(self, lane: str, number: int) -> str:
        return f"{lane} of {self.name}, sequence number {number}"

    def close(self) -> None:
        self._service.clients.close()


class _ShardReader(ShardReader):
    """Begins with what is there: nobody has been here before, so nothing is missed."""

    def __init__(self, stream: Stream, shard: Shard) -> None:
        super().__init__(stream, shard)
        self.shard = shard

    def _check_beginning(self) -> None:
        pass
