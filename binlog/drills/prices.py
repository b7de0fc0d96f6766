"""What requests and units cost at list price: us-east-1, US dollars, on demand, from secondary sources.

Without what is kept (storage), traffic, free tiers and tax; other regions cost up to twice as much.
"""

from __future__ import annotations

from collections.abc import Mapping

from binlog.drills.game_day import PUT_DOLLARS, READ_DOLLARS, WRITE_DOLLARS
from binlog.logs.kinesis_price import SHARD_HOUR_DOLLARS, UNIT_DOLLARS

GET_DOLLARS = 0.0004 / 1_000
"""An S3 request that reads; https://aws.amazon.com/s3/pricing/ (S3 Standard)."""
_S3_FREE = ("Delete", "Abort")
_S3_PUTS = ("Put", "Copy", "Post", "List", "Create", "Upload", "Complete")


def dollars_of(
    requests: Mapping[str, int],
    *,
    read_units: float,
    write_units: float,
    put_units: int,
    shard_hours: int,
) -> float:
    """List price of so much; ``requests`` by service and operation, as "s3 PutObject"."""
    return (
        read_units * READ_DOLLARS
        + write_units * WRITE_DOLLARS
        + put_units * UNIT_DOLLARS
        + shard_hours * SHARD_HOUR_DOLLARS
        + sum(number * _request(call) for call, number in requests.items())
    )


def _request(call: str) -> float:
    service, _, operation = call.partition(" ")
    if service != "s3" or operation.startswith(_S3_FREE):
        return 0.0  # the others' requests are paid by units, or not at all
    return PUT_DOLLARS if operation.startswith(_S3_PUTS) else GET_DOLLARS
