"""Which snapshots are meant where none is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from appliers.store import Generation
from binlog.errors import RefusedError
from binlog.objects import MemoryObjects
from snapshots.newest import newest_whole
from snapshots.snapshot import open_snapshot
from snapshots.snapshot_manifest import manifest_key, seal
from tests.snapshot.test_retention import BASE


def closed(*tables: str) -> Generation:
    return Generation("2" * 32, tables, open=False, fingerprint="f", excluded=())


def chosen(*manifests: tuple[str, dict[str, Any]]) -> list[str]:
    objects = MemoryObjects()
    for taken_ms, (id_, fields) in enumerate(manifests, 1):
        manifest = msgspec.structs.replace(BASE, id=id_, taken_ms=taken_ms, **fields)
        objects.put_new(manifest_key(id_), seal(manifest))
    return [each.manifest.id for each in newest_whole(objects)]


USERS, CARTS = {"generation": closed("users")}, {"generation": closed("carts")}


def test_the_newest_open_one_and_the_newest_of_each_table_beside_it() -> None:
    beside = {"without": ("carts", "users")}
    found = chosen(
        ("users1", USERS),
        ("open1", beside),
        ("carts1", CARTS),
        ("open2", beside),
        ("users2", USERS),
    )
    assert found == ["open2", "carts1", "users2"]


def test_without_an_open_one_the_newest_of_each_set_of_tables() -> None:
    assert chosen(("users1", USERS), ("carts1", CARTS), ("users2", USERS)) == ["carts1", "users2"]


def test_of_the_store_that_the_newest_is_of() -> None:
    other = {"store": "dynamodb://other"}
    assert chosen(("mine", {}), ("theirs", other)) == ["theirs"]
    assert chosen(("theirs", other), ("mine", {})) == ["mine"]


def test_the_base_of_an_adopted_table_is_no_replica() -> None:
    assert chosen(("mine", {}), ("base", {"adopted": "orders"})) == ["mine"]
    objects = MemoryObjects()
    base = msgspec.structs.replace(BASE, id="base", adopted="orders")
    objects.put_new(manifest_key("base"), seal(base))
    with pytest.raises(RefusedError, match="there is no snapshot"):
        open_snapshot(objects)
    assert open_snapshot(objects, "base").manifest == base
