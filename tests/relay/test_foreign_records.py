"""S7, case by case: whose a foreign record is, what each policy does, who tells of it."""

from __future__ import annotations

import base64
from contextlib import closing
from pathlib import Path

import pytest

from appliers.applier import NO_RULES
from appliers.stores import MemoryStore, SQLiteStore
from binlog.control import resolve_frame
from binlog.errors import HaltedError
from binlog.foreign import Foreign, foreign_of, home_of, relay_id, relayed_place
from binlog.frame import stamp_born
from binlog.halt import resolution_for
from binlog.log import Position, Put, Record, Shard
from binlog.logs.memory import MemoryLog
from binlog.prospect import prospects
from binlog.reader import Reader
from binlog.target import Target
from binlog.testing.world.store import Kept, Moved, WorldStore
from consumers.engine import Engine
from consumers.lag import measure
from consumers.local import Following, replicate
from snapshots.check import check_log
from snapshots.rebuild import Wanted, checkpoint_of, rebuild
from tests.cli.running import binlog
from tests.relay.foreign_world import (
    KEYS,
    all_foreign,
    append_native,
    append_relayed,
    distance,
    new_log,
)

FAMILY = bytes(15) + b"\x07"


def drained(reader: Reader) -> list[Foreign]:
    found = []
    while reader.read() is not None:
        found += reader.foreign
    return found


# -- whose it is ---------------------------------------------------------------------------------


def test_the_home_is_the_partition_whose_slice_the_key_falls_into() -> None:
    """Kinesis put it into that shard for the same reason."""
    whole = Shard("s", (), frozenset(range(4)))
    homes = {home_of(whole, key, 4) for key in KEYS}
    assert homes == {0, 1, 2, 3}
    for key in KEYS:
        assert distance(home_of(whole, key, 4) or 0, key, 4) == 0


@pytest.mark.parametrize("held", [{0}, {3}, {0, 3}, {1, 2}, {0, 1, 3}])
def test_off_its_slice_the_nearest_of_the_shard_is_the_home(held: set[int]) -> None:
    """An explicit hash key is told to nobody, and a split may cut a slice."""
    shard = Shard("s", (), frozenset(held))
    for key in KEYS:
        nearest = min(sorted(held), key=lambda p: distance(p, key, 4))
        assert home_of(shard, key, 4) == nearest


def test_a_key_that_is_no_text_has_a_home_too() -> None:
    """A hostile key must not stop the readers of a whole shard."""
    shard = Shard("s", (), frozenset({1}))
    record = Record(7, 1, -1, b"x", "\ud800")
    assert home_of(shard, record.partition_key, 4) == 1
    assert foreign_of("s", record) == Foreign("s", 7, "?", 1, b"x")


def test_every_record_has_one_reader_among_those_that_share_a_shard() -> None:
    """Kept by two it would be kept once, but by none it would be lost."""
    log = new_log()
    for key in KEYS:
        log.inject_foreign(key, b"x", shard="shard-0000")
    found = [record for p in range(4) for record in drained(Reader(log, partitions=[p]))]
    assert sorted(found, key=lambda r: r.place) == [record for _, record in all_foreign(log)]
    assert len(found) == len(KEYS)


def test_a_shard_without_partitions_is_looked_into_by_one_reader() -> None:
    """No checkpoint ever goes there, so what is put there would be seen by nobody."""
    log = new_log()
    low, high = log.split("shard-0000", 0)
    below, above = log.split(low, 0)
    for number, shard in enumerate((below, above)):
        log.inject_foreign("k", b"%d" % number, shard=shard)
    readers = [Reader(log, partitions=[p]) for p in range(4)]
    found = [record for reader in readers for record in drained(reader)]
    assert sorted(record.data for record in found) == [b"0", b"1"]
    log.inject_foreign("k", b"later", shard=above)
    log.inject_foreign("k", b"ours", shard=high)
    again = [record for reader in readers for _ in range(3) for record in drained(reader)]
    assert sorted(record.data for record in again) == [b"later", b"ours"]


def test_a_target_vector_asks_for_no_records_of_other_shards() -> None:
    """It is reached whatever lies beside it."""
    log = new_log()
    low, _ = log.split("shard-0000", 0)
    log.inject_foreign("k", b"x", shard=low)
    append_native(log, 0, 1)
    reader = Reader(log, target=Target(vector={0: 1}))
    assert drained(reader) == []
    reader.check_reached()


# -- divert --------------------------------------------------------------------------------------


def test_a_record_is_kept_before_any_checkpoint_moves() -> None:
    """S7: the other way round a crash between the two loses it."""
    log, store = new_log(), WorldStore()
    store.bind(log.genesis)
    made = store.create(tables=None, fingerprint="f", excluded=())
    append_native(log, 0, 1)
    log.inject_foreign("k", b"sample", shard="shard-0000")
    append_native(log, 0, 2)
    engine = Engine(log, store, made, NO_RULES)
    while engine.step() is not None:
        pass
    kinds = [type(entry) for entry in store.journal]
    assert kinds.index(Kept) < kinds.index(Moved)
    assert [f.data for f in store.foreign()] == [b"sample"]


