"""DynamoDB's export as a source: what its manifests say is held against what is there."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from appliers.stores.dynamodb_physical import Described
from binlog.errors import BinlogError, DamageError, MismatchError, RefusedError
from binlog.objects.memory import MemoryObjects
from binlog.values import decode_value
from snapshots import adopt_export
from snapshots.adopt_export import Export
from snapshots.adopt_items import ItemCheck
from snapshots.adopt_sources import ExportSource
from tests.adoption.adoption_world import ARN, FOLDER, KEYS, Item, export_of, item, items

DESCRIBED = Described(ARN, "12345a12-abcd-123a-ab12-1234abc12345", KEYS, items=20, bytes=2_000)


def read(objects: MemoryObjects) -> dict[str, Item]:
    check = ItemCheck("users", KEYS, "export")
    found = {}
    for key, data in Export(objects).items(check):
        value = decode_value(data)
        assert decode_value(key) == {"id": value["id"]}
        found[value["id"]] = value
    return found


def test_every_item_of_every_file_comes() -> None:
    assert read(export_of(items(20).values())) == items(20)


def test_a_partition_without_items_makes_an_empty_file() -> None:
    """The service writes at least a file a partition of its own."""
    assert read(export_of(items(2).values(), files=7)) == items(2)


def test_values_keep_their_types() -> None:
    """Numbers with all digits, binary, sets, nesting: what a log holds is what the table held."""
    whole = item("a") | {
        "d": Decimal("0.1"),
        "big": 10**37,
        "b": b"\x00\xff",
        "s": frozenset({"x", "y"}),
        "n": frozenset({1, Decimal("1.5")}),
        "z": None,
        "t": True,
        "m": {"l": [1, {"q": b""}], "e": {}},
    }
    assert read(export_of([whole])) == {"a": whole}


def test_the_folder_of_the_export_is_found_or_named() -> None:
    """The place is the bucket, or the folder itself."""
    assert Export(export_of(items(2).values())).name.endswith(FOLDER.rstrip("/"))
    assert read(export_of(items(3).values(), prefix="")) == items(3)


def test_a_file_of_several_members_is_read_whole() -> None:
    """As gzip has it, and as whoever puts files together makes it."""

    def members(data: bytes) -> bytes:
        half = len(data) // 2
        return gzip.compress(data[:half]) + gzip.compress(data[half:])

    assert read(export_of(items(20).values(), compress=members)) == items(20)


def test_memory_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read by ranges, and lines may lie across them."""
    monkeypatch.setattr(adopt_export, "CHUNK_BYTES", 7)
    monkeypatch.setattr(adopt_export, "_SLICE_BYTES", 3)
    assert read(export_of(items(20).values())) == items(20)


def test_a_line_without_an_end_is_no_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopt_export, "LINE_BYTES_MAX", 1_000)
    big = item("a") | {"t": "x" * 5_000}
    with pytest.raises(DamageError, match="a line of more than"):
        read(export_of([big], compress=lambda data: gzip.compress(data.rstrip(b"\n"))))


# -- damage --------------------------------------------------------------------------------------


def data_file(objects: MemoryObjects) -> str:
    return next(e.key for e in objects.list(FOLDER) if "/data/" in e.key and e.size > 40)


def flip(objects: MemoryObjects, key: str, at: int) -> None:
    data = bytearray(objects.get(key) or b"")
    data[at] ^= 1
    objects.put(key, bytes(data))


def cut(objects: MemoryObjects) -> None:
    key = data_file(objects)
    objects.put(key, (objects.get(key) or b"")[:-9])


def grow(objects: MemoryObjects) -> None:
    key = data_file(objects)
    objects.put(key, (objects.get(key) or b"") + gzip.compress(b'{"Item":{"id":{"S":"zz"}}}\n'))


def change_summary(objects: MemoryObjects, **fields: object) -> None:
    key = f"{FOLDER}manifest-summary.json"
    said = json.loads(objects.get(key) or b"")
    objects.put(key, json.dumps(said | fields).encode())
    objects.delete([f"{FOLDER}manifest-summary.md5"])


