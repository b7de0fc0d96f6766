"""The cases whose bytes are golden, as today's code writes them: see scripts/add_golden.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from binlog.adoption import Adoption
from binlog.columns import columns_of, encode_body
from binlog.control import adopt_frame, genesis_frame, noop_frame, params_envelope, resolve_frame
from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.frame import Header, Predecessor, Session, encode_frame, stamp_born
from binlog.halt import Resolution
from binlog.json_values import encode_json, typed
from binlog.params import Params, encode_genesis, genesis_hash
from binlog.values import encode_item, encode_value

LOG_ID = "00112233445566778899aabbccddeeff"
FAMILY = bytes(range(16))
BORN_MS = 1_700_000_000_000
PARAMS = Params(log_id=LOG_ID, partitions=8)

VALUES: dict[str, object] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "small": 127,
    "negative": -33,
    "int64 low": -(2**63),
    "uint64 high": 2**64 - 1,
    "beyond 64 bits": 2**64,
    "38 digits": 10**38 - 1,
    "one tenth": Decimal("0.1"),
    "negative fraction": Decimal("-12.5"),
    "largest": Decimal("9.9999999999999999999999999999999999999E+125"),
    "smallest": Decimal("1E-130"),
    "empty text": "",
    "text": "caf\u00e9 \U0001f600 \0",
    "long text": "x" * 300,
    "empty binary": b"",
    "binary": bytes(range(256)),
    "empty list": [],
    "list": [1, "a", None, [True]],
    "empty map": {},
    "map": {"b": 1, "a": {"\u00e9": b"\xff"}, "A": [0]},
    "string set": frozenset({"b", "a", "ab"}),
    "number set": frozenset({10, 9, Decimal("1.5")}),
    "binary set": frozenset({b"\x02", b"\x01\x01"}),
}


def envelope(number: int, event_type: str = PUT_ITEM, **fields: Any) -> Envelope:
    """An event that differs from its neighbours in every field."""
    key = encode_value({"id": f"k{number}"})
    data = encode_item({"id": f"k{number}", "n": number, "t": "text " * (number % 7)})
    made: dict[str, Any] = {
        "id": f"id-{number}",
        "type": event_type,
        "schema": 1,
        "table": "users",
        "key": key,
        "data": None if event_type == DELETE_ITEM else data,
        "time_ms": BORN_MS + number,
    }
    return Envelope(**(made | fields))


ALL_COLUMNS = [
    envelope(1),
    envelope(2, DELETE_ITEM, expect=0),
    envelope(
        3,
        UPDATE_ITEM,
        data=encode_value({"Set": {"a": 1}, "Remove": ["b"], "Add": {"n": Decimal("0.5")}}),
        expect=7,
    ),
    envelope(4, "OrderPlaced", schema=3, table="", data=encode_value([1, {"x": None}])),
    envelope(5, meta=encode_value({"batch": "B", "trace": b"\x01"})),
    envelope(6, table="orders", id="\u00e9" * 40),
]


def frame(envelopes: list[Envelope], **fields: Any) -> bytes:
    genesis = encode_genesis(PARAMS)
    made: dict[str, Any] = {
        "session": Session(FAMILY, 2),
        "born_ms": BORN_MS,
        "partition": 3,
        "first": 41,
        "count": len(envelopes),
        "log_id": bytes.fromhex(LOG_ID),
        "genesis_hash": genesis_hash(genesis),
    }
    return encode_frame(Header(**(made | fields)), encode_body(columns_of(envelopes)))


def frames() -> Iterator[tuple[str, bytes]]:
    genesis = encode_genesis(PARAMS)
    yield "all columns", frame(ALL_COLUMNS)
    yield "one put", frame([envelope(1)])
    yield "compressed", frame([envelope(n) for n in range(60)])
    yield "id window", frame([envelope(1)], id_window=True)
    yield "predecessor", frame([envelope(1)], first=1, predecessor=Predecessor(1, 40, BORN_MS - 5))
    yield "base", frame([envelope(1)], base=12)
    yield "not yet born", frame([envelope(1)], born_ms=0)
    yield "born by the log", stamp_born(frame([envelope(1)], born_ms=0), BORN_MS + 9)
    yield "params", frame([params_envelope({"id_window": 9}, new_id=lambda: "p", now_ms=BORN_MS)])
    yield "noop", noop_frame(PARAMS, genesis, 5, family=FAMILY, now_ms=BORN_MS)
    yield "genesis", stamp_born(genesis_frame(PARAMS, genesis, 7), BORN_MS)
    resolution = Resolution(
        LOG_ID, 3, "0:17", "hold-bound", f"{FAMILY.hex()}.1", 12, "ab" * 32, "gap"
    )
    yield "resolve", resolve_frame(PARAMS, genesis, resolution, family=FAMILY, now_ms=BORN_MS)
    adoption = Adoption("users", "20260131T120000Z-5f0c9a1e", "cd" * 32, "s3://kept/shop")
    yield "adopt", adopt_frame(PARAMS, genesis, adoption, 6, now_ms=BORN_MS, bits=0xABCDE)


def value_cases() -> Iterator[dict[str, Any]]:
    for name, value in VALUES.items():
        yield {
            "case": name,
            "typed": encode_json(typed(value)).decode(),
            "bytes": encode_value(value).hex(),
        }


def frame_cases() -> Iterator[dict[str, Any]]:
    from tests.golden.decoding import described

    for name, data in frames():
        yield {"case": name, "frame": data.hex(), "says": described(data)}


FILES: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "values-1.jsonl": value_cases,
    "frames-1.jsonl": frame_cases,
}
