"""Columns that are decoded late are those that decoding at once would give, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binlog import columns
from binlog.columns import Columns, FrameError, decode_columns, encode_body
from binlog.late_column import COUNT_MIN, LateColumn, late_ids, late_times
from tests.proofs.budget import examples

NOW_MS = 1_700_000_000_000
UINT64_MAX = 2**64 - 1


def body_of(ids: Sequence[str], times: Sequence[int]) -> bytes:
    count = len(ids)
    keys = [b"\x81\xa1k" + bytes((n % 128,)) for n in range(count)]
    datas: list[bytes | None] = [None if n % 5 == 0 else b"\x80" for n in range(count)]
    return encode_body(Columns([("PutItem", 1, "orders")], bytes(count), ids, keys, datas, times))


def decoded_at_once(body: bytes, count: int, monkeypatch: pytest.MonkeyPatch) -> Columns | None:
    with monkeypatch.context() as patch:
        patch.setattr(columns, "COUNT_MIN", 1 << 30)
        try:
            return decode_columns(body, count)
        except FrameError:
            return None


def decoded(body: bytes, count: int) -> Columns | None:
    try:
        return decode_columns(body, count)
    except FrameError:
        return None


@pytest.mark.parametrize("count", [COUNT_MIN, 255, 256, 4_096])
@pytest.mark.parametrize("length", [1, 31, 32, 36, 127, 128, 217, 255])
def test_ids_of_one_length_and_times_are_decoded_late(count: int, length: int) -> None:
    """UUIDs and milliseconds: what nearly every log holds."""
    ids = [f"{n:x}".rjust(length, "-")[-length:] for n in range(count)]
    times = [NOW_MS + n for n in range(count)]
    found = decode_columns(body_of(ids, times), count)
    assert isinstance(found.ids, LateColumn)
    assert isinstance(found.times, LateColumn)
    assert (list(found.ids), list(found.times)) == (ids, times)
    assert (found.ids[3], found.ids[-2:], len(found.ids)) == (ids[3], ids[-2:], count)
    assert found.ids == ids
    assert found.take([1, 0]).ids == [ids[1], ids[0]]
    assert [envelope.id for envelope in found.envelopes()] == ids


@pytest.mark.parametrize(
    "ids",
    [
        ["a" * (1 + n % 2) for n in range(COUNT_MIN)],
        ["é" * 18 for _ in range(COUNT_MIN)],
        ["a" * 35 + "\x80" for _ in range(COUNT_MIN)],
        ["a" * 254 + "é" for _ in range(COUNT_MIN)],
        ["é" * 255 for _ in range(COUNT_MIN)],
    ],
)
def test_other_ids_are_decoded_at_once(ids: list[str]) -> None:
    """No form of an id is lost."""
    found = decode_columns(body_of(ids, [NOW_MS] * COUNT_MIN), COUNT_MIN)
    assert isinstance(found.ids, list)
    assert found.ids == ids


@pytest.mark.parametrize("ids", [[""] * COUNT_MIN, ["a" * 256] * COUNT_MIN])
def test_an_id_out_of_bounds_is_refused_in_either_form(ids: list[str]) -> None:
    """The bound of 1 to 255 holds whether they are decoded or not."""
    with pytest.raises(FrameError):
        decode_columns(body_of(ids, [NOW_MS] * COUNT_MIN), COUNT_MIN)


@examples(8)
@given(
    st.integers(COUNT_MIN, 300),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=3),
    st.booleans(),
)
def test_whatever_is_in_the_bytes_late_and_at_once_agree(
    count: int, length: int, changes: list[tuple[int, int]], cut: bool
) -> None:
    """A record that one reader halts at has to halt every reader, in every version of the code."""
    times = [(NOW_MS << (n % 20)) % UINT64_MAX for n in range(count)]
    body = bytearray(body_of([f"{n:x}".rjust(length, ".")[-length:] for n in range(count)], times))
    for place, value in changes:
        body[place % len(body)] = value
    if cut:
        del body[-1:]
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert decoded(bytes(body), count) == decoded_at_once(bytes(body), count, monkeypatch)


_MARKS = st.sampled_from(
    [0x00, 0x7F, 0x80, 0xA0, 0xA1, 0xA3, 0xBF, 0xC4, 0xCE, 0xCF, 0xD3, 0xD9, 0xFF]
)
_ids = msgspec.msgpack.Decoder(list[Annotated[str, msgspec.Meta(min_length=1, max_length=255)]])
_times = msgspec.msgpack.Decoder(list[int])


@examples(25)
@given(
    st.integers(16, 18),
    st.sampled_from([bytes((0xA0 + n,)) + b"x" * n for n in (1, 2, 31)] + [b"\xd9\x02xx"]),
    st.lists(st.tuples(st.integers(0, 1 << 10), _MARKS), max_size=3),
)
def test_a_column_that_is_taken_is_one_that_decoding_would_take(
    count: int, element: bytes, changes: list[tuple[int, int]]
) -> None:
    """Bytes changed where it matters: at the marks of a few short elements."""
    header = b"\xdc" + count.to_bytes(2, "big")
    for decoder, late_of, one in (
        (_ids, late_ids, element),
        (_times, late_times, b"\xcf" + NOW_MS.to_bytes(8, "big")),
    ):
        data = bytearray(header + one * count)
        for place, value in changes:
            data[place % len(data)] = value
        late = late_of(bytes(data), count)
        if late is not None:
            assert late == decoder.decode(data)


@examples(8)
@given(st.integers(16, 40), st.integers(0, 40), st.booleans(), st.integers(-2, 2))
def test_an_array_is_taken_if_it_is_whole_and_not_otherwise(
    count: int, length: int, is_short: bool, off: int
) -> None:
    """Elements that are missing, cut or too many; strides of nothing; a mark at the very end."""
    mark = bytes((0xA0 + length % 32,)) if is_short else bytes((0xD9, length))
    length = length % 32 if is_short else length
    whole = b"\xdc" + count.to_bytes(2, "big") + (mark + b"x" * length) * count
    data = whole[:off] if off < 0 else whole + bytes(off)
    late = late_ids(data, count)
    assert (late is not None) == (off == 0 and length > 0)
    assert late is None or late == ["x" * length] * count
    for end in range(8):
        assert late_ids(whole[:end], count) is None
        assert late_times(whole[:end], count) is None


def test_only_two_forms_of_text_are_taken() -> None:
    """Other marks may be followed by as many bytes, too."""
    for tag in range(256):
        data = b"\xdc\x00\x10" + (bytes((tag,)) + b"x" * max(0, tag - 0xA0)) * 16
        assert (late_ids(data, 16) is not None) == (0xA0 < tag <= 0xBF), tag
