"""What is not as it was written is named, with the remedy, and never served."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from appliers import survey
from appliers.stores import MemoryStore
from binlog.errors import BinlogError, DamageError, RefusedError, UpgradeError
from binlog.foreign import Foreign
from binlog.objects import MemoryObjects
from snapshots import snapshot_part
from snapshots.check_snapshots import check_snapshots
from snapshots.restore import restore
from snapshots.snapshot import Snapshot, open_snapshot, snapshots_in
from snapshots.snapshot_manifest import (
    FORMAT,
    Manifest,
    TableCount,
    begun_key,
    manifest_key,
    seal,
)
from snapshots.snapshot_take import take_snapshot
from tests.snapshot.snapshot_support import filled, flipped, rows, taken
from tests.snapshot.test_snapshot_waiting import parked_store

Held = dict[str, bytes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Held]:
    """A store, and the objects of a snapshot of it: rows in parts and sections, letters, foreign."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "PAGE_ROWS", 15)
        patch.setattr(snapshot_part, "SECTION_BYTES", 200)
        _, store = parked_store(tmp_path_factory.mktemp("damage"), count=30)
        generation = store.generations()[0].id
        foreign = [Foreign("s0", 1 << 180, "me", 5, b"hello")]
        store.commit(generation, [], [], foreign=foreign, relayed=[("s0", 3)])
        objects = MemoryObjects()
        manifest = take_snapshot(store, objects, part_bytes=1)
    assert len(manifest.parts) >= 6
    assert (manifest.letters, manifest.foreign) == (2, 1)
    return store, {entry.key: objects.get(entry.key) or b"" for entry in objects.list()}


def objects_of(held: Held, *changed: tuple[str, bytes | None]) -> MemoryObjects:
    objects = MemoryObjects()
    for key, data in ({**held, **dict(changed)}).items():
        if data is not None:
            objects.put(key, data)
    return objects


def test_what_is_whole_is_found_so(whole: tuple[Any, Held]) -> None:
    store, held = whole
    seen: list[int] = []
    assert list(check_snapshots(objects_of(held), progress=seen.append)) == []
    assert seen == [len(rows(store))]


def test_an_object_that_is_gone_is_named(whole: tuple[Any, Held]) -> None:
    """Each of them, and nothing of the snapshot comes into a store."""
    _, held = whole
    for key in held:
        objects = objects_of(held, (key, None))
        if key.startswith("manifests/"):
            assert snapshots_in(objects) == []
            with pytest.raises(RefusedError, match="no snapshot is finished there"):
                open_snapshot(objects)
            with pytest.raises(RefusedError, match="has no manifest: it was interrupted"):
                open_snapshot(objects, key.removeprefix("manifests/").removesuffix(".json"))
            continue
        findings = [f for f in check_snapshots(objects) if f.broken]
        [said] = [f.detail for f in findings if f.where.endswith(key)]
        assert key not in said, "the place is told once"
        assert said.count("use another one") == 1
        back = MemoryStore()
        with pytest.raises(DamageError, match="missing") as raised:
            restore(open_snapshot(objects), back)
        assert key in raised.value.where
        assert raised.value.do.startswith("use another one: ")
        assert back.generations() == []


def test_a_bit_that_is_turned_anywhere_is_found_and_never_served(whole: tuple[Any, Held]) -> None:
    """Any byte: what comes all the same is what was written (a head that nobody reads may turn)."""
    store, held = whole
    random = Random(7)
    wanted = rows(store), list(store.letters()), list(store.foreign())
    turned = 0
    for key, data in held.items():
        places = {0, len(data) - 1, *random.sample(range(len(data)), min(25, len(data)))}
        for at in sorted(places):
            turned += 1
            broken = flipped(data, at, random.randrange(8))
            objects = objects_of(held, (key, broken))
            findings = [f for f in check_snapshots(objects) if f.broken]
            assert any(key in f.where for f in findings), (key, at)
            back = MemoryStore()
            if (error := refused(objects, back)) is not None:
                assert key in str(error), (key, at)
                assert back.generations() == []
                continue
            found = rows(back), list(back.letters()), list(back.foreign())
            assert found == wanted, (key, at)
    assert turned > 150


def refused(objects: MemoryObjects, store: MemoryStore) -> BinlogError | None:
    """Why the newest is not restored."""
    try:
        restore(open_snapshot(objects), store)
    except BinlogError as error:
        return error
    return None


