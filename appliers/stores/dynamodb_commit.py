"""One commit: what must be durable, in the order in which it must (C3), without transactions.

1. Nothing at all, if a checkpoint would move back, or generation or tables are not what they were.
2. The number of the commit goes into the lock row, on the condition that the lock is ours.
3. Foreign records and rejections. A rejection is seen only by who folds its event: once the item has
   moved on nobody sees it again. It is a function of the item at that event, so it is as
   true when the commit then fails.
4. Items, each on its own condition. Where one fails, this ends here.
5. Tables that are new, into the catalog, on the condition that it is the one that was read.
6. Checkpoint rows, each on the condition that it is the one that was read; the last one says that
   the commit is done.

A crash between any two leaves what a repeat finds and passes: items ahead of their checkpoint.

What a zombie can do, a writer that was paused and has lost its lock without knowing it: its item
writes meet the items' conditions, so they change nothing that is newer; its checkpoint rows are not
the ones it read. If its generation has been replaced meanwhile, it writes to physical tables that
nobody reads, and that are removed; no later table has their names. If no checkpoint row of a
partition was there, it may make one for that dead generation: nobody reads that, and the next build
removes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from appliers.item import Rejection, Write, condition_holds
from appliers.store import Checkpoint, Generation, moves_on
from appliers.stores.dynamodb_catalog import (
    FOREIGN,
    Standing,
    checkpoint_item,
    foreign_items,
    foreign_sk,
    rejection_item,
    relayed_item,
    standing_of,
)
from appliers.stores.dynamodb_items import check_key
from appliers.stores.dynamodb_session import LockLostError, Session, lost, with_places
from appliers.stores.dynamodb_tables import TableSpec
from appliers.stores.dynamodb_writes import Writer
from appliers.stores.generations import lost_checkpoint, lost_table, tables_of, with_tables
from binlog.errors import LostError
from binlog.foreign import Foreign
from binlog.foreign import Place as ForeignPlace


def commit(
    session: Session,
    generation: str,
    writes: Sequence[Write],
    checkpoints: Sequence[Checkpoint],
    rejections: Sequence[Rejection],
    tables: Iterable[str],
    foreign: Sequence[Foreign] = (),
    relayed: Sequence[ForeignPlace] = (),
    *,
    is_behind: bool = False,
) -> list[Write]:
    """`Sink.commit`. ``is_behind``: items are ahead of checkpoints that come with a later one.

    Until then the commit is not done for a reader: items and vector are of no one moment.

    Raises:
        LockLostError: nothing was done, the lock is another's.
    """
    mine = session.catalog.live(generation, session.name)
    _check_checkpoints(session, generation, checkpoints)
    new = _new_tables(session, mine, tables_of(writes, rejections, tables))
    # Of a table that is not made yet it is known without asking what fails.
    unmade = _check_keys(session, generation, writes)
    failed = [w for w in writes if w.table in unmade and not condition_holds(w, None)]
    number = 0
    if (
        writes
        or rejections
        or new
        or foreign
        or relayed
        # Of one that crashed, or was behind, nothing may be left to write: this one says it is done.
        or (checkpoints and not is_behind and not session.is_settled())
    ):
        number = session.lease.begin()
        if not number:
            raise LockLostError("somebody else writes to the store by now", session.name)
    try:
        keep_foreign(session, foreign, relayed)
        keep_rejections(session, generation, rejections)
        failed += _write(session, generation, [w for w in writes if w.table not in unmade])
        if not failed:
            _place(session, mine, new, unmade)
            failed = _write(session, generation, [w for w in writes if w.table in unmade])
        if not failed:
            _move(session, generation, checkpoints, 0 if is_behind else number)
    except LostError:
        session.lease.end()
        raise
    if number and (failed or not checkpoints) and not is_behind:
        session.lease.end()
    lost_ones = {(write.table, write.key) for write in failed}
    return [write for write in writes if (write.table, write.key) in lost_ones]


def _check_checkpoints(
    session: Session, generation: str, checkpoints: Sequence[Checkpoint]
) -> None:
    standings = session.standings(generation) if checkpoints else {}
    for checkpoint in checkpoints:
        old = standings.get(checkpoint.partition)
        if old is not None and not moves_on(checkpoint, old.checkpoint):
            raise lost_checkpoint(session.name, checkpoint, old.checkpoint)


def _new_tables(session: Session, mine: Generation, wanted: set[str]) -> list[str]:
    new = sorted(wanted.difference(mine.tables))
    for table in new:
        if not mine.open or session.catalog.owner(table) is not None:
            raise lost_table(session.name, mine.id, table)
    return new


def _check_keys(session: Session, generation: str, writes: Sequence[Write]) -> dict[str, TableSpec]:
    """The physical tables to be made, by the first key of each.

    Raises:
        PoisonError, RefusedError: a key that no table of its kind can hold; nothing is written.
    """
    specs: dict[str, TableSpec] = {}
    for write in writes:
        known = session.catalog.keys(write.table)
        spec = specs.get(write.table)
        schema = known.schema if known else spec.keys if spec else session.declared(write.table)
        key = check_key(write.table, write.key, write.row, schema, session.name)
        if known is None and spec is None:
            specs[write.table] = session.spec_of(write.table, key, generation)
    return specs


def keep_foreign(
    session: Session, foreign: Sequence[Foreign], relayed: Sequence[ForeignPlace]
) -> None:
    """Foreign records, durable on return, each once; none that is relayed, now or before."""
    rows = session.rows

    def forget(place: ForeignPlace) -> None:
        rows.put_new(relayed_item(place))

    def keep(record: Foreign) -> None:
        if rows.get(relayed_item(record.place)) is None:
            for item in foreign_items(record):
                rows.put_new(item)

    session.calls.each(forget, relayed)
    for place in relayed:  # what is kept of one is hidden by now
        rows.delete(rows.query({"S": FOREIGN}, begins=foreign_sk(place)))
    session.calls.each(keep, foreign)


def keep_rejections(session: Session, generation: str, rejections: Sequence[Rejection]) -> None:
    """Rejections, durable on return; each once, as it was first found."""
    items = [rejection_item(generation, rejection) for rejection in rejections]
    session.calls.each(session.rows.put_new, items)


def _write(session: Session, generation: str, writes: Sequence[Write]) -> list[Write]:
    if not writes:
        return []
    tables = {write.table for write in writes}
    places = {table: keys for table in tables if (keys := session.catalog.keys(table))}
    return Writer(session.calls, generation, session.births).write(places, writes)


def _place(
    session: Session, mine: Generation, new: Sequence[str], unmade: Mapping[str, TableSpec]
) -> None:
    """Make the physical tables of ``unmade``, and note them and ``new`` in the catalog."""
    if not new and not unmade:
        return
    places = {table: session.make(spec) for table, spec in sorted(unmade.items())}
    for spec in unmade.values():
        session.births.begin(spec.physical)
    session.change_generation(
        with_tables(mine, new),
        places=with_places(session.catalog, places),
        first_names=tuple(sorted({*session.catalog.first_names, *unmade})),
    )


def _move(
    session: Session, generation: str, checkpoints: Sequence[Checkpoint], number: int
) -> None:
    """Write the checkpoint rows, the one that ends commit ``number`` last."""
    if not number:
        session.calls.each(lambda each: put_checkpoint(session, generation, each), checkpoints)
    elif checkpoints:
        rest, last = checkpoints[:-1], checkpoints[-1]
        session.calls.each(lambda each: put_checkpoint(session, generation, each), rest)
        put_checkpoint(session, generation, last, number)


def put_checkpoint(
    session: Session, generation: str, checkpoint: Checkpoint, number: int = 0
) -> None:
    """Write one row over the one that was read.

    Raises:
        LostError: another stands there.
    """
    standings, partition = session.standings(generation), checkpoint.partition
    old = standings.get(partition)
    before, rev = (old.checkpoint.state, old.rev) if old else (None, 0)
    # What a row says of an earlier commit stays true, and may be said nowhere else.
    number = number or (old.commit if old else 0)
    packed = session.states.pack(generation, partition, checkpoint.state, before)

    def put_row(row: bytes) -> bool:
        item = checkpoint_item(generation, Standing(checkpoint, rev + 1, number), row)
        won = session.rows.put(item, rev=rev)
        if won:
            standings[partition] = standing_of(item, generation, session.name)
        return won

    if not session.states.write(generation, partition, packed, put_row):
        raise lost(f"the checkpoint of partition {partition} was moved by another", session.name)
