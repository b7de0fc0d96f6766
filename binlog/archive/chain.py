"""One partition's chain of segments, and how to find one's way in it.

The chain is what the keys say it is (`binlog.archive.keys`); a segment is what its own bytes say.
Index pages only tell where to look: they may lack, or be damaged, and then the keys are listed.
What is given here in the order of the chain follows on what was given before: place, position and
digest, or it is a hole, and nothing behind it is given.

A chain grows, and nothing of it ever changes, so whatever was learnt of it stays true.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import google_crc32c

from binlog.archive.block import decode_block, is_block_size
from binlog.archive.index import IndexPage, decode_page
from binlog.archive.keys import (
    FIRST,
    Place,
    chain_prefix,
    index_prefix,
    parse_segment_key,
    segment_key,
)
from binlog.archive.segment import (
    HEADER_BYTES,
    SEGMENT_REMEDY,
    TAIL_BYTES,
    LogOf,
    check_header,
    damaged,
    decode_info,
    footer_bytes_missing,
    named,
)
from binlog.archive.segment_info import BlockInfo, Outline, SegmentInfo
from binlog.errors import DamageError, MismatchError, UpgradeError
from binlog.log import Position, Record
from binlog.logger import get_logger
from binlog.objects.objects import Objects

_INFOS_KEPT = 8
_PAGES_KEPT = 4
_CHECK_BYTES = 8 * 1024 * 1024  # of a read that only holds bytes against their checksums
_logger = get_logger(__name__)


class Chain:
    """The segments of one partition. Any thread may read; what is remembered only saves calls."""

    def __init__(self, objects: Objects, log: LogOf, partition: int) -> None:
        self.partition = partition
        self._objects = objects
        self._log = log
        self.name = objects.name
        self._last: Place | None = None  # of the last segment that was seen
        self._checked: Place | None = None  # of the last one that was read whole, or written
        self._infos: dict[str, SegmentInfo] = {}
        self._page_places: list[Place] = []  # of the index pages that were seen, in order
        self._pages: dict[Place, IndexPage | None] = {}

    # -- segments --------------------------------------------------------------------------------

    def end(self) -> SegmentInfo | None:
        """The last segment now; ``None``: there is none yet.

        Raises:
            DamageError, MismatchError, UpgradeError: it is none of this chain's; `info`.
            StorageError, RefusedError: the storage's.
        """
        place = self.end_place()
        return None if place is None else self.info(place)

    def checked_end(self) -> SegmentInfo | None:
        """As `end`, for who is to write behind it: every byte of that segment is read, once.

        Raises:
            DamageError: likewise, a block of it is not what was written.
        """
        info = self.end()
        if info is not None and info.place != self._checked:
            with named(self.name):
                self._check_bytes(info)
            self._checked = info.place
        return info

    def _check_bytes(self, info: SegmentInfo) -> None:
        """Hold every byte against its checksum, a few blocks at a time: far less than to decode them."""
        index = 0
        while index < len(info.blocks):
            first, size = info.blocks[index], 0
            some: list[BlockInfo] = []
            skip = 0 if index else HEADER_BYTES
            for block in info.blocks[index:]:
                if not is_block_size(block.bytes, block.raw_bytes) or block.at != first.at + size:
                    raise damaged("its blocks are none", info.key, partition=self.partition)
                if some and size + block.bytes > _CHECK_BYTES:
                    break
                some.append(block)
                size += block.bytes
            stored = self._objects.get(info.key, first.at - skip, size + skip)
            if stored is None:
                raise self._missing(info.key)
            if skip:
                check_header(stored[:skip], info.key, self._log)
            for block in some:
                at = block.at - first.at + skip
                if google_crc32c.value(stored[at : at + block.bytes]) != block.crc:
                    raise damaged(
                        f"the checksum of its block {index} is wrong",
                        info.key,
                        partition=self.partition,
                        block=index,
                    )
                index += 1

    def end_place(self) -> Place | None:
        """Where the last segment stands; nothing of it is read."""
        for place in self.places(after=self._last):
            self._last = place
        return self._last

    def note_end(self, info: SegmentInfo) -> None:
        """Remember a segment that was written just now: nothing before it is to be listed again."""
        self.note(info)
        if self._last is None or info.place > self._last:
            self._last = self._checked = info.place

    def info(self, place: Place, *, size: int | None = None) -> SegmentInfo:
        """What the segment at ``place`` says of itself; ``size`` is its object's, if known.

        Raises:
            DamageError: there is none, or it is not what an archiver wrote there.
            MismatchError, UpgradeError: another log's, or a newer format.
        """
        key = segment_key(self.partition, place)
        found = self._infos.get(key)
        if found is not None and size in (None, found.bytes):
            return found
        with named(self.name):
            tail = self._objects.get(key, -TAIL_BYTES)
            if tail is None:
                raise self._missing(key)
            if footer_bytes_missing(tail, key):
                whole = len(tail) + footer_bytes_missing(tail, key)
                tail = self._objects.get(key, -whole)
                if tail is None:
                    raise self._missing(key)
            found = decode_info(tail, key, self._log, size=size)
        self.note(found)
        return found

    def note(self, info: SegmentInfo) -> None:
        """Remember a segment that was read, or written, just now."""
        while len(self._infos) >= _INFOS_KEPT:
            self._infos.pop(next(iter(self._infos)), None)
        self._infos[info.key] = info

    def segments(self, *, after_offset: int = 0) -> Iterator[SegmentInfo]:
        """The segments in order, from the one on that holds the event ``after_offset + 1``.

        Or would hold it: those behind all events come, too. Each follows on the one before it.

        Raises:
            DamageError: a hole, or a segment that does not fit its neighbour: named.
            MismatchError, UpgradeError, StorageError, RefusedError: as `info`.
        """
        start = self._place_of(after_offset + 1)
        if start is None:
            if next(iter(self.places(after=None)), None) is not None:
                raise self._missing(segment_key(self.partition, FIRST))
            return
        before: SegmentInfo | None = None
        expected = start
        for place in self.places(after=start, inclusive=True):
            if place != expected:
                raise self._hole(expected, place)
            info = self.info(place)
            if before is not None:
                self._check_follows(before, info)
            if before is not None or max(info.last, info.first) > after_offset:
                yield info
            before, expected = info, info.next_place

    def find(self, offset: int) -> SegmentInfo | None:
        """The segment that holds the event ``offset``; ``None``: it is not in the archive.

        Raises:
            As `segments`.
        """
        if offset < 1:
            return None
        for info in self.segments(after_offset=offset - 1):
            if info.first > offset:
                raise self._hole(Place(offset, 0), info.place)
            if info.last >= offset:
                return info
        return None

    def places(self, *, after: Place | None, inclusive: bool = False) -> Iterator[Place]:
        """Where segments stand, as their keys say, in order."""
        prefix = chain_prefix(self.partition)
        after_key = "" if after is None else segment_key(self.partition, after)
        if inclusive:
            after_key = after_key.removesuffix(".seg")  # just before it
        for entry in self._objects.list(prefix, after=after_key):
            parsed = parse_segment_key(entry.key)
            if parsed is not None:  # what else lies there is for `binlog check` to name
                yield parsed[1]

    def outlines(self, *, after: Outline | None = None) -> Iterator[Outline]:
        """All segments behind ``after`` in short and in order; index pages spare most of the reads.

        Each follows on the one before it, the first on ``after``, as `segments` checks.
        """
        before = after
        for outline in self._outlines(after):
            expected = FIRST if before is None else before.next_place
            if outline.place != expected:
                raise self._hole(expected, outline.place)
            if before is not None and (outline.start, outline.digest_before) != (
                before.end,
                before.digest,
            ):
                raise self._unfit(outline.key, before.key)
            yield outline
            before = outline

    def _outlines(self, after: Outline | None) -> Iterator[Outline]:
        last = after
        for place in self.page_places():
            page = self.page(place)
            if page is None or (last is not None and page.end.place <= last.place):
                continue
            # Of a page that lacks, or is damaged, the segments themselves are asked.
            if place > (FIRST if last is None else last.next_place):
                for between in self.places(after=None if last is None else last.place):
                    if between >= place:
                        break
                    last = self.info(between).outline()
                    yield last
            for outline in page.outlines:
                if last is None or outline.place > last.place:
                    last = outline
                    yield outline
        for each in self.places(after=None if last is None else last.place):
            yield self.info(each).outline()

    # -- records ---------------------------------------------------------------------------------

    def open(self, info: SegmentInfo, *, block: int = 0) -> Iterator[list[tuple[str, Record]]]:
        """The records of a segment from a block on: a list a block, each record with its shard.

        One block is in memory at a time, and one ranged read is made for each.

        Raises:
            DamageError: a block is not what was written, or the object is gone.
            StorageError, RefusedError: the storage's.
        """
        for index in range(block, len(info.blocks)):
            yield self.read_block(info, index)

    def read_block(self, info: SegmentInfo, index: int) -> list[tuple[str, Record]]:
        """The records of one block; from any thread. The first is checked with the file's header.

        Raises:
            As `open`.
        """
        with named(self.name):
            return self._read_block(info, index)

    def _read_block(self, info: SegmentInfo, index: int) -> list[tuple[str, Record]]:
        block = info.blocks[index]
        where = {"partition": self.partition, "block": index}
        if not is_block_size(block.bytes, block.raw_bytes):
            raise damaged(f"its block {index} is larger than one can be", info.key, **where)
        skip = 0 if index else HEADER_BYTES
        stored = self._objects.get(info.key, block.at - skip, block.bytes + skip)
        if stored is None:
            raise self._missing(info.key)
        if skip:
            check_header(stored, info.key, self._log)
            stored = stored[skip:]
        if len(stored) != block.bytes or google_crc32c.value(stored) != block.crc:
            raise damaged(f"the checksum of its block {index} is wrong", info.key, **where)
        try:
            records = decode_block(
                stored,
                raw_bytes=block.raw_bytes,
                partition=self.partition,
                shards=[shard.id for shard in info.shards],
            )
        except ValueError as error:
            raise damaged(f"its block {index}: {error}", info.key, **where) from error
        ends = [Position(shard, record.sequence) for shard, record in (*records[:1], *records[-1:])]
        if len(records) != block.records or ends != [block.first, block.last]:
            raise damaged(f"its block {index} has other records than it tells", info.key, **where)
        return records

    # -- the index -------------------------------------------------------------------------------

    def page_places(self) -> list[Place]:
        """Of the index pages there are, where the first segment of each stands; in order."""
        prefix = index_prefix(self.partition)
        after = self._page_places[-1] if self._page_places else None
        after_key = "" if after is None else f"{prefix}{after.first:020d}-{after.part:04d}.idx"
        for entry in self._objects.list(prefix, after=after_key):
            key = "chain" + entry.key[len("index") :].removesuffix(".idx") + ".seg"
            parsed = parse_segment_key(key)
            if parsed is not None:
                self._page_places.append(parsed[1])
        return list(self._page_places)

    def page(self, place: Place) -> IndexPage | None:
        """An index page; ``None``: none that can be used, which `binlog check` reports and nobody needs.

        A damaged one, one that came from another log's archive, or of a newer version.
        """
        if place not in self._pages:
            while len(self._pages) >= _PAGES_KEPT:
                self._pages.pop(next(iter(self._pages)), None)
            try:
                self._pages[place] = decode_page(self._objects, self._log, self.partition, place)
            except (DamageError, MismatchError, UpgradeError) as error:
                _logger.warning("index.unusable", key=error.where, error=str(error))
                self._pages[place] = None
        return self._pages[place]

    # -- inside ----------------------------------------------------------------------------------

    def _place_of(self, offset: int) -> Place | None:
        """The last place that can hold that event; the first part of it, if it holds none yet."""
        places = self.page_places()
        at = bisect_right(places, Place(offset, 1 << 30)) - 1
        begin = places[at] if at >= 0 else None
        page = self.page(begin) if begin is not None else None
        if page is not None:
            inside = [o.place for o in page.outlines if o.first <= offset]
            if offset <= page.end.last:
                return _first_part(inside, offset)
            begin = page.end.place
        found: list[Place] = []
        for place in self.places(after=begin, inclusive=begin is not None):
            if place.first > offset:
                break
            if found and found[-1].first != place.first:
                found.clear()
            found.append(place)
        if not found:
            return None
        # If the first part is gone, the next one is not where the chain goes on: a hole.
        return Place(offset, 0) if found[0].first == offset else found[-1]

    def _check_follows(self, before: SegmentInfo, info: SegmentInfo) -> None:
        if (info.start, info.digest_before) != (before.end.position, before.end.digest):
            raise self._unfit(info.key, before.key)

    def _unfit(self, key: str, before: str) -> DamageError:
        return self.damaged(f"it does not go on where {before} ends", key, before=before)

    def damaged(self, what: str, key: str, **details: object) -> DamageError:
        """The error of a segment that is not what was written, by its key and its archive."""
        where = f"{key} of {self.name}"
        return DamageError(
            what, where, SEGMENT_REMEDY, key=key, partition=self.partition, **details
        )

    def _hole(self, expected: Place, found: Place) -> DamageError:
        return DamageError(
            f"partition {self.partition} of the archive has a hole: no segment at"
            f" {expected.first}-{expected.part}, the next one is at {found.first}-{found.part}",
            f"{segment_key(self.partition, expected)} of {self._objects.name}",
            "restore the object from a copy or a deleted version; what lies behind it is not served",
            partition=self.partition,
            first=expected.first,
            key=segment_key(self.partition, expected),
        )

    def _missing(self, key: str) -> DamageError:
        return DamageError(
            f"a segment of partition {self.partition} is missing",
            f"{key} of {self._objects.name}",
            "restore the object from a copy or a deleted version",
            partition=self.partition,
            key=key,
        )


def _first_part(places: list[Place], offset: int) -> Place:
    """Of the places not behind ``offset`` the one that holds it, or the first part that may."""
    last = places[-1]
    return Place(last.first, 0) if last.first == offset else last
