"""Ids of events as a segment keeps them, where all of a block are UUIDs: 16 bytes, each against the last.

Event ids are a third of a compressed frame: 36 characters that no compressor knows to be half as many
bytes. Those of one batch differ in their last digits only (`binlog.ids`), so each is kept as the XOR
with the one before, and the bytes are laid out by place: all first bytes, all second ones, and so on.
Then most of them are runs of zeros.

The column is msgpack as a frame's body has it (`binlog.columns`), an array of texts. Everything is done
on whole columns, some hundred calls a block and none an id.
"""

from __future__ import annotations

from collections.abc import Sequence

_TEXT_BYTES = 38  # msgpack's two bytes of a text of 36, and the text
_DASHES = (8, 13, 18, 23)
_DIGITS = [place for place in range(36) if place not in _DASHES]
_BYTES = 16
_SHORT_MAX, _LONG_MAX = 15, 65_535
IDS_MAX = 128 * 1024
"""Of a block: what a MiB has room for, and one column more; unpacked they take ten times their room."""


def pack_ids(columns: Sequence[bytes]) -> bytes | None:
    """The ids of all these columns; ``None``: they would not come back as they are.

    `unpack_ids` is its pair, and wants the sizes of the columns.
    """
    counts = [_count(len(column)) for column in columns]
    texts = []
    for column, count in zip(columns, counts, strict=True):
        head = None if count is None else _head(count)
        if head is None or not column.startswith(head):
            return None
        texts.append(column[len(head) :])
    text = b"".join(texts)
    total = len(text) // _TEXT_BYTES
    if text[0::_TEXT_BYTES] != b"\xd9" * total or text[1::_TEXT_BYTES] != b"\x24" * total:
        return None
    if any(text[2 + dash :: _TEXT_BYTES] != b"-" * total for dash in _DASHES):
        return None
    digits = bytearray(2 * _BYTES * total)
    for at, place in enumerate(_DIGITS):
        digits[at :: 2 * _BYTES] = text[2 + place :: _TEXT_BYTES]
    try:
        ids = bytes.fromhex(digits.decode("ascii"))
    except ValueError:  # which UnicodeDecodeError is, too
        return None
    if ids.hex().encode() != digits:
        return None  # capitals
    number = int.from_bytes(ids, "big")
    changes = (number ^ (number >> 8 * _BYTES)).to_bytes(len(ids), "big")
    return b"".join([changes[place::_BYTES] for place in range(_BYTES)])


def unpack_ids(packed: bytes, sizes: Sequence[int]) -> bytes:
    """The columns again, one after another.

    Raises:
        ValueError: these are not their sizes.
    """
    counts = [_count(size) for size in sizes]
    total = sum(count or 0 for count in counts)
    if None in counts or len(packed) != total * _BYTES or total > IDS_MAX:
        raise ValueError("packed ids of another number")
    changes = bytearray(len(packed))
    for place in range(_BYTES):
        changes[place::_BYTES] = packed[place * total : (place + 1) * total]
    number, shift = int.from_bytes(changes, "big"), 8 * _BYTES
    while shift < 8 * len(packed):  # each is the XOR of all up to it
        number ^= number >> shift
        shift *= 2
    digits = number.to_bytes(len(packed), "big").hex().encode()
    text = bytearray(_TEXT_BYTES * total)
    text[0::_TEXT_BYTES] = b"\xd9" * total
    text[1::_TEXT_BYTES] = b"\x24" * total
    for dash in _DASHES:
        text[2 + dash :: _TEXT_BYTES] = b"-" * total
    for at, place in enumerate(_DIGITS):
        text[2 + place :: _TEXT_BYTES] = digits[at :: 2 * _BYTES]
    parts: list[bytes] = []
    at = 0
    for count in counts:
        size = _TEXT_BYTES * (count or 0)
        parts += (_head(count or 0), bytes(text[at : at + size]))
        at += size
    return b"".join(parts)


def _count(size: int) -> int | None:
    """How many ids a column of that size holds; ``None``: it cannot be one."""
    count, rest = divmod(size - 1, _TEXT_BYTES)
    if not rest and 0 <= count <= _SHORT_MAX:
        return count
    count, rest = divmod(size - 3, _TEXT_BYTES)
    return count if not rest and _SHORT_MAX < count <= _LONG_MAX else None


def _head(count: int) -> bytes:
    """Msgpack's for an array of so many."""
    return bytes((0x90 | count,)) if count <= _SHORT_MAX else b"\xdc" + count.to_bytes(2, "big")
