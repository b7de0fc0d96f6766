"""DynamoDB's own export of a table as a source of items: a full export, in DynamoDB JSON.

::

    [PREFIX/]AWSDynamoDB/EXPORT-ID/
        manifest-summary.json       one document: table, time, counts, format
        manifest-summary.md5        MD5 of it, base64 (.checksum in some descriptions)
        manifest-files.json         one document a line: a data file, its count and MD5
        manifest-files.md5
        data/NAME.json.gz           one item a line: {"Item": {"id": {"S": "a"}}}

(https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html.) The
place given is that folder, or one in whose ``AWSDynamoDB/`` there is a single export.

Everything that the manifests say is held against what is there: that it is a full export of that
table, the files that are named and no fewer, each file's MD5 and count, and the sum. An
export without its summary is one that has not come to its end. Memory is bounded by a line and by
`CHUNK_BYTES`, whatever a file's size.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Iterator
from hashlib import md5
from typing import Annotated, Any

import msgspec

from binlog.errors import DamageError, RefusedError
from binlog.json_values import parse_line, untyped_item
from binlog.objects.objects import Objects
from snapshots.adopt_items import ItemCheck

CHUNK_BYTES = 4 * 1024 * 1024
LINE_BYTES_MAX = 8 * 1024 * 1024
"""An item has 400 KB; in JSON, with escapes and its types, at most some six times that."""
_SUMMARY, _FILES = "manifest-summary.json", "manifest-files.json"
_SLICE_BYTES = 64 * 1024  # decompressed at a time: to 64 MiB at most
_MANIFEST_BYTES_MAX = 64 * 1024 * 1024
_EXPORTS = "AWSDynamoDB/"

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """What ``manifest-summary.json`` says, as far as it is used."""

    export_arn: str
    table_arn: str
    manifest_files_s3_key: str = msgspec.field(name="manifestFilesS3Key")
    item_count: _Count
    output_format: str
    export_time: str = ""
    table_id: str = ""
    export_type: str = "FULL_EXPORT"
    billed_size_bytes: int = 0


class DataFile(msgspec.Struct, frozen=True):
    """One line of ``manifest-files.json``."""

    item_count: _Count = msgspec.field(name="itemCount")
    md5: str = msgspec.field(name="md5Checksum")
    key: str = msgspec.field(name="dataFileS3Key")


class Export:
    """One export, its manifests read and checked.

    Raises (when made):
        RefusedError: there is none, or not one that can be used. DamageError: a manifest is
            damaged, or says two things.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._folder = self._find()
        self.name = f"{objects.name}/{self._folder}".rstrip("/")
        self.summary = self._read_summary()
        self.files = self._read_files()
        counted = sum(file.item_count for file in self.files)
        if counted != self.summary.item_count:
            raise DamageError(
                f"the export has {self.summary.item_count} items by {_SUMMARY}, and {counted} by"
                f" {_FILES}",
                self.name,
                "copy it again, or export the table anew",
            )

    # -- manifests -------------------------------------------------------------------------------

    def _find(self) -> str:
        if self._objects.get(_SUMMARY, length=1) is not None:
            return ""
        found = sorted(
            {
                "/".join(entry.key.split("/")[:-1]) + "/"
                for entry in self._objects.list(_EXPORTS)
                if entry.key.endswith(f"/{_SUMMARY}") and entry.key.count("/") == 2
            }
        )
        if len(found) == 1:
            return found[0]
        if found:
            raise RefusedError(
                f"{len(found)} exports",
                self._objects.name,
                f"name one of them: {', '.join(found[:5])}",
            )
        begun = next(iter(self._objects.list()), None)
        what = "an export that has not come to its end" if begun else "no export"
        raise RefusedError(
            f"{what} (no {_SUMMARY})",
            self._objects.name,
            "wait for it (aws dynamodb describe-export); the place is the folder of that file",
        )

    def _read_summary(self) -> Summary:
        summary: Summary = self._decoded(self._manifest(_SUMMARY), Summary, _SUMMARY)
        if summary.export_type != "FULL_EXPORT":
            raise RefusedError(
                f"an export of type {summary.export_type}",
                self.name,
                "a base is all of a table: make a full export",
            )
        if summary.output_format != "DYNAMODB_JSON":
            raise RefusedError(
                f"an export in the format {summary.output_format}",
                self.name,
                "export the table in DynamoDB JSON",
            )
        return summary

    def _read_files(self) -> list[DataFile]:
        lines = self._manifest(_FILES).splitlines()
        files = [self._decoded(line, DataFile, _FILES) for line in lines if line.strip()]
        keys = [file.key for file in files]
        if len(set(keys)) != len(keys):
            raise DamageError(
                "a data file is named twice", f"{self.name}/{_FILES}", "copy it again"
            )
        return files

    def _manifest(self, name: str) -> bytes:
        data = self._objects.get(self._folder + name, length=_MANIFEST_BYTES_MAX)
        if data is None:
            raise DamageError(f"{name} is missing", self.name, "copy all of the export")
        stem = name.removesuffix(".json")
        for sum_name in (f"{stem}.md5", f"{stem}.checksum"):
            wanted = self._objects.get(self._folder + sum_name, length=1024)
            if wanted is not None and not _is_md5(wanted.decode(errors="replace"), md5_of(data)):
                raise DamageError(
                    f"{name} is damaged: its MD5 is not that of {sum_name}",
                    self.name,
                    "copy it again",
                )
        return data

    def _decoded(self, data: bytes, into: type[Any], name: str) -> Any:
        try:
            return msgspec.json.decode(data, type=into)
        except (msgspec.DecodeError, ValueError) as error:
            raise DamageError(
                f"no manifest of an export: {error}", f"{self.name}/{name}", "copy it again"
            ) from error

    # -- items -----------------------------------------------------------------------------------

    def items(self, check: ItemCheck) -> Iterator[tuple[bytes, bytes]]:
        """Key and item of every item, canonical, in no order.

        What is given before an error is of no use.

        Raises:
            DamageError: a data file is missing, damaged, or holds another number of items.
            RefusedError: an item that the log could not hold (`ItemCheck`).
        """
        for file in self.files:
            yield from self._items_of(file, check)

    def _items_of(self, file: DataFile, check: ItemCheck) -> Iterator[tuple[bytes, bytes]]:
        name = "data/" + file.key.rsplit("/", 1)[-1]
        where = f"{self.name}/{name}"
        count = 0
        for line in _Lines(self._objects, self._folder + name, file.md5, where):
            count += 1
            place = f"{name}, line {count}"
            try:
                document = parse_line(line)
                if type(document) is not dict or document.keys() != {"Item"}:
                    raise RefusedError('no {"Item": {..}}')  # noqa: TRY301 (one place says where)
                item = untyped_item(document["Item"])
            except RefusedError as error:
                raise DamageError(
                    f"line {count} is no item: {error.what}", where, "copy it again"
                ) from error
            yield check(item, place)
        if count != file.item_count:
            raise DamageError(
                f"{count} items, and {_FILES} says {file.item_count}", where, "copy it again"
            )


