"""What every store offers: the port between folded items and wherever they are kept.

A store belongs to one log (its genesis is in the store's meta row) and holds generations. A
generation is what one replication or rebuild made: some tables, their rows, the checkpoints up to
which they are applied, and the fingerprint and exclusions they were made under. Tables that were
built together share a generation; each table belongs to exactly one that is live. At most one live
generation is *open*: it takes every table of the log that no other generation has (C0).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from appliers.item import Rejection, Row, Write
from binlog.vector import Vector


class Checkpoint(msgspec.Struct, frozen=True, gc=False):
    """How far one partition is applied in one generation (C2); all at a record boundary.

    ``applied`` is an offset at most ``offset`` plus what the next record holds: a target vector
    may cut a frame, whose events up to ``applied`` are then skipped when it is read again.
    """

    partition: int
    shard: str
    sequence: int  # of the last record read; -1 before the first
    offset: int  # of the sequencer after that record
    applied: int  # events up to here are in the items
    digest: bytes  # of the sequencer
    state: bytes  # of the sequencer, held frames included


class Generation(msgspec.Struct, frozen=True):
    """Tables built together. ``tables`` are those met so far; an open one may meet more."""

    id: str  # 32 hex digits, random
    tables: tuple[str, ...]
    open: bool
    fingerprint: str  # see appliers.fingerprint
    excluded: tuple[str, ...]  # RULEs, sorted


class Store(Protocol):
    """An open store. One writer at a time; readers see whole commits only.

    * ``bind`` ties a new store to a log, and refuses (`MismatchError`) one of another log.
    * ``lock`` makes this the only writer, waiting up to ``wait_s``; then `BusyError`. Held until
      ``close``. Reading needs no lock.
    * ``read`` gives the rows that exist, tombstones too, of one live table, strongly consistent.
    * ``commit`` applies the writes in any order, each on its own condition, and then, only if
      every condition held, moves the checkpoints and records the rejections, durably on return.
      It returns the writes whose condition failed; where it returns any, no checkpoint moved, and
      the other writes may or may not be applied: a failed write is read again, never assumed
      either way. A checkpoint never moves back: if any stands at or beyond the given one, or the
      generation is no longer live, `LostError` and nothing else done. Tables are created when
      first written; ``tables`` names further ones that exist although nothing is in them.
    * ``scan`` gives a live table's rows sorted by key bytes, a consistent view, bounded memory.
    * ``build`` begins a private generation (B1), invisible until `Build.finish`. What an earlier,
      killed build left is removed first.
    """

    name: str  # the address, for messages

    def bind(self, genesis: bytes) -> None: ...

    def genesis(self) -> bytes | None: ...

    def lock(self, *, wait_s: float = 5.0) -> None: ...

    def generations(self) -> list[Generation]: ...

    def checkpoints(self, generation: str) -> dict[int, Checkpoint]: ...

    def create(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Generation:
        """A live, empty generation at vector zero; ``tables`` None: the open one."""

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]: ...

    def commit(
        self,
        generation: str,
        writes: Sequence[Write],
        checkpoints: Sequence[Checkpoint],
        *,
        rejections: Sequence[Rejection] = (),
        tables: Iterable[str] = (),
    ) -> list[Write]: ...

    def scan(self, table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]: ...

    def rejections(self, table: str | None = None) -> Iterator[Rejection]: ...

    def build(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Build:
        """``tables`` None: all of the log's, replacing all that the store holds."""

    def close(self) -> None: ...


class Build(Protocol):
    """A private generation being loaded. Nothing is visible before `finish`."""

    generation: str

    def load(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        """Rows of keys not loaded before, in any order; unconditional (B1)."""

    def reject(self, rejections: Iterable[Rejection]) -> None: ...

    def finish(self, checkpoints: Mapping[int, Checkpoint], *, tables: Iterable[str]) -> None:
        """Make it live in one step, durably; the tables it replaces are gone. ``tables`` are
        those that exist although nothing was loaded into them."""

    def abandon(self) -> None:
        """Remove it all; also done for a build whose process was killed, by the next one."""


def vector_of(checkpoints: Mapping[int, Checkpoint]) -> Vector:
    """The vector up to which a generation is applied."""
    return {p: c.applied for p, c in sorted(checkpoints.items()) if c.applied}
