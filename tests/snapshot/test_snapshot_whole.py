"""What a snapshot holds, what comes back of it, and how whoever has it goes on."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliers import survey
from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.stores import MemoryStore, SQLiteStore
from appliers.summary import summarize
from binlog.archive.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archiver import Archiving, archive
from binlog.errors import ConflictError, DamageError, MismatchError, RefusedError, TrimmedError
from binlog.foreign import Foreign
from binlog.objects import DirectoryObjects, MemoryObjects
from consumers.local import replicate
from snapshots import restore as restoring
from snapshots import snapshot_part
from snapshots.rebuild import Wanted, rebuild
from snapshots.restore import restore, restore_all
from snapshots.snapshot import Snapshot, open_snapshot, snapshots_in
from snapshots.snapshot_part import index_of
from snapshots.snapshot_take import take_snapshot
from snapshots.verify import verify
from tests.contracts.dynamodb_places import store_on
from tests.snapshot.live_world import RULES
from tests.snapshot.snapshot_support import (
    KINDS,
    ONCE,
    filled,
    flipped,
    new_log,
    new_store,
    orders,
    replaced,
    rows,
    taken,
    without,
)
from tests.stores.dynamodb_double import DynamoDBDouble


def differing(left: Any, right: Any) -> list[Any]:
    with verify(left, right) as found:
        return [d for table in found.tables for d in found.differences(table)]


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_a_snapshot_of_any_store_restored_into_any_goes_on_as_live(
    source: str, target: str, tmp_path: Path
) -> None:
    """Invariant 17: items, tombstones, vector and what follows are the same."""
    log, live = filled(tmp_path, source)
    snapshot = taken(live, part_bytes=60, workers=3)
    assert snapshot.manifest.is_exact
    count = snapshot.manifest.tables["orders"]
    assert (count.items, count.tombstones) == (38, 2)
    assert count.digest == summarize(live).tables["orders"].digest
    (tmp_path / "back").mkdir()
    back = new_store(target, tmp_path / "back")
    restore(snapshot, back)
    assert differing(live, back) == []
    assert summarize(back) == summarize(live)
    orders(log, 3, 50)
    without(log, 7)
    for store in (live, back):
        replicate(log, store, ONCE)
    assert differing(live, back) == []
    assert summarize(back).vector == summarize(live).vector


def test_parts_are_read_by_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever rebuilds a group of partitions must not read the others, nor miss a row."""
    monkeypatch.setattr(survey, "PAGE_ROWS", 70)
    monkeypatch.setattr(snapshot_part, "SECTION_BYTES", 300)
    _, live = filled(tmp_path, count=200)
    snapshot = taken(live, part_bytes=1)
    every = rows(live)
    found: dict[bytes, Any] = {}
    for partition in range(4):
        part = dict(snapshot.rows("orders", [partition]))
        assert {row.partition for row in part.values()} == {partition}
        assert not found.keys() & part.keys()
        found |= part
    assert found == every == dict(snapshot.rows("orders"))
    parts = snapshot.parts("rows", "orders")
    assert len(parts) == 3
    assert all(len(index_of(snapshot.objects, part).sections) == 4 for part in parts)
    tail = snapshot.objects.get(parts[0].key)
    assert tail is not None
    damaged = replaced(snapshot, parts[0].key, flipped(tail, parts[0].index - 1))
    assert dict(damaged.rows("orders", [0])), "the last section is of partition 3"
    with pytest.raises(DamageError):
        list(damaged.rows("orders", [3]))
    assert list(snapshot.rows("nothing")) == []


def test_workers_restore_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of parts, several of them, whose digests add up."""
    monkeypatch.setattr(survey, "PAGE_ROWS", 10)
    _, live = filled(tmp_path, count=150)
    snapshot = taken(live, DirectoryObjects(str(tmp_path / "snapshots")), part_bytes=300)
    monkeypatch.setattr(restoring, "GROUP_BYTES", 1000)
    assert len(restoring.groups_of(snapshot.manifest, 1)) > 4
    seen: list[int] = []
    for workers in (1, 2):
        back = SQLiteStore(tmp_path / f"back-{workers}.db")
        restore(snapshot, back, workers=workers, progress=seen.append)
        assert differing(live, back) == []
        assert seen[-1] == 150
        back.close()


def test_what_is_beside_the_rows_comes_back(tmp_path: Path) -> None:
    """Foreign records and the places of relayed ones are the store's, and no event tells of them."""
    _, live = filled(tmp_path)
    generation = live.generations()[0]
    kept = Foreign("s0", 1 << 180, "me", 5, b"hello")
    live.commit(generation.id, [], [], foreign=[kept], relayed=[("s0", 7)])
    back = MemoryStore()
    restore(taken(live), back)
    assert list(back.foreign()) == [kept]
    again = back.generations()[0]
    back.commit(again.id, [], [], foreign=[Foreign("s0", 7, "me", 5, b"relayed before")])
    assert list(back.foreign()) == [kept], "a record that was relayed must not come up again"


