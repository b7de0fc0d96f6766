"""What a store holds when it is at rest, held against the truth, to the byte."""

from __future__ import annotations

from typing import Any

from appliers.item import Rejection, Row
from appliers.store import Reader
from binlog.testing.violation import Violation
from binlog.testing.words import differences, say_key
from binlog.testing.world.cell import Cell
from binlog.testing.world.tables import Refused
from binlog.testing.world.truth import Truth
from binlog.values import decode_value
from binlog.vector import Vector


def check_rows(store: Reader, truth: Truth, vector: Vector, who: str) -> None:
    """That a store holds what the log up to ``vector`` makes of its tables, and nothing else.

    Raises:
        Violation: it does not.
    """
    names = truth.names_at(vector)
    found_names = {table for generation in store.generations() for table in generation.tables}
    rows = truth.rows_at(vector)
    if found_names != names:
        raise Violation(
            f"{who} has other tables than the log's events name",
            law="a replica is the fold of its log (14)",
            differences=differences(sorted(names), sorted(found_names)),
        )
    for table in sorted(names):
        expected, found = rows.get(table, {}), dict(store.scan(table))
        for key in sorted({*expected, *found}):
            row, cell = found.get(key), expected.get(key)
            is_there = None if row is None else (row.version, row.partition, row.data)
            should_be = None if cell is None else (cell.version, cell.partition, cell.data)
            if is_there != should_be:
                raise Violation(
                    f"{who} holds another {table} {say_key(key)} than its events fold to",
                    law="a replica is the fold of its log (14)",
                    differences=[
                        _versions(cell, row),
                        *differences(cell and cell.item, row and row.data and _item(row.data)),
                    ],
                )
    noted = [fact(rejection) for rejection in store.rejections()]
    refused = [fact(each) for each in truth.refused_at(vector)]
    if sorted(noted) != sorted(refused):
        raise Violation(
            f"{who} holds other rejections than its events make",
            law="a replica is the fold of its log (14)",
            differences=differences(sorted(refused), sorted(noted)),
        )


def fact(rejected: Rejection | Refused) -> tuple[int, int, str, bytes, str, int, int]:
    """A rejection, in a form in which both can be compared."""
    return (
        rejected.partition,
        rejected.offset,
        rejected.table,
        rejected.key,
        rejected.id,
        rejected.expected,
        rejected.found,
    )


def _versions(expected: Cell | None, found: Row | None) -> str:
    wanted, there = (each.version if each is not None else "none" for each in (expected, found))
    return f"expected version {wanted}, found {there}"


def _item(data: bytes) -> Any:
    return decode_value(data)
