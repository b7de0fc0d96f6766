"""A data set as the first version wrote it is taken over for ever, and its notes are read.

`import-1.json` holds its objects and the note of its build. Another version gets a file beside it.
The digest names rows across versions: if it changed, nothing that an earlier version imported would be
found again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliers.item import Row
from appliers.stores.dynamodb_import import token_of
from appliers.stores.dynamodb_import_data import (
    check_data_set,
    digest_of,
    items_of,
    read_data_set,
    write_data_set,
)
from appliers.stores.dynamodb_imported import Imported
from appliers.stores.dynamodb_reader import pack_row
from appliers.stores.dynamodb_tables_spec import KeySchema
from appliers.stores.sorted_runs import SortedRuns
from binlog.objects import MemoryObjects
from binlog.values import encode_item, encode_value

PATH = Path(__file__).parent / "import-1.json"
KEYS = KeySchema(("id", "S"), ("at", "N"))


def row(number: int, **more: Any) -> tuple[bytes, Row]:
    key = {"id": "a", "at": number}
    item = key | {"bin": b"\0\xff", "set": {"x", "y"}, "deep": [None, True, {"n": -number}]}
    return encode_value(key), Row(number, 3, encode_item(item), **more)


ROWS = [row(1), row(2, parked=True, tail=9), (encode_value({"id": "a", "at": 3}), Row(7, 3, None))]


def written(tmp_path: Path) -> dict[str, Any]:
    """What today's code writes."""
    runs = SortedRuns(folder=tmp_path)
    for key, stored in ROWS:
        runs.add(key, pack_row(stored))
    runs.flush()
    digest = digest_of("orders", KEYS, runs.runs)
    objects = MemoryObjects()
    write_data_set(
        objects,
        "p",
        sorted(ROWS),
        log_id="2e" * 16,
        table="orders",
        keys=KEYS,
        digest=digest,
        compression="gzip",
        lanes=1,
    )
    note = [Imported("orders", "live.orders.0123abcd", "bucket/p/data/")]
    return {
        "objects": {e.key: (objects.get(e.key) or b"").hex() for e in objects.list()},
        "note": msgspec.json.encode(note).decode(),
        "token": token_of("bucket/p/data/", "live.orders.0123abcd"),
    }


@pytest.fixture
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return found


def test_the_first_versions_data_set_is_one(golden: dict[str, Any], tmp_path: Path) -> None:
    objects = MemoryObjects()
    for key, content in golden["objects"].items():
        objects.put(key, bytes.fromhex(content))
    found = read_data_set(objects, "p")
    assert found is not None
    check_data_set(objects, "p", found)
    assert (found.items, found.format, found.keys, found.table) == (3, 1, KEYS, "orders")
    items = list(items_of(objects, "p", found))
    assert items[0] == {
        "id": {"S": "a"},
        "at": {"N": "1"},
        "bin": {"B": "AP8="},
        "set": {"SS": ["x", "y"]},
        "deep": {"L": [{"NULL": True}, {"BOOL": True}, {"M": {"n": {"N": "-1"}}}]},
        "_binlog": {"M": {"v": {"N": "1"}, "p": {"N": "3"}}},
    }
    assert [item["_binlog"] for item in items[1:]] == [
        {"M": {"v": {"N": "2"}, "p": {"N": "3"}, "k": {"BOOL": True}, "t": {"N": "9"}}},
        {"M": {"v": {"N": "7"}, "p": {"N": "3"}, "d": {"BOOL": True}}},
    ]
    manifest = json.loads(bytes.fromhex(golden["objects"]["p/manifest.json"]))
    today = json.loads(bytes.fromhex(written(tmp_path)["objects"]["p/manifest.json"]))
    assert today["digest"] == manifest["digest"], "the same rows are found again"
    for each in (today, manifest):  # gzip's own bytes are its version's
        each["objects"][0].pop("bytes")
        each["objects"][0].pop("sha256")
    assert today == manifest


def test_the_first_versions_notes_and_tokens_are_todays(
    golden: dict[str, Any], tmp_path: Path
) -> None:
    """By the one a table is known as ours, by the other an import is not started twice."""
    today = written(tmp_path)
    assert today["note"] == golden["note"]
    assert today["token"] == golden["token"]
    (note,) = msgspec.json.decode(golden["note"].encode(), type=list[Imported])
    assert note == Imported("orders", "live.orders.0123abcd", "bucket/p/data/")
    (plain,) = msgspec.json.decode(b'[{"table":"t","physical":"p"}]', type=list[Imported])
    assert plain.source == ""
