"""What is not as it was written is named, with the remedy, and never served."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from appliers import survey
from appliers.stores import MemoryStore
from binlog.clock import ManualClock
from binlog.errors import BinlogError, DamageError, RefusedError, StorageError, UpgradeError
from binlog.foreign import Foreign
from binlog.objects import MemoryObjects
from snapshots import snapshot_part
from snapshots.check_snapshots import check_snapshots
from snapshots.restore import restore
from snapshots.retention import drop
from snapshots.snapshot import Snapshot, open_snapshot, snapshots_in
from snapshots.snapshot_begin import LEFT_MS
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
            for id_ in (None, key.removeprefix("manifests/").removesuffix(".json")):
                with pytest.raises(
                    RefusedError, match="finished, and its manifest is gone"
                ) as gone:
                    open_snapshot(objects, id_)
                assert gone.value.where.endswith(key)
            [finding] = check_snapshots(objects)
            assert (finding.rule, finding.broken) == ("snapshot-manifest", True)
            assert finding.where.endswith(key)
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


def test_one_that_lost_its_manifest_is_kept_and_whole_again_with_it(tmp_path: Path) -> None:
    """Not taken for one that was interrupted, which goes after a day: nothing could bring that back."""
    _, store = filled(tmp_path)
    clock = ManualClock()
    objects = MemoryObjects(clock=clock)
    manifest = take_snapshot(store, objects, clock=clock)
    key = manifest_key(manifest.id)
    kept = objects.get(key)
    assert kept is not None
    objects.delete([key])
    clock.advance(2 * LEFT_MS)
    newer = take_snapshot(store, objects, clock=clock)
    assert newer.id != manifest.id
    assert [f.where for f in check_snapshots(objects)] == [f"{objects.name}/{key}"]
    objects.put(key, kept)
    assert list(check_snapshots(objects)) == []
    back = MemoryStore()
    restore(open_snapshot(objects, manifest.id), back)
    assert rows(back) == rows(store)


def test_what_was_read_aside_goes_with_the_next_one_that_is_finished(tmp_path: Path) -> None:
    """Its presence says that there never was a manifest, so it must not stay where there is one."""
    _, store = filled(tmp_path)
    objects = Stopping()
    objects.calls_left = 0
    first = take_snapshot(store, objects)
    aside = f"parts/{first.id}/letters-read/"
    assert list(objects.list(aside))
    objects.calls_left = 1_000
    take_snapshot(store, objects)
    assert not list(objects.list(aside))
    objects.delete([manifest_key(first.id)])
    assert [f.rule for f in check_snapshots(objects)] == ["snapshot-manifest"]


def test_one_that_is_being_removed_is_not_taken_for_one_that_lost_its_manifest(
    tmp_path: Path,
) -> None:
    """Whatever call the removal was stopped at, none of what is left is called damage."""
    _, store = filled(tmp_path)
    stopped = 0
    for calls in range(3):
        objects = Stopping()
        manifest = take_snapshot(store, objects)
        objects.calls_left = calls
        try:
            drop(objects, [manifest])
        except StorageError:
            stopped += 1
        assert [f for f in check_snapshots(objects) if f.broken] == []
        assert len(snapshots_in(objects)) == (not calls)
    assert stopped == 2


class Stopping(MemoryObjects):
    """Objects that delete so often, and then no more."""

    calls_left = 1_000

    def delete(self, keys: Iterable[str]) -> None:
        if not self.calls_left:
            raise StorageError("no longer there", self.name)
        self.calls_left -= 1
        super().delete(keys)


def test_a_place_without_snapshots_is_not_simply_in_order(tmp_path: Path) -> None:
    """Who mistypes the address is told that nothing was looked at; before the first one it is no damage."""
    objects = MemoryObjects()
    [finding] = check_snapshots(objects)
    assert (finding.rule, finding.where, finding.broken) == ("snapshot-none", objects.name, False)
    take_snapshot(filled(tmp_path)[1], objects)
    assert list(check_snapshots(objects)) == []


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
