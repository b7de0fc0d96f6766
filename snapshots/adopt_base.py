"""The base of an adoption: written as a snapshot, found again, read, and compared with the table.

A base is a snapshot (`snapshots.snapshot_manifest`) whose manifest says ``adopted``: of one table, at
vector zero, with rows of version 0: their version is that of the ADOPT record of their partition,
which the base itself cannot know. Its rows are in the order of partition and key, so that a partition
is a stretch of one or a few parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256

import msgspec

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter
from appliers.store import Checkpoint, Generation
from appliers.stores.sorted_runs import SortedRuns
from appliers.survey import Page
from binlog.adoption import Adoption
from binlog.clock import Clock
from binlog.errors import BinlogError, DamageError, MismatchError, RefusedError
from binlog.foreign import Foreign, Place
from binlog.objects.address import open_objects
from binlog.objects.objects import Objects
from binlog.params import Params
from binlog.partition import hash_to_partition, ordering_key
from snapshots.snapshot import Snapshot, read_manifest, snapshots_in
from snapshots.snapshot_manifest import Manifest, damaged_base
from snapshots.snapshot_take import PART_BYTES, Taking

_PAGE_ROWS = 1_000
_PLACE_BYTES = 2  # a partition before a key

OnProgress = Callable[[int], None]


# -- in order ------------------------------------------------------------------------------------


class Ordered:
    """Items by partition and key, more than fit in memory; `close` it."""

    def __init__(self, table: str, partitions: int, where: str) -> None:
        self._runs = SortedRuns()
        self._table = table
        self._partitions = partitions
        self._where = where
        self.items = 0

    def add(self, key: bytes, value: bytes) -> None:
        partition = hash_to_partition(ordering_key(self._table, key), self._partitions)
        self._runs.add(partition.to_bytes(_PLACE_BYTES, "big") + key, value)
        self.items += 1

    def rows(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Partition, key and value of each.

        Raises:
            DamageError: a key comes twice, which in a table it cannot.
        """
        before = b""
        for place, value in self._runs.sorted():
            if place == before:
                raise DamageError(
                    f"an item of {self._table} comes twice", self._where, "export or read it anew"
                )
            before = place
            yield int.from_bytes(place[:_PLACE_BYTES], "big"), place[_PLACE_BYTES:], value

    def close(self) -> None:
        self._runs.close()


# -- written -------------------------------------------------------------------------------------


def generation_id(table: str, identity: str) -> str:
    """That of a base: 32 hex digits of what the log calls the table, and of what was read."""
    return sha256(f"{table}\0{identity}".encode()).hexdigest()[:32]


class _Survey:
    """What is to be a base, as `Taking` asks for it (`appliers.survey.Survey`)."""

    is_moment = True

    def __init__(
        self, name: str, genesis: bytes, table: str, identity: str, ordered: Ordered
    ) -> None:
        self.name = name
        self.genesis = genesis
        self.generation = Generation(
            id=generation_id(table, identity),
            tables=(table,),
            open=False,
            fingerprint="",
            excluded=(),
        )
        self.without: tuple[str, ...] = ()
        self._ordered = ordered

    def checkpoints(self) -> dict[int, Checkpoint]:
        return {}

    def letters(self) -> Iterator[DeadLetter]:
        return iter(())

    def pages(
        self,
        table: str,  # noqa: ARG002 - there is only one
        segment: int,  # noqa: ARG002
        segments: int,  # noqa: ARG002
        *,
        after: bytes | None = None,
    ) -> Iterator[Page]:
        rows: list[tuple[bytes, Row]] = []
        place = b""
        for partition, key, data in self._ordered.rows():
            next_place = partition.to_bytes(_PLACE_BYTES, "big") + key
            if after is not None and next_place <= after:
                continue
            if len(rows) == _PAGE_ROWS:
                yield Page(rows, place)
                rows = []
            rows.append((key, Row(0, partition, data)))
            place = next_place
        yield Page(rows, None)

    def rejections(self) -> Iterator[Rejection]:
        return iter(())

    def foreign(self) -> Iterator[Foreign]:
        return iter(())

    def relayed(self) -> Iterator[Place]:
        return iter(())

    def check(self) -> Generation:
        return self.generation


