"""What a log on Kinesis costs and how long an event waits, for a few numbers of partitions.

A producer gathers the events of one partition into one record. The more partitions there are, the
fewer events meet in one of them within the linger, and the more records are paid for; the fewer
there are, the fewer workers can share the reading. Reckoned: events come evenly over
partitions and producers. What an event takes of a record is measured, on the events of
`scripts/bench --cost` (198 B as JSON: puts, updates and deletes of made-up orders, Zipf keys); events
that repeat less than those pack less.

List prices of us-east-1 in US dollars, from secondary sources, 2026: other regions cost up to
twice as much, and what reading on demand and enhanced fan-out cost is not in here.
"""

from __future__ import annotations

import math

import msgspec

EVENT_BYTES = 198  # as JSON; of scripts/bench --cost
FRAME_BYTES_GOAL = 24 * 1024
# Measured by scripts/bench --cost --only packing: a record of so many bytes, and so many more an event.
# Of 1.1, 3.5 and 12.7 events 360, 771 and 2,362 B; of 130, 320 and 460 events 6,029, 13,629, 19,441 B.
PLAIN_BYTES, PLAIN_EVENT_BYTES = 170, 174
PACKED_BYTES, PACKED_EVENT_BYTES = 780, 40.5
COMPRESS_FROM_BYTES = 4_096  # of a frame's body

UNIT_BYTES = 25 * 1024  # a PUT payload unit
UNIT_DOLLARS = 0.014 / 1e6
SHARD_HOUR_DOLLARS = 0.015
EXTENDED_SHARD_HOUR_DOLLARS = 0.020  # retention of 24 h to 7 d
SHARD_BYTES_S, SHARD_RECORDS_S = 1_000_000, 1_000  # what a shard takes (service limits)
STREAM_HOUR_DOLLARS = 0.04  # on demand
IN_GB_DOLLARS, KEPT_GB_DOLLARS = 0.08, 0.023  # on demand: each record rounded up to 1 KiB
MONTH_HOURS = 730
LINGERS_S = (0.05, 1.0, 5.0)
CHOICES = (1, 4, 16, 64, 256)
PUT_S = 0.02  # about what a PutRecords takes
SLACK = 1.25  # a recommended choice costs at most that much more than the cheapest


class Choice(msgspec.Struct, frozen=True):
    """One number of partitions and one linger. Rates a second, money a month."""

    partitions: int
    linger_s: float
    events_per_record: float
    record_bytes: int
    records_per_s: float
    latency_s: float  # from publish to acknowledgement, at most, when nothing is throttled
    shards: int
    provisioned_dollars: float
    on_demand_dollars: float


def choice(
    partitions: int, linger_s: float, *, rate: float, producers: int, retention_hours: int = 24
) -> Choice:
    """What ``rate`` events a second, over all producers together, come to."""
    lane = rate / (producers * partitions)  # events a second that can share records
    full = (FRAME_BYTES_GOAL - PACKED_BYTES) / PACKED_EVENT_BYTES
    per_record = min(max(1.0, lane * linger_s), full)
    size = record_bytes(per_record)
    records = rate / per_record
    latency = min(linger_s, per_record / lane) + PUT_S
    shards = max(1, math.ceil(records * size / SHARD_BYTES_S), math.ceil(records / SHARD_RECORDS_S))
    units = records * math.ceil(size / UNIT_BYTES) * 3600 * MONTH_HOURS
    hour = SHARD_HOUR_DOLLARS + EXTENDED_SHARD_HOUR_DOLLARS * (retention_hours > 24)
    billed = records * math.ceil(size / 1024) * 1024 / 2**30 * 3600 * MONTH_HOURS
    kept = records * size / 2**30 * 3600 * max(0, retention_hours - 24)
    return Choice(
        partitions=partitions,
        linger_s=linger_s,
        events_per_record=per_record,
        record_bytes=size,
        records_per_s=records,
        latency_s=latency,
        shards=min(shards, partitions),
        provisioned_dollars=units * UNIT_DOLLARS + shards * hour * MONTH_HOURS,
        on_demand_dollars=(
            STREAM_HOUR_DOLLARS * MONTH_HOURS + billed * IN_GB_DOLLARS + kept * KEPT_GB_DOLLARS
        ),
    )


def record_bytes(events: float) -> int:
    """What a record of so many events has."""
    if events * PLAIN_EVENT_BYTES < COMPRESS_FROM_BYTES:
        return math.ceil(PLAIN_BYTES + events * PLAIN_EVENT_BYTES)
    return math.ceil(PACKED_BYTES + events * PACKED_EVENT_BYTES)


def choices(*, rate: float, producers: int, retention_hours: int = 24) -> list[Choice]:
    """Each number of partitions with each linger."""
    return [
        choice(p, linger, rate=rate, producers=producers, retention_hours=retention_hours)
        for p in CHOICES
        for linger in LINGERS_S
    ]


def recommended(found: list[Choice]) -> int:
    """The most partitions that, with a linger of a second, cost little more than the fewest do.

    And never more shards than partitions: a partition is in one shard.
    """
    at_a_second = [each for each in found if each.linger_s == 1.0]
    fits = [
        each
        for each in at_a_second
        if each.shards * SHARD_RECORDS_S >= each.records_per_s
        and each.shards * SHARD_BYTES_S >= each.records_per_s * each.record_bytes
    ]
    cheapest = min(each.provisioned_dollars for each in fits or at_a_second)
    return max(
        each.partitions
        for each in fits or at_a_second
        if each.provisioned_dollars <= cheapest * SLACK
    )
