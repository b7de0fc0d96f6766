"""What a snapshot is, in two sealed documents: how it was begun, and its manifest.

A snapshot of the id ``ID`` is one generation of a store, kept as objects below one address::

    parts/ID/begun                 `Begun`: the checkpoints, written before the first row is read (N1)
    parts/ID/rows/TTTT-SSSS-NNNNNN    parts: rows of table T, of segment S of its scan, one by one
    parts/ID/letters/..  rejections/..  foreign/..  relayed/..    see `snapshots.snapshot_part`
    parts/ID/letters-read/..       what is read first and judged last, until the manifest is there
    manifests/ID.json              `Manifest`: written last; until then the snapshot does not exist

A sealed document is JSON on one line, then a line with the SHA-256 of the first in hexadecimal::

    {"format":1,"id":"20260131T120000Z-5f0c9a1e", ...}
    9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

Everything else is checked by what a manifest says of it: it holds the SHA-256 of `begun` and of the
index of each part, and an index that of each section of rows. Fields are only ever added, with a
default, and left out where they have it, so that what was written is what is encoded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import TypeVar

import msgspec

from appliers.store import Checkpoint, Generation, vector_of
from binlog.errors import DamageError, RefusedError, UpgradeError
from binlog.params import Params, decode_genesis, genesis_hash
from binlog.vector import Vector

FORMAT = 1
MANIFESTS = "manifests/"
PARTS = "parts/"
SUFFIX = ".json"
ASIDE = "letters-read"  # a kind of parts that are there until the manifest is

_DAMAGED = (
    "use another one: `binlog snapshots` lists them, restore takes it by --id, rebuild by --start"
)
_Document = TypeVar("_Document", bound=msgspec.Struct)


class TableCount(msgspec.Struct, frozen=True):
    """One table of a snapshot. ``parked`` counts among items and tombstones."""

    items: int
    tombstones: int
    parked: int
    digest: str  # 64 hex digits, see `appliers.digest`


def total_of(counts: Iterable[TableCount]) -> TableCount:
    """Of a table that was counted piece by piece."""
    items = tombstones = parked = digest = 0
    for each in counts:
        items += each.items
        tombstones += each.tombstones
        parked += each.parked
        digest += int(each.digest, 16)
    return TableCount(items, tombstones, parked, f"{digest % (1 << 256):064x}")


class Part(msgspec.Struct, frozen=True):
    """An object of a snapshot, and what it is checked by."""

    key: str
    kind: str  # rows, letters, rejections, foreign, relayed
    table: str  # of rows; else ""
    rows: int
    first: int  # lowest and highest partition in it, inclusive; 0 and -1 where it is empty
    last: int
    bytes: int  # of the object
    raw_bytes: int  # of its sections, decompressed
    index: int  # the byte at which its index begins
    sha256: str  # of the index, which holds those of the sections


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A finished snapshot of one generation.

    ``vector`` is up to where the checkpoints that it was begun with were applied: every event up to
    there is in it. ``exact`` is, per partition, the highest offset that is in any row of it: where
    the two differ the rows are of no one moment, and become one by replaying the log from ``vector``
    to ``exact`` (N2). Letters and rejections are those that belong to the rows.
    """

    format: int
    id: str
    began_ms: int  # by the clock of who took it
    taken_ms: int
    store: str  # its address, as it was named
    genesis: bytes  # the log's, whole: what a store is bound to
    generation: Generation
    vector: Vector
    exact: Vector
    begun_sha256: str  # of the object `begun`, which holds the checkpoints
    tables: dict[str, TableCount]  # by name, sorted
    parts: tuple[Part, ...]
    letters: int = 0
    rejections: int = 0
    foreign: int = 0
    adopted: str | None = None  # the table whose content before its first event this is
    without: tuple[str, ...] = ()
    """Tables that other generations of the store had. If this one is open it never had an event of
    theirs: whoever goes on with it must not begin to take them."""

    @property
    def log_id(self) -> str:
        """Of the log, 32 hex digits."""
        return self.params.log_id

    @property
    def genesis_hash(self) -> bytes:
        """By which frames of its log name it."""
        return genesis_hash(self.genesis)

    @property
    def params(self) -> Params:
        """That the log pins."""
        return decode_genesis(self.genesis, f"snapshot {self.id}")

    @property
    def is_exact(self) -> bool:
        """Whether its rows are of one moment as they are."""
        return self.vector == self.exact

    @property
    def size_bytes(self) -> int:
        """Of all its parts, as stored."""
        return sum(part.bytes for part in self.parts)

    @property
    def rows(self) -> int:
        """Items and tombstones of all tables."""
        return sum(table.items + table.tombstones for table in self.tables.values())

    @property
    def digest(self) -> str:
        """64 hex digits that stand for the whole snapshot."""
        return sha256(encode(self)).hexdigest()


