"""What every store offers: the port between folded items and wherever they are kept.

A store belongs to one log (its genesis is in the store's meta row) and holds generations. A
generation is what one replication or rebuild made: some tables, their rows, the checkpoints up to
which they are applied, and the fingerprint and exclusions they were made under. Tables that were
built together share a generation; each table belongs to exactly one that is live. At most one live
generation is *open*: it takes every table of the log that no other generation has (C0).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import msgspec

from appliers.item import Rejection, Row, Write
from appliers.letters import DeadLetter, Item, LetterPlace
from binlog.foreign import Foreign, Place
from binlog.vector import Vector


class Checkpoint(msgspec.Struct, frozen=True, gc=False):
    """How far one partition is applied in one generation (C2); all at a record boundary.

    ``applied`` is an offset at most ``offset`` plus what the next record holds: a target vector
    may cut a frame, whose events up to ``applied`` are then skipped when it is read again.

    ``seen_ms`` belongs to the place in the log, not to what was applied: of a log that forgets, when
    its shard was seen to end there, by the log's own time (`binlog.log.Forgets`). It stays true
    whatever comes later. Who goes on from there on a log that has been quiet needs it; ``None``,
    where nobody knows or wrote it down, is always safe.

    ``joined``: of a store that several workers share (`Shareable`): whatever the log has after this
    place is still to be handed to one of them. A row that a rebuild made is not: a worker may have
    been handed, and have done, what follows in the generation before it.
    """

    partition: int
    shard: str
    sequence: int  # of the last record read; -1 before the first
    offset: int  # of the sequencer after that record
    applied: int  # events up to here are in the items
    digest: bytes  # of the sequencer
    state: bytes  # of the sequencer, held frames included
    seen_ms: int | None = None
    joined: bool = False


def moves_on(new: Checkpoint, old: Checkpoint) -> bool:
    """Whether ``new`` stands beyond ``old`` (C2), so that it may replace it.

    Within a shard by (sequence, applied). Sequence numbers of two shards are never compared: from
    a shard to its child only the offsets tell, and a parent that ended in copies leaves them as
    they are, so there an equal one moves on. The same place may be replaced where its end was seen
    later, or it has joined, and by nothing else: what is known of it never gets less.
    """
    if new.offset < old.offset or new.applied < old.applied:
        return False
    if new.shard != old.shard:
        return True
    if (new.sequence, new.applied) == (old.sequence, old.applied):
        known, knew = (-1 if each.seen_ms is None else each.seen_ms for each in (new, old))
        return (
            (new.joined, known) != (old.joined, knew) and new.joined >= old.joined and known >= knew
        )
    return (new.sequence, new.applied) > (old.sequence, old.applied)


class Generation(msgspec.Struct, frozen=True):
    """Tables built together. ``tables`` are those met so far; an open one may meet more."""

    id: str  # 32 hex digits, random
    tables: tuple[str, ...]
    open: bool
    fingerprint: str  # see appliers.fingerprint
    excluded: tuple[str, ...]  # RULEs, sorted
    types: tuple[str, ...] = ()  # domain event types met, taken by an applier or not


class Reader(Protocol):
    """What a store holds: of one moment (`Store.view`), or always the newest (a `Store` itself).

    * ``checkpoints`` gives those that there are, of ``partitions`` where they are named.
    * ``read`` gives the rows that exist, tombstones too, of one table, strongly consistent. A
      table that nobody has is empty; `LostError` if the generation is not live or the table is
      another's.
    * ``scan`` gives a live table's rows sorted by key bytes, all of one moment, in bounded memory;
      nothing for a table that nobody has. ``after`` is exclusive. A row that is damaged raises
      `DamageError` with ``table`` and ``key``, and a scan after that key goes on.
    * ``rejections`` are those of the live tables, by table, partition, offset and key.
    * ``letters`` are the events that wait behind parked items of the live tables, and those that stand
      alone, by table, partition, key, and then offset; of one key those that stand alone come last. ``item`` narrows a table's down to one key.
    * ``foreign`` are the foreign records that are kept and not relayed, by shard and sequence; the
      store's, not a generation's: what is rebuilt or replaced takes none of them away.
    """

    name: str  # the address, for messages

    def genesis(self) -> bytes | None:
        """The log's, or ``None`` for a store that is not bound to one yet."""

    def generations(self) -> list[Generation]:
        """The live ones, oldest first."""

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]: ...

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]: ...

    def scan(self, table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]: ...

    def rejections(self, table: str | None = None) -> Iterator[Rejection]: ...

    def letters(
        self, table: str | None = None, *, item: Item | None = None
    ) -> Iterator[DeadLetter]: ...

    def foreign(self) -> Iterator[Foreign]: ...


