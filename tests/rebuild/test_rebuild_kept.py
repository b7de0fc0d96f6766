"""A rebuild that is killed goes on where it was, with nothing but what it would have made anew."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliers.applier import Appliers
from appliers.stores.memory import MemoryStore
from appliers.stores.sqlite import SQLiteStore
from binlog.errors import StorageError
from binlog.logs.filesystem import RealFileSystem
from binlog.objects.directory import ASIDE, DirectoryObjects
from binlog.objects.memory import MemoryObjects
from binlog.target import Target
from snapshots import rebuild as rebuilding
from snapshots.grouping import groups_of
from snapshots.kept import KeptWork
from snapshots.rebuild import Wanted, plan_digest
from snapshots.starting import starting
from tests.proofs.budget import examples
from tests.rebuild.rebuild_world import PARAMS, RULES, World, contents

GROUPS = [[0, 3], [1, 4], [2]]


def wanted(**more: object) -> Wanted:
    return Wanted(rules=RULES, poison="park", **more)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def several_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a log that is too large for one."""
    monkeypatch.setattr(rebuilding, "groups_of", lambda *_, **__: [list(g) for g in GROUPS])


class Killed(BaseException):
    """The process ends here."""


class Mortal(MemoryObjects):
    """Objects whose writer dies before, or right after, its nth write."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.after = False

    def _step(self, write: Callable[[], Any]) -> Any:
        if self.left is None:
            return write()
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Killed
        found = write()
        if self.left < 0:
            raise Killed
        return found

    def put_new(self, key: str, data: bytes) -> bool:
        return bool(self._step(lambda: super(Mortal, self).put_new(key, data)))

    def put(self, key: str, data: bytes) -> None:
        self._step(lambda: super(Mortal, self).put(key, data))


def work_of(world: World, objects: Any, what: Wanted | None = None, **more: Any) -> KeptWork:
    plan = plan_digest(world.log, what or wanted(), **more)
    return KeptWork(objects, store="sqlite:x", plan=plan)


def kept(objects: Any) -> list[str]:
    return [entry.key for entry in objects.list()]


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_it_goes_on_and_ends_alike(after: bool) -> None:
    """What was complete is used, what was not is made again, and nothing is left over."""
    world = World(11)
    world.grow(120)
    whole = contents(world.rebuilt(wanted())[0])
    resumed = []
    for step in range(100):
        objects = Mortal()
        objects.left, objects.after = step, after
        store = MemoryStore()
        try:
            world.rebuilt(wanted(), work=work_of(world, objects), store=store)
            break
        except Killed:
            assert store.generations() == []
        objects.left = None
        store.close()
        _, report = world.rebuilt(wanted(), work=work_of(world, objects), store=store)
        assert contents(store) == whole
        assert report.counts.events == 120 + report.counts.control * 0
        assert kept(objects) == []
        resumed.append(report.resumed)
    else:
        raise AssertionError("it never came to its end")
    assert resumed == sorted(resumed)
    assert {0, 1, 2} <= set(resumed)


def test_what_came_since_is_read_on() -> None:
    """A rebuild to the log's end has all that was acknowledged before it was begun, this time too."""
    world = World(12)
    world.grow(80)
    objects = MemoryObjects()
    fold_and_die(world, objects, wanted())
    world.grow(40)
    found, report = world.rebuilt(wanted(), work=work_of(world, objects))
    assert report.resumed == len(GROUPS)
    assert report.counts.events == 120
    assert contents(found) == contents(world.rebuilt(wanted())[0])


def fold_and_die(world: World, objects: Any, what: Wanted, **more: Any) -> None:
    """All groups are kept, and the store is not made."""

    class Full(MemoryStore):
        def build(self, **given: Any) -> Any:
            build = super().build(**given)

            def adopt(parts: Any) -> None:
                list(parts)
                raise StorageError("no room", "here")

            build.adopt = adopt  # type: ignore[method-assign]
            return build

    with pytest.raises(StorageError, match="no room"):
        world.rebuilt(what, work=work_of(world, objects, what, **more), store=Full())


