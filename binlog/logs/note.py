"""The note: how far the log is durable, kept in a small file of two slots.

A writer moves it after the fsync of a block and before anybody is told, and does not sync it: it is
a lower bound of what is durable, never more. Slots are written in turn, so a torn write spoils one
and leaves the older; with both spoiled the note is *lost* and counts as 0. It is synced where a
bound too low would cost much: at recovery, at the start of a segment, at close.

Layout of a slot, integers big-endian; slots begin at bytes 0 and 512, a sector each::

    offset size
         0    4  CRC-32C of the rest of the slot
         4    4  magic "BLNT"
         8    1  version, 7 zeros
        16   16  log id
        32    8  counter: the higher of two good slots is the note
        40    8  segment that the next block goes to
        48    8  durable end: position in the log after the last durable block
        56    8  arrival of the last durable block, ms
"""

from __future__ import annotations

import struct

import google_crc32c
import msgspec

SLOT_STRIDE = 512
_SLOT = struct.Struct(">4s8s16sQQQQ")
_SLOT_BYTES = 4 + _SLOT.size
_MARK = bytes((1, 0, 0, 0, 0, 0, 0, 0))
NOTE_BYTES = SLOT_STRIDE + _SLOT_BYTES


class Note(msgspec.Struct, frozen=True, gc=False):
    """What the newest good slot says; `segment` may be one that is not yet begun."""

    counter: int
    segment: int
    end: int
    arrival_ms: int


LOST = Note(counter=0, segment=0, end=0, arrival_ms=0)


def encode_note(note: Note, log_id: bytes) -> tuple[bytes, int]:
    """The slot's bytes, and where in the file they belong."""
    rest = _SLOT.pack(b"BLNT", _MARK, log_id, note.counter, note.segment, note.end, note.arrival_ms)
    crc: int = google_crc32c.value(rest)
    return crc.to_bytes(4, "big") + rest, note.counter % 2 * SLOT_STRIDE


def decode_note(data: bytes, log_id: bytes) -> Note:
    """The note in a file's first `NOTE_BYTES`, `LOST` when both slots are bad."""
    best = LOST
    for at in (0, SLOT_STRIDE):
        slot = data[at : at + _SLOT_BYTES]
        if len(slot) < _SLOT_BYTES or google_crc32c.value(slot[4:]) != int.from_bytes(slot[:4]):
            continue
        magic, mark, owner, counter, segment, end, arrival = _SLOT.unpack_from(slot, 4)
        if (magic, mark, owner) == (b"BLNT", _MARK, log_id) and counter > best.counter:
            best = Note(counter, segment, end, arrival)
    return best