class Sink(Protocol):
    """What a consumer needs of its target: one's own sink implements this and no more.

    One writer at a time; one thread a handle. Position and content belong in one transaction of
    the target.

    * ``bind`` ties a new store to a log, and refuses (`MismatchError`) one of another log.
    * ``lock`` makes this the only writer, waiting up to ``wait_s``; then `BusyError`. Held until
      ``close``. Whatever writes takes the lock first if it is not held. Reading needs none.
    * ``create`` refuses (`ConflictError`) a table that a live generation has, and a second open
      generation.
    * ``generations``, ``checkpoints`` and ``read`` as in `Reader`.
    * ``commit`` applies the writes in any order, each on its own condition, and then, only if
      every condition held, moves the checkpoints and records the rejections, durably on return.
      It returns the writes whose condition failed; where it returns any, no checkpoint moved, and
      the other writes and the rejections may or may not be there: a failed write is read again,
      never assumed either way. A checkpoint never moves back (`moves_on`): if one would, if the
      generation is no longer live, or if a table is another's by now, `LostError` and nothing else
      done. Tables of an open generation are made when first written; ``tables`` names further ones
      that exist although nothing is in them. ``foreign`` records (S7) are kept whole, each once by
      shard and sequence, durable before any checkpoint moves; where none moves they may be kept or
      not. Those ``relayed`` are in the log as events, and kept no longer, whichever of the two is
      told first. ``letters`` are durable before any write (one of the same place is replaced), and
      those of the places ``settled`` are kept no longer, once every condition held. These four are
      passed only where there are any: the sink of a log that no other tool writes to, and whose
      events stop it rather than park, may do without them.
    """

    name: str  # the address, for messages

    def bind(self, genesis: bytes) -> None: ...

    def lock(self, *, wait_s: float = 5.0) -> None: ...

    def generations(self) -> list[Generation]: ...

    def create(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Generation:
        """A live, empty generation at vector zero; ``tables`` None: the open one."""

    def describe(self, generation: str, *, fingerprint: str, types: Iterable[str]) -> None:
        """Replace the fingerprint by one found compatible, and note further event types met.

        Types are noted before the first commit that goes by an event of theirs. `LostError` if the
        generation is not live.
        """

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]: ...

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]: ...

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
    ) -> list[Write]: ...

    def close(self) -> None: ...


class Store(Sink, Reader, Protocol):
    """An open store: a sink that can be read, compared and rebuilt. Readers see whole commits.

    * ``build`` begins a private generation (B1), invisible until `Build.finish`. What an earlier,
      killed build left is removed first.
    * ``view`` is this store at one moment, while writers go on. Where the store cannot keep one
      (``keeps_moments`` is false), whatever is read from a view after a write raises `BusyError`;
      generations and checkpoints are those of its beginning. Such a store's ``commit`` takes
      ``behind`` as well: partitions whose items are ahead of their checkpoints until a later commit
      (`consumers.thrift`). Before that one a view is of no moment.
    """

    @property
    def keeps_moments(self) -> bool: ...

    def describe(
        self,
        generation: str,
        *,
        fingerprint: str,
        types: Iterable[str],
        excluded: Iterable[str] = (),
    ) -> None:
        """As a sink's; ``excluded`` are rules that join those it was made under."""

    def view(self) -> AbstractContextManager[Reader]: ...

    def build(
        self, *, tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
    ) -> Build:
        """``tables`` None: all of the log's, replacing all that the store holds."""


@runtime_checkable
class Shareable(Protocol):
    """A store that several workers may write to at once, each its own partitions.

    * ``share`` is theirs instead of `Sink.lock`: nobody is shut out by it. It notes in the store, once,
      that a team is at work (``shared``), for those who would write to it alone (`BusyError` is not for
      them: nobody ends by waiting). A rebuild into it is fine.
    * ``unshare`` takes the note away, under the lock, when the team is gone. Nothing rests on it.
    * In a handle that shares, ``generations`` and ``checkpoints`` give what the store holds now, and
      ``commit`` moves a checkpoint only over the one that ``checkpoints`` last gave here, or this
      handle wrote: where another stands by now, `LostError`.
    """

    @property
    def shared(self) -> bool: ...

    def share(self) -> None: ...

    def unshare(self) -> None: ...


@runtime_checkable
class Adjustable(Protocol):
    """A store that keeps what its consumers are to go by beside what they apply (`consumers.pace`).

    It is the store's, not a generation's: a rebuild takes none of it away. No lock is needed, so it
    can be set while somebody writes, by whoever may write to the store; the last one to set it counts.
    """

    def pace(self) -> bytes | None:
        """As it was set, now; ``None``: nobody has."""

    def set_pace(self, setting: bytes | None) -> None:
        """Set it, or take it out; durable on return. `ConflictError` where there is no store yet."""


class Part(Protocol):
    """Rows that another process adds to a build: it goes there and comes back by pickle."""

    def load(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        """As `Build.load`. Fastest with all the rows of a table in one call."""

    def keep(self, foreign: Iterable[Foreign], relayed: Iterable[Place] = ()) -> None:
        """Foreign records that were met, and relayed; in the store by `Build.finish`.

        They join those of before, as by `Sink.commit`.
        """

    def close(self) -> None:
        """Nothing more comes. Called there, before it is sent back."""


class Build(Protocol):
    """A private generation being loaded. Nothing is visible before `finish`."""

    generation: str

    def load(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        """Rows of keys not loaded before (else `ValueError`), in any order; unconditional (B1)."""

    def part(self) -> Part:
        """A new one, to be sent to the process that fills it."""

    def adopt(self, parts: Iterable[Part]) -> None:
        """Take in the rows of closed parts; best of all of them in one call."""

    def reject(self, rejections: Iterable[Rejection]) -> None: ...

    def divert(self, letters: Iterable[DeadLetter]) -> None:
        """Dead letters of the rows that are parked, and of those that stand alone."""

    def finish(
        self,
        checkpoints: Mapping[int, Checkpoint],
        *,
        tables: Iterable[str],
        types: Iterable[str] = (),
    ) -> None:
        """Make it live in one step, durably; the tables it replaces are gone.

        ``tables`` are those that exist although nothing was loaded into them, ``types`` the
        domain event types met.
        """

    def abandon(self) -> None:
        """Remove it all; also done for a build whose process was killed, by the next one."""


def vector_of(checkpoints: Mapping[int, Checkpoint]) -> Vector:
    """The vector up to which a generation is applied."""
    return {p: c.applied for p, c in sorted(checkpoints.items()) if c.applied}
