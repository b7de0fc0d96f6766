"""What partitions are folded onto that are not folded from nothing: a snapshot, or kept work.

A base is at `checkpoints`, a place in the log a partition, with the items as they are there. Items may
be further on than that, up to `exact`: then it is of no one moment, and is exact once the log was
replayed up to there (N2). What belongs to the items comes with them: events that wait behind parked
ones, rejections, foreign records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Protocol, TypeVar

from appliers.fold import Fold
from appliers.item import Rejection, Row
from appliers.letters import DeadLetter, LetterPlace
from appliers.store import Checkpoint
from binlog.errors import ConflictError, DamageError
from binlog.foreign import Foreign, Place
from binlog.reader import Reader
from binlog.sequencer_state import SequencerState
from binlog.target import Target
from binlog.vector import Vector, offset_of
from snapshots.snapshot import Snapshot

_Of = TypeVar("_Of", DeadLetter, Rejection)


class Base(Protocol):
    """What a rebuild begins at. Any process may read it after a fork.

    Raises:
        DamageError: what is read is not what was written; nothing of it came.
    """

    name: str

    @property
    def checkpoints(self) -> Mapping[int, Checkpoint]: ...

    @property
    def exact(self) -> Vector:
        """The highest offset that is in any item of a partition."""

    @property
    def tables(self) -> tuple[str, ...]: ...

    @property
    def types(self) -> tuple[str, ...]:
        """Of domain events met."""

    @property
    def excluded(self) -> tuple[str, ...]:
        """RULEs that it was made under."""

    def rows(
        self, table: str, partitions: Collection[int] | None = None
    ) -> Iterator[tuple[bytes, Row]]: ...

    def letters(self, partitions: Collection[int]) -> Iterable[DeadLetter]: ...

    def rejections(self, partitions: Collection[int]) -> Iterable[Rejection]: ...

    def foreign(self) -> Iterable[Foreign]: ...

    def relayed(self) -> Iterable[Place]: ...

    def size_bytes(self) -> int:
        """Of its rows, decompressed: for estimates."""

    def read_once(self) -> None:
        """Read what all groups need, before the processes are forked that fold them."""


class SnapshotBase:
    """A snapshot as a base. Letters and rejections are read once: those of `read_once`'s children too."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.name = snapshot.name
        self.rows = snapshot.rows
        self._letters: dict[int, list[DeadLetter]] | None = None
        self._rejections: dict[int, list[Rejection]] | None = None
        self.foreign = snapshot.foreign
        self.relayed = snapshot.relayed

    def letters(self, partitions: Collection[int]) -> Iterable[DeadLetter]:
        if self._letters is None:
            self._letters = _by_partition(self.snapshot.letters())
        return chain.from_iterable(self._letters.get(p, ()) for p in partitions)

    def rejections(self, partitions: Collection[int]) -> Iterable[Rejection]:
        if self._rejections is None:
            self._rejections = _by_partition(self.snapshot.rejections())
        return chain.from_iterable(self._rejections.get(p, ()) for p in partitions)

    def read_once(self) -> None:
        """Read what all groups need, before the processes are forked that fold them."""
        _ = self.checkpoints
        self.letters(())
        self.rejections(())

    @property
    def checkpoints(self) -> Mapping[int, Checkpoint]:
        return self.snapshot.checkpoints

    @property
    def exact(self) -> Vector:
        return self.snapshot.manifest.exact

    @property
    def tables(self) -> tuple[str, ...]:
        return self.snapshot.manifest.generation.tables

    @property
    def types(self) -> tuple[str, ...]:
        return self.snapshot.manifest.generation.types

    @property
    def excluded(self) -> tuple[str, ...]:
        return self.snapshot.manifest.generation.excluded

    def size_bytes(self) -> int:
        return sum(part.raw_bytes for part in self.snapshot.manifest.parts)


def _by_partition(found: Iterable[_Of]) -> dict[int, list[_Of]]:
    of_partition: dict[int, list[_Of]] = {}
    for each in found:
        of_partition.setdefault(each.partition, []).append(each)
    return of_partition


