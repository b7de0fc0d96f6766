"""The steps of an adoption: each finds what an earlier run left, and none believes what it did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from appliers.stores import MemoryStore
from binlog.adoption import ADOPT_TYPE, Adoption, adopt_session, decode_adoption
from binlog.clock import ManualClock
from binlog.control import adopt_frame
from binlog.errors import ConflictError, DamageError, MismatchError, RefusedError, StorageError
from binlog.log import Failed, Log, Put, Reply
from binlog.logs import DirectoryLog, MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.params import Params
from binlog.reader import Reader
from binlog.values import encode_value
from snapshots import adopt_base
from snapshots.adopt_base import KeptBases, Ordered, bases_in, open_base
from snapshots.adopt_log import AdoptionLog
from snapshots.rebuild import Wanted, rebuild
from tests.adoption.adoption_world import (
    PARAMS,
    Held,
    adopt,
    adopting_by,
    append,
    folded,
    held,
    item,
    items,
    new_log,
    put,
)


@pytest.fixture
def log(tmp_path: Path) -> DirectoryLog:
    return new_log(tmp_path / "log")


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


def records(log: Log) -> dict[int, list[int]]:
    """By partition the offsets of ADOPT records."""
    found: dict[int, list[int]] = {p: [] for p in range(log.params.partitions)}
    reader = Reader(log)
    while (runs := reader.read()) is not None:
        for run in runs:
            for offset, envelope in enumerate(run.columns.envelopes(), run.first_offset):
                if envelope.type == ADOPT_TYPE:
                    found[run.partition].append(offset)
    return found


# -- the table changes -------------------------------------------------------------------------------


def test_a_table_that_changes_under_it_is_not_adopted(
    log: DirectoryLog, objects: MemoryObjects
) -> None:
    """Keys are named, and nothing is in the log."""
    table = Held(items(20))
    table.while_read = lambda _: table.content.update(k003=item("k003", 99))
    with pytest.raises(ConflictError, match=r"changed while it was read.*k003.*\(changed\).*stop"):
        adopt(log, objects, table)
    assert records(log) == {0: [], 1: [], 2: [], 3: []}
    assert adopt(log, objects, table).items == 20  # by a base that is written anew


@pytest.mark.parametrize("change", ["changed", "gone", "new"])
def test_every_kind_of_change_is_seen(
    log: DirectoryLog, objects: MemoryObjects, change: str
) -> None:
    table = Held(items(20))

    def while_read(number: int) -> None:
        if number == 1:
            table.content.pop("k003")
            if change == "changed":
                table.content["k003"] = item("k003", 99)
            if change == "new":
                table.content["k003"] = item("k003", 3)
                table.content["k999"] = item("k999", 3)

    table.while_read = while_read
    with pytest.raises(ConflictError, match=rf"\({change}\)"):
        adopt(log, objects, table)


def test_a_base_of_before_is_taken_if_the_table_is_still_that(
    log: DirectoryLog, objects: MemoryObjects
) -> None:
    """A run that was stopped before its first record."""
    table = Held(items(20))
    table.while_read = lambda number: _stop(number, 2)
    with pytest.raises(KeyboardInterrupt):
        adopt(log, objects, table)
    [base] = bases_in(objects, log.genesis, "users")
    table.while_read = lambda _: None
    table.reads = 0
    assert adopt(log, objects, table).manifest == base
    assert table.reads == 1  # to be compared


def _stop(number: int, at: int) -> None:
    if number == at:
        raise KeyboardInterrupt


def test_a_base_of_before_is_not_taken_if_the_table_is_another(
    log: DirectoryLog, objects: MemoryObjects
) -> None:
    table = Held(items(20))
    table.while_read = lambda number: _stop(number, 2)
    with pytest.raises(KeyboardInterrupt):
        adopt(log, objects, table)
    table.while_read = lambda _: None
    table.content["k003"] = item("k003", 99)
    done = adopt(log, objects, table)
    assert not done.base_was_there
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
    assert held(store) == table.content


# -- stopped anywhere --------------------------------------------------------------------------------


class Stops(MemoryObjects):
    """Storage that fails at its n-th write."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.calls = 0

    def put_new(self, key: str, data: bytes) -> bool:
        self.calls += 1
        if self.calls == self.at:
            raise StorageError("no room", self.name, "make some")
        return super().put_new(key, data)


