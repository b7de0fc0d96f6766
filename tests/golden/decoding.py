"""A frame in words that JSON can hold, by the code under test."""

from __future__ import annotations

from typing import Any

from binlog.columns import decode_columns
from binlog.frame import decode_body, decode_header
from binlog.json_values import typed
from binlog.values import decode_value


def described(frame: bytes) -> dict[str, Any]:
    """All that the frame says: its header's fields and its envelopes'."""
    header = decode_header(frame)
    body = decode_body(frame, header)
    says: dict[str, Any] = {
        "version": header.version,
        "log": header.log_id.hex(),
        "genesis": header.genesis_hash.hex(),
        "session": str(header.session),
        "born": header.born_ms,
        "partition": header.partition,
        "first": header.first,
        "count": header.count,
        "base": header.base,
        "predecessor": None if header.predecessor is None else list(header.predecessor),
        "flags": [
            name
            for name in ("compressed", "id_window", "resolve", "genesis")
            if getattr(header, name)
        ],
        "body_bytes": header.body_bytes,
    }
    if header.genesis:
        return says | {"record": body.decode()}
    return says | {
        "envelopes": [
            {
                "id": e.id,
                "type": e.type,
                "schema": e.schema,
                "table": e.table,
                "key": value_of(e.key),
                "data": value_of(e.data),
                "meta": value_of(e.meta),
                "expect": e.expect,
                "time": e.time_ms,
            }
            for e in decode_columns(body, header.count).envelopes()
        ]
    }


def value_of(data: bytes | None) -> Any:
    return None if data is None else typed(decode_value(data))
