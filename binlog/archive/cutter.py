"""The cutter: from a partition's records, in log order, to segments. It does no I/O.

It holds the partition's sequencer, which stands behind the last record that it was fed, and the
records since the last segment, in compressed blocks. A segment can be cut behind any record, and
only there. Whoever cuts writes it under the key that it names, create-if-absent, and tells what
stands there then: `settle`. If that is another archiver's segment, the cutter stands at *its* end
and with its state, and has to be fed again from there: never is "it exists" taken for "it is mine".

The same records in the same cut make the same bytes, whoever makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import google_crc32c
from msgspec.structs import replace

from binlog.archive.block import BLOCK_RAW_BYTES, BlockBuilder
from binlog.archive.compression import Later, at_once
from binlog.archive.keys import FIRST, PART_MAX, segment_key
from binlog.archive.segment import HEADER_BYTES, LogOf, damaged, encode_segment
from binlog.archive.segment_info import BlockInfo, SegmentInfo
from binlog.arrival import Decisions
from binlog.errors import MismatchError, RefusedError
from binlog.log import Position, Record, Shard
from binlog.params import Params, genesis_hash
from binlog.run import Run
from binlog.sequencer import Sequencer
from binlog.standing import Checked

_NO_DECISIONS: Decisions = {}
_PARTS_SOON, _WAIT_MOST_S = 100, 3 * 3600.0
_BLOCK_BYTES = 1024  # that is kept of a block beside its bytes, about
_UNDER_WAY_MAX = 2  # blocks of a partition that are being compressed


class Cut(NamedTuple):
    """A segment that was cut, to be written."""

    key: str
    data: bytes
    info: SegmentInfo


class Cutter:
    """Cuts segments of one partition, from the end of its chain on.

    ``root`` is where the partition begins in the log, ``end`` the last segment of its chain, if it
    has any; ``shard_of`` tells of a shard what the segments are to keep of it. ``later`` compresses,
    while the next records come.
    """

    def __init__(
        self,
        params: Params,
        genesis: bytes,
        partition: int,
        *,
        root: Position,
        shard_of: Callable[[str], Shard],
        end: SegmentInfo | None = None,
        later: Later = at_once,
    ) -> None:
        self.partition = partition
        self._later = later
        self._params = params
        self._genesis = genesis
        self._log = LogOf(bytes.fromhex(params.log_id), genesis_hash(genesis), params.timeline)
        self._root = root
        self._shard_of = shard_of
        self._stand_at(end)

    def _stand_at(self, end: SegmentInfo | None) -> None:
        self.end = end
        """The last segment of the chain, as far as it is known here."""
        if end is None:
            self._place, self._start = FIRST, self._root
        else:
            self._place, self._start = end.next_place, end.end.position
        state = None if end is None else end.end.state
        self.sequencer = Sequencer(self._params, self._genesis, self.partition, state)
        if end is not None and (
            (self.sequencer.offset, self.sequencer.digest) != (end.last, end.end.digest)
        ):
            raise damaged("its end state is of another place", end.key, partition=self.partition)
        self._begin()

    def _begin(self) -> None:
        """An empty segment, where the sequencer stands."""
        self._digest_before = self.sequencer.digest
        self._last = self._start
        self._shards: dict[str, int] = {self._start.shard: 0}
        self._blocks: list[_Block] = []
        self._builder = BlockBuilder()
        self._block_first = self._start
        self._records = self._foreign = 0
        self._arrivals: tuple[int, int] | None = None
        self._held = self.sequencer.counters.held
        self._closed_bytes = self._packed_bytes = self._packed_raw_bytes = 0
        self._packed_blocks = 0  # of the blocks, those that are known to be compressed

    # -- in --------------------------------------------------------------------------------------

    @property
    def records(self) -> int:
        """How many are waiting to be cut."""
        return self._records

    @property
    def events(self) -> int:
        """How many events they have made."""
        return self.sequencer.offset - (self._place.first - 1)

    @property
    def raw_bytes(self) -> int:
        """About how much what waits is, before it is compressed."""
        return self._closed_bytes + self._builder.raw_bytes

    @property
    def memory_bytes(self) -> int:
        """About how much memory what waits takes."""
        table = _BLOCK_BYTES * len(self._blocks)
        return self.raw_bytes - self._packed_raw_bytes + self._packed_bytes + table

    @property
    def arrival_first_ms(self) -> int | None:
        """The earliest arrival of what waits."""
        return None if self._arrivals is None else self._arrivals[0]

    def wait_s(self, segment_every_s: float) -> float:
        """How long a record that waits may: longer where there were many segments without an event.

        Of these there may be ten thousand in a row; so those that somebody else's records make, or a
        producer's that repeats itself, last for years.
        """
        if self.events or self._place.part < _PARTS_SOON:
            return segment_every_s
        slower = (1 + self._place.part // _PARTS_SOON) ** 2
        return max(segment_every_s, min(_WAIT_MOST_S, segment_every_s * slower))

    @property
    def is_full(self) -> bool:
        """Whether what waits cannot be cut: too many segments before it have no event, nor has it."""
        return self._place.part >= PART_MAX and not self.events

    @property
    def position(self) -> Position:
        """Just after the last record that it was fed."""
        return self._last

    def feed(
        self, shard: str, record: Record, decisions: Decisions = _NO_DECISIONS
    ) -> Sequence[Run]:
        """Take the next record of the partition, or a foreign one whose home it is.

        Raises:
            Halted, UpgradeError, TrimmedError: `Sequencer.feed`; the record is not taken.
        """
        if record.partition < 0:
            self.take(shard, record, ())
            return ()
        runs = self.sequencer.feed(shard, record, decisions)
        self.take(shard, record, runs)
        return runs

    def take(self, shard: str, record: Record, runs: Sequence[Run]) -> None:
        """Keep a record that `sequencer` has been fed, and that gave these runs."""
        held = self.sequencer.counters.held
        # What was held is in the state byte by byte, see `frame_form`; a frame that made a run of its
        # own without having been is not.
        accepted = held == self._held and any(run.sequence == record.sequence for run in runs)
        self._held = held
        index = self._shards.get(shard)
        if index is None:
            index = self._come_to(shard)
        builder = self._builder
        if not builder.records:
            self._block_first = Position(shard, record.sequence)
        builder.add(index, record, accepted=accepted)
        self._last = Position(shard, record.sequence)
        self._records += 1
        self._foreign += record.partition < 0
        low, high = self._arrivals or (record.arrival_ms, record.arrival_ms)
        self._arrivals = min(low, record.arrival_ms), max(high, record.arrival_ms)
        if builder.raw_bytes >= BLOCK_RAW_BYTES:
            self._close_block()
            self._wait_for_blocks()

    def _come_to(self, shard: str) -> int:
        """Number a shard, after those that the partition went through to it without a record."""
        for passed in self.way_to(shard):
            self._shards.setdefault(passed, len(self._shards))
        return self._shards[shard]

    def way_to(self, shard: str) -> list[str]:
        """The shards that the partition went through to this one, and it, from where it stands on."""
        way, at = [shard], shard
        while at != self._last.shard:
            before = [
                p for p in self._parents_of(at) if p not in self._shards or p == self._last.shard
            ]
            if not before:
                break
            at = before[0]
            way.append(at)
        return way[::-1]

    def _parents_of(self, shard: str) -> list[str]:
        """Those that held this partition, as far as anybody knows them still: one, or none."""
        found = []
        for parent in self._shard_of(shard).parents:
            with suppress(MismatchError):
                found += [parent] * (self.partition in self._shard_of(parent).partitions)
        return found

    def _close_block(self) -> None:
        raw = self._builder.encode()
        self._blocks.append(
            _Block(
                self._later(raw),
                len(raw),
                self._builder.records,
                self._block_first,
                self._last,
                self.sequencer.offset,
            )
        )
        self._closed_bytes += len(raw)
        self._builder = BlockBuilder()

    def _wait_for_blocks(self) -> None:
        """Few are on their way at once, or they would pile up where compressing is the slower part."""
        while self._packed_blocks < len(self._blocks) - _UNDER_WAY_MAX:
            block = self._blocks[self._packed_blocks]
            self._packed_blocks += 1
            self._packed_bytes += len(block.packed())
            self._packed_raw_bytes += block.raw_bytes

    # -- out -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Begin to compress the rest of what waits: `cut` comes next, and nothing in between.

        Who cuts several partitions closes all of them first, or each is waited for in turn.
        """
        if self._builder.records:
            self._close_block()

    def cut(self, *, stamp: bytes = b"") -> Cut:
        """The segment of all that waits; `settle` comes next, and nothing in between.

        ``stamp`` is the log's of the last record, which goes into the state (`SequencerState.place`).

        Raises:
            RefusedError: there were ten thousand segments without an event in a row.
        """
        if not self._records or self._arrivals is None:
            raise ValueError(f"nothing to cut of partition {self.partition}")
        if self.is_full:
            raise RefusedError(
                f"partition {self.partition}: {PART_MAX} segments without an event in a row",
                do="append an event to it, and then run: binlog archive LOG ARCHIVE",
                partition=self.partition,
            )
        self.close()
        stored = [block.packed() for block in self._blocks]
        sequencer = self.sequencer
        first, offset = self._place.first, sequencer.offset
        state = sequencer.encode_state(place=stamp)
        info = SegmentInfo(
            key=segment_key(self.partition, self._place),
            partition=self.partition,
            first=first,
            part=self._place.part,
            last=offset,
            records=self._records,
            events=offset - first + 1,
            foreign=self._foreign,
            start=self._start,
            end=Checked(self._last, offset, offset, sequencer.digest, state),
            digest_before=self._digest_before,
            arrival_first_ms=self._arrivals[0],
            arrival_last_ms=self._arrivals[1],
            bytes=0,
            raw_bytes=self._closed_bytes,
            shards=tuple(self.told(shard) for shard in self._shards),
            blocks=tuple(_table(self._blocks, stored)),
            timeline=self._params.timeline,
        )
        data = encode_segment(info, stored, self._log)
        return Cut(info.key, data, replace(info, bytes=len(data)))

    def told(self, shard: str) -> Shard:
        """What is kept of a shard."""
        found = self._shard_of(shard)
        return Shard(found.id, found.parents, found.partitions)

    def settle(self, cut: Cut, standing: SegmentInfo | None = None) -> None:
        """Go on behind the segment that stands under the key of ``cut``.

        ``standing``: another archiver's; everything that waits is given up, and what the log has
        behind *its* end is to be fed next, whether that lies before or behind what was fed here.
        """
        if standing is not None:
            if (standing.partition, standing.place) != (self.partition, self._place):
                raise ValueError(f"{standing.key} is not what was to be written")
            self._stand_at(standing)
            return
        self.end = cut.info
        self._place, self._start = cut.info.next_place, cut.info.end.position
        self._begin()

    def go_on_at(self, end: SegmentInfo | None) -> None:
        """Stand at the end of a chain, and give up all that waits."""
        self._stand_at(end)


class _Block(NamedTuple):
    """A block that is closed, while it is compressed."""

    packed: Callable[[], bytes]
    raw_bytes: int
    records: int
    first: Position
    last: Position
    offset: int


def _table(blocks: Sequence[_Block], stored: Sequence[bytes]) -> Iterator[BlockInfo]:
    at = HEADER_BYTES
    for block, data in zip(blocks, stored, strict=True):
        crc = google_crc32c.value(data)
        yield BlockInfo(
            at,
            len(data),
            block.raw_bytes,
            block.records,
            crc,
            block.first,
            block.last,
            block.offset,
        )
        at += len(data)
