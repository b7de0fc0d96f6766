"""A stream of a running stand-in, as the tests' event source mapping polls it."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from binlog.logs.kinesis_service import Service
from tests.lambda_consumer.event_source_mapping import STREAM_ARN, SourceRecord, SourceShard


class LiveSource:
    """Every shard is read from its beginning, once, and what was read is kept."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.arn = STREAM_ARN.format(service.stream)
        self._records: dict[str, list[SourceRecord]] = {}
        self._iterators: dict[str, str | None] = {}

    def shards(self) -> list[SourceShard]:
        listed = self._service.clients.calls.list_shards(StreamName=self._service.stream)["Shards"]
        return [
            SourceShard(
                each["ShardId"],
                tuple(
                    each[name]
                    for name in ("ParentShardId", "AdjacentParentShardId")
                    if name in each
                ),
                "EndingSequenceNumber" in each["SequenceNumberRange"],
            )
            for each in listed
        ]

    def read(self, shard: str, after: int) -> list[SourceRecord]:
        client = self._service.clients.calls
        if shard not in self._iterators:
            self._iterators[shard] = client.get_shard_iterator(
                StreamName=self._service.stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
        records = self._records.setdefault(shard, [])
        # One page a call, as the service polls. Until an empty one comes takes for ever where records
        # come as fast as they are read: then nothing was delivered.
        if (iterator := self._iterators[shard]) is not None:
            reply = client.get_records(ShardIterator=iterator)
            self._iterators[shard] = reply.get("NextShardIterator")
            records += [_record_of(each) for each in reply["Records"]]
        return records[bisect_right(records, after, key=lambda record: record.sequence) :]


def _record_of(each: Any) -> SourceRecord:
    arrival = each["ApproximateArrivalTimestamp"]
    seconds = arrival if isinstance(arrival, float) else arrival.timestamp()
    return SourceRecord(
        int(each["SequenceNumber"]), round(seconds * 1000), each["PartitionKey"], each["Data"]
    )
