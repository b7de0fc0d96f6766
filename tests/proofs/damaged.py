"""One bit or one object of an archive, or of a snapshot, that stories have made: found, named, not served."""

from __future__ import annotations

from collections import Counter
from random import Random

from appliers.stores.memory import MemoryStore
from binlog.archive.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.errors import BinlogError
from binlog.objects import MemoryObjects
from snapshots.check_archive import check_archive
from snapshots.check_snapshots import check_snapshots
from snapshots.rebuild import Wanted, rebuild
from snapshots.restore import restore
from snapshots.snapshot import open_snapshot
from snapshots.snapshot_manifest import Manifest
from tests.objects.hostile_objects import cut_at_rest, flip_at_rest
from tests.proofs.archived import Archived
from tests.proofs.kept import Kept
from tests.proofs.rebuilt import check_contents
from tests.proofs.whole import assert_replica

TIMES = 12  # of one archive or snapshot


def copy_of(objects: MemoryObjects) -> MemoryObjects:
    """The same, to be damaged."""
    copy = MemoryObjects(objects.name)
    for entry in objects.list():
        copy.put(entry.key, objects.get(entry.key) or b"")
    return copy


def damage(objects: MemoryObjects, key: str, random: Random) -> str:
    """Something happens to an object; what, in words."""
    data = objects.get(key) or b""
    kind = random.choice(["flipped", "flipped", "cut", "gone"])
    if kind == "flipped":
        flip_at_rest(objects, key, random.randrange(8 * len(data)))
    elif kind == "cut":
        cut_at_rest(objects, key, random.randrange(len(data)))
    else:
        objects.delete([key])
    return kind


def damage_archive(whole: Archived, random: Random) -> Counter[str]:
    """Of a chain that ends earlier `check` of the archive alone has nothing to say: it is one."""
    met: Counter[str] = Counter()
    keys = [entry.key for entry in whole.objects.list()]
    chains: dict[str, str] = {}  # the last segment of each
    for key in keys:
        if key.startswith("chain/"):
            chains[key.split("/")[1]] = key
    ends = set(chains.values())
    assert not list(check_archive(copy_of(whole.objects)))
    for _ in range(TIMES):
        objects, key = copy_of(whole.objects), random.choice(keys)
        kind = damage(objects, key, random)
        findings = list(check_archive(objects))
        may_be_lost = kind == "gone" and (key in ends or not key.startswith(("chain/", "archive")))
        assert may_be_lost or any(key in f"{f.where} {f.detail}" for f in findings), (key, kind)
        met[f"archive: {kind}"] += 1
        store = MemoryStore()
        try:
            report = rebuild(ArchiveLog(Archive.open(objects)), store, Wanted())
        except BinlogError:
            met["archive: not served"] += 1
            continue
        assert_replica(store, whole.tables(report.vector))
    return met


def damage_snapshot(kept: Kept, manifest: Manifest, random: Random) -> Counter[str]:
    """Every object that is a snapshot's."""
    met: Counter[str] = Counter()
    keys = [entry.key for entry in kept.objects.list() if manifest.id in entry.key]
    whole = MemoryStore()
    restore(open_snapshot(kept.objects, manifest.id), whole, log=kept.log, rules=kept.mood.rules)
    for _ in range(TIMES):
        objects, key = copy_of(kept.objects), random.choice(keys)
        kind = damage(objects, key, random)
        findings = list(check_snapshots(objects))
        # Whoever took it died between its manifest and the removal of what it had read aside.
        is_unswept = any("/letters-read/" in each for each in keys)
        may_be_lost = kind == "gone" and key.startswith("manifests/") and is_unswept
        assert may_be_lost or any(key in f"{f.where} {f.detail}" for f in findings), (key, kind)
        met[f"snapshot: {kind}"] += 1
        store = MemoryStore()
        try:
            snapshot = open_snapshot(objects, manifest.id)
            restore(snapshot, store, log=kept.log, rules=kept.mood.rules)
        except BinlogError:
            met["snapshot: not served"] += 1
            continue
        if not kept.redriven:
            tables = kept.tables_at(manifest.exact)
            check_contents(store, tables, set(tables.names()))
        for table in manifest.generation.tables:
            assert list(store.scan(table)) == list(whole.scan(table))
    return met