class Place(msgspec.Struct, frozen=True):
    """A `Checkpoint` as it is written: a sequence number has up to 56 digits, so it is text."""

    shard: str
    sequence: str
    offset: int
    applied: int
    digest: bytes
    state: bytes
    seen_ms: int | None = None


class Begun(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a snapshot was begun. Whatever is read for it is read after this is durable."""

    format: int
    id: str
    began_ms: int
    store: str
    genesis: bytes
    generation: Generation
    places: dict[int, Place]
    segments: int  # of a scan of one of its tables
    is_moment: bool  # all of it was to be read as of one moment
    adopted: str | None = None
    without: tuple[str, ...] = ()

    @property
    def checkpoints(self) -> dict[int, Checkpoint]:
        """That the store had. None has joined: what follows is nobody's to deliver yet."""
        return {p: _checkpoint(p, place) for p, place in sorted(self.places.items())}

    @property
    def vector(self) -> Vector:
        """Up to which they are applied."""
        return vector_of(self.checkpoints)


def places_of(checkpoints: Mapping[int, Checkpoint]) -> dict[int, Place]:
    """The checkpoints as they are written."""
    return {
        p: Place(c.shard, str(c.sequence), c.offset, c.applied, c.digest, c.state, c.seen_ms)
        for p, c in sorted(checkpoints.items())
    }


def _checkpoint(partition: int, place: Place) -> Checkpoint:
    return Checkpoint(
        partition,
        place.shard,
        int(place.sequence),
        place.offset,
        place.applied,
        place.digest,
        place.state,
        place.seen_ms,
    )


# -- sealed --------------------------------------------------------------------------------------

encode = msgspec.json.Encoder().encode


class _Version(msgspec.Struct):
    format: int


def seal(document: msgspec.Struct) -> bytes:
    """The document's line, and the line that it is checked by."""
    line = encode(document)
    return b"%s\n%s\n" % (line, sha256(line).hexdigest().encode())


def unseal(data: bytes, kind: type[_Document], where: str) -> _Document:
    """The document that was sealed.

    Raises:
        UpgradeError: of a newer format. DamageError: not what was written.
    """
    line, _, rest = data.partition(b"\n")
    if rest != sha256(line).hexdigest().encode() + b"\n":
        raise damaged("its checksum is another", where)
    try:
        found = msgspec.json.decode(line, type=_Version).format
        if found > FORMAT:
            raise UpgradeError(
                f"snapshot format {found}, this code knows up to {FORMAT}",
                where,
                "upgrade binlog",
                found=found,
                expected=FORMAT,
            )
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise damaged(f"it cannot be read: {error}", where) from error


def damaged(why: str, where: str) -> DamageError:
    """What of a snapshot is not as it was written. ``where`` is the address of the object."""
    return DamageError(f"a snapshot is damaged ({why})", where, _DAMAGED)


def damaged_base(error: DamageError, table: str) -> DamageError:
    """The same of the base of an adopted table, in whose place no other one can be used."""
    return DamageError(error.what, error.where, base_remedy(table), **error.details)


def base_remedy(table: str) -> str:
    """What to do about a base that is damaged."""
    return (
        f"it is the base of table {table}, which cannot be taken again: bring this object back from"
        " a copy of the snapshots"
    )


def manifest_key(id_: str) -> str:
    """Where the manifest is.

    Raises:
        RefusedError: no id of a snapshot.
    """
    return f"{MANIFESTS}{check_id(id_)}{SUFFIX}"


def part_key(id_: str, name: str) -> str:
    """Where another object of the snapshot is."""
    return f"{PARTS}{id_}/{name}"


def begun_key(id_: str) -> str:
    """Where `Begun` is."""
    return part_key(id_, "begun")


def check_id(id_: str) -> str:
    """``id_``.

    Raises:
        RefusedError: it cannot be one.
    """
    if not 1 <= len(id_) <= 64 or not id_.replace("-", "").isalnum() or not id_.isascii():
        raise RefusedError(
            f"{id_!r} is no snapshot's id", do="`binlog snapshots` lists those that there are"
        )
    return id_