def begin(fold: Fold, base: Base, tables: Iterable[str], partitions: Collection[int]) -> None:
    """Let ``fold`` begin at the rows of those tables and partitions.

    Raises:
        DamageError: see `Base`; or a key is in it twice.
    """
    wanted = frozenset(partitions)
    for table in tables:
        try:
            fold.begin(table, base.rows(table, wanted))
        except ValueError as error:
            raise DamageError(str(error), base.name, "begin elsewhere: --start") from error
    refused = fold.parking.refused
    for each in base.rejections(wanted):
        here = each.partition, each.table
        refused[here] = min(each.offset, refused.get(here, each.offset))


def check_before(base: Base, target: Target, partitions: Iterable[int]) -> None:
    """That nothing in the base is beyond the target: it would stay in.

    Raises:
        ConflictError: something is.
    """
    for partition in partitions:
        reached = base.exact.get(partition, 0)
        if target.vector is not None and reached > target.vector.get(partition, 0):
            what = f"offset {reached} of partition {partition}"
            wanted = f"offset {target.vector.get(partition, 0)}"
        elif target.time_ms is not None and partition in base.checkpoints:
            mark = SequencerState.decode(base.checkpoints[partition].state).mark
            if mark <= target.time_ms:
                continue
            what, wanted = f"what arrived at {mark} ms", f"{target.time_ms} ms"
        else:
            continue
        raise ConflictError(
            f"it holds {what}, the target is {wanted}",
            base.name,
            "begin at an earlier one: --start",
            partition=partition,
        )


def check_exact(base: Base, reader: Reader) -> None:
    """That the log was replayed beyond every item that the base began with (N2).

    Raises:
        DamageError: it ends before that.
    """
    vector = reader.vector()
    for partition in reader.partitions:
        if base.exact.get(partition, 0) > vector.get(partition, 0):
            raise DamageError(
                f"it holds offset {base.exact[partition]} of partition {partition}, and reading the"
                f" log ended at {vector.get(partition, 0)}",
                base.name,
                "the log lacks what was applied, or the target is before it: begin at another one,"
                " --start",
                partition=partition,
            )


def letters_of(
    fold: Fold, base: Base | None, tables: Collection[str], partitions: Collection[int]
) -> list[DeadLetter]:
    """All letters of a fold that is done: those found, and those of the base that still hold.

    Of the base's, what waits behind an item that is parked, up to its tail as it was; and what stands
    alone. A letter beyond that tail is of a commit that did not come to its end: if there is
    something in it, the fold has found it again.

    Raises:
        DamageError: one is missing that a parked item of the base waits for.
    """
    found = {letter.place: letter for letter in fold.parking.letters}
    if base is None:
        return list(found.values())
    missing = {
        (table, partition, key): tail
        for partition in partitions
        for (table, key), tail in fold.parking.found(partition).items()
    }
    tails = dict(missing)
    wanted = frozenset(tables)
    old: dict[LetterPlace, DeadLetter] = {}
    for letter in base.letters(partitions):
        if not (letter.table in wanted or not letter.table):
            continue
        item = letter.table, letter.partition, letter.key
        if letter.alone:
            is_kept = offset_of(letter.version) <= base.exact.get(letter.partition, 0)
        else:
            is_kept = letter.version <= tails.get(item, -1)
            if letter.version == tails.get(item, -1):
                missing.pop(item, None)
        if is_kept:
            old[letter.place] = letter
    if missing:
        table, partition, _ = next(iter(missing))
        raise DamageError(
            f"an event is missing that waits behind a parked item of table {table}, partition"
            f" {partition}",
            base.name,
            "begin elsewhere: --start",
            table=table,
            partition=partition,
        )
    return list({**old, **found}.values())


def rejections_of(
    fold: Fold, base: Base | None, tables: Collection[str], partitions: Collection[int]
) -> list[Rejection]:
    """All rejections of a fold that is done, each once: those found, and those of the base."""
    if base is None:
        return fold.rejections
    wanted = frozenset(tables)
    every = [
        each
        for each in base.rejections(partitions)
        if each.table in wanted and each.offset <= base.exact.get(each.partition, 0)
    ]
    every += fold.rejections
    return list({(r.table, r.partition, r.offset, r.key): r for r in every}.values())
