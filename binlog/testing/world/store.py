"""A store that gives no more than the port promises, step by step, and keeps a journal of it all.

Without a lock, so that zombies can write. A commit is the rejections, the dead letters and the
foreign records, then write after write, each on its own condition, then what letters are settled,
then the checkpoints: it can end after any of these steps, with or without the caller hearing of it,
and ``between`` may run anything, another consumer say, before the first. ``on_read`` may, too, after
an answer was found and before it arrives.

So an answer may be outdated when it arrives, and that is all: it was true when it was asked for
and nobody's earlier one. A fold would find out (I2), but an event with an expected version that is
compared with what was never so together is rejected without a write that could fail (I5).

The journal holds every durable step, in order: rows, checkpoints, rejections, letters, foreign
records and generations. It is what the judge reads (`binlog.testing.world.judge`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import TypeAlias, TypeVar

import msgspec

from appliers.item import Rejection, Row, Write, condition_holds
from appliers.letters import DeadLetter, LetterPlace
from appliers.store import Checkpoint, Generation, moves_on
from appliers.stores.generations import (
    check_creation,
    check_unique,
    lost_checkpoint,
    lost_generation,
    lost_table,
    new_generation,
    with_tables,
)
from appliers.stores.memory import MemoryStore
from appliers.stores.memory_build import MemoryBuild, Rows
from binlog.errors import StorageError
from binlog.foreign import Foreign, Place

_Answer = TypeVar("_Answer")


class Crashed(Exception):  # noqa: N818  (what happens to a consumer, not an error of it)
    """The consumer's process ends here."""


class Began(msgspec.Struct, frozen=True):
    """A generation is live from here on; if it was built, what it was built with follows."""

    generation: str
    excluded: tuple[str, ...]


class Wrote(msgspec.Struct, frozen=True, gc=False):
    """A row as it was written."""

    generation: str
    table: str
    key: bytes
    row: Row


class Noted(msgspec.Struct, frozen=True, gc=False):
    """A rejection that was not there before."""

    generation: str
    rejection: Rejection


class Moved(msgspec.Struct, frozen=True, gc=False):
    """A checkpoint as it was written."""

    generation: str
    checkpoint: Checkpoint


class Diverted(msgspec.Struct, frozen=True, gc=False):
    """A dead letter that was not there before, or not as it is now."""

    generation: str
    letter: DeadLetter