def test_an_open_generation_is_not_restored_without_those_beside_it(tmp_path: Path) -> None:
    """A consumer would take up the others' tables in the middle of their history."""
    log = new_log(tmp_path / "log")
    orders(log, *range(9))
    orders(log, *range(9), table="users")
    live = MemoryStore()
    replicate(log, live, ONCE)
    rebuild(log, live, Wanted(tables=("users",)))
    with pytest.raises(ConflictError, match="several generations"):
        taken(live)
    objects = MemoryObjects()
    made = [take_snapshot(live, objects, generation=each.id) for each in live.generations()]
    snapshots = [Snapshot(objects, each) for each in made]
    [open_one] = [s for s in snapshots if s.manifest.generation.open]
    [closed] = [s for s in snapshots if not s.manifest.generation.open]
    assert open_one.manifest.without == ("users",)
    back = MemoryStore()
    with pytest.raises(ConflictError, match="all tables but users"):
        restore(open_one, back)
    restore_all([closed, open_one], back)
    orders(log, 10, table="users")
    orders(log, 11)
    for store in (live, back):
        replicate(log, store, ONCE)
    assert differing(live, back) == []
    with pytest.raises(ConflictError, match="two snapshots of the same tables"):
        restore_all([open_one, open_one], back)
    restore(closed, MemoryStore())


def test_another_log_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    log, live = filled(tmp_path)
    snapshot = taken(live)
    other_log = new_log(tmp_path / "other", log_id="cd")
    orders(other_log, 1)
    other = MemoryStore()
    replicate(other_log, other, ONCE)
    before = rows(other)
    with pytest.raises(MismatchError, match="the store belongs to log cdcd"):
        restore(snapshot, other)
    assert rows(other) == before
    with pytest.raises(MismatchError, match="the log given is"):
        restore(snapshot, MemoryStore(), log=other_log)
    with pytest.raises(MismatchError, match="is of log"):
        open_snapshot(snapshot.objects, snapshot.manifest.id, genesis=other_log.genesis)
    with pytest.raises(MismatchError, match="of other logs"):
        open_snapshot(snapshot.objects, genesis=other_log.genesis)
    assert open_snapshot(snapshot.objects, genesis=log.genesis).manifest == snapshot.manifest


def inexact(path: Path) -> tuple[Any, Snapshot]:
    """A log, and a snapshot of a store whose items were ahead of its checkpoints."""
    log, _ = filled(path)
    store = store_on(DynamoDBDouble())
    replicate(log, store, ONCE)
    generation = store.generations()[0]
    behind = store.checkpoints(generation.id)
    objects = MemoryObjects()
    orders(log, *range(100, 120))

    class Late:
        """Everything is carried right after the checkpoints were read."""

        keeps_moments = False
        name = store.name

        def survey(self, *args: Any, **more: Any) -> Any:
            found = store.survey(*args, **more)
            surveyed = found.__enter__()
            assert surveyed.checkpoints() == behind
            replicate(log, store, ONCE)
            return _Given(surveyed)

    return log, Snapshot(objects, take_snapshot(Late(), objects))  # type: ignore[arg-type]


class _Given:
    def __init__(self, survey: Any) -> None:
        self._survey = survey

    def __enter__(self) -> Any:
        return self._survey

    def __exit__(self, *_: object) -> None:
        pass


def test_what_is_not_exact_needs_the_log(tmp_path: Path) -> None:
    """Rows of no one moment must not become live (N2)."""
    log, snapshot = inexact(tmp_path)
    manifest = snapshot.manifest
    assert not manifest.is_exact
    assert sum(manifest.exact.values()) == 62
    assert sum(manifest.vector.values()) == 42
    back = MemoryStore()
    with pytest.raises(RefusedError, match="exact only after 20 events"):
        restore(snapshot, back)
    assert back.generations() == []
    report = restore(snapshot, back, log=log)
    assert report.vector == manifest.exact
    reference = MemoryStore()
    rebuild(log, reference, Wanted())
    assert differing(reference, back) == []


