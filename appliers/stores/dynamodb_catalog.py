"""The control table of a DynamoDB store: what is in its rows.

::

    pk                 sk                          what
    store              catalog                     the live generations, and where their tables are
    store              lock                        who writes, and which commit is under way
    store              pace                        what its consumers are to go by
    at#GENERATION      00017                       the checkpoint of partition 17
    rejected#GENERATION  TABLE#00017#OFFSET#HASH   an event whose expected version was not the item's
    letters#GENERATION TABLE#00017#KEY...          an event that waits, see `dynamodb_letters`
    foreign            SHARD#SEQUENCE#CHUNK        a foreign record, in chunks below 400 KB
    relayed            SHARD#SEQUENCE#             it is in the log as an event: kept no longer
    base#GENERATION    ID                          part of a large sequencer state (C5)
    build              GENERATION                  tables that a build is making
    adopted#BASE       00017#CHUNK                 what a base says of items, see `dynamodb_adopted`

The catalog is one item, and so the one switch: a rebuild makes its tables, rows and checkpoints
beside what is live and then replaces this item, on the condition that it is the one that was read
(``rev``). Whatever depends on what is live is decided from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from appliers.item import Rejection
from appliers.store import Checkpoint, Generation
from appliers.stores.dynamodb_adopted import Adopted
from appliers.stores.dynamodb_items import Attributes, Keys
from appliers.stores.dynamodb_tables_spec import KeySchema
from appliers.stores.generations import lost_generation, lost_table
from binlog.errors import DamageError, TooLargeError, UpgradeError
from binlog.foreign import Foreign
from binlog.foreign import Place as ForeignPlace

FORMAT = 2
FORMAT_OF_OLD = 1  # written where nothing is adopted: older code reads it
CATALOG = {"pk": {"S": "store"}, "sk": {"S": "catalog"}}
FOREIGN = "foreign"
RELAYED = "relayed"
BUILD = "build"
ROW_BYTES_MAX = 380 * 1024
"""Of one value of a row: an item has 400 KB, its other attributes included."""


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a table of a live generation is. Without ``physical`` nothing was written to it yet."""

    physical: str | None = None
    keys: KeySchema | None = None


class Gone(msgspec.Struct, frozen=True):
    """A physical table that no generation has any more, to be removed."""

    table: str
    physical: str


class Catalog(msgspec.Struct, frozen=True):
    """What is live. ``rev`` counts its changes; 0: there is none yet."""

    rev: int = 0
    genesis: bytes | None = None
    generations: tuple[Generation, ...] = ()
    places: Mapping[str, Place] = {}  # of every table of a live generation
    first_names: tuple[str, ...] = ()  # tables whose name without a suffix was given out, ever
    gone: tuple[Gone, ...] = ()
    shared: bool = False  # several workers write to the store (`appliers.store.Shareable`)
    was_shared: bool = False  # and what they left ahead no lock tells of
    adopted: tuple[Adopted, ...] = ()  # tables taken over, of a generation or not yet

    def live(self, generation: str, name: str) -> Generation:
        """The generation of that id.

        Raises:
            LostError: it is not live.
        """
        for each in self.generations:
            if each.id == generation:
                return each
        raise lost_generation(name, generation)

    def owner(self, table: str) -> str | None:
        """The live generation that has ``table``."""
        return next((g.id for g in self.generations if table in g.tables), None)

    def keys(self, table: str) -> Keys | None:
        """The physical table of a table that has one."""
        place, adopted = self.places.get(table), self.adoption(table)
        if place is None or place.physical is None or place.keys is None:
            if adopted is None:
                return None
            return Keys(table, adopted.physical, adopted.keys, adopted)
        if adopted is not None and adopted.physical != place.physical:
            adopted = None  # built anew since
        return Keys(table, place.physical, place.keys, adopted)

    def adoption(self, table: str) -> Adopted | None:
        """What a table was taken over as."""
        return next((each for each in self.adopted if each.table == table), None)

    def letters_of(self, table: str | None) -> list[tuple[str, str]]:
        """Generation and table under which dead letters may be, of ``table`` or of all, in order."""
        owners = {each: g.id for g in self.generations for each in g.tables}
        owners |= {each: g.id for g in self.generations if g.open for each in ("",)}
        return [(owners[each], each) for each in sorted(owners) if table in (None, each)]

    def readable(self, generation: str, table: str, name: str) -> Keys | None:
        """The physical table that ``generation`` reads ``table`` from; ``None``: it is empty.

        Raises:
            LostError: the generation is not live, or the table another's.
        """
        self.live(generation, name)
        if self.owner(table) not in (None, generation):
            raise lost_table(name, generation, table)
        return self.keys(table)