class Settled(msgspec.Struct, frozen=True, gc=False):
    """A dead letter that was there, and is no longer."""

    generation: str
    letter: DeadLetter


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A foreign record that was not there before."""

    foreign: Foreign


Entry: TypeAlias = Began | Wrote | Noted | Moved | Diverted | Settled | Kept


class WorldStore(MemoryStore):
    """See the module. ``crash_after`` counts steps of commits: at zero `Crashed` is raised."""

    def __init__(
        self,
        name: str = "memory:loose",
        *,
        met: Counter[str] | None = None,
        looks_first: bool = False,
    ) -> None:
        """``looks_first``: nothing of a commit is done where one of its conditions does not hold.

        So does whoever has transactions; what was done before by others is all that helps then.
        """
        super().__init__(name=name)
        self._looks_first = looks_first
        self.journal: list[Entry] = []
        self.met: Counter[str] = Counter() if met is None else met
        self.between: Callable[[], object] | None = None
        self.on_read: Callable[[], object] | None = None
        self.crash_after: int | None = None
        self.time_out = False  # the crash is a time-out: the caller lives, and hears of it
        self.failed = 0  # conditions that did not hold
        self._numbers = count(1)  # of generations

    def lock(self, *, wait_s: float = 5.0) -> None:
        """There is none."""

    def open(self) -> WorldStore:
        """Another handle: what happens to one of them in the middle happens to it alone."""
        other = WorldStore(self.name, met=self.met, looks_first=self._looks_first)
        other._content, other._mutex, other._writer = self._content, self._mutex, self._writer
        other.journal, other._numbers = self.journal, self._numbers
        return other

    # -- reads -----------------------------------------------------------------------------------

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> Rows:
        answer = super().read(generation, table, keys)
        return answer if self.on_read is None else self._late(answer)

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]:
        answer = super().checkpoints(generation, partitions)
        return answer if self.on_read is None else self._late(answer)

    def _late(self, answer: _Answer) -> _Answer:
        run, self.on_read = self.on_read, None
        before = len(self.journal)
        if run is not None:
            run()
        self.met["stale read"] += len(self.journal) > before
        return answer

    # -- generations -----------------------------------------------------------------------------

    def create(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Generation:
        generation = self._named(new_generation(tables, fingerprint, excluded))
        check_creation(self.name, self.generations(), generation)
        self._add(generation, {})
        self.journal.append(Began(generation.id, generation.excluded))
        return generation

    def build(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> MemoryBuild:
        made = self._named(new_generation(tables, fingerprint, excluded))
        return MemoryBuild(made, self._switch)

    def _named(self, generation: Generation) -> Generation:
        """By its place, for a random name would be another one in each run."""
        return msgspec.structs.replace(generation, id=f"{next(self._numbers):032x}")

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
        super()._switch(generation, tables, checkpoints, rejections, (), foreign, relayed)
        name, journal = generation.id, self.journal
        journal.append(Began(name, generation.excluded))
        for table, rows in tables.items():
            journal += [Wrote(name, table, key, row) for key, row in rows.items()]
        journal += [Noted(name, rejection) for rejection in rejections]
        self._divert(name, letters)
        journal += [Moved(name, checkpoint) for checkpoint in checkpoints.values()]

    # -- commits ---------------------------------------------------------------------------------

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
        started = len(self.journal)
        run, self.between = self.between, None
        if run is not None:
            run()
        self._step(started)
        check_unique(writes)
        if self._looks_first and (refused := self._refused(generation, writes, checkpoints)):
            return self._failed(refused)
        # Rejections first: a rejected event lies below its item's version afterwards.
        if rejections:
            for rejection in rejections:
                self._note(generation, rejection)
            self._step(started)
        for letter in letters:
            if letter.table:
                self._rows_of(generation, letter.table)
            self._divert(generation, [letter])
            self._step(started)
        for record in foreign:
            self._keep([record], ())
            self._step(started)
        if relayed:
            self._keep((), relayed)
            self._step(started)
        failed = []
        for write in writes:
            rows = self._rows_of(generation, write.table)
            if condition_holds(write, rows.get(write.key)):
                rows[write.key] = write.row
                self.journal.append(Wrote(generation, write.table, write.key, write.row))
            else:
                failed.append(write)
            self._step(started)
        if failed:
            return self._failed(failed)
        for place in settled:
            self._divert(generation, (), [place])
            self._step(started)
        for checkpoint in checkpoints:
            self._standing(generation, checkpoint)[checkpoint.partition] = checkpoint
            self._read[generation, checkpoint.partition] = checkpoint
            self.journal.append(Moved(generation, checkpoint))
            self._step(started)
        for table in sorted(tables):
            self._rows_of(generation, table)
        self._step(started, done=True)
        return []

    def _divert(
        self, generation: str, letters: Iterable[DeadLetter], settled: Iterable[LetterPlace] = ()
    ) -> None:
        self._live(generation)
        before = self._content.letters
        new = [x for x in letters if before.get(x.place) != (generation, x)]
        gone = [before[place][1] for place in settled if place in before]
        super()._divert(generation, new, settled)
        self.journal += [Diverted(generation, letter) for letter in new]
        self.journal += [Settled(generation, letter) for letter in gone]

    def _keep(self, foreign: Iterable[Foreign], relayed: Iterable[Place]) -> None:
        new = [record for record in foreign if record.place not in self._content.foreign]
        super()._keep(new, relayed)
        self.journal += [Kept(record) for record in new]

    def _standing(self, generation: str, new: Checkpoint) -> dict[int, Checkpoint]:
        """The generation's checkpoints, which ``new`` may join."""
        self._live(generation)
        standing = self._content.checkpoints[generation]
        old = standing.get(new.partition)
        if old is not None and not (moves_on(new, old) and self._knows(generation, old)):
            raise lost_checkpoint(self.name, new, old)
        return standing

    def _refused(
        self, generation: str, writes: Sequence[Write], checkpoints: Sequence[Checkpoint]
    ) -> list[Write]:
        for checkpoint in checkpoints:
            self._standing(generation, checkpoint)
        tables = self._content.tables
        return [w for w in writes if not condition_holds(w, tables.get(w.table, {}).get(w.key))]

    def _failed(self, failed: list[Write]) -> list[Write]:
        self.failed += len(failed)
        self.met["condition failed"] += len(failed)
        return failed

    def _step(self, started: int, *, done: bool = False) -> None:
        if self.crash_after is None:
            return
        if self.crash_after:
            self.crash_after -= 1
            return
        self.crash_after = None
        if done:
            self.met["reply lost"] += self.time_out
        elif len(self.journal) > started:
            self.met["broken in the middle of a commit"] += 1
        if self.time_out:
            raise StorageError("no answer in time", self.name, "look what was done")
        raise Crashed

    def _live(self, generation: str) -> Generation:
        found = self._content.generations.get(generation)
        if found is None:
            raise lost_generation(self.name, generation)
        return found

    def _rows_of(self, generation: str, table: str) -> Rows:
        """The rows of a table that the generation has or, being open, takes."""
        mine, content = self._live(generation), self._content
        if table not in mine.tables:
            if not mine.open or content.owner(table) is not None:
                raise lost_table(self.name, generation, table)
            self._add(with_tables(mine, [table]), {})
        return content.tables[table]

    def _note(self, generation: str, rejection: Rejection) -> None:
        self._rows_of(generation, rejection.table)
        place = rejection.table, rejection.partition, rejection.offset, rejection.key
        if place not in self._content.rejections:
            self._content.rejections[place] = generation, rejection
            self.journal.append(Noted(generation, rejection))