def test_a_page_of_foreign_records_alone_moves_their_homes_checkpoint() -> None:
    """Else they are read again at every start, for ever."""
    log = new_log()
    for key in KEYS:
        log.inject_foreign(key, b"x", shard="shard-0000")
    reader = Reader(log)
    drained(reader)
    last = all_foreign(log)[-1][1]
    assert {checkpoint_of(reader, p).sequence for p in range(4)} == {last.sequence}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rebuild_finds_them_again(tmp_path: Path, workers: int) -> None:
    """Also in parallel, where a worker reads some partitions only."""
    log = new_log(shards=2)
    for number, key in enumerate(KEYS):
        append_native(log, number % 4, number)
        log.inject_foreign(key, b"%d" % number, shard=f"shard-000{number % 2}")
    with closing(SQLiteStore(tmp_path / "s.db")) as store:
        rebuild(log, store, Wanted(), workers=workers)
        expected = sorted((r for _, r in all_foreign(log)), key=lambda r: r.place)
        assert list(store.foreign()) == expected
        replicate(log, store, Following(once=True))
        assert list(store.foreign()) == expected


# -- skip and halt -------------------------------------------------------------------------------


def test_skip_passes_them_by() -> None:
    log = new_log(foreign="skip")
    low, _ = log.split("shard-0000", 0)
    log.inject_foreign("k", b"x", shard=low)
    append_native(log, 1, 1)
    reader = Reader(log)
    assert drained(reader) == []
    assert reader.vector() == {1: 1}
    assert measure(log).healthy
    assert list(check_log(log)) == []


def halted_log() -> tuple[MemoryLog, int]:
    """A log that halts, with a foreign record in the middle, and the record's home."""
    log = new_log(foreign="halt")
    home = home_of(log.shards()[0], "k", 4) or 0
    for partition in range(4):
        append_native(log, partition, partition)
    log.inject_foreign("k", b"sample", shard="shard-0000")
    for partition in range(4):
        append_native(log, partition, 10 + partition)
    return log, home


def test_halt_stops_the_home_and_no_other() -> None:
    log, home = halted_log()
    reader = Reader(log)
    assert drained(reader) == []
    assert reader.vector() == {p: 1 if p == home else 2 for p in range(4)}
    [halt] = reader.halts.values()
    assert (halt.partition, halt.rule, halt.offset) == (home, "foreign", 1)
    with pytest.raises(HaltedError, match=r"partition key 'k'.*divert\|skip"):
        reader.raise_halts()


@pytest.mark.parametrize("decision", ["divert", "skip"])
def test_a_halt_by_a_foreign_record_is_lifted_by_a_resolve(decision: str) -> None:
    """Every reader decides alike: one that was halted, and one that comes later."""
    log, home = halted_log()
    reader = Reader(log)
    drained(reader)
    halt = reader.halts[home]
    tried = prospects(log, halt, reader.checkpoint(home))
    assert [(p.decision, p.accepted, p.dropped) for p in tried] == [
        ("divert", 1, 0),
        ("skip", 1, None),
    ]
    resolution = resolution_for(halt, decision)
    frame = resolve_frame(log.params, log.genesis, resolution, family=FAMILY, now_ms=log.now_ms())
    log.append([Put(home, frame)])
    reader.retry_halted()
    wanted = [b"sample"] if decision == "divert" else []
    for each in (reader, Reader(log), Reader(log, partitions=[home])):
        assert [record.data for record in drained(each)] == wanted
        assert not each.halts
        assert each.vector()[home] == 3  # two events, and the RESOLVE


def test_a_foreign_record_with_the_bytes_of_its_own_resolve_lifts_nothing() -> None:
    """S3: only what is ours decides; these bytes lie under somebody else's key."""
    log, home = halted_log()
    reader = Reader(log)
    drained(reader)
    frame = resolve_frame(
        log.params,
        log.genesis,
        resolution_for(reader.halts[home], "skip"),
        family=FAMILY,
        now_ms=log.now_ms(),
    )
    born = stamp_born(frame, log.now_ms())
    shard = log._shards["shard-0000"]
    place = next(i for i, r in enumerate(shard.records) if r.data == b"sample")
    shard.records[place] = Record(
        shard.records[place].sequence, shard.records[place].arrival_ms, -1, born, "k"
    )
    for each in (reader, Reader(log)):
        each.retry_halted()
        drained(each)
        assert set(each.halts) == {home}


# -- who tells of it -----------------------------------------------------------------------------


def test_status_is_unhealthy_until_it_is_relayed(tmp_path: Path) -> None:
    """With a store or without, before it has kept the record and after."""
    log = new_log()
    append_native(log, 0, 1)
    log.inject_foreign("k", b"sample", shard="shard-0000")
    [(_, record)] = all_foreign(log)
    with closing(SQLiteStore(tmp_path / "s.db")) as store:
        assert measure(log, store).foreign == [record.place]
        replicate(log, store, Following(once=True))
        assert measure(log, store).foreign == measure(log).foreign == [record.place]
        assert not measure(log, store).healthy
        [generation] = store.generations()
        store.commit(generation.id, [], [], relayed=[record.place])
        assert measure(log, store).healthy


