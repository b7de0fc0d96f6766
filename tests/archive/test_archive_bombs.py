"""A segment, an index page or a note that is small and would fill the memory is refused before it does."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import google_crc32c
import msgspec
import pytest

from binlog.archive import Archive
from binlog.archive.block import BLOCK_RAW_BYTES, RAW_BYTES_MAX, RECORDS_MAX, decode_block
from binlog.archive.frame_form import BODY_BYTES_MAX
from binlog.archive.packed_ids import IDS_MAX, unpack_ids
from binlog.archive.seen import Seen, encode_seen, read_seen
from binlog.archive.segment import TRAILER_BYTES
from binlog.clock import ManualClock
from binlog.compression import compress
from binlog.errors import DamageError
from binlog.log import Position, Shard
from binlog.logs.block import BLOCK_BYTES_MAX
from binlog.logs.memory import MemoryLog
from tests.archive.archive_world import archive_by_hand
from tests.log.log_frames import PARAMS, put

MANY = 2_000_000
_encode = msgspec.msgpack.encode


@contextmanager
def bounded() -> Iterator[None]:
    """What is made until it is refused is no multiple of what it was told in."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_what_is_written_is_below_what_is_refused() -> None:
    """Of any log: a record is no larger than a block of the directory, a body than is decompressed."""
    assert max(BODY_BYTES_MAX, BLOCK_BYTES_MAX) + 8 * BLOCK_RAW_BYTES < RAW_BYTES_MAX
    assert BLOCK_RAW_BYTES // 24 + 1 < RECORDS_MAX
    assert BLOCK_RAW_BYTES // 38 + 65_535 < IDS_MAX


@bounded()
def test_a_block_of_millions_of_empty_records_is_refused() -> None:
    """Of 750 bytes, and a gigabyte of records."""
    column = b"\xdd" + MANY.to_bytes(4, "big") + bytes(MANY)  # msgpack's array of so many zeros
    texts = _encode("1" + "\n1" * (MANY - 1))
    rest = b"".join(map(_encode, ([], b""))) + column + _encode(b"") + _encode([])
    raw = b"\x9b" + column + texts + column + _encode(bytes(MANY)) + rest
    raw += _encode([b""] * 8) + _encode(None)
    stored = compress(raw)
    assert len(stored) < 2_000
    with pytest.raises(ValueError, match=r"no block .*length <= 65536"):
        decode_block(stored, raw_bytes=len(raw), partition=0, shards=["a"])


@bounded()
def test_more_ids_than_a_block_has_are_not_unpacked() -> None:
    sizes = [3 + 38 * 65_535] * 3
    with pytest.raises(ValueError, match="packed ids"):
        unpack_ids(bytes(3 * 65_535 * 16), sizes)


def footed(archive: Archive, **changes: Any) -> str:
    """Give the last segment of partition 0 another footer, and put it in its place."""
    info = archive.chain(0).end()
    assert info is not None
    data = archive.objects.get(info.key) or b""
    size = int.from_bytes(data[-TRAILER_BYTES:][:4], "big")
    begin = len(data) - TRAILER_BYTES - size
    footer = _encode(msgspec.msgpack.decode(data[begin:-TRAILER_BYTES]) | changes)
    start = struct.pack(
        ">IIQ", len(footer), google_crc32c.value(footer), begin + len(footer) + TRAILER_BYTES
    )
    end = start + google_crc32c.value(start).to_bytes(4, "big") + b"GSLB"
    archive.objects.put(info.key, data[:begin] + footer + end)
    return info.key


def kept() -> Archive:
    log = MemoryLog(PARAMS, clock=ManualClock())
    log.append([put(1)])
    return archive_by_hand(log, partitions=[0], records_each=9)


@bounded()
@pytest.mark.parametrize(
    "changes",
    [
        {"shards": [[f"shard-{n}", [], [[0, (1 << 20) - 1]]] for n in range(30)]},
        {"shards": [[f"shard-{n}", [], [[0, 4095]]] for n in range(4000)]},
        {"shards": [["shard-0000", [""] * 100_000, []]]},
        {"shards": [["s", [], []]] * 100_000},
        {"blocks": [[72, 1, 1, 1, 1, ["s", "1"], ["s", "1"], 1]] * 66_000},
    ],
    ids=["partitions", "partitions-of-many", "parents", "shards", "blocks"],
)
def test_a_footer_that_would_fill_the_memory_is_refused(changes: dict[str, Any]) -> None:
    archive = kept()
    key = footed(archive, **changes)
    with pytest.raises(DamageError, match="a footer that is none") as raised:
        Archive.open(archive.objects).chain(0).end()
    assert key in str(raised.value)


@pytest.mark.parametrize(("stored", "raw"), [(10**9, 10**6), (10**9, 10**9), (10**6, 10**3)])
def test_a_block_that_is_larger_than_one_can_be_is_not_fetched(stored: int, raw: int) -> None:
    """Whatever lies there."""
    archive = kept()
    info = archive.chain(0).end()
    assert info is not None
    block = msgspec.structs.replace(info.blocks[0], bytes=stored, raw_bytes=raw)
    lying = msgspec.structs.replace(info, blocks=(block,))
    with pytest.raises(DamageError, match="larger than one can be"):
        archive.chain(0).read_block(lying, 0)


@bounded()
def test_a_note_that_would_fill_the_memory_is_as_good_as_lost() -> None:
    archive = kept()
    shards = tuple(Shard(f"s-{n}", (), frozenset(range(4))) for n in range(3))
    seen = Seen(Position("s-2", 7), 1, Position("s-0", 3), shards)
    archive.objects.put("seen/p0000.json", encode_seen(seen, 0))
    assert read_seen(archive.objects, 0) == seen
    note = encode_seen(seen, 0).replace(b"[[0,3]]", b"[[0,1048575]]")
    body = msgspec.json.decode(note) | {"crc": 0}
    crc = google_crc32c.value(msgspec.json.encode(body))
    archive.objects.put("seen/p0000.json", msgspec.json.encode(body | {"crc": crc}) + b"\n")
    assert read_seen(archive.objects, 0) is None
    archive.objects.put("seen/p0000.json", encode_seen(seen, 0) + b" " * (1 << 21))
    assert read_seen(archive.objects, 0) is None
