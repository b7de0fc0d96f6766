"""The straight loops: the least code that turns our log's frames into a table.

They read the same bytes as our readers, and then believe everything: no checksum, no bound, no
order, no duplicates, no versions, no tombstones, one table. `fold` decodes every payload, as
anybody would write it first; `fold_lazily` keeps whole items as the bytes they came in and decodes
only what an update touches, which is the trick of our own appliers without their checks.

A frame's body is the array of columns that `binlog.columns` describes; nothing of ours is called.
"""

from __future__ import annotations

import sqlite3
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from scripts.benchmarks.workload import Items, change_item

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SEGMENTS = "*.seg"
_COMPRESSED, _GENESIS = 1, 8
_FLAGS_AT = 5
_SIZES = struct.Struct(">II").unpack_from
_ENTRIES = struct.Struct(">II").iter_unpack

_decode = msgspec.msgpack.Decoder().decode
_encode = msgspec.msgpack.Encoder().encode

Table = dict[bytes, Any]
"""Canonical key to item: a dict, or in the lazy loop mostly bytes."""


def raw_body(frame: bytes) -> bytes:
    """What a frame holds, decompressed."""
    body = frame[_header_bytes(frame) :]
    return zstd.decompress(body) if frame[_FLAGS_AT] & _COMPRESSED else body


def columns(frame: bytes) -> tuple[list[str], bytes, list[bytes], list[Any]]:
    """Kinds, index, keys and datas of a frame."""
    kinds, index, _ids, keys, datas, *_ = _decode(raw_body(frame))
    return [kind[0] for kind in kinds], index, keys, datas


def _header_bytes(frame: bytes) -> int:
    return frame[6] << 8 | frame[7]


def fold(path: Path) -> Table:
    """Decode and fold everything, one event after the other."""
    return fold_frames(stored_frames(path))


def fold_frames(frames: Iterable[bytes]) -> Table:
    """`fold`, of frames from anywhere; a genesis record is none."""
    table: Table = {}
    for kinds, index, keys, datas in map(columns, frames):
        for kind, key, data in zip(index, keys, datas, strict=True):
            name = kinds[kind]
            if name == "PutItem":
                table[key] = _decode(data)
            elif name == "DeleteItem":
                table.pop(key, None)
            elif name == "UpdateItem":
                item = table.get(key)
                table[key] = change_item(_decode(key) if item is None else item, _decode(data))
    return table


def fold_lazily(path: Path) -> Table:
    """The same, with whole items left encoded until an update needs one."""
    table: Table = {}
    for kinds, index, keys, datas in map(columns, stored_frames(path)):
        for kind, key, data in zip(index, keys, datas, strict=True):
            name = kinds[kind]
            if name == "PutItem":
                table[key] = data
            elif name == "DeleteItem":
                table.pop(key, None)
            elif name == "UpdateItem":
                item = table.get(key, key)
                table[key] = _encode(change_item(_decode(item), _decode(data)))
    return table


def write_rows(table: Table, file: Path) -> None:
    """The final rows into a new SQLite file, one transaction, durable on return."""
    encode = msgspec.json.Encoder().encode
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE items (key BLOB PRIMARY KEY, item TEXT) WITHOUT ROWID")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO items VALUES (?, ?)",
            ((key, encode(item).decode()) for key, item in sorted(table.items())),
        )
        connection.execute("COMMIT")
    finally:
        connection.close()


def items_of(table: Table) -> Items:
    """The table for the oracle's digest."""
    items = (_decode(item) if isinstance(item, bytes) else item for item in table.values())
    return {item["id"]: item for item in items}


def items_in(file: Path) -> Items:
    """The rows that `write_rows` wrote, for the oracle's digest."""
    connection = sqlite3.connect(file)
    try:
        rows = connection.execute("SELECT item FROM items").fetchall()
    finally:
        connection.close()
    items = (msgspec.json.decode(text) for (text,) in rows)
    return {item["id"]: item for item in items}


def stored_frames(path: Path) -> Iterator[bytes]:
    """The frames of a directory log that hold events, straight from its segment files.

    A block (`binlog.logs.block`) is a header of 60 bytes that ends in its own size and its number
    of frames, an entry of 8 bytes for each frame that ends in the frame's size, and the frames.
    """
    for segment in sorted(path.glob(SEGMENTS)):
        data = segment.read_bytes()
        at = 0
        while at < len(data):
            size, frames = _SIZES(data, at + 52)
            start = at + 60 + 8 * frames
            for _, length in _ENTRIES(data[at + 60 : start]):
                frame = data[start : start + length]
                start += length
                if not is_genesis(frame):
                    yield frame
            at += size


def is_genesis(frame: bytes) -> bool:
    """Whether it is a genesis record, which holds no events."""
    return bool(frame[_FLAGS_AT] & _GENESIS)
