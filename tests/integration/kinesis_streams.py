"""Shards of a running stand-in, split and merged by somebody else."""

from __future__ import annotations

from typing import Any

from binlog.logs.kinesis_service import Service


def open_shards(service: Service) -> list[Any]:
    """The open shards by hash key, when nothing is being changed."""
    service.wait(lambda _: True)
    listed = service.clients.calls.list_shards(StreamName=service.stream)["Shards"]
    ended = [s for s in listed if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
    return sorted(ended, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))


def split(service: Service, index: int) -> None:
    """One in the middle; ``index`` counts the open ones, over and over again."""
    shards = open_shards(service)
    shard = shards[index % len(shards)]
    low, high = (int(shard["HashKeyRange"][e]) for e in ("StartingHashKey", "EndingHashKey"))
    service.call(
        "split_shard",
        StreamName=service.stream,
        ShardToSplit=shard["ShardId"],
        NewStartingHashKey=str((low + high) // 2),
    )
    service.wait(lambda _: True)


def merge(service: Service, index: int) -> bool:
    """One and its neighbour; ``False`` if there is only one."""
    shards = open_shards(service)
    if len(shards) < 2:
        return False
    index %= len(shards) - 1
    one, two = shards[index : index + 2]
    service.call(
        "merge_shards",
        StreamName=service.stream,
        ShardToMerge=one["ShardId"],
        AdjacentShardToMerge=two["ShardId"],
    )
    service.wait(lambda _: True)
    return True
