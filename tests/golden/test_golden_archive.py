"""An archive as the first version wrote it is read for ever.

`archive-1.json` holds its objects in hex: the root, segments with records of every form, an index page
and a note. It is only ever read: what another version writes gets a file of its own beside it.

Compressed bytes are the compressor's, which changes; so of blocks what they decompress to is compared,
and of all other bytes that today's code writes the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import msgspec
import pytest

from binlog.archive import Archive, BlockInfo, SegmentInfo
from binlog.archive.block import RAW_BYTES_MAX
from binlog.archive.index import decode_page
from binlog.archive.keys import Place
from binlog.archive.seen import read_seen
from binlog.archive.segment import HEADER_BYTES, encode_header, encode_segment
from binlog.compression import decompress
from binlog.frame import decode_header
from binlog.log import Position, Record
from binlog.objects.memory import MemoryObjects
from binlog.sequencer import Sequencer
from tests.golden.archive_cases import PARTITION, everything, golden_archive, golden_log
from tests.golden.cases import BORN_MS, LOG_ID, PARAMS

FILES: dict[str, str] = json.loads((Path(__file__).parent / "archive-1.json").read_bytes())
# place, last offset, records, foreign ones, shards
SEGMENTS = [
    (Place(1, 0), 60, 2, 0, ["shard-0000"]),
    (Place(61, 0), 63, 4, 1, ["shard-0000", "shard-0001"]),
    (Place(64, 0), 63, 1, 0, ["shard-0001"]),
    (Place(64, 1), 116, 3, 1, ["shard-0001"]),
]
FORMS = [[0, 3], [3, 0, 2, 3], [0], [3, 1, 2]]


@pytest.fixture
def archive() -> Archive:
    objects = MemoryObjects()
    for key, content in FILES.items():
        objects.put(key, bytes.fromhex(content))
    return Archive.open(objects)


def blocks_of(archive: Archive) -> Iterator[tuple[SegmentInfo, BlockInfo, bytes]]:
    for info in archive.chain(PARTITION).segments():
        for block in info.blocks:
            stored = archive.objects.get(info.key, block.at, block.bytes)
            assert stored is not None
            yield info, block, stored


def test_an_archive_of_format_1_says_what_it_said(archive: Archive) -> None:
    """Segments, places and counts."""
    assert archive.params == PARAMS
    assert archive.log_id == LOG_ID
    infos = list(archive.chain(PARTITION).segments())
    assert [
        (info.place, info.last, info.records, info.foreign, [shard.id for shard in info.shards])
        for info in infos
    ] == SEGMENTS
    assert infos[1].shards[1].parents == ("shard-0000",)
    assert infos[1].shards[1].partitions == frozenset({0, 1, 2, 3})
    assert (infos[0].arrival_first_ms, infos[-1].arrival_last_ms) == (BORN_MS, BORN_MS + 1_007)
    assert infos[-1].end.digest.hex() == (
        "d01a3855e97c58991514e6aef06cb45b28a1be65c3b113ca3b2e0232e854fe56"
    )


def test_its_records_are_those_of_the_log(archive: Archive) -> None:
    """Each in its form, and numbered as the log's own are."""
    log = golden_log()
    chain = archive.chain(PARTITION)
    found = [pair for info in chain.segments() for block in chain.open(info) for pair in block]
    expected = everything(log)
    assert len(found) == len(expected)
    sequencers = [Sequencer(log.params, log.genesis, PARTITION) for _ in range(2)]
    kept: list[tuple[Record, Record]] = []
    for (shard, record), (other_shard, original) in zip(found, expected, strict=True):
        assert (shard, msgspec.structs.replace(record, data=b"")) == (
            other_shard,
            msgspec.structs.replace(original, data=b""),
        )
        kept.append((record, original))
        if record.partition >= 0:
            sequencers[0].feed(shard, record)
            sequencers[1].feed(shard, original)
            assert sequencers[0].encode_state() == sequencers[1].encode_state()
    assert sequencers[0].offset == 116
    forms = [form for each in FORMS for form in each]
    for form, (record, original) in zip(forms, kept, strict=True):
        if form in (0, 2):
            assert record.data == original.data
        else:
            assert not decode_header(record.data).compressed
    assert any(len(a.data) > len(b.data) for a, b in kept)


