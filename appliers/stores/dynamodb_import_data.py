"""What DynamoDB's ImportTable reads: a table's items as objects of S3, and a manifest that counts them.

::

    PREFIX/data/00-00000.json.zst     lines {"Item":{"id":{"S":"a"},..}}, one an item, DynamoDB JSON
    PREFIX/manifest.json              `DataSet`, written last: without it there is no data set

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataImport.Format.html

The service reads everything below ``PREFIX/data/``, so nothing else is ever written there. It
imports objects in parallel, and each in its order; since rows come sorted by key, they are dealt out
to some objects at a time, by the key's hash, so that neighbours are not written one after another
(S3DataImport.BestPractices, "Randomize sorted data").
"""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from appliers.item import Row
from appliers.stores.dynamodb_items import stored_item
from appliers.stores.dynamodb_tables_spec import KeySchema
from appliers.stores.sorted_runs import merged
from binlog.errors import BinlogError, DamageError, RefusedError, UpgradeError
from binlog.objects.objects import Objects

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMAT = 1
OBJECTS_MAX = 50_000  # of one import (S3DataImport.Validation, "Import quotas")
LANES = 4  # objects that are being filled at a time, each in memory, compressed
OBJECT_RAW_BYTES = 32 * 1024 * 1024
PRICE_USD_A_GB = 0.15  # of raw bytes, us-east-1 (https://aws.amazon.com/dynamodb/pricing/)
_LEVEL = 3
_GZIP_WBITS = 31
_MANIFEST = "manifest.json"

Compression = Literal["zstd", "gzip"]
SUFFIXES: dict[Compression, str] = {"zstd": "zst", "gzip": "gz"}


class DataObject(msgspec.Struct, frozen=True):
    """One object of a data set; ``raw_bytes`` before compression."""

    key: str
    items: int
    raw_bytes: int
    bytes: int
    sha256: str


class DataSet(msgspec.Struct, frozen=True):
    """The manifest. ``digest`` names the rows whatever objects they are in (`digest_of`)."""

    log_id: str
    table: str
    keys: KeySchema
    digest: str
    compression: Compression
    items: int
    raw_bytes: int
    objects: tuple[DataObject, ...]
    format: int = FORMAT

    @property
    def price_usd(self) -> float:
        """What importing it costs: it goes by the uncompressed bytes."""
        return self.raw_bytes / 1e9 * PRICE_USD_A_GB


def digest_of(table: str, keys: KeySchema, runs: Iterable[Path]) -> str:
    """SHA-256 over the rows of sorted runs, by key: the same rows in other runs have the same."""
    digest = hashlib.sha256(msgspec.json.encode((table, keys)))
    with ExitStack() as stack:
        for key, value in merged(runs, stack):
            digest.update(b"%d,%d:" % (len(key), len(value)))
            digest.update(key)
            digest.update(value)
    return digest.hexdigest()


# -- writing ---------------------------------------------------------------------------------------


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Lane:
    """An object that is being filled."""

    def __init__(self, number: int, compression: Compression) -> None:
        self.number = number
        self.count = 0  # objects that it has filled
        self._compression = compression
        self._begin()

    def _begin(self) -> None:
        self.items = self.raw_bytes = 0
        self._parts: list[bytes] = []
        self._compressor: _Compressor = (
            zlib.compressobj(wbits=_GZIP_WBITS)  # without a time: the same rows, the same bytes
            if self._compression == "gzip"
            else zstd.ZstdCompressor(level=_LEVEL)
        )

    def add(self, line: bytes) -> None:
        self.items += 1
        self.raw_bytes += len(line)
        if part := self._compressor.compress(line):
            self._parts.append(part)

    def put(self, objects: Objects, prefix: str) -> DataObject:
        """Write what is in it; the next line begins another one."""
        data = b"".join([*self._parts, self._compressor.flush()])
        suffix = SUFFIXES[self._compression]
        key = f"data/{self.number:02}-{self.count:05}.json.{suffix}"
        if not objects.put_new(f"{prefix}/{key}", data):
            raise DamageError(
                "somebody else writes this data set", f"{objects.name}/{prefix}/{key}", "try again"
            )
        digest = hashlib.sha256(data).hexdigest()
        made = DataObject(key, self.items, self.raw_bytes, len(data), digest)
        self.count += 1
        self._begin()
        return made


