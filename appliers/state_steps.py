"""In which order rows and bases are written, deleted and read, whoever else does so meanwhile (C5).

Invariants:

* a base is written once, create-if-absent, and is durable before a row names it;
* a row is written on the condition that it is the one that was read, by a version that every write
  of it changes: of several writers one wins, and a write that lands late loses;
* the winner, having seen that it won, deletes the base that its row no longer names. Nobody else
  deletes what a row has named: who lost, and who does not know whether it won, deletes nothing;
* a base that no row names, left by who crashed or lost, goes when it is older than `ORPHAN_S`, and
  only behind a *fence*: the row is written again as it is, under a new version. Whoever was about
  to name that base, a process that was stopped for days perhaps, then loses, and no clock matters;
* a reader that finds no base read its row before that was replaced, and reads the row again.
  Nothing is ever read again from the stream, which may have forgotten it.

So no row is ever unreadable, and no base stays for ever. No I/O is done here: `writing` and
`sweeping` say what to do next and are told what came of it (`take`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias, TypeVar

import msgspec

from appliers.state_base import Base, Packed, named_by, orphans, unpack
from binlog.errors import DamageError, LostError

RECALL_MAX = 16  # rows that are replaced under a reader's hands, before it says so

T = TypeVar("T")
S = TypeVar("S")
A = TypeVar("A")


class PutBase(msgspec.Struct, frozen=True):
    """Make ``base`` durable if there is none of its id. Answer when it is: ``True``."""

    base: Base


class PutRow(msgspec.Struct, frozen=True):
    """Write the row on its condition. Answer: ``True`` it won, ``False`` it lost, ``None`` unknown.

    An unknown is best read again first: it won if the row is this one, under the next version.
    """

    row: bytes


class DeleteBase(msgspec.Struct, frozen=True):
    """Delete a base. Answer anything: what fails leaves an orphan."""

    id: str


class Fence(msgspec.Struct, frozen=True):
    """Write every row that might name one of the bases as it is, under its next version.

    Answer: the rows' bytes; ``None``: not done, or there is not one for each partition yet.
    """


Step: TypeAlias = "PutBase | PutRow | DeleteBase"
Sweep: TypeAlias = "Fence | DeleteBase"


def writing(packed: Packed) -> Generator[Step, bool | None, bool | None]:
    """The steps that make ``packed`` durable, one after the other; the outcome of its row.

    After ``False`` and ``None`` the row and its base are to be read again before the next `pack`.
    """
    if packed.base is not None and not (yield PutBase(packed.base)):
        return False
    won = yield PutRow(packed.row)
    if won and packed.replaced is not None:
        yield DeleteBase(packed.replaced)
    return won


def sweeping(
    listed: Iterable[tuple[str, float]], now_s: float
) -> Generator[Sweep, Iterable[bytes] | None, None]:
    """The steps that delete what nobody will ever name of the bases ``listed`` (id, when made).

    Where a partition has no row yet, there is nothing to put up a fence with, and they stay until
    there is.
    """
    old = orphans(listed, (), now_s)
    if not old:
        return
    rows = yield Fence()
    if rows is None:
        return
    named = {named_by(row) for row in rows}
    for name in old:
        if name not in named:
            yield DeleteBase(name)


def take(steps: Generator[S, A | None, T], do: Callable[[S], A | None]) -> T:
    """Take the steps one after the other, each answered by what ``do`` makes of it; their outcome.

    What ``do`` raises ends them where they are, as a crash does: that leaves an orphan at most.
    """
    answer: A | None = None
    try:
        while True:
            answer = do(steps.send(answer))
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome


def recall(
    read: Callable[[], T],
    row_of: Callable[[T], bytes | None],
    read_base: Callable[[str], bytes | None],
    *,
    known: Base | None = None,
    where: str = "",
) -> tuple[T, bytes | None, Base | None]:
    """Read a row, its state and its base, however often others replace them meanwhile.

    ``read`` reads whatever holds the row, strongly consistent, ``row_of`` finds it there; ``None``
    is no row, and no state.

    Raises:
        DamageError: see `unpack`; also a row, still the same, whose base is not there.
        LostError: the row was replaced `RECALL_MAX` times while it was read.
    """
    before: bytes | None = None
    for _ in range(RECALL_MAX):
        holder = read()
        row = row_of(holder)
        if row is None:
            return holder, None, None
        try:
            return (holder, *unpack(row, read_base, known=known))
        except LostError as error:
            if row == before:
                raise DamageError(
                    "a checkpoint row names a base that is not there",
                    where,
                    "was it deleted by hand? rebuild the store",
                    base=named_by(row),
                ) from error
            before = row
    raise LostError(f"a checkpoint row was replaced {RECALL_MAX} times while it was read", where)