def test_its_blocks_decompress_to_what_todays_code_compresses(archive: Archive) -> None:
    """Every column, byte by byte, and each record in the form that it had."""
    today = Archive.open(golden_archive())
    of_both = zip(blocks_of(archive), blocks_of(today), strict=True)
    forms = []
    for (_, block, stored), (_, block_today, stored_today) in of_both:
        raw = decompress(stored, block.raw_bytes)
        assert raw is not None
        assert raw == decompress(stored_today, block_today.raw_bytes)
        forms.append(list(msgspec.msgpack.decode(raw)[3]))
    assert forms == FORMS


def test_todays_code_writes_the_same_bytes_around_the_blocks(archive: Archive) -> None:
    """Header, footer, block table and trailer, from what was read of them."""
    by_key: dict[str, tuple[SegmentInfo, list[bytes]]] = {}
    for info, _, stored in blocks_of(archive):
        by_key.setdefault(info.key, (info, []))[1].append(stored)
    assert len(by_key) == len(SEGMENTS)
    for key, (info, blocks) in by_key.items():
        assert encode_segment(info, blocks, archive.log).hex() == FILES[key]
        header = encode_header(archive.log, PARTITION, info.place)
        assert FILES[key].startswith(header.hex())
        assert info.blocks[0].at == HEADER_BYTES == len(header)


def test_the_root_and_the_note_are_written_as_they_were(archive: Archive) -> None:
    """They are JSON, and a function of what they say."""
    today = golden_archive()
    for key in ("archive.json", "seen/p0003.json"):
        assert (today.get(key) or b"").hex() == FILES[key]
    seen = read_seen(archive.objects, PARTITION)
    assert seen is not None
    assert seen.position == Position("shard-0002", 49 * 10**54 + 5)


def test_its_index_page_lists_its_segments(archive: Archive) -> None:
    """And so does the one that today's code writes."""
    outlines = tuple(info.outline() for info in archive.chain(PARTITION).segments())
    page = decode_page(archive.objects, archive.log, PARTITION, Place(1, 0))
    assert page.outlines == outlines
    today = decode_page(golden_archive(), archive.log, PARTITION, Place(1, 0))
    strip = {"bytes": 0}  # which the compressor decides
    assert [msgspec.structs.replace(o, **strip) for o in today.outlines] == [
        msgspec.structs.replace(o, **strip) for o in outlines
    ]


def test_the_layout_is_that_of_the_document(archive: Archive) -> None:
    """Read by hand, with nothing of ours: what a reader in another language would do."""
    for key, content in FILES.items():
        if not key.endswith(".seg"):
            continue
        data = bytes.fromhex(content)
        assert data[:4] == b"BLSG"
        assert data[4] == 1
        assert int.from_bytes(data[8:12], "big") == google_crc32c.value(data[12:72])
        assert data[12:28].hex() == LOG_ID
        assert int.from_bytes(data[48:52], "big") == PARTITION
        assert data[-4:] == b"GSLB"
        assert int.from_bytes(data[-16:-8], "big") == len(data)
        assert int.from_bytes(data[-8:-4], "big") == google_crc32c.value(data[-24:-8])
        footer_bytes = int.from_bytes(data[-24:-20], "big")
        footer = data[-24 - footer_bytes : -24]
        assert int.from_bytes(data[-20:-16], "big") == google_crc32c.value(footer)
        said = msgspec.msgpack.decode(footer)
        at = 72
        for begin, size, raw_bytes, records, crc, *_ in said["blocks"]:
            assert begin == at
            stored = data[at : at + size]
            assert google_crc32c.value(stored) == crc
            raw = decompress(stored, min(raw_bytes, RAW_BYTES_MAX))
            assert raw is not None
            assert len(msgspec.msgpack.decode(raw)[3]) == records
            at += size
        assert at == len(data) - 24 - footer_bytes
