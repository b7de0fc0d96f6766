"""Adopted tables, as a consumer meets them: before an ADOPT record is folded, its base is in the store.

Who meets one puts the rows of the base into the store first, at the version of the record, each on the
condition that nothing is there, a batch at a time; the checkpoint that passes the record comes after
all of them. So it may be interrupted at any moment: what is there already is passed by the next time,
and no row of the base is ever later than an event. A store that holds the table itself, taken over in
place, needs nothing.

Workers that share a store (Lambda, KCL) have no base and no time for it: there a table begins by
``binlog rebuild``, or in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

from appliers.adoption import Bases, adoption_at, check_rules, no_bases, too_late
from appliers.item import Rejection, Row, Write
from appliers.routing import Op, Routing
from appliers.store import Generation, Sink
from binlog.adoption import Adoption
from binlog.errors import ConflictError, LostError
from binlog.run import Run
from binlog.vector import offset_of, version_of

BATCH_ROWS = 1_000


class InPlace(Protocol):
    """A table that was taken over as it was."""

    physical: str
    versions: tuple[int, ...]

    @property
    def adoption(self) -> Adoption: ...


@runtime_checkable
class Scans(Protocol):
    """A sink that can be read whole; one of one's own need not."""

    def scan(self, table: str) -> Iterator[tuple[bytes, Row]]: ...

    def rejections(self, table: str | None = None) -> Iterator[Rejection]: ...


@runtime_checkable
class AdoptsInPlace(Protocol):
    """A store that may have taken over a table as it was."""

    def adopted(self, table: str) -> InPlace | None: ...


class Adopting:
    """Of one generation. `prepare` a page before it is folded, `note` what was written since."""

    def __init__(
        self, store: Sink, generation: Generation, routing: Routing, bases: Bases | None
    ) -> None:
        self._store = store
        self._generation = generation.id
        self._routing = routing
        self._bases = bases
        self._lowest: dict[str, dict[int, int]] = {}  # by table and partition: a row's version

    def prepare(self, runs: Sequence[Run]) -> None:
        """Have the store hold the bases of all ADOPT records in ``runs``.

        Raises:
            PoisonError: an event of the table is in the store that stands before the record.
            RefusedError, DamageError, StorageError: see `appliers.adoption.Bases`.
            ConflictError: the store has the table in place, by another adoption.
        """
        for run in runs:
            plan = self._routing.plan(run.columns.kinds)
            if Op.ADOPT not in plan.ops:
                continue
            for i, kind in enumerate(run.columns.index):
                if plan.ops[kind] is Op.ADOPT:
                    self._adopt(run, i, runs)

    def note(self, writes: Iterable[Write]) -> None:
        """What was committed of a page."""
        for write in writes if self._lowest else ():
            lowest = self._lowest.get(write.table)
            if lowest is not None:
                version = write.row.version or write.row.tail
                lowest[write.row.partition] = min(version, lowest.get(write.row.partition, version))

    def _adopt(self, run: Run, i: int, runs: Sequence[Run]) -> None:
        adoption = adoption_at(run, i)
        if adoption is None:
            return
        check_rules(self._routing.rules, adoption.table)
        version = version_of(self._routing.params.timeline, run.first_offset + i)
        self._check_first(run, i, adoption, runs)
        store = self._store
        in_place = store.adopted(adoption.table) if isinstance(store, AdoptsInPlace) else None
        if in_place is not None:
            self._check_in_place(in_place, adoption, run.partition, version)
            return
        before = self._lowest_of(adoption.table).get(run.partition, version)
        if isinstance(
            store, Scans
        ):  # one that was rejected moved nothing, and was there all the same
            refused = store.rejections(adoption.table)
            before = min([before, *[r.offset for r in refused if r.partition == run.partition]])
        if before < version:
            raise too_late(run, i, adoption, offset_of(before))
        if self._bases is None:
            raise no_bases(run, i, adoption)
        self._load(run, i, adoption, version, self._bases)

    def _check_first(self, run: Run, i: int, adoption: Adoption, runs: Sequence[Run]) -> None:
        """That no event of the page stands before it, of those that come into the table as they are.

        Those of a user's applier, which may come from any type, the fold finds.
        """
        for other in runs:
            if other.partition != run.partition or other.first_offset > run.first_offset:
                continue
            plan = self._routing.plan(other.columns.kinds)
            skipped = self._routing.skipped(other) or frozenset()
            for j, kind in enumerate(other.columns.index[: i if other is run else None]):
                acts = plan.ops[kind] <= Op.UPDATE or plan.ops[kind] is Op.ADOPT
                if acts and plan.tables[kind] == adoption.table and j not in skipped:
                    raise too_late(run, i, adoption, other.first_offset + j)

    def _check_in_place(
        self, in_place: InPlace, adoption: Adoption, partition: int, version: int
    ) -> None:
        if in_place.adoption.base == adoption.base and in_place.versions[partition] == version:
            return
        raise ConflictError(
            f"the store has {in_place.physical} as table {adoption.table}, adopted with base"
            f" {in_place.adoption.base}; the log says {adoption.base}, at version {version}",
            f"{self._store.name}, partition {partition}",
            "is it the store of this log? else take one of another prefix",
            partition=partition,
            table=adoption.table,
        )

    def _lowest_of(self, table: str) -> Mapping[int, int]:
        """By partition the lowest version of a row in the store: looked up once, then followed."""
        found = self._lowest.get(table)
        if found is None:
            found = self._lowest[table] = {}
            live = {t for g in self._store.generations() for t in g.tables}
            if table in live and isinstance(self._store, Scans):
                for _, row in self._store.scan(table):
                    partition, version = row.partition, row.version or row.tail
                    found[partition] = min(version, found.get(partition, version))
        return found

    def _load(self, run: Run, i: int, adoption: Adoption, version: int, bases: Bases) -> None:
        table, partition = adoption.table, run.partition
        rows = iter(bases.rows(adoption, partition))
        while some := list(islice(rows, BATCH_ROWS)):
            writes = [Write(table, k, Row(version, partition, data), 0) for k, data in some]
            failed = self._store.commit(self._generation, writes, [], tables=(table,))
            if not failed:
                continue
            keys = [write.key for write in failed]
            found = self._store.read(self._generation, table, keys)
            for key in keys:
                row = found.get(key)
                if row is not None and 0 < row.version < version:
                    raise too_late(run, i, adoption, offset_of(row.version))
                if row is None or not row.version:
                    raise LostError(
                        f"somebody else writes to table {table} while its base comes in",
                        self._store.name,
                        "see that one consumer writes to the store",
                        partition=partition,
                        table=table,
                    )
