"""The note: the newer of two good slots, and never more than was written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from binlog.logs.note import LOST, NOTE_BYTES, SLOT_STRIDE, Note, decode_note, encode_note

LOG = b"L" * 16
numbers = st.integers(0, 2**64 - 1)


def write(data: bytes, note: Note) -> bytes:
    slot, at = encode_note(note, LOG)
    return data[:at].ljust(at, b"\0") + slot + data[at + len(slot) :]


def test_layout_is_as_documented() -> None:
    slot, at = encode_note(Note(counter=3, segment=0x10, end=0x20, arrival_ms=0x30), LOG)
    assert at == SLOT_STRIDE
    assert slot.hex() == (
        "c6bc34ab"
        + b"BLNT".hex()
        + "0100000000000000"
        + LOG.hex()
        + "0000000000000003"
        + "0000000000000010"
        + "0000000000000020"
        + "0000000000000030"
    )


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=4))
def test_the_last_one_written_counts(written: list[tuple[int, int, int]]) -> None:
    data = b""
    for counter, values in enumerate(written, 1):
        data = write(data, Note(counter, *values))
    assert decode_note(data, LOG) == Note(len(written), *written[-1])
    assert len(data) <= NOTE_BYTES


@given(st.integers(2, 9), st.integers(0, 63), st.integers(1, 255))
def test_a_torn_slot_leaves_the_one_before(counter: int, at: int, flip: int) -> None:
    """A bound that is too low costs a little work; one that is too high would hide a loss."""
    before, after = Note(counter - 1, 0, 10, 5), Note(counter, 0, 20, 6)
    data = bytearray(write(write(b"", before), after))
    data[counter % 2 * SLOT_STRIDE + at] ^= flip
    assert decode_note(bytes(data), LOG) == before
    data[(counter - 1) % 2 * SLOT_STRIDE + at] ^= flip
    assert decode_note(bytes(data), LOG) == LOST


def test_what_is_short_or_another_logs_is_lost() -> None:
    data = write(b"", Note(2, 0, 10, 5))
    assert decode_note(data, b"M" * 16) == LOST
    for size in range(len(data)):
        assert decode_note(data[:size], LOG) == LOST
