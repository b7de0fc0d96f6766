"""Notes beside the chains, in bytes: JSON with a CRC-32C of itself with ``crc`` 0, and a newline."""

from __future__ import annotations

import google_crc32c
import msgspec
from msgspec.structs import replace

_encode = msgspec.json.Encoder(order="deterministic").encode


def checksum(note: msgspec.Struct) -> int:
    """What the ``crc`` of a note has to be."""
    return int(google_crc32c.value(_encode(replace(note, crc=0))))


def sealed(note: msgspec.Struct) -> bytes:
    """A note's bytes."""
    return _encode(replace(note, crc=checksum(note))) + b"\n"
