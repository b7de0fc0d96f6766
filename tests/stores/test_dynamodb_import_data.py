"""Data sets for ImportTable: the bytes, the manifest's counts, and what is not one."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliers.item import Row
from appliers.stores import dynamodb_import_data
from appliers.stores.dynamodb_import_data import (
    OBJECT_RAW_BYTES,
    OBJECTS_MAX,
    DataSet,
    check_data_set,
    digest_of,
    items_of,
    object_raw_bytes_for,
    read_data_set,
    remove_data_set,
    write_data_set,
)
from appliers.stores.dynamodb_reader import pack_row
from appliers.stores.dynamodb_tables_spec import KeySchema
from appliers.stores.sorted_runs import SortedRuns
from binlog.errors import DamageError, RefusedError, UpgradeError
from binlog.objects import MemoryObjects
from binlog.values import encode_item, encode_value
from tests.contracts.store_contract import key, row
from tests.objects.hostile_objects import cut_at_rest, flip_at_rest

KEYS = KeySchema(("id", "S"))
HEAD: dict[str, Any] = {
    "log_id": "2e" * 16,
    "table": "orders",
    "keys": KEYS,
    "digest": "d" * 64,
}
ROWS = [(key(f"k{number:04}"), row(f"k{number:04}", number + 1)) for number in range(400)]


def written(objects: MemoryObjects, rows: list[tuple[bytes, Row]], **more: Any) -> DataSet:
    return write_data_set(objects, "p/1", rows, **(HEAD | more))


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects("s3://bucket/imports")


def test_a_line_is_an_item_as_the_store_has_it(objects: MemoryObjects) -> None:
    """DynamoDB JSON as AWS's guide shows it: text, numbers as text, binary in base64."""
    item: dict[str, Any] = {"id": "a", "b": b"\0\xff", "bs": {b"x"}, "l": [None, True, {"m": "ü"}]}
    rows = [(encode_value({"id": "a"}), Row(7, 3, encode_item(item), parked=True, tail=9))]
    made = written(objects, rows, compression="gzip")
    (stored,) = [entry.key for entry in objects.list("p/1/data/")]
    assert stored.endswith(".json.gz")
    data = objects.get(stored)
    assert data is not None
    raw = gzip.decompress(data)
    assert (
        raw
        == (
            '{"Item":{"b":{"B":"AP8="},"bs":{"BS":["eA=="]},"id":{"S":"a"},'
            '"l":{"L":[{"NULL":true},{"BOOL":true},{"M":{"m":{"S":"ü"}}}]},'
            '"_binlog":{"M":{"v":{"N":"7"},"p":{"N":"3"},"k":{"BOOL":true},"t":{"N":"9"}}}}}\n'
        ).encode()
    )
    assert made.raw_bytes == len(raw)


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_the_manifest_counts_what_is_there(compression: Any, objects: MemoryObjects) -> None:
    """Items, bytes and hashes of each object; every item once, whichever object it is in."""
    made = written(objects, ROWS, compression=compression, object_raw_bytes=4_000, lanes=3)
    assert read_data_set(objects, "p/1") == made
    check_data_set(objects, "p/1", made)
    assert made.items == sum(each.items for each in made.objects) == len(ROWS)
    assert made.raw_bytes == sum(each.raw_bytes for each in made.objects)
    assert all(each.raw_bytes < 4_000 + 200 for each in made.objects)
    assert len(made.objects) > made.raw_bytes // 4_000
    found = sorted(str(item["id"]) for item in items_of(objects, "p/1", made))
    assert found == sorted(str({"S": f"k{number:04}"}) for number in range(400))


def test_neighbours_are_dealt_out(objects: MemoryObjects) -> None:
    """Rows come by key; imported in that order they would heat one partition after another."""
    made = written(objects, ROWS, lanes=4)
    assert [each.key for each in made.objects] == [
        f"data/{lane:02}-00000.json.zst" for lane in range(4)
    ]
    assert all(each.items > len(ROWS) / 8 for each in made.objects)


