"""What all stores decide alike about generations: who may begin, go on, and be replaced.

Invariants of every store:

* a table belongs to exactly one live generation, or nobody has it;
* at most one live generation is open;
* a generation that is not open is live as long as it has a table; it never gains one;
* checkpoints, rejections and dead letters belong to a live generation, and the latter two to one of
  its tables; a letter of an event that names no table to an open one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from appliers.item import Rejection, Write
from appliers.letters import DeadLetter
from appliers.store import Checkpoint, Generation, moves_on
from binlog.errors import BinlogError, ConflictError, LostError, MismatchError
from binlog.params import decode_genesis

_Kept = TypeVar("_Kept")


def new_generation(
    tables: Sequence[str] | None, fingerprint: str, excluded: Sequence[str]
) -> Generation:
    """One with a random id; ``tables`` None makes it open.

    Raises:
        ValueError: an empty list of tables.
    """
    if tables is not None and not tables:
        raise ValueError("a generation of no tables: give None for all of the log's")
    return Generation(
        id=secrets.token_hex(16),
        tables=sorted_names(tables or ()),
        open=tables is None,
        fingerprint=fingerprint,
        excluded=sorted_names(excluded),
    )


def sorted_names(*names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in order."""
    return tuple(sorted(set().union(*names)))


def with_tables(generation: Generation, *tables: Iterable[str]) -> Generation:
    """The same generation having met ``tables`` too.

    Raises:
        ValueError: it is not open and was not made for one of them.
    """
    met = sorted_names(generation.tables, *tables)
    if met != generation.tables and not generation.open:
        more = ", ".join(sorted(set(met).difference(generation.tables)))
        raise ValueError(f"the generation was not made for {more}")
    return msgspec.structs.replace(generation, tables=met)


def described(
    generation: Generation, fingerprint: str, types: Iterable[str], excluded: Iterable[str] = ()
) -> Generation:
    """The generation under another fingerprint, having met ``types``, and without more events."""
    return msgspec.structs.replace(
        generation,
        fingerprint=fingerprint,
        types=sorted_names(generation.types, types),
        excluded=sorted_names(generation.excluded, excluded),
    )


def after_build(
    live: Sequence[Generation], built: Generation
) -> tuple[list[Generation], frozenset[str]]:
    """The generations that stay beside ``built`` with what they keep, and the tables that go."""
    every = frozenset(table for generation in live for table in generation.tables)
    if built.open:
        return [], every
    gone = every.intersection(built.tables)
    kept = [msgspec.structs.replace(g, tables=sorted_names(set(g.tables) - gone)) for g in live]
    return [g for g in kept if g.open or g.tables], gone


def check_binding(name: str, bound: bytes | None, genesis: bytes) -> None:
    """Raise `MismatchError` where a store bound to ``bound`` meets another log."""
    if bound is None or bound == genesis:
        return
    ours, theirs = (decode_genesis(g, name) for g in (bound, genesis))
    if ours.log_id != theirs.log_id:
        raise MismatchError(
            f"the store belongs to log {ours.log_id}, not to {theirs.log_id}",
            name,
            "name another store, or the log that it was made from",
            found=ours.log_id,
            expected=theirs.log_id,
        )
    raise MismatchError(
        f"the store was made from log {ours.log_id} under other parameters",
        name,
        "rebuild it under another name",
        found=bound,
        expected=genesis,
    )


def check_creation(name: str, live: Sequence[Generation], made: Generation) -> None:
    """Raise `ConflictError` where ``made`` cannot live beside ``live``."""
    for generation in live:
        for table in made.tables:
            if table in generation.tables:
                raise ConflictError(
                    f"table {table} exists already", name, "rebuild it to replace it", table=table
                )
        if made.open and generation.open:
            raise ConflictError(
                "the store follows all tables already", name, "go on with what it has"
            )


def check_unique(writes: Sequence[Write]) -> None:
    """Raise `ValueError` where one item is written twice in a batch (I3)."""
    if len({(write.table, write.key) for write in writes}) != len(writes):
        raise ValueError("an item is written twice in one batch: fold its events to one write")


def tables_of(
    writes: Iterable[Write],
    rejections: Iterable[Rejection],
    tables: Iterable[str],
    letters: Iterable[DeadLetter] = (),
) -> set[str]:
    """The tables that exist after a commit of these: a rejected event shows its table, too."""
    return {w.table for w in writes}.union(
        (r.table for r in rejections), tables, tables_of_letters(letters)
    )


def tables_of_letters(letters: Iterable[DeadLetter]) -> set[str]:
    """The tables that dead letters show."""
    return {letter.table for letter in letters if letter.table}


def check_moves(
    name: str,
    given: Iterable[Checkpoint],
    standing: Mapping[int, Checkpoint],
    *,
    known: Callable[[Checkpoint], bool] = lambda _: True,
) -> None:
    """Raise `LostError` where a checkpoint would not move on from the one that stands (C2).

    Nor over one that is not ``known`` to the writer.
    """
    for checkpoint in given:
        old = standing.get(checkpoint.partition)
        if old is not None and not (moves_on(checkpoint, old) and known(old)):
            raise lost_checkpoint(name, checkpoint, old)


def claimed(
    name: str, mine: Generation, tables: Iterable[str], owner: Callable[[str], str | None]
) -> list[str]:
    """Those of ``tables`` that a commit of ``mine`` takes, in order; ``owner``: who has one.

    Raises:
        LostError: one that another generation has, or that this one may not gain.
    """
    new = sorted(set(tables).difference(mine.tables))
    for table in new:
        if not mine.open or owner(table) is not None:
            raise lost_table(name, mine.id, table)
    return new


def check_open(*, over: bool) -> None:
    """Raise `ValueError` where a build is used after its end."""
    if over:
        raise ValueError("the build is finished or abandoned: begin another")


def of_partitions(
    rows: Mapping[int, _Kept], partitions: Collection[int] | None
) -> dict[int, _Kept]:
    """What is kept of ``partitions``, or of all, in order."""
    if partitions is None:
        return dict(sorted(rows.items()))
    return {partition: rows[partition] for partition in sorted(partitions) if partition in rows}


def lost_generation(name: str, generation: str) -> LostError:
    """The generation is not live, now or ever again."""
    return _lost(f"generation {generation} is no longer live", name, generation=generation)


def lost_table(name: str, generation: str, table: str) -> LostError:
    """The table is another generation's: a rebuild took it."""
    return _lost(
        f"table {table} is not of generation {generation}",
        name,
        generation=generation,
        table=table,
    )


def lost_checkpoint(name: str, given: Checkpoint, standing: Checkpoint) -> LostError:
    """Somebody else went further."""
    return _lost(
        f"the checkpoint of partition {given.partition} stands at {_place(standing)}"
        f" and does not move to {_place(given)}",
        name,
        partition=given.partition,
        standing=standing,
        given=given,
    )


def _lost(what: str, name: str, **details: object) -> LostError:
    return LostError(what, name, "read the store again and start over", **details)


def _place(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.shard}:{checkpoint.sequence}, offset {checkpoint.applied}"


def no_table(name: str, table: str, live: Sequence[Generation]) -> BinlogError:
    """What a reader says of a table that nobody has."""
    tables = sorted_names(*(generation.tables for generation in live))
    have = f"it has {', '.join(tables)}" if tables else "it has none"
    return ConflictError(f"no table {table} in the store", name, have, table=table)


def no_store_yet(name: str) -> ConflictError:
    """What is to be kept in a store has to wait for it."""
    return ConflictError("there is no store yet", name, "make it first: binlog rebuild LOG STORE")
