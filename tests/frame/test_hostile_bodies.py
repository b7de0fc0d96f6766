"""A body that no producer of ours wrote halts its partition, and ends no reader in another way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog.columns import KEY_BYTES_MAX, FrameError, columns_of, decode_columns, encode_body
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from tests.golden.cases import ALL_COLUMNS

encode = msgspec.msgpack.Encoder().encode
KINDS, INDEX, IDS, KEYS, DATAS, TIMES, METAS, EXPECTS = range(8)


def columns(**changed: Any) -> list[Any]:
    """One event's columns, some of them changed: ``c0=`` is the first."""
    right = [[["PutItem", 1, "users"]], b"\0", ["i"], [b"\x80"], [b"\x80"], [1], None, None]
    for name, value in changed.items():
        right[int(name[1:])] = value
    return right


def test_the_columns_as_they_are_here_are_right() -> None:
    """Else the refusals below would prove nothing."""
    assert len(decode_columns(encode(columns()), 1)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91" * 1_000_000,
        b"\xdd\xff\xff\xff\xff",
        encode({}),
        encode([]),
        encode(columns()[:5]),
        encode(columns(c0="text")),
        encode(columns(c0=[])),
        encode(columns(c0=[["PutItem", 1]])),
        encode(columns(c0=[["", 1, "users"]])),
        encode(columns(c0=[["x" * 256, 1, "users"]])),
        encode(columns(c0=[["PutItem", 0, "users"]])),
        encode(columns(c0=[["PutItem", 1.5, "users"]])),
        encode(columns(c0=[["PutItem", 1, "ab"]])),
        encode(columns(c0=[["PutItem", 1, "../x"]])),
        encode(columns(c0=[["PutItem", 1, "users"]] * 257)),
        encode(columns(c1=b"")),
        encode(columns(c1=b"\x01")),
        encode(columns(c1=b"\0\0")),
        encode(columns(c1=[0])),
        encode(columns(c2=[])),
        encode(columns(c2=[""])),
        encode(columns(c2=["x" * 256])),
        encode(columns(c2=[1])),
        encode(columns(c3=[])),
        encode(columns(c3=["text"])),
        encode(columns(c3=[None])),
        encode(columns(c3=[bytes(KEY_BYTES_MAX + 1)])),
        encode(columns(c4=["text"])),
        encode(columns(c5=[1.0])),
        encode(columns(c5=[True])),
        encode(columns(c5=[None])),
        encode(columns(c6=[])),
        encode(columns(c6=[{}])),
        encode(columns(c7=[])),
        encode(columns(c7=["0"])),
        encode(columns(c7=[-1])),
        encode(columns(c7=[2**63])),  # a store that records the rejection could not hold it
        encode(columns()).replace(b"\xa1i", b"\xa1\xff"),  # an id that is no UTF-8
        encode(columns()).replace(b"users", b"us\xffrs"),
        encode(columns()).replace(b"PutItem", b"Put\xed\xa0\x80m"),  # a surrogate
        encode(columns()) + b"\0",
    ],
    ids=lambda body: repr(body[:16]),
)
def test_refuses_what_is_no_set_of_columns(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode_columns(body, 1)


@pytest.mark.parametrize("count", [0, 2, 2**32 - 1])
def test_refuses_another_count_than_the_headers(count: int) -> None:
    with pytest.raises(FrameError):
        decode_columns(encode(columns()), count)


def test_refuses_no_envelope_at_all() -> None:
    with pytest.raises(FrameError):
        decode_columns(encode([[], b"", [], [], [], [], None, None]), 0)


@given(st.data())
def test_any_changed_byte_gives_columns_or_one_error(data: st.DataObject) -> None:
    body = bytearray(encode_body(columns_of(ALL_COLUMNS)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.integers(0, 255))
    try:
        found = decode_columns(bytes(body), len(ALL_COLUMNS))
    except FrameError:
        return
    assert len(list(found.envelopes())) == len(ALL_COLUMNS)


envelopes = st.builds(
    Envelope,
    id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=5),
    type=st.sampled_from(["PutItem", "DeleteItem", "Seen", "é" * 127]),
    schema=st.integers(1, 3),
    table=st.sampled_from(["", "users", "orders"]),
    key=st.binary(max_size=5),
    data=st.none() | st.binary(max_size=5),
    meta=st.none() | st.binary(max_size=5),
    expect=st.none() | st.integers(0, 2**48),
    time_ms=st.integers(-1, 2**53),
)


@given(st.lists(envelopes, min_size=1, max_size=6), st.data())
def test_envelopes_come_back_in_order_and_in_any_choice(
    events: list[Envelope], data: st.DataObject
) -> None:
    found = decode_columns(encode_body(columns_of(events)), len(events))
    assert list(found.envelopes()) == events
    chosen = data.draw(st.lists(st.integers(0, len(events) - 1), unique=True))
    assert list(found.take(chosen).envelopes()) == [events[index] for index in chosen]


def test_a_frame_holds_256_kinds_of_event_and_no_more() -> None:
    def of_kinds(count: int) -> list[Envelope]:
        return [Envelope("i", f"T{n}", 1, "users", b"\x80", None) for n in range(count)]

    assert list(decode_columns(encode_body(columns_of(of_kinds(256))), 256).envelopes())
    with pytest.raises(RefusedError, match="257 kinds of event"):
        columns_of(of_kinds(257))
