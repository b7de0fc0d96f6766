"""A finished snapshot: what it says of itself, and what is in it, verified before it is served."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter
from appliers.store import Checkpoint
from binlog.errors import BinlogError, DamageError, MismatchError, RefusedError, UpgradeError
from binlog.foreign import Foreign
from binlog.foreign import Place as ForeignPlace
from binlog.objects.objects import Objects
from snapshots.snapshot_manifest import (
    ASIDE,
    MANIFESTS,
    PARTS,
    SUFFIX,
    Begun,
    Manifest,
    Part,
    base_remedy,
    begun_key,
    damaged,
    damaged_base,
    manifest_key,
    part_key,
    unseal,
)
from snapshots.snapshot_part import Index, Record, check_part, index_of, read_part

_INDEXES_MAX = 4_096  # that are kept, some KB each


class Unreadable(msgspec.Struct, frozen=True):
    """A manifest that stands there and cannot be read: damaged, or of a newer format."""

    id: str
    error: BinlogError


class Snapshot:
    """The content of one snapshot. Any thread, and any process after a fork, may read it."""

    def __init__(self, objects: Objects, manifest: Manifest) -> None:
        self.objects = objects
        self.manifest = manifest
        self.name = f"snapshot {manifest.id} of {objects.name}"
        self._checkpoints: dict[int, Checkpoint] | None = None
        self._indexes: dict[str, Index] = {}

    @property
    def checkpoints(self) -> dict[int, Checkpoint]:
        """Those that it was begun with, sequencer states included: where replaying goes on.

        Raises:
            DamageError: they are not what was written.
        """
        if self._checkpoints is None:
            self._checkpoints = read_begun(self.objects, self.manifest).checkpoints
        return self._checkpoints

    def parts(self, kind: str, table: str = "") -> list[Part]:
        """The parts of one kind, of rows those of one table, as the scan went."""
        return [p for p in self.manifest.parts if p.kind == kind and p.table == table]

    def rows(
        self, table: str, partitions: Collection[int] | None = None
    ) -> Iterator[tuple[bytes, Row]]:
        """The rows of a table, of ``partitions`` only where they are given, in no order.

        Each key once. Of partitions that lie beside each other little else is read. Memory holds a
        section, some hundred KB. Nothing for a table that is not in it.

        Raises:
            DamageError: a part is missing or is not what was written; no row of its section came.
        """
        try:
            for part in self.parts("rows", table):
                yield from self.rows_of(part, partitions)
        except DamageError as error:
            if self.manifest.adopted is None:
                raise
            raise damaged_base(error, self.manifest.adopted) from error

    def rows_of(
        self, part: Part, partitions: Collection[int] | None = None
    ) -> Iterator[tuple[bytes, Row]]:
        """Those of one part: by partition, then key."""
        wanted = None if partitions is None else frozenset(partitions)
        if wanted is not None and not any(part.first <= p <= part.last for p in wanted):
            return
        where = f"{self.objects.name}/{part.key}"
        for records in read_part(self.objects, part, wanted, index=self._index(part)):
            for key, version, partition, data, parked, tail in _of_length(records, 6, where):
                if wanted is None or partition in wanted:
                    yield key, Row(version, partition, data, parked, tail)

    def _index(self, part: Part) -> Index:
        """The index of a part; kept, since who takes group by group of partitions asks for it often."""
        found = self._indexes.get(part.key)
        if found is None:
            found = index_of(self.objects, part)
            if len(self._indexes) < _INDEXES_MAX:
                self._indexes[part.key] = found
        return found

    def whole(self, part: Part) -> Iterator[list[tuple[bytes, Row]]]:
        """All rows of a part, a list a section; it is read at once, and every byte of it looked at."""
        where = f"{self.objects.name}/{part.key}"
        for records in check_part(self.objects, part):
            yield [(r[0], Row(*r[1:])) for r in _of_length(records, 6, where)]

    def letters(self) -> Iterator[DeadLetter]:
        """The events that wait behind its parked rows, and those that stand alone.

        By table, partition, key and offset, as `appliers.store.Reader.letters`.
        """
        for fields in self._records("letters", 9):
            yield DeadLetter(*fields)

    def rejections(self) -> Iterator[Rejection]:
        """Those of its rows, by table, partition, offset and key."""
        for fields in self._records("rejections", 7):
            yield Rejection(*fields)

    def foreign(self) -> Iterator[Foreign]:
        """The foreign records that the store kept, and had not seen relayed."""
        for shard, sequence, key, arrival_ms, data in self._records("foreign", 5):
            yield Foreign(shard, int(sequence), key, arrival_ms, data)

    def relayed(self) -> Iterator[ForeignPlace]:
        """Places of foreign records that are in the log as events, as far as the store knew."""
        for shard, sequence in self._records("relayed", 2):
            yield shard, int(sequence)

    def _records(self, kind: str, length: int) -> Iterator[Record]:
        for part in self.parts(kind):
            where = f"{self.objects.name}/{part.key}"
            for records in read_part(self.objects, part):
                yield from _of_length(records, length, where)


def _of_length(records: list[Record], length: int, where: str) -> Iterator[Record]:
    for record in records:
        if len(record) != length:
            raise damaged("a record has another number of fields", where)
        yield record


def read_begun(objects: Objects, manifest: Manifest) -> Begun:
    """How a snapshot was begun, verified by its manifest.

    Raises:
        DamageError: it is missing, or not what was written.
    """
    key = begun_key(manifest.id)
    where = f"{objects.name}/{key}"
    data = objects.get(key)
    if data is None:
        raise damaged("its checkpoints are missing", where)
    begun = unseal(data, Begun, where)
    if sealed_sha256(data) != manifest.begun_sha256 or begun.id != manifest.id:
        raise damaged("its checkpoints are another snapshot's", where)
    return begun


def sealed_sha256(data: bytes) -> str:
    """By which a sealed document is told from another."""
    return data.rpartition(b"\n")[0].rpartition(b"\n")[2].decode()


# -- which there are -----------------------------------------------------------------------------


def ids_in(objects: Objects) -> Iterator[str]:
    """The ids of the finished ones, in order; those of the verb begin with their time."""
    for entry in objects.list(MANIFESTS):
        name = entry.key.removeprefix(MANIFESTS)
        if name.endswith(SUFFIX) and "/" not in name:
            yield name.removesuffix(SUFFIX)


def read_manifest(objects: Objects, id_: str) -> Manifest:
    """The manifest of a snapshot.

    Raises:
        RefusedError: there is none: no such snapshot, one that was never finished, or one whose
            manifest is gone.
        DamageError, UpgradeError: it cannot be read.
    """
    key = manifest_key(id_)
    where = f"{objects.name}/{key}"
    data = objects.get(key)
    if data is None:
        if lost_manifest(objects, id_):
            raise _gone(objects, id_, where)
        if objects.get(begun_key(id_), 0, 1) is not None:
            raise RefusedError(
                f"snapshot {id_} has no manifest: it was interrupted, or is being taken",
                where,
                "`binlog snapshot` goes on with it; until then use another one",
            )
        raise RefusedError(
            f"there is no snapshot {id_}", objects.name, "`binlog snapshots` lists those there are"
        )
    manifest = unseal(data, Manifest, where)
    if manifest.id != id_:
        raise damaged(f"it is the manifest of {manifest.id}", where)
    return manifest


def has_manifest(objects: Objects, id_: str) -> bool:
    """Whether a manifest stands there, whatever it says; ``id_`` may be any text, as `part_ids` gives."""
    return objects.get(f"{MANIFESTS}{id_}{SUFFIX}", 0, 1) is not None


def lost_manifest(objects: Objects, id_: str) -> bool:
    """Whether a snapshot has no manifest and had one: not interrupted, but damaged.

    What was read aside is removed once the manifest is durable, and not before; the places of relayed
    records are the last that is read. Who removes a snapshot removes its beginning along with the
    manifest (`snapshots.retention.drop`), so it is asked for last.
    """
    return (
        next(iter(objects.list(part_key(id_, f"{ASIDE}/"))), None) is None
        and next(iter(objects.list(part_key(id_, "relayed/"))), None) is not None
        and not has_manifest(objects, id_)
        and objects.get(begun_key(id_), 0, 1) is not None
    )


def part_ids(objects: Objects) -> Iterator[str]:
    """The ids that any part is of."""
    after = PARTS
    while (entry := next(iter(objects.list(PARTS, after=after)), None)) is not None:
        id_ = entry.key.removeprefix(PARTS).partition("/")[0]
        yield id_
        after = f"{PARTS}{id_}0"  # what follows "/" in ASCII: beyond all of this id


def snapshots_and_unreadable(objects: Objects) -> Iterator[Manifest | Unreadable]:
    """All that stand there, by id, those that cannot be read too; then those whose manifest is gone."""
    seen: set[str] = set()
    for found in _standing(objects):
        seen.add(found.id)
        yield found
    for id_ in part_ids(objects):
        if id_ not in seen and lost_manifest(objects, id_):
            where = f"{objects.name}/{MANIFESTS}{id_}{SUFFIX}"
            yield Unreadable(id_, _gone(objects, id_, where))


def _gone(objects: Objects, id_: str, where: str) -> RefusedError:
    remedy = (
        "bring this object back from a copy or a deleted version, and use another one until then; if"
        f" nobody wants it, remove {PARTS}{id_}/"
    )
    key = begun_key(id_)
    try:
        begun = unseal(objects.get(key) or b"", Begun, f"{objects.name}/{key}")
    except (DamageError, UpgradeError):
        pass  # of which table it may be the base nobody can say then
    else:
        remedy = remedy if begun.adopted is None else base_remedy(begun.adopted)
    return RefusedError(f"snapshot {id_} was finished, and its manifest is gone", where, remedy)


def _standing(objects: Objects) -> Iterator[Manifest | Unreadable]:
    for id_ in ids_in(objects):
        try:
            yield read_manifest(objects, id_)
        except RefusedError:
            continue  # removed since it was listed
        except BinlogError as error:
            if error.retriable:
                raise
            yield Unreadable(id_, error)


def snapshots_in(objects: Objects) -> list[Manifest]:
    """The finished snapshots that can be read, oldest first."""
    found = [each for each in _standing(objects) if isinstance(each, Manifest)]
    return sorted(found, key=age)


def age(manifest: Manifest) -> tuple[int, str]:
    """By which snapshots are sorted."""
    return manifest.taken_ms, manifest.id


def open_snapshot(
    objects: Objects, id_: str | None = None, *, genesis: bytes | None = None
) -> Snapshot:
    """The snapshot ``id_``, or the newest that is of a store: of the log of ``genesis`` if that is given.

    Raises:
        RefusedError: there is none.
        MismatchError: it is of another log.
        DamageError, UpgradeError: it cannot be read; of the newest, any newer one cannot be.
    """
    if id_ is not None:
        manifest = read_manifest(objects, id_)
        if genesis is not None and manifest.genesis != genesis:
            raise MismatchError(
                f"snapshot {id_} is of log {manifest.log_id}, another one",
                objects.name,
                "name a snapshot of this log: `binlog snapshots` lists them",
            )
        return Snapshot(objects, manifest)
    manifests = snapshots_in(objects)
    mine = [m for m in manifests if genesis in (None, m.genesis) and m.adopted is None]
    if mine:
        return Snapshot(objects, mine[-1])
    for each in snapshots_and_unreadable(objects):
        if isinstance(each, Unreadable):
            raise each.error
    if others := [m for m in manifests if genesis not in (None, m.genesis)]:
        raise MismatchError(
            f"the snapshots there are of other logs, of {others[-1].log_id} for one",
            objects.name,
            "name the snapshots of this log",
        )
    has_parts = next(iter(objects.list(PARTS)), None) is not None
    raise RefusedError(
        "no snapshot is finished there" if has_parts else "there is no snapshot",
        objects.name,
        "take one: `binlog snapshot STORE DEST`",
    )
