"""A partition's chain by places instead of offsets: what of it comes after a record of the log.

A chain goes through shards, one after another, as its partition did when they were split and merged;
so its places have a total order, that of the shards on its way and then of the sequence numbers. Of
shards in which the partition had no record a segment says nothing; the lineage does.

What is known of a chain stays true: it only grows. `ChainView.refresh` learns what came since.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TypeAlias

import msgspec

from binlog.archive.chain import Chain
from binlog.archive.ends import REMEDY, End, missing_end
from binlog.archive.keys import FIRST, segment_key
from binlog.archive.seen import Seen
from binlog.archive.segment_info import Outline, SegmentInfo
from binlog.archive.through import Through
from binlog.errors import BinlogError, DamageError, MismatchError, UpgradeError
from binlog.log import Position, Record, Shard

Rank: TypeAlias = tuple[float, int]
"""How far along a chain: the number of the shard on its way, and the sequence number."""

WHOLE = inf
"""As a sequence number: all of a shard."""


_NOWHERE = Position("", -1)


class ChainView:
    """One partition's chain. ``shards`` is the lineage as far as it is known, shared by all views.

    What a call to the storage raises any method may raise. Where the chain has a hole, or a segment is
    not what was written, it ends before that, and ``trouble`` says why: who comes there raises it.
    """

    def __init__(
        self,
        chain: Chain,
        shards: dict[str, Shard],
        read_seen: Callable[[], Seen | None] = lambda: None,
        read_through: Callable[[str], Through | None] = lambda _: None,
        read_end: Callable[[], End | None] = lambda: None,
    ) -> None:
        self.partition = chain.partition
        self.chain = chain
        self.outlines: list[Outline] = []
        self.seen: Seen | None = None
        self.trouble: BinlogError | None = None
        self._shards = shards
        self._read_seen = read_seen
        self._read_through = read_through
        self._read_end = read_end
        self._numbers: dict[str, int] = {}  # of the shards that it has records in, or begins in
        self._ends: list[Rank] = []  # of each segment
        self.refresh()

    def refresh(self) -> bool:
        """Learn what was written since; whether there is anything new, or why there cannot be."""
        count, seen = len(self.outlines), self.seen
        # The notes first: what they say is true of a chain that has all that it had by then.
        noted = self._read_end()
        self.seen = self._read_seen()
        for shard in () if self.seen is None else self.seen.shards:
            self._shards.setdefault(shard.id, shard)
        last = self.outlines[-1] if self.outlines else None
        self.trouble = None
        try:
            for outline in self.chain.outlines(after=last):
                self._add(outline)
            self._check_end(noted)
        except (DamageError, MismatchError, UpgradeError) as error:
            self.trouble = error
        return len(self.outlines) > count or self.seen != seen or self.trouble is not None

    def _check_end(self, noted: End | None) -> None:
        """That the chain goes as far as the notes say it went.

        Raises:
            DamageError: it does not: its last segments are gone.
        """
        last = self.outlines[-1] if self.outlines else None
        offset = None if last is None else last.last
        if noted is not None and (
            last is None or not End.of(last).reaches(noted, ancestors(last.end.shard, self._shards))
        ):
            raise missing_end(self.partition, noted, offset, self.chain.name)
        if self.seen is not None and self.is_short_of(self.seen.end):
            raise missing_behind(self.chain, last, self.seen.end)
        through = None if last is None else self._read_through(last.end.shard)
        end = None if through is None else through.ends.get(self.partition)
        if end is not None and self.is_short_of(end):
            # It was read after the chain was, so what it names may have come meanwhile.
            for outline in self.chain.outlines(after=last):
                self._add(outline)
            if self.is_short_of(end):
                raise missing_behind(self.chain, self.outlines[-1], end)

    def is_short_of(self, end: Position) -> bool:
        """Whether the chain is known to end before that place."""
        if not self.outlines:
            return True
        mine = self.outlines[-1].end
        if mine.shard == end.shard:
            return mine.sequence < end.sequence
        return mine.shard in ancestors(end.shard, self._shards)

    def _add(self, outline: Outline) -> None:
        if not {outline.start.shard, outline.end.shard} <= self._shards.keys() & self._numbers:
            info = self._info_as(outline)
            for shard in info.shards:
                self._shards.setdefault(shard.id, shard)
                self._numbers.setdefault(shard.id, len(self._numbers))
        numbers = self._numbers
        if not {outline.start.shard, outline.end.shard} <= numbers.keys():
            raise self.chain.damaged("it does not tell of the shards that it names", outline.key)
        start, end = self._rank_of(outline.start), self._rank_of(outline.end)
        if end <= start:
            raise self.chain.damaged("it ends before it begins", outline.key)
        self.outlines.append(outline)
        self._ends.append(end)

    # -- places ----------------------------------------------------------------------------------

    @property
    def end(self) -> Position | None:
        """The last record; ``None`` of an empty chain."""
        return self.outlines[-1].end if self.outlines else None

    @property
    def way(self) -> Sequence[str]:
        """The shards on its way, as far as its records stand in them, and where it was seen last."""
        beyond = self.seen_beyond
        if beyond is None or beyond.shard in self._numbers or beyond.shard not in self._shards:
            return tuple(self._numbers)
        return (*self._numbers, beyond.shard)

    def rank(self, position: Position) -> Rank | None:
        """How far along that is; ``None``: nobody knows of such a shard on this way."""
        number = self._number(position.shard)
        return None if number is None else (number, position.sequence)

    def _number(self, shard: str) -> float | None:
        if shard in self._numbers:
            return self._numbers[shard]
        # The partition had no record there: it came to the next shard on the way, if there is one.
        for child in self._after(shard):
            if child in self._numbers:
                return self._numbers[child] - 0.5
        return (
            inf if any(each in self._numbers for each in ancestors(shard, self._shards)) else None
        )

    def _after(self, shard: str) -> list[str]:
        """The shards that this partition can have gone to from there, the nearest first."""
        found = [shard]
        for each in found:
            found += [
                child.id
                for child in self._shards.values()
                if each in child.parents
                and self.partition in child.partitions
                and child.id not in found
            ]
        return found[1:]

    def reaches(self, shard: str) -> float | None:
        """Up to which record of a shard this chain is known to have all of its partition.

        `WHOLE`: the partition has gone on to a child, and all is here. ``None``: nothing of it.
        """
        if not self._ends:
            return None
        number = self._number(shard)
        last_number, last = self._ends[-1]
        if number is not None and number < last_number:
            return WHOLE
        found: float | None = last if number == last_number else None
        beyond = self.seen_beyond
        if beyond is not None:
            if beyond.shard == shard:
                found = beyond.sequence if found is None else max(found, beyond.sequence)
            elif beyond.shard in self._shards and (
                number == last_number or beyond.shard in self._after(shard)
            ):
                return WHOLE  # else nobody could go on from there
        through = self._read_through(shard)
        end = None if through is None else self.rank(through.ends.get(self.partition, _NOWHERE))
        if through is not None and end is not None and end <= self._ends[-1]:
            found = through.sequence if found is None else max(found, through.sequence)
        return found

    @property
    def seen_beyond(self) -> Position | None:
        """Up to where there is known to be nothing behind the chain's end."""
        seen = self.seen
        return None if seen is None or seen.end != self.end else seen.position

    def segment_after(self, rank: Rank) -> int:
        """The index of the segment that holds what comes after a place; beyond all: their number."""
        return bisect_right(self._ends, rank)

    def has_whole_after(self, rank: Rank) -> bool:
        """Whether a whole segment lies behind the place."""
        index = self.segment_after(rank)
        if index == len(self.outlines):
            return False
        begin = self._rank_of(self.outlines[index].start)
        return index + 1 < len(self.outlines) or begin >= rank

    # -- records ---------------------------------------------------------------------------------

    def goes_beyond(self, rank: Rank) -> bool:
        """Whether there is anything after a place."""
        return bool(self._ends) and rank < self._ends[-1]

    def block_after(self, rank: Rank) -> Block | None:
        """The block that holds what comes after a place, checked and decoded; from any thread.

        ``None``: nothing comes.

        Raises:
            DamageError, StorageError, RefusedError: as `Chain.read_block`.
        """
        index = self.segment_after(rank)
        if index == len(self.outlines):
            return None
        info = self._info_of(index)
        at = bisect_right([self._rank_of(block.last) for block in info.blocks], rank)
        before = info.start if at == 0 else info.blocks[at - 1].last
        records: dict[str, list[Record]] = {}
        for shard, record in self.chain.read_block(info, at):
            records.setdefault(shard, []).append(record)
        return Block(
            self._rank_of(before),
            self._rank_of(info.blocks[at].last),
            {shard: Stretch([r.sequence for r in some], some) for shard, some in records.items()},
            info.blocks[at].raw_bytes,
        )

    def _info_of(self, index: int) -> SegmentInfo:
        """All that a segment says of itself."""
        return self._info_as(self.outlines[index])

    def _info_as(self, outline: Outline) -> SegmentInfo:
        """Likewise; it has to be what its outline says."""
        info = self.chain.info(outline.place)
        if info.outline() != outline:
            raise DamageError(
                "it is not the segment that an index page lists",
                f"{info.key} of {self.chain.name}",
                "binlog check tells which of the two is wrong: restore the segment, or delete the page",
                key=info.key,
                partition=self.partition,
            )
        return info

    def _rank_of(self, position: Position) -> Rank:
        """That of a place which the chain itself names."""
        return self._numbers[position.shard], position.sequence


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """Records of one shard, in order."""

    sequences: list[int]
    records: list[Record]

    def between(self, after: float, through: float) -> list[Record]:
        """Those after a sequence number, up to and with another one."""
        begin = bisect_right(self.sequences, after)
        return self.records[begin : max(begin, bisect_right(self.sequences, through))]


class Block(msgspec.Struct, frozen=True, gc=False):
    """What stands in a chain after ``low``, up to and with ``high``."""

    low: Rank
    high: Rank
    stretches: dict[str, Stretch]
    raw_bytes: int


def missing_behind(chain: Chain, last: Outline | None, end: Position) -> DamageError:
    """The error of a chain that ends before a place up to which a note says that it went."""
    place = FIRST if last is None else last.next_place
    key = segment_key(chain.partition, place)
    return DamageError(
        f"a segment of partition {chain.partition} is missing: its chain went up to record"
        f" {end.sequence} of {end.shard}",
        f"{key} of {chain.name}",
        REMEDY,
        partition=chain.partition,
        key=key,
        is_end=True,
    )


def ancestors(shard: str, shards: Mapping[str, Shard]) -> list[str]:
    """Its parents, theirs and so on, as far as they are known."""
    found = [shard]
    for each in found:
        known = shards.get(each)
        found += [p for p in (known.parents if known is not None else ()) if p not in found]
    return found[1:]