def test_what_is_cut_or_grown_is_found(whole: tuple[Any, Held]) -> None:
    _, held = whole
    for key, data in held.items():
        for broken in (data[:-1], data + b"\0", b"", data[: len(data) // 2]):
            objects = objects_of(held, (key, broken))
            findings = [f for f in check_snapshots(objects) if f.broken]
            assert any(key in f.where for f in findings), (key, len(broken))


def test_a_newer_format_is_told_from_damage(whole: tuple[Any, Held]) -> None:
    _, held = whole
    [key] = [key for key in held if key.startswith("manifests/")]
    manifest = open_snapshot(objects_of(held)).manifest
    newer = seal(_replaced(manifest, format=FORMAT + 1))
    objects = objects_of(held, (key, newer))
    for id_ in (None, manifest.id):
        with pytest.raises(UpgradeError, match=f"snapshot format {FORMAT + 1}, this code knows"):
            open_snapshot(objects, id_)
    [finding] = [f for f in check_snapshots(objects) if f.broken]
    assert finding.rule == "snapshot-upgrade"


def _replaced(manifest: Manifest, **fields: Any) -> Manifest:
    return msgspec.structs.replace(manifest, **fields)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"tables": {"orders": TableCount(30, 0, 1, "00" * 32)}}, "snapshot-table"),
        ({"exact": {}}, "snapshot-row"),
        ({"letters": 9}, "snapshot-part"),
        ({"vector": {0: 1}, "exact": {0: 1}}, "snapshot-begun"),
    ],
)
def test_a_manifest_that_says_other_things_than_its_parts_is_found(
    whole: tuple[Any, Held], fields: dict[str, Any], rule: str
) -> None:
    """Sealed correctly, so only what it says can tell."""
    _, held = whole
    [key] = [key for key in held if key.startswith("manifests/")]
    manifest = _replaced(open_snapshot(objects_of(held)).manifest, **fields)
    objects = objects_of(held, (key, seal(manifest)))
    assert rule in {f.rule for f in check_snapshots(objects) if f.broken}


def test_a_part_of_another_snapshot_is_not_taken(tmp_path: Path) -> None:
    """Two snapshots of one store have parts of the same names."""
    _, store = filled(tmp_path)
    objects = MemoryObjects()
    first, second = (take_snapshot(store, objects, anew=True) for _ in range(2))
    other = objects.get(second.parts[0].key)
    assert other is not None
    objects.put(first.parts[0].key, other)
    back = MemoryStore()
    with pytest.raises(DamageError, match="not what was written"):
        restore(Snapshot(objects, first), back)
    assert back.generations() == []
    begun = objects.get(begun_key(second.id))
    assert begun is not None
    objects.put(begun_key(first.id), begun)
    with pytest.raises(DamageError, match="another snapshot's"):
        _ = Snapshot(objects, first).checkpoints


def test_a_manifest_under_another_name_is_not_believed(tmp_path: Path) -> None:
    _, store = filled(tmp_path)
    snapshot = taken(store)
    data = snapshot.objects.get(manifest_key(snapshot.manifest.id))
    assert data is not None
    snapshot.objects.put(manifest_key("20260101T000000Z-00000000"), data)
    with pytest.raises(DamageError, match="it is the manifest of"):
        open_snapshot(snapshot.objects, "20260101T000000Z-00000000")
    findings = [f for f in check_snapshots(snapshot.objects) if f.broken]
    assert [f.rule for f in findings] == ["snapshot-manifest"]


def test_what_is_unfinished_or_strays_is_mentioned(tmp_path: Path) -> None:
    """Neither is damage: one is being taken, and an object of nobody harms nobody."""
    _, store = filled(tmp_path)
    snapshot = taken(store)
    objects = snapshot.objects
    objects.put("parts/20260101T000000Z-00000000/begun", b"x")
    objects.put(f"parts/{snapshot.manifest.id}/rows/0000-0000-000009", b"x")
    findings = list(check_snapshots(objects))
    assert [(f.rule, f.broken) for f in findings] == [
        ("snapshot-stray", False),
        ("snapshot-unfinished", False),
    ]


def test_a_row_that_is_parked_without_its_letters_is_found(tmp_path: Path) -> None:
    """Restored, its events would be lost."""
    _, store = parked_store(tmp_path)
    snapshot = taken(store)
    manifest = snapshot.manifest
    [letters] = [part for part in manifest.parts if part.kind == "letters"]
    fewer = _replaced(manifest, parts=tuple(p for p in manifest.parts if p != letters), letters=0)
    findings = []
    objects = snapshot.objects
    objects.put(manifest_key(manifest.id), seal(fewer))
    objects.delete([letters.key])
    findings = [f for f in check_snapshots(objects) if f.broken]
    assert [f.rule for f in findings] == ["snapshot-row"]
    assert "parked, and no letter of offset 4" in findings[0].detail