def test_the_same_rows_have_one_digest_whatever_runs_they_are_in(tmp_path: Path) -> None:
    """So a rebuild that folds with more workers finds what the one before it has written."""

    def digest(rows: list[tuple[bytes, Row]], parts: int, name: str, table: str = "orders") -> str:
        paths: list[Path] = []
        for part in range(parts):
            folder = tmp_path / f"{name}-{part}"
            folder.mkdir()
            runs = SortedRuns(folder=folder)
            for each, stored in rows[part::parts]:
                runs.add(each, pack_row(stored))
            runs.flush()
            paths += runs.runs
        return digest_of(table, KEYS, paths)

    one = digest(ROWS, 1, "one")
    assert digest(ROWS, 3, "three") == one
    assert digest(ROWS[:-1], 1, "fewer") != one
    assert digest(ROWS, 1, "other", table="users") != one
    changed = [*ROWS[:-1], (ROWS[-1][0], row("k0399", 999))]
    assert digest(changed, 1, "changed") != one


def test_without_its_manifest_there_is_no_data_set(objects: MemoryObjects) -> None:
    """It is written last: what was begun and not ended is never imported."""

    def rows() -> Iterator[tuple[bytes, Row]]:
        yield from ROWS[:100]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_data_set(objects, "p/1", rows(), object_raw_bytes=1_000, **HEAD)
    assert list(objects.list("p/1/data/"))
    assert read_data_set(objects, "p/1") is None


@pytest.mark.parametrize("damage", ["gone", "more", "cut"])
def test_an_object_that_is_gone_or_too_many_is_named(damage: str, objects: MemoryObjects) -> None:
    """The service would import whatever is there."""
    made = written(objects, ROWS)
    name = made.objects[1].key
    if damage == "gone":
        objects.delete([f"p/1/{name}"])
    elif damage == "cut":
        cut_at_rest(objects, f"p/1/{name}", made.objects[1].bytes - 1)
    else:
        name = "data/zz"
        objects.put(f"p/1/{name}", b"x")
    with pytest.raises(DamageError, match=name):
        check_data_set(objects, "p/1", made)


def test_a_flipped_bit_is_never_served(objects: MemoryObjects) -> None:
    made = written(objects, ROWS)
    flip_at_rest(objects, f"p/1/{made.objects[0].key}", 1_234)
    with pytest.raises(DamageError, match="not what the manifest says"):
        list(items_of(objects, "p/1", made))


def test_a_manifest_of_a_newer_format_or_of_none_is_refused(objects: MemoryObjects) -> None:
    made = written(objects, ROWS)
    newer = msgspec.structs.replace(made, format=2)
    objects.put("p/1/manifest.json", msgspec.json.encode(newer))
    with pytest.raises(UpgradeError, match="format 2"):
        read_data_set(objects, "p/1")
    for damaged in (b"", b"{", b"{}", b'{"format":1}'):
        objects.put("p/1/manifest.json", damaged)
        with pytest.raises(DamageError, match="no manifest"):
            read_data_set(objects, "p/1")


def test_two_that_write_one_data_set_are_refused(objects: MemoryObjects) -> None:
    written(objects, ROWS[:10])
    with pytest.raises(DamageError, match="somebody else writes this data set"):
        written(objects, ROWS[10:20])


def test_more_objects_than_an_import_takes_are_refused(
    objects: MemoryObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamodb_import_data, "OBJECTS_MAX", 20)
    with pytest.raises(RefusedError, match="more than the 20 objects of one import"):
        written(objects, ROWS, object_raw_bytes=500)
    assert read_data_set(objects, "p/1") is None
    made = written(MemoryObjects(), ROWS, object_raw_bytes=5_000)
    assert len(made.objects) <= 20


def test_objects_grow_with_the_table() -> None:
    """Half of what an import takes, since what is on this disk is smaller than JSON."""
    assert object_raw_bytes_for(0) == object_raw_bytes_for(10**9) == OBJECT_RAW_BYTES
    assert 10**13 / object_raw_bytes_for(10**13) <= OBJECTS_MAX / 2


def test_a_data_set_is_removed_the_manifest_first(objects: MemoryObjects) -> None:
    written(objects, ROWS)
    objects.put("p/10/data/x", b"another's")
    assert remove_data_set(objects, "p/1") is None
    assert [entry.key for entry in objects.list()] == ["p/10/data/x"]