def next_catalog(catalog: Catalog, **changes: Any) -> Catalog:
    """The catalog that replaces this one; places of tables that nobody has go."""
    changed = msgspec.structs.replace(catalog, rev=catalog.rev + 1, **changes)
    tables = {table for g in changed.generations for table in g.tables}
    places = {table: changed.places.get(table, Place()) for table in sorted(tables)}
    for each in changed.adopted:
        if each.table in places and places[each.table].physical is None:
            places[each.table] = Place(each.physical, each.keys)
    return msgspec.structs.replace(changed, places=places)


class _Document(msgspec.Struct, omit_defaults=True):
    """The part of the catalog that is kept as JSON, for people."""

    generations: tuple[Generation, ...]
    places: dict[str, Place]
    first_names: tuple[str, ...]
    gone: tuple[Gone, ...]
    shared: bool = False
    was_shared: bool = False
    adopted: tuple[Adopted, ...] = ()


_read_document = msgspec.json.Decoder(_Document).decode


def catalog_item(catalog: Catalog, name: str) -> Attributes:
    """The row of a catalog.

    Raises:
        TooLargeError: with the number of tables.
    """
    document = _Document(
        catalog.generations,
        dict(catalog.places),
        catalog.first_names,
        catalog.gone,
        catalog.shared,
        catalog.was_shared,
        catalog.adopted,
    )
    text = msgspec.json.encode(document)
    if len(text) > ROW_BYTES_MAX:
        raise TooLargeError(
            f"the catalog has {len(text)} bytes, the limit is {ROW_BYTES_MAX}: its tables, event"
            " types and --exclude rules together",
            name,
            "spread the tables over several stores, or exclude by ranges of offsets",
            size=len(text),
            limit=ROW_BYTES_MAX,
        )
    item: Attributes = {
        **CATALOG,
        "rev": {"N": str(catalog.rev)},
        "format": {"N": str(FORMAT if catalog.adopted else FORMAT_OF_OLD)},
        "catalog": {"S": text.decode()},
    }
    if catalog.genesis is not None:
        item["genesis"] = {"B": catalog.genesis}
    return item


