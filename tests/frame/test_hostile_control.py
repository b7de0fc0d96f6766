"""Control records that no code of ours wrote have no effect, and end no reader."""

from __future__ import annotations

import pytest

from binlog.columns import columns_of, encode_body
from binlog.control import CHANGE_MAX, params_envelope
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.frame import Header, Session, encode_frame
from binlog.logs.memory import MemoryLog
from binlog.params import Params, genesis_hash
from binlog.reader import Reader
from binlog.sequencer import Sequencer
from binlog.values import encode_value

FAMILY = b"\1" * 16
EMPTY = encode_value({})


def record(log: MemoryLog, kind: str, data: bytes, *, resolve: bool = False) -> bytes:
    header = Header(
        session=Session(FAMILY, 1),
        born_ms=log.now_ms(),
        partition=0,
        first=1,
        count=1,
        log_id=bytes.fromhex(log.params.log_id),
        genesis_hash=genesis_hash(log.genesis),
        resolve=resolve,
    )
    envelope = Envelope("i", kind, 1, "", EMPTY, data)
    return encode_frame(header, encode_body(columns_of([envelope])))


def read_all(log: MemoryLog) -> Reader:
    reader = Reader(log)
    while reader.read() is not None:
        pass
    return reader


NO_VALUES = [b"\xc1", b"", b"\x81\xa1\xff\x01", b"\xcb" + bytes(8), b"\x91" * 5_000 + b"\xc0"]
NO_CHANGES: list[object] = [
    [],
    "text",
    {},
    {"partitions": 9},
    {"id_window": 0},
    {"id_window": -1},
    {"id_window": True},
    {"id_window": "9"},
    {"id_window": CHANGE_MAX + 1},
    {"id_window": 10**30},
    {"session_age_ms": 10**9},  # above the session life
    {"session_age_ms": 10**9, "id_window": 9},  # all or nothing
]


@pytest.mark.parametrize(
    "data", [*NO_VALUES, *map(encode_value, NO_CHANGES)], ids=lambda data: repr(data[:12])
)
def test_a_params_record_that_cannot_be_takes_an_offset_and_changes_nothing(data: bytes) -> None:
    log = MemoryLog(Params(log_id="ab" * 16, partitions=1))
    log.inject(0, record(log, "binlog.params", data))
    reader = read_all(log)
    sequencer = reader.sequencers[0]
    assert (sequencer.offset, reader.halts) == (1, {})
    assert sequencer.params == log.params
    again = Sequencer(log.params, log.genesis, 0, sequencer.encode_state())
    assert (again.offset, again.params) == (1, log.params)


def test_a_params_record_that_can_be_counts() -> None:
    """Else the test above would prove nothing."""
    log = MemoryLog(Params(log_id="ab" * 16, partitions=1))
    log.inject(0, record(log, "binlog.params", encode_value({"id_window": 9, "unknown": 1})))
    assert read_all(log).sequencers[0].params.id_window == 9


@pytest.mark.parametrize(
    "data", [*NO_VALUES, EMPTY, encode_value([1])], ids=lambda data: repr(data[:12])
)
def test_a_resolve_record_that_cannot_be_lifts_nothing(data: bytes) -> None:
    log = MemoryLog(Params(log_id="ab" * 16, partitions=1))
    log.inject(0, b"no frame")
    log.inject(0, record(log, "binlog.resolve", data, resolve=True))
    assert read_all(log).halts[0].rule == "undecodable"


@pytest.mark.parametrize("change", [{"id_window": 0}, {"id_window": CHANGE_MAX + 1}])
def test_nobody_writes_a_params_record_that_has_no_effect(change: dict[str, int]) -> None:
    with pytest.raises(RefusedError, match="from 1 to"):
        params_envelope(change, new_id=lambda: "i", now_ms=0)


def test_cat_says_where_an_event_is_that_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cli.running import binlog

    for data in (b"\xcb" + bytes(8), b"\xc1"):
        log = MemoryLog(Params(log_id="ab" * 16, partitions=1))
        log.inject(0, record(log, "Seen", data))
        monkeypatch.setattr("binlog.address.open_log", lambda *_, log=log, **__: log)
        ran = binlog("cat", "file:any", "--json")
        assert (ran.status, ran.out) == (3, "")
        assert "partition 0, offset 1" in ran.err
