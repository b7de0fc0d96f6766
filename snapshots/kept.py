"""Work of a rebuild that is kept: groups of partitions that are folded, for a run that goes on.

Objects below one address (a folder beside the store, or a bucket)::

    STORE/PLAN/groups            `Groups`: which partitions are folded together
    STORE/PLAN/0007              `KeptGroup`, sealed, written last: until then the group is not kept
    STORE/PLAN/0007-ATTEMPT/..   its rows, letters, rejections and foreign records, as parts of a
                                 snapshot (`snapshots.snapshot_part`)

STORE and PLAN are digests, of the store's address and of everything that the rows follow from: log,
target, tables, rules, exclusions, what was begun at. So a rebuild with other arguments, or by
changed rules, finds nothing of it. What is found is verified to the last byte before it is used, and
what does not hold is folded again: nothing here is more than a shortcut.

A kept group is a base (`snapshots.base`): whoever goes on with it reads what came since.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import TypeVar

import msgspec

from appliers.counts import Counts
from appliers.exclusion_matching import Met
from appliers.item import Rejection, Row
from appliers.letters import DeadLetter
from appliers.store import Checkpoint, vector_of
from binlog.errors import BinlogError, DamageError, UpgradeError
from binlog.foreign import Foreign, Place
from binlog.logger import get_logger
from binlog.objects.objects import Objects
from binlog.vector import Vector
from snapshots.snapshot_manifest import FORMAT, Part, damaged, places_of, seal, unseal
from snapshots.snapshot_manifest import Place as Kept
from snapshots.snapshot_part import Index, Record, check_part, pack, read_part

PART_BYTES = 8 * 1024 * 1024  # raw, of one object: what is in memory beside the items themselves
_PARTITION = itemgetter(0)
_logger = get_logger(__name__)
_Document = TypeVar("_Document", bound=msgspec.Struct)


class Groups(msgspec.Struct, frozen=True):
    """Which partitions are folded together: as it was when the first run began."""

    format: int
    plan: str
    groups: tuple[tuple[int, ...], ...]


class KeptGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """A group that is folded, up to its ``places``."""

    format: int
    plan: str
    partitions: tuple[int, ...]
    places: dict[int, Kept]
    tables: tuple[str, ...]
    types: tuple[str, ...]
    parts: tuple[Part, ...]
    counts: Counts
    duplicates: int
    excluded: Met | None = None


class Done(msgspec.Struct, frozen=True):
    """What a group came to, beside rows and what belongs to them."""

    checkpoints: dict[int, Checkpoint]
    tables: Sequence[str]
    types: Sequence[str]
    counts: Counts
    duplicates: int
    excluded: Met | None


class KeptBase:
    """A kept group as a base."""

    def __init__(self, objects: Objects, group: KeptGroup, key: str) -> None:
        self.group = group
        self.name = f"{objects.name}/{key}"
        self._objects = objects
        self.checkpoints = {p: _checkpoint(p, place) for p, place in group.places.items()}
        self.exact: Vector = vector_of(self.checkpoints)
        self.tables = group.tables
        self.types = group.types
        self.excluded: tuple[str, ...] = ()  # what was left out is in `group.excluded`

    def verify(self) -> None:
        """Look at every byte.

        Raises:
            DamageError: one is not what was written.
        """
        for part in self.group.parts:
            for _ in check_part(self._objects, part):
                pass

    def rows(
        self, table: str, partitions: Collection[int] | None = None
    ) -> Iterator[tuple[bytes, Row]]:
        for key, version, partition, data, parked, tail in self._records("rows", table):
            if partitions is None or partition in partitions:
                yield key, Row(version, partition, data, parked, tail)

    def letters(self, partitions: Collection[int]) -> Iterator[DeadLetter]:
        for fields in self._records("letters"):
            letter = DeadLetter(*fields)
            if letter.partition in partitions:
                yield letter

    def rejections(self, partitions: Collection[int]) -> Iterator[Rejection]:
        for fields in self._records("rejections"):
            rejection = Rejection(*fields)
            if rejection.partition in partitions:
                yield rejection

    def foreign(self) -> Iterator[Foreign]:
        for shard, sequence, key, arrival_ms, data in self._records("foreign"):
            if data is not None:
                yield Foreign(shard, int(sequence), key, arrival_ms, data)

    def relayed(self) -> Iterator[Place]:
        for shard, sequence, _, _, data in self._records("foreign"):
            if data is None:
                yield shard, int(sequence)

    def read_once(self) -> None:
        """Nothing: each is read by one."""

    def size_bytes(self) -> int:
        return sum(part.raw_bytes for part in self.group.parts)

    def _records(self, kind: str, table: str = "") -> Iterator[Record]:
        for part in self.group.parts:
            if (part.kind, part.table) == (kind, table):
                for records in read_part(self._objects, part):
                    yield from records


class KeptWork:
    """The kept groups of one plan, of one store. Any process may use it after a fork."""

    def __init__(self, objects: Objects, *, store: str, plan: str, optional: bool = False) -> None:
        """``store`` is its address, ``plan`` a digest of all that its rows follow from.

        ``optional``: of a small rebuild nothing need be kept.
        """
        self.plan = plan
        self.optional = optional
        self.objects = objects
        self._of_store = f"{sha256(store.encode()).hexdigest()[:16]}/"
        self._prefix = f"{self._of_store}{plan[:32]}/"

    def groups(self, made: Sequence[Sequence[int]]) -> list[list[int]]:
        """Those of the first run, or ``made``, if this is it."""
        key = f"{self._prefix}groups"
        mine = Groups(FORMAT, self.plan, tuple(tuple(group) for group in made))
        if not self.objects.put_new(key, seal(mine)):
            try:
                found = self._read(key, Groups)
                if found is not None and found.plan == self.plan:
                    return [list(group) for group in found.groups]
            except (DamageError, UpgradeError) as error:
                _discarded(key, error)
            self.objects.put(key, seal(mine))
        return [list(group) for group in mine.groups]

    @property
    def is_begun(self) -> bool:
        """Whether an earlier run of this plan has kept something, or was about to."""
        return self.objects.get(f"{self._prefix}groups", 0, 1) is not None

    def find(self, partitions: Sequence[int]) -> KeptBase | None:
        """The kept group of these partitions, verified; ``None``: it is to be folded."""
        key = self._key(partitions)
        try:
            group = self._read(key, KeptGroup)
            if group is None:
                return None
            if group.plan != self.plan or group.partitions != tuple(partitions):
                raise damaged("it is of another plan", key)
            base = KeptBase(self.objects, group, key)
            base.verify()
        except (DamageError, UpgradeError) as error:
            _discarded(key, error)
            return None
        return base

    def discard(self, partitions: Sequence[int], error: BinlogError) -> None:
        """Say why a group that was found is folded again all the same."""
        _discarded(self._key(partitions), error)

    def _read(self, key: str, kind: type[_Document]) -> _Document | None:
        data = self.objects.get(key)
        return None if data is None else unseal(data, kind, f"{self.objects.name}/{key}")

    def _key(self, partitions: Sequence[int]) -> str:
        return f"{self._prefix}{min(partitions):04d}"

    def keep(
        self,
        partitions: Sequence[int],
        done: Done,
        *,
        rows: Iterable[tuple[str, Iterable[tuple[bytes, Row]]]],
        letters: Iterable[DeadLetter],
        rejections: Iterable[Rejection],
        foreign: Iterable[Foreign],
        relayed: Iterable[Place],
    ) -> None:
        """Write a group that is folded; ``rows`` table by table. Durable on return."""
        writer = _Writer(self.objects, f"{self._key(partitions)}-{secrets.token_hex(4)}", self.plan)
        for table, of_table in rows:
            writer.rows(table, of_table)
        writer.records("letters", (msgspec.structs.astuple(each) for each in letters))
        writer.records("rejections", (msgspec.structs.astuple(each) for each in rejections))
        kept = ((f.shard, str(f.sequence), f.partition_key, f.arrival_ms, f.data) for f in foreign)
        writer.records("foreign", kept)
        writer.records("foreign", ((shard, str(at), "", 0, None) for shard, at in relayed))
        group = KeptGroup(
            format=FORMAT,
            plan=self.plan,
            partitions=tuple(partitions),
            places=places_of(done.checkpoints),
            tables=tuple(done.tables),
            types=tuple(done.types),
            parts=tuple(writer.parts),
            counts=done.counts,
            duplicates=done.duplicates,
            excluded=done.excluded,
        )
        self.objects.put(self._key(partitions), seal(group))

    def remove(self) -> None:
        """All that is kept for the store, of whichever plan: it is of no use any more."""
        self.objects.delete([entry.key for entry in self.objects.list(self._of_store)])


def _discarded(key: str, error: BinlogError) -> None:
    _logger.warning("work.discarded", object=key, why=str(error))


class _Writer:
    """The parts of one attempt at a group."""

    def __init__(self, objects: Objects, prefix: str, plan: str) -> None:
        self.parts: list[Part] = []
        self._objects = objects
        self._prefix = prefix
        self._plan = plan

    def rows(self, table: str, rows: Iterable[tuple[bytes, Row]]) -> None:
        self._write("rows", table, ((_size(k, r), r.partition, _record(k, r)) for k, r in rows))

    def records(self, kind: str, records: Iterable[Record]) -> None:
        self._write(kind, "", ((sum(map(_bytes_in, record)), 0, record) for record in records))

    def _write(self, kind: str, table: str, records: Iterable[tuple[int, int, Record]]) -> None:
        some: list[tuple[int, int, Record]] = []
        total = 0
        for size, partition, record in records:
            some.append((partition, size, record))
            total += size
            if total >= PART_BYTES:
                self._put(kind, table, some)
                some, total = [], 0
        if some:
            self._put(kind, table, some)

    def _put(self, kind: str, table: str, records: list[tuple[int, int, Record]]) -> None:
        key = f"{self._prefix}/{len(self.parts):06d}"
        records.sort(key=_PARTITION)
        index = Index(FORMAT, self._plan, kind, (), table=table)
        data, _, part = pack(index, records, key)
        if not self._objects.put_new(part.key, data):
            raise damaged("somebody else writes it", f"{self._objects.name}/{part.key}")
        self.parts.append(part)


def _record(key: bytes, row: Row) -> Record:
    return key, row.version, row.partition, row.data, row.parked, row.tail


def _size(key: bytes, row: Row) -> int:
    return len(key) + len(row.data or b"")


def _bytes_in(field: object) -> int:
    return len(field) if isinstance(field, bytes) else 0


def _checkpoint(partition: int, kept: Kept) -> Checkpoint:
    return Checkpoint(
        partition,
        kept.shard,
        int(kept.sequence),
        kept.offset,
        kept.applied,
        kept.digest,
        kept.state,
        kept.seen_ms,
    )
