"""A store takes over a table that is there and full: noted in its catalog, and nothing in the table.

The table has to be declared in the store's tables file as owned, under its own name: whoever made it
keeps it, and no rebuild may put another in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from appliers.stores.dynamodb_adopted import Adopted, adopted_of, chunk_rows
from appliers.stores.dynamodb_session import Session
from appliers.stores.dynamodb_tables_spec import Specification, TableSpec, toml
from binlog.adoption import AdoptedAt
from binlog.errors import ConflictError, RefusedError


def declared_name(specification: Specification, physical: str) -> str | None:
    """The log's name of a table that the tables file declares as that physical one."""
    for table, declared in specification.declared.items():
        if declared.physical == physical:
            return table
    return None


def check_declared(specification: Specification, table: str, physical: str, where: str) -> None:
    """That ``table`` is declared as that physical one, owned.

    Raises:
        RefusedError: it is not; with the line to write.
    """
    declared = specification.declared.get(table)
    if declared is None or declared.physical != physical or not declared.owned:
        line = toml(table, physical=physical, owned=True).replace("True", "true")
        target = specification.path or "a file, and add ?tables=FILE to the store's address"
        raise RefusedError(
            f"the store does not have {physical} as its table {table!r}, made by others (owned)",
            where,
            f"write in {target}: {line}",
            table=table,
        )


def adopt_in_place(
    session: Session,
    at: AdoptedAt,
    physical: str,
    items_max: int,
    rows: Callable[[int], Iterable[tuple[bytes, bytes]]],
    *,
    timeline: int,
) -> Adopted:
    """`DynamoDBStore.adopt`.

    Raises:
        RefusedError: the table is not declared so, not there, or has a TTL.
        ConflictError: the store has such a table already, or the same one under another name.
    """
    table, where = at.adoption.table, session.name
    check_declared(session.specification, table, physical, where)
    declared = session.specification.declared[table]
    assert declared.keys is not None  # an owned one was looked up (`dynamodb_tables.resolve`)
    spec = TableSpec(table=table, physical=physical, keys=declared.keys, owned=True)
    session.ensure(spec)
    adopted = adopted_of(at, physical, declared.keys, items_max, timeline=timeline)
    _check_free(session, adopted)
    for partition in range(len(adopted.versions)):
        session.calls.each(session.rows.put_new, chunk_rows(adopted, partition, rows(partition)))
    if session.catalog.adoption(table) is None:
        session.change(adopted=(*session.catalog.adopted, adopted))
    return adopted


def _check_free(session: Session, adopted: Adopted) -> None:
    catalog, table = session.catalog, adopted.table
    known = catalog.adoption(table)
    if known is not None and known != adopted:
        raise ConflictError(
            f"the store has adopted {table} already, as {known.physical}, with base {known.base}",
            session.name,
            "name another store",
            table=table,
        )
    if known is None and catalog.owner(table) is not None:
        raise ConflictError(
            f"the store has a table {table} already, made of events",
            session.name,
            "name another store, or adopt under another name (--as)",
            table=table,
        )
    for other, place in catalog.places.items():
        if other != table and place.physical == adopted.physical:
            raise ConflictError(
                f"the store has {adopted.physical} already, as its table {other}",
                session.name,
                "one table is one table of the log",
                table=table,
            )