def test_stopped_at_any_write_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it left, the next run ends with the same table."""
    monkeypatch.setattr(adopt_base, "_PAGE_ROWS", 5)
    whole = Stops(0)
    adopt(new_log(tmp_path / "whole"), whole, Held(items(20)))
    assert whole.calls > 2
    for at in range(1, whole.calls + 1):
        log, objects, table = new_log(tmp_path / f"log{at}"), Stops(at), Held(items(20))
        with pytest.raises(StorageError):
            adopt(log, objects, table)
        assert records(log) == {0: [], 1: [], 2: [], 3: []}
        adopt(log, objects, table)
        store = MemoryStore()
        rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
        assert held(store) == table.content
        assert all(len(offsets) == 1 for offsets in records(log).values())


def test_records_of_some_partitions_are_joined_by_the_others(
    log: DirectoryLog, objects: MemoryObjects
) -> None:
    """Of the same base, though the table has gone on meanwhile: that is found when it is touched."""
    table = Held(items(20))
    done = adopt(log, objects, table)
    other = new_log_like(log)
    for partition in (0, 2):
        frame = adopt_frame(PARAMS, other.genesis, done.at.adoption, partition, now_ms=1)
        other.append([Put(partition, frame)])
    append(other, put("x", 1, table="orders"))
    table.content["k003"] = item("k003", 99)
    again = adopt(other, objects, table)
    assert again.at.adoption == done.at.adoption
    assert (again.base_was_there, again.written) == (True, 2)
    assert all(len(offsets) == 1 for offsets in records(other).values())


def new_log_like(log: DirectoryLog) -> DirectoryLog:
    return new_log(Path(log.name.removeprefix("file:")).with_name("other"))


# -- races, and replies that are lost ----------------------------------------------------------------


def test_a_record_is_written_once_whoever_writes_it(log: DirectoryLog) -> None:
    """At other times, by other processes: a later one is a copy, and a late one of before is closed."""
    one = Adoption("users", "one", "1" * 64, "file:a")
    two = Adoption("users", "two", "2" * 64, "file:b")
    attempts = [(one, 50, 7), (one, 50, 8), (one, 60, 0), (two, 40, 0), (one, 10, 0), (one, 99, 1)]
    for adoption, now_ms, bits in attempts:
        frame = adopt_frame(PARAMS, log.genesis, adoption, 3, now_ms=now_ms, bits=bits)
        log.append([Put(3, frame)])
    in_log = AdoptionLog(log, "users")
    in_log.read()  # no halt
    assert in_log.adoptions == {3: (1, one)}
    assert records(log)[3] == [1]
    families = {adopt_session(b"x" * 16, t, p, now_ms=1).family for t in "ab" for p in (2, 3)}
    assert len(families) == 4


def test_an_attempt_is_never_sent_twice(objects: MemoryObjects) -> None:
    """Each is stamped when it lands, and a session born twice halts its partition."""
    clock = ManualClock(1_000)
    log = Loses(PARAMS, clock)
    log.plan = ["not done", "not done", "lost"]
    log.after = lambda: clock.advance(50)
    adopt(log, objects, Held(items(5)))
    assert len(log.sent) == len(set(log.sent)) == 4 * 3
    append(log, put("k001", 1))
    reader = Reader(log)
    while reader.read() is not None:
        pass
    assert not reader.halts


def test_who_was_quicker_is_said(log: DirectoryLog, objects: MemoryObjects) -> None:
    """Two people with two bases: the second is told, and may go on with the first one's."""
    table = Held(items(5))
    other = Adoption("users", "other", "2" * 64, "file:b")

    def quicker(number: int) -> None:
        if number == 2:
            frames = [adopt_frame(PARAMS, log.genesis, other, p, now_ms=1) for p in range(4)]
            log.append([Put(p, frame) for p, frame in enumerate(frames)])

    table.while_read = quicker
    with pytest.raises(ConflictError, match=r"another adoption .* was quicker, with base other"):
        adopt(log, objects, table)
    with pytest.raises(RefusedError, match="base other of table users is not there"):
        adopt(log, objects, table)


def test_half_of_two_bases_is_told_as_such(log: DirectoryLog, objects: MemoryObjects) -> None:
    for p, name in enumerate("abab"):
        adoption = Adoption("users", name, name * 64, "file:b")
        log.append([Put(p, adopt_frame(PARAMS, log.genesis, adoption, p, now_ms=1))])
    with pytest.raises(ConflictError, match="adopted with 2 bases: a, b"):
        adopt(log, objects, Held(items(5)))


class Loses(MemoryLog):
    """A log whose replies are lost: some appends were done, others not."""

    def __init__(self, params: Params, clock: ManualClock | None = None) -> None:
        super().__init__(params, clock=clock or ManualClock())
        self.plan: list[str] = []
        self.sent: list[bytes] = []
        self.after: Callable[[], object] = lambda: None

    def append(self, puts: Sequence[Put]) -> list[Reply]:
        self.after()
        self.sent += [put.data for put in puts]
        fate = self.plan.pop(0) if self.plan else "done"
        replies = super().append(puts) if fate != "not done" else []
        return replies if fate == "done" else [Failed(StorageError("no reply")) for _ in puts]