def write_base(
    objects: Objects,
    name: str,
    genesis: bytes,
    table: str,
    ordered: Ordered,
    *,
    identity: str,
    clock: Clock,
    progress: OnProgress | None = None,
    part_bytes: int = PART_BYTES,
    anew: bool = False,
) -> Manifest:
    """Write the base of ``table``; finished on return.

    ``name`` is where it was read, ``identity`` what was read, so that an interrupted one is gone on
    with only by who reads the same; ``anew``: by nobody.

    Raises:
        StorageError: the same call goes on where it was.
    """
    source = _Survey(name, genesis, table, identity, ordered)
    taking = Taking(objects, source, clock=clock, progress=progress, part_bytes=part_bytes)
    return taking.take(adopted=table, anew=anew)


# -- found and read ------------------------------------------------------------------------------


def bases_in(objects: Objects, genesis: bytes, table: str) -> list[Manifest]:
    """The finished bases of a table of that log, oldest first."""
    return [
        manifest
        for manifest in snapshots_in(objects)
        if manifest.adopted == table and manifest.genesis == genesis
    ]


def adoption_of(manifest: Manifest, address: str) -> Adoption:
    """What the ADOPT records of a base say."""
    if manifest.adopted is None:
        raise ValueError(f"snapshot {manifest.id} is no base")
    return Adoption(manifest.adopted, manifest.id, manifest.digest, address)


def open_base(objects: Objects, adoption: Adoption, genesis: bytes) -> Snapshot:
    """The base that an ADOPT record names, where it is looked for.

    Raises:
        RefusedError: it is not there.
        MismatchError: another log's, another table's. DamageError: not the one that was adopted.
    """
    where = f"{objects.name}, which ADOPT records of {adoption.table} name"
    try:
        manifest = read_manifest(objects, adoption.base)
    except RefusedError as error:
        raise RefusedError(
            f"base {adoption.base} of table {adoption.table} is not there ({error.what})",
            objects.name,
            f"it was written at {adoption.address}; where it is now is said by --snapshots URL",
            table=adoption.table,
            base=adoption.base,
        ) from error
    except DamageError as error:
        raise damaged_base(error, adoption.table) from error
    if manifest.genesis != genesis or manifest.adopted != adoption.table:
        of = f"table {manifest.adopted}" if manifest.adopted else "no adoption"
        raise MismatchError(
            f"snapshot {adoption.base} is of {of} in log {manifest.log_id}",
            where,
            "name the snapshots that the base is among",
        )
    if manifest.digest != adoption.digest:
        raise DamageError(
            f"base {adoption.base} of table {adoption.table} is not the one that was adopted: its"
            " manifest is another",
            where,
            "restore it from a copy",
        )
    return Snapshot(objects, manifest)


def most_of(base: Snapshot, partitions: int) -> int:
    """The items of the partition that has most."""
    assert base.manifest.adopted is not None
    counted = [0] * partitions
    for _, row in base.rows(base.manifest.adopted):
        counted[row.partition] += 1
    return max(counted)


