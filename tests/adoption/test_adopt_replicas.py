"""A table adopted into a log: every reader begins it with the base, and folds the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import consumers.adopting
from appliers.applier import Appliers
from appliers.stores import MemoryStore, SQLiteStore
from appliers.summary import summarize
from binlog.clock import ManualClock
from binlog.control import adopt_frame
from binlog.errors import ConflictError, DamageError, PoisonError, RefusedError
from binlog.fields import encode_key
from binlog.log import Put
from binlog.logs import DirectoryLog
from binlog.objects.directory import DirectoryObjects
from binlog.objects.memory import MemoryObjects
from binlog.partition import ordering_key, partition_of
from consumers.engine import Engine
from consumers.local import Following, replicate
from snapshots.adopt import Adopting
from snapshots.adopt_base import KeptBases, Ordered, adoption_of, write_base
from snapshots.adopt_items import ItemCheck
from snapshots.counterpart import verify_against_log
from snapshots.rebuild import Wanted, rebuild
from snapshots.verify import verify
from tests.adoption.adoption_world import (
    KEYS,
    Held,
    add,
    adopt,
    append,
    delete,
    folded,
    held,
    item,
    items,
    new_log,
    put,
)

EVENTS = [add("k001", 5), put("k002", 70), delete("k003"), put("new", 1), add("new", 2)]


@pytest.fixture
def log(tmp_path: Path) -> DirectoryLog:
    return new_log(tmp_path / "log")


def adopted_log(log: DirectoryLog, count: int = 20) -> tuple[MemoryObjects, Held]:
    objects, table = MemoryObjects(), Held(items(count))
    adopt(log, objects, table)
    append(log, *EVENTS)
    return objects, table


def test_a_rebuild_begins_with_the_base(log: DirectoryLog) -> None:
    """Items that no event touched are there, at the version of their partition's record."""
    objects, table = adopted_log(log)
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
    assert held(store) == folded(table.content, EVENTS)
    untouched = {row.version for key, row in store.scan("users") if b"k010" in key}
    assert untouched == {1}


def test_a_replica_is_a_rebuild(log: DirectoryLog, tmp_path: Path) -> None:
    """The base comes in by batches before its record is passed; all digests are equal."""
    objects, table = adopted_log(log)
    bases = KeptBases(log.genesis, objects)
    store, rebuilt = SQLiteStore(tmp_path / "a.db"), MemoryStore()
    replicate(log, store, Following(once=True, bases=bases))
    rebuild(log, rebuilt, Wanted(bases=bases), workers=1)
    assert held(store) == folded(table.content, EVENTS)
    assert summarize(store).tables == summarize(rebuilt).tables
    with verify(store, rebuilt) as found:
        assert not list(found.differences("users"))


def test_a_replica_that_is_stopped_within_a_base_goes_on(
    log: DirectoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are there already are passed; the checkpoint comes after all of them."""
    objects, table = adopted_log(log)
    bases = KeptBases(log.genesis, objects)
    monkeypatch.setattr(consumers.adopting, "BATCH_ROWS", 2)
    store = SQLiteStore(tmp_path / "a.db")
    commit, calls = store.commit, 0

    def stops(*args: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return commit(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "commit", stops)
    with pytest.raises(KeyboardInterrupt):
        replicate(log, store, Following(once=True, bases=bases))
    [generation] = store.generations()
    assert all(c.applied == 0 for c in store.checkpoints(generation.id).values())
    replicate(log, store, Following(once=True, bases=bases))
    assert held(store) == folded(table.content, EVENTS)


def test_verify_against_the_log_reads_the_base(log: DirectoryLog, tmp_path: Path) -> None:
    """The counterpart of an adopted table begins with the base that the record's address names."""
    store = SQLiteStore(tmp_path / "a.db")
    folder = tmp_path / "bases"
    objects, table = DirectoryObjects(str(folder)), Held(items(9))
    address = f"file:{folder}"
    Adopting(log, objects, "users", table, address=address, clock=ManualClock()).run(table)
    append(log, *EVENTS)
    replicate(log, store, Following(once=True))
    with verify_against_log(store, log) as found:
        assert not list(found.differences("users"))
    assert found.rows == 10


def test_a_base_that_is_not_there_is_named(log: DirectoryLog) -> None:
    adopted_log(log)
    with pytest.raises(RefusedError, match=r"base .*is not there.*--snapshots"):
        rebuild(log, MemoryStore(), Wanted(bases=KeptBases(log.genesis, MemoryObjects())))


def test_a_base_that_is_another_is_never_used(log: DirectoryLog) -> None:
    """The record's digest is that of the manifest, which holds those of the parts."""
    objects, _ = adopted_log(log)
    for entry in list(objects.list("parts/")):
        if "/rows/" in entry.key:
            data = bytearray(objects.get(entry.key) or b"")
            data[20] ^= 1
            objects.put(entry.key, bytes(data))
    with pytest.raises(DamageError, match="not what was written"):
        rebuild(log, MemoryStore(), Wanted(bases=KeptBases(log.genesis, objects)))


def test_workers_without_a_base_stop_before_the_record(log: DirectoryLog) -> None:
    """A table without what it began with would be another one."""
    adopted_log(log)
    store = MemoryStore()
    store.bind(log.genesis)
    generation = store.create(tables=None, fingerprint="", excluded=())
    engine = Engine(log, store, generation, Appliers().build())
    with pytest.raises(RefusedError, match=r"base .*partition \d.*binlog rebuild"):
        engine.step()


def test_other_tables_need_no_base(log: DirectoryLog) -> None:
    """A rebuild of one table has nothing to do with another one's adoption."""
    adopted_log(log)
    append(log, put("a", 1, table="orders"))
    store = MemoryStore()
    rebuild(log, store, Wanted(tables=("orders",)))
    assert held(store, "orders") == {"a": {"id": "a", "n": 1}}


def test_an_event_before_the_record_stops_every_reader(log: DirectoryLog) -> None:
    """Whether the item began with the base or with the event, nobody could tell."""
    objects, table = MemoryObjects(), Held(items(5))
    table.while_read = lambda number: append(log, put("k001", 9)) if number == 2 else None
    with pytest.raises(ConflictError, match=r"event of table users before its ADOPT record"):
        adopt(log, objects, table)
    bases = KeptBases(log.genesis, objects)
    with pytest.raises(PoisonError, match=r"adopted here.*before.*--exclude offsets="):
        rebuild(log, MemoryStore(), Wanted(bases=bases))
    with pytest.raises(PoisonError, match=r"adopted here.*before.*--exclude offsets="):
        replicate(log, MemoryStore(), Following(once=True, bases=bases, page_bytes=1))
    with pytest.raises(PoisonError, match=r"adopted here.*before.*--exclude offsets="):
        replicate(log, MemoryStore(), Following(once=True, bases=bases))


def test_without_that_event_it_is_an_adoption(log: DirectoryLog) -> None:
    """The remedy that the error names."""
    objects, table = MemoryObjects(), Held(items(5))
    table.while_read = lambda number: append(log, put("k001", 9)) if number == 2 else None
    with pytest.raises(ConflictError) as error:
        adopt(log, objects, table)
    rule = f"offsets={error.value.partition}:1-1"
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects), excluded=(rule,)))
    assert held(store) == table.content