def catalog_of(item: Mapping[str, Any] | None, name: str) -> Catalog:
    """The catalog of a row; an empty one where there is none.

    Raises:
        UpgradeError: a newer format. DamageError: it is no catalog.
    """
    if item is None:
        return Catalog()
    try:
        found = int(item["format"]["N"])
        if found > FORMAT:
            raise UpgradeError(
                f"store format {found}, this code knows up to {FORMAT}",
                name,
                "upgrade binlog",
                found=found,
                expected=FORMAT,
            )
        document = _read_document(item["catalog"]["S"])
        genesis = bytes(item["genesis"]["B"]) if "genesis" in item else None
        return Catalog(
            int(item["rev"]["N"]),
            genesis,
            document.generations,
            document.places,
            document.first_names,
            document.gone,
            document.shared,
            document.was_shared,
            document.adopted,
        )
    except (KeyError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise damaged(f"the catalog is damaged ({error})", name) from error


def damaged(what: str, name: str, **details: object) -> DamageError:
    """What is not as it was written."""
    return DamageError(what, name, "was it changed by hand? rebuild the store", **details)


# -- checkpoints ---------------------------------------------------------------------------------


class Standing(msgspec.Struct, frozen=True):
    """A checkpoint row as it was read: the condition of the next write is its ``rev``."""

    checkpoint: Checkpoint
    rev: int


def checkpoints_pk(generation: str) -> Attributes:
    """Under which the checkpoints of a generation are."""
    return {"S": f"at#{generation}"}


def checkpoint_key(generation: str, partition: int) -> Attributes:
    """The key of a partition's row."""
    return {"pk": checkpoints_pk(generation), "sk": {"S": f"{partition:05d}"}}


def checkpoint_item(generation: str, standing: Standing, state: bytes) -> Attributes:
    """The row of a checkpoint, whose sequencer state is stored as ``state``."""
    at = standing.checkpoint
    item = {
        **checkpoint_key(generation, at.partition),
        "rev": {"N": str(standing.rev)},
        "shard": {"S": at.shard},
        # Text: it has up to 56 digits, and a number 38.
        "sequence": {"S": str(at.sequence)},
        "offset": {"N": str(at.offset)},
        "applied": {"N": str(at.applied)},
        "digest": {"B": at.digest},
        "state": {"B": state},
    }
    if at.seen_ms is not None:  # releases before it was there pass it over, and write none
        item["seen"] = {"N": str(at.seen_ms)}
    if at.joined:
        item["joined"] = {"BOOL": True}
    return item


def standing_of(item: Mapping[str, Any], generation: str, name: str) -> Standing:
    """What a row says; its state is the stored one.

    Raises:
        DamageError: with ``partition``: never read as "from the start".
    """
    try:
        numbers = [int(item[each]["N"]) for each in ("offset", "applied", "rev")]
        partition, sequence = int(item["sk"]["S"]), int(item["sequence"]["S"])
        seen_ms = int(item["seen"]["N"]) if "seen" in item else None
        if min(*numbers, partition, seen_ms or 0) < 0:
            raise ValueError("a number below 0")  # noqa: TRY301 - one place says what it is
        checkpoint = Checkpoint(
            partition=partition,
            shard=item["shard"]["S"],
            sequence=sequence,
            offset=numbers[0],
            applied=numbers[1],
            digest=bytes(item["digest"]["B"]),
            state=bytes(item["state"]["B"]),
            seen_ms=seen_ms,
            joined="joined" in item,
        )
        return Standing(checkpoint, numbers[2])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(
            f"a checkpoint of generation {generation} is damaged ({error})",
            name,
            partition=item.get("sk", {}).get("S"),
        ) from error


# -- rejections ----------------------------------------------------------------------------------


def rejections_pk(generation: str) -> Attributes:
    """Under which the rejections of a generation are."""
    return {"S": f"rejected#{generation}"}


def rejection_item(generation: str, rejection: Rejection) -> Attributes:
    """The row of a rejection: one an offset and key, sorted but for the key."""
    place = f"{rejection.table}#{rejection.partition:05d}#{rejection.offset:015d}"
    return {
        "pk": rejections_pk(generation),
        # A key may be longer than a range key can be.
        "sk": {"S": f"{place}#{sha256(rejection.key).hexdigest()[:32]}"},
        "table": {"S": rejection.table},
        "partition": {"N": str(rejection.partition)},
        "offset": {"N": str(rejection.offset)},
        "key": {"B": rejection.key},
        "id": {"S": rejection.id},
        "expected": {"N": str(rejection.expected)},
        "found": {"N": str(rejection.found)},
    }


def rejection_of(item: Mapping[str, Any], name: str) -> Rejection:
    """The rejection that a row says. Raises `DamageError`."""
    try:
        return Rejection(
            int(item["partition"]["N"]),
            int(item["offset"]["N"]),
            item["table"]["S"],
            bytes(item["key"]["B"]),
            item["id"]["S"],
            int(item["expected"]["N"]),
            int(item["found"]["N"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(f"a rejection is damaged ({error})", name) from error


# -- foreign records -----------------------------------------------------------------------------


def foreign_sk(place: ForeignPlace) -> str:
    """What the range keys of a foreign record's rows begin with; they sort by shard and sequence."""
    return f"{place[0]}#{place[1]:060d}#"


def relayed_item(place: ForeignPlace) -> Attributes:
    """The row that says that a foreign record is in the log as an event."""
    return {"pk": {"S": RELAYED}, "sk": {"S": foreign_sk(place)}}


def foreign_items(record: Foreign) -> list[Attributes]:
    """The rows of a foreign record, the one that makes it visible last."""
    chunks = [
        record.data[start : start + ROW_BYTES_MAX]
        for start in range(0, len(record.data), ROW_BYTES_MAX)
    ] or [b""]
    place = foreign_sk(record.place)
    items: list[Attributes] = [
        {"pk": {"S": FOREIGN}, "sk": {"S": f"{place}{number:03d}"}, "data": {"B": chunk}}
        for number, chunk in enumerate(chunks)
    ]
    items[0] |= {
        "shard": {"S": record.shard},
        "sequence": {"S": str(record.sequence)},
        "key": {"S": record.partition_key},
        "arrival": {"N": str(record.arrival_ms)},
        "chunks": {"N": str(len(chunks))},
    }
    return items[::-1]


def foreign_of_rows(items: Iterable[Mapping[str, Any]], name: str) -> Iterable[Foreign]:
    """The records of rows that are in order; chunks without their first row are of none yet."""
    head: Mapping[str, Any] | None = None
    data: list[bytes] = []
    for item in items:
        if "chunks" in item:
            head, data = item, []
        if head is None:
            continue
        try:
            data.append(bytes(item["data"]["B"]))
            if len(data) == int(head["chunks"]["N"]):
                yield Foreign(
                    head["shard"]["S"],
                    int(head["sequence"]["S"]),
                    head["key"]["S"],
                    int(head["arrival"]["N"]),
                    b"".join(data),
                )
                head = None
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(f"a foreign record is damaged ({error})", name) from error
    if head is not None:
        raise damaged("a foreign record lacks a part", name)
