"""The store in memory: the reference that every other store must agree with.

A table is a ``dict[bytes, Row]``. The content may be shared by several handles (`MemoryStore.open`)
as a file is by several processes, under one writer lock. What a handle has given out stays as it
is: a commit replaces rows, never changes one.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import msgspec

from appliers.item import Rejection, Row, Write, condition_holds
from appliers.letters import DeadLetter, Item, LetterPlace, letter_order
from appliers.store import Checkpoint, Generation, Reader
from appliers.stores.generations import (
    after_build,
    check_binding,
    check_creation,
    check_moves,
    check_unique,
    claimed,
    described,
    lost_generation,
    lost_table,
    new_generation,
    of_partitions,
    tables_of,
    with_tables,
)
from appliers.stores.memory_build import MemoryBuild, Rows
from binlog.errors import BusyError
from binlog.foreign import Foreign, Place


class _Content(msgspec.Struct):
    """What one store holds. Lists and dicts are changed only under ``mutex``."""

    genesis: bytes | None = None
    generations: dict[str, Generation] = {}
    checkpoints: dict[str, dict[int, Checkpoint]] = {}  # by generation
    tables: dict[str, Rows] = {}
    rejections: dict[tuple[str, int, int, bytes], tuple[str, Rejection]] = {}  # with generation
    letters: dict[LetterPlace, tuple[str, DeadLetter]] = {}  # with generation
    foreign: dict[Place, Foreign | None] = {}  # `None`: relayed
    shared: bool = False
    pace: bytes | None = None

    def owner(self, table: str) -> str | None:
        """The live generation that has ``table``."""
        return next((g.id for g in self.generations.values() if table in g.tables), None)


class _Reader:
    """Reads a content; the caller sees to it that nobody changes it meanwhile."""

    def __init__(self, content: _Content, name: str) -> None:
        self._content = content
        self.name = name

    def genesis(self) -> bytes | None:
        return self._content.genesis

    def generations(self) -> list[Generation]:
        return list(self._content.generations.values())

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]:
        if generation not in self._content.generations:
            raise lost_generation(self.name, generation)
        return of_partitions(self._content.checkpoints[generation], partitions)

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> Rows:
        if generation not in self._content.generations:
            raise lost_generation(self.name, generation)
        if self._content.owner(table) not in (None, generation):
            raise lost_table(self.name, generation, table)
        rows = self._content.tables.get(table, {})
        return {key: rows[key] for key in keys if key in rows}

    def scan(self, table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]:
        rows = self._content.tables.get(table, {})
        for key in sorted(rows if after is None else [key for key in rows if key > after]):
            yield key, rows[key]

    def rejections(self, table: str | None = None) -> Iterator[Rejection]:
        for place, (_, rejection) in sorted(self._content.rejections.items()):
            if table is None or place[0] == table:
                yield rejection

    def letters(
        self, table: str | None = None, *, item: Item | None = None
    ) -> Iterator[DeadLetter]:
        found = [
            letter
            for _, letter in self._content.letters.values()
            if table in (None, letter.table) and item in (None, (letter.partition, letter.key))
        ]
        return iter(sorted(found, key=letter_order))

    def foreign(self) -> Iterator[Foreign]:
        for _, kept in sorted(self._content.foreign.items()):
            if kept is not None:
                yield kept

    def relayed(self) -> Iterator[Place]:
        yield from (place for place, kept in sorted(self._content.foreign.items()) if kept is None)


class MemoryStore:
    """A `Store` whose content lives as long as a handle on it."""

    keeps_moments = True

    def __init__(self, *, name: str = "memory:") -> None:
        self.name = name
        self._content = _Content()
        self._mutex = threading.RLock()
        self._writer = threading.Lock()
        self._locked = self._shares = False
        self._read: dict[tuple[str, int], Checkpoint] = {}  # last, by generation and partition

    def open(self) -> MemoryStore:
        """Another handle on the same content, as another process would open a file."""
        other = MemoryStore(name=self.name)
        other._content, other._mutex, other._writer = self._content, self._mutex, self._writer
        return other

    def bind(self, genesis: bytes) -> None:
        bound = self._content.genesis
        check_binding(self.name, bound, genesis)
        if bound is None:
            self.lock()
            self._content.genesis = genesis

    @property
    def shared(self) -> bool:
        return self._content.shared

    def share(self) -> None:
        self._shares = self._content.shared = True

    def unshare(self) -> None:
        self.lock()
        self._content.shared = False

    def pace(self) -> bytes | None:
        return self._content.pace

    def set_pace(self, setting: bytes | None) -> None:
        self._content.pace = setting

    def lock(self, *, wait_s: float = 5.0) -> None:
        if self._locked or self._shares:
            return
        if not self._writer.acquire(timeout=wait_s):
            raise BusyError(
                "another handle of this process writes to the store", self.name, "close it first"
            )
        self._locked = True

    def genesis(self) -> bytes | None:
        return self._newest().genesis()

    def generations(self) -> list[Generation]:
        with self._mutex:
            return self._newest().generations()

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]:
        with self._mutex:
            found = self._newest().checkpoints(generation, partitions)
        self._read.update(((generation, p), c) for p, c in found.items())
        return found

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> Rows:
        with self._mutex:
            return self._newest().read(generation, table, keys)

    def scan(self, table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]:
        with self.view() as view:
            yield from view.scan(table, after=after)

    def rejections(self, table: str | None = None) -> Iterator[Rejection]:
        with self.view() as view:
            yield from view.rejections(table)

    def letters(
        self, table: str | None = None, *, item: Item | None = None
    ) -> Iterator[DeadLetter]:
        with self._mutex:
            return self._newest().letters(table, item=item)

    def foreign(self) -> Iterator[Foreign]:
        with self.view() as view:
            yield from view.foreign()

    def view(self) -> AbstractContextManager[Reader]:
        with self._mutex:
            content = self._content
            copy = _Content(
                genesis=content.genesis,
                generations=dict(content.generations),
                checkpoints={id_: dict(c) for id_, c in content.checkpoints.items()},
                tables={table: dict(rows) for table, rows in content.tables.items()},
                rejections=dict(content.rejections),
                letters=dict(content.letters),
                foreign=dict(content.foreign),
            )
        return nullcontext(_Reader(copy, self.name))

    def create(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Generation:
        self.lock()
        with self._mutex:
            generation = new_generation(tables, fingerprint, excluded)
            check_creation(self.name, self.generations(), generation)
            self._add(generation, {})
            return generation

    def commit(
        self,
        generation: str,
        writes: Sequence[Write],
        checkpoints: Sequence[Checkpoint],
        *,
        rejections: Sequence[Rejection] = (),
        tables: Iterable[str] = (),
        foreign: Sequence[Foreign] = (),
        relayed: Sequence[Place] = (),
        letters: Sequence[DeadLetter] = (),
        settled: Sequence[LetterPlace] = (),
    ) -> list[Write]:
        self.lock()
        check_unique(writes)
        with self._mutex:
            content = self._content
            mine = content.generations.get(generation)
            if mine is None:
                raise lost_generation(self.name, generation)
            standing = content.checkpoints[generation]
            knows = partial(self._knows, generation)
            check_moves(self.name, checkpoints, standing, known=knows)
            wanted = tables_of(writes, rejections, tables, letters)
            new = claimed(self.name, mine, wanted, content.owner)
            empty: Rows = {}
            found = {table: content.tables.get(table, empty) for table in wanted}
            failed = [w for w in writes if not condition_holds(w, found[w.table].get(w.key))]
            if failed:
                return failed
            if new:
                self._add(with_tables(mine, new), {})
            for write in writes:
                content.tables[write.table][write.key] = write.row
            standing.update((c.partition, c) for c in checkpoints)
            self._read.update(((generation, c.partition), c) for c in checkpoints)
            self._reject(generation, rejections)
            self._divert(generation, letters, settled)
            self._keep(foreign, relayed)
            return []

    def describe(
        self,
        generation: str,
        *,
        fingerprint: str,
        types: Iterable[str],
        excluded: Iterable[str] = (),
    ) -> None:
        self.lock()
        with self._mutex:
            known = self._content.generations.get(generation)
            if known is None:
                raise lost_generation(self.name, generation)
            self._content.generations[generation] = described(known, fingerprint, types, excluded)

    def build(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> MemoryBuild:
        self.lock()
        return MemoryBuild(new_generation(tables, fingerprint, excluded), self._switch)

    def close(self) -> None:
        if self._locked:
            self._locked = False
            self._writer.release()

    def _knows(self, generation: str, standing: Checkpoint) -> bool:
        """Whether a checkpoint is the one that this handle read or wrote; an only writer's is."""
        return not self._shares or self._read.get((generation, standing.partition)) == standing

    def _newest(self) -> _Reader:
        return _Reader(self._content, self.name)

    def _add(self, generation: Generation, tables: Mapping[str, Rows]) -> None:
        """Make the generation (or its longer list of tables) live."""
        content = self._content
        content.generations[generation.id] = generation
        content.checkpoints.setdefault(generation.id, {})
        for table in generation.tables:
            content.tables.setdefault(table, {})
        content.tables.update(tables)

    def _reject(self, generation: str, rejections: Iterable[Rejection]) -> None:
        for found in rejections:
            place = (found.table, found.partition, found.offset, found.key)
            self._content.rejections.setdefault(place, (generation, found))

    def _divert(
        self, generation: str, letters: Iterable[DeadLetter], settled: Iterable[LetterPlace] = ()
    ) -> None:
        self._content.letters.update((x.place, (generation, x)) for x in letters)
        for place in settled:
            self._content.letters.pop(place, None)

    def _keep(self, foreign: Iterable[Foreign], relayed: Iterable[Place]) -> None:
        for record in foreign:
            self._content.foreign.setdefault(record.place, record)
        self._content.foreign.update(dict.fromkeys(relayed))

    def _switch(
        self,
        generation: Generation,
        tables: Mapping[str, Rows],
        checkpoints: Mapping[int, Checkpoint],
        rejections: Iterable[Rejection],
        letters: Iterable[DeadLetter],
        foreign: Iterable[Foreign],
        relayed: Iterable[Place],
    ) -> None:
        with self._mutex:
            content = self._content
            keep, drop = after_build(list(content.generations.values()), generation)
            for table in drop:
                del content.tables[table]
            content.generations.clear()
            content.generations.update((g.id, g) for g in keep)
            for gone in content.checkpoints.keys() - content.generations.keys():
                del content.checkpoints[gone]
            of_tables: tuple[dict[Any, Any], ...] = (content.rejections, content.letters)
            for kept in of_tables:
                for place, (id_, _) in list(kept.items()):
                    if id_ not in content.generations or place[0] in drop:
                        del kept[place]
            self._add(generation, tables)
            content.checkpoints[generation.id].update(checkpoints)
            self._reject(generation.id, rejections)
            self._divert(generation.id, letters)
            self._keep(foreign, relayed)
