"""An archive of every form of record, as today's code writes it: see test_golden_archive.py."""

from __future__ import annotations

from typing import Any

from binlog.archive import Archive, Cutter
from binlog.archive.index import encode_page
from binlog.archive.keys import index_key
from binlog.archive.seen import Seen, write_seen
from binlog.clock import ManualClock
from binlog.columns import columns_of, encode_body
from binlog.control import noop_frame
from binlog.envelope import PUT_ITEM, Envelope
from binlog.frame import Header, Session, encode_frame, stamp_born
from binlog.lineage import Lineage
from binlog.log import Position, Record
from binlog.logs.memory import MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.params import genesis_hash
from binlog.values import encode_item, encode_value
from tests.golden.cases import BORN_MS, FAMILY, LOG_ID, PARAMS

PARTITION = 3
GENESIS_OF = MemoryLog(PARAMS, clock=ManualClock(BORN_MS)).genesis


def _frame(
    first: int,
    count: int,
    *,
    uuids: bool,
    session: bytes = FAMILY,
    is_shortest: bool = True,
    **more: Any,
) -> bytes:
    events = [
        Envelope(
            f"018bcfe5-6800-7000-8000-{number:012x}" if uuids else f"id-{number}",
            PUT_ITEM,
            1,
            "users",
            encode_value({"id": f"k{number}"}),
            encode_item({"id": f"k{number}", "text": "some words " * (number % 9)}),
            time_ms=BORN_MS + number,
        )
        for number in range(first, first + count)
    ]
    header = Header(
        session=Session(session, 1),
        born_ms=BORN_MS,
        partition=PARTITION,
        first=first,
        count=count,
        log_id=bytes.fromhex(LOG_ID),
        genesis_hash=genesis_hash(GENESIS_OF),
        **more,
    )
    body = encode_body(columns_of(events))
    if not is_shortest:  # as a writer in another language may encode an array of 8
        body = b"\xdc\x00\x08" + body[1:]
    return encode_frame(header, body)


def golden_log() -> MemoryLog:
    """A split, a duplicate, a held frame, foreign records, compressed and plain frames."""
    clock = ManualClock(BORN_MS)
    log = MemoryLog(PARAMS, clock=clock, first_sequence=49 * 10**54, sequence_step=10**40 + 3)
    log.inject(PARTITION, _frame(1, 60, uuids=True))
    clock.advance(7)
    log.inject(PARTITION, _frame(61, 2, uuids=True))
    log.inject(PARTITION, _frame(61, 2, uuids=True))
    log.inject_foreign("caf\u00e9", b"a sample", shard="shard-0000")
    log.split("shard-0000")
    clock.advance(1_000)
    noop = noop_frame(
        PARAMS, log.genesis, PARTITION, family=bytes(range(16, 32)), now_ms=clock.now_ms()
    )
    log.inject(PARTITION, stamp_born(noop, clock.now_ms()))
    other = bytes(range(32, 48))
    log.inject(PARTITION, _frame(3, 50, uuids=False, session=other))
    log.inject(PARTITION, _frame(1, 2, uuids=False, session=other, id_window=True))
    log.inject(PARTITION, _frame(53, 1, uuids=True, session=other, is_shortest=False))
    log.inject_foreign("k", b"\x00\xff", shard=log.records(PARTITION)[-1][0])
    return log


def golden_archive() -> MemoryObjects:
    """Four segments, the third of which holds a held frame alone, an index page and a note."""
    log = golden_log()
    objects = MemoryObjects()
    archive = Archive.create(objects, log.params, log.genesis)
    lineage = Lineage(log)
    cutter = Cutter(
        log.params,
        log.genesis,
        PARTITION,
        root=lineage.root(PARTITION),
        shard_of=lineage.find,
    )
    outlines = []
    for index, (shard, record) in enumerate(everything(log)):
        cutter.feed(shard, record)
        if index in (1, 5, 6, 9):
            cut = cutter.cut(stamp=b"stamp")
            assert objects.put_new(cut.key, cut.data)
            cutter.settle(cut)
            outlines.append(cut.info.outline())
    objects.put_new(index_key(PARTITION, outlines[0].place), encode_page(outlines, archive.log))
    seen = Seen(Position("shard-0002", 49 * 10**54 + 5), BORN_MS + 9_000, outlines[-1].end)
    write_seen(objects, PARTITION, seen)
    return objects


def everything(log: MemoryLog) -> list[tuple[str, Record]]:
    """The records of the partition, and the foreign ones, which are said to be at home there."""
    return [
        (shard.name, record)
        for shard in log._shards.values()
        for record in shard.records
        if record.partition in (PARTITION, -1)
    ]
