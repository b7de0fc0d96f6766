"""What an archive costs, for a few lengths of T: the longest that a record waits to be archived.

A partition that gets records makes a segment every T, and each segment is an object and a write that
is paid for. The shorter T is, the less is lost with a stream that dies, and the more writes there are.
What is stored costs the same either way.

Records come at random and evenly over the partitions: in a stretch of T a partition gets some with the
probability 1 - exp(-rate * T / partitions). Beside its segments there is an index page for each
`SEGMENTS_PER_PAGE` of them, a note of each quiet partition every three hours, and every T at most one
of where `PARTITIONS_PER_NOTE` chains end, if any of them made a segment.

List prices of us-east-1 in US dollars, S3 Standard, from secondary sources, 2026; a directory's are
its disk's.
"""

from __future__ import annotations

import math

import msgspec

from binlog.archive.ends import PARTITIONS_PER_NOTE
from binlog.archive.index import SEGMENTS_PER_PAGE

PUT_DOLLARS = 0.005 / 1_000
KEPT_GB_DOLLARS = 0.023  # a month
MONTH_S = 730 * 3_600
CHOICES_S = (10.0, 60.0, 300.0, 900.0, 3_600.0)
EVENT_BYTES = 27.0
"""Of an event in a segment: measured by scripts/bench --only archive-bytes on events of 200 B as JSON."""
SEGMENT_BYTES = 900.0
"""Of a segment beside its events: header, footer, state and block table, measured likewise."""
NOTES_MONTH = MONTH_S / (3 * 3_600)


class Choice(msgspec.Struct, frozen=True):
    """One T. A month has 730 hours; ``kept_dollars`` is what a month's bytes cost each month."""

    segment_every_s: float
    puts_month: int
    objects_month: int
    bytes_month: int
    put_dollars: float
    kept_dollars: float


def choice(every_s: float, *, partitions: int, rate: float | None, paid: bool) -> Choice:
    """What a T comes to; ``rate`` in events a second, over all partitions together.

    Without a rate every partition makes a segment every T, which is the most that it can be.
    """
    busy = 1.0 if rate is None else -math.expm1(-rate * every_s / partitions)
    segments = partitions * busy * MONTH_S / every_s
    pages = segments / SEGMENTS_PER_PAGE
    notes = partitions * NOTES_MONTH
    sharing = min(partitions, PARTITIONS_PER_NOTE)
    changed = 1.0 if rate is None else -math.expm1(-rate * every_s * sharing / partitions)
    notes += math.ceil(partitions / PARTITIONS_PER_NOTE) * changed * MONTH_S / every_s
    size = segments * SEGMENT_BYTES + (rate or 0.0) * MONTH_S * EVENT_BYTES
    puts = segments + pages + notes
    return Choice(
        every_s,
        round(puts),
        round(segments + pages),
        round(size),
        puts * PUT_DOLLARS if paid else 0.0,
        size / 2**30 * KEPT_GB_DOLLARS if paid else 0.0,
    )


def choices(every_s: float, *, partitions: int, rate: float | None, paid: bool) -> list[Choice]:
    """The wanted T among the usual ones, shortest first."""
    return [
        choice(each, partitions=partitions, rate=rate, paid=paid)
        for each in sorted({*CHOICES_S, every_s})
    ]
