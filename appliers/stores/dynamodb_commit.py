"""One commit: what must be durable, in the order in which it must (C3), without transactions.

1. Nothing at all, if a checkpoint would move back, or generation or tables are not what they were.
2. How far items of which partitions may be from now on goes into the lock row, on the condition
   that the lock is ours (`dynamodb_lease`).
3. Foreign records and rejections. A rejection is seen only by who folds its event: once the item has
   moved on nobody sees it again. It is a function of the item at that event, so it is as
   true when the commit then fails.
   Dead letters too: no item may be marked as parked whose letter is not there. One that is of an
   item that moved on is no more than in the way.
4. Items, each on its own condition. Where one fails, this ends here; else what letters are settled
   goes, since their events are in the items.
5. Tables that are new, into the catalog, on the condition that it is the one that was read.
6. Checkpoint rows, each on the condition that it is the one that was read.

A crash between any two leaves what a repeat finds and passes: items ahead of their checkpoint.

What a zombie can do, a writer that was paused and has lost its lock without knowing it: its item
writes meet the items' conditions, so they change nothing that is newer; its checkpoint rows are not
the ones it read. If its generation has been replaced meanwhile, it writes to physical tables that
nobody reads, and that are removed; no later table has their names. If no checkpoint row of a
partition was there, it may make one for that dead generation: nobody reads that, and the next build
removes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from appliers.item import Rejection, Write, condition_holds
from appliers.letters import DeadLetter, LetterPlace
from appliers.store import Checkpoint, Generation
from appliers.stores.dynamodb_catalog import (
    FOREIGN,
    Place,
    Standing,
    checkpoint_item,
    foreign_items,
    foreign_sk,
    rejection_item,
    relayed_item,
    standing_of,
)
from appliers.stores.dynamodb_items import check_key
from appliers.stores.dynamodb_lease import Ahead
from appliers.stores.dynamodb_letters import remove_letters, write_letters
from appliers.stores.dynamodb_session import LockLostError, Session, lost, with_places
from appliers.stores.dynamodb_tables import TableSpec
from appliers.stores.dynamodb_writes import Writer
from appliers.stores.generations import check_moves, claimed, tables_of, with_tables
from binlog.errors import ConflictError
from binlog.foreign import Foreign
from binlog.foreign import Place as ForeignPlace
from binlog.vector import offset_of


def commit(
    session: Session,
    generation: str,
    writes: Sequence[Write],
    checkpoints: Sequence[Checkpoint],
    rejections: Sequence[Rejection],
    tables: Iterable[str],
    foreign: Sequence[Foreign] = (),
    relayed: Sequence[ForeignPlace] = (),
    letters: Sequence[DeadLetter] = (),
    settled: Sequence[LetterPlace] = (),
    *,
    behind: Collection[int] = (),
) -> list[Write]:
    """`Sink.commit`. ``behind``: partitions whose items are ahead of checkpoints that come later.

    Until then, and after a crash or a failed condition, items and vector are of no one moment.

    Raises:
        LockLostError: nothing was done, the lock is another's.
    """
    mine = session.catalog.live(generation, session.name)
    standings = session.standings(generation) if checkpoints else {}
    standing = {partition: each.checkpoint for partition, each in standings.items()}
    check_moves(session.name, checkpoints, standing)
    wanted = tables_of(writes, rejections, tables, letters)
    new = claimed(session.name, mine, wanted, session.catalog.owner)
    # Of a table that is not made yet it is known without asking what fails.
    unmade = _check_keys(session, generation, writes)
    failed = [w for w in writes if w.table in unmade and not condition_holds(w, None)]
    before: Ahead = {}
    begins = bool(writes or rejections or letters or settled or new or foreign or relayed)
    if begins and not session.shares:
        before = session.ahead()
        if not session.lease.begin(
            _joined(before, {generation: _reach(writes, rejections, letters)})
        ):
            raise LockLostError("somebody else writes to the store by now", session.name)
    keep_foreign(session, foreign, relayed)
    keep_rejections(session, generation, rejections)
    write_letters(session.calls, session.rows, generation, letters)
    failed += _write(session, generation, [w for w in writes if w.table not in unmade])
    if not failed:
        _place(session, mine, new, unmade)
        failed = _write(session, generation, [w for w in writes if w.table in unmade])
    if not failed:
        remove_letters(session.calls, session.rows, generation, settled)
        session.calls.each(lambda each: put_checkpoint(session, generation, each), checkpoints)
    lost_ones = {(write.table, write.key) for write in failed}
    if begins and not session.shares:
        done = [write for write in writes if (write.table, write.key) not in lost_ones]
        reach = _reach(done, rejections, letters)
        if not failed:  # of what is not said to be behind its checkpoint, there is none to come
            reach = {p: offset for p, offset in reach.items() if p in behind}
        session.settle(_joined(before, {generation: reach}))
    return [write for write in writes if (write.table, write.key) in lost_ones]


def _reach(
    writes: Iterable[Write], rejections: Iterable[Rejection], letters: Iterable[DeadLetter]
) -> dict[int, int]:
    """The last offset of each partition that is in one of them."""
    places = [(w.row.partition, offset_of(w.row.version)) for w in writes]
    places += [(r.partition, r.offset) for r in rejections]
    places += [(letter.partition, letter.offset) for letter in letters]
    return dict(sorted(places))  # of each partition the last pair stays


def _joined(before: Ahead, more: Ahead) -> Ahead:
    """Both, as far as the one that is further."""
    joined = {}
    for generation in {**before, **more}:
        old, new = before.get(generation, {}), more.get(generation, {})
        furthest = {p: max(old.get(p, 0), new.get(p, 0)) for p in sorted({*old, *new})}
        if furthest:
            joined[generation] = furthest
    return joined


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
    writer = Writer(session.calls, generation, session.births, session.hashes)
    return writer.write(places, writes)


def _place(
    session: Session, mine: Generation, new: Sequence[str], unmade: Mapping[str, TableSpec]
) -> None:
    """Make the physical tables of ``unmade``, and note them and ``new`` in the catalog."""
    if not new and not unmade:
        return
    places = {table: _made(session, spec) for table, spec in sorted(unmade.items())}
    for spec in unmade.values():
        session.births.begin(spec.physical)
    session.change_generation(
        with_tables(mine, new),
        places=with_places(session.catalog, places),
        first_names=tuple(sorted({*session.catalog.first_names, *unmade})),
    )


def _made(session: Session, spec: TableSpec) -> Place:
    try:
        return session.make(spec)
    except ConflictError:
        if session.shares and session.is_outdated():  # made and written to by another since
            raise lost(f"another worker made the table {spec.table}", session.name) from None
        raise


def put_checkpoint(session: Session, generation: str, checkpoint: Checkpoint) -> None:
    """Write one row over the one that was read.

    Raises:
        LostError: another stands there.
    """
    standings, partition = session.standings(generation), checkpoint.partition
    old = standings.get(partition)
    before, rev = (old.checkpoint.state, old.rev) if old else (None, 0)
    packed = session.states.pack(generation, partition, checkpoint.state, before)

    def put_row(row: bytes) -> bool:
        item = checkpoint_item(generation, Standing(checkpoint, rev + 1), row)
        won = session.rows.put(item, rev=rev)
        if won:
            standings[partition] = standing_of(item, generation, session.name)
        return won

    if not session.states.write(generation, partition, packed, put_row):
        raise lost(f"the checkpoint of partition {partition} was moved by another", session.name)