class _Lines:
    """The lines of a compressed file, whose MD5 is checked at its end."""

    def __init__(self, objects: Objects, key: str, wanted: str, where: str) -> None:
        self._objects = objects
        self._key = key
        self._wanted = wanted
        self._where = where
        self._hash = md5(usedforsecurity=False)

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        for text in self._unpacked():
            *lines, rest = (rest + text).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                raise self._damaged(f"a line of more than {LINE_BYTES_MAX} bytes")
            for line in lines:
                if line:
                    yield line
        if rest:
            yield rest
        if not _is_md5(self._wanted, self._hash.digest()):
            raise self._damaged(f"its MD5 is not the one that {_FILES} says")

    def _unpacked(self) -> Iterator[bytes]:
        """What it decompresses to, in pieces; of a file of several members all of them."""
        unpack, is_whole = zlib.decompressobj(wbits=31), True
        for chunk in self._chunks():
            for start in range(0, len(chunk), _SLICE_BYTES):
                data = chunk[start : start + _SLICE_BYTES]
                while data:
                    try:
                        yield unpack.decompress(data)
                    except zlib.error as error:
                        raise self._damaged(f"it does not decompress ({error})") from error
                    is_whole, data = unpack.eof, unpack.unused_data
                    if is_whole:
                        unpack = zlib.decompressobj(wbits=31)
        if not is_whole:
            raise self._damaged("it ends in the middle")

    def _chunks(self) -> Iterator[bytes]:
        start = 0
        while True:
            chunk = self._objects.get(self._key, start, CHUNK_BYTES)
            if chunk is None:
                raise self._damaged("the file is missing")
            self._hash.update(chunk)
            if chunk:
                yield chunk
            if len(chunk) < CHUNK_BYTES:
                return
            start += len(chunk)

    def _damaged(self, what: str) -> DamageError:
        return DamageError(what, self._where, "copy the export again, all of it")


def md5_of(data: bytes) -> bytes:
    """The checksum that an export is kept by; no protection against anybody."""
    return md5(data, usedforsecurity=False).digest()


def _is_md5(text: str, digest: bytes) -> bool:
    """Whether ``text`` says that digest: base64, as the service writes it, or hex, as md5sum does."""
    said = text.strip().split(" ")[0]
    return said in (b64encode(digest).decode(), digest.hex())