def test_expected_versions_know_adopted_items(log: DirectoryLog) -> None:
    """An item stands at the offset of the record: that is what a writer may expect."""
    objects, table = MemoryObjects(), Held(items(3))
    at = adopt(log, objects, table).at
    key = encode_key({"id": "k001"}, None)
    offset = at.offsets[partition_of(ordering_key("users", key), 4)]
    append(log, add("k001", 5, Expect=offset), add("k002", 5, Expect=0))
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
    assert held(store) == {**items(3), "k001": item("k001", 1) | {"n": 6}}
    assert [(r.expected, r.found > 0) for r in store.rejections()] == [(0, True)]


@pytest.mark.parametrize("what", ["owner", "transform"])
def test_rules_that_say_something_about_it_are_refused(log: DirectoryLog, what: str) -> None:
    """A base is cut into partitions once, for every reader."""
    objects, _ = adopted_log(log)
    appliers = Appliers()
    if what == "owner":
        appliers.table("users", owner=lambda key: ("users", key), version=1)
    else:
        appliers.transform("users", version=1, drop=("text",))
    wanted = Wanted(bases=KeptBases(log.genesis, objects), rules=appliers.build())
    with pytest.raises(RefusedError, match=f"users is adopted, and .*{what}"):
        rebuild(log, MemoryStore(), wanted)


@pytest.mark.parametrize("key", ["k001", "other"])
def test_a_replica_finds_an_event_before_the_record_after_a_restart(
    log: DirectoryLog, tmp_path: Path, key: str
) -> None:
    """The event is applied by then, and no longer in any page: its row tells, in the base or not."""
    objects, table = MemoryObjects(), Held(items(5))
    append(log, put(key, 9))
    store = SQLiteStore(tmp_path / "a.db")
    replicate(log, store, Following(once=True))
    for partition, frame in frames_of(objects, log, table):
        log.append([Put(partition, frame)])
    with pytest.raises(PoisonError, match=r"adopted here.*before, at offset 1"):
        replicate(
            log, store, Following(once=True, bases=KeptBases(log.genesis, objects), page_bytes=1)
        )
    assert held(store)[key] == {"id": key, "n": 9}


def frames_of(
    objects: MemoryObjects, log: DirectoryLog, table: Held, *, now_ms: int = 1
) -> list[tuple[int, bytes]]:
    """ADOPT records that somebody writes who does not look at the log before."""
    ordered = Ordered("users", 4, "dict")
    for key, data in table.items(ItemCheck("users", KEYS, "dict")):
        ordered.add(key, data)
    clock = ManualClock(now_ms)
    manifest = write_base(objects, "dict", log.genesis, "users", ordered, identity="x", clock=clock)
    adoption = adoption_of(manifest, "file:x")
    return [
        (p, adopt_frame(log.params, log.genesis, adoption, p, now_ms=now_ms))
        for p in range(log.params.partitions)
    ]


def test_two_adoptions_of_one_table_stop_every_reader_of_it_by_name(log: DirectoryLog) -> None:
    """Two people at once, with two bases; readers of other tables go on."""
    objects, one, two = MemoryObjects(), Held(items(5)), Held(items(6))
    for partition, frame in [
        *frames_of(objects, log, one),
        *frames_of(objects, log, two, now_ms=2),
    ]:
        log.append([Put(partition, frame)])
    append(log, put("a", 1, table="orders"))
    bases = KeptBases(log.genesis, objects)
    with pytest.raises(PoisonError, match=r"adopted here.*before, at offset 1"):
        rebuild(log, MemoryStore(), Wanted(bases=bases))
    with pytest.raises(PoisonError, match=r"adopted here.*before, at offset 1"):
        replicate(log, MemoryStore(), Following(once=True, bases=bases))
    store = MemoryStore()
    rebuild(log, store, Wanted(tables=("orders",), bases=bases))
    assert held(store, "orders") == {"a": {"id": "a", "n": 1}}