@pytest.mark.parametrize("plan", [["lost"], ["not done"], ["not done", "lost", "not done"]])
def test_what_was_written_is_read_back(plan: list[str], objects: MemoryObjects) -> None:
    """A lost reply is no outcome: neither done nor not."""
    log, table = Loses(PARAMS), Held(items(5))
    log.plan = plan
    adopt(log, objects, table)
    assert all(len(offsets) == 1 for offsets in records(log).values())
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
    assert held(store) == table.content


def test_a_log_that_takes_nothing_is_told(objects: MemoryObjects) -> None:
    log = Loses(PARAMS)
    log.plan = ["not done"] * 1_000
    with pytest.raises(StorageError, match="ADOPT records of partitions 0, 1, 2, 3 are not in"):
        adopt(log, objects, Held(items(5)))


# -- the log -----------------------------------------------------------------------------------------


def test_a_table_with_events_is_not_adopted(log: DirectoryLog, objects: MemoryObjects) -> None:
    append(log, put("k001", 1))
    with pytest.raises(ConflictError, match=r"events of table users already.*offset 1.*--as"):
        adopt(log, objects, Held(items(5)))
    assert next(iter(objects.list()), None) is None


def test_events_after_it_are_none_before_it(log: DirectoryLog, objects: MemoryObjects) -> None:
    """A second run, when writers write to the log already."""
    table = Held(items(5))
    adopt(log, objects, table)
    append(log, put("k001", 1))
    again = adopt(log, objects, table)
    assert again.written == 0
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
    assert held(store) == folded(table.content, [put("k001", 1)])


def test_a_base_of_another_log_or_table_is_refused(
    log: DirectoryLog, objects: MemoryObjects, tmp_path: Path
) -> None:
    done = adopt(log, objects, Held(items(5)))
    adoption = done.at.adoption
    with pytest.raises(MismatchError, match="table users in log"):
        open_base(objects, adoption, b"other")
    with pytest.raises(MismatchError, match="table users in log"):
        open_base(objects, Adoption("x", adoption.base, adoption.digest, "file:x"), log.genesis)
    with pytest.raises(DamageError, match="not the one that was adopted"):
        open_base(objects, Adoption("users", adoption.base, "0" * 64, "file:x"), log.genesis)
    with pytest.raises(RefusedError, match=r"is not there.*file:x.*--snapshots"):
        open_base(objects, Adoption("users", "none", "0" * 64, "file:x"), log.genesis)


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"?",
        encode_value({}),
        encode_value({"table": "users", "base": "a", "digest": "0" * 64}),
        encode_value({"table": "other", "base": "a", "digest": "0" * 64, "address": "x"}),
        encode_value({"table": "users", "base": "a/b", "digest": "0" * 64, "address": "x"}),
        encode_value({"table": "users", "base": "a", "digest": "0" * 63, "address": "x"}),
        encode_value({"table": "users", "base": "a", "digest": "0" * 64, "address": ""}),
        encode_value([1]),
    ],
)
def test_a_record_that_says_nothing_has_no_effect(data: bytes | None) -> None:
    """It has its offset already, so it can stop nobody."""
    assert decode_adoption("users", data) is None


def test_a_record_with_more_than_today_is_read() -> None:
    """Fields may be added."""
    data = {"table": "users", "base": "a-1", "digest": "0" * 64, "address": "x", "more": 1}
    assert decode_adoption("users", encode_value(data)) == Adoption("users", "a-1", "0" * 64, "x")


def test_an_item_that_comes_twice_is_no_base() -> None:
    """No table has one; an export that was put together by hand may."""
    ordered = Ordered("users", 4, "export")
    for _ in range(2):
        ordered.add(encode_value({"id": "a"}), b"x")
    with pytest.raises(DamageError, match="comes twice"):
        list(ordered.rows())


def test_an_empty_table_is_adopted_too(log: DirectoryLog, objects: MemoryObjects) -> None:
    adopt(log, objects, Held({}))
    append(log, put("k001", 1))
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
    assert held(store) == {"k001": {"id": "k001", "n": 1}}


def test_two_tables_are_two_adoptions(log: DirectoryLog, objects: MemoryObjects) -> None:
    one, two = Held(items(5)), Held(items(9))
    adopt(log, objects, one)
    adopting_by(log, objects, two, name="orders").run(two)
    store = MemoryStore()
    rebuild(log, store, Wanted(bases=KeptBases(log.genesis, objects)))
    assert (held(store), held(store, "orders")) == (items(5), items(9))
