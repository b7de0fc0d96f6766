"""Taking a snapshot while the store is written to (N1), in parallel, interruptible at any moment.

In this order, each step complete and durable before the next one is begun:

1. the checkpoints, `Begun`: nothing was read before them;
2. dead letters, aside (`snapshots.snapshot_waiting` says why before the rows);
3. rows, tombstones and parked ones too, strongly consistent, by tables and segments;
4. of the letters those that wait behind rows as they were read; rejections; foreign records. A
   rejection is durable before its item moves on, so after the rows all are there that belong to them.
   Those beyond the highest offset in any row are left out: whoever replays finds them;
5. that the generation still is live, and by which rules;
6. the manifest.

Whoever is interrupted goes on where the parts end, with the checkpoints of the beginning
(`snapshots.snapshot_begin`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import msgspec

from appliers.item import Row
from appliers.letters import DeadLetter, letter_order
from appliers.store import Generation, Store
from appliers.survey import Page, Survey, survey
from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError, LostError
from binlog.logger import get_logger
from binlog.objects.objects import Objects
from binlog.vector import Vector
from snapshots.snapshot import read_manifest, sealed_sha256
from snapshots.snapshot_begin import begin, clean
from snapshots.snapshot_chain import Chain
from snapshots.snapshot_manifest import (
    ASIDE,
    FORMAT,
    Begun,
    Manifest,
    TableCount,
    manifest_key,
    seal,
    total_of,
)
from snapshots.snapshot_part import Index, pack, pack_rows, reach_of, read_part
from snapshots.snapshot_waiting import Waiting

PART_BYTES = 8 * 1024 * 1024  # raw; in memory as often as there are workers, with what Python adds
PART_S = 30.0  # a part ends at the latest so long after it was begun: what a crash may cost
TRIES_MAX = 3  # of stores that are rebuilt meanwhile

OnProgress = Callable[[int], None]
"""Called with the number of rows that are durable."""

_encode_place = msgspec.msgpack.Encoder().encode
_decode_place = msgspec.msgpack.Decoder().decode
_logger = get_logger(__name__)


def take_snapshot(
    store: Store,
    objects: Objects,
    *,
    generation: str | None = None,
    rate: float | None = None,
    workers: int = 1,
    anew: bool = False,
    progress: OnProgress | None = None,
    clock: Clock | None = None,
    random: Random | None = None,
    part_bytes: int = PART_BYTES,
) -> Manifest:
    """Take a snapshot of ``generation`` of ``store``, or of its only one; finished on return.

    Goes on with one of the same store that was interrupted, unless ``anew``. A store that is rebuilt
    meanwhile is begun again with. ``workers`` is how many segments of a table are read at a time,
    where a store has such; ``rate`` bounds all of them together, in read units a second.

    Raises:
        ConflictError: there is nothing in the store, or several generations.
        DamageError: a row that cannot be read, or lacks its dead letters; see `binlog check`.
        LostError: the store was rebuilt `TRIES_MAX` times meanwhile.
        StorageError: the same call goes on where it was.
    """
    clock = clock or SystemClock()
    for left in reversed(range(TRIES_MAX)):
        try:
            with survey(store, generation, rate=rate) as source:
                taking = Taking(
                    objects, source, clock=clock, progress=progress, part_bytes=part_bytes
                )
                return taking.take(workers=workers, anew=anew, random=random)
        except LostError as error:
            if not left:
                raise
            _logger.warning("snapshot.begun_again", store=store.name, why=error.what)
    raise AssertionError("unreachable")


class Taking:
    """One snapshot being taken."""

    def __init__(
        self,
        objects: Objects,
        source: Survey,
        *,
        clock: Clock,
        progress: OnProgress | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._objects = objects
        self._source = source
        self._clock = clock
        self._progress = progress
        self._part_bytes = part_bytes
        self._rows = 0
        self._mutex = threading.Lock()
        self._failed = False

    def take(
        self,
        *,
        workers: int = 1,
        anew: bool = False,
        adopted: str | None = None,
        random: Random | None = None,
    ) -> Manifest:
        """All of it. ``adopted``: the table whose content before its first event this is to be."""
        segments = 1 if self._source.is_moment else max(1, workers)
        begun, data = begin(
            self._objects,
            self._source,
            segments=segments,
            now_ms=self._clock.now_ms(),
            random=random,
            anew=anew,
            adopted=adopted,
        )
        try:
            return self._take(begun, data, workers)
        except BinlogError:
            # Who took it beside us may have finished it, and removed what it needs no longer.
            if self._objects.get(manifest_key(begun.id), 0, 1) is None:
                raise
            return read_manifest(self._objects, begun.id)

    def _take(self, begun: Begun, data: bytes, workers: int) -> Manifest:
        self._begun = begun
        self._vector = begun.vector
        self._waiting = Waiting(self._vector, begun.store)
        read = self._read_letters()
        rows = self._read_rows(1 if begun.is_moment else max(1, workers))
        exact = self._exact(rows)
        chains = [
            *(chain for chains in rows.values() for chain in chains),
            self._copy("letters", self._kept_letters(read)),
            self._copy("rejections", self._kept_rejections(exact)),
            self._copy("foreign", self._foreign()),
            # After them: of one that is relayed meanwhile at least the place is there.
            self._copy("relayed", self._relayed()),
        ]
        return self._finish(data, rows, chains, exact, self._source.check())

    def _finish(
        self,
        data: bytes,
        rows: Mapping[str, Sequence[Chain]],
        chains: Sequence[Chain],
        exact: Vector,
        now: Generation,
    ) -> Manifest:
        begun = self._begun
        # Rules that it went on by meanwhile mean the same for all that was met before.
        generation = msgspec.structs.replace(
            begun.generation, fingerprint=now.fingerprint, types=now.types
        )
        counts = {
            kind: sum(part.rows for c in chains if c.kind == kind for part in c.parts)
            for kind in ("letters", "rejections", "foreign")
        }
        manifest = Manifest(
            format=FORMAT,
            id=begun.id,
            began_ms=begun.began_ms,
            taken_ms=self._clock.now_ms(),
            store=begun.store,
            genesis=begun.genesis,
            generation=generation,
            vector=self._vector,
            exact=exact,
            begun_sha256=sealed_sha256(data),
            tables={table: count_of(chains) for table, chains in sorted(rows.items())},
            parts=tuple(part for chain in chains for part in chain.parts),
            adopted=begun.adopted,
            without=begun.without,
            **counts,
        )
        if not self._objects.put_new(manifest_key(begun.id), seal(manifest)):
            manifest = read_manifest(self._objects, begun.id)  # another one has finished it
        try:
            clean(self._objects, begun.id)
        except BinlogError as error:  # it is finished; the next one cleans up
            _logger.warning("snapshot.unswept", objects=self._objects.name, why=str(error))
        _logger.info("snapshot.taken", id=begun.id, rows=manifest.rows, bytes=manifest.size_bytes)
        return manifest

    # -- rows --------------------------------------------------------------------------------------

    def _read_rows(self, workers: int) -> dict[str, list[Chain]]:
        tables = self._begun.generation.tables
        chains = {
            table: [
                Chain(self._objects, self._begun.id, "rows", number, segment)
                for segment in range(self._begun.segments)
            ]
            for number, table in enumerate(tables)
        }
        tasks = [(table, segment) for table in tables for segment in range(self._begun.segments)]

        def read(task: tuple[str, int]) -> None:
            table, segment = task
            if self._failed:
                return
            try:
                self._read_segment(chains[table][segment], table, segment)
            except BaseException:
                self._failed = True
                raise

        if workers == 1:
            for task in tasks:
                read(task)
        else:
            with ThreadPoolExecutor(workers, "snapshot") as pool:
                try:
                    for done in [pool.submit(read, task) for task in tasks]:
                        done.result()
                except BaseException:  # Ctrl-C, too: what is under way ends with its next part
                    self._failed = True
                    raise
        for table in tables:
            for chain in chains[table]:
                for index in chain.indexes:
                    for partition, key, version, tail in index.waiting:
                        self._waiting.note(table, partition, key, version, tail)
        return chains

    def _read_segment(self, chain: Chain, table: str, segment: int) -> None:
        chain.take_in()
        self._note_rows(sum(part.rows for part in chain.parts))
        while not chain.is_complete:
            pages = self._source.pages(table, segment, self._begun.segments, after=chain.through)
            for rows, reach, through in self._stretches(table, pages):
                index = Index(
                    FORMAT, self._begun.id, "rows", sections=(), through=through, table=table
                )
                packed = pack_rows(index, rows, chain.key, reach=reach)
                if not chain.put(*packed) or self._failed:
                    break  # somebody else takes it, too: on behind what is there by now
                self._note_rows(len(rows))
            if self._failed:
                return

    def _stretches(
        self, table: str, pages: Iterable[Page]
    ) -> Iterator[tuple[list[tuple[bytes, Row]], Vector, bytes | None]]:
        """What goes into a part each, as it is served; how far it reaches; where it goes on."""
        rows: list[tuple[bytes, Row]] = []
        reach: Vector = {}
        size, begun_at = 0, self._clock.monotonic()
        for page in pages:
            reach_of(page.rows, reach)
            rows += [(key, self._waiting.settle(table, key, row)) for key, row in page.rows]
            size += sum(len(key) + len(row.data or b"") for key, row in page.rows)
            is_late = self._clock.monotonic() - begun_at >= PART_S
            if page.through is None or size >= self._part_bytes or is_late:
                yield rows, reach, page.through
                rows, reach, size, begun_at = [], {}, 0, self._clock.monotonic()

    def _note_rows(self, count: int) -> None:
        with self._mutex:
            self._rows += count
            if self._progress is not None:
                self._progress(self._rows)

    def _exact(self, rows: Mapping[str, Sequence[Chain]]) -> Vector:
        exact = dict(self._vector)
        for chains in rows.values():
            for chain in chains:
                for index in chain.indexes:
                    for partition, offset in index.reach.items():
                        exact[partition] = max(offset, exact.get(partition, 0))
        return dict(sorted(exact.items()))

    # -- the rest ----------------------------------------------------------------------------------

    def _read_letters(self) -> Chain:
        """All letters there are, aside: they are read before the rows, and judged after them."""
        chain = self._copy(ASIDE, map(_of_letter, self._source.letters()))
        for part in chain.parts:
            for records in read_part(self._objects, part):
                self._waiting.read((r[0], r[1], r[2], r[3], r[4]) for r in records)
        return chain

    def _kept_letters(self, read: Chain) -> Iterator[_Record]:
        for part in read.parts:
            for records in read_part(self._objects, part):
                letters = [DeadLetter(*fields) for fields in records]
                yield from (_of_letter(letter) for letter in letters if self._waiting.keeps(letter))

    def _kept_rejections(self, exact: Vector) -> Iterator[_Record]:
        tables = set(self._begun.generation.tables)
        for found in self._source.rejections():
            if (
                found.table in tables
                and found.offset <= exact.get(found.partition, 0)
                and self._waiting.has_answered(found)
            ):
                order = [found.table, found.partition, found.offset, found.key]
                fields = msgspec.structs.astuple(found)
                yield _Record(order, found.partition, len(found.key) + 80, fields)

    def _foreign(self) -> Iterator[_Record]:
        for record in self._source.foreign():
            order = [record.shard, f"{record.sequence:060d}"]
            fields = (
                *(record.shard, str(record.sequence), record.partition_key),
                *(record.arrival_ms, record.data),
            )
            yield _Record(order, 0, len(record.data) + 80, fields)

    def _relayed(self) -> Iterator[_Record]:
        for shard, sequence in self._source.relayed():
            yield _Record([shard, f"{sequence:060d}"], 0, 80, (shard, str(sequence)))

    def _copy(self, kind: str, records: Iterator[_Record]) -> Chain:
        """A chain of all ``records``; of one that was begun, on behind its last one."""
        chain = Chain(self._objects, self._begun.id, kind)
        chain.take_in()
        some: list[_Record] = []
        size = 0
        while not chain.is_complete:
            record = next(records, None)
            if record is not None:
                if chain.through is not None and record.order <= _decode_place(chain.through):
                    continue
                some.append(record)
                size += record.size
                if size < self._part_bytes:
                    continue
            index = Index(
                FORMAT,
                self._begun.id,
                kind,
                sections=(),
                through=None if record is None else _encode_place(record.order),
            )
            packed = pack(index, [(r.partition, r.size, r.fields) for r in some], chain.key)
            if not chain.put(*packed):
                # Somebody else's is there: what of ours lies beyond its end stays ours to add.
                through = chain.through
                place = None if through is None else _decode_place(through)
                some = [r for r in some if place is not None and r.order > place]
                size = sum(r.size for r in some)
            else:
                some, size = [], 0
        return chain


class _Record(msgspec.Struct, frozen=True):
    """One record of a part that holds no rows."""

    order: list[Any]  # by which they come
    partition: int
    size: int  # bytes, about
    fields: tuple[Any, ...]


def _of_letter(letter: DeadLetter) -> _Record:
    fields = msgspec.structs.astuple(letter)
    size = len(letter.key) + len(letter.event) + len(letter.reason) + 80
    return _Record(list(letter_order(letter)), letter.partition, size, fields)


def count_of(chains: Iterable[Chain]) -> TableCount:
    """A table's counts, and the digest of all its rows."""
    return total_of(
        TableCount(index.items, index.tombstones, index.parked, index.digest)
        for chain in chains
        for index in chain.indexes
    )