def write_data_set(
    objects: Objects,
    prefix: str,
    rows: Iterable[tuple[bytes, Row]],
    *,
    log_id: str,
    table: str,
    keys: KeySchema,
    digest: str,
    compression: Compression = "zstd",
    object_raw_bytes: int = OBJECT_RAW_BYTES,
    lanes: int = LANES,
) -> DataSet:
    """Write rows, each key once, below ``prefix``, where nothing is yet; the manifest last.

    ``object_raw_bytes`` is how much goes into an object, uncompressed.

    Raises:
        RefusedError: it would be more than `OBJECTS_MAX` objects.
        StorageError, DamageError: as the objects say.
    """
    filling = [_Lane(number, compression) for number in range(lanes)]
    made: list[DataObject] = []
    for key, row in rows:
        lane = filling[zlib.crc32(key) % lanes]
        lane.add(msgspec.json.encode({"Item": stored_item(key, row)}) + b"\n")
        if lane.raw_bytes >= object_raw_bytes:
            _check_count(len(made) + lanes, table, objects.name)
            made.append(lane.put(objects, prefix))
    made += [lane.put(objects, prefix) for lane in filling if lane.items]
    data_set = DataSet(
        log_id=log_id,
        table=table,
        keys=keys,
        digest=digest,
        compression=compression,
        items=sum(each.items for each in made),
        raw_bytes=sum(each.raw_bytes for each in made),
        objects=tuple(made),
    )
    if not objects.put_new(f"{prefix}/{_MANIFEST}", msgspec.json.encode(data_set)):
        raise DamageError("somebody else writes this data set", f"{objects.name}/{prefix}")
    return data_set


def object_raw_bytes_for(raw_bytes: int) -> int:
    """How much to put into an object, of about so many bytes in all: half of `OBJECTS_MAX` at most."""
    return max(OBJECT_RAW_BYTES, raw_bytes // (OBJECTS_MAX // 2))


def _check_count(count: int, table: str, name: str) -> None:
    if count > OBJECTS_MAX:
        raise RefusedError(
            f"table {table} is more than the {OBJECTS_MAX} objects of one import",
            name,
            "rebuild it by batched writes: leave out --import",
            table=table,
        )


# -- reading ---------------------------------------------------------------------------------------


def read_data_set(objects: Objects, prefix: str) -> DataSet | None:
    """The data set below ``prefix``; ``None`` if none was completed there.

    Raises:
        DamageError, UpgradeError: its manifest cannot be read.
    """
    where = f"{objects.name}/{prefix}/{_MANIFEST}"
    found = objects.get(f"{prefix}/{_MANIFEST}")
    if found is None:
        return None
    try:
        version = msgspec.json.decode(found, type=_Version).format
        if version > FORMAT:
            raise UpgradeError(
                f"format {version}, newer than {FORMAT}", where, "upgrade this program"
            )
        return msgspec.json.decode(found, type=DataSet)
    except msgspec.MsgspecError as error:
        raise DamageError(f"no manifest of a data set ({error})", where, "delete it") from error


class _Version(msgspec.Struct):
    format: int


def check_data_set(objects: Objects, prefix: str, data_set: DataSet) -> None:
    """That below ``prefix/data/`` are the objects of the manifest, by name and size, and no others.

    Raises:
        DamageError: they are not.
    """
    begin = f"{prefix}/"
    listed = {entry.key.removeprefix(begin): entry.size for entry in objects.list(f"{begin}data/")}
    wanted = {each.key: each.bytes for each in data_set.objects}
    where = f"{objects.name}/{prefix}"
    for key in sorted(wanted.keys() | listed.keys()):
        if listed.get(key) != wanted.get(key):
            raise DamageError(
                f"{key} has {_said(listed.get(key))}, and {_said(wanted.get(key))} by the manifest",
                where,
                "delete the data set, and run it again",
                key=key,
            )


def _said(size: int | None) -> str:
    return "no bytes" if size is None else f"{size} bytes"


def items_of(objects: Objects, prefix: str, data_set: DataSet) -> Iterator[dict[str, object]]:
    """The items as they were written: for whoever looks at a data set.

    Raises:
        DamageError: an object is not what the manifest says.
    """
    for each in data_set.objects:
        where = f"{objects.name}/{prefix}/{each.key}"
        data = objects.get(f"{prefix}/{each.key}")
        if data is None or hashlib.sha256(data).hexdigest() != each.sha256:
            raise DamageError("missing, or not what the manifest says", where, "delete it")
        raw = gzip.decompress(data) if data_set.compression == "gzip" else zstd.decompress(data)
        for line in raw.splitlines():
            yield msgspec.json.decode(line)["Item"]


def remove_data_set(objects: Objects, prefix: str) -> BinlogError | None:
    """Delete what is below ``prefix``, the manifest first; why it could not be."""
    try:
        objects.delete([f"{prefix}/{_MANIFEST}"])
        objects.delete([entry.key for entry in objects.list(f"{prefix}/data/")])
    except BinlogError as error:
        return error
    return None
