"""List prices, with where and when they were read. Nothing else in the cost model knows money.

us-east-1, US dollars, without free tiers, savings plans, support and tax; other regions cost up to
twice as much. Read from secondary sources in November 2026 (articles that quote the price pages; the
pages themselves fill in prices by script): check them before you budget.
"""

from __future__ import annotations

import msgspec

from binlog.logs import kinesis_price

MONTH_HOURS = kinesis_price.MONTH_HOURS
MONTH_S = MONTH_HOURS * 3600


class Price(msgspec.Struct, frozen=True):
    """What one unit costs, and who says so."""

    dollars: float
    unit: str
    source: str
    secondary: bool = True
    read: str = "2026-11"


KINESIS = "https://aws.amazon.com/kinesis/data-streams/pricing/"
DYNAMODB = "https://aws.amazon.com/dynamodb/pricing/on-demand/"

PRICES = {
    "shard_hour": Price(kinesis_price.SHARD_HOUR_DOLLARS, "shard hour", KINESIS),
    "extended_shard_hour": Price(
        kinesis_price.EXTENDED_SHARD_HOUR_DOLLARS, "shard hour of retention beyond 24 h", KINESIS
    ),
    "put_unit": Price(
        kinesis_price.UNIT_DOLLARS, "PUT payload unit, 25 KiB of one record", KINESIS
    ),
    "write_unit": Price(0.625e-6, "write request unit, 1 KiB of one item", DYNAMODB),
    "replicated_write_unit": Price(
        0.625e-6, "replicated write request unit (MREC), a region", DYNAMODB
    ),
    "read_unit": Price(0.125e-6, "read request unit, 4 KiB strongly consistent", DYNAMODB),
}


def dollars(name: str, amount: float) -> float:
    """What ``amount`` units of that name cost."""
    return PRICES[name].dollars * amount