class KeptBases:
    """Bases, read where they are (`appliers.adoption.Bases`).

    A forked process may go on with it. What it opened itself, `close` closes.
    """

    def __init__(self, genesis: bytes, objects: Objects | None = None) -> None:
        """``objects``: where bases are looked for first; then at the address that a record names."""
        self._genesis = genesis
        self._objects = objects
        self._opened: dict[str, Objects] = {}
        self._known: dict[Adoption, Snapshot] = {}

    def rows(self, adoption: Adoption, partition: int) -> Iterator[tuple[bytes, bytes]]:
        for key, row in self.open(adoption).rows(adoption.table, {partition}):
            if row.data is not None:
                yield key, row.data

    def open(self, adoption: Adoption) -> Snapshot:
        """The base. Raises as `open_base`."""
        if adoption not in self._known:
            self._known[adoption] = self._found(adoption)
        return self._known[adoption]

    def _found(self, adoption: Adoption) -> Snapshot:
        if self._objects is None:
            return open_base(self._open(adoption), adoption, self._genesis)
        try:
            return open_base(self._objects, adoption, self._genesis)
        except RefusedError as error:
            if self._objects.name == adoption.address:
                raise
            try:
                return open_base(self._open(adoption), adoption, self._genesis)
            except BinlogError:
                raise error from None

    def size_bytes(self) -> int:
        """Of the bases of the log that are where they are looked for first, decompressed.

        0 where nobody said where that is: those that records name are not known before they are met.
        """
        if self._objects is None:
            return 0
        mine = [m for m in snapshots_in(self._objects) if m.adopted and m.genesis == self._genesis]
        return sum(part.raw_bytes for manifest in mine for part in manifest.parts)

    def _open(self, adoption: Adoption) -> Objects:
        if adoption.address not in self._opened:
            try:
                self._opened[adoption.address] = open_objects(adoption.address)
            except BinlogError as error:
                raise RefusedError(
                    f"base {adoption.base} of table {adoption.table}: {error.what}",
                    adoption.address,
                    "say where it is: --snapshots URL",
                ) from error
        return self._opened[adoption.address]

    def close(self) -> None:
        for objects in self._opened.values():
            objects.close()
        self._opened.clear()
        self._known.clear()


# -- compared ------------------------------------------------------------------------------------


class Stray(msgspec.Struct, frozen=True):
    """An item that is not as it was adopted, though no event has touched it."""

    key: bytes
    base: bytes | None  # canonical item; ``None``: the base has none
    found: bytes | None  # in the table

    @property
    def kind(self) -> str:
        """``changed``, ``gone`` or ``new``."""
        if self.base is None:
            return "new"
        return "gone" if self.found is None else "changed"


TOUCHED = b"\0"
"""In place of an item that has marks: whatever it holds, events made it."""


def strays(
    base: Iterable[tuple[bytes, Row]], found: Ordered, params: Params, table: str
) -> Iterator[Stray]:
    """What differs, by partition and key; items that are `TOUCHED` do not."""
    left = _in_order(base, params, table)
    right = found.rows()
    one, two = next(left, None), next(right, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[:2] < two[:2]):
            assert one is not None
            yield Stray(one[1], one[2], None)
            one = next(left, None)
        elif one is None or two[:2] < one[:2]:
            if two[2] != TOUCHED:
                yield Stray(two[1], None, two[2])
            two = next(right, None)
        else:
            if two[2] not in (TOUCHED, one[2]):
                yield Stray(one[1], one[2], two[2])
            one, two = next(left, None), next(right, None)


def _in_order(
    rows: Iterable[tuple[bytes, Row]], params: Params, table: str
) -> Iterator[tuple[int, bytes, bytes]]:
    """Partition, key and item, as `write_base` wrote them."""
    before: tuple[int, bytes] = (-1, b"")
    for key, row in rows:
        if row.data is None:
            raise DamageError(f"a base of {table} with a tombstone", table, "restore it")
        if (row.partition, key) <= before:
            raise DamageError(f"a base of {table} whose rows are in no order", table, "restore it")
        if row.partition != hash_to_partition(ordering_key(table, key), params.partitions):
            raise DamageError(
                f"a base of {table} with a row of another partition", table, "restore it"
            )
        before = row.partition, key
        yield row.partition, key, row.data


def spooled(
    items: Iterable[tuple[bytes, bytes]],
    table: str,
    partitions: int,
    where: str,
    progress: OnProgress | None = None,
) -> Ordered:
    """All of ``items`` in order; closed if one of them raises."""
    ordered = Ordered(table, partitions, where)
    try:
        for key, data in items:
            ordered.add(key, data)
            if progress is not None and not ordered.items % 1_000:
                progress(ordered.items)
    except BaseException:
        ordered.close()
        raise
    return ordered