DAMAGE: list[tuple[Callable[[MemoryObjects], object], str]] = [
    (lambda o: o.delete([data_file(o)]), "the file is missing"),
    (lambda o: flip(o, data_file(o), 20), "MD5|decompress|no item"),
    (lambda o: flip(o, data_file(o), -1), "MD5|decompress"),
    (cut, "ends in the middle"),
    (grow, "MD5|items, and"),
    (lambda o: flip(o, f"{FOLDER}manifest-files.json", 30), "manifest-files.json is damaged"),
    (lambda o: flip(o, f"{FOLDER}manifest-summary.json", 30), "manifest-summary.json is damaged"),
    (lambda o: o.delete([f"{FOLDER}manifest-files.json"]), "manifest-files.json is missing"),
    (lambda o: change_summary(o, itemCount=21), "21 items by manifest-summary.json, and 20"),
    (lambda o: change_summary(o, itemCount=-1), "no manifest of an export"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGE)
def test_whatever_is_not_as_it_was_written_is_named(
    damage: Callable[[MemoryObjects], object], says: str
) -> None:
    """An incomplete base would be a loss that nobody sees."""
    objects = export_of(items(20).values())
    damage(objects)
    with pytest.raises(DamageError, match=says):
        read(objects)


def test_every_flipped_bit_of_the_data_is_found() -> None:
    """By the MD5 at the latest, whatever the decompressor takes."""
    content = [item("a", 1)]
    size = len(export_of(content, files=1).get(f"{FOLDER}data/file0abc.json.gz") or b"")
    for at in range(size):
        objects = export_of(content, files=1)
        flip(objects, f"{FOLDER}data/file0abc.json.gz", at)
        with pytest.raises(DamageError):
            read(objects)


def test_a_bomb_is_a_line_too_long() -> None:
    """What a small file may become is bounded before it is a line."""

    def bomb(data: bytes) -> bytes:
        return gzip.compress(data.rstrip(b"\n") + b" " * 70_000_000)

    with pytest.raises((DamageError, RefusedError), match="a line of more than"):
        read(export_of([item("a")], files=1, compress=bomb))


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        ({"outputFormat": "ION"}, "format ION"),
        ({"exportType": "INCREMENTAL_EXPORT"}, "INCREMENTAL_EXPORT"),
    ],
)
def test_an_export_of_another_kind_is_refused(summary: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        read(export_of(items(2).values(), **summary))


def test_an_export_that_has_not_come_to_its_end_is_refused() -> None:
    """Its data files may be there already, and some of them not."""
    objects = export_of(items(20).values())
    objects.delete([f"{FOLDER}manifest-summary.json"])
    with pytest.raises(RefusedError, match="has not come to its end"):
        Export(objects)
    with pytest.raises(RefusedError, match="no export"):
        Export(MemoryObjects())


def test_one_of_several_exports_has_to_be_named() -> None:
    objects = export_of(items(2).values())
    other = export_of(items(2).values(), prefix="AWSDynamoDB/01800000000000-ffffffff/")
    for entry in other.list():
        objects.put_new(entry.key, other.get(entry.key) or b"")
    with pytest.raises(RefusedError, match="2 exports"):
        Export(objects)


@pytest.mark.parametrize(
    ("arn", "says"),
    [
        (ARN.replace("Users-2023", "Users-2024"), "another table"),
        (ARN.replace("eu-west-1", "us-east-1"), "another region"),
        (ARN.replace("123456789012", "999999999999"), "another account"),
        (ARN.replace("eu-west-1:123456789012", "x:999999999999"), "another region and account"),
    ],
)
def test_an_export_of_another_table_is_refused(arn: str, says: str) -> None:
    """By its ARN, and what of it is another is said."""
    with pytest.raises(MismatchError, match=says):
        ExportSource(Export(export_of([], arn=arn)), DESCRIBED)


def test_an_export_of_an_earlier_table_of_the_name_is_refused() -> None:
    """A table that was deleted and made again has another id."""
    later = msgspec.structs.replace(DESCRIBED, id="0" * 36)
    with pytest.raises(MismatchError, match="an earlier table of that name"):
        ExportSource(Export(export_of([])), later)


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        ({"n": 1}, "without its key attribute 'id'"),
        ({"id": 5}, "of another key"),
        ({"id": "a", "_binlog": 1}, "has an attribute _binlog already"),
        ({"id": "a", "t": "x" * 409_200}, "bytes"),
    ],
)
def test_an_item_that_no_log_holds_is_named_by_file_and_line(odd: Item, says: str) -> None:
    objects = export_of([odd], files=1)
    with pytest.raises(BinlogError, match=says) as error:
        read(objects)
    assert "data/file0abc.json.gz, line 1" in str(error.value)


@pytest.mark.parametrize(
    "line", [b'{"id": {"S": "a"}}', b"[]", b'{"Item": {"id": {"X": 1}}}', b"{"]
)
def test_a_line_that_is_no_item_is_damage(line: bytes) -> None:
    objects = export_of([item("a")], files=1, compress=lambda _: gzip.compress(line + b"\n"))
    with pytest.raises(DamageError, match="line 1 is no item"):
        read(objects)


def test_raw_deflate_is_no_gzip() -> None:
    objects = export_of([item("a")], files=1, compress=zlib.compress)
    with pytest.raises(DamageError, match="decompress"):
        read(objects)
