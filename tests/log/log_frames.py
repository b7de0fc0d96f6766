"""Frames for tests of logs: real ones, small, each different from the others."""

from __future__ import annotations

from binlog.columns import columns_of, encode_body
from binlog.envelope import PUT_ITEM, Envelope
from binlog.frame import Header, Predecessor, Session, encode_frame
from binlog.log import Put
from binlog.params import Params, encode_genesis, genesis_hash
from binlog.values import encode_value

PARAMS = Params(log_id="1f" * 16, partitions=4)
_EMPTY = encode_value({})


def family(seed: int) -> bytes:
    return seed.to_bytes(16, "big")


def frame(
    number: int = 1,
    *,
    partition: int = 0,
    session: int = 1,
    generation: int = 1,
    born_ms: int = 0,
    count: int = 1,
    data: bytes = _EMPTY,
    params: Params = PARAMS,
    predecessor: Predecessor | None = None,
    key: bytes = _EMPTY,
) -> bytes:
    """``count`` events numbered from ``number`` on, every one of them with ``key`` and ``data``."""
    events = [
        Envelope(f"e{session}.{number + i}", PUT_ITEM, 1, "table", key, data) for i in range(count)
    ]
    header = Header(
        session=Session(family(session), generation),
        born_ms=born_ms,
        partition=partition,
        first=number,
        count=count,
        log_id=bytes.fromhex(params.log_id),
        genesis_hash=genesis_hash(encode_genesis(params)),
        predecessor=predecessor,
    )
    return encode_frame(header, encode_body(columns_of(events)))


def put(number: int = 1, *, partition: int = 0, tried: bool = False, **rest: object) -> Put:
    return Put(partition, frame(number, partition=partition, **rest), tried)  # type: ignore[arg-type]
