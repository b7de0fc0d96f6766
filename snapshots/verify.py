"""Certify that two replicas hold the same items, or name every key in which they differ.

Only replicas that should be equal are compared: of the same log and, table by table, at the same
vector, made by the same rules and without the same events. Then each table's rows are merged by
key, from the items alone: no stored digest is believed, and a row or two are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import msgspec

from appliers.fingerprint import compare
from appliers.item import Row
from appliers.store import Generation, Reader, Store, vector_of
from binlog.errors import ConflictError, DamageError
from binlog.params import decode_genesis

Side: TypeAlias = "Row | DamageError | None"
"""What stands under a key: a row, one that cannot be read, or nothing."""


class Difference(msgspec.Struct, frozen=True):
    """A key under which the two replicas do not hold the same."""

    table: str
    key: bytes
    left: Side
    right: Side


class Verification:
    """The comparison of two readers; see `verify`.

    ``tables`` are those that either has, in order. ``rows`` and ``differing`` count up while
    `differences` are taken.
    """

    def __init__(self, left: Reader, right: Reader) -> None:
        _check_log(left, right)
        self._left, self._right = left, right
        live = left.generations(), right.generations()
        self.tables = tuple(sorted({t for side in live for g in side for t in g.tables}))
        self._missing = {
            table: [not any(table in g.tables for g in side) for side in live]
            for table in self.tables
        }
        for table in (*self.tables, None):
            _check_table(left, right, _owner(live[0], table), _owner(live[1], table), table)
        self.rows = 0
        self.differing = 0

    def lacking(self, table: str) -> str | None:
        """The side, ``"left"`` or ``"right"``, that does not have ``table`` at all."""
        for side, missing in zip(("left", "right"), self._missing[table], strict=True):
            if missing:
                return side
        return None

    def differences(self, table: str) -> Iterator[Difference]:
        """The keys of ``table`` in which the two differ, in the order of their bytes."""
        left_rows, right_rows = rows_of(self._left, table), rows_of(self._right, table)
        for key, left, right in merge_rows(left_rows, right_rows):
            self.rows += 1
            if left != right and not is_same(left, right):
                self.differing += 1
                yield Difference(table, key, left, right)


@contextmanager
def verify(left: Store, right: Store) -> Iterator[Verification]:
    """Compare two stores, each as it is at one moment.

    Raises:
        ConflictError: they are not meant to be equal: other logs, vectors, rules or exclusions.
        DamageError: a store is damaged beyond single rows.
    """
    with left.view() as a, right.view() as b:
        yield Verification(a, b)


def is_same(left: Side, right: Side) -> bool:
    """Whether two rows have the same hash: all but the partition, which follows from the key."""
    return (
        isinstance(left, Row)
        and isinstance(right, Row)
        and msgspec.structs.replace(left, partition=right.partition) == right
    )


def rows_of(reader: Reader, table: str) -> Iterator[tuple[bytes, Row | DamageError]]:
    """A table's rows; one that cannot be read is a difference and not the end of the comparison."""
    after: bytes | None = None
    while True:
        try:
            for key, row in reader.scan(table, after=after):
                after = key
                yield key, row
            return
        except DamageError as error:
            broken = error.details.get("key")
            if not isinstance(broken, bytes):
                raise
            after = broken
            yield broken, error


_Rows: TypeAlias = Iterator[tuple[bytes, "Row | DamageError"]]


def merge_rows(left: _Rows, right: _Rows) -> Iterator[tuple[bytes, Side, Side]]:
    """Every key that either has, in order, with what stands under it on both sides."""
    a, b = next(left, None), next(right, None)
    while a is not None and b is not None:
        if a[0] == b[0]:
            yield a[0], a[1], b[1]
            a, b = next(left, None), next(right, None)
        elif a[0] < b[0]:
            yield a[0], a[1], None
            a = next(left, None)
        else:
            yield b[0], None, b[1]
            b = next(right, None)
    while a is not None:
        yield a[0], a[1], None
        a = next(left, None)
    while b is not None:
        yield b[0], None, b[1]
        b = next(right, None)


# -- are they meant to be equal? -----------------------------------------------------------------


def _owner(live: list[Generation], table: str | None) -> Generation | None:
    """The generation that has the table or would take its events; ``None``: the open one."""
    named = next((g for g in live if table is not None and table in g.tables), None)
    return named or next((g for g in live if g.open), None)


def _check_log(left: Reader, right: Reader) -> None:
    ours, theirs = left.genesis(), right.genesis()
    if ours == theirs:
        return
    raise ConflictError(
        f"replicas of different logs: {_log_id(left, ours)} and {_log_id(right, theirs)}",
        f"{left.name} and {right.name}",
        "name two stores made from the same log",
    )


def _log_id(reader: Reader, genesis: bytes | None) -> str:
    return "none yet" if genesis is None else decode_genesis(genesis, reader.name).log_id


def _check_table(
    left: Reader,
    right: Reader,
    ours: Generation | None,
    theirs: Generation | None,
    table: str | None,
) -> None:
    if ours is None or theirs is None:
        return  # one side has nothing to do with the table: its rows are what differs
    where = f"{left.name} and {right.name}" + (f", table {table}" if table else "")
    vectors = [vector_of(r.checkpoints(g.id)) for r, g in ((left, ours), (right, theirs))]
    if vectors[0] != vectors[1]:
        raise ConflictError(
            f"replicas at different vectors ({_vector_difference(*vectors)})",
            where,
            "carry both to the same vector: binlog replicate --once, or rebuild --until",
            left=vectors[0],
            right=vectors[1],
        )
    if ours.excluded != theirs.excluded:
        raise ConflictError(
            f"replicas with different exclusions ({_listed(ours.excluded)}"
            f" and {_listed(theirs.excluded)})",
            where,
            "rebuild one of them with the exclusions of the other",
            left=ours.excluded,
            right=theirs.excluded,
        )
    if ours.fingerprint != theirs.fingerprint:
        different = _fingerprint_difference(ours, theirs, table)
        if different:
            raise ConflictError(
                f"replicas made by different rules ({different})",
                where,
                "rebuild one of them with the appliers of the other",
                left=ours.fingerprint,
                right=theirs.fingerprint,
            )


def _vector_difference(ours: dict[int, int], theirs: dict[int, int]) -> str:
    different = [p for p in sorted({*ours, *theirs}) if ours.get(p, 0) != theirs.get(p, 0)]
    named = [f"partition {p}: {ours.get(p, 0)} and {theirs.get(p, 0)}" for p in different[:3]]
    if len(different) > len(named):
        named.append(f"{len(different) - len(named)} more")
    return ", ".join(named)


def _listed(rules: tuple[str, ...]) -> str:
    return ", ".join(rules) or "none"


def _fingerprint_difference(ours: Generation, theirs: Generation, table: str | None) -> str:
    """What matters of it: rules for types that neither has met made no difference."""
    found = compare(
        ours.fingerprint,
        theirs.fingerprint,
        met={*ours.types, *theirs.types},
        tables=None if table is None else [table],
    )
    return "; ".join((*found.versions, *found.sources))
