"""Adopting a table that is full: its base, checked against the table, then an ADOPT record a partition.

Each step finds what an earlier run left, and goes on there:

1. the log is read whole: no event of the table, or the records that stand (`snapshots.adopt_log`);
2. the base that the records name; else one that was written for this table before; else a new one,
   which goes on where an interrupted one of the same content ended (`snapshots.adopt_base`);
3. unless records stand already, all of the table is read again and compared: where it is not what the
   base says, somebody writes to it, and nothing was written to the log. A base that was found, and not
   written now, is replaced by a new one once;
4. the records that are missing, each read back;
5. the store that is to go on with the table in place notes it (`appliers.stores.dynamodb_adopting`).

What happens to the table between 3 and 5, and until its writers write to the log, is not in the base.
`find_strays` names all of it, for as long as no event has touched the item; a consumer that comes upon
one stops (`appliers.stores.dynamodb_adopted`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Protocol

import msgspec

from appliers.poison import readable_key
from binlog.adoption import AdoptedAt, Adoption
from binlog.clock import Clock
from binlog.errors import ConflictError, DamageError, MismatchError, RefusedError
from binlog.log import Log
from binlog.logger import get_logger
from binlog.objects.objects import Objects
from snapshots.adopt_base import (
    Stray,
    adoption_of,
    bases_in,
    generation_id,
    open_base,
    spooled,
    strays,
    write_base,
)
from snapshots.adopt_items import SHOWN_MAX, ItemCheck
from snapshots.adopt_log import AdoptionLog
from snapshots.adopt_sources import Live, Source
from snapshots.snapshot import Snapshot
from snapshots.snapshot_manifest import Manifest

_logger = get_logger(__name__)


class Show(Protocol):
    """Told how far a step is: its name, and items or bytes."""

    def __call__(self, step: str, done: int) -> None: ...


def silent(step: str, done: int) -> None:
    """Tells nobody."""


class Adopted(msgspec.Struct, frozen=True):
    """What came of it."""

    at: AdoptedAt
    manifest: Manifest
    base_was_there: bool
    written: int  # ADOPT records, by this run

    @property
    def items(self) -> int:
        """Of the base."""
        return self.manifest.tables[self.at.adoption.table].items


class Adopting:
    """One table being adopted into one log."""

    def __init__(
        self,
        log: Log,
        objects: Objects,
        table: str,
        live: Live,
        *,
        address: str,
        clock: Clock,
        show: Show = silent,
        adoption_log: AdoptionLog | None = None,
    ) -> None:
        """``address`` of ``objects``, as records are to name it."""
        self._log = log
        self._objects = objects
        self._table = table
        self._live = live
        self._address = address
        self._clock = clock
        self._show = show
        self._in_log = adoption_log or AdoptionLog(log, table)
        self._check = ItemCheck(table, live.keys, live.name)

    @property
    def objects(self) -> Objects:
        """Where the base is."""
        return self._objects

    @property
    def missing(self) -> list[int]:
        """Partitions whose record is missing, by what was read of the log."""
        return self._in_log.missing

    def standing(self) -> Adoption | None:
        """Step 1: what the log says already.

        Raises:
            ConflictError: events of the table, or two bases. HaltedError, TrimmedError: see
                `AdoptionLog.read`.
        """
        self._in_log.read(lambda done: self._show("reading the log", done))
        return self._in_log.standing()

    def known_as(self, source: Source) -> list[str]:
        """Names under which `standing` found the same table to be the log's already, sorted.

        Known is that of bases among these snapshots, of a table that was read and not exported.
        """
        names = []
        for other in self._in_log.others:
            try:
                base = open_base(self._objects, other, self._log.genesis)
            except (RefusedError, MismatchError, DamageError):
                continue  # kept elsewhere, or no base of it: nothing is known of it here
            if base.manifest.generation.id == generation_id(other.table, source.identity):
                names.append(other.table)
        return sorted(names)

    def run(self, source: Source, *, moving: bool = False) -> Adopted:
        """All steps but the last.

        ``moving``: the table goes on changing, so it is not compared; what changes comes into the log
        another way, and no store may go on with the table in place.

        Raises:
            ConflictError: as `standing`; the table is not what was read of it.
            RefusedError, DamageError: an item, or a source, that cannot be used.
            StorageError: the same call goes on where it was.
        """
        standing = self.standing()
        if standing is not None:
            base, was_there = self.base_of(standing), True
        else:
            base, was_there = self._checked_base(source, moving=moving)
        missing = len(self._in_log.missing)
        adoption = standing or adoption_of(base.manifest, self._address)
        at = self._in_log.write(adoption)
        _logger.info("table.adopted", table=self._table, base=adoption.base, records=missing)
        return Adopted(at, base.manifest, was_there, missing)

    def base_of(self, adoption: Adoption) -> Snapshot:
        """The base that records name, among the snapshots given. Raises as `open_base`."""
        return open_base(self._objects, adoption, self._log.genesis)

    def _checked_base(self, source: Source, *, moving: bool) -> tuple[Snapshot, bool]:
        """Steps 2 and 3."""
        # What moves, and is not compared, has to be read after its change records were turned on.
        found = None if moving and source.is_live else self._found(source)
        if moving:
            return found or self._write(source, anew=source.is_live), found is not None
        if found is not None:
            some = self._first_strays(found)
            if not some:
                return found, True
            _logger.warning("base.outdated", id=found.manifest.id, strays=len(some))
            if not source.is_live:
                raise self._changed(some, source)
        base = self._write(source)
        if some := self._first_strays(base):
            raise self._changed(some, source)
        return base, False

    def _found(self, source: Source) -> Snapshot | None:
        """A finished base of this very source."""
        mine = [
            manifest
            for manifest in bases_in(self._objects, self._log.genesis, self._table)
            if manifest.store == source.name
        ]
        return Snapshot(self._objects, mine[-1]) if mine else None

    def _write(self, source: Source, *, anew: bool = False) -> Snapshot:
        params = self._log.params
        ordered = spooled(
            source.items(self._check),
            self._table,
            params.partitions,
            source.name,
            lambda done: self._show("reading the table", done),
        )
        with closing(ordered):
            manifest = write_base(
                self._objects,
                source.name,
                self._log.genesis,
                self._table,
                ordered,
                identity=source.identity,
                anew=anew,
                clock=self._clock,
                progress=lambda done: self._show("writing the base", done),
            )
        return Snapshot(self._objects, manifest)

    # -- what is not as it was -------------------------------------------------------------------

    def strays(self, base: Snapshot, *, touched: bool = False) -> Iterator[Stray]:
        """What the table holds otherwise than ``base``; ``touched``: but for items with marks."""
        params = self._log.params
        found = spooled(
            self._live.items(self._check, touched=touched),
            self._table,
            params.partitions,
            self._live.name,
            lambda done: self._show("comparing with the table", done),
        )
        with closing(found):
            yield from strays(base.rows(self._table), found, params, self._table)

    def _first_strays(self, base: Snapshot) -> list[Stray]:
        return list(islice(self.strays(base), SHOWN_MAX))

    def _changed(self, some: list[Stray], source: Source) -> ConflictError:
        keys = ", ".join(f"{readable_key(each.key)[1]} ({each.kind})" for each in some[:3])
        since = "while it was read" if source.is_live else "since it was exported"
        return ConflictError(
            f"the table has changed {since}: {keys}{' and others' if len(some) > 3 else ''}",
            self._live.name,
            "nothing is in the log yet: stop its writers"
            + ("" if source.is_live else ", export it again")
            + ", and repeat the command",
            table=self._table,
        )
