"""Reading one generation of a store for a snapshot, while others write to it (N1).

Two kinds of store give it. One that keeps moments (`appliers.store.Store.view`) gives all of it as of
one moment. One that does not gives rows of no one moment, and promises this instead, which is all that
a snapshot needs:

* `Survey.checkpoints` are durable before anything else is read: every event up to them is in the
  rows that come, or in the dead letters of a parked one, whenever those are read;
* the generation, its tables and its types are read after the checkpoints: a table that came into
  the generation before a checkpoint passed its first event is among them;
* each row that comes is one that was committed: the fold of its key's events up to its version;
* each row that was there when the checkpoints were read comes once, as it was then or later; one that
  came later may come or not;
* the generation is live, and has these tables and exclusions, when `Survey.check` passes: an event
  that was left out since (``redrive --without``) is in some rows' letters, and nowhere in others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol, runtime_checkable

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter
from appliers.store import Checkpoint, Generation, Reader, Store
from binlog.errors import ConflictError, RefusedError
from binlog.foreign import Foreign, Place

PAGE_ROWS = 1_000
PAGE_BYTES = 1024 * 1024  # of keys and items, at which a page ends as well


class Page(NamedTuple):
    """Rows of a scan, each with its key."""

    rows: Sequence[tuple[bytes, Row]]
    through: bytes | None  # where it goes on, also in another process; ``None``: this was the last


class Survey(Protocol):
    """One generation, in the order in which it is to be read: checkpoints, letters, rows, the rest."""

    name: str  # the store's address
    genesis: bytes
    generation: Generation  # as it was after the checkpoints were read
    without: tuple[str, ...]  # tables that other generations have
    is_moment: bool

    def checkpoints(self) -> dict[int, Checkpoint]: ...

    def letters(self) -> Iterator[DeadLetter]:
        """In the order of `appliers.letters.letter_order`."""

    def pages(
        self, table: str, segment: int, segments: int, *, after: bytes | None = None
    ) -> Iterator[Page]:
        """The rows of one of so many shares of a table. Any thread may take a segment.

        ``after`` is the `Page.through` of a page of the same segment of as many: those before it
        are left out.
        """

    def rejections(self) -> Iterator[Rejection]:
        """By table, partition, offset and key."""

    def foreign(self) -> Iterator[Foreign]: ...

    def relayed(self) -> Iterator[Place]: ...

    def check(self) -> Generation:
        """The generation as it is by now: its rules may be said anew, and types of events be met.

        Raises:
            LostError: it was replaced since, by a rebuild, lost a table, or leaves out more events.
        """


@runtime_checkable
class Surveyable(Protocol):
    """A store that keeps no moments, and can be surveyed all the same.

    ``rate`` bounds what the scan consumes: read units a second. ``generation`` as in `survey`.
    """

    def survey(
        self, generation: str | None = None, *, rate: float | None = None
    ) -> AbstractContextManager[Survey]: ...


class Cost(Protocol):
    """What a table is read for."""

    @property
    def items(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def read_units(self) -> int: ...

    @property
    def dollars(self) -> float: ...


@runtime_checkable
class Billed(Protocol):
    """A survey that is paid by the unit."""

    def size(self, table: str) -> Cost | None:
        """What reading a table costs, about; ``None``: nothing was written to it yet."""


@runtime_checkable
class KeepsRelayed(Protocol):
    """A reader that tells which foreign records were relayed."""

    def relayed(self) -> Iterator[Place]: ...


@contextmanager
def survey(
    store: Store, generation: str | None = None, *, rate: float | None = None
) -> Iterator[Survey]:
    """Survey ``generation`` of ``store``; ``None``: the only one that it has.

    Raises:
        ConflictError: nothing was ever replicated into the store, or there are several generations.
        RefusedError: a rate, where nothing is paid by the unit; a store of which there is no survey.
    """
    if isinstance(store, Surveyable):
        with store.survey(generation, rate=rate) as found:
            yield found
        return
    if rate is not None:
        raise RefusedError("--rate: nothing is paid by the unit there", store.name, "leave it out")
    if not store.keeps_moments:
        raise RefusedError("there is no snapshot of such a store", store.name, "use another one")
    with store.view() as view:
        yield MomentSurvey(view, generation)


def chosen(generations: Sequence[Generation], wanted: str | None, name: str) -> Generation:
    """The generation of the id ``wanted``, or the only one.

    Raises:
        ConflictError: as `survey`.
    """
    found = [each for each in generations if wanted in (None, each.id)]
    if len(found) == 1:
        return found[0]
    if not found:
        what = "holds nothing yet" if wanted is None else f"has no generation {wanted}"
        raise ConflictError(f"the store {what}", name, "replicate or rebuild into it first")
    tables = "; ".join(f"{each.id}: {', '.join(each.tables) or 'none yet'}" for each in found)
    raise ConflictError(
        f"the store has several generations ({tables})", name, "take a snapshot of each"
    )


def tables_of_others(generations: Sequence[Generation], mine: Generation) -> tuple[str, ...]:
    """The tables of all generations but ``mine``, in order."""
    return tuple(sorted(table for g in generations if g.id != mine.id for table in g.tables))


def bound_to(genesis: bytes | None, name: str) -> bytes:
    """``genesis``.

    Raises:
        ConflictError: the store belongs to no log.
    """
    if genesis is None:
        raise ConflictError("the store belongs to no log yet", name, "replicate into it first")
    return genesis


class MomentSurvey:
    """Of a view, which is of one moment as it is. There is one segment, in the order of the keys."""

    is_moment = True

    def __init__(self, view: Reader, generation: str | None = None) -> None:
        self.name = view.name
        self.genesis = bound_to(view.genesis(), view.name)
        self.generation = chosen(view.generations(), generation, view.name)
        self.without = tables_of_others(view.generations(), self.generation)
        self._view = view

    def checkpoints(self) -> dict[int, Checkpoint]:
        return self._view.checkpoints(self.generation.id)

    def letters(self) -> Iterator[DeadLetter]:
        for table in (*([""] if self.generation.open else ()), *self.generation.tables):
            yield from self._view.letters(table)

    def pages(
        self,
        table: str,
        segment: int,
        segments: int,  # noqa: ARG002 - there is only the first
        *,
        after: bytes | None = None,
    ) -> Iterator[Page]:
        rows = self._view.scan(table, after=after) if segment == 0 else iter(())
        some: list[tuple[bytes, Row]] = []
        size = 0
        for key, row in rows:
            some.append((key, row))
            size += len(key) + len(row.data or b"")
            if len(some) >= PAGE_ROWS or size >= PAGE_BYTES:
                yield Page(some, key)
                some, size = [], 0
        yield Page(some, None)

    def rejections(self) -> Iterator[Rejection]:
        for table in self.generation.tables:
            yield from self._view.rejections(table)

    def foreign(self) -> Iterator[Foreign]:
        return self._view.foreign()

    def relayed(self) -> Iterator[Place]:
        return self._view.relayed() if isinstance(self._view, KeepsRelayed) else iter(())

    def check(self) -> Generation:
        return self.generation