def test_check_names_it_and_whether_the_store_has_it() -> None:
    log = new_log()
    append_native(log, 0, 1)
    for key in KEYS:
        log.inject_foreign(key, b"sample", shard="shard-0000")
    store = MemoryStore()
    rebuild(log, store, Wanted())
    assert [f.rule for f in check_log(log, store)] == ["foreign"] * len(KEYS)
    log.inject_foreign("k", b"beyond the checkpoints", shard="shard-0000")
    gone = all_foreign(log)[3][1]
    del store._content.foreign[gone.place]
    found = [(f.rule, f.where) for f in check_log(log, store)]
    assert found.count(("foreign-lost", f"shard shard-0000 record {gone.sequence}")) == 1
    assert [rule for rule, _ in found].count("foreign") == len(KEYS)


def test_check_knows_what_was_relayed_whichever_shard_is_read_first() -> None:
    """Else it would call lost what `status` calls healthy and every rebuild has as an event."""
    log = new_log(shards=2)
    low, high = log.shards()
    for shard in (low, high):
        log.inject_foreign("k", b"sample", shard=shard.id)
    places = {record.place[0]: record.place for _, record in all_foreign(log)}
    append_relayed(log, min(low.partitions), places[high.id])
    store = MemoryStore()
    rebuild(log, store, Wanted())
    found = [(f.rule, f.where) for f in check_log(log, store)]
    assert found == [("foreign", log.locate(Position(*places[low.id])))]
    append_relayed(log, min(high.partitions), places[low.id])
    replicate(log, store, Following(once=True))
    assert measure(log, store).healthy
    assert list(check_log(log, store)) == list(check_log(log)) == []


def test_check_follows_checkpoints_across_a_reshard() -> None:
    """A checkpoint in a parent is before, one in a child beyond what lies in the parent."""
    log = new_log()
    log.inject_foreign("k", b"in the parent", shard="shard-0000")
    early = MemoryStore()
    rebuild(log, early, Wanted())
    low, high = log.split("shard-0000")
    for number, shard in enumerate((low, high)):
        log.inject_foreign("k", b"in a child", shard=shard)
        append_native(log, number, number)
    late = MemoryStore()
    rebuild(log, late, Wanted())
    for store in (early, late):
        assert [f.rule for f in check_log(log, store)] == ["foreign"] * 3
    late._content.foreign.clear()
    assert [f.rule for f in check_log(log, late)] == ["foreign-lost"] * 3
    early._content.foreign.clear()
    rules = [f.rule for f in check_log(log, early)]
    assert sorted(rules) == ["foreign", "foreign", "foreign-lost"]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[MemoryLog, str]:
    """A log with a foreign record that the command can open, and a store of it."""
    log = new_log()
    log.inject_foreign("k", b"\0sample", shard="shard-0000")
    append_native(log, 0, 1)
    with closing(SQLiteStore(tmp_path / "s.db")) as store:
        replicate(log, store, Following(once=True))
    monkeypatch.setattr(MemoryLog, "close", lambda _: None)
    monkeypatch.setattr("binlog.address.open_log", lambda *_, **__: log)
    return log, f"sqlite:{tmp_path / 's.db'}"


def test_the_command_shows_number_and_place(shown: tuple[MemoryLog, str]) -> None:
    log, store = shown
    [(_, record)] = all_foreign(log)
    place = f"shard-0000:{record.sequence}"
    ran = binlog("status", "kinesis://s", store, "--json")
    assert ran.status == 1
    [document] = ran.lines
    assert document["foreign"] == {"records": 1, "where": [place]}
    assert ran.err == (
        f"binlog: a foreign record: kinesis://s at {place}: `binlog dump {store} --foreign` shows"
        " them, `binlog relay kinesis://s kinesis://s` makes events of them\n"
    )
    [line] = binlog("dump", store, "--foreign").lines
    assert base64.b64decode(line.pop("data")) == b"\0sample"
    assert line == {
        "shard": "shard-0000",
        "sequence": str(record.sequence),
        "partition_key": "k",
        "arrival": "1970-01-01T00:16:40.000Z",
    }
    for options in ([], ["--foreign", "--table", "users"]):
        assert binlog("dump", store, *options).status == 2


# -- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_id", "place"),
    [
        (relay_id(("shardId-0", 10**55)), ("shardId-0", 10**55)),
        ("relay/s/7/0", ("s", 7)),
        ("relay/s/7/1", None),
        ("relay/s", None),
        ("relay/s/7/0/0", None),
        ("relay/s/-7", None),
        ("relay/s/٣", None),
        ("relay/s/" + "9" * 65, None),
        ("s/7", None),
        ("unreadable/s/7", None),
    ],
)
def test_an_event_tells_which_record_it_was(event_id: str, place: object) -> None:
    """Of several from one record the first; whatever else somebody writes tells nothing."""
    assert relayed_place(event_id) == place