def test_a_log_that_forgot_what_follows_is_told(tmp_path: Path) -> None:
    log, snapshot = inexact(tmp_path)

    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return getattr(log, name)

        def read(self, *_: Any, **__: Any) -> Any:
            raise TrimmedError("forgotten", log.name)

    back = MemoryStore()
    with pytest.raises(TrimmedError):
        restore(snapshot, back, log=Forgetful())
    assert back.generations() == []


def test_the_newest_is_meant_where_none_is_named(tmp_path: Path) -> None:
    _, live = filled(tmp_path)
    objects = MemoryObjects()
    first = take_snapshot(live, objects, anew=True)
    second = take_snapshot(live, objects, anew=True)
    assert {first.id, second.id} == {m.id for m in snapshots_in(objects)}
    newest = max((first, second), key=lambda m: (m.taken_ms, m.id))
    assert open_snapshot(objects).manifest == newest
    with pytest.raises(RefusedError, match="there is no snapshot nothing"):
        open_snapshot(objects, "nothing")
    with pytest.raises(RefusedError, match="is no snapshot's id"):
        open_snapshot(objects, "../x")


def test_the_handle_that_restored_knows_every_checkpoint(tmp_path: Path) -> None:
    """Its rows are written by several threads: one that read late would hide the others' (it did)."""
    _, live = filled(tmp_path)
    double = DynamoDBDouble()
    barrier = threading.Barrier(2, timeout=0.2)

    def late(request: Any) -> None:
        if request["ExpressionAttributeValues"].get(":pk", {}).get("S", "").startswith("at#"):
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait()

    double.after["query"] = late
    back = store_on(double, width=4)
    restore(taken(live), back)
    [generation] = back.generations()
    wanted = live.checkpoints(live.generations()[0].id)
    assert back.checkpoints(generation.id) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_restored_in_part_is_followed_by_nobody(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two generations: a consumer would begin the other's tables in the middle."""
    log, store = filled(tmp_path)
    orders(log, 1, 2, table="users")
    replicate(log, store, ONCE)
    rebuild(log, store, Wanted(tables=("users",)))
    parts = [taken(store, generation=each.id) for each in store.generations()]
    back = new_store(kind, tmp_path)
    real, begun = restoring._restore, iter(range(9))

    def killed(*args: Any, **how: Any) -> Any:
        if next(begun) == 1:
            raise KeyboardInterrupt
        return real(*args, **how)

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "_restore", killed)
        with pytest.raises(KeyboardInterrupt):
            restore_all(parts, back)
    orders(log, 9, table="users")
    with pytest.raises(MismatchError, match="made by other rules"):
        replicate(log, back, ONCE)
    restore_all(parts, back)
    for each in (store, back):
        replicate(log, each, ONCE)
    assert differing(store, back) == []
    assert {each.fingerprint for each in back.generations()} == {fingerprint(NO_RULES)}


def test_an_archive_alone_makes_it_exact(tmp_path: Path) -> None:
    """The stream may have forgotten everything by then."""
    log, snapshot = inexact(tmp_path)
    kept = Archive.create(MemoryObjects(), log.params, log.genesis)
    archive(log, kept, Archiving(once=True))
    back = MemoryStore()
    report = restore(snapshot, back, log=ArchiveLog(kept))
    assert report.vector == snapshot.manifest.exact
    replicate(ArchiveLog(kept), back, ONCE)
    reference = MemoryStore()
    rebuild(log, reference, Wanted())
    assert differing(reference, back) == []


def test_what_is_not_exact_needs_its_own_rules(tmp_path: Path) -> None:
    """Replayed by others it would be what no replica is."""
    log, snapshot = inexact(tmp_path)
    met = msgspec.structs.replace(snapshot.manifest.generation, fingerprint=fingerprint(RULES))
    made = msgspec.structs.replace(met, types=("Paid",))
    manifest = msgspec.structs.replace(snapshot.manifest, generation=made)
    back = MemoryStore()
    with pytest.raises(MismatchError, match=r"appliers|rules"):
        restore(Snapshot(snapshot.objects, manifest), back, log=log)
    assert back.generations() == []
    restore(Snapshot(snapshot.objects, manifest), back, log=log, rules=RULES)
