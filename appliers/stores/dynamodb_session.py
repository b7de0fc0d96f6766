"""What a handle knows while it is the writer: the catalog, and the checkpoint rows it stands on.

Both are read once, when the lock is taken, and followed from there, since nobody else writes. If
somebody does all the same, the condition of the next row fails (`LostError`), and the session is
thrown away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from appliers.store import Generation
from appliers.stores.dynamodb_adopted import BaseHashes
from appliers.stores.dynamodb_births import Births
from appliers.stores.dynamodb_calls import Calls
from appliers.stores.dynamodb_catalog import (
    Catalog,
    Gone,
    Place,
    Standing,
    catalog_item,
    next_catalog,
)
from appliers.stores.dynamodb_items import Keys, foreign_item
from appliers.stores.dynamodb_lease import Ahead, Lease
from appliers.stores.dynamodb_reader import read_catalog, read_standings, still_ahead
from appliers.stores.dynamodb_rows import Rows
from appliers.stores.dynamodb_states import States
from appliers.stores.dynamodb_tables import Specification, TableSpec, ensure, remove
from appliers.stores.dynamodb_tables_spec import LOG_TAG, STORE_TAG, TABLE_TAG, KeySchema
from binlog.errors import ConflictError, LostError, RefusedError
from binlog.logger import get_logger
from binlog.values import RESERVED_ATTRIBUTE

_LOST_MAX = 8  # times that others change what one looks at, before it is said

_logger = get_logger(__name__)


class Session:
    """One turn as the writer."""

    def __init__(
        self,
        calls: Calls,
        rows: Rows,
        lease: Lease,
        states: States,
        births: Births,
        specification: Specification,
        control: Any,
        catalog: Catalog,
        *,
        shares: bool = False,
    ) -> None:
        """``specification`` is bound and resolved; ``control`` a client that repeats its calls.

        ``shares``: one of several writers, without the lock (`appliers.store.Shareable`).
        """
        self.calls = calls
        self.rows = rows
        self.lease = lease
        self.states = states
        self.births = births
        self.specification = specification
        self.catalog = catalog
        self.name = calls.name
        self.shares = shares
        self.hashes = BaseHashes(rows, calls.name)
        self._control = control
        self._standings: dict[str, dict[int, Standing]] = {}

    def standings(self, generation: str) -> dict[int, Standing]:
        """The checkpoint rows of a live generation as they stand, to be kept so by who writes one."""
        if generation not in self._standings and not self.shares:
            self._standings[generation] = read_standings(self.rows, generation, self.name)
        return self._standings.setdefault(generation, {})

    def read_standings(self, generation: str, partitions: Collection[int] | None) -> None:
        """Read some partitions' rows as they stand now: what those of them are written over."""
        found = read_standings(self.rows, generation, self.name, partitions)
        known = self._standings.setdefault(generation, {})
        for partition in known.keys() if partitions is None else partitions:
            known.pop(partition, None)
        known.update(found)

    def ahead(self) -> Ahead:
        """What items may be ahead of checkpoints, by whomever they were written."""
        standings = {each.id: self.standings(each.id) for each in self.catalog.generations}
        return still_ahead(self.lease.lock, standings)

    def settle(self, wanted: Ahead) -> None:
        """Note that no more than ``wanted`` is ahead, where the lock's row says more than that.

        What has been reached by a checkpoint says nothing, and is left there: a write less.
        """
        left = self.ahead()
        if any(
            wanted.get(generation, {}).get(partition, 0) < offset
            for generation, offsets in left.items()
            for partition, offset in offsets.items()
        ):
            self.lease.settle(wanted)

    def forget_standings(self, generation: str) -> None:
        """Have the rows of a generation read again."""
        self._standings.pop(generation, None)

    # -- the catalog ---------------------------------------------------------------------------

    def read_catalog(self) -> None:
        """Stand on the catalog as it is now."""
        found = read_catalog(self.rows, self.name)
        self.catalog = msgspec.structs.replace(found, genesis=self.catalog.genesis)

    def is_outdated(self) -> bool:
        """Whether somebody else has changed the catalog."""
        return read_catalog(self.rows, self.name).rev != self.catalog.rev

    def change(self, **changes: Any) -> None:
        """Replace the catalog, in one step.

        Raises:
            LostError: it is another's by now; nothing is changed.
        """
        wanted = next_catalog(self.catalog, **changes)
        if not self.rows.put(catalog_item(wanted, self.name), rev=self.catalog.rev):
            raise lost("the catalog was changed by another writer", self.name)
        self.catalog = wanted

    def settle_change(self) -> None:
        """Learn what became of a change without a reply: afterwards none is under way any more.

        Raises:
            LostError: others change the catalog, again and again.
        """
        for _ in range(_LOST_MAX):
            self.read_catalog()
            try:
                self.change()
            except LostError:
                continue
            return
        raise lost("the catalog was changed by another writer", self.name)

    def change_generation(self, generation: Generation, **changes: Any) -> None:
        """Replace one live generation in the catalog."""
        generations = tuple(
            generation if each.id == generation.id else each for each in self.catalog.generations
        )
        self.change(generations=generations, **changes)

    # -- physical tables -----------------------------------------------------------------------

    @property
    def control(self) -> Any:
        """A client that repeats its calls by itself."""
        return self._control

    def spec_of(self, table: str, key: Mapping[str, Any], generation: str) -> TableSpec:
        """The physical table that a live generation is to make for ``table``.

        The name without a suffix is given out once in a store's life, so that no zombie of an
        earlier generation finds a table of its name.
        """
        is_first = table not in self.catalog.first_names
        return self.specification.of(table, key, generation=None if is_first else generation)

    def declared(self, table: str) -> KeySchema | None:
        """The key schema that is declared for a table."""
        found = self.specification.declared.get(table)
        return found.keys if found else None

    def make(self, spec: TableSpec) -> Place:
        """Make the physical table, or take the one that is there if it is empty.

        Raises:
            ConflictError: it holds something.
            RefusedError, MismatchError, StorageError: as `dynamodb_tables.ensure` says.
        """
        if not self.ensure(spec):
            self._check_empty(Keys(spec.table, spec.physical, spec.keys))
        return Place(spec.physical, spec.keys)

    def ensure(self, spec: TableSpec) -> bool:
        """`dynamodb_tables.ensure`: that the physical table is there, as it is to be."""
        return ensure(
            self._control, spec, self.name, clock=self.calls.clock, pause=self.calls.pause
        )

    def _check_empty(self, keys: Keys) -> None:
        reply = self.calls.call(
            "scan",
            TableName=keys.physical,
            ConsistentRead=True,
            Limit=1,
            ReturnConsumedCapacity="TOTAL",
        )
        for item in reply["Items"]:
            key = keys.key_of(item)
            if RESERVED_ATTRIBUTE not in item:
                raise foreign_item(keys, key, self.name)
            raise ConflictError(
                f"the table {keys.physical} holds items of a store that is not there any more",
                self.name,
                "delete the table, or take another prefix or name",
                table=keys.table,
            )

    def remove_gone(self) -> None:
        """Remove the physical tables that no generation has any more.

        Who only applies may not delete any (`binlog.aws.policies`), and goes on: the next one may.
        """
        if not self.catalog.gone:
            return
        left: list[Gone] = []
        for gone in self.catalog.gone:
            try:
                self.remove(gone)
            except RefusedError as error:
                if "action" not in error.details:
                    raise
                left.append(gone)
                _logger.warning("table.left", store=self.name, table=gone.physical, why=str(error))
        if len(left) < len(self.catalog.gone):
            self.change(gone=tuple(left))

    def remove(self, gone: Gone) -> None:
        """Remove one, unless it is made by others."""
        spec = self.spec_of_gone(gone)
        remove(self._control, spec, self.name, clock=self.calls.clock, pause=self.calls.pause)

    def spec_of_gone(self, gone: Gone) -> TableSpec:
        """What is known of a table that is to be removed: whose it is."""
        declared = self.specification.declared.get(gone.table)
        return TableSpec(
            table=gone.table,
            physical=gone.physical,
            keys=KeySchema(("unknown", "S")),
            owned=declared is not None and declared.owned,
            tags={
                STORE_TAG: self.specification.prefix,
                TABLE_TAG: gone.table,
                LOG_TAG: self.specification.log_id or "",
            },
        )


def with_places(catalog: Catalog, places: Mapping[str, Place]) -> dict[str, Place]:
    """The catalog's places, those of some tables replaced."""
    return {**catalog.places, **places}


def gone_of(catalog: Catalog, tables: frozenset[str]) -> tuple[Gone, ...]:
    """The physical tables of ``tables``, and those that were to be removed already."""
    places = ((table, catalog.places[table].physical) for table in sorted(tables))
    return (*catalog.gone, *(Gone(table, physical) for table, physical in places if physical))


def lost(what: str, name: str) -> LostError:
    """Somebody else wrote what we stood on."""
    return LostError(what, name, "read the store again and start over")


class LockLostError(LostError):
    """The lock was another's before anything was written."""
