"""The records of a stream as readers of several kinds see them: all the same, or not."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from binlog.logs.kinesis_client import DATE_MS
from binlog.logs.kinesis_shards import list_shards
from scripts.acceptance.putting import Measure, Putting

FIRST = "StartingSequenceNumber"
CONSUMER = "acceptance"
FAN_OUT_S = 120.0

Seen = dict[tuple[str, int], tuple[int, bytes]]
"""By shard and sequence number: arrival, ms, and data."""


def read(client: Any, stream: str, limit: int, starting: Mapping[str, Any], pause_s: float) -> Seen:
    """All records of all shards, by an iterator of some kind."""
    seen: Seen = {}
    for shard in list_shards(client, stream):
        request = {
            name: shard["SequenceNumberRange"][value]
            if value == "StartingSequenceNumber"
            else value
            for name, value in starting.items()
        }
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], **request
        )["ShardIterator"]
        while iterator:
            page = client.get_records(ShardIterator=iterator, Limit=limit)
            _note(seen, shard["ShardId"], page["Records"])
            iterator = page.get("NextShardIterator")
            if not page["Records"] and not page.get("MillisBehindLatest"):
                break
            time.sleep(pause_s)
    return seen


def read_by_fan_out(client: Any, stream: str, pause: Callable[[float], None] = time.sleep) -> Seen:
    """All records of all shards, by an enhanced fan-out consumer, as KCL and Lambda may read.

    It is removed with the stream. At most `FAN_OUT_S` a shard.
    """
    arn = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    consumer = client.register_stream_consumer(StreamARN=arn, ConsumerName=CONSUMER)["Consumer"]
    for _ in range(round(FAN_OUT_S)):
        described = client.describe_stream_consumer(ConsumerARN=consumer["ConsumerARN"])
        if described["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE":
            break
        pause(1.0)
    seen: Seen = {}
    for shard in list_shards(client, stream):
        until = time.monotonic() + FAN_OUT_S
        reply = client.subscribe_to_shard(
            ConsumerARN=consumer["ConsumerARN"],
            ShardId=shard["ShardId"],
            StartingPosition={"Type": "TRIM_HORIZON"},
        )
        for event in reply["EventStream"]:
            page = event["SubscribeToShardEvent"]
            _note(seen, shard["ShardId"], page["Records"])
            is_over = not page.get("ContinuationSequenceNumber")  # a closed shard's end
            is_idle = not page["Records"] and not page.get("MillisBehindLatest")
            if is_over or is_idle or time.monotonic() > until:
                break
        reply["EventStream"].close()
    return seen


def _note(seen: Seen, shard: str, records: list[Mapping[str, Any]]) -> None:
    for record in records:
        arrival_ms = round(record["ApproximateArrivalTimestamp"].timestamp() * 1000)
        seen[shard, int(record["SequenceNumber"])] = arrival_ms, record["Data"]


def arrivals(readers: Mapping[str, Seen], putting: Putting) -> Measure:
    """Whether every reader sees each acknowledged record, with the same bytes and arrival."""
    whole = {(each.shard, each.sequence): each for each in putting.acknowledged}
    first, *others = readers.values()
    differing = sum(first.get(place) != other.get(place) for other in others for place in whole)
    missing = {name: len(whole.keys() - seen.keys()) for name, seen in readers.items()}
    wrong = sum(
        first[place][1] != b"%d %d" % (each.key, each.number)
        for place, each in whole.items()
        if place in first
    )
    finest = sum(bool(arrival_ms % 1000) for arrival_ms, _ in first.values())
    return Measure(
        "arrivals",
        "Do all readers see the same arrival time of a record, in whole milliseconds?",
        holds=bool(whole) and not differing and not any(missing.values()) and not wrong,
        figures={
            "records": len(whole),
            "readers": list(readers),
            "differing": differing,
            "missing": missing,
            "wrong data": wrong,
            "never acknowledged": len(first) - len(whole.keys() & first.keys()),
            "arrivals finer than a second": finest,
            "backward steps within a shard": _backward(first),
        },
    )


def _backward(seen: Seen) -> int:
    """How often arrival goes back from a record to the next; the sequencer allows for it (S1)."""
    ordered = sorted((place, arrival_ms) for place, (arrival_ms, _) in seen.items())
    return sum(
        one[0][0] == two[0][0] and two[1] < one[1] for one, two in itertools.pairwise(ordered)
    )


def dates(seen: Seen, putting: Putting) -> Measure:
    """How far a reply's Date is from the arrival that readers see."""
    found = sorted(
        each.date_ms - seen[each.shard, each.sequence][0]
        for each in putting.acknowledged
        if (each.shard, each.sequence) in seen
    )
    if not found:
        return Measure(
            "dates", "How far is Date from arrival?", holds=False, figures={"records": 0}
        )
    return Measure(
        "dates",
        f"Is the Date of a reply, cut off to {DATE_MS} ms, at or after arrival?",
        # P4 takes the end of Date's second for the arrival: it must not be before it.
        holds=found[0] > -DATE_MS,
        figures={
            "records": len(found),
            "Date - arrival, ms": {
                "least": found[0],
                "1%": found[len(found) // 100],
                "median": found[len(found) // 2],
                "99%": found[len(found) * 99 // 100],
                "most": found[-1],
            },
        },
    )
