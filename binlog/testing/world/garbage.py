"""Records in our partition that are no valid frame of it, each for another reason (S7).

Each maker takes a valid frame of a session that nobody knows, so that nothing but the named reason
can stop it, and nothing else (expiry, a duplicate) can hide it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import google_crc32c
import msgspec

from binlog.columns import columns_of, encode_body
from binlog.compression import compress
from binlog.frame import HEADER_BYTES, encode_frame
from binlog.params import genesis_hash
from binlog.testing.world.records import Frame, Log

Maker = Callable[[Log, Frame], bytes]


def resealed(data: bytes) -> bytes:
    """The frame with both checksums made right, as a writer with a bug would send it."""
    body_crc = google_crc32c.value(data[HEADER_BYTES:]).to_bytes(4, "big")
    data = data[:12] + body_crc + data[16:]
    head_crc: int = google_crc32c.extend(google_crc32c.value(data[:8]), data[12:HEADER_BYTES])
    sealed = head_crc.to_bytes(4, "big")
    return data[:8] + sealed + data[12:]


def plain(log: Log, frame: Frame) -> bytes:
    """The frame as it should be."""
    return log.encoded(frame).data


def with_header(**changes: object) -> Maker:
    """A frame of another header, checksums right."""

    def make(log: Log, frame: Frame) -> bytes:
        header = msgspec.structs.replace(log.header(frame, 1, len(frame.events)), **changes)
        return encode_frame(header, encode_body(columns_of(frame.events)))

    return make


def with_body(change: Callable[[list[object]], None]) -> Maker:
    """A frame whose columns are changed as plain lists, checksums right."""

    def make(log: Log, frame: Frame) -> bytes:
        columns: list[object] = msgspec.msgpack.decode(encode_body(columns_of(frame.events)))
        change(columns)
        return encode_frame(
            log.header(frame, 1, len(frame.events)), msgspec.msgpack.encode(columns)
        )

    return make


def flipped(at: int) -> Maker:
    """A frame with a bit of one byte flipped."""

    def make(log: Log, frame: Frame) -> bytes:
        data = bytearray(plain(log, frame))
        data[at] ^= 0x10
        return bytes(data)

    return make


def bomb(log: Log, frame: Frame, size: int = 3_000_000, claimed: int = 2_000) -> bytes:
    """A small body of zeros that decompresses to ``size`` bytes; its header says ``claimed``."""
    packed = compress(bytes(size))
    head = encode_frame(log.header(frame, 1, 2), b"")[:HEADER_BYTES]
    sizes = len(packed).to_bytes(4, "big") + claimed.to_bytes(4, "big")
    return resealed(head[:5] + b"\x01" + head[6:124] + sizes + head[132:] + packed)


def _set(column: int, entry: int, value: object) -> Callable[[list[object]], None]:
    def change(columns: list[object]) -> None:
        values = columns[column]
        assert isinstance(values, list)
        values[entry] = value

    return change


def _pop(column: int) -> Callable[[list[object]], None]:
    def change(columns: list[object]) -> None:
        values = columns[column]
        assert isinstance(values, list)
        values.pop()

    return change


def _replace(column: int, value: object) -> Callable[[list[object]], None]:
    def change(columns: list[object]) -> None:
        columns[column] = value

    return change


GARBAGE: list[tuple[str, Maker]] = [
    ("empty", lambda _log, _frame: b""),
    ("no magic", lambda log, frame: b"JSON" + plain(log, frame)[4:]),
    ("cut in the header", lambda log, frame: plain(log, frame)[: HEADER_BYTES - 1]),
    ("cut in the body", lambda log, frame: plain(log, frame)[:-1]),
    ("longer than its header says", lambda log, frame: plain(log, frame) + b"\0"),
    ("a bit of the header flipped", flipped(83)),
    ("a bit of the body flipped", flipped(HEADER_BYTES + 3)),
    ("version 2, not allowed", lambda log, frame: resealed(flip_version(log, frame, 2))),
    ("version 0", lambda log, frame: resealed(flip_version(log, frame, 0))),
    ("unknown flag", lambda log, frame: resealed(_at(plain(log, frame), 5, 0x80))),
    ("another log", with_header(log_id=bytes(16))),
    ("other parameters", with_header(genesis_hash=genesis_hash(b"other"))),
    ("another partition", with_header(partition=1)),
    ("no envelope", with_header(count=0)),
    ("too many envelopes", with_header(count=9)),
    ("another count", with_header(count=1)),
    ("number 0", with_header(first=0)),
    (
        "generation 0",
        lambda log, f: plain(log, replace(f, session=f.session._replace(generation=0))),
    ),
    ("a RESOLVE of two", with_header(resolve=True)),
    ("a bomb", bomb),
    ("no columns", lambda log, frame: encode_frame(log.header(frame, 1, 2), b"\xc1" * 9)),
    ("a column short", with_body(_pop(2))),
    ("an unknown kind", with_body(_replace(1, b"\0\x09"))),
    ("an empty id", with_body(_set(2, 0, ""))),
    ("a table's name", with_body(_set(0, 0, ["PutItem", 1, "no/table"]))),
    ("schema version 0", with_body(_set(0, 0, ["PutItem", 0, "tab"]))),
]


def flip_version(log: Log, frame: Frame, version: int) -> bytes:
    """A frame of that version, its checksums those of version 1."""
    return _at(plain(log, frame), 4, version)


def _at(data: bytes, index: int, value: int) -> bytes:
    return data[:index] + bytes([value]) + data[index + 1 :]