def test_from_a_snapshot_it_goes_on_as_well() -> None:
    """Then the base of what is left is the snapshot, and of what is kept the kept group."""
    world = World(13)
    world.grow(80)
    world.snapshot(world.rebuilt(wanted())[0])
    world.grow(40)
    begin = starting(world.log, world.objects, wanted())
    whole = contents(world.rebuilt(wanted())[0])
    for step in range(1, 100):
        objects = Mortal()
        objects.left = step
        work = work_of(world, objects, start=begin.digest)
        try:
            world.rebuilt(wanted(), base=begin.base, work=work)
            break
        except Killed:
            objects.left = None
        found, report = world.rebuilt(wanted(), base=begin.base, work=work)
        assert contents(found) == whole
        assert report.counts.events == 40
    assert step > 6


other = Appliers()


@other.on("Renamed", table="users", version=2)
def rename(item: Any, event: Any) -> Any:
    return {**(item or event.key), "name": event.data["name"].upper()}


@pytest.mark.parametrize(
    "changed",
    [
        {"rules": other.build()},
        {"tables": ("users",)},
        {"without": ("users",)},
        {"target": Target(vector={0: 3, 1: 3, 2: 3})},
        {"target": Target(time_ms=1_700_000_000_500)},
        {"excluded": ("type=Renamed",)},
        {"poison": "stop"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_other_arguments_take_nothing_of_it(changed: dict[str, Any]) -> None:
    """What it kept would not be what they ask for; and when they are done nobody needs it."""
    world = World(14)
    world.grow(100)
    objects = MemoryObjects()
    fold_and_die(world, objects, wanted())
    before = kept(objects)
    what = msgspec.structs.replace(wanted(), **changed)
    assert plan_digest(world.log, what) != plan_digest(world.log, wanted())
    for group in GROUPS:
        assert work_of(world, objects).find(group) is not None
        assert work_of(world, objects, what).find(group) is None
    if changed.get("poison") == "stop":
        return
    found, report = world.rebuilt(what, work=work_of(world, objects, what))
    assert report.resumed == 0
    assert contents(found) == contents(world.rebuilt(what)[0])
    assert before
    assert kept(objects) == [], "of the same store"


def test_another_store_has_its_own() -> None:
    """Two rebuilds of one log may go on at the same time, and share a place."""
    world = World(15)
    world.grow(60)
    objects = MemoryObjects()
    fold_and_die(world, objects, wanted())
    before = kept(objects)
    plan = plan_digest(world.log, wanted())
    _, report = world.rebuilt(wanted(), work=KeptWork(objects, store="sqlite:y", plan=plan))
    assert report.resumed == 0
    assert kept(objects) == before


def test_a_rebuild_that_begins_elsewhere_takes_nothing_of_it() -> None:
    """Another start is another plan, even if the rows should be the same."""
    world = World(16)
    world.grow(60)
    objects = MemoryObjects()
    fold_and_die(world, objects, wanted())
    assert work_of(world, objects, start="ab" * 32).find(GROUPS[0]) is None


@pytest.mark.parametrize("seed", range(8))
def test_a_turned_bit_or_a_lost_object_is_folded_again(seed: int) -> None:
    """Verified to the last byte before it is used: stale or damaged work is never trusted."""
    world = World(17)
    world.grow(100)
    whole = contents(world.rebuilt(wanted())[0])
    objects = MemoryObjects()
    fold_and_die(world, objects, wanted())
    world.random.seed(seed)
    key = world.random.choice(kept(objects))
    data = bytearray(objects.get(key) or b"")
    if seed % 4 == 3:
        objects.delete([key])
    else:
        data[world.random.randrange(len(data))] ^= 1 << world.random.randrange(8)
        objects.put(key, bytes(data))
    found, report = world.rebuilt(wanted(), work=work_of(world, objects))
    assert contents(found) == whole
    assert report.resumed < len(GROUPS) or key.endswith("groups")


def test_work_ahead_of_a_log_that_was_restored_is_folded_again() -> None:
    """From a copy that lacks what was folded: nobody has to find out what stands in the way."""
    world, older = World(21), World(21)
    for each in (world, older):
        each.grow(60)
    world.grow(40)
    objects = MemoryObjects()
    fold_and_die(world, objects, wanted())
    found, report = older.rebuilt(wanted(), work=work_of(older, objects))
    assert report.resumed == 0
    assert contents(found) == contents(older.rebuilt(wanted())[0])


def test_groups_stay_as_they_were_begun() -> None:
    """More workers, or a log that has grown, would cut it otherwise, and find nothing."""
    world = World(18)
    world.grow(60)
    objects = MemoryObjects()
    fold_and_die(world, objects, wanted())
    work = work_of(world, objects)
    assert work.is_begun
    assert work.groups([[0, 1, 2, 3, 4]]) == GROUPS


def test_of_a_small_rebuild_nothing_is_kept_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would cost more than to begin anew."""
    monkeypatch.setattr(rebuilding, "groups_of", groups_of)
    world = World(19)
    world.grow(40)
    objects = Mortal()
    objects.left = 0
    plan = plan_digest(world.log, wanted())
    world.rebuilt(wanted(), work=KeptWork(objects, store="x", plan=plan, optional=True))
    with pytest.raises(Killed):
        world.rebuilt(wanted(), work=KeptWork(objects, store="x", plan=plan))


# -- real processes ------------------------------------------------------------------------------


def same_but_foreign(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Foreign records are true of the log, whatever becomes of the rebuild that met them."""
    return {**found, "foreign": []} == {**expected, "foreign": []}


_STEPS = ("fsync", "rename", "replace", "link", "unlink", "pwrite")


def die_at(step: int, run: Callable[[], object]) -> int | None:
    """Run it in a process that kills itself at so many steps in the file system; its status.

    The number of steps is what is returned where it came to its end, else ``None``.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        taken = 0

        def counted(call: Any) -> Any:
            def wrapped(*args: Any, **more: Any) -> Any:
                nonlocal taken
                taken += 1
                if taken > step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **more)

            return wrapped

        for name in _STEPS:
            steps = counted(getattr(os, name))
            setattr(os, name, steps)
            if hasattr(RealFileSystem, name):
                setattr(RealFileSystem, name, staticmethod(steps))
        try:
            run()
            os.write(writer, str(taken).encode())
        finally:
            os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        text = told.read()
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert text, "it failed"
    return int(text)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_kill_9_at_any_step_in_the_file_system(tmp_path: Path) -> None:
    """Of the folder that keeps the work, and of the store: readers see the old content or the new
    one, and the next run ends as one that was never killed."""
    world = World(20)
    world.grow(60)
    whole = contents(world.rebuilt(wanted())[0])
    early = wanted(target=Target(vector=dict.fromkeys(range(PARAMS.partitions), 2)))
    old, whole_log = contents(world.rebuilt(early)[0]), wanted()
    met: set[int] = set()

    def run(place: Path, what: Wanted) -> int:
        with closing(SQLiteStore(place / "store.db")) as store:
            work = work_of(world, DirectoryObjects(str(place / "work")), what)
            return world.rebuilt(what, work=work, store=store)[1].resumed  # type: ignore[arg-type]

    def holds(place: Path) -> dict[str, Any]:
        with closing(SQLiteStore(place / "store.db")) as store:
            return contents(store)

    run(tmp_path, early)
    # Every few steps; at every one of them where the profile gives the time for it.
    for step in range(0, 400, max(1, 500 // examples(1).max_examples)):
        place = tmp_path / "killed"
        place.mkdir()
        shutil.copy(tmp_path / "store.db", place)
        ended = die_at(step, lambda: run(place, whole_log))  # noqa: B023 - done before the next
        found = holds(place)
        assert same_but_foreign(found, old) or found == whole
        met.add(run(place, whole_log))
        assert holds(place) == whole
        left = [path.name for path in (place / "work").rglob("*") if path.is_file()]
        assert all(name.startswith(ASIDE) for name in left), "those go after a day"
        assert sorted(path.name for path in place.glob("store.db*")) == [
            "store.db",
            "store.db.lock",
        ]
        shutil.rmtree(place)
        if ended is not None:
            break
    else:
        raise AssertionError("it never came to its end")
    assert {0, 1, 2, 3} <= met
